//! Sending RTP: few threads, few sockets, any number of streams, each packet at its own time.
//!
//! A thread sleeps until the slot of its [wheel] ends, makes the packets that were due in it and gives them to the kernel in batches, by
//! `sendmmsg` with an address for each. What it measures of itself goes into the result: a run whose packets went out late proves nothing.
//!
//! Leaves out what is sent when, which is [`crate::schedule`], and the signalling, which is [`crate::client`].

pub mod stream;
pub mod wheel;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;
use tapehead::base::Mono;
use tapehead::sys::{affinity, clock};
use tokio::sync::mpsc::UnboundedSender;

use crate::record::TrackRecord;
use crate::schedule::Sent;
use crate::sys::{BATCH, Batch};
use stream::{Next, Start, Stream};
use wheel::Wheel;

/// Latest that lateness is told apart.
const LATE_US_MAX: u64 = 60_000_000;
/// How often a thread publishes what it has used of its core.
const PUBLISH: Duration = Duration::from_millis(250);

/// What a sending thread is told.
pub enum Order {
    /// Begin a stream.
    Start(Box<Start>),
    /// End all streams of this call now.
    Stop(u64),
}

/// A stream has ended.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Its call.
    pub call: u64,
    /// Its track.
    pub track: u32,
    /// How far it came.
    pub record: TrackRecord,
    /// Whether its schedule had nothing more: the client has vanished.
    pub exhausted: bool,
}

/// What a thread shows while it runs.
#[derive(Default, Debug)]
pub struct Progress {
    /// Packets sent so far.
    pub datagrams: AtomicU64,
    /// CPU time used so far, in nanoseconds.
    pub cpu_ns: AtomicU64,
    /// The latest packet since this was last set to 0, in microseconds after its time.
    pub late_us: AtomicU64,
}

/// What a thread has done.
pub struct Outcome {
    /// How long after their times packets went out, in microseconds: when the system call that took them had returned.
    pub late: Histogram<u64>,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Datagrams that the system refused.
    pub refused: u64,
    /// The last reason for that.
    pub why: Option<io::Error>,
    /// CPU time of the thread, as the kernel charges it.
    pub cpu: Duration,
}

/// The sockets of one thread. Each has its RTCP neighbour, which is open so that reports meet no closed port, and is never read.
pub struct Sockets {
    rtp: Vec<UdpSocket>,
    _rtcp: Vec<UdpSocket>,
    stranger: UdpSocket,
    /// The ports of the former, all even.
    pub ports: Vec<u16>,
}

impl Sockets {
    /// Opens `count` pairs on this address.
    pub fn open(ip: IpAddr, count: usize) -> io::Result<Sockets> {
        let (mut rtp, mut rtcp, mut ports) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            let (even, odd) = pair(ip)?;
            ports.push(even.local_addr()?.port());
            rtp.push(even);
            rtcp.push(odd);
        }
        Ok(Sockets { rtp, _rtcp: rtcp, stranger: UdpSocket::bind((ip, 0))?, ports })
    }
}

/// How often a pair of neighbouring ports is looked for.
const PAIR_TRIES: usize = 1000;

/// An even port and the next (RFC 3550 section 11).
fn pair(ip: IpAddr) -> io::Result<(UdpSocket, UdpSocket)> {
    // Kept until the search is over: the system would offer the same again.
    let mut odd = Vec::new();
    for _ in 0..PAIR_TRIES {
        let socket = UdpSocket::bind((ip, 0))?;
        let port = socket.local_addr()?.port();
        if port % 2 == 1 {
            odd.push(socket);
        } else if let Ok(next) = UdpSocket::bind(SocketAddr::new(ip, port + 1)) {
            return Ok((socket, next));
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no two neighbouring ports are free on {ip}")))
}

/// Where a sending thread gets its work and tells of it.
pub struct Desk {
    /// What to do; once nobody can send any more the thread ends, and with it all of its streams.
    pub orders: Receiver<Order>,
    /// Streams that have ended.
    pub done: UnboundedSender<Done>,
    /// What it shows.
    pub progress: Arc<Progress>,
}

/// Starts a thread.
pub fn spawn(
    seed: u64,
    sockets: Sockets,
    desk: Desk,
    core: Option<usize>,
) -> io::Result<JoinHandle<Outcome>> {
    std::thread::Builder::new().name("rtp".to_owned()).spawn(move || {
        if let Some(core) = core {
            // Checked before; a core that is gone meanwhile only costs evenness.
            let _ = affinity::pin_thread(core);
        }
        Sender::new(seed, sockets, desk).run()
    })
}

/// Packets of one socket that wait for the next system call.
struct Lane {
    batch: Batch,
    /// Of each the stream and when it was due.
    waiting: Vec<(u32, Mono)>,
}

struct Sender {
    seed: u64,
    desk: Desk,
    lanes: Lanes,
    streams: Streams,
    wheel: Wheel,
    scratch: Vec<u8>,
    published: Mono,
}

/// The streams by number. A number is free again when it has left the wheel.
#[derive(Default)]
struct Streams {
    all: Vec<Option<Stream>>,
    free: Vec<u32>,
    by_call: HashMap<u64, Vec<u32>>,
}

/// The sockets, the last of them the stranger's, and what is measured of what goes through them.
struct Lanes {
    lanes: Vec<Lane>,
    outcome: Outcome,
    late_max: u64,
}

impl Sender {
    fn new(seed: u64, sockets: Sockets, desk: Desk) -> Sender {
        let lane = |socket| Lane { batch: Batch::new(socket), waiting: Vec::with_capacity(BATCH) };
        let late = Histogram::new_with_bounds(1, LATE_US_MAX, 2).expect("the bounds are constants that fit");
        let outcome = Outcome { late, datagrams: 0, refused: 0, why: None, cpu: Duration::ZERO };
        Sender {
            seed,
            desk,
            lanes: Lanes {
                lanes: sockets.rtp.into_iter().chain([sockets.stranger]).map(lane).collect(),
                outcome,
                late_max: 0,
            },
            streams: Streams::default(),
            wheel: Wheel::new(clock::mono()),
            scratch: Vec::new(),
            published: Mono(0),
        }
    }

    fn run(mut self) -> Outcome {
        loop {
            if !self.take_orders() {
                break;
            }
            clock::sleep_until(self.wheel.next_turn());
            self.turn(clock::mono());
            self.publish(clock::mono());
        }
        self.publish(Mono(u64::MAX));
        self.lanes.outcome.cpu = clock::thread_cpu();
        self.lanes.outcome
    }

    /// False once there will be none any more.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.desk.orders.try_recv() {
                Ok(Order::Start(start)) => {
                    let stream = Stream::new(self.seed, *start);
                    let due = due(&stream);
                    let number = self.streams.insert(stream);
                    self.wheel.insert(number, due);
                }
                Ok(Order::Stop(call)) => {
                    for number in self.streams.by_call.remove(&call).unwrap_or_default() {
                        // The place is free once the wheel has let go of it.
                        if let Some(stream) = self.streams.all[number as usize].take() {
                            tell(&self.desk.done, &stream);
                        }
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Sends all that was due in the slots that have ended.
    fn turn(&mut self, now: Mono) {
        let Sender { lanes, streams, scratch, desk, wheel, .. } = self;
        while wheel.turn(now, |number, end| fire(number, end, lanes, streams, scratch, &desk.done)) {
            lanes.flush_all(streams);
        }
    }

    fn publish(&mut self, now: Mono) {
        if now < self.published + PUBLISH {
            return;
        }
        self.published = now;
        let progress = &self.desk.progress;
        progress.datagrams.store(self.lanes.outcome.datagrams, Ordering::Relaxed);
        progress.cpu_ns.store(clock::thread_cpu().as_nanos() as u64, Ordering::Relaxed);
        progress.late_us.fetch_max(std::mem::take(&mut self.lanes.late_max), Ordering::Relaxed);
    }
}

fn due(stream: &Stream) -> Mono {
    let (Next::Packet(at) | Next::End(at)) = stream.next();
    at
}

fn tell(done: &UnboundedSender<Done>, stream: &Stream) {
    // Nobody listens any more when a run is broken off.
    let _ = done.send(Done {
        call: stream.call,
        track: stream.track,
        record: stream.record,
        exhausted: stream.is_exhausted(),
    });
}

/// Sends what is due of a stream before `end`, and says when it goes on.
fn fire(
    number: u32,
    end: Mono,
    lanes: &mut Lanes,
    streams: &mut Streams,
    scratch: &mut Vec<u8>,
    done: &UnboundedSender<Done>,
) -> Option<Mono> {
    loop {
        let Some(stream) = &mut streams.all[number as usize] else {
            streams.free.push(number);
            return None;
        };
        match stream.next() {
            Next::Packet(at) | Next::End(at) if at >= end => return Some(at),
            Next::Packet(at) => {
                let packet = stream.take()?;
                let lane = match packet.fate {
                    Sent::Lost => continue,
                    Sent::WrongSource => lanes.lanes.len() - 1,
                    Sent::Once | Sent::Twice => stream.socket,
                };
                for _ in 0..if packet.fate == Sent::Twice { 2 } else { 1 } {
                    lanes.make_room(lane, streams);
                    let Some(stream) = &mut streams.all[number as usize] else { break };
                    lanes
                        .put(lane, number, at, &stream.to.clone(), |out| stream.write(&packet, scratch, out));
                }
            }
            Next::End(_) => {
                // What is still in a batch belongs to its record.
                lanes.flush_all(streams);
                if let Some(stream) = streams.remove(number) {
                    tell(done, &stream);
                }
                return None;
            }
        }
    }
}

impl Streams {
    fn insert(&mut self, stream: Stream) -> u32 {
        let call = stream.call;
        let number = match self.free.pop() {
            Some(number) => {
                self.all[number as usize] = Some(stream);
                number
            }
            None => {
                self.all.push(Some(stream));
                self.all.len() as u32 - 1
            }
        };
        self.by_call.entry(call).or_default().push(number);
        number
    }

    /// Takes out one that the wheel has let go of.
    fn remove(&mut self, number: u32) -> Option<Stream> {
        let stream = self.all[number as usize].take()?;
        self.free.push(number);
        if let Some(numbers) = self.by_call.get_mut(&stream.call) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_call.remove(&stream.call);
            }
        }
        Some(stream)
    }
}

impl Lanes {
    fn make_room(&mut self, lane: usize, streams: &mut Streams) {
        if self.lanes[lane].batch.is_full() {
            self.flush(lane, streams);
        }
    }

    fn put(
        &mut self,
        lane: usize,
        number: u32,
        due: Mono,
        to: &crate::sys::Address,
        write: impl FnOnce(&mut [u8; crate::sys::DATAGRAM_BYTES_MAX]) -> usize,
    ) {
        let lane = &mut self.lanes[lane];
        lane.batch.push(to, write);
        lane.waiting.push((number, due));
    }

    fn flush_all(&mut self, streams: &mut Streams) {
        (0..self.lanes.len()).for_each(|lane| self.flush(lane, streams));
    }

    fn flush(&mut self, lane: usize, streams: &mut Streams) {
        let Lane { batch, waiting } = &mut self.lanes[lane];
        if waiting.is_empty() {
            return;
        }
        let outcome = &mut self.outcome;
        batch.send(|place, why| {
            let (number, _) = &mut waiting[place];
            if let Some(stream) = &mut streams.all[*number as usize] {
                stream.record.refused += 1;
            }
            *number = u32::MAX;
            outcome.refused += 1;
            outcome.why = Some(why);
        });
        let now = clock::mono();
        for (number, due) in waiting.drain(..).filter(|(number, _)| *number != u32::MAX) {
            let late = now.since(due).as_micros() as u64;
            outcome.late.saturating_record(late);
            outcome.datagrams += 1;
            self.late_max = self.late_max.max(late);
            if let Some(stream) = &mut streams.all[number as usize] {
                stream.record.datagrams += 1;
                stream.record.late_us_max = stream.record.late_us_max.max(late);
            }
        }
    }
}
