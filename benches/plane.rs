//! The data plane beside its baselines, in one run: what receiving, placing, sealing and writing costs per packet, and what silence costs.
//!
//! - `bare recv`: io_uring, multishot recv into provided buffers, each tick, everything thrown away. The floor of the `sockets` tier.
//! - `shard, sockets`: a whole shard on it, recording two-track calls to disk.
//! - `shard, steered`: the same where one socket is led all its ports. `shard, packet`: the same where a tap is read in place. Root only.
//! - `as first written`: the same job on tokio, aes-gcm and `tokio::fs` (`benches/naive`). Its CPU is that of all threads, per packet received.
//! - two shards on two cores beside one, each with the same load: they share nothing, so a packet should cost the same.
//! - idle: calls that are up and silent; what their silence costs to seal and write.
//!
//! `cargo bench --bench plane`; with `-- --smoke` a short run whose bounds are asserted. Options: `--rounds N`, `--only NAME`, `--load 0..2`.
//! Variants are interleaved and medians told. Leaves out the control core; the softirq is told apart, as far as the kernel bills it apart.

#[allow(dead_code, reason = "one of several benches that share it")]
mod bare;
#[allow(dead_code, reason = "one of several benches that share it")]
mod common;
mod naive;

use std::time::Duration;

use bare::{BareUring, Shape};
use common::recorder::{BUFFERS, IO_URING, PACKET, Recorder, STEERED};
use common::{Load, Outcome, Receiver, median, process_cpu, run, run_all};
use naive::Naive;
use tapehead::sys::clock;

/// A way to take a load, and what is asked of it.
struct Variant {
    name: &'static str,
    measure: fn(Load) -> Outcome,
    /// Whether the CPU of all threads counts, not of the receiving one alone.
    all_threads: bool,
    goals: &'static [Goal],
}

/// At most so much: a figure of nanoseconds, or a multiple of what another variant costs.
enum Goal {
    Nanoseconds(f64),
    Times {
        times: f64,
        /// In a short run on a busy machine.
        smoke: f64,
        of: &'static str,
    },
}

const VARIANTS: &[Variant] = &[
    Variant {
        name: "bare recv",
        measure: |load| run(load, move || BareUring::new(load.streams, BUFFERS as u16, Shape::Payload)),
        all_threads: false,
        goals: &[],
    },
    Variant {
        name: "shard, sockets",
        measure: |load| run(load, move || Recorder::new(IO_URING, load.streams, PORT_FIRST)),
        all_threads: false,
        goals: &[
            Goal::Times { times: 1.5, smoke: 4.0, of: "bare recv" },
            Goal::Times { times: 0.25, smoke: 0.6, of: "as first written" },
        ],
    },
    Variant {
        name: "shard, steered",
        measure: |load| run(load, move || Recorder::new(STEERED, load.streams, PORT_FIRST)),
        all_threads: false,
        goals: &[
            Goal::Nanoseconds(750.0),
            Goal::Times { times: 0.7, smoke: 1.5, of: "shard, sockets" },
            Goal::Times { times: 0.25, smoke: 0.6, of: "as first written" },
        ],
    },
    Variant {
        name: "shard, packet",
        measure: |load| run(load, move || Recorder::new(PACKET, load.streams, PORT_FIRST)),
        all_threads: false,
        goals: &[Goal::Nanoseconds(300.0), Goal::Times { times: 0.25, smoke: 0.6, of: "as first written" }],
    },
    Variant {
        name: "as first written",
        measure: |load| run(load, move || Naive::new(load.streams)),
        all_threads: true,
        goals: &[],
    },
];

/// First port of the shards.
const PORT_FIRST: u16 = 20_000;
/// Streams at most: a stream of a shard takes two sockets, and 20,000 open files are common.
const STREAMS_MAX: usize = 5_400;

const fn load(streams: usize) -> Load {
    let (warm_up, measured) = (Duration::from_millis(1500), Duration::from_secs(4));
    Load { streams, packets_per_second: streams as u64 * 50, warm_up, measured }
}

const SMOKE: Load =
    Load { warm_up: Duration::from_millis(300), measured: Duration::from_millis(700), ..load(400) };

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned();
    let smoke = args.iter().any(|arg| arg == "--smoke");
    let number = |name: &str| after(name).and_then(|number| number.parse().ok());
    let rounds = number("--rounds").unwrap_or(if smoke { 1 } else { 3 });
    let only = after("--only");
    let loads = match (smoke, number("--load")) {
        (true, _) => vec![SMOKE],
        (false, Some(0)) => vec![load(4000)],
        (false, Some(1)) => vec![load(1000)],
        (false, Some(_)) => vec![most()],
        (false, None) => vec![load(4000), load(1000), most()],
    };
    for load in loads {
        table(load, rounds, only.as_deref(), smoke);
    }
    if only.is_none() || only.as_deref() == Some("two shards") {
        two_shards(if smoke { SMOKE } else { load(1000) }, rounds, smoke);
    }
    if only.is_none() || only.as_deref() == Some("idle") {
        idle(smoke);
    }
}

/// Streams at their pace, as many as the sender can serve.
fn most() -> Load {
    let flood = Load { packets_per_second: 10_000_000, measured: Duration::from_secs(1), ..load(4000) };
    let outcome = run(flood, || BareUring::new(flood.streams, BUFFERS as u16, Shape::Payload));
    let streams = (outcome.rate * 0.9 / 50.0) as usize / 2 * 2;
    println!("the sender reaches {:.0} packets/s", outcome.rate);
    load(streams.min(STREAMS_MAX))
}

fn table(load: Load, rounds: usize, only: Option<&str>, smoke: bool) {
    let (streams, rate) = (load.streams, load.packets_per_second);
    println!(
        "\n{streams} streams ({} calls), {rate} packets/s, medians of {rounds} rounds; ns per packet",
        streams / 2
    );
    println!(
        "{:<20} {:>7} {:>7} {:>8} {:>8} {:>10} {:>6}",
        "", "thread", "all", "sender", "softirq", "packets/s", "lost"
    );
    let mut outcomes = vec![Vec::new(); VARIANTS.len()];
    for _ in 0..rounds {
        for (variant, outcomes) in VARIANTS.iter().zip(&mut outcomes) {
            if only.is_none_or(|only| only == variant.name) {
                outcomes.push((variant.measure)(load));
            }
        }
    }
    let figure = |outcomes: &[Outcome], of: fn(&Outcome) -> f64| median(outcomes.iter().map(of).collect());
    for (variant, outcomes) in VARIANTS.iter().zip(&outcomes).filter(|(_, outcomes)| !outcomes.is_empty()) {
        println!(
            "{:<20} {:>7.0} {:>7.0} {:>8.0} {:>8.0} {:>10.0} {:>6.0}",
            variant.name,
            figure(outcomes, |outcome| outcome.ns_per_packet),
            figure(outcomes, |outcome| outcome.all_ns),
            figure(outcomes, |outcome| outcome.sender_ns),
            figure(outcomes, |outcome| outcome.softirq_ns),
            figure(outcomes, |outcome| outcome.rate),
            figure(outcomes, |outcome| outcome.sent.saturating_sub(outcome.received) as f64),
        );
    }
    for (variant, ours) in VARIANTS.iter().zip(&outcomes).filter(|(_, ours)| !ours.is_empty()) {
        for goal in variant.goals {
            match *goal {
                Goal::Nanoseconds(goal) => {
                    let cost = figure(ours, |outcome| outcome.ns_per_packet);
                    println!("{}: {cost:.0} ns; goal {goal:.0}, {}", variant.name, verdict(cost, goal));
                }
                Goal::Times { times, smoke: bound, of } => {
                    let at = VARIANTS.iter().position(|other| other.name == of).expect("a variant");
                    let ratios = ratios(ours, &outcomes[at], VARIANTS[at].all_threads);
                    if ratios.is_empty() {
                        continue;
                    }
                    let ratio = median(ratios);
                    println!(
                        "{}: {ratio:.2} times {of}; goal {times:.2}, {}",
                        variant.name,
                        verdict(ratio, times)
                    );
                    // A short run at a low load says little of the ratio; that it is not absurd is what a busy machine can tell.
                    assert!(
                        !smoke || ratio <= bound,
                        "{} costs {ratio:.2} times {of}, {bound} allowed",
                        variant.name
                    );
                }
            }
        }
    }
}

fn verdict(figure: f64, goal: f64) -> &'static str {
    if figure <= goal { "reached" } else { "NOT reached" }
}

/// Round by round: what the one costs, as a multiple of the other.
fn ratios(ours: &[Outcome], theirs: &[Outcome], all_threads: bool) -> Vec<f64> {
    let cost = |outcome: &Outcome| if all_threads { outcome.all_ns } else { outcome.ns_per_packet };
    ours.iter().zip(theirs).map(|(ours, theirs)| cost(ours) / cost(theirs)).collect()
}

/// One shard, then two with as many streams each, on a core each.
fn two_shards(load: Load, rounds: usize, smoke: bool) {
    let shards = |count: u16| {
        let all = Load { packets_per_second: load.packets_per_second * u64::from(count), ..load };
        let make = |number: u16| {
            let port_first = PORT_FIRST + number * (load.streams as u16 * 2 + 200);
            move || Recorder::new(IO_URING, load.streams, port_first)
        };
        run_all(all, (0..count).map(make).collect()).ns_per_packet
    };
    let figures: Vec<(f64, f64)> = (0..rounds).map(|_| (shards(1), shards(2))).collect();
    let (one, two) = figures.iter().copied().unzip();
    let ratio = median(figures.iter().map(|(one, two)| two / one).collect());
    println!("\none shard, {} packets/s: {:.0} ns per packet", load.packets_per_second, median(one));
    println!(
        "two shards, {0} packets/s each: {1:.0} ns per packet, {ratio:.2} times one",
        load.packets_per_second,
        median(two)
    );
    assert!(!smoke || ratio <= 2.0, "two shards cost {ratio:.2} times one");
}

/// Calls that are up, with nobody talking.
fn idle(smoke: bool) {
    // Silence is written every 8 s, and a young file is given room more often: two rounds of it, after two.
    let seconds = |warm_up, measured| (Duration::from_secs(warm_up), Duration::from_secs(measured));
    let (calls, (warm_up, time)) = if smoke { (200, seconds(3, 1)) } else { (2000, seconds(20, 16)) };
    let mut recorder = Recorder::new(IO_URING, calls * 2, PORT_FIRST);
    let mut turn_for = |time: Duration| {
        let end = clock::mono() + time;
        while clock::mono() < end {
            recorder.turn();
        }
        (clock::thread_cpu(), process_cpu())
    };
    let (thread_before, all_before) = turn_for(warm_up);
    let (thread, all) = turn_for(time);
    let (thread, all) = (thread - thread_before, all - all_before);
    let percent = |cpu: Duration| cpu.as_secs_f64() / time.as_secs_f64() * 100.0;
    println!(
        "\n{calls} silent calls: {:.2} % of a core, {:.2} % with the kernel's workers; goal 1 % for 2,000",
        percent(thread),
        percent(all)
    );
    // Of 200 calls the ticks themselves are a good part, and a second is short: twice what was seen.
    assert!(!smoke || percent(thread) <= 2.0, "{calls} silent calls take {:.2} % of a core", percent(thread));
}
