//! Which receive tier a recorder gets: the best that this machine and these privileges allow, and what stands in the way of a better one.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use super::packet::{self, PacketError, PacketPlan};
use super::steered;
use super::tier::PortSlice;
use crate::config::ReceiveChoice;
use crate::sys::bpf::BpfError;
use crate::sys::capability::Capability;
use crate::sys::rlimit::status_field;

/// A way to receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TierKind {
    /// A socket per port; the ring receives.
    Sockets,
    /// A socket per shard, to which a program leads its ports.
    Steered,
    /// A tap per shard, read in place, past UDP and the firewall.
    Packet,
}

impl fmt::Display for TierKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TierKind::Sockets => "sockets",
            TierKind::Steered => "steered",
            TierKind::Packet => "packet",
        })
    }
}

/// What is tried without being asked for, best first.
const ORDER: [TierKind; 2] = [TierKind::Steered, TierKind::Sockets];

/// Why a tier can't be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TierError {
    /// The process lacks capabilities.
    Capabilities {
        /// Which.
        missing: Vec<&'static str>,
    },
    /// The process is in a user namespace, where bpf(2) is not permitted whatever capabilities it has there.
    UserNamespace,
    /// A seccomp filter forbids bpf(2), as container runtimes have by default.
    Seccomp,
    /// Not permitted, and neither of these says why: a security module, or lockdown.
    NotPermitted {
        /// What was refused.
        call: &'static str,
    },
    /// The kernel was built without it.
    Absent,
    /// The kernel is too old.
    TooOld {
        /// What is missing.
        feature: &'static str,
        /// The first kernel that has it.
        since: &'static str,
    },
    /// The kernel's verifier does not accept our program.
    Refused {
        /// Its words.
        log: String,
    },
    /// Somebody holds the port on which a shard receives.
    PortTaken {
        /// Which.
        at: SocketAddr,
    },
    /// What is sent to this port of ours does not come.
    NotHeard {
        /// Which.
        at: SocketAddr,
    },
    /// Calls may come over IPv4 and over IPv6, and it receives one of the two.
    TwoFamilies,
    /// What is particular to the tier `packet`.
    Packet(PacketError),
    /// It differs from sockets in more than cost, so it has to be asked for.
    OnRequest,
    /// Something else.
    System {
        /// The call that failed.
        call: &'static str,
        /// Why, as `std::io::Error::from_raw_os_error` takes it.
        errno: i32,
    },
}

impl std::error::Error for TierError {}

impl fmt::Display for TierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TierError::Capabilities { missing } => {
                let (names, list) = (missing.join(" "), missing.join(",").to_lowercase());
                let them = if missing.len() == 1 { "it" } else { "them" };
                write!(
                    f,
                    "{names} missing: start as root or grant {them} (systemd: AmbientCapabilities={names}; file: setcap {list}+ep)"
                )
            }
            TierError::UserNamespace => f.write_str(
                "this process is in a user namespace (a rootless container), where bpf(2) is not permitted: run it outside of one",
            ),
            TierError::Seccomp => f.write_str(
                "a seccomp filter forbids bpf(2), as container runtimes do by default: allow it in the profile (Docker: --cap-add CAP_BPF \
                 --cap-add CAP_NET_ADMIN --security-opt seccomp=PROFILE.json)",
            ),
            TierError::NotPermitted { call } => write!(
                f,
                "{call} is not permitted, and neither capabilities nor seccomp nor a user namespace is why: ask the security module \
                 (SELinux, AppArmor) and /sys/kernel/security/lockdown"
            ),
            TierError::Absent => f.write_str("this kernel has no bpf(2): one built with CONFIG_BPF_SYSCALL is needed"),
            TierError::TooOld { feature, since } => {
                write!(f, "this kernel has no {feature}: Linux {since} or later is needed, built with CONFIG_BPF_SYSCALL and CONFIG_INET")
            }
            TierError::Refused { log } => {
                write!(f, "the kernel's verifier does not accept our program; please report this: {}", log.trim_end())
            }
            TierError::TwoFamilies => f.write_str(
                "rtp.bind is 0.0.0.0 and sip.listen has IPv6 addresses, so that media may come over either, and this tier receives one of them: \
                 set rtp.bind to the one address of media",
            ),
            TierError::PortTaken { at } => {
                write!(f, "UDP {at} is taken: another recorder or program uses ports of rtp.ports; give this one others")
            }
            TierError::NotHeard { at } => write!(
                f,
                "a datagram to our own {at} did not arrive: another recorder has the same rtp.ports, or a firewall drops it on the loopback \
                 interface"
            ),
            TierError::Packet(why) => why.fmt(f),
            TierError::OnRequest => f.write_str(
                "firewall rules do not apply to it and fragments are not put together, so it has to be asked for: receive = \"packet\"",
            ),
            TierError::System { call, errno } => {
                write!(f, "{call} failed: {}", io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

impl TierError {
    /// What bpf(2) means by its refusal, given that a program for `feature` was at stake, which is there `since`.
    pub(super) fn bpf(feature: &'static str, since: &'static str) -> impl Fn(BpfError) -> TierError + Copy {
        move |BpfError { call, errno, log }| match errno {
            libc::EPERM | libc::EACCES if log.is_empty() => not_permitted(call),
            libc::ENOSYS => TierError::Absent,
            libc::EINVAL if log.is_empty() => TierError::TooOld { feature, since },
            _ if !log.is_empty() => TierError::Refused { log },
            _ => TierError::System { call, errno },
        }
    }

    /// A system call that failed.
    pub(super) fn system(call: &'static str) -> impl Fn(io::Error) -> TierError {
        move |error| match error.raw_os_error().unwrap_or(libc::EIO) {
            libc::EPERM => not_permitted(call),
            errno => TierError::System { call, errno },
        }
    }
}

impl From<PacketError> for TierError {
    fn from(error: PacketError) -> TierError {
        match error {
            PacketError::Tap(refused) if refused.errno == libc::EPERM => who_forbids(refused.call, &TAPPING),
            PacketError::Bpf(error) | PacketError::Ingress(error) if error.errno == libc::EPERM => {
                who_forbids(error.call, &TAPPING)
            }
            PacketError::PortTaken { at } => TierError::PortTaken { at },
            PacketError::Bpf(error) => TierError::bpf("BPF array in user memory", "5.5")(error),
            other => TierError::Packet(other),
        }
    }
}

/// What programs need,
const STEERING: [(Capability, &str); 2] =
    [(Capability::Bpf, "CAP_BPF"), (Capability::NetAdmin, "CAP_NET_ADMIN")];
/// ... and with taps.
const TAPPING: [(Capability, &str); 3] = [(Capability::NetRaw, "CAP_NET_RAW"), STEERING[0], STEERING[1]];

/// Who says no?
fn not_permitted(call: &'static str) -> TierError {
    who_forbids(call, &STEERING)
}

fn who_forbids(call: &'static str, needed: &[(Capability, &'static str)]) -> TierError {
    let admin = Capability::SysAdmin.is_had();
    let lacks = |capability: Capability| !(capability.is_had() || capability == Capability::Bpf && admin);
    let missing: Vec<_> = needed.iter().filter(|(one, _)| lacks(*one)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        return TierError::Capabilities { missing };
    }
    if status_field("Seccomp").is_some_and(|mode| mode == "2") {
        return TierError::Seccomp;
    }
    match in_user_namespace() {
        true => TierError::UserNamespace,
        false => TierError::NotPermitted { call },
    }
}

/// In the first one every user is itself.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"]
}

/// What was found out about a tier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probed {
    /// Which.
    pub tier: TierKind,
    /// Whether it can be had here and now, or why not.
    pub outcome: Result<(), TierError>,
}

/// Tries each tier on loopback, best first, with all that it needs; it is gone when this returns. To be called before privileges are
/// given up.
pub fn probe() -> Vec<Probed> {
    let all = [TierKind::Packet, TierKind::Steered, TierKind::Sockets];
    all.into_iter().map(|tier| Probed { tier, outcome: try_out(tier) }).collect()
}

fn try_out(tier: TierKind) -> Result<(), TierError> {
    match tier {
        TierKind::Sockets => Ok(()),
        TierKind::Packet => Ok(packet::probe(Ipv4Addr::LOCALHOST.into(), &[])?),
        TierKind::Steered => {
            let free =
                std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
            let first = free.map_err(TierError::system("bind"))?.port();
            let slice = PortSlice { address: Ipv4Addr::LOCALHOST.into(), first, count: 1 };
            steered::open(&[slice]).map(drop)
        }
    }
}

/// The tier that is to be used, opened.
pub struct Chosen {
    /// Which.
    pub tier: TierKind,
    /// Better ones, and why they are not it.
    pub passed_over: Vec<(TierKind, TierError)>,
    /// For each shard, in order.
    pub sources: Vec<ShardSource>,
}

/// Where a shard's datagrams come from.
pub enum ShardSource {
    /// The ring's own sockets.
    Sockets,
    /// A socket for the whole slice.
    Steered(PortSlice, Box<steered::Opened>),
    /// A tap for the whole slice.
    Packet(PortSlice, Box<packet::Opened>),
}

/// Opens the tier of `choice` for shards with these slices, which follow each other and are of one length. Needs the privileges of the tier, and
/// they are not needed after it.
///
/// # Errors
/// The tier that was asked for can't be had, and why. With [`ReceiveChoice::Auto`] there is always one.
pub fn open(choice: ReceiveChoice, slices: &[PortSlice]) -> Result<Chosen, (TierKind, TierError)> {
    let only = |tier| open_one(tier, slices).map_err(|why| (tier, why));
    let chosen = |tier, passed_over| move |sources| Chosen { tier, passed_over, sources };
    match choice {
        ReceiveChoice::Sockets => only(TierKind::Sockets).map(chosen(TierKind::Sockets, Vec::new())),
        ReceiveChoice::Steered => only(TierKind::Steered).map(chosen(TierKind::Steered, Vec::new())),
        ReceiveChoice::Packet => only(TierKind::Packet).map(chosen(TierKind::Packet, Vec::new())),
        ReceiveChoice::Auto => {
            let mut passed_over = vec![(TierKind::Packet, TierError::OnRequest)];
            for tier in ORDER {
                match open_one(tier, slices) {
                    Ok(sources) => return Ok(Chosen { tier, passed_over, sources }),
                    Err(why) => passed_over.push((tier, why)),
                }
            }
            // The last one opens nothing, so it does not fail.
            Err(passed_over.pop().expect("there are tiers"))
        }
    }
}

fn open_one(tier: TierKind, slices: &[PortSlice]) -> Result<Vec<ShardSource>, TierError> {
    match tier {
        TierKind::Sockets => Ok(slices.iter().map(|_| ShardSource::Sockets).collect()),
        TierKind::Steered => {
            let opened = steered::open(slices)?;
            let sources = slices.iter().zip(opened);
            Ok(sources.map(|(slice, opened)| ShardSource::Steered(*slice, Box::new(opened))).collect())
        }
        TierKind::Packet => {
            // A port pair is a stream of 50 packets per second.
            let streams = slices.iter().map(|slice| u64::from(slice.count) / 2).max().unwrap_or(0);
            let plan = PacketPlan { slices, interfaces: &[], blocks: packet::blocks_for(streams * 50) };
            let sources = slices.iter().zip(packet::open(&plan)?);
            Ok(sources.map(|(slice, opened)| ShardSource::Packet(*slice, Box::new(opened))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tiers_need_is_what_tuning_grants_and_what_the_manual_says() {
        let conf = include_str!("../../tuning/capabilities.conf");
        let granted: Vec<&str> = conf.lines().filter(|line| line.contains("=CAP_")).collect();
        let names = |line: &str| line.split_once('=').unwrap().1.split(' ').map(str::to_owned).collect();
        let sets: Vec<Vec<String>> = granted.iter().map(|line| names(line)).collect();
        assert!(sets.len() == 2 && sets[0] == sets[1], "ambient and bounding set: {granted:?}");
        for (_, needed) in TAPPING {
            assert!(sets[0].iter().any(|name| name == needed), "{needed} in {granted:?}");
        }
        let manual = include_str!("../manual/receive_tiers.rs");
        for line in granted {
            assert!(manual.contains(&format!("//!   {line}\n")), "{line}");
        }
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let at = "127.0.0.1:10000".parse().unwrap();
        let cases = [
            (
                TierError::Capabilities { missing: vec!["CAP_BPF", "CAP_NET_ADMIN"] },
                "AmbientCapabilities=CAP_BPF CAP_NET_ADMIN",
            ),
            (TierError::UserNamespace, "outside"),
            (TierError::Seccomp, "seccomp=PROFILE.json"),
            (TierError::NotPermitted { call: "bpf" }, "lockdown"),
            (TierError::Absent, "CONFIG_BPF_SYSCALL"),
            (TierError::TooOld { feature: "sk_lookup programs", since: "5.9" }, "Linux 5.9"),
            (TierError::Refused { log: "R0 !read_ok\n".to_owned() }, "R0 !read_ok"),
            (TierError::PortTaken { at }, "rtp.ports"),
            (TierError::NotHeard { at }, "rtp.ports"),
            (TierError::TwoFamilies, "set rtp.bind"),
            (TierError::Packet(PacketError::Unspecified), "rtp.bind"),
            (TierError::OnRequest, "receive = \"packet\""),
        ];
        for (error, way_out) in cases {
            assert!(error.to_string().contains(way_out), "{error}");
        }
    }

    #[test]
    fn a_refusal_is_told_apart_by_what_the_kernel_says() {
        let bpf = TierError::bpf("sk_lookup programs", "5.9");
        let error = |errno, log: &str| BpfError { call: "prog load", errno, log: log.to_owned() };
        assert_eq!(bpf(error(libc::ENOSYS, "")), TierError::Absent);
        assert_eq!(
            bpf(error(libc::EINVAL, "")),
            TierError::TooOld { feature: "sk_lookup programs", since: "5.9" }
        );
        assert_eq!(bpf(error(libc::EACCES, "bad")), TierError::Refused { log: "bad".to_owned() });
        assert_eq!(
            bpf(error(libc::ENOMEM, "")),
            TierError::System { call: "prog load", errno: libc::ENOMEM }
        );
    }

    #[test]
    fn a_thread_without_privileges_gets_sockets_and_hears_why() {
        std::thread::spawn(|| {
            crate::sys::capability::give_up().unwrap();
            let missing = TierError::Capabilities { missing: vec!["CAP_BPF", "CAP_NET_ADMIN"] };
            let steered = Probed { tier: TierKind::Steered, outcome: Err(missing.clone()) };
            let all = TierError::Capabilities { missing: vec!["CAP_NET_RAW", "CAP_BPF", "CAP_NET_ADMIN"] };
            let packet = Probed { tier: TierKind::Packet, outcome: Err(all) };
            assert_eq!(probe(), [packet, steered, Probed { tier: TierKind::Sockets, outcome: Ok(()) }]);
            let slice = PortSlice { address: Ipv4Addr::LOCALHOST.into(), first: 21_500, count: 2 };
            let chosen = open(ReceiveChoice::Auto, &[slice]).map_err(|(_, why)| why).unwrap();
            assert_eq!(
                (chosen.tier, chosen.passed_over),
                (
                    TierKind::Sockets,
                    vec![(TierKind::Packet, TierError::OnRequest), (TierKind::Steered, missing.clone())]
                )
            );
            assert_eq!(open(ReceiveChoice::Steered, &[slice]).err(), Some((TierKind::Steered, missing)));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn as_root_every_tier_can_be_had() {
        for probed in probe() {
            assert_eq!(probed.outcome, Ok(()), "{}: these tests run as root", probed.tier);
        }
    }
}
