//! What the benches on real sockets share: a paced load of RTP streams on loopback, and the CPU time of the thread that receives it.

pub mod call;
pub mod recorder;

use std::ffi::CStr;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tapehead::rtp;
use tapehead::sys::{affinity, clock};

/// G.711, 20 ms each, from every stream.
#[derive(Clone, Copy)]
pub struct Load {
    /// Streams, each to a socket of its own.
    pub streams: usize,
    /// Packets per second over all of them.
    pub packets_per_second: u64,
    /// Before measuring.
    pub warm_up: Duration,
    /// While measuring.
    pub measured: Duration,
}

/// Something that receives a load on its thread.
pub trait Receiver {
    /// Whether its thread is pinned to a core.
    const PINNED: bool = true;
    /// Where the streams go.
    fn targets(&self) -> Vec<SocketAddr>;
    /// One tick.
    fn turn(&mut self);
    /// Datagrams so far, when the load is over.
    fn received(&mut self) -> u64;
    /// Datagrams so far, for one that may not keep up with the load; the others are taken to.
    fn so_far(&self) -> Option<u64> {
        None
    }
}

/// What a run has shown. CPU times are per packet.
#[derive(Clone, Copy)]
pub struct Outcome {
    /// Of the receiving thread, or threads.
    pub ns_per_packet: f64,
    /// Of all threads of this process but the sender, the kernel's workers for it included.
    pub all_ns: f64,
    /// Of the thread that sends; on loopback most of the softirq is in it.
    pub sender_ns: f64,
    /// Softirq as the kernel bills it apart, of the whole machine.
    pub softirq_ns: f64,
    /// Packets sent per second while measuring.
    pub rate: f64,
    /// Packets sent in all.
    pub sent: u64,
    /// Packets received in all.
    pub received: u64,
}

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const DRAIN: u8 = 2;
const END: u8 = 3;

/// What a receiving thread has to tell.
struct Told {
    cpu: Duration,
    so_far: Option<u64>,
    received: u64,
}

/// Runs `make`'s receiver on a pinned thread under `load` from another.
pub fn run<R: Receiver>(load: Load, make: impl FnOnce() -> R + Send) -> Outcome {
    run_all(load, vec![make])
}

/// The same with several receivers, a thread and a core for each. The sender has the first core, to itself while there are enough.
pub fn run_all<R: Receiver, M: FnOnce() -> R + Send>(load: Load, makes: Vec<M>) -> Outcome {
    let cores = affinity::allowed_cores().expect("the kernel tells");
    let phase = &AtomicU8::new(WARM_UP);
    let (tell, targets) = mpsc::channel();
    let receivers = makes.len();
    std::thread::scope(|scope| {
        let threads: Vec<_> = makes
            .into_iter()
            .zip(cores.iter().rev().cycle())
            .map(|(make, &core)| {
                let tell = tell.clone();
                scope.spawn(move || receive(core, make, &tell, phase))
            })
            .collect();
        let lists: Vec<Vec<SocketAddr>> = (0..receivers).map(|_| targets.recv().expect("made")).collect();
        let targets = (0..lists[0].len()).flat_map(|at| lists.iter().map(move |list| list[at])).collect();
        let sender = Sender::start(load, targets, (receivers < cores.len()).then_some(cores[0]));
        std::thread::sleep(load.warm_up);
        let (sent, sender_cpu, process, softirq) = (sender.sent(), sender.cpu(), process_cpu(), softirq());
        phase.store(MEASURE, Ordering::Relaxed);
        std::thread::sleep(load.measured);
        phase.store(DRAIN, Ordering::Relaxed);
        let sent = (sender.sent() - sent) as f64;
        let sender_cpu = (sender.cpu() - sender_cpu).as_nanos() as f64;
        let process = (process_cpu() - process).as_nanos() as f64;
        let softirq = (softirq_since(softirq)).as_nanos() as f64;
        let all = sender.stop();
        std::thread::sleep(Duration::from_millis(200));
        phase.store(END, Ordering::Relaxed);
        let told: Vec<Told> =
            threads.into_iter().map(|thread| thread.join().expect("it runs to its end")).collect();
        let cpu: f64 = told.iter().map(|told| told.cpu.as_nanos() as f64).sum();
        let taken = told[0].so_far.map_or(sent, |count| count as f64).max(1.0);
        Outcome {
            ns_per_packet: cpu / taken,
            all_ns: (process - sender_cpu) / taken,
            sender_ns: sender_cpu / sent,
            softirq_ns: softirq / sent,
            rate: sent / load.measured.as_secs_f64(),
            sent: all,
            received: told.iter().map(|told| told.received).sum(),
        }
    })
}

fn receive<R: Receiver>(
    core: usize,
    make: impl FnOnce() -> R,
    tell: &mpsc::Sender<Vec<SocketAddr>>,
    phase: &AtomicU8,
) -> Told {
    if R::PINNED {
        affinity::pin_thread(core).expect("an allowed core");
    }
    let mut receiver = make();
    tell.send(receiver.targets()).expect("somebody listens");
    let mut turn_until = |next: u8| {
        while phase.load(Ordering::Relaxed) < next {
            receiver.turn();
        }
        (clock::thread_cpu(), receiver.so_far())
    };
    let (cpu_before, count_before) = turn_until(MEASURE);
    name_thread(c"measured");
    let (cpu, count) = turn_until(DRAIN);
    name_thread(c"done");
    turn_until(END);
    let so_far = count.zip(count_before).map(|(count, before)| count - before);
    Told { cpu: cpu - cpu_before, so_far, received: receiver.received() }
}

/// Names this thread for a profiler (`benches/profile.py`), which can so tell what is measured from what is not.
fn name_thread(name: &CStr) {
    // SAFETY: a string that lives through the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// CPU time of all threads of this process.
pub fn process_cpu() -> Duration {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is ours to write.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut at) }, 0);
    Duration::new(at.tv_sec as u64, at.tv_nsec as u32)
}

/// Softirq time of all cores so far (proc(5), `stat`: the seventh number, in hundredths of a second).
fn softirq() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").expect("proc is mounted");
    stat.split_whitespace().nth(7).and_then(|ticks| ticks.parse().ok()).expect("a number")
}

fn softirq_since(before: u64) -> Duration {
    Duration::from_millis((softirq() - before) * 10)
}

/// The thread that sends.
struct Sender {
    sent: Arc<AtomicU64>,
    cpu: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Sender {
    fn start(load: Load, targets: Vec<SocketAddr>, core: Option<usize>) -> Sender {
        let (sent, cpu, stop) = <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let (count, spent, stopped) = (sent.clone(), cpu.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            core.into_iter().for_each(|core| affinity::pin_thread(core).expect("an allowed core"));
            let mut streams = Streams::new(&targets);
            // A millisecond's worth at a time: as even as a network would deliver it.
            let per_slice = (load.packets_per_second / 1000).max(1) as usize;
            let mut next = clock::mono();
            while !stopped.load(Ordering::Relaxed) {
                count.fetch_add(streams.send(per_slice), Ordering::Relaxed);
                spent.store(clock::thread_cpu().as_nanos() as u64, Ordering::Relaxed);
                next = next + Duration::from_millis(1);
                clock::sleep_until(next);
            }
        });
        Sender { sent, cpu, stop, thread }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu.load(Ordering::Relaxed))
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sender runs to its end");
        self.sent.load(Ordering::Relaxed)
    }
}

/// Each stream's next packet, and the message header that points to it.
struct Streams {
    socket: UdpSocket,
    headers: Vec<libc::mmsghdr>,
    packets: Vec<Vec<u8>>,
    sequences: Vec<u16>,
    next: usize,
    _pointed_to: (Vec<libc::iovec>, Vec<socket2::SockAddr>),
}

impl Streams {
    fn new(targets: &[SocketAddr]) -> Streams {
        let mut packets: Vec<Vec<u8>> = (0..targets.len()).map(|ssrc| packet(ssrc as u32)).collect();
        let names: Vec<socket2::SockAddr> = targets.iter().map(|&at| at.into()).collect();
        let mut slices: Vec<libc::iovec> = packets
            .iter_mut()
            .map(|bytes| libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() })
            .collect();
        let headers = (0..targets.len())
            .map(|at| {
                // SAFETY: plain integers and pointers, for which all zeroes is a value.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_name = names[at].as_ptr().cast_mut().cast();
                header.msg_hdr.msg_namelen = names[at].len();
                header.msg_hdr.msg_iov = &raw mut slices[at];
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let sequences = vec![0; targets.len()];
        Streams { socket, headers, packets, sequences, next: 0, _pointed_to: (slices, names) }
    }

    /// Sends the next `count` packets, streams in turn; how many went out.
    fn send(&mut self, count: usize) -> u64 {
        let mut sent = 0;
        while sent < count {
            let batch = (count - sent).min(64).min(self.headers.len() - self.next);
            for stream in self.next..self.next + batch {
                self.sequences[stream] = self.sequences[stream].wrapping_add(1);
                let sequence = self.sequences[stream];
                // RFC 3550 section 5.1: sequence number at 2, timestamp at 4.
                self.packets[stream][2..4].copy_from_slice(&sequence.to_be_bytes());
                self.packets[stream][4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
            }
            // SAFETY: the headers point to packets and names that live in `self`; `batch` of them follow `next`.
            let done = unsafe {
                let first = self.headers.as_mut_ptr().add(self.next);
                libc::sendmmsg(self.socket.as_raw_fd(), first, batch as libc::c_uint, 0)
            };
            assert_eq!(done, batch as libc::c_int, "{}", std::io::Error::last_os_error());
            self.next = (self.next + batch) % self.headers.len();
            sent += batch;
        }
        sent as u64
    }
}

fn packet(ssrc: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    rtp::write(&rtp::Header { ssrc, ..rtp::Header::default() }, &[0x55; 160], &mut bytes);
    bytes
}

/// Loopback, a port of the system's choice.
pub const ANY_PORT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// The middle one.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
