//! What the end-to-end tests share, those of `loadtest` too: the real binary on loopback in a folder of its own, raw SIP, and a way into its recordings.
//!
//! The receive tier is the best that this user gets; `TAPEHEAD_RECEIVE=sockets` in the environment runs a test on another one.
#![allow(dead_code, reason = "each test file uses its own part of this")]

pub mod audio;
pub mod flood;
pub mod recordings;
pub mod tls;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tapehead::src_client::{Law, Party};

/// The `tapehead` binary. Cargo builds it for tests of its own package; for those of another it is built here, if it is not there or not of this source.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| option_env!("CARGO_BIN_EXE_tapehead").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "tapehead", "--bin", "tapehead"]);
    build.args((!cfg!(debug_assertions)).then_some("--release"));
    assert!(build.status().expect("cargo runs").success(), "tapehead can't be built");
    // target/debug/deps/TEST
    let test = std::env::current_exe().expect("this is a program");
    test.parent().and_then(Path::parent).expect("below the folder of binaries").join("tapehead")
}

/// SIPp with TLS: `.ci/sipp-tls` sees to it that it is there.
pub const SIPP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/sipp/sipp");

/// Who speaks in the calls that are placed by our own client.
pub const PARTIES: [Party<'static>; 2] = [
    Party { name: "Ada", aor: "sip:ada@example.com", law: Law::Mulaw },
    Party { name: "Bob", aor: "sip:bob@example.com", law: Law::Mulaw },
];

/// A folder for one recorder.
pub fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder of our own")
}

/// How long the binary may take for anything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A recorder running in the background; killed when dropped.
pub struct Recorder {
    child: Child,
    /// Where it takes SIP.
    pub sip: SocketAddr,
    /// Its folder: configuration, key, log, recordings.
    pub home: PathBuf,
}

/// Ports for one recorder, clear of the ephemeral range. Each process has 400 of its own, for as long as it holds the guard of them; each
/// recorder gets 40 of these.
fn rtp_ports() -> (u16, u16) {
    static GUARD: OnceLock<(u16, UdpSocket)> = OnceLock::new();
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let guarded = || {
        let start = (std::process::id() % 40) as u16;
        let shares = (0..40).map(|step| (start + step) % 40);
        let free = |share: u16| Some((share, UdpSocket::bind((Ipv4Addr::LOCALHOST, 11_900 + share)).ok()?));
        shares.into_iter().find_map(free).expect("not 40 test processes at once")
    };
    let (share, _) = GUARD.get_or_init(guarded);
    loop {
        let first = 12_000 + share * 400 + NEXT.fetch_add(1, Ordering::Relaxed) % 10 * 40;
        // The tier `steered` holds the first port of its range for as long as it lives.
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, first)).is_ok() {
            return (first, first + 39);
        }
    }
}

/// A port that is free for UDP and TCP. Somebody else may take it in between; that has not been seen to happen.
pub fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback takes sockets");
        let at = udp.local_addr().expect("it is bound");
        if std::net::TcpListener::bind(at).is_ok() {
            return at.port();
        }
    }
}

impl Recorder {
    /// Starts one in `home`, with `settings` (lines of TOML without tables) in front of its own, and waits until it answers.
    pub fn start(home: &Path, settings: &str) -> Recorder {
        Recorder::start_with(home, settings, &[])
    }

    /// The same with further environment variables, in which `{port}` is its port for SIP.
    pub fn start_with(home: &Path, settings: &str, variables: &[(&str, &str)]) -> Recorder {
        Recorder::spawn(home, settings, variables).wait_until_ready()
    }

    fn spawn(home: &Path, settings: &str, variables: &[(&str, &str)]) -> Recorder {
        let port = free_port();
        let config = home.join("tapehead.toml");
        fs::write(&config, config_text(home, settings, port)).expect("the folder is ours");
        let log =
            File::options().create(true).append(true).open(home.join("log")).expect("the folder is ours");
        let child = Command::new(binary())
            .args(["serve", "--config"])
            .arg(&config)
            .current_dir(home)
            .envs(variables.iter().map(|(name, value)| (name, value.replace("{port}", &port.to_string()))))
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .expect("the binary was built");
        Recorder { child, sip: (Ipv4Addr::LOCALHOST, port).into(), home: home.to_owned() }
    }

    fn wait_until_ready(mut self) -> Recorder {
        let deadline = Instant::now() + PATIENCE;
        while options(self.sip, Duration::from_millis(100)).is_none() {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                panic!("serve ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "serve does not answer:\n{}", self.log());
        }
        self
    }

    /// Where it takes SIP over TLS, as the log says.
    pub fn tls(&self) -> SocketAddr {
        let log = self.log();
        let tls = log.split_once("tls=[").and_then(|(_, rest)| rest.split_once("] "));
        tls.and_then(|(tls, _)| tls.parse().ok()).expect("one listener for TLS")
    }

    /// SIGHUP.
    pub fn reload(&self) {
        signal(self.child.id(), "HUP");
    }

    /// Waits until the log holds this.
    pub fn has_logged(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(Instant::now() < deadline, "nothing of {text:?} in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    /// Where it can be asked.
    pub fn control_socket(&self) -> PathBuf {
        self.recordings().join("control.sock")
    }

    /// Its folder of recordings.
    pub fn recordings(&self) -> PathBuf {
        self.home.join("recordings")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// SIGTERM; does not wait.
    pub fn terminate(&self) {
        signal(self.child.id(), "TERM");
    }

    /// Waits for it to end by itself.
    pub fn ended(&mut self) -> ExitStatus {
        // Live calls are drained first.
        let deadline = Instant::now() + 3 * PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "serve does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
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

/// The configuration of a test's recorder: small, on loopback, not pinned, for tests share their cores.
pub fn config_text(home: &Path, settings: &str, sip_port: u16) -> String {
    let (first, last) = rtp_ports();
    // Whoever has put certificates there wants TLS.
    let has_tls = home.join("server.pem").exists();
    let (tls_listener, tls) = match has_tls {
        true => (", \"tls:127.0.0.1:0\"", "[tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n"),
        false => ("", ""),
    };
    let home = home.display();
    format!(
        "pin = false\n{settings}\n\
         [sip]\nlisten = [\"udp:127.0.0.1:{sip_port}\", \"tcp:127.0.0.1:{sip_port}\"{tls_listener}]\n{tls}\
         [rtp]\nbind = \"127.0.0.1\"\nports = \"{first}-{last}\"\n\
         [recordings]\ndir = \"{home}/recordings\"\nfree_mb_min = 1\n\
         [keys]\nmaster_file = \"{home}/tapehead.key\"\n"
    )
}

/// Sends a signal by its name, through `kill(1)`: tests hold no unsafe code either.
fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(status.expect("kill is everywhere").success());
}

/// Runs the binary to its end.
pub fn tapehead<S: AsRef<std::ffi::OsStr>>(home: &Path, arguments: impl IntoIterator<Item = S>) -> Output {
    Command::new(binary()).args(arguments).current_dir(home).output().expect("the binary was built")
}

/// `tapehead verify` of all that a recorder has written, with its key.
pub fn verify(home: &Path) -> Output {
    tapehead(home, ["verify", "recordings"])
}

/// `tapehead export` of a recording, with its recorder's key.
pub fn export(home: &Path, recording: &Path, out: &Path) -> Output {
    let arguments = ["export", "-o"].map(std::ffi::OsStr::new);
    tapehead(home, arguments.into_iter().chain([out.as_os_str(), recording.as_os_str()]))
}

/// Standard output and error of a run, for a failing test's message.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Sends one datagram and returns the first answer.
pub fn ask(to: SocketAddr, datagram: &[u8], patience: Duration) -> Option<String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback takes sockets");
    socket.set_read_timeout(Some(patience)).expect("a timeout is allowed");
    socket.send_to(datagram, to).ok()?;
    let mut answer = [0; 65_535];
    let (len, _) = socket.recv_from(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..len]).into_owned())
}

/// Sends bytes over TCP and returns the first answer.
pub fn ask_tcp(to: SocketAddr, bytes: &[u8], patience: Duration) -> Option<String> {
    let mut stream = TcpStream::connect(to).ok()?;
    stream.set_read_timeout(Some(patience)).expect("a timeout is allowed");
    stream.write_all(bytes).ok()?;
    let mut answer = [0; 65_535];
    let len = stream.read(&mut answer).ok()?;
    (len > 0).then(|| String::from_utf8_lossy(&answer[..len]).into_owned())
}

/// A request without a body that a test may bend.
pub fn request(method: &str, branch: &str) -> String {
    format!(
        "{method} sip:recorder@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK{branch}\r\n\
         From: <sip:test@127.0.0.1>;tag=1\r\nTo: <sip:recorder@127.0.0.1>\r\nCall-ID: {branch}\r\nCSeq: 1 {method}\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The status code of an answer.
pub fn code(answer: &str) -> Option<u16> {
    answer.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

/// Sends OPTIONS and returns the code of the answer.
pub fn options(to: SocketAddr, patience: Duration) -> Option<u16> {
    static NUMBER: AtomicU16 = AtomicU16::new(0);
    let branch = format!("probe{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    code(&ask(to, request("OPTIONS", &branch).as_bytes(), patience)?)
}
