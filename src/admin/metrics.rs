//! Metrics: each declared once with its name, its kind, its meaning and where it comes from. What `ctl metrics` prints, in the text
//! format of Prometheus, and the table in the manual both follow from that.

use std::fmt::Write;
use std::time::Duration;

use super::status::Status;
use crate::link::{ShardStats, WriteTimes};
use crate::media::{Counters as Packets, Fate};

/// All that metrics are made of, as of one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What `status` tells.
    pub status: Status,
    /// Calls taken so far.
    pub calls_taken: u64,
    /// Recordings that are paused now.
    pub paused: usize,
    /// The shards' ring, and the receive tier over it if that is not `sockets`: `io_uring+steered`.
    pub ring: &'static str,
    /// Share of its core that the control thread uses, in millionths.
    pub control_busy_ppm: u32,
    /// Processor time that the control thread has used, as of the last look.
    pub control_cpu: Duration,
    /// Processor time that the whole process has used.
    pub process_cpu: Duration,
    /// Memory of the process, if the kernel says.
    pub resident_bytes: Option<u64>,
    /// What SIP has counted.
    pub sip: crate::sip::Counters,
    /// What the SIP sockets have counted.
    pub net: crate::sip_net::Counters,
    /// What bodies and metadata had too much of.
    pub cuts: crate::siprec::Cuts,
    /// What each shard told last.
    pub shards: Vec<ShardStats>,
}

/// A metric.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What it means, in one line.
    pub help: &'static str,
    source: fn(&Sample, &mut Lines<'_>),
}

/// The lines of one metric.
struct Lines<'a> {
    name: &'static str,
    out: &'a mut String,
}

impl Lines<'_> {
    fn put(&mut self, value: impl Into<f64>) {
        self.line("", value.into());
    }

    /// A line with a label. Labels' values are words of our own, or what escaping makes of others.
    fn of(&mut self, label: &str, is: impl std::fmt::Display, value: impl Into<f64>) {
        self.line(&format!("{{{}}}", labelled(label, is)), value.into());
    }

    /// A line of 1 with labels, which are what it tells.
    fn info(&mut self, labels: &[(&str, &dyn std::fmt::Display)]) {
        let labels: Vec<String> = labels.iter().map(|(label, is)| labelled(label, is)).collect();
        self.line(&format!("{{{}}}", labels.join(",")), 1.0);
    }

    /// The lines of a histogram in seconds.
    fn histogram(&mut self, times: &WriteTimes) {
        let mut all = 0;
        for (bound_us, count) in times.cumulative() {
            let bound = bound_us.map_or("+Inf".to_owned(), |us| (number(us) / 1e6).to_string());
            self.line(&format!("_bucket{{{}}}", labelled("le", bound)), number(count));
            all = count;
        }
        self.line("_sum", number(times.sum_us()) / 1e6);
        self.line("_count", number(all));
    }

    fn line(&mut self, labels: &str, value: f64) {
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "{}{labels} {value}", self.name);
    }
}

fn labelled(label: &str, is: impl std::fmt::Display) -> String {
    let is = is.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{label}=\"{is}\"")
}

const fn metric(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    source: fn(&Sample, &mut Lines<'_>),
) -> Metric {
    Metric { name, kind, help, source }
}

/// Counts are exact up to 2^53, which is enough for what a recorder lives to see.
fn number(count: u64) -> f64 {
    count as f64
}

fn shards(sample: &Sample, lines: &mut Lines<'_>, value: fn(&ShardStats) -> f64) {
    sample.shards.iter().enumerate().for_each(|(at, stats)| lines.of("shard", at, value(stats)));
}

fn packets(sample: &Sample) -> Packets {
    let mut sum = Packets::default();
    sample.shards.iter().for_each(|stats| sum.add(&stats.packets));
    sum
}

/// Every metric, in the order in which they are printed.
pub const METRICS: &[Metric] = &[
    metric(
        "tapehead_build_info",
        "gauge",
        "1; its labels say which version this is, of which commit.",
        |_, l| {
            l.info(&[("version", &env!("CARGO_PKG_VERSION")), ("commit", &env!("SOURCE_COMMIT"))]);
        },
    ),
    metric(
        "tapehead_shard_info",
        "gauge",
        "1; its labels say on which ring each shard runs and under which receive tier.",
        |s, l| {
            let (ring, tier) = s.ring.split_once('+').unwrap_or((s.ring, "sockets"));
            (0..s.shards.len()).for_each(|at| l.info(&[("shard", &at), ("ring", &ring), ("tier", &tier)]));
        },
    ),
    metric("tapehead_uptime_seconds", "gauge", "Time since the recorder began.", |s, l| {
        l.put(number(s.status.uptime_s))
    }),
    metric(
        "tapehead_stage",
        "gauge",
        "1 for the stage it is in: open, draining, drained or stopping.",
        |s, l| {
            l.of("stage", s.status.stage, 1);
        },
    ),
    metric("tapehead_calls", "gauge", "Calls that are not yet over.", |s, l| {
        l.put(number(s.status.calls as u64))
    }),
    metric(
        "tapehead_calls_taken_total",
        "counter",
        "Calls taken, whether they came to be answered or not.",
        |s, l| {
            l.put(number(s.calls_taken));
        },
    ),
    metric("tapehead_calls_paused", "gauge", "Calls whose recording is paused.", |s, l| {
        l.put(number(s.paused as u64))
    }),
    metric(
        "tapehead_capacity_calls",
        "gauge",
        "Calls of two tracks that would still be taken, by the bound that is reached first.",
        |s, l| {
            l.of("bound_by", s.status.capacity.bound_by, s.status.capacity.calls);
        },
    ),
    metric(
        "tapehead_refusals_total",
        "counter",
        "Calls, and changes to calls, refused, by reason.",
        |s, l| {
            s.status.refusals.iter().for_each(|(reason, count)| l.of("reason", reason, number(*count)));
        },
    ),
    metric("tapehead_sip_dialogs", "gauge", "SIP dialogs.", |s, l| {
        l.put(number(s.status.sip.dialogs as u64))
    }),
    metric("tapehead_sip_transactions", "gauge", "SIP transactions, those of both directions.", |s, l| {
        l.put(number(s.status.sip.transactions as u64));
    }),
    metric("tapehead_sip_connections", "gauge", "SIP connections over TCP and TLS.", |s, l| {
        l.put(number(s.status.sip.connections as u64));
    }),
    metric("tapehead_sip_events_total", "counter", "What SIP counts, by what it was.", |s, l| {
        s.sip.each().for_each(|(what, count)| l.of("what", what, number(count)));
    }),
    metric(
        "tapehead_sip_socket_events_total",
        "counter",
        "What the SIP sockets count, by what it was.",
        |s, l| {
            s.net.each().for_each(|(what, count)| l.of("what", what, number(count)));
        },
    ),
    metric(
        "tapehead_metadata_cuts_total",
        "counter",
        "Limits that bodies and metadata have met, by which; what was beyond is only in the raw revision.",
        |s, l| {
            s.cuts.each().for_each(|(what, count)| l.of("what", what, number(count)));
        },
    ),
    metric("tapehead_packets_received_total", "counter", "Datagrams received on media ports.", |s, l| {
        l.put(number(packets(s).received));
    }),
    metric(
        "tapehead_packets_total",
        "counter",
        "The same by what became of them; the sum is that of all received.",
        |s, l| {
            let sum = packets(s);
            Fate::ALL.into_iter().for_each(|fate| l.of("fate", fate.name(), number(sum.of(fate))));
        },
    ),
    metric("tapehead_packets_lost_total", "counter", "Sequence numbers that never came.", |s, l| {
        l.put(number(packets(s).lost))
    }),
    metric(
        "tapehead_packets_kernel_drops_total",
        "counter",
        "Datagrams that the kernel dropped for want of room.",
        |s, l| {
            l.put(number(packets(s).kernel_drops));
        },
    ),
    metric(
        "tapehead_packets_stray_total",
        "counter",
        "Datagrams on ports that belong to no call (any more).",
        |s, l| {
            shards(s, l, |stats| number(stats.stray));
        },
    ),
    metric(
        "tapehead_packets_unreadable_total",
        "counter",
        "Packets to media ports that are no datagrams, where we read them and not the kernel (receive tier packet), by reason.",
        |s, l| {
            let mut sum = |reason, of: fn(&ShardStats) -> u64| {
                l.of("reason", reason, number(s.shards.iter().map(of).sum()));
            };
            sum("fragment", |stats| stats.fragments);
            sum("checksum", |stats| stats.bad_checksums);
            sum("malformed", |stats| stats.malformed_frames);
        },
    ),
    metric(
        "tapehead_anchors_total",
        "counter",
        "Times that a track's timeline was anchored anew.",
        |s, l| {
            l.put(number(packets(s).anchors));
        },
    ),
    metric("tapehead_shard_calls", "gauge", "Calls on each shard, as it told last.", |s, l| {
        shards(s, l, |stats| stats.calls.into())
    }),
    metric("tapehead_shard_busy_ratio", "gauge", "Share of its core that each shard uses.", |s, l| {
        shards(s, l, |stats| f64::from(stats.busy_ppm) / 1e6);
    }),
    metric(
        "tapehead_shard_cpu_seconds_total",
        "counter",
        "Processor time that each shard has used, as it told last.",
        |s, l| {
            shards(s, l, |stats| number(stats.cpu_us) / 1e6);
        },
    ),
    metric(
        "tapehead_shard_tick_seconds_max",
        "gauge",
        "Longest time between two ticks of each shard in its last second.",
        |s, l| {
            shards(s, l, |stats| number(stats.tick_us_max) / 1e6);
        },
    ),
    metric("tapehead_shard_blocks", "gauge", "Blocks of each shard's pool.", |s, l| {
        shards(s, l, |stats| stats.blocks.into())
    }),
    metric("tapehead_shard_blocks_free", "gauge", "Those of them that are free.", |s, l| {
        shards(s, l, |stats| stats.blocks_free.into());
    }),
    metric(
        "tapehead_shard_receives_ended_total",
        "counter",
        "Receives that ended for want of buffers.",
        |s, l| {
            shards(s, l, |stats| number(stats.no_buffers));
        },
    ),
    metric(
        "tapehead_shard_receives_rearmed_total",
        "counter",
        "Receives that ended for other reasons.",
        |s, l| {
            shards(s, l, |stats| number(stats.rearmed));
        },
    ),
    metric(
        "tapehead_shard_completion_overflows_total",
        "counter",
        "Overflows of the ring's completion queue.",
        |s, l| {
            shards(s, l, |stats| number(stats.cq_overflows));
        },
    ),
    metric(
        "tapehead_shard_send_failures_total",
        "counter",
        "RTCP receiver reports that could not be sent.",
        |s, l| {
            shards(s, l, |stats| number(stats.send_failed));
        },
    ),
    metric("tapehead_written_bytes_total", "counter", "Bytes written to recordings.", |s, l| {
        shards(s, l, |stats| number(stats.written))
    }),
    metric("tapehead_write_errors_total", "counter", "Writes that failed and were tried again.", |s, l| {
        shards(s, l, |stats| number(stats.write_errors));
    }),
    metric(
        "tapehead_write_seconds",
        "histogram",
        "How long the shards' writes took, from the tick that submits one to the tick that sees its end: 20 ms are a disk that keeps up.",
        |s, l| {
            let mut all = WriteTimes::default();
            s.shards.iter().for_each(|stats| all.sum(&stats.write_times));
            l.histogram(&all);
        },
    ),
    metric("tapehead_control_busy_ratio", "gauge", "Share of its core that signalling uses.", |s, l| {
        l.put(f64::from(s.control_busy_ppm) / 1e6);
    }),
    metric(
        "tapehead_control_cpu_seconds_total",
        "counter",
        "Processor time that signalling has used.",
        |s, l| {
            l.put(s.control_cpu.as_secs_f64());
        },
    ),
    metric(
        "process_cpu_seconds_total",
        "counter",
        "Processor time that the whole process has used, background work included.",
        |s, l| {
            l.put(s.process_cpu.as_secs_f64());
        },
    ),
    metric("process_resident_memory_bytes", "gauge", "Memory of the process that is resident.", |s, l| {
        s.resident_bytes.into_iter().for_each(|bytes| l.put(number(bytes)));
    }),
    metric(
        "tapehead_jobs_pending",
        "gauge",
        "Manifests and recordings that wait for the background pool.",
        |s, l| {
            l.put(number(s.status.jobs as u64));
        },
    ),
    metric("tapehead_disk_free_bytes", "gauge", "Room on the file system of the recordings.", |s, l| {
        l.put(number(s.status.disk_free))
    }),
];

/// All metrics in the text format of Prometheus (version 0.0.4).
pub fn text(sample: &Sample) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for metric in METRICS {
        let _ = writeln!(out, "# HELP {} {}\n# TYPE {0} {}", metric.name, metric.help, metric.kind);
        (metric.source)(sample, &mut Lines { name: metric.name, out: &mut out });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_name_of_its_own_in_prometheus_manner() {
        let mut names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            let counts = metric.kind == "counter";
            assert!(counts || matches!(metric.kind, "gauge" | "histogram"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), counts, "{}", metric.name);
            assert!(metric.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{}", metric.name);
        }
    }

    #[test]
    fn the_manual_has_a_table_of_exactly_these_metrics() {
        let manual = include_str!("../manual/operating.rs");
        let (_, section) = manual.split_once("\n//! # Metrics\n").unwrap();
        let section = section.split("\n//! # ").next().unwrap();
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("//! | `")).collect();
        let wanted: Vec<String> = METRICS
            .iter()
            .map(|metric| format!("//! | `{}` | {} | {} |", metric.name, metric.kind, metric.help))
            .collect();
        assert_eq!(rows, wanted, "the table has to read:\n{}", wanted.join("\n"));
    }
}
