//! The stretches of a track in which nothing is to be recorded.
//!
//! ```text
//!   arrival    ........ P============R ........ P2=======
//!              taken      thrown away   taken     thrown away, until resumed
//!   position   .....F================R ........
//!              kept   thrown away       kept
//! ```
//!
//! What arrives in a pause is thrown away wherever it belongs: once the pause is confirmed nothing that comes is heard. So is what belongs into one
//! and comes after it: the network must not decide what is heard. What came before `P` stays, wherever it lies. `F` is where the silence begins that
//! was left by what was thrown away: before `P` where a source is behind. Leaves out segments that are cut.

use crate::limits::PAUSES_OPEN_MAX;

/// A pause: when it is, and where on the timeline.
#[derive(Clone, Copy, Debug)]
struct Pause {
    since: u64,
    until: u64,
    from: u64,
    to: u64,
}

/// The pauses of one track that unsealed audio may still meet.
#[derive(Clone, Debug, Default)]
pub(super) struct Pauses {
    past: Vec<Pause>,
    now: Option<Pause>,
}

impl Pauses {
    /// A pause begins at `at`. During one it does nothing.
    pub(super) fn begin(&mut self, at: u64) {
        if self.now.is_some() {
            return;
        }
        // Rather too much is thrown away than too little, should somebody pause all the time.
        let full = self.past.len() >= PAUSES_OPEN_MAX;
        let merged = if full { self.past.pop() } else { None };
        let begun = merged.unwrap_or(Pause { since: at, until: u64::MAX, from: at, to: u64::MAX });
        self.now = Some(Pause { until: u64::MAX, to: u64::MAX, ..begun });
    }

    /// The pause ends at `at`, and what lies before `frontier` belongs to it.
    pub(super) fn end(&mut self, at: u64, frontier: u64) {
        let ended = self.now.take().map(|pause| Pause { until: at, to: at.max(frontier), ..pause });
        self.past.extend(ended.filter(|pause| pause.from < pause.to));
    }

    /// Whether what arrives at `arrival` and lies at `start` or behind `heard` is thrown away.
    pub(super) fn takes(&mut self, arrival: u64, start: u64, heard: u64) -> bool {
        let mut pauses = self.past.iter_mut().chain(&mut self.now);
        match pauses.find(|pause| (pause.since..pause.until).contains(&arrival)) {
            Some(pause) => {
                pause.from = pause.from.min(start.max(heard));
                true
            }
            None => false,
        }
    }

    /// Everything before `sealed` is sealed: pauses before it meet nothing any more.
    pub(super) fn forget_before(&mut self, sealed: u64) {
        if !self.past.is_empty() {
            self.past.retain(|pause| pause.to > sealed);
        }
    }

    /// `[from, to)` in parts that lie wholly inside of a pause (`true`) or outside.
    pub(super) fn parts(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, i64, bool)> + use<> {
        split(spans(self.past.iter().chain(&self.now)), from, to)
    }

    /// The same for audio that came in none: what lies in a pause that has not ended was there before it.
    pub(super) fn parts_of_audio(
        &self,
        from: i64,
        to: i64,
    ) -> impl Iterator<Item = (i64, i64, bool)> + use<> {
        split(spans(self.past.iter()), from, to)
    }
}

fn spans<'a>(pauses: impl Iterator<Item = &'a Pause>) -> Vec<(i64, i64)> {
    // Nearly always there is none, and nothing is allocated for it.
    pauses.map(|pause| (pause.from as i64, i64::try_from(pause.to).unwrap_or(i64::MAX))).collect()
}

fn split(pauses: Vec<(i64, i64)>, from: i64, to: i64) -> impl Iterator<Item = (i64, i64, bool)> + use<> {
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
                if number % 2 == 0 { pauses.end(at, 0) } else { pauses.begin(at) }
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
            pauses.end(number * 20 + 10, 0);
        }
        assert_eq!(pauses.past.len(), PAUSES_OPEN_MAX);
        assert!(pauses.parts(999 * 20, 999 * 20 + 10).all(|(_, _, paused)| paused));
        assert!(pauses.parts(1000 * 20, 1001 * 20).all(|(_, _, paused)| !paused));
    }
}
