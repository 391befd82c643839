//! What this machine's io_uring can do, tried with a real `io_uring_setup`; and what forbids it, said so that it can be mended.

use std::fmt;
use std::io;

use io_uring::{IoUring, Probe, opcode};

use super::{Errno, RingPlan};
use crate::sys::rlimit;
use crate::sys::socket;

/// What is left to use, given that everything required is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// Files can be cut on the ring (6.9); below it that is a system call of the shard.
    pub truncate: bool,
}

/// Why a ring can't be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RingError {
    /// The sysctl `kernel.io_uring_disabled` forbids it: 1 for all but a group, 2 for everybody.
    Disabled {
        /// Its value.
        level: u8,
    },
    /// A seccomp filter forbids it, as container runtimes have by default.
    Seccomp,
    /// It is not permitted, and neither the sysctl nor seccomp says why: a security module.
    NotPermitted,
    /// The kernel was built without it, or is older than 5.1.
    Absent,
    /// The kernel is too old.
    TooOld {
        /// What is missing.
        feature: &'static str,
        /// The first kernel that has it.
        since: &'static str,
    },
    /// More memory would have to be locked than the process may.
    LockedMemory {
        /// Bytes needed by this ring alone.
        need: u64,
        /// The limit in bytes, over everything this user has locked.
        limit: u64,
    },
    /// More files and sockets would have to be open than the process may.
    OpenFiles {
        /// Needed by this ring alone.
        need: u64,
        /// The limit of the process.
        limit: u64,
    },
    /// Something else.
    System {
        /// The call that failed.
        call: &'static str,
        /// Why.
        errno: Errno,
    },
}

impl std::error::Error for RingError {}

impl From<io::Error> for RingError {
    /// For what a shard needs besides its ring: its memory, its thread.
    fn from(error: io::Error) -> RingError {
        RingError::System {
            call: "starting a shard",
            errno: Errno(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingError::Disabled { level } => write!(
                f,
                "io_uring is switched off: kernel.io_uring_disabled = {level}; `sysctl kernel.io_uring_disabled=0` allows it{}",
                if *level == 1 { ", and so does membership in the group of kernel.io_uring_group" } else { "" }
            ),
            RingError::Seccomp => f.write_str(
                "a seccomp filter forbids io_uring, as container runtimes do by default: allow io_uring_setup, io_uring_enter and \
                 io_uring_register in its profile (Docker: --security-opt seccomp=PROFILE.json)",
            ),
            RingError::NotPermitted => f.write_str(
                "io_uring is not permitted, and neither kernel.io_uring_disabled nor seccomp is why: ask the security module \
                 (SELinux, AppArmor) of this machine",
            ),
            RingError::Absent => f.write_str("this kernel has no io_uring: Linux 6.1 or later is needed, built with CONFIG_IO_URING"),
            RingError::TooOld { feature, since } => {
                write!(f, "this kernel is too old: io_uring's {feature} came with Linux {since}, 6.1 or later is needed")
            }
            RingError::LockedMemory { need, limit } => write!(
                f,
                "io_uring needs {} KiB of locked memory and the limit for this user is {} KiB: raise it (systemd: \
                 LimitMEMLOCK=infinity; shell: ulimit -l) or plan fewer calls",
                need.div_ceil(1024),
                limit / 1024
            ),
            RingError::OpenFiles { need, limit } => write!(
                f,
                "{need} sockets and files may be open at once and the limit is {limit}: raise it (systemd: LimitNOFILE; shell: \
                 ulimit -n) or plan fewer calls"
            ),
            RingError::System { call, errno } => write!(f, "{call} failed: {errno}"),
        }
    }
}

/// Tries io_uring as the product uses it, with a ring that is gone when this returns.
pub fn probe() -> Result<Features, RingError> {
    probe_for(4 * 4096)
}

/// The same for a ring that will lock `need` bytes, to be said if there is no room for even the smallest.
pub(super) fn probe_for(need: u64) -> Result<Features, RingError> {
    let ring = with_our_flags().build(8).map_err(|error| explain("io_uring_setup", &error, need))?;
    let mut known = Probe::new();
    ring.submitter()
        .register_probe(&mut known)
        .map_err(|error| explain("io_uring_register", &error, need))?;
    // Everything else that is used came before DEFER_TASKRUN: provided buffer rings 5.19, multishot receive 6.0.
    Ok(Features { truncate: known.is_supported(opcode::Ftruncate::CODE) })
}

/// One thread submits and completions run only when it asks: a quarter of the cost per packet of any other way (measured).
pub(super) fn with_our_flags() -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_clamp().setup_submit_all().dontfork();
    builder
}

/// What an error of setting up a ring means; `need` is the memory in bytes that was to be locked.
pub(super) fn explain(call: &'static str, error: &io::Error, need: u64) -> RingError {
    let filtered = || rlimit::status_field("Seccomp").is_some_and(|mode| mode == "2");
    match error.raw_os_error().unwrap_or(libc::EIO) {
        libc::EPERM => match disabled() {
            level @ 1.. => RingError::Disabled { level },
            0 if filtered() => RingError::Seccomp,
            0 => RingError::NotPermitted,
        },
        // A filter may well answer as if the call did not exist.
        libc::ENOSYS if filtered() => RingError::Seccomp,
        libc::ENOSYS => RingError::Absent,
        libc::EINVAL if call == "io_uring_setup" => too_old(),
        libc::ENOMEM => match rlimit::locked_memory_max() {
            Some(limit) => RingError::LockedMemory { need, limit },
            None => RingError::System { call, errno: Errno(libc::ENOMEM) },
        },
        code => RingError::System { call, errno: Errno(code) },
    }
}

/// The setup's flags were refused: which one is it?
fn too_old() -> RingError {
    let refuses = |builder: &mut io_uring::Builder| {
        builder.build(8).is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL))
    };
    if refuses(IoUring::builder().setup_clamp()) {
        RingError::TooOld { feature: "CLAMP", since: "5.6" }
    } else if refuses(IoUring::builder().setup_submit_all()) {
        RingError::TooOld { feature: "SUBMIT_ALL", since: "5.18" }
    } else if refuses(IoUring::builder().setup_single_issuer()) {
        RingError::TooOld { feature: "SINGLE_ISSUER", since: "6.0" }
    } else if refuses(IoUring::builder().setup_single_issuer().setup_defer_taskrun()) {
        RingError::TooOld { feature: "DEFER_TASKRUN", since: "6.1" }
    } else {
        RingError::System { call: "io_uring_setup", errno: Errno(libc::EINVAL) }
    }
}

fn disabled() -> u8 {
    let value = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    value.trim().parse().unwrap_or(0)
}

/// Makes sure that the sockets and files of `plan` may be open, and that opening them will not stall.
pub(super) fn reserve_descriptors(plan: &RingPlan) -> Result<(), RingError> {
    let need = u64::from(plan.sockets_max) + u64::from(plan.files_max);
    let limit = rlimit::raise_open_files().map_err(|error| RingError::System {
        call: "setrlimit",
        errno: Errno(error.raw_os_error().unwrap_or(0)),
    })?;
    if need > limit {
        return Err(RingError::OpenFiles { need, limit });
    }
    // Only a stall is at stake; what is already open may leave less room than asked for.
    if let Err(error) = socket::reserve_descriptors(need.min(limit - 1) as u32) {
        tracing::debug!(%error, need, "descriptors could not be reserved");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_the_way_out() {
        let cases = [
            (RingError::Disabled { level: 2 }, "sysctl kernel.io_uring_disabled=0"),
            (RingError::Seccomp, "io_uring_setup"),
            (RingError::NotPermitted, "security module"),
            (RingError::Absent, "6.1 or later"),
            (
                RingError::TooOld { feature: "DEFER_TASKRUN", since: "6.1" },
                "DEFER_TASKRUN came with Linux 6.1",
            ),
            (
                RingError::LockedMemory { need: 9 << 20, limit: 8 << 20 },
                "needs 9216 KiB of locked memory and the limit for this user is 8192 KiB",
            ),
            (RingError::OpenFiles { need: 5000, limit: 1024 }, "LimitNOFILE"),
        ];
        for (error, way_out) in cases {
            assert!(error.to_string().contains(way_out), "{error}");
        }
    }

    #[test]
    fn an_impossible_number_of_sockets_is_refused_with_need_and_limit() {
        let plan = RingPlan { sockets_max: u32::MAX, files_max: 1, receive_buffers: 64 };
        let Err(RingError::OpenFiles { need, limit }) = reserve_descriptors(&plan) else {
            panic!("accepted")
        };
        assert!(need > limit && limit > 0);
    }
}
