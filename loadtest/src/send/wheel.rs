//! A timing wheel: which streams are due now, at a few nanoseconds each however many there are.
//!
//! ```text
//!   slot   0    1    2    3   ...  4095   (1 ms each, then round again)
//!          │    │         │
//!          ▼    ▼         ▼
//!          7─▶2 9         4            numbers of streams, chained through `next`
//! ```
//!
//! What is due in a slot is handed out when the slot has ended: never early, and late by a millisecond at most if the owner turns the wheel
//! in time. What is due beyond the last slot waits in that and is put off again. A pure function of its input.

use std::time::Duration;

use tapehead::base::Mono;

/// Slots; a power of two, so that a place is a mask away.
const SLOTS: u64 = 4096;
/// Nanoseconds of a slot.
const SLOT_NS: u64 = 1_000_000;
const NOBODY: u32 = u32::MAX;

/// How long a slot lasts, which is how late something due may be handed out.
pub const SLOT: Duration = Duration::from_nanos(SLOT_NS);

/// See the [module](self).
pub struct Wheel {
    heads: Box<[u32]>,
    next: Vec<u32>,
    due: Vec<u64>,
    /// The slot that is handed out next, counted from the clock's zero.
    slot: u64,
}

impl Wheel {
    /// An empty wheel that stands at `now`.
    pub fn new(now: Mono) -> Wheel {
        Wheel {
            heads: vec![NOBODY; SLOTS as usize].into_boxed_slice(),
            next: Vec::new(),
            due: Vec::new(),
            slot: now.0 / SLOT_NS,
        }
    }

    /// Puts `number` in. What should have been due earlier is due in the slot at hand. A number must not be in twice.
    pub fn insert(&mut self, number: u32, due: Mono) {
        let at = number as usize;
        if at >= self.next.len() {
            self.next.resize(at + 1, NOBODY);
            self.due.resize(at + 1, 0);
        }
        self.due[at] = due.0;
        let slot = (due.0 / SLOT_NS).clamp(self.slot, self.slot + SLOTS - 1);
        let head = &mut self.heads[(slot % SLOTS) as usize];
        self.next[at] = *head;
        *head = number;
    }

    /// When the slot at hand ends: there is nothing to do before.
    pub fn next_turn(&self) -> Mono {
        Mono((self.slot + 1) * SLOT_NS)
    }

    /// Hands out all that is due in the next slot, if it has ended by `now`; false if it has not. `fire` gets a number and when the slot ends,
    /// does all that is due before that, and says when the next is, if ever.
    pub fn turn(&mut self, now: Mono, mut fire: impl FnMut(u32, Mono) -> Option<Mono>) -> bool {
        let end = self.next_turn();
        if now < end {
            return false;
        }
        let mut number = std::mem::replace(&mut self.heads[(self.slot % SLOTS) as usize], NOBODY);
        self.slot += 1;
        while number != NOBODY {
            let at = number as usize;
            let (after, due) = (self.next[at], Mono(self.due[at]));
            // One that waits for a later round was only put off.
            let next = if due < end { fire(number, end) } else { Some(due) };
            if let Some(next) = next {
                self.insert(number, next);
            }
            number = after;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Streams with their due times, each ascending.
    fn courses() -> impl Strategy<Value = Vec<Vec<u64>>> {
        let gap = prop_oneof![8 => 0u64..40_000_000, 1 => Just(0), 1 => 0u64..20_000_000_000];
        let course = prop::collection::vec(gap, 1..20).prop_map(|gaps| {
            let sum = |at: &mut u64, gap| {
                *at += gap;
                Some(*at)
            };
            gaps.into_iter().scan(5_000_000_000, sum).collect()
        });
        prop::collection::vec(course, 1..30)
    }

    proptest! {
        #[test]
        fn everything_is_handed_out_once_in_order_never_early_and_within_its_slot(
            courses in courses(),
            // The last leap is past everything.
            leaps in prop::collection::vec(0u64..30_000_000, 0..300),
        ) {
            let mut wheel = Wheel::new(Mono(5_000_000_000));
            let mut done = vec![0; courses.len()];
            courses.iter().zip(0..).for_each(|(course, number)| wheel.insert(number, Mono(course[0])));
            let mut now = 5_000_000_000;
            for leap in leaps.into_iter().chain([500_000_000_000]) {
                let before = now;
                now += leap;
                let mut fire = |number: u32, end: Mono| {
                    let (course, done) = (&courses[number as usize], &mut done[number as usize]);
                    assert!(end.0 <= now, "never early");
                    assert!(course[*done] < end.0, "something is due");
                    while course.get(*done).is_some_and(|due| *due < end.0) {
                        // In the slot that it belongs to, unless that was over when it was put in; and in the first turn after that.
                        assert!(course[*done] + 1_000_000 >= end.0);
                        assert!(end.0 > before - before % 1_000_000);
                        *done += 1;
                    }
                    course.get(*done).map(|due| Mono(*due))
                };
                while wheel.turn(Mono(now), &mut fire) {}
            }
            for (course, done) in courses.iter().zip(done) {
                prop_assert_eq!(course.len(), done);
            }
        }
    }

    #[test]
    fn what_is_overdue_comes_in_the_slot_at_hand() {
        let mut wheel = Wheel::new(Mono(10_000_000));
        wheel.insert(3, Mono(1));
        assert!(!wheel.turn(Mono(10_999_999), |_, _| panic!("the slot has not ended")));
        let mut seen = Vec::new();
        let mut fire = |number, _| {
            seen.push(number);
            None
        };
        assert!(wheel.turn(Mono(11_000_000), &mut fire));
        assert!(wheel.turn(Mono(12_000_000), &mut fire));
        assert_eq!(seen, [3]);
    }
}
