//! Requests and answers against a recorder that is only pretended.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::control::{CallDetail, CallSummary, Capacity};
use crate::limits::ADMIN_PAGE;
use crate::link::{CallId, ShardStats, WriteTimes};

/// A recorder with so many calls.
#[derive(Default)]
struct Pretended {
    calls: u64,
    done: Vec<String>,
    stopping: bool,
}

fn summary(id: u64) -> CallSummary {
    CallSummary {
        id,
        recording: "0190a1b2c3d47e5f8a9b0c1d2e3f4a5b".parse().unwrap(),
        state: "live",
        started: "2026-11-21T14:03:22Z".to_owned(),
        age_s: 3,
        peer: "sbc".to_owned(),
        paused: false,
        shard: 0,
        tracks: 2,
    }
}

impl Subject for Pretended {
    fn status(&self) -> Status {
        Status {
            version: "1",
            pid: 7,
            uptime_s: 1,
            stage: "open",
            calls: self.calls as usize,
            capacity: Capacity { calls: 5, bound_by: "calls_max" },
            sip: SipStatus::default(),
            sip_events: [("glare", 2)].into(),
            sockets: [("bodies_refused", 1)].into(),
            shards: Vec::new(),
            jobs: 0,
            disk_free: 1,
            refusals: [("calls_max", 3)].into_iter().collect(),
            cuts: [("xml_depth", 4)].into(),
        }
    }

    fn calls(&self, after: CallId) -> Vec<CallSummary> {
        (after.0.saturating_add(1)..=self.calls).take(ADMIN_PAGE).map(summary).collect()
    }

    fn call(&self, name: CallName, show_parties: bool) -> Option<CallDetail> {
        let CallName::Call(id) = name else { return None };
        (1..=self.calls).contains(&id.0).then(|| CallDetail {
            summary: summary(id.0),
            sip_call_id: "a@b".to_owned(),
            address: "10.0.0.1:5060".to_owned(),
            transport: "udp".to_owned(),
            user_agent: None,
            segments: 1,
            media: Vec::new(),
            participants: 2,
            parties: show_parties.then(Vec::new),
        })
    }

    fn dialogs(&self, _: u64) -> Vec<DialogStatus> {
        Vec::new()
    }

    fn limits(&self) -> Limits {
        Limits {
            calls_max: 9,
            calls_per_second_max: 0,
            shard_busy_max_percent: 85,
            shards: 1,
            shard_calls_max: 9,
            shard_port_pairs: 20,
            disk_free_min: 0,
            drain_seconds: 10,
        }
    }

    fn sample(&self) -> metrics::Sample {
        let mut write_times = WriteTimes::default();
        write_times.add(20_000);
        let shard = ShardStats { calls: 2, busy_ppm: 250_000, write_times, ..ShardStats::default() };
        metrics::Sample {
            status: self.status(),
            calls_taken: 40,
            paused: 1,
            ring: "io_uring+steered",
            control_busy_ppm: 0,
            control_cpu: Duration::from_millis(1500),
            process_cpu: Duration::from_secs(4),
            resident_bytes: Some(4096),
            sip: crate::sip::Counters { options: 6, ..Default::default() },
            net: Default::default(),
            cuts: crate::siprec::Cuts { xml_depth: 4, ..Default::default() },
            shards: vec![shard.clone(), shard],
        }
    }

    fn pause(&mut self, which: Option<CallName>, reason: &str) -> Result<usize, Refused> {
        self.done.push(format!("pause {which:?} {reason}"));
        Ok(1)
    }

    fn resume(&mut self, which: Option<CallName>) -> Result<usize, Refused> {
        self.done.push(format!("resume {which:?}"));
        Ok(2)
    }

    fn drain(&mut self, order: DrainOrder) -> Result<(), Refused> {
        self.done.push(format!("{order:?}"));
        if self.stopping { Err(Refused::Refused("stopping".to_owned())) } else { Ok(()) }
    }

    fn undrain(&mut self) -> Result<(), Refused> {
        self.done.push("undrain".to_owned());
        Ok(())
    }

    fn stop(&mut self, now: bool) {
        self.done.push(format!("stop {now}"));
    }
}

fn ask(subject: &mut Pretended, line: &str) -> Value {
    serde_json::from_str(&answer(line.as_bytes(), subject)).unwrap()
}

#[test]
fn requests_are_carried_out_and_answered() {
    let mut recorder = Pretended { calls: 3, ..Pretended::default() };
    let status = ask(&mut recorder, r#"{"command":"status"}"#);
    assert_eq!((&status["ok"]["calls"], &status["ok"]["refusals"]["calls_max"]), (&3.into(), &3.into()));
    let call = ask(&mut recorder, r#"{"command":"call","id":"2"}"#);
    assert_eq!((&call["ok"]["id"], &call["ok"]["parties"]), (&2.into(), &Value::Null));
    assert!(
        ask(&mut recorder, r#"{"command":"call","id":"2","show_parties":true}"#)["ok"]["parties"].is_array()
    );
    assert_eq!(ask(&mut recorder, r#"{"command":"drain","seconds":60}"#)["ok"], Value::Null);
    ask(&mut recorder, r#"{"command":"stop","now":true}"#);
    assert_eq!(recorder.done, ["DrainOrder { seconds: Some(60), then_stop: false }", "stop true"]);
}

#[test]
fn pauses_name_one_call_or_all_and_never_neither_or_both() {
    let mut recorder = Pretended::default();
    assert_eq!(
        ask(&mut recorder, r#"{"command":"pause","id":"4","reason":"card number"}"#)["ok"]["calls"],
        1
    );
    assert_eq!(ask(&mut recorder, r#"{"command":"resume","all":true}"#)["ok"]["calls"], 2);
    assert_eq!(recorder.done, ["pause Some(Call(CallId(4))) card number", "resume None"]);
    for wrong in ["{\"command\":\"pause\"}", r#"{"command":"pause","id":"4","all":true}"#] {
        assert_eq!(ask(&mut recorder, wrong)["error"]["kind"], "usage");
    }
}

#[test]
fn metrics_are_lines_that_prometheus_reads() {
    let answer = ask(&mut Pretended { calls: 3, ..Pretended::default() }, r#"{"command":"metrics"}"#);
    let text = answer["ok"].as_str().unwrap();
    for line in [
        "# TYPE tapehead_calls gauge",
        "tapehead_calls 3",
        "tapehead_calls_taken_total 40",
        "tapehead_capacity_calls{bound_by=\"calls_max\"} 5",
        "tapehead_refusals_total{reason=\"calls_max\"} 3",
        "tapehead_sip_events_total{what=\"options\"} 6",
        "tapehead_shard_busy_ratio{shard=\"1\"} 0.25",
        "tapehead_shard_info{shard=\"1\",ring=\"io_uring\",tier=\"steered\"} 1",
        "tapehead_write_seconds_bucket{le=\"0.015\"} 0",
        "tapehead_write_seconds_bucket{le=\"0.022\"} 2",
        "tapehead_write_seconds_bucket{le=\"+Inf\"} 2",
        "tapehead_write_seconds_sum 0.04",
        "tapehead_write_seconds_count 2",
        "process_cpu_seconds_total 4",
        "process_resident_memory_bytes 4096",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let ours = name.starts_with("tapehead_") || name.starts_with("process_");
        assert!(ours && value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn what_is_not_done_is_said_with_its_kind() {
    let mut recorder = Pretended { calls: 1, stopping: true, ..Pretended::default() };
    for (line, kind) in [
        ("", "usage"),
        ("[]", "usage"),
        (r#"{"command":"dance"}"#, "usage"),
        (r#"{"command":"status","colour":"red"}"#, "usage"),
        (r#"{"command":"drain","second":5}"#, "usage"),
        (r#"{"command":"call","id":"x"}"#, "usage"),
        (r#"{"command":"call","id":"9"}"#, "unknown"),
        (r#"{"command":"drain"}"#, "refused"),
    ] {
        assert_eq!(ask(&mut recorder, line)["error"]["kind"], kind, "{line}");
    }
}

#[test]
fn lists_come_in_pages_that_join_without_a_gap() {
    let mut recorder = Pretended { calls: 2 * ADMIN_PAGE as u64 + 5, ..Pretended::default() };
    let (mut seen, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        let page = ask(&mut recorder, &format!(r#"{{"command":"calls","after":{from}}}"#));
        let items = page["ok"]["items"].as_array().unwrap();
        assert!(items.len() <= ADMIN_PAGE);
        seen.extend(items.iter().map(|call| call["id"].as_u64().unwrap()));
        after = page["ok"]["next"].as_u64();
    }
    assert_eq!(seen, (1..=recorder.calls).collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn any_line_gets_one_line(line in proptest::collection::vec(any::<u8>(), 0..300), calls in 0u64..500) {
        let answer = answer(&line, &mut Pretended { calls, ..Pretended::default() });
        prop_assert!(!answer.contains('\n'));
        prop_assert!(serde_json::from_str::<Value>(&answer).unwrap().is_object());
    }

    #[test]
    fn any_request_survives_the_wire(after in any::<u64>(), show_parties in any::<bool>(), seconds in any::<Option<u32>>()) {
        for request in [
            Request::Calls { after },
            Request::Call { id: after.to_string(), show_parties },
            Request::Drain(DrainOrder { seconds, then_stop: show_parties }),
            Request::Stop { now: show_parties },
            Request::Status {},
            Request::Undrain {},
            Request::Pause(PauseOrder { id: Some(after.to_string()), all: show_parties, reason: "x".to_owned() }),
            Request::Dialogs { after },
        ] {
            let text = serde_json::to_string(&request).unwrap();
            prop_assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        }
    }
}
