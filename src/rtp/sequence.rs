//! Extended sequence numbers and duplicates of one source (RFC 3550 appendix A.1, without probation: a recorder
//! keeps a source's first packet).
//!
//! Leaves out time: a packet that comes too late is judged by its position, in [`crate::media`].

use crate::base::planted::{Bug, planted};

/// Packets below the highest one that are remembered one by one: 10 s at 20 ms, half a second at 1 ms.
pub const SEQUENCE_WINDOW: u64 = 512;
/// A step forward of this much or more is a restart of the source, not loss (RFC 3550 appendix A.1).
pub const MAX_DROPOUT: u16 = 3000;

/// What a sequence number says about its packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The highest so far.
    New {
        /// The number with its wraps; the first packet of a source has 65,536 + its number.
        extended: u64,
        /// Steps past the highest before: 1 means nothing is missing. The first packet of a source has 1.
        ahead: u16,
    },
    /// Below the highest and not seen before: it was overtaken on the way.
    Old {
        /// The number with its wraps.
        extended: u64,
    },
    /// Seen before.
    Duplicate,
    /// Too far from the highest for reorder or loss: the source has restarted, or this is a stray of seconds ago. It is followed from here.
    Jump {
        /// The number, in a later wrap than any before, so that none is used twice.
        extended: u64,
    },
}

/// Packets behind a jump that may still have been on their way when it came.
const STRAGGLERS_MAX: u64 = 64;

/// Sequence state of one source.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    now: Run,
    /// The run before the last jump, for its stragglers, and the highest number that still counts as one.
    before: Run,
    straggler_max: u64,
}

/// Numbers without a jump.
#[derive(Clone, Debug, Default)]
struct Run {
    /// Highest extended number; 0 before the first packet (the first wrap is number 1, to leave room below it).
    highest: u64,
    /// Bit `n % SEQUENCE_WINDOW` says whether `n` was seen, for `n` in `(highest - SEQUENCE_WINDOW, highest]`.
    seen: [u64; (SEQUENCE_WINDOW / 64) as usize],
}

impl Sequence {
    /// A source of which nothing was seen.
    pub fn new() -> Sequence {
        Sequence::default()
    }

    /// Highest extended number so far, if any.
    pub fn highest(&self) -> Option<u64> {
        (self.now.highest > 0).then_some(self.now.highest)
    }

    /// Takes note of one packet.
    #[inline]
    pub fn observe(&mut self, sequence: u16) -> Seen {
        if self.now.highest == 0 {
            self.now = Run::starting(1 << 16 | u64::from(sequence));
            return Seen::New { extended: self.now.highest, ahead: 1 };
        }
        let ahead = sequence.wrapping_sub(self.now.highest as u16);
        if (1..MAX_DROPOUT).contains(&ahead) {
            self.now.advance(ahead);
            return Seen::New { extended: self.now.highest, ahead };
        }
        if let Some(seen) = self.now.look_back(sequence) {
            return seen;
        }
        self.straggler(sequence).unwrap_or_else(|| self.jump(sequence))
    }

    /// A packet from before the last jump: it is placed as overtaken, and the jump stands.
    fn straggler(&mut self, sequence: u16) -> Option<Seen> {
        let ahead = sequence.wrapping_sub(self.before.highest as u16);
        if self.before.highest == 0 {
            return None;
        }
        if ahead > 0 && self.before.highest + u64::from(ahead) <= self.straggler_max {
            self.before.advance(ahead);
            return Some(Seen::Old { extended: self.before.highest });
        }
        self.before.look_back(sequence)
    }

    fn jump(&mut self, sequence: u16) -> Seen {
        let extended = ((self.now.highest & !0xffff) + (2 << 16)) | u64::from(sequence);
        self.before = std::mem::replace(&mut self.now, Run::starting(extended));
        self.straggler_max = self.before.highest + STRAGGLERS_MAX;
        Seen::Jump { extended }
    }
}

impl Run {
    fn starting(highest: u64) -> Run {
        let mut run = Run { highest, ..Run::default() };
        run.mark(highest);
        run
    }

    /// Whether a number within the window was seen; `None` if it is not within.
    fn look_back(&mut self, sequence: u16) -> Option<Seen> {
        let behind = u64::from((self.highest as u16).wrapping_sub(sequence));
        if behind >= SEQUENCE_WINDOW || behind >= self.highest {
            return None;
        }
        let extended = self.highest - behind;
        Some(if self.mark(extended) || planted(Bug::DuplicateNotSeen) {
            Seen::Old { extended }
        } else {
            Seen::Duplicate
        })
    }

    fn advance(&mut self, by: u16) {
        if u64::from(by) >= SEQUENCE_WINDOW {
            self.seen = Default::default();
        } else {
            // The places of the skipped numbers still hold their forerunners, one window ago.
            (1..u64::from(by)).for_each(|step| self.clear(self.highest + step));
        }
        self.highest += u64::from(by);
        if planted(Bug::WrapForgotten) {
            self.highest = 1 << 16 | self.highest & 0xffff;
        }
        self.clear(self.highest);
        self.mark(self.highest);
    }

    /// Sets the bit of `extended`; whether it was clear.
    fn mark(&mut self, extended: u64) -> bool {
        let (word, bit) = place(extended);
        let fresh = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        fresh
    }

    fn clear(&mut self, extended: u64) {
        let (word, bit) = place(extended);
        self.seen[word] &= !bit;
    }
}

fn place(extended: u64) -> (usize, u64) {
    let at = extended % SEQUENCE_WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_first_packet_counts_at_once_and_wraps_are_followed() {
        let mut sequence = Sequence::new();
        assert_eq!(sequence.highest(), None);
        assert_eq!(sequence.observe(65_534), Seen::New { extended: 131_070, ahead: 1 });
        assert_eq!(sequence.observe(65_535), Seen::New { extended: 131_071, ahead: 1 });
        assert_eq!(sequence.observe(1), Seen::New { extended: 131_073, ahead: 2 });
        assert_eq!(sequence.observe(0), Seen::Old { extended: 131_072 });
        assert_eq!(sequence.observe(65_535), Seen::Duplicate);
        assert_eq!(sequence.observe(0), Seen::Duplicate);
    }

    #[test]
    fn a_packet_overtaken_by_the_first_one_is_old_even_across_the_wrap() {
        let mut sequence = Sequence::new();
        sequence.observe(0);
        assert_eq!(sequence.observe(65_535), Seen::Old { extended: 65_535 });
    }

    #[test]
    fn a_jump_either_way_starts_over_without_using_a_number_twice() {
        let mut sequence = Sequence::new();
        sequence.observe(10_000);
        assert_eq!(sequence.observe(10_000 + MAX_DROPOUT), Seen::Jump { extended: (3 << 16) + 13_000 });
        assert_eq!(sequence.observe(12_000), Seen::Jump { extended: (5 << 16) + 12_000 });
        let ahead = MAX_DROPOUT - 1;
        assert_eq!(sequence.observe(12_000 + ahead), Seen::New { extended: (5 << 16) + 14_999, ahead });
        assert_eq!(sequence.observe(11_000), Seen::Jump { extended: (7 << 16) + 11_000 });
    }

    #[test]
    fn stragglers_from_before_a_jump_are_old_or_duplicates_and_the_jump_stands() {
        let mut sequence = Sequence::new();
        sequence.observe(100);
        sequence.observe(102);
        assert!(matches!(sequence.observe(30_000), Seen::Jump { .. }));
        assert_eq!(sequence.observe(102), Seen::Duplicate);
        assert_eq!(sequence.observe(101), Seen::Old { extended: 65_637 });
        assert_eq!(sequence.observe(104), Seen::Old { extended: 65_640 });
        assert_eq!(sequence.observe(104), Seen::Duplicate);
        assert_eq!(sequence.observe(30_001), Seen::New { extended: (3 << 16) + 30_001, ahead: 1 });
        assert!(
            matches!(sequence.observe(167), Seen::Jump { .. }),
            "a source that really goes back is followed"
        );
    }

    proptest! {
        /// A set of all numbers ever seen says the same, as long as the walk stays within the window.
        #[test]
        fn agrees_with_a_set_of_everything_seen(start: u16, steps in prop::collection::vec(-200i64..1200, 1..400)) {
            let mut sequence = Sequence::new();
            sequence.observe(start);
            let mut highest = 65_536 + i64::from(start);
            let mut seen = BTreeSet::from([highest]);
            for step in steps {
                let number = highest + step;
                let expected = match (step > 0, seen.insert(number)) {
                    (true, _) => Seen::New { extended: number as u64, ahead: step as u16 },
                    (false, true) => Seen::Old { extended: number as u64 },
                    (false, false) => Seen::Duplicate,
                };
                prop_assert_eq!(sequence.observe(number as u16), expected);
                highest = highest.max(number);
            }
        }
    }
}
