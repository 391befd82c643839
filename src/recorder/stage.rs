//! How far draining and stopping have come, and what is asked of them.
//!
//! ```text
//!   Open ──drain──▶ Draining ──calls ended, or time──▶ Drained        (a drain that was asked for without an end)
//!     ▲                │  └───────────────────────────▶ Closing ─▶ Parting ─▶ Ending      (with one, or SIGTERM)
//!     └────undrain─────┴──────────────────────────────────┘ from Drained
//! ```

use std::time::Duration;

use crate::base::Mono;

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Calls are taken.
    Open,
    /// No new calls; running ones may go on until then.
    Draining {
        /// Until when.
        until: Mono,
        /// Whether the process ends afterwards.
        then_stop: bool,
    },
    /// No calls, and none are taken.
    Drained,
    /// Every call is being closed, and then the process ends.
    Closing,
    /// Every call is closed; BYEs may be answered until then.
    Parting(Mono),
    /// Shards have been told to end; so many have not yet.
    Ending(usize),
}

impl Stage {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Open => "open",
            Stage::Draining { then_stop: false, .. } => "draining",
            Stage::Drained => "drained",
            Stage::Draining { then_stop: true, .. }
            | Stage::Closing
            | Stage::Parting(_)
            | Stage::Ending(_) => "stopping",
        }
    }

    /// When something has to happen even if nothing else does.
    pub fn deadline(self) -> Option<Mono> {
        match self {
            Stage::Draining { until, .. } | Stage::Parting(until) => Some(until),
            Stage::Open | Stage::Drained | Stage::Closing | Stage::Ending(_) => None,
        }
    }

    /// Asked to drain: `None` if it is on its way out and not to be slowed down.
    pub fn drain(self, now: Mono, time: Duration, then_stop: bool) -> Option<Stage> {
        let stopping = self.name() == "stopping";
        (!stopping).then_some(Stage::Draining { until: now + time, then_stop })
    }

    /// Asked to take calls again: `None` if it is on its way out.
    pub fn undrain(self) -> Option<Stage> {
        (self.name() != "stopping").then_some(Stage::Open)
    }

    /// Asked to stop, by a signal or a command; being asked again, or to do it now, ends the waiting.
    pub fn stop(self, now: Mono, time: Duration) -> Stage {
        match self {
            Stage::Open | Stage::Drained => Stage::Draining { until: now + time, then_stop: true },
            Stage::Draining { until, then_stop: false } => {
                Stage::Draining { until: until.min(now + time), then_stop: true }
            }
            Stage::Draining { then_stop: true, .. } => Stage::Draining { until: now, then_stop: true },
            Stage::Closing | Stage::Parting(_) | Stage::Ending(_) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono::from_ms(1_000);
    const TIME: Duration = Duration::from_secs(10);

    #[test]
    fn a_drain_can_be_taken_back_and_a_stop_can_not() {
        let draining = Stage::Open.drain(NOW, TIME, false).unwrap();
        assert_eq!((draining.name(), draining.undrain()), ("draining", Some(Stage::Open)));
        assert_eq!(Stage::Drained.undrain(), Some(Stage::Open));
        let stopping = draining.stop(NOW + TIME / 2, TIME);
        assert_eq!(
            stopping,
            Stage::Draining { until: NOW + TIME, then_stop: true },
            "no later than asked before"
        );
        assert_eq!(
            (stopping.name(), stopping.undrain(), stopping.drain(NOW, TIME, false)),
            ("stopping", None, None)
        );
        assert_eq!(Stage::Open.drain(NOW, TIME, true).unwrap().undrain(), None);
    }

    #[test]
    fn the_second_stop_ends_the_waiting() {
        let once = Stage::Open.stop(NOW, TIME);
        assert_eq!(once.deadline(), Some(NOW + TIME));
        assert_eq!(once.stop(NOW, TIME).deadline(), Some(NOW));
        assert_eq!(Stage::Closing.stop(NOW, TIME), Stage::Closing);
    }
}
