//! Whether a new call may be recorded: everything that bounds how many there are and how fast they come, cheapest first.
//!
//! Refusals for want of capacity are the ones that come in masses. They are made before a body is read, and counted rather than
//! logged one by one.

use serde::Serialize;

use super::{Control, Now, Refusal};
use crate::base::Mono;
use crate::limits::{KEY_FAILURES_MAX, KEY_PAUSE};
use crate::sip::{Message, Peer};
use crate::siprec::{Bodies, Cuts, Sign};

/// How many more calls would be taken, two tracks each, and what bounds them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Capacity {
    /// Calls.
    pub calls: u32,
    /// The bound that is reached first: a setting's name, or the reason for which calls are refused now.
    pub bound_by: &'static str,
}

/// Whether it is worth asking the key provider: after some failures in a row it is left alone for a moment, and calls are refused
/// without waiting for it.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct KeyCircuit {
    failures: u32,
    open_at: Mono,
}

impl KeyCircuit {
    /// Whether it should be asked now.
    pub fn is_closed(&self, now: Mono) -> bool {
        self.failures < KEY_FAILURES_MAX || now >= self.open_at
    }

    /// It is asked. While it fails one call at a time finds out whether it does still.
    pub fn asked(&mut self, now: Mono) {
        if self.failures >= KEY_FAILURES_MAX {
            self.open_at = now + KEY_PAUSE;
        }
    }

    /// It has given a key, or has not.
    pub fn note(&mut self, good: bool, now: Mono) {
        self.failures = if good { 0 } else { self.failures.saturating_add(1) };
        self.open_at = now + KEY_PAUSE;
    }
}

impl<E> Control<E> {
    /// Why no call can be taken now, whoever it is from and however slowly calls come. What OPTIONS is answered by, too.
    pub fn full(&self, now: Mono) -> Option<Refusal> {
        let reasons = [
            (self.draining, Refusal::Draining),
            (self.calls.len() >= self.rules.calls_max as usize, Refusal::CallsMax),
            (self.world.disk_low, Refusal::DiskLow),
            (self.world.backlog, Refusal::Backlog),
            (!self.keys.is_closed(now), Refusal::KeysDown),
        ];
        let first = reasons.into_iter().find(|(applies, _)| *applies);
        first.map(|(_, refusal)| refusal).or_else(|| self.shards.find(1, now).err())
    }

    /// Why a new call would be refused whoever it is from: it is full, or they come too fast.
    pub fn shut(&self, now: Mono) -> Option<Refusal> {
        let too_fast = self.rate.is_some_and(|rate| !rate.allows(now)).then_some(Refusal::CallRate);
        self.full(now).or(too_fast)
    }

    /// So many calls were refused for this reason before they came here.
    pub fn turned_away(&mut self, refusal: &Refusal, calls: u64) {
        self.out.count(refusal, calls);
    }

    /// Refusals so far, by reason.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.out.refusals().map(|(reason, count, _)| (reason, count))
    }

    /// The same with the last one of each reason in words.
    pub fn refusals_in_words(&self) -> impl Iterator<Item = (&'static str, u64, &str)> {
        self.out.refusals()
    }

    /// What metadata and bodies had too much of, so far.
    pub fn cuts(&self) -> Cuts {
        self.out.cuts
    }

    /// Whether a new call may be recorded, and what its body holds: what is cheap to know first.
    pub(super) fn admit<'a>(&self, invite: &'a Message, from: Peer, now: Now) -> Result<Bodies<'a>, Refusal> {
        let peer = self.rules.peers.of(from.remote.ip());
        let of_peer = self.peer_calls.get(&peer.name).copied().unwrap_or(0);
        if let Some(refusal) = self.shut(now.mono) {
            return Err(refusal);
        }
        if peer.calls_max.is_some_and(|max| of_peer >= max) {
            return Err(Refusal::PeerCallsMax);
        }
        let bodies = Bodies::within(invite);
        if !(self.rules.any_call || peer.any_call) && Sign::of(invite, &bodies).is_none() {
            return Err(Refusal::NotRecording);
        }
        Ok(bodies)
    }

    /// How many more calls would be taken.
    pub fn capacity(&self, now: Mono) -> Capacity {
        if let Some(refusal) = self.full(now) {
            return Capacity { calls: 0, bound_by: refusal.reason() };
        }
        let allowed = self.rules.calls_max - self.calls.len() as u32;
        let bounds = [
            (allowed, "calls_max"),
            (self.shards.slots_left(), "rtp.ports"),
            (self.shards.busy_left(), "shard_busy_max_percent"),
        ];
        let [first, ..] = bounds;
        let (calls, bound_by) = bounds.into_iter().fold(first, |a, b| if b.0 < a.0 { b } else { a });
        Capacity { calls, bound_by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_key_provider_is_left_alone_for_a_moment() {
        let mut keys = KeyCircuit::default();
        let now = Mono::from_ms(1_000);
        for _ in 0..KEY_FAILURES_MAX {
            assert!(keys.is_closed(now));
            keys.note(false, now);
        }
        assert!(!keys.is_closed(now));
        let later = now + KEY_PAUSE;
        assert!(keys.is_closed(later));
        keys.note(false, later);
        assert!(!keys.is_closed(later), "one more failure is enough now");
        let again = later + KEY_PAUSE;
        assert!(keys.is_closed(again));
        keys.asked(again);
        assert!(!keys.is_closed(again), "one call at a time finds out");
        keys.note(true, later);
        assert!(keys.is_closed(later));
    }
}
