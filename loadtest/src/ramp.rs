//! When calls begin and how long they last. Pure functions of the plan and the seed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tapehead::base::{Mono, Prng};

use crate::signal::mix;

/// How the lengths of calls are distributed about their mean.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// All the same.
    #[default]
    Fixed,
    /// Most short, some very long: telephone traffic as Erlang counted it. Cut at ten times the mean.
    Exponential,
    /// From half to one and a half times the mean.
    Uniform,
}

/// The shortest call.
const LENGTH_MIN: Duration = Duration::from_millis(100);

impl Distribution {
    /// How long a call lasts.
    pub fn length(self, mean: Duration, seed: u64, call: u64) -> Duration {
        let drawn = Prng::new(mix(seed ^ 0x6c65_6e67_7468_0000) ^ mix(call)).u64();
        // In (0, 1]: its logarithm is finite.
        let drawn = ((drawn >> 11) + 1) as f64 / (1u64 << 53) as f64;
        let times = match self {
            Distribution::Fixed => 1.0,
            Distribution::Exponential => (-drawn.ln()).min(10.0),
            Distribution::Uniform => 0.5 + drawn,
        };
        mean.mul_f64(times).max(LENGTH_MIN)
    }
}

/// Lets calls begin at an even rate as long as there are too few of them.
#[derive(Clone, Debug)]
pub struct Ramp {
    every: Duration,
    next: Mono,
    /// Calls at once.
    calls: usize,
    /// Calls that may still begin.
    left: u64,
    slipped: Duration,
}

/// Calls whose time has passed begin at once, as long as it is not longer ago than this: a thread that has to wait for its core keeps up the rate.
pub const CATCH_UP: Duration = Duration::from_millis(50);

impl Ramp {
    /// `calls` at once, `rate` per second, the first at `now`; `total` of them at all.
    pub fn new(now: Mono, calls: usize, rate: f64, total: Option<u64>) -> Ramp {
        Ramp {
            every: Duration::from_secs_f64(1.0 / rate),
            next: now,
            calls,
            left: total.unwrap_or(u64::MAX),
            slipped: Duration::ZERO,
        }
    }

    /// When the next call may begin while `live` are there; `None` if not before one of them ends, or never.
    pub fn next(&self, live: usize) -> Option<Mono> {
        (live < self.calls && self.left > 0).then_some(self.next)
    }

    /// One begins: how late. What was missed before [`CATCH_UP`] is not made up for.
    pub fn begin(&mut self, now: Mono) -> Duration {
        self.left -= 1;
        let behind = now.since(self.next);
        let slipped = behind.saturating_sub(CATCH_UP);
        self.slipped += slipped;
        self.next = self.next + slipped + self.every;
        behind
    }

    /// By how much calls are behind the rate that was asked for, for good.
    pub fn slipped(&self) -> Duration {
        self.slipped
    }

    /// One of `live` has ended: if there were as many as may be, the next was not late until now.
    pub fn ended(&mut self, now: Mono, live: usize) {
        if live >= self.calls {
            self.hold_off(now);
        }
    }

    /// None begins before this.
    pub fn hold_off(&mut self, until: Mono) {
        self.next = self.next.max(until);
    }

    /// None begins any more.
    pub fn close(&mut self) {
        self.left = 0;
    }

    /// Whether there will be more.
    pub fn is_closed(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lengths(of: Distribution) -> Vec<f64> {
        (0..50_000).map(|call| of.length(Duration::from_secs(100), 7, call).as_secs_f64()).collect()
    }

    fn mean(of: &[f64]) -> f64 {
        of.iter().sum::<f64>() / of.len() as f64
    }

    #[test]
    fn lengths_have_their_mean_and_their_shape() {
        assert!(lengths(Distribution::Fixed).iter().all(|length| *length == 100.0));
        let uniform = lengths(Distribution::Uniform);
        assert!((99.0..101.0).contains(&mean(&uniform)));
        assert!(uniform.iter().all(|length| (50.0..=150.0).contains(length)));
        let exponential = lengths(Distribution::Exponential);
        assert!((98.0..102.0).contains(&mean(&exponential)), "{}", mean(&exponential));
        // Half are shorter than ln 2 times the mean.
        let short = exponential.iter().filter(|length| **length < 69.3).count() as f64 / 50_000.0;
        assert!((0.49..0.51).contains(&short), "{short}");
        assert!(exponential.iter().all(|length| (0.1..=1000.0).contains(length)));
        assert_eq!(exponential, lengths(Distribution::Exponential));
    }

    proptest! {
        #[test]
        fn calls_begin_at_the_rate_and_are_never_too_many(
            calls in 1usize..500, rate in 1u32..2000, total in prop::option::of(1u64..800), seed: u64,
        ) {
            let rate = f64::from(rate);
            let start = Mono(1_000_000_000);
            let mut ramp = Ramp::new(start, calls, rate, total);
            let (mut draw, mut now, mut live, mut begun) = (Prng::new(seed), start, 0, 0u64);
            for _ in 0..3000 {
                while ramp.next(live).is_some_and(|at| at <= now) {
                    ramp.begin(now);
                    (live, begun) = (live + 1, begun + 1);
                }
                prop_assert!(live <= calls && total.is_none_or(|total| begun <= total));
                let passed = now.since(start).as_secs_f64();
                prop_assert!(begun as f64 <= passed * rate + 2.0, "{} after {} s", begun, passed);
                live -= draw.below(live as u64 + 1) as usize / 8;
                now = now + Duration::from_micros(draw.below(3000));
            }
        }
    }

    #[test]
    fn a_full_ramp_waits_for_an_end_and_an_open_one_for_its_time() {
        let start = Mono(5_000_000_000);
        let mut ramp = Ramp::new(start, 2, 10.0, None);
        assert_eq!(ramp.next(0), Some(start));
        ramp.begin(start);
        assert_eq!(ramp.next(1), Some(start + Duration::from_millis(100)));
        ramp.begin(start + Duration::from_millis(100));
        assert_eq!(ramp.next(2), None);
        ramp.hold_off(start + Duration::from_secs(7));
        assert_eq!(ramp.next(1), Some(start + Duration::from_secs(7)));
        ramp.close();
        assert_eq!((ramp.next(0), ramp.is_closed()), (None, true));
    }

    #[test]
    fn a_late_thread_keeps_up_the_rate_unless_it_is_too_late_and_a_full_ramp_is_not_late() {
        let start = Mono(5_000_000_000);
        let ms = Duration::from_millis;
        let mut ramp = Ramp::new(start, 1000, 1000.0, None);
        let begun_at = |ramp: &mut Ramp, now: Mono| {
            let mut late = Vec::new();
            while ramp.next(0).is_some_and(|at| at <= now) {
                late.push(ramp.begin(now));
            }
            late
        };
        let late = begun_at(&mut ramp, start + ms(20));
        assert_eq!((late.len(), late[0], late[20], ramp.slipped()), (21, ms(20), ms(0), ms(0)));
        let late = begun_at(&mut ramp, start + ms(221));
        assert_eq!((late.len(), late[0], ramp.slipped()), (51, ms(200), ms(150)));
        ramp.ended(start + ms(900), 1000);
        assert_eq!(ramp.begin(start + ms(901)), ms(1));
        assert_eq!(ramp.slipped(), ms(150));
    }
}
