//! A network that loses, doubles, delays and reorders, and the sockets' queues behind it.
//!
//! Every datagram that a peer sends has an entry in the book ([`Sent`]), which tells in the end what became of each of its copies. That is the
//! truth that the recorder's own ledger is checked against.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::fault::FaultPlan;
use crate::base::{Mono, Prng};

/// Something that sends datagrams of its own accord.
pub trait Sender {
    /// When it wants to send next, if ever.
    fn due(&self) -> Option<Mono>;
    /// Sends what is due at `now`; moves [`Sender::due`] on.
    fn send(&mut self, now: Mono, out: &mut Vec<Outgoing>);
}

/// A datagram as its sender hands it to the network.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// From.
    pub from: SocketAddr,
    /// To.
    pub to: SocketAddr,
    /// What.
    pub bytes: Rc<[u8]>,
    /// What its sender meant by it.
    pub label: Label,
    /// Time on the way before any fault.
    pub delay: Duration,
}

/// What a datagram is meant to be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// Audio: samples `index..index + samples` of its stream.
    Audio {
        /// Source and timestamp base of the stream.
        epoch: u8,
        /// First sample, over all epochs.
        index: u64,
        /// How many.
        samples: u16,
    },
    /// RFC 3389.
    ComfortNoise,
    /// RFC 4733.
    Event,
    /// RTP without a payload.
    Empty,
    /// RTCP.
    Rtcp,
    /// Neither RTP nor RTCP.
    Malformed,
    /// RTP of a type that was not agreed.
    WrongType,
    /// Longer than a receive buffer.
    Oversize,
    /// RTP from somebody whom the call does not know.
    Stranger,
}

/// Whose a datagram is, and what it is meant to be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Label {
    /// The call's number in the world.
    pub call: u16,
    /// The track.
    pub track: u8,
    /// What it is.
    pub class: Class,
}

/// What became of one datagram that was sent, all copies counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// To where.
    pub to: SocketAddr,
    /// When.
    pub at: Mono,
    /// What it is meant to be.
    pub label: Label,
    /// Copies that the network took: one, or two if it doubled it.
    pub copies: u32,
    /// Copies lost on the way.
    pub lost: u32,
    /// Copies that came to a port where nobody listened.
    pub unheard: u32,
    /// Copies for which a socket's queue had no room.
    pub dropped: u32,
    /// Copies that were in a queue when its socket was closed.
    pub abandoned: u32,
    /// When each copy was handed to the shard, and when it had arrived.
    pub handed: Vec<(Mono, Mono)>,
}

/// A datagram on its way or in a queue.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Its sender.
    pub from: SocketAddr,
    /// Its index in the book, if a peer sent it.
    pub entry: Option<usize>,
    /// What.
    pub bytes: Rc<[u8]>,
    /// When it came to the queue.
    pub arrival: Mono,
}

#[derive(Debug, Default)]
struct Socket {
    queue: VecDeque<Datagram>,
    dropped: u32,
}

/// The network.
pub struct Net {
    prng: Prng,
    /// Faults of the present phase.
    pub faults: FaultPlan,
    senders: Vec<Box<dyn Sender>>,
    flying: BTreeMap<(Mono, u64), (SocketAddr, Datagram)>,
    order: u64,
    sockets: BTreeMap<SocketAddr, Socket>,
    book: Vec<Sent>,
    outbox: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    next_port: u16,
}

impl Net {
    /// A network without sockets and senders.
    pub fn new(seed: u64, faults: FaultPlan) -> Net {
        Net {
            prng: Prng::new(seed),
            faults,
            senders: Vec::new(),
            flying: BTreeMap::new(),
            order: 0,
            sockets: BTreeMap::new(),
            book: Vec::new(),
            outbox: Vec::new(),
            next_port: 40_000,
        }
    }

    /// Adds a sender.
    pub fn add(&mut self, sender: Box<dyn Sender>) {
        self.senders.push(sender);
    }

    /// Takes away every sender; what they have sent stays on its way.
    pub fn silence(&mut self) {
        self.senders.clear();
    }

    /// Opens a socket; the address bound, or `None` if it is in use.
    pub fn bind(&mut self, mut at: SocketAddr) -> Option<SocketAddr> {
        if at.port() == 0 {
            while self.sockets.contains_key(&SocketAddr::new(at.ip(), self.next_port)) {
                self.next_port += 1;
            }
            at.set_port(self.next_port);
        }
        if self.sockets.contains_key(&at) {
            return None;
        }
        self.sockets.insert(at, Socket::default());
        Some(at)
    }

    /// Closes a socket; what waits in it is gone.
    pub fn close(&mut self, at: SocketAddr) {
        for datagram in self.sockets.remove(&at).map(|socket| socket.queue).into_iter().flatten() {
            self.write_down(datagram.entry, |sent| sent.abandoned += 1);
        }
    }

    /// Sockets open now.
    pub fn open(&self) -> usize {
        self.sockets.len()
    }

    /// The process dies: its sockets close.
    pub fn crash(&mut self) {
        let open: Vec<SocketAddr> = self.sockets.keys().copied().collect();
        open.into_iter().for_each(|at| self.close(at));
    }

    /// Lets time pass until `to`: senders send, datagrams fly and arrive.
    pub fn advance(&mut self, to: Mono) {
        self.send_until(to);
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= to) {
            let (target, datagram) = entry.remove();
            self.arrive(target, datagram);
        }
    }

    /// A datagram from outside the simulated peers, without faults, that arrives at `arrival`.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8], arrival: Mono) {
        self.order += 1;
        let datagram = Datagram { from, entry: None, bytes: bytes.into(), arrival };
        self.flying.insert((arrival, self.order), (to, datagram));
    }

    /// Datagrams in the queue of a socket.
    pub fn waiting(&self, at: SocketAddr) -> usize {
        self.sockets.get(&at).map_or(0, |socket| socket.queue.len())
    }

    /// The next datagram in the queue of a socket.
    pub fn receive(&mut self, at: SocketAddr, now: Mono) -> Option<Datagram> {
        let datagram = self.sockets.get_mut(&at)?.queue.pop_front()?;
        self.write_down(datagram.entry, |sent| sent.handed.push((now, datagram.arrival)));
        Some(datagram)
    }

    /// Datagrams dropped by this socket since the last call.
    pub fn take_dropped(&mut self, at: SocketAddr) -> u32 {
        self.sockets.get_mut(&at).map_or(0, |socket| std::mem::take(&mut socket.dropped))
    }

    /// A datagram from the recorder. One to a socket of this machine arrives there.
    pub fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8], now: Mono) {
        if self.sockets.contains_key(&to) {
            self.inject(from, to, bytes, now);
        }
        self.outbox.push((from, to, bytes.to_vec()));
    }

    /// What the recorder has sent since the last call: from, to, bytes.
    pub fn take_outbox(&mut self) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.outbox)
    }

    /// The fate of everything that peers have sent.
    pub fn book(&self) -> &[Sent] {
        &self.book
    }

    /// Whether nothing is on its way to `host` or waits in its sockets.
    pub fn is_quiet(&self, host: IpAddr) -> bool {
        let waits = |(at, socket): (&SocketAddr, &Socket)| at.ip() == host && !socket.queue.is_empty();
        !self.flying.values().any(|(to, _)| to.ip() == host) && !self.sockets.iter().any(waits)
    }

    fn send_until(&mut self, to: Mono) {
        let mut senders = std::mem::take(&mut self.senders);
        let mut out = Vec::new();
        loop {
            // The earliest first, so that the book is in the order of time whatever the step.
            let due = |sender: &dyn Sender| sender.due().filter(|&due| due <= to);
            let Some((at, index)) =
                senders.iter().enumerate().filter_map(|(index, s)| Some((due(s.as_ref())?, index))).min()
            else {
                break;
            };
            senders[index].send(at, &mut out);
            out.drain(..).for_each(|outgoing| self.take_off(outgoing, at));
        }
        self.senders = senders;
    }

    fn take_off(&mut self, outgoing: Outgoing, at: Mono) {
        let copies = if self.prng.chance(self.faults.duplicate) { 2 } else { 1 };
        let entry = self.book.len();
        self.book.push(Sent {
            to: outgoing.to,
            at,
            label: outgoing.label,
            copies,
            lost: 0,
            unheard: 0,
            dropped: 0,
            abandoned: 0,
            handed: Vec::new(),
        });
        for _ in 0..copies {
            if self.prng.chance(self.faults.loss) {
                self.book[entry].lost += 1;
                continue;
            }
            let arrival = at + outgoing.delay + self.detour();
            self.order += 1;
            let datagram =
                Datagram { from: outgoing.from, entry: Some(entry), bytes: outgoing.bytes.clone(), arrival };
            self.flying.insert((arrival, self.order), (outgoing.to, datagram));
        }
    }

    fn detour(&mut self) -> Duration {
        let mut detour = Duration::from_micros(self.prng.below(self.faults.jitter_us + 1));
        if self.prng.chance(self.faults.reorder) {
            detour += Duration::from_millis(20 + self.prng.below(130));
        }
        if self.prng.chance(self.faults.late) {
            detour += Duration::from_millis(300 + self.prng.below(600));
        }
        detour
    }

    fn arrive(&mut self, to: SocketAddr, datagram: Datagram) {
        let entry = datagram.entry;
        match self.sockets.get_mut(&to) {
            None => self.write_down(entry, |sent| sent.unheard += 1),
            Some(socket) if socket.queue.len() >= self.faults.socket_queue => {
                socket.dropped += 1;
                self.write_down(entry, |sent| sent.dropped += 1);
            }
            Some(socket) => socket.queue.push_back(datagram),
        }
    }

    fn write_down(&mut self, entry: Option<usize>, change: impl FnOnce(&mut Sent)) {
        if let Some(entry) = entry {
            change(&mut self.book[entry]);
        }
    }
}

impl Sent {
    /// Whether each copy is accounted for, once nothing is on its way or waiting.
    pub fn adds_up(&self) -> bool {
        self.copies == self.lost + self.unheard + self.dropped + self.abandoned + self.handed.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Metronome {
        left: u32,
        at: Mono,
        to: SocketAddr,
    }

    impl Sender for Metronome {
        fn due(&self) -> Option<Mono> {
            (self.left > 0).then_some(self.at)
        }
        fn send(&mut self, _: Mono, out: &mut Vec<Outgoing>) {
            self.left -= 1;
            self.at = self.at + Duration::from_millis(1);
            let bytes = self.left.to_be_bytes()[..].into();
            let label = Label { call: 0, track: 0, class: Class::Rtcp };
            out.push(Outgoing { from: self.to, to: self.to, bytes, label, delay: Duration::ZERO });
        }
    }

    #[test]
    fn every_copy_of_every_datagram_is_accounted_for() {
        let to: SocketAddr = "10.0.0.1:4000".parse().unwrap();
        let faults = FaultPlan {
            loss: 200,
            duplicate: 200,
            reorder: 200,
            late: 100,
            socket_queue: 20,
            ..FaultPlan::none()
        };
        let mut net = Net::new(3, faults);
        net.bind(to).unwrap();
        net.add(Box::new(Metronome { left: 1000, at: Mono(0), to }));
        let mut handed = Vec::new();
        for ms in (0..1000).step_by(30) {
            net.advance(Mono::from_ms(ms));
            while let Some(datagram) = net.receive(to, Mono::from_ms(ms)) {
                handed.push(datagram.bytes);
            }
        }
        net.close(to);
        net.advance(Mono::from_ms(5000));
        assert!(net.is_quiet(to.ip()));
        assert!(net.book().iter().all(Sent::adds_up));
        let sum = |of: fn(&Sent) -> u32| net.book().iter().map(of).sum::<u32>();
        assert!(sum(|s| s.lost) > 100 && sum(|s| s.dropped) > 50 && sum(|s| s.unheard) > 5);
        assert!(handed.windows(2).any(|pair| pair[0] < pair[1]), "the counter falls, unless reordered");
    }
}
