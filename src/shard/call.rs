//! A call on its shard: opening, packets, ticks, the end.
//!
//! ```text
//!   Opening ──ports bound, file there──▶ Live ──Close──▶ Draining ──horizon──▶ Ending ──all durable──▶ gone
//!      └────────────no room: Refused────────────────────────────────────────────▲
//! ```

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::Io;
use super::segment::Segment;
use super::window::Outcome;
use crate::base::Mono;
use crate::base::planted::{Bug, planted};
use crate::limits::{FORMAT_WAIT, PORT_TRIES_MAX, RTCP_INTERVAL, SOURCE_HOLD};
use crate::link::{CallId, Event, OpenCall, PauseHow, Refusal, SegmentPlan, TrackPlan, TrackReport};
use crate::media::{Counters, Fate, Payload, SampleFormat, Track, Verdict};
use crate::ring::{Completion, Errno, FileIx, Op, SocketIx};
use crate::rtp::{Packet, rtcp};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Opening,
    Live,
    /// Packets on the way are still taken until this position.
    Draining {
        until: u64,
    },
    Ending,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Port {
    Idle,
    Binding,
    Open,
    Closing,
}

/// The network side of a track.
struct Leg {
    payloads: [Option<Payload>; 128],
    /// The even port of the pair it has.
    pair: Option<u16>,
    /// RTP and RTCP.
    ports: [Port; 2],
    bind_failed: Option<Errno>,
    rtcp_mux: bool,
    /// Where RTP was announced to come from, and who was heard last, when.
    rtp_from: Option<SocketAddr>,
    talking: Option<(SocketAddr, Mono)>,
    rtcp_to: Option<SocketAddr>,
    /// Where its RTCP really comes from: a better address than the one announced.
    rtcp_heard: Option<SocketAddr>,
}

/// A datagram as the ring handed it over.
pub struct Datagram<'a> {
    /// Whether it came to the RTCP port.
    pub on_rtcp_port: bool,
    /// Its source.
    pub from: SocketAddr,
    /// When it came.
    pub arrival: Mono,
    /// Its bytes.
    pub payload: &'a [u8],
    /// Whether it was cut.
    pub truncated: bool,
}

/// One call.
pub struct Call {
    /// Its name.
    pub id: CallId,
    phase: Phase,
    /// The zero of its timeline.
    zero: Mono,
    bind: IpAddr,
    ssrc: u32,
    media: Vec<Track>,
    legs: Vec<Leg>,
    segment: Segment,
    finishing: VecDeque<Segment>,
    /// The format to assume when no packet has told it.
    format: SampleFormat,
    /// Whether any audio has been placed.
    heard: bool,
    bind_tries: u32,
    refusal: Option<Refusal>,
    paused: Option<PauseHow>,
    report_at: Mono,
    end: u64,
}

impl Call {
    /// Starts opening: ports are bound and the file is made from the next tick on.
    pub fn open(plan: OpenCall, file: FileIx, now: Mono) -> Result<Call, Refusal> {
        let mut segment = Segment::new(plan.segment.segment, file, 0);
        segment.plan(plan.segment).map_err(Refusal::File)?;
        let mut call = Call {
            id: plan.call,
            phase: Phase::Opening,
            zero: now,
            bind: plan.bind,
            ssrc: plan.ssrc,
            media: (0..plan.tracks.len()).map(|number| Track::new(number as u8)).collect(),
            legs: plan.tracks.iter().map(|_| Leg::new()).collect(),
            segment,
            finishing: VecDeque::with_capacity(2),
            format: plan.format,
            heard: false,
            bind_tries: 0,
            refusal: None,
            paused: None,
            report_at: now + RTCP_INTERVAL,
            end: 0,
        };
        call.agree(&plan.tracks);
        Ok(call)
    }

    /// The session description changed. Answers with the ports of its tracks.
    pub fn update(&mut self, tracks: &[TrackPlan]) -> Result<Vec<u16>, Refusal> {
        if tracks.len() > self.legs.len() {
            return Err(Refusal::Full);
        }
        self.agree(tracks);
        Ok(self.legs.iter().filter_map(|leg| leg.pair).collect())
    }

    /// From now on audio that comes is thrown away.
    pub fn pause(&mut self, how: PauseHow) {
        self.paused = Some(how);
        self.media.iter_mut().for_each(|track| track.pause(true));
    }

    /// Ends the pause.
    pub fn resume(&mut self) {
        self.paused = None;
        self.media.iter_mut().for_each(|track| track.pause(false));
    }

    /// Payload types, hold, where reports go.
    fn agree(&mut self, tracks: &[TrackPlan]) {
        for ((leg, media), plan) in self.legs.iter_mut().zip(&mut self.media).zip(tracks) {
            leg.payloads = [None; 128];
            for &(payload_type, payload) in &plan.payloads {
                if let Some(slot) = leg.payloads.get_mut(usize::from(payload_type)) {
                    *slot = Some(payload);
                }
            }
            (leg.rtp_from, leg.talking) = (plan.rtp_from, None);
            leg.rtcp_to = plan.rtcp_to;
            leg.rtcp_heard = None;
            leg.rtcp_mux = plan.rtcp_mux;
            media.hold(plan.held);
        }
    }

    /// The plan of the segment that was asked for.
    pub fn plan_segment(&mut self, plan: SegmentPlan) {
        // Block 0 is as long as the first segment's, which fitted.
        let _ = self.segment.plan(plan);
    }

    /// The call is over: what is on its way is still taken for the horizon.
    pub fn close(&mut self, horizon: u64, now: Mono) {
        match self.phase {
            Phase::Opening => self.refuse(Refusal::Closed),
            Phase::Live => {
                self.end = self.position(now);
                self.phase = Phase::Draining { until: self.end + horizon };
            }
            Phase::Draining { .. } | Phase::Ending => {}
        }
    }

    /// Whether packets are taken.
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live | Phase::Draining { .. })
    }

    /// The sum of its tracks' ledgers.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.media.iter().for_each(|track| sum.add(&track.counters));
        sum
    }

    /// The kernel dropped datagrams of this track for want of room.
    pub fn kernel_drops(&mut self, track: usize, count: u32) {
        self.media[track].counters.kernel_drops += u64::from(count);
    }

    /// Takes one datagram and counts it under one fate.
    pub fn received(&mut self, track: usize, datagram: &Datagram<'_>, io: &mut Io<'_>) {
        let fate = if datagram.truncated {
            Fate::Truncated
        } else if datagram.on_rtcp_port || (self.legs[track].rtcp_mux && rtcp::is_rtcp(datagram.payload)) {
            self.rtcp(track, datagram)
        } else {
            self.rtp(track, datagram, io)
        };
        if !(planted(Bug::CounterMissed) && fate == Fate::Duplicate) {
            self.media[track].counters.count(fate);
        }
    }

    fn rtp(&mut self, track: usize, datagram: &Datagram<'_>, io: &mut Io<'_>) -> Fate {
        let Ok(packet) = Packet::parse(datagram.payload) else { return Fate::Malformed };
        let Some(payload) = self.legs[track].payloads[usize::from(packet.payload_type & 0x7f)] else {
            return Fate::WrongPayloadType;
        };
        if self.legs[track].is_foreign(datagram.from, datagram.arrival) {
            return Fate::WrongSource;
        }
        if self.paused.is_some() {
            return Fate::Paused;
        }
        let arrival = self.position(datagram.arrival);
        let verdict = self.media[track].receive(&packet, payload, (datagram.arrival, arrival));
        let position = match verdict {
            Verdict::Audio { position } if planted(Bug::OffByOne) && packet.sequence % 64 == 0 => {
                position + 1
            }
            Verdict::Audio { position } => position,
            Verdict::Done(fate) => return fate,
        };
        let law = if payload == Payload::Pcma { SampleFormat::Alaw } else { SampleFormat::Mulaw };
        self.suit(law, io);
        let Some(window) = self.segment.window() else { return Fate::Overflow };
        let outcome = window.place((io.blocks, io.coverage), track, position, law, packet.payload);
        self.account(track, packet.ssrc, (position, packet.payload.len() as i64), outcome)
    }

    /// Tells the track what did not find its place, and names the packet's fate.
    fn account(&mut self, track: usize, ssrc: u32, (position, length): (i64, i64), outcome: Outcome) -> Fate {
        let media = &mut self.media[track];
        let end = position + length;
        media.late_run(ssrc, outcome.late == length as u64);
        if outcome.late > 0 && position + outcome.late as i64 > 0 {
            media.late(position.max(0) as u64, (position + outcome.late as i64) as u64);
        }
        if outcome.overflow > 0 {
            media.overflow((end - outcome.overflow as i64).max(0) as u64, end as u64);
        }
        match outcome {
            Outcome { placed: 1.., .. } => Fate::Placed,
            Outcome { overflow: 1.., .. } => Fate::Overflow,
            Outcome { late: 1.., .. } => Fate::Late,
            _ => Fate::Overlap,
        }
    }

    /// Makes the segment able to hold `law` without loss.
    fn suit(&mut self, law: SampleFormat, io: &mut Io<'_>) {
        let heard = std::mem::replace(&mut self.heard, true);
        match self.segment.format() {
            None => self.segment.decide(law, self.media.len()),
            Some(format) if format == law || format == SampleFormat::Pcm16 => {}
            // Silence alone does not bind the call to a law; audio of both needs PCM16, and stays with it.
            Some(_) => self.reformat(if heard { SampleFormat::Pcm16 } else { law }, io),
        }
    }

    fn reformat(&mut self, format: SampleFormat, io: &mut Io<'_>) {
        if self.segment.untouched() {
            self.segment.convert(format, self.media.len(), io);
        } else {
            self.roll(format, io);
        }
    }

    /// Begins the next segment; the control core is asked for its plan.
    fn roll(&mut self, format: SampleFormat, io: &mut Io<'_>) {
        let Some(file) = io.files.take(io.slot) else { return };
        let next = self.segment.roll(file, format, self.media.len(), io);
        self.finishing.push_back(std::mem::replace(&mut self.segment, next));
        io.events.push(Event::SegmentWanted { call: self.id });
    }

    fn rtcp(&mut self, track: usize, datagram: &Datagram<'_>) -> Fate {
        let mut fate = Fate::Malformed;
        for packet in rtcp::compound(datagram.payload) {
            match packet {
                Ok(rtcp::Rtcp::SenderReport { ssrc, ntp, .. }) => {
                    self.media[track].sender_report(ssrc, ntp, datagram.arrival);
                    fate = Fate::Rtcp;
                }
                Ok(_) => fate = Fate::Rtcp,
                Err(_) => break,
            }
        }
        if fate == Fate::Rtcp {
            self.legs[track].rtcp_heard = Some(datagram.from);
        }
        fate
    }

    /// The answer to an op on one of its sockets.
    pub fn socket_completed(
        &mut self,
        track: usize,
        rtcp: bool,
        completion: &Completion<'_>,
        io: &mut Io<'_>,
    ) {
        let leg = &mut self.legs[track];
        let port = &mut leg.ports[usize::from(rtcp)];
        match completion {
            Completion::Bound { result: Ok(_), .. } => *port = Port::Open,
            Completion::Bound { result: Err(errno), .. } => {
                *port = Port::Idle;
                leg.bind_failed = Some(*errno);
            }
            _ => *port = Port::Idle,
        }
        if leg.ports == [Port::Idle; 2]
            && let Some(pair) = leg.pair.take()
        {
            io.ports.rest(pair, io.now);
        }
    }

    /// The answer to an op on one of its files.
    pub fn file_completed(&mut self, file: FileIx, completion: &Completion<'_>, io: &mut Io<'_>) {
        let segment = self.finishing.iter_mut().find(|segment| segment.file == file);
        segment.unwrap_or(&mut self.segment).complete(completion, io);
    }

    /// Whether ports or file are still on their way.
    pub fn is_opening(&self) -> bool {
        self.phase == Phase::Opening
    }

    /// Whether it is neither opening nor ending: nobody waits for its next step.
    pub fn is_settled(&self) -> bool {
        self.phase == Phase::Live
    }

    /// One tick. True when nothing of the call is left.
    pub fn tick(&mut self, horizon: u64, io: &mut Io<'_>) -> bool {
        let now = self.position(io.now);
        match self.phase {
            Phase::Opening => self.open_further(io),
            Phase::Live => self.live(now, horizon, io),
            Phase::Draining { until } if now < until => self.live(now, horizon, io),
            Phase::Draining { .. } => self.finish(io),
            Phase::Ending => self.close_ports(io),
        }
        self.segment.seal(now.saturating_sub(horizon), &mut self.media, io);
        self.segment.drive(now, io);
        for segment in &mut self.finishing {
            segment.drive(now, io);
        }
        while self.finishing.front().is_some_and(Segment::done) {
            let segment = self.finishing.pop_front();
            segment.into_iter().for_each(|segment| self.report_segment(&segment, io));
        }
        let call = self.id;
        for track in &mut self.media {
            track.take_settled(|interval| io.events.offer(Event::Interval { call, interval }));
        }
        self.phase == Phase::Ending && self.ended(io)
    }

    fn open_further(&mut self, io: &mut Io<'_>) {
        if let Some(errno) = self.segment.failure() {
            return self.refuse(Refusal::File(errno.to_string()));
        }
        for track in 0..self.legs.len() {
            if let Err(refusal) = self.bind_leg(track, io) {
                return self.refuse(refusal);
            }
        }
        let bound = self.legs.iter().all(|leg| leg.ports == [Port::Open; 2]);
        if bound && self.segment.ready() {
            self.phase = Phase::Live;
            self.zero = io.now;
            let ports = self.legs.iter().filter_map(|leg| leg.pair).collect();
            io.events.push(Event::Opened { call: self.id, ports, started: self.zero });
        }
    }

    /// Gives the track a port pair; another one if somebody else holds the first.
    fn bind_leg(&mut self, track: usize, io: &mut Io<'_>) -> Result<(), Refusal> {
        let leg = &mut self.legs[track];
        match leg.ports {
            [Port::Idle, Port::Idle] => {
                if let Some(errno) = leg.bind_failed.take() {
                    self.bind_tries += 1;
                    if self.bind_tries >= PORT_TRIES_MAX {
                        return Err(Refusal::Ports(errno.to_string()));
                    }
                }
                let free = io.ports.take(io.now);
                let pair = free.ok_or_else(|| Refusal::Ports("every port pair is in use".to_owned()))?;
                leg.pair = Some(pair);
                leg.ports = [Port::Binding; 2];
                for port in [pair, pair + 1] {
                    let socket = io.ports.slot(port);
                    io.sockets[socket.0 as usize] = Some((io.slot, track as u8));
                    io.outbox.push(Op::Bind { socket, at: SocketAddr::new(self.bind, port) });
                }
            }
            [Port::Binding, _] | [_, Port::Binding] => {}
            _ if leg.bind_failed.is_some() => leg.close(io),
            _ => {}
        }
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusal = Some(refusal);
        self.phase = Phase::Ending;
    }

    fn live(&mut self, now: u64, horizon: u64, io: &mut Io<'_>) {
        if self.segment.format().is_none() && now >= FORMAT_WAIT.as_millis() as u64 * 8 {
            self.segment.decide(self.format, self.media.len());
        }
        if self.segment.full()
            && let Some(format) = self.segment.format()
        {
            self.roll(format, io);
        }
        if io.now >= self.report_at {
            self.report_at = io.now + RTCP_INTERVAL;
            self.send_reports(now.saturating_sub(horizon.max(RTCP_INTERVAL.as_millis() as u64 * 8)), io);
        }
    }

    /// Receiver reports (RFC 3550 section 6.4.2), so that the client's media supervision stays quiet.
    fn send_reports(&mut self, heard_since: u64, io: &mut Io<'_>) {
        let cname = format!("{:08x}@tapehead", self.ssrc);
        for (leg, media) in self.legs.iter().zip(&mut self.media) {
            let (Some(to), Some(pair)) = (leg.rtcp_heard.or(leg.rtcp_to), leg.pair) else { continue };
            let mut blocks = Vec::new();
            media.report(io.now, heard_since, |block| blocks.push(block));
            let mut bytes = Vec::new();
            rtcp::write_rr(self.ssrc, &blocks, &cname, &mut bytes);
            let socket = io.ports.slot(if leg.rtcp_mux { pair } else { pair + 1 });
            io.outbox.push(Op::SendTo { socket, to, bytes: bytes.into() });
        }
    }

    /// The horizon has passed: nothing more is taken, everything is sealed.
    fn finish(&mut self, io: &mut Io<'_>) {
        if self.segment.format().is_none() {
            self.segment.decide(self.format, self.media.len());
        }
        let heard_until = self.media.iter().map(Track::frontier).max().unwrap_or(0);
        self.end = self.end.max(heard_until);
        self.segment.finish(self.end);
        self.phase = Phase::Ending;
        self.close_ports(io);
    }

    fn close_ports(&mut self, io: &mut Io<'_>) {
        self.legs.iter_mut().for_each(|leg| leg.close(io));
        if self.refusal.is_some() {
            self.segment.abandon(io);
        }
    }

    /// Whether everything has come home; says so to the control core.
    fn ended(&mut self, io: &mut Io<'_>) -> bool {
        let idle = self.legs.iter().all(|leg| leg.ports == [Port::Idle; 2]);
        if !idle || !self.segment.done() || !self.finishing.is_empty() {
            return false;
        }
        let call = self.id;
        if let Some(reason) = self.refusal.take() {
            io.files.give(self.segment.file);
            io.events.push(Event::Refused { call, reason });
            return true;
        }
        let report = Box::new(self.segment.report());
        io.files.give(self.segment.file);
        for track in &mut self.media {
            track.finish();
            track.take_settled(|interval| {
                io.events.push(Event::Interval { call, interval });
                true
            });
        }
        io.events.push(Event::SegmentClosed { call, report });
        let tracks = self.legs.iter().zip(&self.media).map(|(leg, media)| leg.report(media)).collect();
        io.events.push(Event::Closed { call, tracks, samples: self.end });
        true
    }

    fn report_segment(&self, segment: &Segment, io: &mut Io<'_>) {
        io.files.give(segment.file);
        io.events.push(Event::SegmentClosed { call: self.id, report: Box::new(segment.report()) });
    }

    /// Samples since the zero: 8 per millisecond.
    fn position(&self, at: Mono) -> u64 {
        at.0.saturating_sub(self.zero.0) / 125_000
    }
}

impl Leg {
    fn new() -> Leg {
        Leg {
            payloads: [None; 128],
            pair: None,
            ports: [Port::Idle; 2],
            bind_failed: None,
            rtcp_mux: false,
            rtp_from: None,
            talking: None,
            rtcp_to: None,
            rtcp_heard: None,
        }
    }

    /// Whether a packet comes from somebody else than who is talking. Who was announced is always right; anybody else may speak when the last
    /// one has fallen silent, because sources move and NAT hides them.
    fn is_foreign(&mut self, from: SocketAddr, at: Mono) -> bool {
        let foreign = self.talking.is_some_and(|(talking, heard)| {
            talking != from && self.rtp_from != Some(from) && at.since(heard) < SOURCE_HOLD
        });
        if !foreign {
            self.talking = Some((from, at));
        }
        foreign
    }

    /// Closes what is open; what is being bound is closed when it is.
    fn close(&mut self, io: &mut Io<'_>) {
        let Some(pair) = self.pair else { return };
        for (port, state) in [pair, pair + 1].into_iter().zip(&mut self.ports) {
            if *state == Port::Open {
                *state = Port::Closing;
                let socket: SocketIx = io.ports.slot(port);
                io.outbox.push(Op::CloseSocket { socket });
            }
        }
    }

    fn report(&self, media: &Track) -> TrackReport {
        TrackReport {
            port: self.pair.unwrap_or(0),
            counters: media.counters,
            first: media.first(),
            anchors: media.anchors().to_vec(),
        }
    }
}
