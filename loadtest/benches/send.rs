//! What a packet costs the thread that sends it, on loopback, the receiver's softirq included: ours, beside a plain loop that sends the same bytes
//! again and again in bursts.
//!
//! - `plain`: each millisecond a burst by `sendmmsg` from one socket, to the same addresses in turn; the same bytes every time. The baseline.
//! - `ours`: the same number of packets of as many streams, each at its own time with its own header and samples, from four sockets.
//! - `ours, faults`: with loss, reordering, jitter and duplicates drawn.
//! - `ours, SRTP`: each packet secured by AEAD_AES_128_GCM.
//!
//! `cargo bench -p loadtest --bench send`; with `-- --smoke` a short run whose result is checked. Options: `--rounds N`, `--rate PACKETS`.
//! CPU time of the thread, medians of interleaved rounds. Everything is received and thrown away by another thread.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use loadtest::profile::{Profile, Reorder};
use loadtest::send::stream::Start;
use loadtest::send::{Desk, Order, Progress, Sockets, spawn};
use loadtest::sys::{Address, Batch};
use tapehead::srtp::{Keys, Sender, Suite};
use tapehead::sys::{OsEntropy, clock};
use tokio::sync::mpsc::unbounded_channel;

/// Sockets that receive.
const SINKS: usize = 400;
/// What ours may cost, as a multiple of the plain loop.
const BOUND: f64 = 1.5;
const VARIANTS: [&str; 4] = ["plain", "ours", "ours, faults", "ours, SRTP"];

#[derive(Clone, Copy)]
struct Load {
    packets_per_second: usize,
    warm_up: Duration,
    measured: Duration,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after =
        |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)?.parse().ok());
    let smoke = args.iter().any(|arg| arg == "--smoke");
    let load = Load {
        packets_per_second: after("--rate").unwrap_or(if smoke { 20_000 } else { 100_000 }),
        warm_up: Duration::from_millis(if smoke { 300 } else { 1000 }),
        measured: Duration::from_secs(if smoke { 1 } else { 3 }),
    };
    let rounds = after("--rounds").unwrap_or(if smoke { 3 } else { 5 });
    let sinks = Sinks::start();
    let mut figures = vec![Vec::new(); VARIANTS.len()];
    for _ in 0..rounds {
        for (variant, figures) in VARIANTS.iter().zip(&mut figures) {
            figures.push(measure(variant, load, &sinks.addresses));
        }
    }
    let received = sinks.stop();
    let median = |of: &Vec<f64>| {
        let mut of = of.clone();
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    let medians: Vec<f64> = figures.iter().map(median).collect();
    println!("{} packets/s, {rounds} rounds, {received} packets received", load.packets_per_second);
    for (variant, ns) in VARIANTS.iter().zip(&medians) {
        println!("{variant:<14} {ns:6.0} ns/packet {:5.2}", ns / medians[0]);
    }
    assert!(received > 0, "packets arrive");
    // A short run on a busy machine says little of a ratio; that it is not absurd it can tell.
    let bound = if smoke { 3.0 } else { BOUND };
    assert!(medians[1] / medians[0] <= bound, "ours costs more than {bound} times the plain loop");
}

/// Nanoseconds of the sending thread per packet.
fn measure(variant: &str, load: Load, to: &[SocketAddr]) -> f64 {
    match variant {
        "plain" => plain(load, to),
        "ours" => ours(load, to, &Profile::default(), false),
        "ours, SRTP" => ours(load, to, &Profile::default(), true),
        _ => {
            let reorder = Some(Reorder { share: 0.02, packets: 2 });
            let faults =
                Profile { loss: 0.01, duplicate: 0.01, jitter_ms: 40, reorder, ..Profile::default() };
            ours(load, to, &faults, false)
        }
    }
}

fn plain(load: Load, to: &[SocketAddr]) -> f64 {
    let mut batch = Batch::new(UdpSocket::bind("127.0.0.1:0").expect("loopback takes sockets"));
    let to: Vec<Address> = to.iter().map(|to| Address::from(*to)).collect();
    let mut to = to.iter().cycle();
    let each_ms = load.packets_per_second / 1000;
    let mut tick = |ms: u64, begun| {
        for _ in 0..each_ms {
            batch.push(to.next().expect("there are some"), |bytes| {
                bytes[..172].fill(0x80);
                172
            });
            if batch.is_full() {
                batch.send(|_, why| panic!("{why}"));
            }
        }
        batch.send(|_, why| panic!("{why}"));
        clock::sleep_until(begun + Duration::from_millis(ms + 1));
    };
    let begun = clock::mono();
    let warm = load.warm_up.as_millis() as u64;
    (0..warm).for_each(|ms| tick(ms, begun));
    let before = clock::thread_cpu();
    let ticks = load.measured.as_millis() as u64;
    (warm..warm + ticks).for_each(|ms| tick(ms, begun));
    (clock::thread_cpu() - before).as_nanos() as f64 / (ticks as usize * each_ms) as f64
}

fn ours(load: Load, to: &[SocketAddr], profile: &Profile, secured: bool) -> f64 {
    let (orders, taken) = channel();
    let (done, _ended) = unbounded_channel();
    let progress = Arc::new(Progress::default());
    let sockets = Sockets::open([127, 0, 0, 1].into(), 4).expect("loopback takes sockets");
    let thread = spawn(1, sockets, Desk { orders: taken, done, progress: progress.clone() }, None);
    let at = clock::mono() + Duration::from_millis(100);
    let streams = load.packets_per_second / 50;
    for call in 0..streams as u64 {
        let suite = Suite::AeadAes128Gcm;
        let srtp = secured.then(|| Sender::new(suite, &Keys::fresh(suite, &mut OsEntropy), false));
        let start = Start {
            call,
            track: 0,
            profile: profile.clone(),
            to: Address::from(to[call as usize % to.len()]),
            socket: call as usize % 4,
            srtp,
            at: at + Duration::from_nanos(call * 20_000_000 / streams as u64),
            lasts: None,
        };
        orders.send(Order::Start(Box::new(start))).expect("the thread runs");
    }
    // Figures are published four times a second.
    let seen = || (progress.cpu_ns.load(Ordering::Relaxed), progress.datagrams.load(Ordering::Relaxed));
    std::thread::sleep(load.warm_up + Duration::from_millis(400));
    let before = seen();
    std::thread::sleep(load.measured);
    let after = seen();
    drop(orders);
    thread.expect("a thread").join().expect("it does not panic");
    assert!(after.1 > before.1, "packets are sent");
    (after.0 - before.0) as f64 / (after.1 - before.1) as f64
}

/// Sockets that are read now and then by a thread of their own.
struct Sinks {
    addresses: Vec<SocketAddr>,
    over: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Sinks {
    fn start() -> Sinks {
        let bind = |_| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback takes sockets");
            socket.set_nonblocking(true).expect("a socket can be so");
            socket
        };
        let sockets: Vec<UdpSocket> = (0..SINKS).map(bind).collect();
        let addresses = sockets.iter().map(|socket| socket.local_addr().expect("it is bound")).collect();
        let (over, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count) = (over.clone(), received.clone());
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 600];
            while !stop.load(Ordering::Relaxed) {
                let all = sockets.iter().map(|socket| {
                    std::iter::repeat_with(|| socket.recv(&mut bytes).is_ok()).take_while(|got| *got).count()
                });
                count.fetch_add(all.sum::<usize>() as u64, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Sinks { addresses, over, received, thread }
    }

    fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic");
        self.received.load(Ordering::Relaxed)
    }
}
