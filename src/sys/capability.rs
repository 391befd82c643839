//! Capabilities (capabilities(7)): which this thread has, and giving up those that only opening needs.

use std::io;

use super::rlimit::status_field;

/// A capability by its number in linux/capability.h.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are those of capabilities(7)")]
pub enum Capability {
    Chown = 0,
    DacOverride = 1,
    DacReadSearch = 2,
    FOwner = 3,
    FSetId = 4,
    NetBindService = 10,
    NetAdmin = 12,
    NetRaw = 13,
    IpcLock = 14,
    SysAdmin = 21,
    SysNice = 23,
    SysResource = 24,
    Bpf = 39,
}

impl Capability {
    const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// Whether this thread has it in effect.
    pub fn is_had(self) -> bool {
        effective() & self.bit() != 0
    }
}

/// What a recorder that runs may still need: its files whoever owns them, ports below 1024 (a listener), locked memory, priorities and limits.
/// What is not here and was had is given up: CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN above all.
const KEPT: u64 = Capability::Chown.bit()
    | Capability::DacOverride.bit()
    | Capability::DacReadSearch.bit()
    | Capability::FOwner.bit()
    | Capability::FSetId.bit()
    | Capability::NetBindService.bit()
    | Capability::IpcLock.bit()
    | Capability::SysNice.bit()
    | Capability::SysResource.bit();

/// The numbers that there may be: more than Linux has.
const NUMBERS: u8 = 64;

/// `_LINUX_CAPABILITY_VERSION_3`: two words of 32 bits for each set.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up, for the calling thread and those it starts, every capability but those that a running recorder may need; for good: from the
/// bounding set as well, where that is allowed, so that no program started later gets them back. What was not had is not gained.
///
/// A thread's capabilities are its own: call it before others are started, or in each.
///
/// # Errors
/// The kernel does not let it be done; a security module may.
pub fn give_up() -> io::Result<()> {
    for number in 0..NUMBERS {
        if KEPT & (1 << number) == 0 {
            // SAFETY: takes numbers alone. It fails without CAP_SETPCAP, and for numbers that there are not: then nothing is lost.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        }
    }
    let mut sets = [Sets::default(); 2];
    let mut header = Header { version: VERSION, pid: 0 };
    // SAFETY: header and both words are ours to write, as that version has it.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for (set, kept) in sets.iter_mut().zip([KEPT as u32, (KEPT >> 32) as u32]) {
        set.effective &= kept;
        set.permitted &= kept;
        set.inheritable &= kept;
    }
    // SAFETY: header and both words live through the call, as that version has it. The ambient set shrinks by itself.
    match unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The set in effect of this thread.
fn effective() -> u64 {
    status_field("CapEff").and_then(|hex| u64::from_str_radix(&hex, 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_gives_up_keeps_its_files_and_loses_the_network() {
        std::thread::spawn(|| {
            let before = effective();
            give_up().unwrap();
            assert_eq!(effective(), before & KEPT, "nothing else is lost, nothing gained");
            assert!(
                !Capability::NetAdmin.is_had() && !Capability::Bpf.is_had() && !Capability::SysAdmin.is_had()
            );
            let bounding = u64::from_str_radix(&status_field("CapBnd").unwrap(), 16).unwrap();
            assert!(
                bounding & !KEPT == 0 || before & (1 << 8) == 0,
                "with CAP_SETPCAP not even exec brings them back"
            );
            give_up().unwrap();
        })
        .join()
        .unwrap();
    }
}
