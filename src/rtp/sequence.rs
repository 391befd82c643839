//! Extended sequence numbers and duplicates of one source (RFC 3550 appendix A.1, without probation: a recorder
//! keeps a source's first packet).
//!
//! Leaves out time: a packet that comes too late is judged by its position, in [`crate::media`].

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

/// Sequence state of one source.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
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
        (self.highest > 0).then_some(self.highest)
    }

    /// Takes note of one packet.
    #[inline]
    pub fn observe(&mut self, sequence: u16) -> Seen {
        if self.highest == 0 {
            self.restart(1 << 16 | u64::from(sequence));
            return Seen::New { extended: self.highest, ahead: 1 };
        }
        let ahead = sequence.wrapping_sub(self.highest as u16);
        if (1..MAX_DROPOUT).contains(&ahead) {
            self.advance(ahead);
            return Seen::New { extended: self.highest, ahead };
        }
        let behind = u64::from(ahead.wrapping_neg());
        if behind < SEQUENCE_WINDOW && behind < self.highest {
            let extended = self.highest - behind;
            return if self.mark(extended) { Seen::Old { extended } } else { Seen::Duplicate };
        }
        self.restart(((self.highest & !0xffff) + (2 << 16)) | u64::from(sequence));
        Seen::Jump { extended: self.highest }
    }

    fn advance(&mut self, by: u16) {
        if u64::from(by) >= SEQUENCE_WINDOW {
            self.seen = Default::default();
        } else {
            // The places of the skipped numbers still hold their forerunners, one window ago.
            (1..u64::from(by)).for_each(|step| self.clear(self.highest + step));
        }
        self.highest += u64::from(by);
        self.clear(self.highest);
        self.mark(self.highest);
    }

    fn restart(&mut self, highest: u64) {
        self.highest = highest;
        self.seen = Default::default();
        self.mark(highest);
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
        sequence.observe(100);
        assert_eq!(sequence.observe(100 + MAX_DROPOUT), Seen::Jump { extended: (3 << 16) + 3100 });
        assert_eq!(sequence.observe(100), Seen::Jump { extended: (5 << 16) + 100 });
        assert_eq!(
            sequence.observe(100 + MAX_DROPOUT - 1),
            Seen::New { extended: (5 << 16) + 3099, ahead: 2999 }
        );
        assert_eq!(sequence.observe(100), Seen::Jump { extended: (7 << 16) + 100 });
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
