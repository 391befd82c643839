//! What a run is counted by, and what it comes to.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::record::End;

/// Longest time that is told apart.
const TIME_US_MAX: u64 = 120_000_000;

/// Times, told as percentiles.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Times {
        Times(Histogram::new_with_bounds(1, TIME_US_MAX, 3).expect("the bounds are constants that fit"))
    }
}

impl Times {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.0.saturating_record(time.as_micros() as u64);
    }

    /// What they come to.
    pub fn percentiles(&self) -> Percentiles {
        Percentiles::of(&self.0)
    }
}

/// Times in milliseconds.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize)]
pub struct Percentiles {
    /// How many times were taken.
    pub count: u64,
    /// Half were shorter.
    pub p50: f64,
    /// One in ten was longer.
    pub p90: f64,
    /// One in a hundred was longer.
    pub p99: f64,
    /// One in a thousand was longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Percentiles {
    /// Of a histogram of microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Percentiles {
        if histogram.is_empty() {
            return Percentiles::default();
        }
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Percentiles {
            count: histogram.len(),
            p50: ms(0.5),
            p90: ms(0.9),
            p99: ms(0.99),
            p999: ms(0.999),
            max: histogram.max() as f64 / 1e3,
        }
    }
}

/// How calls came and went.
#[derive(Clone, PartialEq, Default, Debug, Serialize)]
pub struct Calls {
    /// INVITEs for new calls.
    pub begun: u64,
    /// Of those answered 200.
    pub answered: u64,
    /// Ended by our BYE.
    pub hung_up: u64,
    /// Ended by vanishing, as planned.
    pub vanished: u64,
    /// Ended by the recorder.
    pub by_recorder: u64,
    /// BYE was not answered 200.
    pub bye_failed: u64,
    /// The answer could not be used.
    pub bad_answers: u64,
    /// Refused, by code.
    pub refused: BTreeMap<u16, u64>,
    /// Refusals with Retry-After.
    pub retry_after: u64,
    /// For how long no call was begun because of that, in seconds.
    pub held_off_s: f64,
    /// Changes (hold and resume) that the recorder took.
    pub reinvites: u64,
    /// Changes that it did not take.
    pub reinvites_failed: u64,
    /// INVITEs and BYEs sent again because no answer had come.
    pub resent: u64,
}

/// What became of calls, and how signalling went.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    /// How they came and went.
    pub calls: Calls,
    /// From INVITE to 200.
    pub answer: Times,
    /// From BYE to 200.
    pub bye: Times,
    /// How long after their times calls began.
    pub late: Times,
    /// By how much calls are behind the rate that was asked for, for good.
    pub slipped: Duration,
    /// The first few things that went wrong, in words.
    pub complaints: Vec<String>,
}

/// So many complaints are kept.
const COMPLAINTS_MAX: usize = 10;

impl Tally {
    /// A call is over.
    pub fn ended(&mut self, end: End) {
        match end {
            End::HungUp => self.calls.hung_up += 1,
            End::Vanished => self.calls.vanished += 1,
            End::ByRecorder => self.calls.by_recorder += 1,
            End::ByeFailed(_) => self.calls.bye_failed += 1,
            End::BadAnswer => self.calls.bad_answers += 1,
            End::Refused(code) => *self.calls.refused.entry(code).or_default() += 1,
        }
    }

    /// Something went wrong that a number does not tell.
    pub fn complain(&mut self, what: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(what);
        }
    }

    /// Calls that the recorder did not take.
    pub fn refused_all(&self) -> u64 {
        self.calls.refused.values().sum()
    }

    /// Whether every call came and went as planned.
    pub fn is_clean(&self) -> bool {
        let lost = self.calls.by_recorder
            + self.calls.bye_failed
            + self.calls.bad_answers
            + self.calls.reinvites_failed;
        lost + self.refused_all() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut times = Times::default();
        assert_eq!(times.percentiles(), Percentiles::default());
        (1..=1000).for_each(|ms| times.add(Duration::from_millis(ms)));
        let of = times.percentiles();
        let near = |value: f64, wanted: f64| (value / wanted - 1.0).abs() < 0.01;
        assert!(near(of.p50, 500.0) && near(of.p99, 990.0) && near(of.max, 1000.0), "{of:?}");
        times.add(Duration::from_secs(10_000));
        assert_eq!(times.percentiles().count, 1001, "what is too long counts as the longest");
    }

    #[test]
    fn only_calls_that_came_and_went_as_planned_are_clean() {
        let mut tally = Tally::default();
        tally.ended(End::HungUp);
        tally.ended(End::Vanished);
        assert!(tally.is_clean());
        for end in [End::Refused(503), End::ByRecorder, End::ByeFailed(408), End::BadAnswer] {
            let mut tally = tally.clone();
            tally.ended(end);
            assert!(!tally.is_clean(), "{end:?}");
        }
    }
}
