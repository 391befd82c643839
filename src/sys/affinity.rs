//! Which cores this process may use, pinning a thread to one, and letting a thread stand back.

use std::io;
use std::time::Duration;

/// The shortest turn that the kernel grants.
const TURN: Duration = Duration::from_micros(100);

/// The cores that this thread may run on (cpuset, `taskset`), in ascending order.
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    let set = cores_of(0)?;
    // SAFETY: every index is below CPU_SETSIZE.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}

/// The cores of the whole process, as its first thread has them: the others may have been pinned.
pub fn process_cores() -> io::Result<libc::cpu_set_t> {
    cores_of(std::process::id() as libc::pid_t)
}

/// Of one thread; 0 is the calling one.
fn cores_of(thread: libc::pid_t) -> io::Result<libc::cpu_set_t> {
    let mut set = empty_set();
    // SAFETY: the set is ours to write and as large as said.
    match unsafe { libc::sched_getaffinity(thread, size_of::<libc::cpu_set_t>(), &mut set) } {
        0 => Ok(set),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Pins the calling thread to `core`.
pub fn pin_thread(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut set = empty_set();
    // SAFETY: `core` is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set lives through the call and is as large as said.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the calling thread stand back behind those that can't wait (nice 19): where a core is short, background work waits, not a shard.
pub fn stand_back() -> io::Result<()> {
    // SAFETY: no memory is involved; on Linux 0 is the calling thread.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the calling thread run as soon as it is woken, in exchange for short turns: shards and signalling work for microseconds, and others
/// should not finish a turn of milliseconds first. A hint (sched_setattr(2), Linux 6.12): an older kernel takes it and does nothing.
pub fn take_short_turns() -> io::Result<()> {
    /// `struct sched_attr` in its first version, of 48 bytes.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    // SAFETY: no memory is involved; on Linux 0 is the calling thread.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: libc::SCHED_OTHER as u32,
        flags: 0,
        nice,
        priority: 0,
        runtime: TURN.as_nanos() as u64,
        deadline: 0,
        period: 0,
    };
    // SAFETY: the attributes live through the call and say how long they are.
    match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn empty_set() -> libc::cpu_set_t {
    // SAFETY: a cpu_set_t is an array of integers; all zeroes is the empty set.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned_to_any_core_it_is_allowed() {
        let cores = allowed_cores().unwrap();
        let last = *cores.last().unwrap();
        std::thread::spawn(move || {
            pin_thread(last).unwrap();
            assert_eq!(allowed_cores().unwrap(), [last]);
            assert!(pin_thread(100_000).is_err());
        })
        .join()
        .unwrap();
        assert_eq!(allowed_cores().unwrap(), cores);
    }

    #[test]
    fn short_turns_leave_the_priority_as_it_is() {
        // SAFETY: no memory is involved.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = nice();
        let turned = std::thread::spawn(move || {
            take_short_turns().unwrap();
            nice()
        });
        assert_eq!(turned.join().unwrap(), before);
    }

    #[test]
    fn a_thread_stands_back_by_itself() {
        // SAFETY: no memory is involved.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = nice();
        let behind = std::thread::spawn(move || {
            stand_back().unwrap();
            nice()
        });
        assert_eq!((behind.join().unwrap(), nice()), (19, before));
    }
}
