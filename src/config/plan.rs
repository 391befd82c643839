//! The checked configuration.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::peers::PeerPlan;
use super::raw::{Problem, Problems, Raw};
use super::settings::Value;
use crate::base::Network;
use crate::limits::{CALLS_MAX, HORIZON_MAX, NETWORKS_MAX, RATE_MAX, RECEIVE_BUFFERS_MAX, SHARDS_MAX};
use crate::sip::Transport;

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
    /// New calls are refused below this much room, in bytes.
    pub free_bytes_min: u64,
    /// Master key file.
    pub master_key: PathBuf,
    /// What is logged.
    pub log_level: LogLevel,
    /// How it is logged.
    pub log_format: LogFormat,
}

/// A listening point of SIP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Listen {
    /// Over what.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// What clients are told instead.
    pub external: Option<External>,
}

impl Listen {
    /// A listening point that clients know by its own address.
    pub fn new(transport: Transport, address: SocketAddr) -> Listen {
        Listen { transport, address, external: None }
    }
}

/// Our address as clients reach it, where a NAT stands between.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct External {
    /// For Contact, Via and SDP.
    pub ip: IpAddr,
    /// For Contact and Via, if the NAT changes that, too.
    pub port: Option<u16>,
}

impl External {
    fn parse(text: &str) -> Option<External> {
        let ip_only = text.parse().ok().map(|ip| External { ip, port: None });
        let both =
            || text.parse::<SocketAddr>().ok().map(|at| External { ip: at.ip(), port: Some(at.port()) });
        ip_only.or_else(both).filter(|external| !external.ip.is_unspecified() && external.port != Some(0))
    }
}

/// As a URI and a Via write it: an IPv6 address in brackets.
impl std::fmt::Display for External {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.ip, self.port) {
            (ip, Some(port)) => write!(f, "{}", SocketAddr::new(ip, port)),
            (IpAddr::V4(ip), None) => write!(f, "{ip}"),
            (IpAddr::V6(ip), None) => write!(f, "[{ip}]"),
        }
    }
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
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn plan(&mut self, machine: Machine) -> Plan {
        let rtp_ports = self.rtp_ports();
        let shards = self.shards(machine, rtp_ports);
        let calls_max = self.calls_max(rtp_ports);
        let (recordings, master_key) = self.folders();
        Plan {
            shards,
            ring: self.one_of(
                "ring",
                &[("auto", RingChoice::Auto), ("io_uring", RingChoice::IoUring), ("poll", RingChoice::Poll)],
            ),
            pin: self.switch("pin"),
            calls_max,
            calls_per_second_max: self.number("calls_per_second_max", 0, RATE_MAX) as u32,
            shard_busy_max_percent: self.number("shard_busy_max_percent", 1, 100) as u8,
            horizon: self.milliseconds("horizon_ms", HORIZON_MAX),
            drain: Duration::from_secs(self.number("drain_seconds", 0, 24 * 3600)),
            sip_listen: self.listen(),
            sip_allow: self.networks("sip.allow", NETWORKS_MAX),
            any_call: self.switch("sip.any_call"),
            peers: self.peers(),
            rtp_bind: self.rtp_bind(),
            rtp_ports,
            silence_alarm: Duration::from_secs(self.number("rtp.silence_alarm_seconds", 0, 24 * 3600)),
            receive_buffers: self.receive_buffers(calls_max.div_ceil(shards as u32)),
            control_socket: self.control_socket(&recordings),
            recordings,
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

    fn one_of<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
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

    fn rtp_ports(&mut self) -> (u16, u16) {
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

    fn listen(&mut self) -> Vec<Listen> {
        let said = self.list("sip.listen").to_vec();
        let mut listen = Vec::new();
        for item in &said {
            match listen_point(item) {
                Some(point) if point.address.port() != 0 && listen.iter().any(|known| same(known, &point)) => {
                    self.problem("sip.listen", format_args!("names {item:?} twice"));
                }
                Some(point) => listen.push(point),
                None => self.problem(
                    "sip.listen",
                    format_args!(
                        "takes \"udp:ADDRESS:PORT\" and \"tcp:ADDRESS:PORT\", with \";external=ADDRESS\" if need be, not {item:?}"
                    ),
                ),
            }
        }
        if said.is_empty() {
            self.problem("sip.listen", "is empty: no call could reach the recorder");
        }
        self.apart_from_media(&listen);
        let external = self.external_address();
        listen.iter_mut().for_each(|point| {
            point.external = point.external.or(external.filter(|e| e.ip.is_ipv4() == point.address.is_ipv4()))
        });
        listen
    }

    /// A SIP port inside the media range would be taken by the first of the two that binds it.
    fn apart_from_media(&mut self, listen: &[Listen]) {
        let (first, last) = self.rtp_ports_unchecked();
        let clash = listen
            .iter()
            .find(|l| l.transport == Transport::Udp && (first..=last).contains(&l.address.port()));
        if let Some(clash) = clash {
            let what =
                format!("takes UDP port {}, which is inside rtp.ports {first}-{last}", clash.address.port());
            self.problem("sip.listen", what);
        }
    }

    fn rtp_ports_unchecked(&self) -> (u16, u16) {
        let mut quiet = Check { raw: self.raw, problems: Vec::new() };
        quiet.rtp_ports()
    }

    /// The default of all listeners of its address family.
    fn external_address(&mut self) -> Option<External> {
        let said = self.text("sip.external_address").to_owned();
        let external = External::parse(&said).filter(|external| external.port.is_none());
        if !said.is_empty() && external.is_none() {
            self.problem(
                "sip.external_address",
                format_args!("must be an IP address that clients can reach, or empty, not {said:?}"),
            );
        }
        external
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

fn same(a: &Listen, b: &Listen) -> bool {
    (a.transport, a.address) == (b.transport, b.address)
}

fn listen_point(text: &str) -> Option<Listen> {
    let (point, external) = match text.split_once(";external=") {
        Some((point, external)) => (point, Some(External::parse(external)?)),
        None => (text, None),
    };
    let (transport, address) = point.split_once(':')?;
    let transport = match transport {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        _ => return None,
    };
    Some(Listen { external, ..Listen::new(transport, address.parse().ok()?) })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
