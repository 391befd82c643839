//! What the benches on real sockets share: a paced load of RTP streams on loopback, and the CPU time of the thread that receives it.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    /// Where the streams go.
    fn targets(&self) -> Vec<SocketAddr>;
    /// One tick.
    fn turn(&mut self);
    /// Datagrams so far.
    fn received(&mut self) -> u64;
}

/// What a run has shown.
pub struct Outcome {
    /// CPU time of the receiving thread per packet.
    pub ns_per_packet: f64,
    /// Packets sent in all.
    pub sent: u64,
    /// Packets received in all.
    pub received: u64,
}

/// Runs `make`'s receiver on a pinned thread under `load` from another.
pub fn run<R: Receiver>(load: Load, make: impl FnOnce() -> R + Send) -> Outcome {
    let cores = affinity::allowed_cores().expect("the kernel tells");
    let (first, last) = (cores[0], cores[cores.len() - 1]);
    let receive = || {
        affinity::pin_thread(last).expect("an allowed core");
        let mut receiver = make();
        let sender = Sender::start(load, receiver.targets(), first);
        turn_for(&mut receiver, load.warm_up);
        let (sent, cpu) = (sender.sent(), clock::thread_cpu());
        turn_for(&mut receiver, load.measured);
        let (sent, cpu) = (sender.sent() - sent, clock::thread_cpu() - cpu);
        let all = sender.stop();
        turn_for(&mut receiver, Duration::from_millis(200));
        Outcome {
            ns_per_packet: cpu.as_nanos() as f64 / sent as f64,
            sent: all,
            received: receiver.received(),
        }
    };
    std::thread::scope(|scope| scope.spawn(receive).join().expect("the receiver runs to its end"))
}

fn turn_for(receiver: &mut impl Receiver, time: Duration) {
    let end = clock::mono() + time;
    while clock::mono() < end {
        receiver.turn();
    }
}

/// The thread that sends.
struct Sender {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Sender {
    fn start(load: Load, targets: Vec<SocketAddr>, core: usize) -> Sender {
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (sent.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            affinity::pin_thread(core).expect("an allowed core");
            let mut streams = Streams::new(&targets);
            // A millisecond's worth at a time: as even as a network would deliver it.
            let per_slice = (load.packets_per_second / 1000).max(1) as usize;
            let mut next = clock::mono();
            while !stopped.load(Ordering::Relaxed) {
                count.fetch_add(streams.send(per_slice), Ordering::Relaxed);
                next = next + Duration::from_millis(1);
                clock::sleep_until(next);
            }
        });
        Sender { sent, stop, thread }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
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
