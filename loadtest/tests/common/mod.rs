//! The real recorder on loopback, in a folder of its own, for tests of the generator and the verifier.
#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long the recorder may take for anything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Media ports of one recorder: fifty calls of two tracks, and thirty that rest.
const PORTS: u16 = 320;

/// The `tapehead` binary, built if it is not there or not of this source. It is of another package: Cargo builds it for that one's tests only.
pub fn tapehead() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "tapehead", "--bin", "tapehead"]);
        build.args((!cfg!(debug_assertions)).then_some("--release"));
        assert!(build.status().expect("cargo runs").success(), "tapehead can't be built");
        // target/debug/deps/TEST
        let test = std::env::current_exe().expect("this is a program");
        let folder = test.parent().and_then(Path::parent).expect("below the folder of binaries");
        folder.join("tapehead")
    })
}

/// A recorder running in the background; killed when dropped.
pub struct Recorder {
    child: Child,
    /// Where it takes SIP, over UDP and TCP.
    pub sip: SocketAddr,
    /// Where it takes SIP over TLS, if it has certificates.
    pub tls: SocketAddr,
    /// Its folder: configuration, key, log, recordings.
    pub home: PathBuf,
}

/// A port that is free for UDP and TCP. Somebody else may take it in between; that has not been seen to happen.
fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback takes sockets");
        let at = udp.local_addr().expect("it is bound");
        if TcpListener::bind(at).is_ok() {
            return at.port();
        }
    }
}

/// Media ports for one recorder, below the ephemeral range and clear of what the recorder's own tests use.
fn media_ports() -> (u16, u16) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let slot = (std::process::id() % 3) as u16 * 4 + NEXT.fetch_add(1, Ordering::Relaxed) % 4;
    let first = 28_800 + slot * PORTS;
    (first, first + PORTS - 1)
}

impl Recorder {
    /// Starts one in `home`, with `settings` (lines of TOML without tables) in front of its own, and waits until it answers. If there is a `server.pem`
    /// in `home`, it takes TLS, too.
    pub fn start(home: &Path, settings: &str) -> Recorder {
        let (sip, tls) = (free_port(), free_port());
        let config = home.join("tapehead.toml");
        fs::write(&config, config_text(home, settings, sip, tls)).expect("the folder is ours");
        let log = File::create(home.join("log")).expect("the folder is ours");
        let mut serve = Command::new(tapehead());
        serve.args(["serve", "--config"]).arg(&config).current_dir(home);
        serve.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        let child = serve.spawn().expect("the binary was built");
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut recorder = Recorder { child, sip: at(sip), tls: at(tls), home: home.to_owned() };
        recorder.wait_until_ready();
        recorder
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while std::os::unix::net::UnixStream::connect(self.control_socket()).is_err() {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                panic!("serve ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "serve does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM, and waits for its end: live calls are ended and their recordings finished.
    pub fn stop(&mut self) {
        // Through kill(1): tests hold no unsafe code.
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(told.expect("kill is everywhere").success());
        let deadline = Instant::now() + 3 * PATIENCE;
        while self.child.try_wait().expect("it is our child").is_none() {
            assert!(Instant::now() < deadline, "serve does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    /// Its folder of recordings.
    pub fn recordings(&self) -> PathBuf {
        self.home.join("recordings")
    }

    /// Its control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.recordings().join("control.sock")
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- log of {}\n{}", self.sip, self.log());
        }
    }
}

fn config_text(home: &Path, settings: &str, sip: u16, tls: u16) -> String {
    let (first, last) = media_ports();
    let (listener, table) = match home.join("server.pem").exists() {
        true => (
            format!(", \"tls:127.0.0.1:{tls}\""),
            "[tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n",
        ),
        false => (String::new(), ""),
    };
    let home = home.display();
    format!(
        "pin = false\n{settings}\n\
         [sip]\nlisten = [\"udp:127.0.0.1:{sip}\", \"tcp:127.0.0.1:{sip}\"{listener}]\n{table}\
         [rtp]\nbind = \"127.0.0.1\"\nports = \"{first}-{last}\"\n\
         [recordings]\ndir = \"{home}/recordings\"\nfree_mb_min = 1\n\
         [keys]\nmaster_file = \"{home}/tapehead.key\"\n"
    )
}

/// Runs `loadtest` to its end.
pub fn loadtest<S: AsRef<std::ffi::OsStr>>(home: &Path, arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(arguments).current_dir(home).output().expect("the binary was built")
}

/// Standard output and error of a run, for a failing test's message.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}
