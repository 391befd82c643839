//! The stretches of a track's timeline in which nothing is to be recorded, decided by position.
//!
//! ```text
//!   ........ P============R ........ P2=======
//!   kept       thrown away    kept      thrown away, until resumed
//! ```
//!
//! What belongs before a pause is kept though it comes during it, and what belongs into one is thrown away though it comes after it: the network
//! must not decide what is heard. Only what had been placed beyond `P` when the pause began stays. Leaves out segments that are cut.

use crate::limits::PAUSES_OPEN_MAX;

/// The pauses of one track that unsealed audio may still meet.
#[derive(Clone, Debug, Default)]
pub(super) struct Pauses {
    past: Vec<(u64, u64)>,
    since: Option<u64>,
}

impl Pauses {
    /// A pause begins at `at`. During one it does nothing.
    pub(super) fn begin(&mut self, at: u64) {
        if self.since.is_some() {
            return;
        }
        // Rather too much is thrown away than too little, should somebody pause all the time.
        let full = self.past.len() >= PAUSES_OPEN_MAX;
        let merged = if full { self.past.pop().map(|(start, _)| start) } else { None };
        self.since = Some(merged.unwrap_or(at));
    }

    /// The pause ends at `at`.
    pub(super) fn end(&mut self, at: u64) {
        if let Some(start) = self.since.take().filter(|start| *start < at) {
            self.past.push((start, at));
        }
    }

    /// Everything before `sealed` is sealed: pauses before it meet nothing any more.
    pub(super) fn forget_before(&mut self, sealed: u64) {
        if !self.past.is_empty() {
            self.past.retain(|(_, end)| *end > sealed);
        }
    }

    /// `[from, to)` in parts that lie wholly inside of a pause (`true`) or outside.
    pub(super) fn parts(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, i64, bool)> + use<> {
        // Nearly always there is none, and nothing is allocated for it.
        let pauses: Vec<(i64, i64)> = if self.past.is_empty() && self.since.is_none() {
            Vec::new()
        } else {
            let open = self.since.map(|start| (start as i64, i64::MAX));
            self.past.iter().map(|&(start, end)| (start as i64, end as i64)).chain(open).collect()
        };
        let mut at = from;
        std::iter::from_fn(move || {
            let begun = at;
            let next = pauses.iter().find(|(_, end)| *end > at);
            let (end, paused) = match next {
                Some(&(start, end)) if start <= at => (end.min(to), true),
                Some(&(start, _)) => (start.min(to), false),
                None => (to, false),
            };
            at = end;
            (begun < to).then_some((begun, end, paused))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_are_those_of_a_plain_list(
            lengths in proptest::collection::vec(1u64..50, 0..PAUSES_OPEN_MAX * 2),
            from in -20i64..400,
            length in 0i64..200,
            sealed in 0u64..400,
        ) {
            let mut pauses = Pauses::default();
            let mut plain = vec![false; 2000];
            let mut at = 0;
            for (number, length) in lengths.iter().enumerate() {
                if number % 2 == 0 { pauses.end(at) } else { pauses.begin(at) }
                let end = if number + 1 == lengths.len() { 2000 } else { (at + length) as usize };
                plain[at as usize..end].fill(number % 2 == 1);
                at += length;
            }
            let from = from.max(sealed as i64);
            pauses.forget_before(sealed);
            let mut expected = from;
            for (start, end, paused) in pauses.parts(from, from + length) {
                prop_assert!(start == expected && end > start);
                prop_assert!((start..end).all(|at| plain.get(at as usize).is_some_and(|p| *p == paused)));
                expected = end;
            }
            prop_assert_eq!(expected, from + length);
        }
    }

    #[test]
    fn the_list_is_bounded_and_throws_away_too_much_rather_than_too_little() {
        let mut pauses = Pauses::default();
        for number in 0..1000 {
            pauses.begin(number * 20);
            pauses.begin(number * 20 + 5);
            pauses.end(number * 20 + 10);
        }
        assert_eq!(pauses.past.len(), PAUSES_OPEN_MAX);
        assert!(pauses.parts(999 * 20, 999 * 20 + 10).all(|(_, _, paused)| paused));
        assert!(pauses.parts(1000 * 20, 1001 * 20).all(|(_, _, paused)| !paused));
    }
}
