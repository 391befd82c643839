//! SIPREC clients as the network sees them: streams of RTP with everything that real ones do, and RTCP beside them.
//!
//! What a sample says is [`super::message`]. Leaves out signalling: the world's control core tells where to send and when.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::message::{AUDIO, Origin, WORD_SAMPLES};
use crate::base::{Mono, Prng};
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::media::Payload;
use crate::ring::sim::net::{Class, Label, Outgoing, Sender};
use crate::rtp::{Header, rtcp, write};

/// Payload types of the simulated offers.
pub const PAYLOADS: [(u8, Payload); 4] =
    [(0, Payload::Pcmu), (8, Payload::Pcma), (13, Payload::ComfortNoise), (101, Payload::TelephoneEvent)];
/// A source and timestamp base of a stream, for the checkers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epoch {
    /// The source.
    pub ssrc: u32,
    /// Timestamp of sample 0.
    pub base: u32,
}

/// What a stream has done, for the checkers.
#[derive(Clone, Debug, Default)]
pub struct Diary {
    /// Its epochs.
    pub epochs: Vec<Epoch>,
    /// Whether its sequence numbers or timestamps ever jumped.
    pub jumped: bool,
    /// Whether it ever changed its law.
    pub changed_law: bool,
    /// Whether it has ended.
    pub ended: bool,
    /// When it began to send from another port.
    pub moves: Vec<Mono>,
    /// When it stood still and went on as if nothing had been, or its way became longer.
    pub stalls: Vec<Mono>,
    /// It sends nothing and its timestamps stand still: it is on hold.
    pub frozen: bool,
    /// When it was told to stop, if it was: it leaves without a word.
    pub stopped: Option<Mono>,
}

/// Rates per mille of packets at which a stream does something out of the ordinary.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Milliseconds per packet: 10, 20, 30 or 60.
    pub ptime_ms: u64,
    /// Stops for a while without a word.
    pub pause: u64,
    /// Stops with comfort noise.
    pub noise: u64,
    /// Sends a digit.
    pub digit: u64,
    /// Changes its source.
    pub new_source: u64,
    /// Its timestamps jump.
    pub timestamp_jump: u64,
    /// Its sequence numbers jump.
    pub sequence_jump: u64,
    /// Changes its law.
    pub law_change: u64,
    /// Sends something that is no audio: garbage, other types, empty or long packets.
    pub garbage: u64,
    /// Sends in bursts: packets are held back and leave together.
    pub burst: u64,
    /// Somebody else sends a few packets in between.
    pub stranger: u64,
    /// Stands still for 0.2 to 0.7 s and goes on where its timestamps stood.
    pub stall: u64,
    /// Its timestamps stand still while it is on hold.
    pub freezes: bool,
    /// Goes on from another port without a word.
    pub moves: u64,
    /// Parts per million by which its clock is slow.
    pub slow_ppm: u64,
}

impl Habits {
    /// A well-behaved stream.
    pub fn plain() -> Habits {
        Habits {
            ptime_ms: 20,
            pause: 0,
            noise: 0,
            digit: 0,
            new_source: 0,
            timestamp_jump: 0,
            sequence_jump: 0,
            law_change: 0,
            garbage: 0,
            burst: 0,
            stranger: 0,
            stall: 0,
            freezes: false,
            moves: 0,
            slow_ppm: 0,
        }
    }

    /// The same, where habits are drawn; some stall, and some stand still on hold.
    pub fn plain_of(prng: &mut Prng) -> Habits {
        let stall = if prng.chance(200) { 1 + prng.below(10) } else { 0 };
        Habits { stall, freezes: prng.chance(400), ..Habits::plain() }
    }

    /// A well-behaved stream whose source moves, or is disputed.
    pub fn contested(prng: &mut Prng) -> Habits {
        let mut rate = |often: u64, max: u64| if prng.chance(often) { 1 + prng.below(max) } else { 0 };
        Habits { stranger: rate(400, 60), moves: rate(200, 6), ..Habits::plain() }
    }

    /// Each habit is on or off.
    pub fn drawn(prng: &mut Prng) -> Habits {
        let mut rate = |often: u64, max: u64| if prng.chance(often) { 1 + prng.below(max) } else { 0 };
        Habits {
            ptime_ms: [20, 20, 20, 10, 30, 60][rate(1000, 6) as usize - 1],
            pause: rate(300, 15),
            noise: rate(200, 15),
            digit: rate(200, 15),
            new_source: rate(200, 10),
            timestamp_jump: rate(150, 10),
            sequence_jump: rate(100, 8),
            law_change: rate(120, 6),
            garbage: rate(300, 40),
            burst: rate(100, 15),
            stranger: 0,
            stall: rate(150, 10),
            freezes: rate(400, 1) > 0,
            moves: 0,
            slow_ppm: if rate(100, 1) > 0 { 300 } else { 0 },
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Talk,
    Pause { packets: u64 },
    Noise { packets: u64 },
    Digit { packets: u64, timestamp: u32, total: u64 },
}

/// Where a stream sends.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// From.
    pub from: SocketAddr,
    /// RTP goes here.
    pub to: SocketAddr,
    /// RTCP here.
    pub rtcp_to: SocketAddr,
}

/// One stream.
pub struct Stream {
    call: u16,
    track: u8,
    route: Route,
    habits: Habits,
    delay: Duration,
    prng: Prng,
    start: Mono,
    end: Mono,
    /// Nothing is sent from then until then.
    quiet: Option<(Mono, Mono)>,
    /// Packet times passed, sent or not: sample `slots * samples` is next.
    slots: u64,
    held_back: u64,
    moved_at: u64,
    sequence: u16,
    mode: Mode,
    alaw: bool,
    marker: bool,
    sent: (u32, u32),
    diary: Rc<RefCell<Diary>>,
}

impl Stream {
    /// A stream of `track` of `call` between two instants, and quiet between two others.
    pub fn new(
        (call, track): (u16, u8),
        route: Route,
        habits: Habits,
        alaw: bool,
        (start, end): (Mono, Mono),
        quiet: Option<(Mono, Mono)>,
        seed: u64,
    ) -> (Stream, Rc<RefCell<Diary>>) {
        let mut prng = Prng::new(seed);
        let diary = Rc::new(RefCell::new(Diary::default()));
        let stream = Stream {
            call,
            track,
            route,
            habits,
            delay: Duration::from_micros(500 + prng.below(20_000)),
            // Wraps are common: the first numbers lie close below them.
            sequence: (65_535 - prng.below(300)) as u16,
            prng,
            start,
            end,
            quiet,
            slots: 0,
            held_back: 0,
            moved_at: 0,
            mode: Mode::Talk,
            alaw,
            marker: true,
            sent: (0, 0),
            diary: diary.clone(),
        };
        (stream, diary)
    }

    fn samples(&self) -> u64 {
        self.habits.ptime_ms * 8
    }

    fn index(&self) -> u64 {
        self.slots * self.samples()
    }

    fn epoch(&self) -> u8 {
        (self.diary.borrow().epochs.len() - 1) as u8
    }

    fn timestamp(&self) -> u32 {
        let base = self.diary.borrow().epochs.last().map_or(0, |epoch| epoch.base);
        base.wrapping_add(self.index() as u32)
    }

    fn ssrc(&self) -> u32 {
        self.diary.borrow().epochs.last().map_or(0, |epoch| epoch.ssrc)
    }

    fn begin_epoch(&mut self, new_ssrc: bool) {
        let ssrc = if new_ssrc { self.prng.u64() as u32 } else { self.ssrc() };
        // Close below the wrap, so that it happens; far from the last base, so that it is a jump.
        let base = (self.prng.u64() as u32) | 0xf000_0000;
        let base = if self.prng.chance(500) { base } else { base ^ 0x9000_0000 };
        self.diary.borrow_mut().epochs.push(Epoch { ssrc, base });
    }

    /// It moves to another port, or somebody else sends, but not at once: whoever moves has to be found again first.
    fn contest(&mut self, now: Mono, out: &mut Vec<Outgoing>) {
        let settled = self.slots >= self.moved_at + 40;
        if settled && self.prng.chance(self.habits.moves) {
            self.moved_at = self.slots;
            self.route.from.set_port(self.route.from.port() + 2);
            self.diary.borrow_mut().moves.push(now);
        } else if settled && self.prng.chance(self.habits.stranger) {
            let route = self.route;
            self.route.from.set_ip(IpAddr::from([10, 0, 0, 66]));
            for sequence in 0..1 + self.prng.below(9) as u16 {
                let header = Header { sequence, ssrc: 0xbad, ..Header::default() };
                let mut bytes = Vec::new();
                write(&header, &[0x42; 160], &mut bytes);
                self.emit(bytes, Class::Stranger, false, out);
            }
            self.route = route;
        }
    }

    /// Something out of the ordinary before the next packet.
    fn wander(&mut self) {
        let habits = self.habits.clone();
        let room = self.diary.borrow().epochs.len() < 200;
        if room && self.prng.chance(habits.new_source) {
            self.begin_epoch(true);
            self.sequence = self.prng.u64() as u16;
        }
        if room && self.prng.chance(habits.timestamp_jump) {
            self.begin_epoch(false);
            self.diary.borrow_mut().jumped = true;
        }
        if self.prng.chance(habits.sequence_jump) {
            self.sequence = self.sequence.wrapping_add(4000 + self.prng.below(50_000) as u16);
            self.diary.borrow_mut().jumped = true;
        }
        if self.prng.chance(habits.law_change) {
            self.alaw = !self.alaw;
            self.diary.borrow_mut().changed_law = true;
        }
        let packets = 2 + self.prng.below(60);
        if self.prng.chance(habits.pause) {
            self.mode = Mode::Pause { packets };
        } else if self.prng.chance(habits.noise) {
            self.mode = Mode::Noise { packets };
        } else if self.prng.chance(habits.digit) {
            let total = 3 + packets % 10;
            self.mode = Mode::Digit { packets: total, timestamp: self.timestamp(), total };
        }
    }

    fn header(&mut self, payload_type: u8) -> Header<'static> {
        self.sequence = self.sequence.wrapping_add(1);
        Header {
            payload_type,
            marker: std::mem::take(&mut self.marker),
            sequence: self.sequence,
            timestamp: self.timestamp(),
            ssrc: self.ssrc(),
            ..Header::default()
        }
    }

    fn audio(&mut self, out: &mut Vec<Outgoing>) {
        let (epoch, index, samples) = (self.epoch(), self.index(), self.samples());
        let payload: Vec<u8> = (index..index + samples)
            .step_by(WORD_SAMPLES as usize)
            .flat_map(|index| Origin { call: self.call, track: self.track, epoch, index }.message())
            .map(|nibble| AUDIO | nibble)
            .collect();
        let header = self.header(if self.alaw { 8 } else { 0 });
        self.sent = (self.sent.0 + 1, self.sent.1 + samples as u32);
        self.rtp(&header, &payload, Class::Audio { epoch, index, samples: samples as u16 }, out);
    }

    fn rtp(&mut self, header: &Header<'_>, payload: &[u8], class: Class, out: &mut Vec<Outgoing>) {
        // Now and then with all that a header may carry.
        let csrc = [1, 2, 3];
        let mut header = *header;
        if self.prng.chance(50) {
            header.csrc = &csrc[..self.prng.below(4) as usize];
            header.padding = self.prng.below(5) as u8 * 4;
            header.extension = self.prng.chance(500).then_some((0xbede, &[0x10, 0xff, 0, 0][..]));
        }
        let mut bytes = Vec::with_capacity(payload.len() + 12);
        write(&header, payload, &mut bytes);
        self.emit(bytes, class, false, out);
    }

    fn emit(&self, bytes: Vec<u8>, class: Class, rtcp: bool, out: &mut Vec<Outgoing>) {
        let label = Label { call: self.call, track: self.track, class };
        out.push(Outgoing {
            from: self.route.from,
            to: if rtcp { self.route.rtcp_to } else { self.route.to },
            bytes: bytes.into(),
            label,
            delay: self.delay,
        });
    }

    fn garbage(&mut self, out: &mut Vec<Outgoing>) {
        match self.prng.below(6) {
            0 => {
                let mut bytes = vec![0; self.prng.below(300) as usize];
                self.prng.fill(&mut bytes);
                // Never version 2, so that it can't be RTP by chance.
                if let Some(first) = bytes.first_mut() {
                    *first &= 0x3f;
                }
                self.emit(bytes, Class::Malformed, false, out);
            }
            1 => self.emit(vec![0xa0; 12], Class::Malformed, false, out),
            2 => {
                let header = Header { payload_type: 96, ssrc: 5, ..Header::default() };
                self.rtp(&header, &[1; 40], Class::WrongType, out);
            }
            3 => {
                let header = self.header(0);
                self.rtp(&header, &[], Class::Empty, out);
            }
            4 => self.emit(vec![0x80; DATAGRAM_BYTES_MAX + 1], Class::Oversize, false, out),
            _ => self.emit(vec![0x80, 201, 0, 9, 0], Class::Malformed, true, out),
        }
    }

    fn sender_report(&self, now: Mono, out: &mut Vec<Outgoing>) {
        let ntp = (u128::from(now.0) << 32) / 1_000_000_000;
        let mut bytes = Vec::new();
        rtcp::write_sr(self.ssrc(), ntp as u64, self.timestamp(), self.sent, "src@sim", &mut bytes);
        self.emit(bytes, Class::Rtcp, true, out);
    }

    fn one_slot(&mut self, now: Mono, out: &mut Vec<Outgoing>) {
        if self.slots.is_multiple_of(100) {
            self.sender_report(now, out);
        }
        match self.mode {
            Mode::Talk => {
                if self.slots > 0 {
                    self.wander();
                }
                if self.mode == Mode::Talk {
                    self.contest(now, out);
                    self.audio(out);
                }
            }
            Mode::Pause { packets } => self.mode = Mode::Pause { packets: packets.saturating_sub(1) },
            Mode::Noise { packets } => {
                if packets % 5 == 0 {
                    let header = self.header(13);
                    self.rtp(&header, &[40], Class::ComfortNoise, out);
                }
                self.mode = Mode::Noise { packets: packets.saturating_sub(1) };
            }
            Mode::Digit { packets, timestamp, total } => {
                let duration = ((total - packets) * self.samples()) as u16;
                let header = Header { timestamp, ..self.header(101) };
                let end = u8::from(packets <= 1) << 7;
                let payload = [&[5, end | 10][..], &duration.to_be_bytes()].concat();
                self.rtp(&header, &payload, Class::Event, out);
                self.mode = Mode::Digit { packets: packets.saturating_sub(1), timestamp, total };
            }
        }
        if matches!(
            self.mode,
            Mode::Pause { packets: 0 } | Mode::Noise { packets: 0 } | Mode::Digit { packets: 0, .. }
        ) {
            (self.mode, self.marker) = (Mode::Talk, true);
        }
        if self.prng.chance(self.habits.garbage) {
            self.garbage(out);
        }
        self.slots += 1;
    }
}

impl Sender for Stream {
    fn due(&self) -> Option<Mono> {
        if self.diary.borrow().ended {
            return None;
        }
        let slot_ns = self.habits.ptime_ms * (1_000_000 + self.habits.slow_ppm);
        Some(self.start + Duration::from_nanos((self.slots + self.held_back) * slot_ns))
    }

    fn send(&mut self, now: Mono, out: &mut Vec<Outgoing>) {
        if self.diary.borrow().stopped.is_some_and(|at| at <= now) {
            self.diary.borrow_mut().ended = true;
            return;
        }
        if self.diary.borrow().epochs.is_empty() {
            self.begin_epoch(true);
        }
        if now >= self.end {
            let mut bytes = Vec::new();
            rtcp::write_sr(self.ssrc(), 1, self.timestamp(), self.sent, "src@sim", &mut bytes);
            rtcp::write_bye(self.ssrc(), &mut bytes);
            self.emit(bytes, Class::Rtcp, true, out);
            self.diary.borrow_mut().ended = true;
            return;
        }
        if self.diary.borrow().frozen {
            self.start = self.start + Duration::from_millis(self.habits.ptime_ms);
            return;
        }
        // After a hold-back everything that was due leaves at once.
        let due = std::mem::take(&mut self.held_back) + 1;
        if self.quiet.is_some_and(|(from, until)| (from..until).contains(&now)) {
            (self.slots, self.marker) = (self.slots + due, true);
            // Whoever speaks first after a long silence is heard: that is to be the stream itself.
            self.moved_at = self.slots;
            return;
        }
        (0..due).for_each(|_| self.one_slot(now, out));
        if self.prng.chance(self.habits.burst) {
            self.held_back = 1 + self.prng.below(8);
        }
        if self.prng.chance(self.habits.stall) {
            self.start = self.start + Duration::from_millis(200 + self.prng.below(500));
            self.diary.borrow_mut().stalls.push(now);
        }
    }
}
