//! The running recorder as an administrator sees and moves it.

use std::time::Duration;

use super::run::{ControlLoop, now};
use super::socket;
use crate::admin::{self, CallName, DrainOrder, Refused, ShardStatus, SipStatus, Status, Subject};
use crate::control::{CallDetail, CallSummary};
use crate::limits::ADMIN_PAGE;
use crate::link::CallId;
use crate::sys;

impl ControlLoop {
    /// Answers a request of the control socket.
    pub(super) fn answer(&mut self, request: socket::Request) {
        self.count_turned_away();
        let answer = admin::answer(&request.line, self);
        // The client has gone away meanwhile.
        let _ = request.reply.send(answer);
    }

    fn shard_status(&self) -> Vec<ShardStatus> {
        let shards = self.control.shards_taken().zip(self.control.stats());
        shards
            .map(|((calls, port_pairs, port_pairs_max), stats)| ShardStatus {
                calls,
                port_pairs,
                port_pairs_max,
                blocks_free: stats.blocks_free,
                blocks: stats.blocks,
                busy_percent: (stats.busy_ppm / 10_000) as u8,
            })
            .collect()
    }
}

impl Subject for ControlLoop {
    fn status(&self) -> Status {
        let now = sys::mono();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_s: self.watch.uptime(now).as_secs(),
            stage: self.stage.name(),
            calls: self.control.calls(),
            capacity: self.control.capacity(now),
            sip: SipStatus {
                dialogs: self.endpoint.dialogs(),
                transactions: self.endpoint.transactions(),
                connections: self.transports.connections(),
                call_timers: self.control.timers(),
            },
            sockets: self
                .transports
                .counters()
                .named()
                .chain([("external_address_changes", self.relocations)])
                .collect(),
            shards: self.shard_status(),
            jobs: self.start.pool.pending(),
            disk_free: self.watch.disk_free,
            refusals: self.control.refusals().collect(),
        }
    }

    fn calls(&self, after: CallId) -> Vec<CallSummary> {
        self.control.calls_after(after, now()).take(ADMIN_PAGE).collect()
    }

    fn call(&self, name: CallName, show_parties: bool) -> Option<CallDetail> {
        let id = match name {
            CallName::Call(id) => id,
            CallName::Recording(recording) => self.control.call_of(recording)?,
        };
        self.control.call(id, show_parties, now())
    }

    fn drain(&mut self, order: DrainOrder) -> Result<(), Refused> {
        let time = order.seconds.map_or(self.start.plan.drain, |s| Duration::from_secs(s.into()));
        let done = ControlLoop::drain(self, time, order.then_stop);
        done.then_some(()).ok_or_else(stopping)
    }

    fn undrain(&mut self) -> Result<(), Refused> {
        ControlLoop::undrain(self).then_some(()).ok_or_else(stopping)
    }

    fn stop(&mut self, at_once: bool) {
        ControlLoop::stop(self);
        if at_once {
            ControlLoop::stop(self);
        }
    }
}

fn stopping() -> Refused {
    Refused::Refused("the recorder is stopping, which can't be taken back".to_owned())
}
