//! What the results of runs say of a recorder: figures for the report, and the coefficients that `tapehead plan --measured` reckons with.
//!
//! Works on results as they lie in their files, so that a report can be made of old ones. What nobody told is absent.

use serde_json::Value;
use tapehead::sizing::{ByTier, Coefficients};

/// A number below `of`.
pub fn number(of: &Value, path: &str) -> Option<f64> {
    of.pointer(path)?.as_f64()
}

/// A metric of the recorder: each of its lines, with what `of` makes of its change.
pub fn metric(result: &Value, name: &str, of: fn(&Value) -> Option<f64>) -> Vec<(String, f64)> {
    let Some(all) = result["recorder"].as_object() else { return Vec::new() };
    let ours = all.iter().filter(|(full, _)| full.split('{').next() == Some(name));
    ours.filter_map(|(full, change)| Some((full.clone(), of(change)?))).collect()
}

/// How much a counter has grown during the run.
pub fn growth(change: &Value) -> Option<f64> {
    Some(change["after"].as_f64()? - change["before"].as_f64()?)
}

/// The highest that was seen.
pub fn highest(change: &Value) -> Option<f64> {
    change["highest"].as_f64()
}

/// The value of a label in a line's name.
pub fn label<'a>(line: &'a str, label: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("{label}=\""))?;
    rest.split('"').next()
}

/// The growth of a counter over all of its lines; `None` if it is not there.
pub fn grown(result: &Value, name: &str) -> Option<f64> {
    metric(result, name, growth).into_iter().map(|(_, by)| by).reduce(|sum, by| sum + by)
}

/// CPU time of the recorder's shards per packet received, in nanoseconds, over the whole run.
pub fn shard_ns(result: &Value) -> Option<f64> {
    let (seconds, packets) = (
        grown(result, "tapehead_shard_cpu_seconds_total")?,
        grown(result, "tapehead_packets_received_total").filter(|packets| *packets > 0.0)?,
    );
    Some(seconds * 1e9 / packets)
}

/// The time that this share of the recorder's writes did not take longer than, in milliseconds: between the bounds of a bucket as if they lay evenly.
pub fn write_ms(result: &Value, share: f64) -> Option<f64> {
    let bound = |name: &str| match label(name, "le")? {
        "+Inf" => Some(f64::INFINITY),
        bound => bound.parse().ok(),
    };
    let lines = metric(result, "tapehead_write_seconds_bucket", growth);
    let mut buckets: Vec<(f64, f64)> =
        lines.iter().filter_map(|(name, count)| Some((bound(name)?, *count))).collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wanted = buckets.last().filter(|(_, all)| *all > 0.0)?.1 * share;
    let (mut from, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if count >= wanted {
            // Beyond the last bound nothing is known but that it was longer.
            let to = if bound.is_finite() { bound } else { from };
            return Some((from + (to - from) * (wanted - below) / (count - below)) * 1e3);
        }
        (from, below) = (bound, count);
    }
    None
}

/// The most calls at once that the recorder has told of.
fn calls(result: &Value) -> Option<f64> {
    metric(result, "tapehead_calls", highest).first().map(|(_, calls)| *calls).filter(|calls| *calls > 0.0)
}

/// Resident memory of the recorder per call, in bytes, by step. Memory is not given back, so only steps with more calls than all before them say
/// something; what there was before the first of them is the recorder's own, if it had not taken a call yet.
pub fn bytes_per_call(sweep: &Value) -> Vec<(f64, f64)> {
    const RESIDENT: &str = "process_resident_memory_bytes";
    let (mut own, mut most, mut found) = (None, 0.0, Vec::new());
    let steps = sweep["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let taken = |step: &Value| {
        metric(&step["result"], "tapehead_calls_taken_total", |change| change["before"].as_f64())
    };
    let is_fresh =
        steps.first().is_some_and(|step| taken(step).first().is_some_and(|(_, taken)| *taken == 0.0));
    for step in steps.iter().filter(|_| is_fresh) {
        let result = &step["result"];
        let told = |of| metric(result, RESIDENT, of).first().map(|(_, bytes)| *bytes);
        let before = told(|change| change["before"].as_f64());
        let (Some(own), Some(bytes), Some(calls), Some(at)) =
            (*own.get_or_insert(before), told(highest), calls(result), number(step, "/value"))
        else {
            continue;
        };
        if calls > most {
            most = calls;
            found.push((at, (bytes - own) / calls));
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found
}

/// Datagrams that were sent and that the recorder tells nothing of, not even that they were dropped.
pub fn never_seen(result: &Value) -> Option<f64> {
    let received = grown(result, "tapehead_packets_received_total")?;
    let others = ["stray", "unreadable", "kernel_drops"]
        .map(|what| grown(result, &format!("tapehead_packets_{what}_total")).unwrap_or(0.0));
    let unseen = number(result, "/media/datagrams")? - received - others.iter().sum::<f64>();
    (unseen > 0.0).then_some(unseen)
}

/// The step that coefficients are taken from: the highest that held, else the highest in which the generator kept up.
fn chosen(sweep: &Value) -> Option<&Value> {
    let steps = sweep["steps"].as_array()?;
    let best = |of: &dyn Fn(&Value) -> bool| {
        let value = |step: &&Value| step["value"].as_f64().unwrap_or(0.0);
        steps.iter().filter(|step| of(step)).max_by(|a, b| value(a).total_cmp(&value(b)))
    };
    best(&|step| step["gave"].is_null()).or_else(|| best(&|step| step["gave"]["generator"] != true))
}

/// What a recorder's packets and calls cost, as far as it told; `None` if it told nothing.
pub fn coefficients(sweep: &Value) -> Option<Coefficients> {
    let step = chosen(sweep)?;
    let result = &step["result"];
    let text = |path: &str| result.pointer(path).and_then(Value::as_str).unwrap_or("unknown");
    let info = |name: &str, of: &str| {
        let lines = metric(result, name, highest);
        lines.first().and_then(|(line, _)| label(line, of)).unwrap_or("unknown").to_owned()
    };
    let tier = info("tapehead_shard_info", "tier");
    let of_tier = |wanted: &str| shard_ns(result).filter(|_| tier == wanted);
    let per_call = |seconds: f64| {
        let calls = grown(result, "tapehead_calls_taken_total").filter(|calls| *calls > 0.0)?;
        Some(seconds.max(0.0) * 1e6 / calls)
    };
    let cpu = |of: &str| grown(result, &format!("{of}_cpu_seconds_total"));
    let background = || Some(cpu("process")? - cpu("tapehead_shard")? - cpu("tapehead_control")?);
    let two_tracks = number(sweep, "/sweep/run/tracks").is_none_or(|tracks| tracks == 2.0);
    let found = Coefficients {
        machine: format!(
            "{}, {} cores, Linux {}; {}, receive tier {tier}; tapehead {} of commit {}",
            text("/host/processor"),
            number(result, "/host/cores").unwrap_or(0.0),
            text("/host/kernel"),
            info("tapehead_shard_info", "ring"),
            info("tapehead_build_info", "version"),
            info("tapehead_build_info", "commit"),
        ),
        at: text("/started").to_owned(),
        shard_ns_per_packet: ByTier {
            sockets: of_tier("sockets"),
            steered: of_tier("steered"),
            packet: of_tier("packet"),
        },
        control_us_per_call: cpu("tapehead_control").and_then(per_call),
        pool_us_per_call: background().and_then(per_call),
        user_bytes_per_call: bytes_per_call(sweep).last().map(|(_, bytes)| *bytes).filter(|_| two_tracks),
        manifest_bytes: number(step, "/manifest_bytes"),
        ..Coefficients::default()
    };
    let untold =
        Coefficients { machine: found.machine.clone(), at: found.at.clone(), ..Coefficients::default() };
    (found != untold).then_some(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(before: f64, after: f64) -> Value {
        json!({ "before": before, "after": after, "highest": after })
    }

    fn step(calls: f64, resident: (f64, f64), gave: Value) -> Value {
        json!({ "value": calls, "gave": gave, "manifest_bytes": 12_000.0, "result": {
            "started": "2026-01-01T00:00:00Z",
            "host": { "kernel": "6.18", "processor": "P", "cores": 2 },
            "media": { "datagrams": 1060 },
            "recorder": {
                "tapehead_build_info{version=\"1.2\",commit=\"abc\"}": change(1.0, 1.0),
                "tapehead_shard_info{shard=\"0\",ring=\"io_uring\",tier=\"steered\"}": change(1.0, 1.0),
                "tapehead_shard_cpu_seconds_total{shard=\"0\"}": change(1.0, 1.001),
                "tapehead_shard_cpu_seconds_total{shard=\"1\"}": change(1.0, 1.001),
                "tapehead_control_cpu_seconds_total": change(0.0, 0.01),
                "process_cpu_seconds_total": change(2.0, 2.032),
                "process_resident_memory_bytes": change(resident.0, resident.1),
                "tapehead_packets_received_total": change(0.0, 1000.0),
                "tapehead_packets_stray_total{shard=\"0\"}": change(0.0, 50.0),
                "tapehead_calls_taken_total": change(0.0, 20.0),
                "tapehead_calls": change(0.0, calls),
                "tapehead_write_seconds_bucket{le=\"0.01\"}": change(5.0, 5.0),
                "tapehead_write_seconds_bucket{le=\"0.02\"}": change(5.0, 95.0),
                "tapehead_write_seconds_bucket{le=\"0.04\"}": change(5.0, 105.0),
                "tapehead_write_seconds_bucket{le=\"+Inf\"}": change(5.0, 105.0),
            },
        } })
    }

    #[test]
    fn a_recorder_s_costs_follow_from_its_counters_at_the_highest_load_that_held() {
        let recorder_gave = json!({ "generator": false, "what": "x" });
        let sweep = json!({ "sweep": { "run": { "tracks": 2 } }, "steps": [
            step(10.0, (1000.0, 2000.0), Value::Null),
            step(30.0, (2000.0, 4000.0), recorder_gave),
            step(20.0, (4000.0, 4000.0), Value::Null),
        ] });
        let near = |value: Option<f64>, wanted: f64| {
            assert!(value.is_some_and(|value| (value / wanted - 1.0).abs() < 1e-6), "{value:?} {wanted}");
        };
        let found = coefficients(&sweep).unwrap();
        near(found.shard_ns_per_packet.steered, 2000.0);
        assert_eq!((found.shard_ns_per_packet.sockets, found.write_amplification), (None, None));
        near(found.control_us_per_call, 500.0);
        near(found.pool_us_per_call, 1000.0);
        near(found.manifest_bytes, 12_000.0);
        // 20 calls after 30 say nothing of memory.
        assert_eq!(bytes_per_call(&sweep), [(10.0, 100.0), (30.0, 100.0)]);
        near(found.user_bytes_per_call, 100.0);
        let mut used = sweep.clone();
        used["steps"][0]["result"]["recorder"]["tapehead_calls_taken_total"]["before"] = 5.0.into();
        assert!(bytes_per_call(&used).is_empty(), "it had the memory of other calls already");
        assert!(
            found.machine.contains("receive tier steered; tapehead 1.2 of commit abc"),
            "{}",
            found.machine
        );
        assert_eq!(chosen(&sweep).unwrap()["value"], 20.0);
        let text = json!({ "coefficients": found }).to_string();
        assert_eq!(Coefficients::from_report(&text).unwrap(), found, "as `tapehead plan` reads it");
    }

    #[test]
    fn times_of_writes_and_packets_that_nobody_saw_follow_too() {
        let result = &step(10.0, (0.0, 0.0), Value::Null)["result"];
        let near = |share: f64, wanted: f64| {
            let found = write_ms(result, share).unwrap();
            assert!((found - wanted).abs() < 1e-6, "{share}: {found}, not {wanted}");
        };
        near(0.45, 15.0);
        near(0.9, 20.0);
        near(0.95, 30.0);
        assert_eq!(never_seen(result), Some(10.0));
    }

    #[test]
    fn a_recorder_that_tells_nothing_has_no_coefficients() {
        let sweep = json!({ "steps": [{ "value": 1.0, "result": { "media": { "datagrams": 5 } } }] });
        assert_eq!(coefficients(&sweep), None);
        assert!(bytes_per_call(&sweep).is_empty());
        assert_eq!((write_ms(&sweep["steps"][0]["result"], 0.5), never_seen(&sweep)), (None, None));
    }
}
