//! A sleep that another thread can end: an eventfd that one thread waits on until a deadline.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::clock;
use crate::base::Mono;

/// Where a thread sleeps. Rung while nobody sleeps, it ends the next sleep.
pub struct Wake(OwnedFd);

impl Wake {
    /// One of its own.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn new() -> io::Result<Wake> {
        // SAFETY: takes no pointers; the descriptor is ours alone.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        Ok(Wake(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Ends the sleep, or the next one.
    pub fn ring(&self) {
        let one = 1u64;
        // SAFETY: eight bytes that live through the call. It fails only when the counter is full: then it is rung already.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    }

    /// Sleeps until `deadline` or until it is rung; whether it was rung.
    pub fn sleep_until(&self, deadline: Mono) -> bool {
        loop {
            let left = deadline.since(clock::mono());
            if left.is_zero() {
                return false;
            }
            let timeout = libc::timespec {
                tv_sec: left.as_secs() as libc::time_t,
                tv_nsec: libc::c_long::from(left.subsec_nanos() as i32),
            };
            let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry and the time live through the call.
            let ready = unsafe { libc::ppoll(&mut poll, 1, &timeout, std::ptr::null()) };
            if ready > 0 {
                let mut count = 0u64;
                // SAFETY: room for the eight bytes that an eventfd gives.
                unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_sleep_ends_at_its_deadline_or_when_it_is_rung() {
        let wake = Arc::new(Wake::new().unwrap());
        let deadline = clock::mono() + Duration::from_millis(5);
        assert!(!wake.sleep_until(deadline) && clock::mono() >= deadline);
        wake.ring();
        wake.ring();
        assert!(wake.sleep_until(clock::mono() + Duration::from_secs(60)), "rung before");
        assert!(!wake.sleep_until(clock::mono() + Duration::from_millis(1)), "once");
        let other = wake.clone();
        let thread = std::thread::spawn(move || other.ring());
        assert!(wake.sleep_until(clock::mono() + Duration::from_secs(60)));
        thread.join().unwrap();
    }
}
