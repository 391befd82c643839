//! Lines of the control socket: any of them gets one line back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapehead::admin::metrics::Sample;
use tapehead::admin::{
    CallName, DialogStatus, DrainOrder, Limits, Refused, SipStatus, Status, Subject, answer,
};
use tapehead::control::{CallDetail, CallSummary, Capacity};
use tapehead::link::CallId;

/// A recorder without a call.
struct Idle;

impl Subject for Idle {
    fn status(&self) -> Status {
        Status {
            version: "1",
            pid: 1,
            uptime_s: 1,
            stage: "open",
            calls: 0,
            capacity: Capacity { calls: 1, bound_by: "calls_max" },
            sip: SipStatus::default(),
            shards: Vec::new(),
            jobs: 0,
            disk_free: 1,
            refusals: Default::default(),
            sip_events: Default::default(),
            sockets: Default::default(),
            cuts: Default::default(),
        }
    }

    fn calls(&self, _: CallId) -> Vec<CallSummary> {
        Vec::new()
    }

    fn call(&self, _: CallName, _: bool) -> Option<CallDetail> {
        None
    }

    fn dialogs(&self, _: u64) -> Vec<DialogStatus> {
        Vec::new()
    }

    fn limits(&self) -> Limits {
        Limits {
            calls_max: 1,
            calls_per_second_max: 0,
            shard_busy_max_percent: 85,
            shards: 1,
            shard_calls_max: 1,
            shard_port_pairs: 2,
            disk_free_min: 0,
            drain_seconds: 1,
        }
    }

    fn sample(&self) -> Sample {
        Sample {
            status: self.status(),
            calls_taken: 0,
            paused: 0,
            ring: "none",
            control_busy_ppm: 0,
            control_cpu: Default::default(),
            process_cpu: Default::default(),
            resident_bytes: None,
            sip: Default::default(),
            net: Default::default(),
            cuts: Default::default(),
            shards: Vec::new(),
        }
    }

    fn pause(&mut self, which: Option<CallName>, _: &str) -> Result<usize, Refused> {
        which.map_or(Ok(0), |_| Err(Refused::Unknown("none".to_owned())))
    }

    fn resume(&mut self, which: Option<CallName>) -> Result<usize, Refused> {
        self.pause(which, "")
    }

    fn drain(&mut self, _: DrainOrder) -> Result<(), Refused> {
        Ok(())
    }

    fn undrain(&mut self) -> Result<(), Refused> {
        Ok(())
    }

    fn stop(&mut self, _: bool) {}
}

fuzz_target!(|line: &[u8]| {
    let answer = answer(line, &mut Idle);
    assert!(!answer.contains('\n') && answer.starts_with('{'), "{answer}");
});
