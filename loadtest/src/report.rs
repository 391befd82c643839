//! `loadtest report`: one HTML page, which needs nothing from anywhere, of what a plan or a run came to: plots, figures, and the machine.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use crate::cli::Exit;
use crate::plot::{Chart, Series, escape};
use crate::record::RESULT;
use crate::sweep::SWEEP;

/// Arguments of `report`.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// The folder of a plan or of a run
    folder: PathBuf,
    /// The page [default: report.html in that folder]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Writes the page.
pub fn run(args: Args) -> ExitCode {
    let out = args.out.unwrap_or_else(|| args.folder.join("report.html"));
    let written = read(&args.folder).and_then(|found| {
        std::fs::write(&out, page(&found)).map_err(|why| format!("{}: {why}", out.display()))
    });
    match written {
        Ok(()) => {
            println!("{}", out.display());
            Exit::Ok.into()
        }
        Err(why) => {
            eprintln!("loadtest: {why}");
            Exit::Usage.into()
        }
    }
}

/// The sweep in a folder; a single run is a sweep of one step.
fn read(folder: &Path) -> Result<Value, String> {
    let parse = |name: &str| {
        let path = folder.join(name);
        let text = std::fs::read_to_string(&path).map_err(|why| format!("{}: {why}", path.display()))?;
        serde_json::from_str::<Value>(&text).map_err(|why| format!("{}: {why}", path.display()))
    };
    match parse(SWEEP) {
        Ok(sweep) => Ok(sweep),
        Err(why) => {
            let result = parse(RESULT).map_err(|_| format!("neither a plan's folder nor a run's: {why}"))?;
            let calls = result["calls"]["begun"].clone();
            Ok(
                json!({ "sweep": { "name": "run", "axis": "calls" }, "steps": [{ "value": calls, "result": result }] }),
            )
        }
    }
}

/// A figure of a step: its value on the axis, and the result of its run.
type Figure = fn(&Value) -> Option<f64>;

fn number(of: &Value, path: &str) -> Option<f64> {
    of.pointer(path)?.as_f64()
}

/// A metric of the recorder, over all of its labels.
fn metric(result: &Value, name: &str, of: fn(&Value) -> Option<f64>) -> Vec<(String, f64)> {
    let Some(all) = result["recorder"].as_object() else { return Vec::new() };
    let ours = all.iter().filter(|(full, _)| full.split('{').next() == Some(name));
    ours.filter_map(|(full, change)| Some((full.clone(), of(change)?))).collect()
}

fn growth(change: &Value) -> Option<f64> {
    Some(change["after"].as_f64()? - change["before"].as_f64()?)
}

fn highest(change: &Value) -> Option<f64> {
    change["highest"].as_f64()
}

/// CPU time of the recorder's shards per packet received, in nanoseconds, from how busy they were at the height of the run.
fn shard_ns(result: &Value) -> Option<f64> {
    let busy: f64 = metric(result, "tapehead_shard_busy_ratio", highest).iter().map(|(_, busy)| busy).sum();
    let per_second = number(result, "/media/per_second_highest")?;
    (busy > 0.0 && per_second > 0.0).then(|| busy * 1e9 / per_second)
}

fn steps(sweep: &Value) -> Vec<(f64, &Value)> {
    let steps = sweep["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut steps: Vec<(f64, &Value)> =
        steps.iter().filter_map(|step| Some((step["value"].as_f64()?, &step["result"]))).collect();
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    steps
}

/// A chart of these figures over the steps; what no step has is left out.
fn chart(sweep: &Value, title: &str, y: &str, figures: &[(&str, Figure)]) -> Chart {
    let x = if sweep["sweep"]["axis"] == "rate" { "new calls per second" } else { "calls at once" };
    let series = figures.iter().map(|(name, figure)| Series {
        name: (*name).to_owned(),
        points: steps(sweep).into_iter().filter_map(|(at, result)| Some((at, figure(result)?))).collect(),
    });
    let series = series.filter(|series| !series.points.is_empty()).collect();
    Chart { title: title.to_owned(), x: x.to_owned(), y: y.to_owned(), series }
}

/// What became of packets that were not placed, by the recorder's own words.
fn drops(sweep: &Value) -> Chart {
    let mut chart = chart(sweep, "Packets that the recorder did not place, by cause", "packets", &[]);
    for (at, result) in steps(sweep) {
        let fates = metric(result, "tapehead_packets_total", growth).into_iter();
        let fates = fates.filter(|(name, _)| !name.contains("\"placed\""));
        for (name, count) in fates.chain(metric(result, "tapehead_packets_kernel_drops_total", growth)) {
            let cause =
                name.split('"').nth(1).filter(|_| name.contains("fate=")).unwrap_or("kernel").to_owned();
            let series = match chart.series.iter_mut().position(|series| series.name == cause) {
                Some(place) => &mut chart.series[place],
                None => {
                    chart.series.push(Series { name: cause, points: Vec::new() });
                    chart.series.last_mut().expect("just pushed")
                }
            };
            match series.points.last_mut().filter(|point| point.0 == at) {
                Some(point) => point.1 += count,
                None => series.points.push((at, count)),
            }
        }
    }
    chart
}

/// Title, unit, and a line for each figure.
type Told = (&'static str, &'static str, &'static [(&'static str, Figure)]);

const RECORDER: &[Told] = &[
    (
        "CPU of a packet",
        "ns per packet",
        &[
            ("recorder's shards", shard_ns),
            ("generator", |result| number(result, "/media/cpu_ns_per_datagram")),
        ],
    ),
    (
        "How busy the recorder was at most",
        "share of a core",
        &[
            ("shards", |result| busiest(result, "tapehead_shard_busy_ratio")),
            ("signalling", |result| busiest(result, "tapehead_control_busy_ratio")),
        ],
    ),
    ("Memory of the recorder per call", "KiB", &[("resident", memory)]),
];

const CALLS: &[Told] = &[
    (
        "From INVITE to 200",
        "ms",
        &[
            ("median", |result| number(result, "/answer_ms/p50")),
            ("99 of 100", |result| number(result, "/answer_ms/p99")),
            ("999 of 1000", |result| number(result, "/answer_ms/p999")),
        ],
    ),
    (
        "From BYE to 200",
        "ms",
        &[
            ("median", |result| number(result, "/bye_ms/p50")),
            ("99 of 100", |result| number(result, "/bye_ms/p99")),
        ],
    ),
    ("Calls refused", "share", &[("refused", refused)]),
    (
        "How late the generator sent",
        "ms",
        &[
            ("median", |result| number(result, "/media/late_ms/p50")),
            ("99 of 100", |result| number(result, "/media/late_ms/p99")),
            ("longest", |result| number(result, "/media/late_ms/max")),
        ],
    ),
];

fn busiest(result: &Value, name: &str) -> Option<f64> {
    metric(result, name, highest).iter().map(|(_, busy)| *busy).reduce(f64::max)
}

fn refused(result: &Value) -> Option<f64> {
    let refused: f64 = result["calls"]["refused"].as_object()?.values().filter_map(Value::as_f64).sum();
    Some(refused / number(result, "/calls/begun")?.max(1.0))
}

fn memory(result: &Value) -> Option<f64> {
    let grown = |change: &Value| Some(highest(change)? - change["before"].as_f64()?);
    let bytes = metric(result, "process_resident_memory_bytes", grown).first()?.1;
    Some(bytes / 1024.0 / busiest(result, "tapehead_calls")?.max(1.0))
}

fn charts(sweep: &Value) -> Vec<Chart> {
    let chart = |(title, unit, figures): &Told| chart(sweep, title, unit, figures);
    RECORDER.iter().map(chart).chain([drops(sweep)]).chain(CALLS.iter().map(chart)).collect()
}

const STYLE: &str = ":root{color-scheme:light dark}body{font:15px/1.45 system-ui,sans-serif;max-width:1360px;margin:2em auto;padding:0 1em}\
svg{width:640px;max-width:100%;font:12px system-ui,sans-serif}svg text{fill:currentColor}svg .title{font-weight:600;font-size:14px}svg .grid{stroke:currentColor;stroke-opacity:.15}\
main{display:flex;flex-wrap:wrap;gap:1.5em}table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #8884}th:first-child,td:first-child,td:last-child{text-align:left}";

fn page(sweep: &Value) -> String {
    let name = sweep["sweep"]["name"].as_str().unwrap_or("run");
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Load: {0}</title><style>{STYLE}</style><h1>Load: {0}</h1>",
        escape(name)
    );
    // Writing to a String does not fail.
    let _ = head(sweep, &mut out);
    let shown: Vec<Chart> = charts(sweep).into_iter().filter(|chart| !chart.is_empty()).collect();
    out.push_str("<main>");
    shown.iter().for_each(|chart| out.push_str(&chart.svg()));
    out.push_str("</main>");
    let _ = table(sweep, &mut out);
    out + "</html>\n"
}

/// Where it ran, and what was found.
fn head(sweep: &Value, out: &mut String) -> std::fmt::Result {
    let all = steps(sweep);
    let Some((_, first)) = all.first() else { return write!(out, "<p>No step was made.</p>") };
    let text = |path: &str| escape(first.pointer(path).and_then(Value::as_str).unwrap_or("unknown"));
    write!(
        out,
        "<p>{}, {} cores; Linux {}; source {}; begun {}.",
        text("/host/processor"),
        number(first, "/host/cores").unwrap_or(0.0),
        text("/host/kernel"),
        text("/host/commit"),
        text("/started")
    )?;
    let told =
        first["recorder"].as_object().into_iter().flatten().filter(|(name, _)| name.contains("_info{"));
    for (name, _) in told {
        write!(out, " Recorder: {}.", escape(name))?;
    }
    if let Some(held) = sweep["held"].as_f64() {
        write!(out, "</p><p><b>The highest load that held: {held}.</b>")?;
    }
    if let Some(gave) = sweep["gave"]["what"].as_str() {
        let who = if sweep["gave"]["generator"] == true { "the generator, not the recorder: " } else { "" };
        write!(out, " Above that gave: {who}{}.", escape(gave))?;
    }
    write!(out, "</p>")
}

fn table(sweep: &Value, out: &mut String) -> std::fmt::Result {
    write!(
        out,
        "<table><tr><th>load</th><th>calls</th><th>answered</th><th>packets</th><th>per second</th><th>answer p50 ms</th><th>p99</th><th>late p99 ms</th><th>samples lost</th><th>what gave</th></tr>"
    )?;
    let steps = sweep["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    for step in steps {
        let cell = |path: &str, digits: usize| {
            number(step, path).map_or("–".to_owned(), |value| format!("{value:.digits$}"))
        };
        let columns = [
            cell("/value", 0),
            cell("/result/calls/begun", 0),
            cell("/result/calls/answered", 0),
            cell("/result/media/datagrams", 0),
            cell("/result/media/per_second_highest", 0),
            cell("/result/answer_ms/p50", 2),
            cell("/result/answer_ms/p99", 2),
            cell("/result/media/late_ms/p99", 2),
            cell("/samples_lost", 0),
            escape(step["gave"]["what"].as_str().unwrap_or("held")),
        ];
        write!(out, "<tr><td>{}</td></tr>", columns.join("</td><td>"))?;
    }
    write!(out, "</table>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(per_second: f64, busy: f64) -> Value {
        json!({
            "started": "2026-01-01T00:00:00Z",
            "host": { "kernel": "6.18<x>", "processor": "P", "cores": 2, "commit": "abc" },
            "calls": { "begun": 10, "answered": 9, "refused": { "503": 1 } },
            "answer_ms": { "p50": 1.0, "p99": 2.0, "p999": 3.0 },
            "media": { "datagrams": 5, "per_second_highest": per_second, "late_ms": { "p50": 0.5, "p99": 1.0, "max": 2.0 }, "cpu_ns_per_datagram": 3000.0 },
            "recorder": {
                "tapehead_shard_busy_ratio{shard=\"0\"}": { "before": 0.0, "after": 0.0, "highest": busy },
                "tapehead_shard_busy_ratio{shard=\"1\"}": { "before": 0.0, "after": 0.0, "highest": busy },
                "tapehead_packets_total{fate=\"placed\"}": { "before": 0.0, "after": 5.0, "highest": 5.0 },
                "tapehead_packets_total{fate=\"late\"}": { "before": 1.0, "after": 4.0, "highest": 4.0 },
                "tapehead_info{ring=\"io_uring\"}": { "before": 1.0, "after": 1.0, "highest": 1.0 },
            },
        })
    }

    #[test]
    fn a_plan_becomes_a_page_with_its_machine_its_knee_and_its_plots() {
        let sweep = json!({
            "sweep": { "name": "capacity", "axis": "calls" },
            "steps": [
                { "value": 200.0, "result": result(20_000.0, 0.4), "gave": { "generator": false, "what": "1 of 10 calls refused" } },
                { "value": 100.0, "result": result(10_000.0, 0.2), "gave": null, "samples_lost": 0 },
            ],
            "held": 100.0,
            "gave": { "generator": false, "what": "1 of 10 calls refused" },
        });
        let page = page(&sweep);
        for part in [
            "6.18&lt;x&gt;",
            "source abc",
            "ring=&quot;io_uring&quot;",
            "held: 100.",
            "gave: 1 of 10 calls refused",
            "<td>200</td>",
            "calls at once",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        let chart = |title: &str| charts(&sweep).into_iter().find(|chart| chart.title == title).unwrap();
        assert_eq!(chart("CPU of a packet").series[0].points, [(100.0, 40_000.0), (200.0, 40_000.0)]);
        let drops = drops(&sweep);
        assert_eq!(
            (drops.series.len(), drops.series[0].name.as_str(), &drops.series[0].points[..]),
            (1, "late", &[(100.0, 3.0), (200.0, 3.0)][..])
        );
        assert_eq!(chart("Calls refused").series[0].points[0], (100.0, 0.1));
        assert!(!page.contains("Memory of the recorder"), "what nobody told is left out");
    }

    #[test]
    fn a_single_run_has_a_page_too_and_anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap_err().contains("neither"));
        std::fs::write(folder.path().join(RESULT), result(1.0, 0.1).to_string()).unwrap();
        assert!(page(&read(folder.path()).unwrap()).contains("Load: run"));
    }
}
