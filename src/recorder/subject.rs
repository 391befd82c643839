//! The running recorder as an administrator sees and moves it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::run::{ControlLoop, now};
use super::socket;
use crate::admin::metrics::Sample;
use crate::admin::{
    self, CallName, DialogStatus, DrainOrder, Limits, Refused, ShardStatus, SipStatus, Status, Subject,
};
use crate::control::{CallDetail, CallSummary, PauseScope};
use crate::limits::ADMIN_PAGE;
use crate::link::CallId;
use crate::sip::{DialogId, DialogRow, Refresher};

use crate::sys;

impl ControlLoop {
    /// Answers a request of the control socket.
    pub(super) fn answer(&mut self, request: socket::Request) {
        self.count_turned_away();
        self.asked_by = request.uid;
        let answer = admin::answer(&request.line, self);
        // The client has gone away meanwhile.
        let _ = request.reply.send(answer);
    }

    /// Who asks, for manifests.
    fn asker(&self) -> String {
        format!("control socket, uid {}", self.asked_by)
    }

    fn scope(&self, which: Option<CallName>) -> Result<PauseScope, Refused> {
        let gone = || Refused::Unknown("there is no such call, or it is over".to_owned());
        match which {
            None => Ok(PauseScope::All),
            Some(CallName::Recording(recording)) => Ok(PauseScope::Recording(recording)),
            Some(CallName::Call(id)) => {
                self.control.recording(id).map(PauseScope::Recording).ok_or_else(gone)
            }
        }
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
            sip_events: happened(self.endpoint.counters().each()),
            sockets: self
                .transports
                .counters()
                .each()
                .chain([("external_address_changes", self.relocations)])
                .collect(),
            shards: self.shard_status(),
            jobs: self.start.pool.pending(),
            disk_free: self.watch.disk_free,
            refusals: self.control.refusals().collect(),
            cuts: happened(self.control.cuts().each()),
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

    fn dialogs(&self, after: u64) -> Vec<DialogStatus> {
        // Shown from 1 on, so that 0 is before all of them.
        let rows = self.endpoint.dialogs_from(DialogId(after), ADMIN_PAGE, sys::mono());
        rows.into_iter().map(dialog_status).collect()
    }

    fn limits(&self) -> Limits {
        let (plan, (first, last)) = (&self.start.plan, self.start.plan.shard_ports(0));
        Limits {
            calls_max: plan.calls_max,
            calls_per_second_max: plan.calls_per_second_max,
            shard_busy_max_percent: plan.shard_busy_max_percent,
            shards: plan.shards,
            shard_calls_max: plan.shard_calls_max(),
            shard_port_pairs: u32::from(last - first).div_ceil(2),
            disk_free_min: plan.free_bytes_min,
            drain_seconds: plan.drain.as_secs(),
        }
    }

    fn sample(&self) -> Sample {
        Sample {
            status: self.status(),
            calls_taken: self.control.calls_taken(),
            paused: self.control.paused(),
            ring: self.start.shards.ring,
            control_busy_ppm: self.watch.busy_ppm,
            control_cpu: self.watch.cpu,
            process_cpu: sys::clock::process_cpu(),
            resident_bytes: sys::process::resident_bytes(),
            sip: self.endpoint.counters(),
            net: self.transports.counters(),
            cuts: self.control.cuts(),
            shards: self.control.stats().cloned().collect(),
        }
    }

    fn pause(&mut self, which: Option<CallName>, reason: &str) -> Result<usize, Refused> {
        let (scope, by) = (self.scope(which)?, self.asker());
        self.control.pause(scope, &by, reason, now()).map_err(|why| Refused::Unknown(why.to_string()))
    }

    fn resume(&mut self, which: Option<CallName>) -> Result<usize, Refused> {
        let (scope, by) = (self.scope(which)?, self.asker());
        self.control.resume(scope, &by, now()).map_err(|why| Refused::Unknown(why.to_string()))
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

fn happened(counts: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<&'static str, u64> {
    counts.filter(|(_, count)| *count > 0).collect()
}

fn dialog_status(row: DialogRow) -> DialogStatus {
    let state = match () {
        () if row.ending => "ending",
        () if row.unacknowledged => "unacknowledged",
        () if row.confirmed => "confirmed",
        () => "early",
    };
    DialogStatus {
        id: row.id.0 + 1,
        call_id: row.call_id,
        local_tag: row.local_tag,
        remote_tag: row.remote_tag,
        address: row.peer.remote.to_string(),
        transport: row.peer.transport.as_str(),
        state,
        age_s: row.age.as_secs(),
        expires_s: row.session.map(|session| session.left.as_secs()),
        refresher: row.session.map(|session| match session.refresher {
            Refresher::Us => "recorder",
            Refresher::Peer => "peer",
        }),
    }
}

fn stopping() -> Refused {
    Refused::Refused("the recorder is stopping, which can't be taken back".to_owned())
}
