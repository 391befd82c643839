//! What a run does: how many calls, how they come and go, over what, and how their streams behave. Read from a plan file, from flags, or both.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tapehead::sip::Transport;
use tapehead::srtp::Suite;

use crate::profile::Profile;
use crate::ramp::Distribution;

/// Over what signalling goes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Signalling {
    /// Datagrams, sent again by the timers of RFC 3261.
    #[default]
    Udp,
    /// One connection.
    Tcp,
    /// One connection, with a certificate of ours; see `--tls-certificate`.
    Tls,
}

impl From<Signalling> for Transport {
    fn from(signalling: Signalling) -> Transport {
        match signalling {
            Signalling::Udp => Transport::Udp,
            Signalling::Tcp => Transport::Tcp,
            Signalling::Tls => Transport::Tls,
        }
    }
}

/// The files of TLS.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFiles {
    /// Our certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Who signs the recorder's, PEM.
    pub ca: PathBuf,
    /// A name the recorder's may bear instead of its address; `*`: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A whole run. Durations are in seconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// What all that is drawn is drawn from.
    #[serde(with = "seed_text")]
    pub seed: u64,
    /// Where the recorder takes SIP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<SocketAddr>,
    /// Over what.
    pub signalling: Signalling,
    /// Our own address; `None`: the one that the routing table chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_ip: Option<IpAddr>,
    /// Calls at once.
    pub calls: usize,
    /// New calls per second, while there are fewer.
    pub rate: f64,
    /// For how long calls are begun and kept, in seconds; then they are ended.
    pub for_s: f64,
    /// Calls altogether; `None`: as many as it takes to keep up `calls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Mean length of a call, in seconds; `None`: until the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// How lengths are distributed.
    pub distribution: Distribution,
    /// Streams of a call.
    pub tracks: u32,
    /// The crypto suite of the media, by its registered name; `None`: in clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srtp: Option<String>,
    /// Threads that send.
    pub threads: usize,
    /// Sockets that each of them sends from.
    pub sockets: usize,
    /// Cores that the sending threads are pinned to, in order; empty: wherever the system puts them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cores: Vec<usize>,
    /// How late the latest packet in a hundred may go out, in milliseconds, before the run proves nothing.
    pub late_ms_max: f64,
    /// The files of TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// How streams behave, by weight.
    #[serde(rename = "profile")]
    pub profiles: Vec<Profile>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            seed: 1,
            target: None,
            signalling: Signalling::Udp,
            local_ip: None,
            calls: 10,
            rate: 10.0,
            for_s: 30.0,
            total: None,
            duration_s: None,
            distribution: Distribution::Fixed,
            tracks: 2,
            srtp: None,
            threads: 1,
            sockets: 4,
            cores: Vec::new(),
            late_ms_max: 10.0,
            tls: None,
            profiles: vec![Profile::default()],
        }
    }
}

/// Calls at once.
pub const CALLS_MAX: usize = 1_000_000;
/// Streams of a call.
pub const TRACKS_MAX: u32 = 8;
/// Threads that send.
pub const THREADS_MAX: usize = 64;
/// Sockets of each.
pub const SOCKETS_MAX: usize = 256;

impl Plan {
    /// Reads a plan file.
    pub fn read(path: &Path) -> Result<Plan, String> {
        let text = std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
        Plan::parse(&text).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// Reads a plan.
    pub fn parse(text: &str) -> Result<Plan, String> {
        toml::from_str(text).map_err(|why| why.to_string())
    }

    /// The plan as a file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a plan holds nothing that TOML has not")
    }

    /// Whether it can be carried out; if not, what is wrong and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let within = |what: &str, value: f64, low: f64, high: f64| match (low..=high).contains(&value) {
            true => Ok(()),
            false => Err(format!("{what} must be from {low} to {high}, not {value}")),
        };
        within("calls", self.calls as f64, 1.0, CALLS_MAX as f64)?;
        within("rate", self.rate, 0.001, 100_000.0)?;
        within("for_s (--for)", self.for_s, 0.1, 1e7)?;
        within("total", self.total.unwrap_or(1) as f64, 1.0, 1e15)?;
        within("duration_s (--duration)", self.duration_s.unwrap_or(1.0), 0.1, 1e7)?;
        within("tracks", f64::from(self.tracks), 1.0, f64::from(TRACKS_MAX))?;
        within("threads", self.threads as f64, 1.0, THREADS_MAX as f64)?;
        within("sockets", self.sockets as f64, 1.0, SOCKETS_MAX as f64)?;
        within("late_ms_max", self.late_ms_max, 0.1, 1e6)?;
        self.suite()?;
        if self.signalling == Signalling::Tls && self.tls.is_none() {
            return Err("signalling by TLS needs --tls-certificate, --tls-key and --tls-ca".to_owned());
        }
        if self.profiles.iter().all(|profile| profile.share <= 0.0) {
            return Err("no profile has a share: no call would have any".to_owned());
        }
        self.profiles.iter().try_for_each(Profile::check)
    }

    /// The crypto suite, if there is one.
    pub fn suite(&self) -> Result<Option<Suite>, String> {
        let Some(name) = &self.srtp else { return Ok(None) };
        Suite::named(name).map(Some).ok_or_else(|| {
            let known: Vec<&str> = Suite::ALL.iter().map(|suite| suite.name()).collect();
            format!("srtp: there is no crypto suite {name}; there are {}", known.join(", "))
        })
    }

    /// How long calls are begun and kept.
    pub fn lasts(&self) -> Duration {
        Duration::from_secs_f64(self.for_s)
    }

    /// How long a call lasts, if it does not last to the end.
    pub fn length(&self, call: u64) -> Option<Duration> {
        let mean = Duration::from_secs_f64(self.duration_s?);
        Some(self.distribution.length(mean, self.seed, call))
    }
}

/// TOML's integers have 63 bits: a seed is written as text, and read as either.
mod seed_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(seed: &u64, out: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(*seed) {
            Ok(seed) => out.serialize_i64(seed),
            Err(_) => out.serialize_str(&seed.to_string()),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Seed {
            Number(u64),
            Text(String),
        }
        match Seed::deserialize(from)? {
            Seed::Number(seed) => Ok(seed),
            Seed::Text(text) => text.parse().map_err(|_| de::Error::custom("a seed is a number below 2^64")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let plan = Plan {
            seed: u64::MAX,
            target: Some(([127, 0, 0, 1], 5060).into()),
            total: Some(40),
            duration_s: Some(12.5),
            srtp: Some("AEAD_AES_256_GCM".to_owned()),
            cores: vec![1],
            tls: Some(TlsFiles::default()),
            profiles: vec![
                Profile::default(),
                Profile { name: "bad".to_owned(), loss: 0.1, ..Profile::default() },
            ],
            ..Plan::default()
        };
        assert_eq!(Plan::parse(&plan.to_toml()).unwrap(), plan);
        let small = Plan { seed: 3, ..plan };
        assert!(small.to_toml().contains("seed = 3\n"));
        assert_eq!(Plan::parse(&small.to_toml()).unwrap(), small);
        assert_eq!(Plan::parse("").unwrap(), Plan::default());
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_with_its_name() {
        let wrong = |change: fn(&mut Plan)| {
            let mut plan = Plan::default();
            change(&mut plan);
            plan.check().unwrap_err()
        };
        assert!(Plan::default().check().is_ok());
        assert!(wrong(|plan| plan.rate = 0.0).starts_with("rate must be from"));
        assert!(wrong(|plan| plan.rate = f64::NAN).starts_with("rate must be from"));
        assert!(wrong(|plan| plan.tracks = 9).starts_with("tracks"));
        assert!(wrong(|plan| plan.srtp = Some("ROT13".to_owned())).contains("AES_CM_128_HMAC_SHA1_80"));
        assert!(wrong(|plan| plan.signalling = Signalling::Tls).contains("--tls-ca"));
        assert!(wrong(|plan| plan.profiles[0].share = 0.0).contains("share"));
        assert!(wrong(|plan| plan.profiles[0].loss = 2.0).contains("from 0 to 1"));
        assert!(Plan::parse("callz = 3").unwrap_err().contains("callz"));
    }
}
