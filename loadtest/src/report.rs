//! `loadtest report`: one HTML page, which needs nothing from anywhere, of what a plan or a run came to: plots, figures, and the machine. Beside it
//! the same as JSON, with what `tapehead plan --measured` reckons with.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use crate::cli::Exit;
use crate::plot::{Chart, Series, escape};
use crate::readings::{self, grown, growth, highest, label, metric, number};
use crate::record::RESULT;
use crate::sweep::SWEEP;

/// Arguments of `report`.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// The folder of a plan or of a run
    folder: PathBuf,
    /// The page; its figures go into a .json file beside it [default: report.html in that folder]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Writes the page and its figures.
pub fn run(args: Args) -> ExitCode {
    let out = args.out.unwrap_or_else(|| args.folder.join(PAGE));
    match write(&args.folder, &out) {
        Ok(json) => {
            println!("{}\n{}", out.display(), json.display());
            Exit::Ok.into()
        }
        Err(why) => {
            eprintln!("loadtest: {why}");
            Exit::Usage.into()
        }
    }
}

/// What the page is called unless somebody wants it otherwise.
pub const PAGE: &str = "report.html";

/// Writes the page of a plan's or a run's folder to `out`, and its figures beside it: where they are.
pub fn write(folder: &Path, out: &Path) -> Result<PathBuf, String> {
    let mut found = read(folder)?;
    let put = |path: &Path, text: String| {
        std::fs::write(path, text).map_err(|why| format!("{}: {why}", path.display()))
    };
    put(out, page(&found))?;
    if let Some(coefficients) = readings::coefficients(&found) {
        found["coefficients"] = serde_json::to_value(coefficients).map_err(|why| why.to_string())?;
    }
    let json = out.with_extension("json");
    put(&json, format!("{found:#}\n"))?;
    Ok(json)
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

/// What became of packets that were not placed, by the recorder's own words; and of those that it has no word for.
fn drops(sweep: &Value) -> Chart {
    let mut chart = chart(sweep, "Packets that the recorder did not place, by cause", "packets", &[]);
    for (at, result) in steps(sweep) {
        let by = |name: &str, of: &'static str| {
            let lines = metric(result, name, growth).into_iter();
            lines.filter_map(move |(line, count)| Some((label(&line, of)?.to_owned(), count)))
        };
        let all = |cause: &str, name: &str| grown(result, name).map(|count| (cause.to_owned(), count));
        let causes = by("tapehead_packets_total", "fate")
            .filter(|(fate, _)| fate != "placed")
            .chain(by("tapehead_packets_unreadable_total", "reason"))
            .chain(all("stray", "tapehead_packets_stray_total"))
            .chain(all("kernel", "tapehead_packets_kernel_drops_total"))
            .chain(readings::never_seen(result).map(|count| ("never seen".to_owned(), count)));
        for (name, count) in causes.filter(|(_, count)| *count > 0.0) {
            match chart.series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push((at, count)),
                None => chart.series.push(Series { name, points: vec![(at, count)] }),
            }
        }
    }
    chart
}

/// Memory depends on the steps before: no figure of one step alone.
fn memory(sweep: &Value) -> Chart {
    let mut chart = chart(sweep, "Memory of the recorder per call", "KiB", &[]);
    let points: Vec<(f64, f64)> =
        readings::bytes_per_call(sweep).into_iter().map(|(at, bytes)| (at, bytes / 1024.0)).collect();
    if !points.is_empty() {
        chart.series.push(Series { name: "resident".to_owned(), points });
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
            ("recorder's shards", readings::shard_ns),
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
    (
        "How long the recorder's writes took",
        "ms, to the tick that sees the end",
        &[
            ("median", |result| readings::write_ms(result, 0.5)),
            ("99 of 100", |result| readings::write_ms(result, 0.99)),
            ("999 of 1000", |result| readings::write_ms(result, 0.999)),
        ],
    ),
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
        "How late the generator was",
        "ms",
        &[
            ("packets, median", |result| number(result, "/media/late_ms/p50")),
            ("packets, 99 of 100", |result| number(result, "/media/late_ms/p99")),
            ("packets, longest", |result| number(result, "/media/late_ms/max")),
            ("calls, 99 of 100", |result| number(result, "/signalling/late_ms/p99")),
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

fn charts(sweep: &Value) -> Vec<Chart> {
    let chart = |(title, unit, figures): &Told| chart(sweep, title, unit, figures);
    RECORDER.iter().map(chart).chain([memory(sweep), drops(sweep)]).chain(CALLS.iter().map(chart)).collect()
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
        "<p>{}: {}, {} cores; Linux {}. Generator: commit {}; begun {}.",
        text("/host/name"),
        text("/host/processor"),
        number(first, "/host/cores").unwrap_or(0.0),
        text("/host/kernel"),
        text("/host/commit"),
        text("/started")
    )?;
    let told =
        first["recorder"].as_object().into_iter().flatten().filter(|(name, _)| name.contains("_info{"));
    for (name, _) in told {
        let (_, labels) = name.split_once('{').unwrap_or_default();
        write!(
            out,
            " Recorder: {}.",
            escape(&labels.trim_end_matches('}').replace('"', "").replace(',', ", "))
        )?;
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
                "tapehead_shard_cpu_seconds_total{shard=\"0\"}": { "before": 0.0, "after": busy, "highest": busy },
                "tapehead_packets_received_total": { "before": 0.0, "after": per_second, "highest": per_second },
                "tapehead_shard_busy_ratio{shard=\"0\"}": { "before": 0.0, "after": 0.0, "highest": busy },
                "tapehead_shard_busy_ratio{shard=\"1\"}": { "before": 0.0, "after": 0.0, "highest": busy },
                "tapehead_packets_total{fate=\"placed\"}": { "before": 0.0, "after": 5.0, "highest": 5.0 },
                "tapehead_packets_total{fate=\"late\"}": { "before": 1.0, "after": 4.0, "highest": 4.0 },
                "tapehead_shard_info{shard=\"0\",ring=\"io_uring\",tier=\"packet\"}": { "before": 1.0, "after": 1.0, "highest": 1.0 },
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
            "commit abc",
            "Recorder: shard=0, ring=io_uring, tier=packet.",
            "held: 100.",
            "gave: 1 of 10 calls refused",
            "<td>200</td>",
            "calls at once",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        let chart = |title: &str| charts(&sweep).into_iter().find(|chart| chart.title == title).unwrap();
        assert_eq!(chart("CPU of a packet").series[0].points, [(100.0, 20_000.0), (200.0, 20_000.0)]);
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
        let json = write(folder.path(), &folder.path().join(PAGE)).unwrap();
        assert!(std::fs::read_to_string(folder.path().join(PAGE)).unwrap().contains("Load: run"));
        let text = std::fs::read_to_string(json).unwrap();
        let coefficients = tapehead::sizing::Coefficients::from_report(&text).unwrap();
        assert_eq!(coefficients.shard_ns_per_packet.packet, Some(1e8));
    }
}
