//! Deadlines by owner, at most one each, and the base values of RFC 3261 table 4.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use crate::base::Mono;

/// T1, the round trip that retransmission starts from.
pub const T1: Duration = Duration::from_millis(500);
/// T2, the longest interval between retransmissions.
pub const T2: Duration = Duration::from_secs(4);
/// T4, how long a message may stay in the network.
pub const T4: Duration = Duration::from_secs(5);
/// 64*T1: timers B, F, H, J, L and M, and how long a 2xx waits for its ACK.
pub const LIFE: Duration = Duration::from_secs(32);

/// Deadlines in order. A past one is simply due.
pub(crate) struct Timers<K> {
    queue: BTreeSet<(Mono, K)>,
    due: HashMap<K, Mono>,
}

impl<K: Copy + Ord + Hash> Timers<K> {
    pub(crate) fn new() -> Timers<K> {
        Timers { queue: BTreeSet::new(), due: HashMap::new() }
    }

    /// Sets or, with `None`, removes the deadline of `owner`.
    pub(crate) fn set(&mut self, owner: K, at: Option<Mono>) {
        let before = match at {
            Some(at) => self.due.insert(owner, at),
            None => self.due.remove(&owner),
        };
        if let Some(before) = before {
            self.queue.remove(&(before, owner));
        }
        self.queue.extend(at.map(|at| (at, owner)));
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Mono> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes one owner whose deadline has come.
    pub(crate) fn pop(&mut self, now: Mono) -> Option<K> {
        let (at, owner) = *self.queue.first().filter(|(at, _)| *at <= now)?;
        self.queue.remove(&(at, owner));
        self.due.remove(&owner);
        Some(owner)
    }
}

/// Retransmission of one message: again after `interval`, which doubles up to `cap`, until `end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resend {
    at: Option<Mono>,
    interval: Duration,
    cap: Duration,
    end: Option<Mono>,
}

/// What a due [`Resend`] asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    Again,
    End,
}

impl Resend {
    /// Starts at T1 and gives up after 64*T1.
    pub(crate) fn until_life(now: Mono, cap: Duration) -> Resend {
        Resend { at: Some(now + T1), interval: T1, cap, end: Some(now + LIFE) }
    }

    /// Never sends again; ends `after`.
    pub(crate) fn only_end(now: Mono, after: Duration) -> Resend {
        Resend { at: None, interval: T1, cap: T2, end: Some(now + after) }
    }

    /// Neither sends again nor ends.
    pub(crate) fn idle() -> Resend {
        Resend { at: None, interval: T1, cap: T2, end: None }
    }

    /// Stops sending, keeps the end.
    pub(crate) fn quiet(self) -> Resend {
        Resend { at: None, ..self }
    }

    /// Sends again each `interval` from now on, keeps the end.
    pub(crate) fn every(self, now: Mono, interval: Duration) -> Resend {
        Resend { at: Some(now + interval), interval, cap: interval, end: self.end }
    }

    /// When something is due next.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        [self.at, self.end].into_iter().flatten().min()
    }

    /// What is due at `now`; a missed interval is sent once, not several times.
    pub(crate) fn fire(&mut self, now: Mono) -> Option<Due> {
        if self.end.is_some_and(|end| end <= now) {
            return Some(Due::End);
        }
        self.at.filter(|at| *at <= now)?;
        self.interval = (self.interval * 2).min(self.cap);
        self.at = Some(now + self.interval);
        Some(Due::Again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_once_and_can_be_moved() {
        let mut timers = Timers::new();
        timers.set(1, Some(Mono(30)));
        timers.set(2, Some(Mono(20)));
        timers.set(1, Some(Mono(10)));
        timers.set(3, Some(Mono(5)));
        timers.set(3, None);
        assert_eq!(timers.next(), Some(Mono(10)));
        assert_eq!(timers.pop(Mono(9)), None);
        assert_eq!(
            (timers.pop(Mono(20)), timers.pop(Mono(20)), timers.pop(Mono(99))),
            (Some(1), Some(2), None)
        );
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn retransmission_doubles_up_to_its_cap_and_ends() {
        let mut resend = Resend::until_life(Mono(0), T2);
        let mut at = Vec::new();
        loop {
            let now = resend.deadline().unwrap();
            match resend.fire(now) {
                Some(Due::Again) => at.push(now.0 / 1_000_000),
                other => break assert_eq!((other, now), (Some(Due::End), Mono::from_ms(32_000))),
            }
        }
        assert_eq!(at, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    }
}
