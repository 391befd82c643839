//! The limits of this process that a recorder runs into: locked memory (rings) and open files (sockets, segments).

use std::io;

/// Bytes of memory that may be locked (`RLIMIT_MEMLOCK`); `None` when unlimited, by the limit or by CAP_IPC_LOCK.
pub fn locked_memory_max() -> Option<u64> {
    let limit = read(libc::RLIMIT_MEMLOCK).ok()?;
    (limit.rlim_cur != libc::RLIM_INFINITY && !may_lock_without_limit()).then_some(limit.rlim_cur)
}

/// Raises the soft limit of open files to the hard one and says what it is now.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = read(libc::RLIMIT_NOFILE)?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the structure lives through the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

/// How many files and sockets may be open once the soft limit has been raised: the hard one.
pub fn open_files_max() -> io::Result<u64> {
    Ok(read(libc::RLIMIT_NOFILE)?.rlim_max)
}

fn read(resource: libc::__rlimit_resource_t) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is ours to write.
    match unsafe { libc::getrlimit(resource, &mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

/// CAP_IPC_LOCK (bit 14) of this thread lifts the limit on locked memory.
fn may_lock_without_limit() -> bool {
    status_field("CapEff")
        .and_then(|hex| u64::from_str_radix(&hex, 16).ok())
        .is_some_and(|caps| caps & (1 << 14) != 0)
}

/// One field of `/proc/thread-self/status`, e.g. `Seccomp`: of this thread, because capabilities and filters are a thread's.
pub(crate) fn status_field(name: &str) -> Option<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_open_files_reaches_the_hard_one() {
        let raised = raise_open_files().unwrap();
        assert_eq!(read(libc::RLIMIT_NOFILE).unwrap().rlim_cur, raised);
        assert!(raised >= 256);
    }

    #[test]
    fn a_field_of_the_process_status_is_found_by_its_whole_name() {
        assert!(status_field("CapEff").is_some_and(|hex| u64::from_str_radix(&hex, 16).is_ok()));
        assert_eq!(status_field("CapE"), None);
    }
}
