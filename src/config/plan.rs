//! The checked configuration.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::listen::{Listen, StunPlan};
use super::peers::PeerPlan;
use super::raw::{Problem, Problems, Raw};
use super::settings::Value;
use super::tls::TlsPlan;
use crate::base::Network;
use crate::limits::{CALLS_MAX, HORIZON_MAX, NETWORKS_MAX, RATE_MAX, RECEIVE_BUFFERS_MAX, SHARDS_MAX};
use crate::link::PauseHow;

/// The name of the control socket in the folder of the recordings, unless another place is configured.
pub const CONTROL_SOCKET: &str = "control.sock";

/// What the recorder is started with. Only [`Plan::check`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// Shard threads.
    pub shards: usize,
    /// How they talk to the kernel.
    pub ring: RingChoice,
    /// How media is received.
    pub receive: ReceiveChoice,
    /// Whether threads are pinned to cores.
    pub pin: bool,
    /// Calls at once.
    pub calls_max: u32,
    /// New calls per second; 0: as many as come.
    pub calls_per_second_max: u32,
    /// How busy a shard may get before it takes no more calls, in percent of its core.
    pub shard_busy_max_percent: u8,
    /// Reorder horizon.
    pub horizon: Duration,
    /// How long running calls may go on after a stop signal.
    pub drain: Duration,
    /// Where SIP is taken.
    pub sip_listen: Vec<Listen>,
    /// Longest body of a SIP message on a stream, in bytes.
    pub body_bytes_max: usize,
    /// Whom we ask for our external address, if anybody.
    pub stun: Option<StunPlan>,
    /// How TLS is spoken; there if anything listens for it.
    pub tls: Option<TlsPlan>,
    /// Who may talk SIP at all, peers aside; empty: everybody.
    pub sip_allow: Vec<Network>,
    /// Record calls without a sign of SIPREC, too.
    pub any_call: bool,
    /// What is particular to single clients.
    pub peers: Vec<PeerPlan>,
    /// Where media is received.
    pub rtp_bind: IpAddr,
    /// First and last media port: the first even, the last odd.
    pub rtp_ports: (u16, u16),
    /// RTP of a call may be silent for this long before an alarm; zero: there is none.
    pub silence_alarm: Duration,
    /// Receive buffers per shard.
    pub receive_buffers: u32,
    /// Where the control socket is, unless there is none.
    pub control_socket: Option<PathBuf>,
    /// Folder of the recordings.
    pub recordings: PathBuf,
    /// What a pause by command leaves in a recording.
    pub pause: PauseHow,
    /// New calls are refused below this much room, in bytes.
    pub free_bytes_min: u64,
    /// Master key file.
    pub master_key: PathBuf,
    /// What is logged.
    pub log_level: LogLevel,
    /// How it is logged.
    pub log_format: LogFormat,
}

/// Which ring shards use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RingChoice {
    /// io_uring, else poll with a warning.
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// epoll.
    Poll,
}

/// Which receive tier shards use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReceiveChoice {
    /// The best that can be had.
    Auto,
    /// A socket per port.
    Sockets,
    /// A socket per shard, ports led to it by a BPF program, or no start.
    Steered,
    /// A tap per shard, past UDP and the firewall, or no start.
    Packet,
}

/// Least severity logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How lines are logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// What the plan depends on besides the settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Cores this process may use.
    pub cores: usize,
}

impl Plan {
    /// The plan that `raw` asks for on `machine`, or all that is wrong with it.
    pub fn check(raw: &Raw, machine: Machine) -> Result<Plan, Problems> {
        let mut check = Check { raw, problems: raw.problems().to_vec() };
        let plan = check.plan(machine);
        if check.problems.is_empty() { Ok(plan) } else { Err(Problems(check.problems)) }
    }

    /// RTP and RTCP port pairs of each shard: disjoint, of equal number.
    pub fn shard_ports(&self, shard: usize) -> (u16, u16) {
        let pairs = port_pairs(self.rtp_ports) / self.shards as u32;
        // Fits: the whole range did.
        let first = u32::from(self.rtp_ports.0) + 2 * pairs * shard as u32;
        (first as u16, (first + 2 * pairs - 1) as u16)
    }

    /// Calls of one shard: its share, rounded up.
    pub fn shard_calls_max(&self) -> u32 {
        self.calls_max.div_ceil(self.shards as u32)
    }
}

fn port_pairs((first, last): (u16, u16)) -> u32 {
    (u32::from(last) + 1).saturating_sub(u32::from(first)) / 2
}

pub(super) struct Check<'a> {
    pub(super) raw: &'a Raw,
    pub(super) problems: Vec<Problem>,
}

impl Check<'_> {
    fn plan(&mut self, machine: Machine) -> Plan {
        let rtp_ports = self.rtp_ports();
        let shards = self.shards(machine, rtp_ports);
        let calls_max = self.calls_max(rtp_ports);
        let (recordings, master_key) = self.folders();
        let sip_listen = self.listen();
        let tls = self.tls(&sip_listen);
        Plan {
            shards,
            ring: self.one_of(
                "ring",
                &[("auto", RingChoice::Auto), ("io_uring", RingChoice::IoUring), ("poll", RingChoice::Poll)],
            ),
            receive: self.receive(),
            pin: self.switch("pin"),
            calls_max,
            calls_per_second_max: self.number("calls_per_second_max", 0, RATE_MAX) as u32,
            shard_busy_max_percent: self.number("shard_busy_max_percent", 1, 100) as u8,
            horizon: self.milliseconds("horizon_ms", HORIZON_MAX),
            drain: Duration::from_secs(self.number("drain_seconds", 0, 24 * 3600)),
            sip_listen,
            body_bytes_max: (self.number("sip.body_kb_max", 64, 64 * 1024) << 10) as usize,
            stun: self.stun(),
            tls,
            sip_allow: self.networks("sip.allow", NETWORKS_MAX),
            any_call: self.switch("sip.any_call"),
            peers: self.peers(),
            rtp_bind: self.rtp_bind(),
            rtp_ports,
            silence_alarm: Duration::from_secs(self.number("rtp.silence_alarm_seconds", 0, 24 * 3600)),
            receive_buffers: self.receive_buffers(calls_max.div_ceil(shards as u32)),
            control_socket: self.control_socket(&recordings),
            recordings,
            pause: self.one_of("recordings.pause", &[("silence", PauseHow::Silence), ("cut", PauseHow::Cut)]),
            free_bytes_min: self.number("recordings.free_mb_min", 0, 1 << 40) << 20,
            master_key,
            log_level: self.one_of(
                "log.level",
                &[
                    ("error", LogLevel::Error),
                    ("warn", LogLevel::Warn),
                    ("info", LogLevel::Info),
                    ("debug", LogLevel::Debug),
                    ("trace", LogLevel::Trace),
                ],
            ),
            log_format: self.one_of("log.format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        }
    }

    pub(super) fn problem(&mut self, key: &str, what: impl std::fmt::Display) {
        let source = self.raw.value(key).1.clone();
        self.problems.push(Problem { source, what: format!("{key} {what}") });
    }

    pub(super) fn text(&self, key: &str) -> &str {
        match &self.raw.value(key).0 {
            Value::Text(text) => text.trim(),
            other => unreachable!("{key} is declared as text, not {other:?}"),
        }
    }

    pub(super) fn switch(&self, key: &str) -> bool {
        self.raw.value(key).0 == Value::Switch(true)
    }

    pub(super) fn number(&mut self, key: &str, min: u64, max: u64) -> u64 {
        let Value::Number(said) = self.raw.value(key).0 else {
            unreachable!("{key} is declared as a number")
        };
        match u64::try_from(said).ok().filter(|n| (min..=max).contains(n)) {
            Some(number) => number,
            None => {
                self.problem(key, format_args!("must be between {min} and {max}, not {said}"));
                min
            }
        }
    }

    pub(super) fn list(&self, key: &str) -> &[String] {
        match &self.raw.value(key).0 {
            Value::List(items) => items,
            other => unreachable!("{key} is declared as a list, not {other:?}"),
        }
    }

    fn milliseconds(&mut self, key: &str, max: Duration) -> Duration {
        Duration::from_millis(self.number(key, 0, max.as_millis() as u64))
    }

    pub(super) fn one_of<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
        let said = self.text(key).to_owned();
        match choices.iter().find(|(name, _)| *name == said) {
            Some((_, choice)) => *choice,
            None => {
                let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
                self.problem(key, format_args!("must be one of {}, not {said:?}", names.join(", ")));
                choices[0].1
            }
        }
    }

    pub(super) fn rtp_ports(&mut self) -> (u16, u16) {
        let said = self.text("rtp.ports").to_owned();
        let ends =
            said.split_once('-').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
        let wrong = match ends {
            None => Some(format!("must be a range like \"10000-19999\", not {said:?}")),
            // RFC 3550 section 11: RTP on the even port, RTCP on the next.
            Some((first, _)) if first % 2 != 0 => Some(format!("must start with an even port, not {first}")),
            Some((first, last)) if last % 2 != 1 || last < first => {
                Some(format!("must end with an odd port above {first}, not {last}"))
            }
            Some((first, _)) if first < 1024 => Some(format!("must start at 1024 or above, not {first}")),
            Some(_) => None,
        };
        if let Some(wrong) = wrong {
            self.problem("rtp.ports", wrong);
        }
        ends.unwrap_or((10_000, 19_999))
    }

    fn shards(&mut self, machine: Machine, ports: (u16, u16)) -> usize {
        let said = self.number("shards", 0, SHARDS_MAX as u64) as usize;
        let shards = match said {
            0 => machine.cores.saturating_sub(1).clamp(1, SHARDS_MAX),
            said => said,
        };
        let pairs = port_pairs(ports);
        if (pairs as usize) < shards {
            let what = format!("{}-{} has {pairs} port pairs, too few for {shards} shards", ports.0, ports.1);
            self.problem("rtp.ports", what);
        }
        shards
    }

    fn calls_max(&mut self, ports: (u16, u16)) -> u32 {
        let pairs = port_pairs(ports);
        let said = self.number("calls_max", 0, u64::from(CALLS_MAX)) as u32;
        if said > pairs {
            let what = format!(
                "is {said}, but rtp.ports {}-{} has only {pairs} port pairs and each call needs at least one",
                ports.0, ports.1
            );
            self.problem("calls_max", what);
        }
        match said {
            0 => (pairs / 2).clamp(1, CALLS_MAX),
            said => said,
        }
    }

    fn receive(&mut self) -> ReceiveChoice {
        let choices = [
            ("auto", ReceiveChoice::Auto),
            ("sockets", ReceiveChoice::Sockets),
            ("steered", ReceiveChoice::Steered),
            ("packet", ReceiveChoice::Packet),
        ];
        self.one_of("receive", &choices)
    }

    fn receive_buffers(&mut self, shard_calls: u32) -> u32 {
        let max = RECEIVE_BUFFERS_MAX as u64;
        let said = self.number("rtp.receive_buffers", 0, max) as u32;
        if said == 0 {
            // Two tracks, 50 packets a second, 100 ms, twice over.
            return (shard_calls.saturating_mul(20))
                .next_power_of_two()
                .clamp(1024, RECEIVE_BUFFERS_MAX as u32);
        }
        if !said.is_power_of_two() {
            self.problem(
                "rtp.receive_buffers",
                format_args!("must be a power of two up to {max}, not {said}"),
            );
        }
        said
    }

    fn rtp_bind(&mut self) -> IpAddr {
        let said = self.text("rtp.bind").to_owned();
        said.parse().unwrap_or_else(|_| {
            self.problem("rtp.bind", format_args!("must be an IP address, not {said:?}"));
            IpAddr::from([0, 0, 0, 0])
        })
    }

    fn control_socket(&self, recordings: &Path) -> Option<PathBuf> {
        match self.text("control.socket") {
            "" => Some(recordings.join(CONTROL_SOCKET)),
            "off" => None,
            path => Some(PathBuf::from(path)),
        }
    }

    fn folders(&mut self) -> (PathBuf, PathBuf) {
        let (dir, key) =
            (PathBuf::from(self.text("recordings.dir")), PathBuf::from(self.text("keys.master_file")));
        if dir.as_os_str().is_empty() {
            self.problem("recordings.dir", "is empty: name a folder");
        }
        if key.as_os_str().is_empty() {
            self.problem("keys.master_file", "is empty: name a file");
        } else if !dir.as_os_str().is_empty() && key.starts_with(&dir) {
            let what = "lies inside recordings.dir: whoever copies the recordings would have their key; put it elsewhere";
            self.problem("keys.master_file", what);
        }
        (dir, key)
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
