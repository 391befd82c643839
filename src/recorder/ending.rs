//! Draining and stopping, carried out.

use std::time::Duration;

use super::run::{ControlLoop, now};
use super::stage::Stage;
use crate::limits::BYE_WAIT_MAX;
use crate::sys;

impl ControlLoop {
    /// Told to stop, for the first time or again.
    pub(super) fn stop(&mut self) {
        let next = self.stage.stop(sys::mono(), self.start.plan.drain);
        self.enter(next);
    }

    /// Told to drain. False if it is on its way out.
    pub(super) fn drain(&mut self, time: Duration, then_stop: bool) -> bool {
        let next = self.stage.drain(sys::mono(), time, then_stop);
        next.inspect(|next| self.enter(*next)).is_some()
    }

    /// Told to take calls again. False if it is on its way out.
    pub(super) fn undrain(&mut self) -> bool {
        let next = self.stage.undrain();
        next.inspect(|next| self.enter(*next)).is_some()
    }

    fn enter(&mut self, next: Stage) {
        if next != self.stage {
            tracing::info!(
                calls = self.control.calls(),
                stage = next.name(),
                "asked to drain, stop or go on"
            );
        }
        self.control.drain(next != Stage::Open);
        self.stage = next;
    }

    /// Goes on with it as far as it can.
    pub(super) fn advance(&mut self) {
        loop {
            let stage = self.next_stage();
            if stage == self.stage {
                return;
            }
            self.stage = stage;
        }
    }

    fn next_stage(&mut self) -> Stage {
        let now = now();
        let idle = self.control.calls() == 0;
        match self.stage {
            Stage::Draining { until, then_stop } if idle || now.mono >= until => {
                self.control.close_all(now);
                self.settle();
                if then_stop { Stage::Closing } else { Stage::Drained }
            }
            Stage::Closing if idle => Stage::Parting(now.mono + BYE_WAIT_MAX),
            Stage::Parting(until) if self.endpoint.dialogs() == 0 || now.mono >= until => {
                self.endpoint.leave(now.mono);
                self.settle();
                self.start.shut_down();
                Stage::Ending(self.start.shards.len())
            }
            same => same,
        }
    }
}
