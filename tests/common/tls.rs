//! Certificates made and connections opened by OpenSSL: whatever speaks TLS with the recorder here, it is not our library.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::said;

fn openssl(home: &Path, arguments: &[&str]) {
    let run = Command::new("openssl").args(arguments).current_dir(home).output();
    let run = run.expect("openssl is missing: apt-get install openssl");
    assert!(run.status.success(), "openssl {arguments:?}: {}", said(&run));
}

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/// Makes `NAME.pem` and `NAME.key` of an authority.
pub fn authority(home: &Path, name: &str) {
    let (key, out, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
    let arguments = ["req", "-x509", "-days", "2", "-keyout", &key, "-out", &out, "-subj", &subject];
    openssl(home, &[&arguments[..], &NEW_KEY].concat());
}

/// Makes `NAME.pem` and `NAME.key`, signed by an authority, for the names in `san` (`IP:127.0.0.1`, `DNS:x`).
pub fn certificate(home: &Path, name: &str, authority: &str, san: &str) {
    let (key, csr, out) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
    let (subject, extension) = (format!("/CN={name}"), format!("subjectAltName={san}"));
    let request = ["req", "-keyout", &key, "-out", &csr, "-subj", &subject, "-addext", &extension];
    openssl(home, &[&request[..], &NEW_KEY].concat());
    let (ca, ca_key) = (format!("{authority}.pem"), format!("{authority}.key"));
    openssl(
        home,
        &[
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            "2",
            "-copy_extensions",
            "copy",
            "-out",
            &out,
        ],
    );
}

/// Waits until somebody listens on a port. Connecting to it would be a connection that counts.
pub fn listens(port: u16) {
    let entry = format!(":{port:04X} 00000000:0000 0A");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !std::fs::read_to_string("/proc/net/tcp").expect("this is Linux").contains(&entry) {
        assert!(Instant::now() < deadline, "nobody listens on {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An `openssl s_client` or `s_server` with a connection through which a test speaks.
pub struct Line {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    read: Vec<u8>,
    errors: PathBuf,
}

impl Line {
    /// Connects with these further arguments.
    pub fn connect(home: &Path, to: SocketAddr, further: &[&str]) -> Line {
        let to = to.to_string();
        Line::start(home, &[&["s_client", "-quiet", "-connect", &to], further].concat())
    }

    /// Waits for one connection on `port`.
    pub fn listen(home: &Path, port: u16, further: &[&str]) -> Line {
        let number = port.to_string();
        let line = Line::start(
            home,
            &[&["s_server", "-4", "-quiet", "-naccept", "1", "-accept", &number], further].concat(),
        );
        listens(port);
        line
    }

    fn start(home: &Path, arguments: &[&str]) -> Line {
        static NUMBER: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let errors = home.join(format!("openssl-{number}.log"));
        let mut child = Command::new("openssl")
            .args(arguments)
            .current_dir(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&errors).expect("the folder is ours"))
            .spawn()
            .expect("openssl is missing: apt-get install openssl");
        let mut stdout = child.stdout.take().expect("it is piped");
        let (to, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                if to.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        Line { child, input, output, read: Vec::new(), errors }
    }

    /// Sends; a line that is gone takes nothing, which is found when reading.
    pub fn send(&mut self, text: &str) {
        let input = self.input.as_mut().expect("not closed yet");
        let _ = input.write_all(text.as_bytes()).and_then(|()| input.flush());
    }

    /// The next SIP message, or `None` if none comes or the line has ended.
    pub fn message(&mut self, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(length) = message_length(&self.read) {
                let message = self.read.drain(..length).collect();
                return Some(String::from_utf8(message).expect("what the recorder says is text"));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.read.extend(self.output.recv_timeout(left).ok()?);
        }
    }

    /// The next final response.
    pub fn answer(&mut self) -> String {
        loop {
            let message = self.message(Duration::from_secs(10));
            let message = message.unwrap_or_else(|| panic!("no answer: {}", self.errors()));
            if !message.starts_with("SIP/2.0 1") {
                return message;
            }
        }
    }

    /// What OpenSSL has complained about.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }

    /// Whether OpenSSL has ended by itself by then.
    pub fn has_ended(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if self.child.try_wait().expect("it is our child").is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn message_length(bytes: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes);
    let head = text.find("\r\n\r\n")? + 4;
    let body: usize =
        text[..head].lines().find_map(|line| line.strip_prefix("Content-Length:"))?.trim().parse().ok()?;
    (bytes.len() >= head + body).then_some(head + body)
}
