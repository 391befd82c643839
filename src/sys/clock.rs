//! The clocks. Only drivers and the real rings read them; everything else gets the time handed in.

use std::time::Duration;

use crate::base::{Mono, Wall};

/// The monotonic clock (`CLOCK_MONOTONIC`): the same zero for every thread and process of this boot.
pub fn mono() -> Mono {
    Mono(nanoseconds(libc::CLOCK_MONOTONIC))
}

/// The wall clock (`CLOCK_REALTIME`). It may be stepped: never measure a duration with it.
pub fn wall() -> Wall {
    Wall(nanoseconds(libc::CLOCK_REALTIME))
}

/// Both clocks, read close together: within 10 µs of each other unless this thread is interrupted three times in a row.
pub fn both() -> (Mono, Wall) {
    let mut last = (mono(), wall());
    for _ in 0..3 {
        let (before, at) = (mono(), wall());
        let gap = mono().since(before);
        last = (before + gap / 2, at);
        if gap < Duration::from_micros(10) {
            break;
        }
    }
    last
}

/// CPU time that this thread has used.
pub fn thread_cpu() -> Duration {
    Duration::from_nanos(nanoseconds(libc::CLOCK_THREAD_CPUTIME_ID))
}

/// CPU time that all threads of this process have used.
pub fn process_cpu() -> Duration {
    Duration::from_nanos(nanoseconds(libc::CLOCK_PROCESS_CPUTIME_ID))
}

/// Sleeps until `deadline`; a deadline in the past returns at once.
pub fn sleep_until(deadline: Mono) {
    let until = libc::timespec {
        tv_sec: (deadline.0 / 1_000_000_000) as libc::time_t,
        tv_nsec: (deadline.0 % 1_000_000_000) as libc::c_long,
    };
    loop {
        // SAFETY: `until` lives through the call; an absolute sleep writes no remainder.
        let outcome = unsafe {
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &until, std::ptr::null_mut())
        };
        if outcome != libc::EINTR {
            return;
        }
    }
}

fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is ours to write; the clocks used here exist on every Linux.
    let outcome = unsafe { libc::clock_gettime(clock, &mut at) };
    assert_eq!(outcome, 0, "clock {clock} exists");
    at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_forward_and_a_sleep_ends_after_its_deadline() {
        let deadline = mono() + Duration::from_millis(3);
        sleep_until(deadline);
        assert!(mono() >= deadline);
        assert!(thread_cpu() <= process_cpu() && process_cpu() < Duration::from_secs(3600));
        assert!(wall().to_rfc3339().as_str() > "2024");
    }
}
