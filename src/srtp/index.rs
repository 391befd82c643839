//! Where a packet stands in its source's stream: the rollover counter guessed (RFC 3711 section 3.3.1), and the window of those seen
//! (section 3.3.2).

/// Packets that the replay window remembers; RFC 3711 section 3.3.2 wants 64 at least.
pub(super) const WINDOW: u64 = 128;

/// The indices of one source that were authentic so far, at least one. The same for SRTP (48 bits) and SRTCP (31 bits).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    highest: u64,
    /// Bit n: `highest - n` was seen.
    seen: u128,
}

impl Window {
    pub fn starting(index: u64) -> Window {
        Window { highest: index, seen: 1 }
    }

    /// Whether `index` was seen, or is too old to know.
    pub fn is_replay(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            None => false,
            Some(behind) => behind >= WINDOW || self.seen >> behind & 1 == 1,
        }
    }

    /// Notes an authentic index.
    pub fn mark(&mut self, index: u64) {
        match self.highest.checked_sub(index) {
            None => {
                let ahead = index - self.highest;
                self.seen = if ahead >= WINDOW { 1 } else { self.seen << ahead | 1 };
                self.highest = index;
            }
            Some(behind) if behind < WINDOW => self.seen |= 1 << behind,
            Some(_) => {}
        }
    }

    /// The index that `sequence` most likely stands for: the one nearest to the highest seen (RFC 3711 appendix A).
    pub fn estimate(&self, sequence: u16) -> u64 {
        let ahead = i64::from(sequence.wrapping_sub(self.highest as u16) as i16);
        let index = self.highest.checked_add_signed(ahead);
        // Before the first rollover there is nothing behind zero.
        index.unwrap_or(u64::from(sequence)) & INDEX_MAX
    }

    /// The highest index seen.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// How often the sequence number has rolled over.
    pub fn rollovers(&self) -> u32 {
        (self.highest >> 16) as u32
    }
}

const INDEX_MAX: u64 = (1 << 48) - 1;

/// The index of a sequence number under a rollover counter.
pub(super) fn index(rollovers: u32, sequence: u16) -> u64 {
    u64::from(rollovers) << 16 | u64::from(sequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_estimate_is_that_of_the_standard() {
        // RFC 3711 appendix A, at rollover counter 2.
        let at = |sequence| Window::starting(index(2, sequence));
        assert_eq!(at(100).estimate(101), index(2, 101));
        assert_eq!(at(100).estimate(65_530), index(1, 65_530));
        assert_eq!(at(65_530).estimate(3), index(3, 3));
        assert_eq!(at(40_000).estimate(39_000), index(2, 39_000));
        assert_eq!(Window::starting(5).estimate(65_530), 65_530, "nothing was before the first rollover");
        assert_eq!(at(7).rollovers(), 2);
    }

    proptest! {
        #[test]
        fn every_index_passes_once_and_what_is_too_old_never(steps in prop::collection::vec(-200i64..200, 1..300)) {
            let start = 1000u64;
            let mut window = Window::starting(start);
            let mut seen = BTreeSet::from([start]);
            let mut at = start;
            for step in steps {
                at = at.saturating_add_signed(step);
                let highest = *seen.last().expect("one is there");
                let expected = seen.contains(&at) || at + WINDOW <= highest;
                prop_assert_eq!(window.is_replay(at), expected, "{} after {}", at, highest);
                if !expected {
                    window.mark(at);
                    seen.insert(at);
                }
            }
        }
    }
}
