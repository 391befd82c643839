//! A call on its shard: opening, packets, ticks, the end.
//!
//! ```text
//!   Opening ──ports bound, file there──▶ Live ──Close──▶ Draining ──horizon──▶ Ending ──all durable──▶ gone
//!      └────────────no room: Refused────────────────────────────────────────────▲
//! ```

mod change;
mod flow;
mod leg;
mod pause;
mod receive;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::Io;
use super::segment::Segment;
use super::window::{Coverage, Window};
use crate::base::Mono;
use crate::limits::{FORMAT_WAIT, LIVE_CALL_TICKS, PACKET_SAMPLES_USUAL, RTCP_INTERVAL, TICK};
use crate::link::{CallId, Event, OpenCall, Refusal, SegmentPlan};
use crate::media::{Counters, SampleFormat, Track};
use crate::ring::{Completion, FileIx, Op};
use crate::rtp::rtcp;
use crate::sys::cache;
use crate::sys::memory::BlockPool;
use change::Growth;
use flow::Flow;
use leg::{Leg, Port};
use pause::Pause;
pub use receive::Datagram;

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
    growth: Option<Growth>,
    flow: Flow,
    pause: Option<Pause>,
    /// The segment has ended at a cut, and the control core knows.
    reported: bool,
    report_at: Mono,
    horizon: u64,
    end: u64,
}

impl Call {
    /// Starts opening: ports are bound and the file is made from the next tick on.
    pub fn open(plan: OpenCall, file: FileIx, horizon: u64, now: Mono) -> Result<Call, Refusal> {
        let mut segment = Segment::new(plan.segment.segment, file, 0);
        segment.plan(plan.segment).map_err(Refusal::File)?;
        let mut call = Call {
            id: plan.call,
            phase: Phase::Opening,
            zero: now,
            bind: plan.bind,
            ssrc: plan.ssrc,
            media: (0..plan.tracks.len()).map(|number| Track::new(number as u8, horizon)).collect(),
            legs: plan.tracks.iter().map(|_| Leg::new()).collect(),
            segment,
            finishing: VecDeque::with_capacity(2),
            format: plan.format,
            heard: false,
            bind_tries: 0,
            refusal: None,
            growth: None,
            flow: Flow::default(),
            pause: None,
            reported: false,
            report_at: now + RTCP_INTERVAL,
            horizon,
            end: 0,
        };
        call.agree(&plan.tracks);
        Ok(call)
    }

    /// The plan of the segment that was asked for.
    pub fn plan_segment(&mut self, plan: SegmentPlan) {
        // One that ended before its plan came still waits for it. Block 0 is as long as the first segment's, which fitted.
        let waiting = self.finishing.iter_mut().find(|segment| segment.number == plan.segment);
        let _ = waiting.unwrap_or(&mut self.segment).plan(plan);
    }

    /// The call is over: what is on its way is still taken for the horizon.
    pub fn close(&mut self, horizon: u64, now: Mono) {
        match self.phase {
            Phase::Opening => self.refuse(Refusal::Closed),
            Phase::Live => {
                self.end = self.position(now);
                // Its client has hung up; nobody waits for the answer.
                self.growth = None;
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
        if let Some(media) = self.media.get_mut(track) {
            media.counters.kernel_drops += u64::from(count);
        }
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

    /// Whether ports or file are still on their way, and a client waits for its answer.
    pub fn is_opening(&self) -> bool {
        self.phase == Phase::Opening || self.growth.is_some()
    }

    /// Whether it is neither opening nor ending: nobody waits for its next step.
    pub fn is_settled(&self) -> bool {
        self.phase == Phase::Live && self.legs.len() == self.media.len()
    }

    /// When it wants to be looked at next, at the latest, if nothing happens to it before: when a frame is due, as a rule.
    pub fn look_at(&self, horizon: u64, io: &Io<'_>) -> Mono {
        if !self.is_settled() {
            return io.now;
        }
        let plain = self.pause.is_none() && self.finishing.is_empty();
        let told = !self.media.iter().any(Track::has_settled);
        match self.segment.idle_until() {
            Some(position) if plain && told => {
                let due = self.zero + Duration::from_micros((position + horizon) * 125);
                due.min(self.report_at).min(self.flow.look_at(io.silence_alarm))
            }
            _ => io.now + TICK * LIVE_CALL_TICKS,
        }
    }

    /// Whether its file needs nothing before the next frame is due.
    pub fn is_written(&self) -> bool {
        self.segment.idle_until().is_some()
    }

    /// Fetches into the cache what a look at it touches, once it is there itself.
    pub fn fetch_look(&self) {
        (0..self.media.len()).for_each(|track| self.fetch_track(track));
        self.segment.fetch();
    }

    /// Fetches into the cache what it holds of `track` in itself.
    pub fn fetch_track(&self, track: usize) {
        let (Some(media), Some(leg)) = (self.media.get(track), self.legs.get(track)) else { return };
        cache::fetch(media);
        cache::fetch(leg);
        self.segment.peek().into_iter().for_each(Window::fetch);
    }

    /// Fetches what `track` points to, once that is there: its sources, and where its next packet will be placed.
    pub fn fetch_place(&self, track: usize, blocks: &BlockPool, coverage: &Coverage) {
        let Some(media) = self.media.get(track) else { return };
        cache::fetch(media.sources());
        if let Some(window) = self.segment.peek() {
            window.fetch_place((blocks, coverage), track, media.frontier(), PACKET_SAMPLES_USUAL);
        }
    }

    /// Closes the frames for which nothing has come, if nothing has: such a call is seldom looked at. None behind where it is about to end.
    fn catch_up(&mut self, io: &mut Io<'_>) {
        if self.segment.peek().is_some_and(Window::is_empty) {
            let ends = if self.phase == Phase::Live {
                self.pause.and_then(|pause| pause.cut)
            } else {
                Some(self.end)
            };
            let closed = self.position(io.closed).min(ends.unwrap_or(u64::MAX));
            self.segment.seal(closed, &mut self.media, io);
        }
    }

    /// One tick. True when nothing of the call is left.
    pub fn tick(&mut self, horizon: u64, io: &mut Io<'_>) -> bool {
        let now = self.position(io.now);
        self.catch_up(io);
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
        self.report_cut(io);
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
        let (bind, tries) = (self.bind, &mut self.bind_tries);
        let mut legs = self.legs.iter_mut().enumerate();
        if let Err(refusal) = legs.try_for_each(|(track, leg)| leg.bind((track, bind), tries, io)) {
            return self.refuse(refusal);
        }
        let bound = self.legs.iter().all(Leg::is_bound);
        if bound && self.segment.ready() {
            self.phase = Phase::Live;
            self.zero = io.now;
            let ports = self.legs.iter().filter_map(|leg| leg.pair).collect();
            io.events.push(Event::Opened { call: self.id, ports, started: self.zero });
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusal = Some(refusal);
        self.phase = Phase::Ending;
    }

    fn live(&mut self, now: u64, horizon: u64, io: &mut Io<'_>) {
        if self.legs.len() > self.media.len() {
            self.grow_further(io);
        }
        self.tell_flow(io);
        self.perhaps_cut(now, horizon);
        if self.segment.format().is_none() && now >= FORMAT_WAIT.as_millis() as u64 * 8 {
            self.segment.decide(self.format, self.media.len());
        }
        if self.segment.full()
            && let Some(format) = self.segment.format()
        {
            self.reformat(format, self.media.len(), io);
        }
        if io.now >= self.report_at {
            self.report_at = io.now + RTCP_INTERVAL;
            if self.phase == Phase::Live {
                self.tell_cut(now);
            }
            self.send_reports(now.saturating_sub(horizon.max(RTCP_INTERVAL.as_millis() as u64 * 8)), io);
        }
    }

    /// Receiver reports (RFC 3550 section 6.4.2), so that the client's media supervision stays quiet.
    fn send_reports(&mut self, heard_since: u64, io: &mut Io<'_>) {
        let cname = format!("{:08x}@tapehead", self.ssrc);
        for (leg, media) in self.legs.iter_mut().zip(&mut self.media) {
            let (Some(to), Some(pair)) = (leg.reports_to(), leg.pair) else { continue };
            let mut blocks = Vec::new();
            media.report(io.now, heard_since, |block| blocks.push(block));
            let mut bytes = Vec::new();
            rtcp::write_rr(self.ssrc, &blocks, &cname, &mut bytes);
            if let Some(session) = &mut leg.srtp {
                session.protect_rtcp(&mut bytes);
            }
            let socket = io.ports.slot(if leg.rtcp_mux { pair } else { pair + 1 });
            io.outbox.push(Op::SendTo { socket, to, bytes: bytes.into() });
        }
    }

    /// The horizon has passed: nothing more is taken, everything is sealed.
    fn finish(&mut self, io: &mut Io<'_>) {
        if self.segment.format().is_none() {
            self.segment.decide(self.format, self.media.len());
        }
        let heard_until = self.media.iter().map(Track::heard_until).max().unwrap_or(0);
        self.end = self.end.max(heard_until);
        self.segment.finish(self.end);
        self.tell_cut(self.end);
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
        let idle = self.legs.iter().all(Leg::is_idle);
        if !idle || !self.segment.done() || !self.finishing.is_empty() {
            return false;
        }
        let call = self.id;
        if let Some(reason) = self.refusal.take() {
            io.files.give(self.segment.file);
            io.events.push(Event::Refused { call, reason });
            return true;
        }
        for track in &mut self.media {
            track.finish();
            track.take_settled(|interval| {
                io.events.push(Event::Interval { call, interval });
                true
            });
        }
        if !self.reported {
            self.report_segment(&self.segment, io);
        }
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
