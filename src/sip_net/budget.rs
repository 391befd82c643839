//! What all streams together may hold in memory, what had to be refused, and how often that may be logged.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that may be held at once. Shared by all connections, for what one has no use for another may need.
#[derive(Clone)]
pub(super) struct Budget(Arc<Bytes>);

struct Bytes {
    held: AtomicUsize,
    max: usize,
}

/// Some of a [`Budget`], given back when dropped.
pub(super) struct Held {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Budget {
        Budget(Arc::new(Bytes { held: AtomicUsize::new(0), max }))
    }

    /// Holds nothing yet.
    pub(super) fn nothing(&self) -> Held {
        Held { budget: self.clone(), bytes: 0 }
    }

    /// Holds `bytes`; `None` if they are not to be had.
    pub(super) fn hold(&self, bytes: usize) -> Option<Held> {
        let mut held = self.nothing();
        held.resize(bytes).then_some(held)
    }

    fn take(&self, more: usize) -> bool {
        let fits = |held: usize| held.checked_add(more).filter(|sum| *sum <= self.0.max);
        more == 0 || self.0.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }
}

impl Held {
    /// Holds `bytes` from now on. False, and as before, if that is not to be had.
    pub(super) fn resize(&mut self, bytes: usize) -> bool {
        if !self.budget.take(bytes.saturating_sub(self.bytes)) {
            return false;
        }
        self.budget.0.held.fetch_sub(self.bytes.saturating_sub(bytes), Ordering::Relaxed);
        self.bytes = bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A counter that socket tasks share.
#[derive(Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// So often at most is one kind of failure logged: a peer can cause thousands in a second, and the counters have them all.
const SAID_EVERY: Duration = Duration::from_secs(1);

/// When something was last logged.
#[derive(Default)]
pub(super) struct Said(Mutex<Option<Instant>>);

impl Said {
    /// Whether it may be logged again.
    pub(super) fn may_be_again(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| last.elapsed() >= SAID_EVERY);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_not_said_twice_in_a_moment() {
        let said = Said::default();
        assert_eq!([said.may_be_again(), said.may_be_again()], [true, false]);
    }

    #[test]
    fn what_is_held_comes_back_and_more_than_there_is_is_refused() {
        let budget = Budget::new(100);
        let mut first = budget.hold(60).unwrap();
        assert!(budget.hold(41).is_none());
        let second = budget.hold(40).unwrap();
        assert!(!first.resize(61) && first.resize(10));
        assert_eq!(budget.held(), 50);
        drop((first, second));
        assert_eq!(budget.held(), 0);
        assert!(budget.hold(usize::MAX).is_none());
    }
}
