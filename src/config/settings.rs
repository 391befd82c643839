//! Every setting, declared once.

use std::fmt;

/// What a setting holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A string.
    Text(String),
    /// An integer.
    Number(i64),
    /// true or false.
    Switch(bool),
    /// Strings; in an environment variable separated by commas.
    List(Vec<String>),
}

/// As TOML writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &String| toml::Value::String(text.clone()).to_string();
        match self {
            Value::Text(text) => f.write_str(&quoted(text)),
            Value::Number(number) => write!(f, "{number}"),
            Value::Switch(on) => write!(f, "{on}"),
            Value::List(items) => {
                write!(f, "[{}]", items.iter().map(quoted).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// The default of a setting, and with it its kind.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// A string.
    Text(&'static str),
    /// An integer.
    Number(i64),
    /// true or false.
    Switch(bool),
    /// Strings.
    List(&'static [&'static str]),
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its TOML key: `table.name`, or a bare name at the top.
    pub key: &'static str,
    /// Its value when nothing is said.
    pub default: Default,
    /// What it does: one or more lines.
    pub help: &'static str,
}

impl Setting {
    /// The environment variable that sets it: `rtp.ports` is `TAPEHEAD_RTP_PORTS`.
    pub fn variable(&self) -> String {
        variable(self.key)
    }

    /// Its default as a value.
    pub fn default_value(&self) -> Value {
        match self.default {
            Default::Text(text) => Value::Text(text.to_owned()),
            Default::Number(number) => Value::Number(number),
            Default::Switch(on) => Value::Switch(on),
            Default::List(items) => Value::List(items.iter().map(|item| (*item).to_owned()).collect()),
        }
    }

    /// What it takes, for error messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.default {
            Default::Text(_) => "a string",
            Default::Number(_) => "an integer",
            Default::Switch(_) => "true or false",
            Default::List(_) => "a list of strings",
        }
    }
}

/// What every variable of ours starts with; one that starts so and is no setting is an error.
pub const VARIABLE_PREFIX: &str = "TAPEHEAD_";

const fn setting(key: &'static str, default: Default, help: &'static str) -> Setting {
    Setting { key, default, help }
}

/// The settings, in the order in which they are printed: those without a table first, as TOML demands.
pub const SETTINGS: &[Setting] = &[
    setting(
        "shards",
        Default::Number(0),
        "Threads that receive and write media, each with its own slice of the RTP ports.\n0: one per core but one, at least one.",
    ),
    setting(
        "ring",
        Default::Text("auto"),
        "How shards talk to the kernel: \"io_uring\", \"poll\", or \"auto\": io_uring, and poll with a warning where the kernel refuses it.",
    ),
    setting(
        "receive",
        Default::Text("auto"),
        "How media is received: \"sockets\" (one per port; no privileges), \"steered\" (one per shard, ports led to it by a BPF program: CAP_BPF,\nCAP_NET_ADMIN, Linux 5.9), \"packet\" (read in place, past UDP and the firewall; one address in rtp.bind: CAP_NET_RAW as well, Linux 6.6), or\n\"auto\": the better of the first two that can be had; the log says why it is not a better one.",
    ),
    setting(
        "pin",
        Default::Switch(true),
        "Pin each shard to a core of its own, and signalling to the last core.",
    ),
    setting(
        "calls_max",
        Default::Number(0),
        "Calls recorded at once; the next one is answered 503.\n0: as many two-track calls as the RTP ports are enough for.",
    ),
    setting(
        "calls_per_second_max",
        Default::Number(0),
        "New calls taken per second, a second's worth of them at once; those beyond are answered 503. 0: as many as come.",
    ),
    setting(
        "shard_busy_max_percent",
        Default::Number(85),
        "A shard that uses more of its core than this gets no new calls; when no shard is left they are answered 503.\n100: no bound.",
    ),
    setting(
        "horizon_ms",
        Default::Number(200),
        "How long a late packet is waited for before its place is sealed, in milliseconds.",
    ),
    setting(
        "drain_seconds",
        Default::Number(10),
        "After SIGTERM or SIGINT: how long running calls may go on before they are closed. New ones get 503 at once.",
    ),
    setting(
        "sip.listen",
        Default::List(&["udp:0.0.0.0:5060", "tcp:0.0.0.0:5060"]),
        "Where SIP is taken: \"udp:ADDRESS:PORT\", \"tcp:ADDRESS:PORT\" or \"tls:ADDRESS:PORT\". Port 0 lets the system choose; the log says which.\nWhere clients reach it by another address (NAT): \"udp:0.0.0.0:5060;external=203.0.113.5\", with a port if that differs, too.",
    ),
    setting(
        "sip.external_address",
        Default::Text(""),
        "The IP address put into Contact and SDP, where clients reach another than ours (NAT): for each listener of its address family\nthat names none itself. Empty: the local address that the client reached.",
    ),
    setting(
        "sip.allow",
        Default::List(&[]),
        "The addresses that may talk SIP to the recorder, as \"10.0.0.0/8\" or \"192.0.2.7\"; what others send is dropped unanswered.\nPeers' networks are allowed without being named here. Empty: everybody.",
    ),
    setting(
        "sip.any_call",
        Default::Switch(false),
        "Record every call, also those that show no sign of SIPREC (which otherwise get 421).",
    ),
    setting(
        "sip.body_kb_max",
        Default::Number(1024),
        "Longest body of a SIP message over TCP or TLS, in KiB; a longer one is answered 413 and stepped over.",
    ),
    setting(
        "tls.certificate",
        Default::Text(""),
        "Our certificate for tls: listeners, PEM, followed by what leads from it to its root. TLS 1.2 and 1.3 are spoken.\nThis and the other files are read again when they change, and on SIGHUP; one that can't be used leaves the old in force.",
    ),
    setting(
        "tls.key",
        Default::Text(""),
        "The private key of that certificate, PEM. Nobody else should be able to read it.",
    ),
    setting(
        "tls.client_certificates",
        Default::Text("none"),
        "Whether clients have to show a certificate: \"none\", \"optional\" (a bad one is refused, none is not) or \"required\".",
    ),
    setting(
        "tls.client_ca",
        Default::Text(""),
        "Who may have signed the certificates of clients: one or more certificates, PEM.",
    ),
    setting(
        "tls.server_ca",
        Default::Text(""),
        "Who may have signed the certificate of a client that we connect to because its own connection is gone, PEM.\nEmpty: the same as tls.client_ca. If both are empty, we connect to nobody.",
    ),
    setting(
        "tls.server_names",
        Default::List(&[]),
        "Such a certificate has to bear the IP address connected to or one of these names. \"*\": any name, if signed by that CA.",
    ),
    setting(
        "nat.stun_server",
        Default::Text(""),
        "A STUN server, \"HOST:PORT\", asked which address we are seen at from outside: used as sip.external_address would be,\nfor listeners of its family that have none. The NAT has to keep the ports. Empty: nobody is asked.",
    ),
    setting(
        "nat.stun_seconds",
        Default::Number(300),
        "How often it is asked, in seconds. When the answer changes, new calls are told the new address.",
    ),
    setting("rtp.bind", Default::Text("0.0.0.0"), "The local address on which media is received."),
    setting(
        "rtp.ports",
        Default::Text("10000-19999"),
        "UDP ports for media, first and last. Each track takes two: an even one for RTP, the next for RTCP.",
    ),
    setting(
        "rtp.receive_buffers",
        Default::Number(0),
        "Receive buffers per shard, a power of two.\n0: enough for 100 ms of standstill at calls_max, twice over.",
    ),
    setting(
        "rtp.silence_alarm_seconds",
        Default::Number(30),
        "A call for which no RTP has come for so long, hold aside, is told of in the log. It goes on all the same. 0: never.",
    ),
    setting(
        "control.socket",
        Default::Text(""),
        "The Unix socket through which `tapehead ctl` talks to the recorder; for its own user and root alone.\nEmpty: `control.sock` in recordings.dir. \"off\": none.",
    ),
    setting("recordings.dir", Default::Text("./recordings"), "Where recordings are written."),
    setting(
        "recordings.pause",
        Default::Text("silence"),
        "What a pause by command leaves in a recording: \"silence\", as long as the pause; or \"cut\": nothing, the file ends and the next begins.",
    ),
    setting(
        "recordings.free_mb_min",
        Default::Number(512),
        "New calls are answered 503 while the file system of the recordings has less room than this, in MiB. Running calls go on.",
    ),
    setting(
        "keys.master_file",
        Default::Text("./tapehead.key"),
        "The master key that wraps each recording's data key; created with mode 0600 when absent.\nWithout it no recording can be opened: keep a copy, and keep it away from the recordings.",
    ),
    setting(
        "log.level",
        Default::Text("info"),
        "What is logged: \"error\", \"warn\", \"info\", \"debug\" or \"trace\".",
    ),
    setting(
        "log.format",
        Default::Text("text"),
        "How: \"text\" for people, \"json\" for machines, one object per line.",
    ),
];

/// What can be said of a peer, below `peers.NAME`.
pub const PEER_SETTINGS: &[Setting] = &[
    setting(
        "networks",
        Default::List(&[]),
        "The addresses that it sends SIP from, as \"10.0.0.0/8\" or \"192.0.2.7\". Where several peers' networks hold an address, the smallest counts.",
    ),
    setting(
        "rate_per_second",
        Default::Number(0),
        "Requests outside of calls (INVITE, OPTIONS and so on) that are taken per second; those beyond it get 503. 0: no limit.",
    ),
    setting(
        "calls_max",
        Default::Number(0),
        "Calls of this peer recorded at once; the next one is answered 503. 0: no limit.",
    ),
    setting(
        "codecs",
        Default::List(&[]),
        "Take only these codecs, in this order of preference: \"PCMU\", \"PCMA\". Empty: every codec that can be stored, in the order offered.",
    ),
    setting(
        "external_address",
        Default::Text(""),
        "The IP address put into Contact and SDP for this peer. Empty: as for everybody.",
    ),
    setting(
        "reinvite",
        Default::Switch(false),
        "The recorder may send this peer INVITEs inside of a call (to pause and resume it). Many clients take none: off leaves them in peace.",
    ),
    setting(
        "any_call",
        Default::Switch(false),
        "Record every call of this peer, also those that show no sign of SIPREC.",
    ),
    setting(
        "digest_user",
        Default::Text(""),
        "Ask this peer to authenticate itself (RFC 3261 section 22) under this name. Empty: do not ask.",
    ),
    setting(
        "digest_secret_file",
        Default::Text(""),
        "The file that holds the password to digest_user, in its first line. For its owner alone.",
    ),
];

/// The setting of this key.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    match peer_key(key) {
        Some((_, key)) => PEER_SETTINGS.iter().find(|setting| setting.key == key),
        None => SETTINGS.iter().find(|setting| setting.key == key),
    }
}

/// Name and setting in `peers.NAME.SETTING`.
pub(super) fn peer_key(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("peers.")?.split_once('.')
}

/// Whether a peer may be called that: the name has to fit into a variable and a metric.
pub(super) fn is_peer_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The environment variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace(['.', '-'], "_").to_ascii_uppercase())
}

/// The key that a variable sets for a peer of which nothing has been said yet: its name is the variable's in small letters.
pub(super) fn peer_of_variable(name: &str) -> Option<String> {
    let rest = name.strip_prefix(VARIABLE_PREFIX)?.strip_prefix("PEERS_")?.to_ascii_lowercase();
    let setting =
        PEER_SETTINGS.iter().find(|s| rest.strip_suffix(s.key).is_some_and(|peer| peer.ends_with('_')))?;
    let peer = rest.strip_suffix(setting.key)?.strip_suffix('_')?;
    is_peer_name(peer).then(|| format!("peers.{peer}.{}", setting.key))
}

/// Of `candidates` the one that looks most like `wanted`, if any looks like it at all.
pub(super) fn nearest(wanted: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    candidates
        .map(|candidate| (distance(wanted, &candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(wanted.len()) / 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_has_a_variable_of_its_own_and_those_at_the_top_come_first() {
        let mut variables: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
        variables.sort();
        variables.dedup();
        assert_eq!(variables.len(), SETTINGS.len());
        assert!(SETTINGS.is_sorted_by_key(|setting| setting.key.contains('.')));
        assert_eq!(find("rtp.ports").unwrap().variable(), "TAPEHEAD_RTP_PORTS");
    }

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let keys = || SETTINGS.iter().map(|s| s.key.to_owned());
        assert_eq!(nearest("rtp.port", keys()).as_deref(), Some("rtp.ports"));
        assert_eq!(nearest("horizon", keys()).as_deref(), Some("horizon_ms"));
        assert_eq!(nearest("x", keys()), None);
        assert_eq!((distance("kitten", "sitting"), distance("", "ab")), (3, 2));
    }
}
