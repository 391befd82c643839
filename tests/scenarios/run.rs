//! Playing one scenario over one transport, and looking at what became of it.

use std::fmt;
use std::fs;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::client::Reach;
use super::common::tls::{authority, certificate};
use super::common::{Recorder, SIPP, free_port, said};
use super::expectation::{Expected, Own, Scenario};
use super::found::Library;
use super::{folder, raw};

/// How a client reaches the recorder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// All of them.
pub const TRANSPORTS: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }

    pub fn is_stream(self) -> bool {
        self != Transport::Udp
    }

    /// SIPp's `-t`.
    fn option(self) -> &'static str {
        match self {
            Transport::Udp => "u1",
            Transport::Tcp => "t1",
            Transport::Tls => "l1",
        }
    }

    /// Where the recorder takes it.
    fn at(self, recorder: &Recorder) -> SocketAddr {
        match self {
            Transport::Udp | Transport::Tcp => recorder.sip,
            Transport::Tls => recorder.tls(),
        }
    }
}

/// The recorder that all share, and where its files are.
pub struct Yard {
    recorder: Recorder,
    home: PathBuf,
    player: Player,
}

impl Yard {
    pub fn open(home: &Path) -> Yard {
        // As many ports as scenarios at once can ask for, clear of other recorders and of the ephemeral range.
        let first = 28_000 + (std::process::id() % 11) as u16 * 400;
        let ports = format!("{first}-{}", first + 399);
        authority(home, "ca");
        certificate(home, "server", "ca", "IP:127.0.0.1,DNS:recorder.example");
        certificate(home, "client", "ca", "DNS:sbc.example");
        let recorder = Recorder::start_with(home, SETTINGS, &[("TAPEHEAD_RTP_PORTS", &ports)]);
        Yard { recorder, home: home.to_owned(), player: Player::start(home) }
    }

    /// Ends it properly, so that nothing is left unfinished.
    pub fn close(mut self) {
        self.recorder.terminate();
        assert!(self.recorder.ended().success(), "{}", self.recorder.log());
    }
}

/// Plays the audio of all scenarios; killed when dropped.
struct Player {
    child: Child,
    /// Where it takes what to play.
    fifo: PathBuf,
}

impl Player {
    fn start(home: &Path) -> Player {
        let fifo = home.join("player");
        let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo is everywhere");
        assert!(made.success(), "no FIFO could be made");
        let child = Command::new("python3")
            .args(["-B", "play.py", "--listen"])
            .arg(&fifo)
            .current_dir(folder())
            .spawn()
            .expect("python3 is missing: apt-get install python3");
        Player { child, fifo }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A packet may be late by what a busy machine holds its sender up.
const SETTINGS: &str = "horizon_ms = 500\ndrain_seconds = 1";

/// So much of each of SIPp's logs is shown when it fails.
const TOLD_MAX: usize = 20_000;

/// One scenario over one transport.
pub struct Job<'a> {
    pub scenario: &'a Scenario,
    pub transport: Transport,
}

impl fmt::Display for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} over {}", self.scenario.name, self.transport.name()))
    }
}

impl Job<'_> {
    /// Plays it and holds what was recorded against what is expected.
    pub fn run(&self, yard: &Yard, library: &Library) -> Result<(), String> {
        match &self.scenario.recorder {
            None => self.run_at(yard, &yard.recorder, &yard.home, library),
            Some(own) => self.run_alone(yard, own),
        }
    }

    fn run_alone(&self, yard: &Yard, own: &Own) -> Result<(), String> {
        let home = tempfile::tempdir().map_err(|why| why.to_string())?;
        for name in ["server.pem", "server.key"] {
            fs::copy(yard.home.join(name), home.path().join(name)).map_err(|why| why.to_string())?;
        }
        for (name, content) in &own.files {
            let path = home.path().join(name);
            let written = fs::write(&path, content);
            let hidden = written.and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)));
            hidden.map_err(|why| why.to_string())?;
        }
        let variables: Vec<(&str, &str)> =
            own.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let settings = format!("horizon_ms = 500\n{}", own.settings);
        let recorder = Recorder::start_with(home.path(), &settings, &variables);
        let library = Library::new(home.path());
        let terminate = &recorder;
        std::thread::scope(|scope| {
            if let Some(after) = own.terminate_after_ms {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(after));
                    terminate.terminate();
                });
            }
            self.run_at(yard, &recorder, home.path(), &library)
        })
    }

    fn run_at(&self, yard: &Yard, recorder: &Recorder, home: &Path, library: &Library) -> Result<(), String> {
        let call_id = format!("{}-{}@tapehead.example", self.scenario.name, self.transport.name());
        match self.scenario.raw {
            Some(_) => {
                let at = self.transport.at(recorder);
                let at = if self.scenario.name == "raw-ipv6" {
                    (Ipv6Addr::LOCALHOST, at.port()).into()
                } else {
                    at
                };
                let reach = Reach { transport: self.transport, at, certificates: &yard.home, home };
                raw::play(&self.scenario.name, reach, &call_id, &yard.player.fifo)?;
            }
            None => self.sipp(yard, recorder, home, &call_id)?,
        }
        self.check(library, &call_id)
    }

    fn check(&self, library: &Library, call_id: &str) -> Result<(), String> {
        let expected = &self.scenario.recording;
        let found = library.of(call_id, expected.len());
        if found.len() != expected.len() {
            return Err(format!("{} recordings, expected {}", found.len(), expected.len()));
        }
        for (number, expected) in expected.iter().enumerate() {
            let of_tag =
                |tag: &str| expected.remote_tag.as_deref().is_none_or(|wanted| tag.starts_with(wanted));
            let tagged: Vec<_> = found.iter().filter(|(_, m)| of_tag(&m.sip.remote_tag)).collect();
            let one = if expected.remote_tag.is_some() { tagged.first() } else { tagged.get(number) };
            let Some((folder, manifest)) = one else { return Err("no recording with this tag".to_owned()) };
            let transport = &manifest.sip.transport;
            if transport != self.transport.name() {
                return Err(format!("recorded as over {transport}"));
            }
            compare(expected, folder, manifest, library)?;
        }
        Ok(())
    }

    fn sipp(&self, yard: &Yard, recorder: &Recorder, home: &Path, call_id: &str) -> Result<(), String> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let media = 6000 + NEXT.fetch_add(1, Ordering::Relaxed) % 1000 * 6;
        let log = |kind: &str| home.join(format!("{}-{}.{kind}", self.scenario.name, self.transport.name()));
        let mut sipp = Command::new(SIPP);
        if self.transport == Transport::Tls {
            sipp.arg("-tls_cert").arg(yard.home.join("client.pem"));
            sipp.arg("-tls_key").arg(yard.home.join("client.key"));
        }
        let run = sipp
            .arg("-sf")
            .arg(folder().join(format!("{}.xml", self.scenario.name)))
            .args(["-m", "1", "-nostdin"])
            .args(["-timeout", "20s", "-timeout_error", "-recv_timeout", "8000"])
            // A busy machine is nothing to complain of.
            .args(["-watchdog_minor_threshold", "60000", "-watchdog_major_threshold", "60000"])
            .args(["-p", &free_port().to_string(), "-t", self.transport.option()])
            .args(["-i", "127.0.0.1", "-mi", "127.0.0.1"])
            .args(["-min_rtp_port", &media.to_string(), "-max_rtp_port", &(media + 5).to_string()])
            .args(["-cid_str", call_id])
            .args(["-trace_err", "-error_file"])
            .arg(log("errors"))
            .args(["-trace_msg", "-message_file"])
            .arg(log("messages"))
            .arg(self.transport.at(recorder).to_string())
            .current_dir(folder())
            .env("TERM", "dumb")
            .env("PLAYER", &yard.player.fifo)
            .stdin(Stdio::null())
            .output()
            .map_err(|why| format!("{SIPP}: {why}"))?;
        let read = |kind| fs::read_to_string(log(kind)).unwrap_or_default().chars().take(TOLD_MAX).collect();
        let (errors, messages): (String, String) = (read("errors"), read("messages"));
        // SIPp ends well after an `ereg` in vain: it only says so.
        if run.status.success() && errors.is_empty() {
            return Ok(());
        }
        let said = if errors.is_empty() { said(&run) } else { run.status.to_string() };
        Err(format!("sipp: {said}\n{errors}\n{messages}"))
    }
}

fn compare(
    expected: &Expected,
    folder: &Path,
    manifest: &tapehead::recording::Manifest,
    library: &Library,
) -> Result<(), String> {
    let complaints = expected.complaints(manifest, &library.listen(folder)?);
    match complaints.is_empty() {
        true => Ok(()),
        false => Err(format!("{}\nnotes: {:?}", complaints.join("\n"), manifest.notes)),
    }
}
