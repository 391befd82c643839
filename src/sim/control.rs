//! The simulated control core: opens, holds, closes calls through the link, and keeps what the shards tell.

use std::net::SocketAddr;
use std::time::Duration;

use super::call::{HOST, Progress, SimPause, SimTrack};
use super::peer::{Habits, Route, Stream};
use super::world::{Later, World};
use crate::base::Mono;
use crate::limits::TRACKS_MAX;
use crate::link::{CallId, Command, Event, PauseHow, Refusal};
use crate::ring::sim::net::Class;
use crate::rtp::rtcp::{self, Rtcp};

impl World {
    fn tell(&mut self, call: usize, command: Command) {
        let shard = self.calls[call].shard;
        if self.processes[shard].control.commands.push(command).is_err() {
            self.violation("a shard does not take its commands".to_owned());
        }
    }

    pub(super) fn act(&mut self) {
        let now = self.now();
        for call in 0..self.calls.len() {
            match self.calls[call].progress {
                Progress::Planned(at) if at <= now => self.open(call),
                Progress::Live => self.perhaps_close(call, now),
                _ => {}
            }
        }
        let due: Vec<Later> = {
            let (due, rest) = std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= now);
            self.later = rest;
            let due: Vec<(Mono, Later)> = due;
            due.into_iter().map(|(_, later)| later).collect()
        };
        for later in due {
            self.do_later(later);
        }
    }

    fn do_later(&mut self, later: Later) {
        match later {
            Later::Segment { call } => {
                self.calls[call].segments_wanted += 1;
                let segment = self.calls[call].segments_wanted;
                self.expect_segment(call, segment);
                let plan = Box::new(self.calls[call].segment_plan(segment));
                self.tell(call, Command::Segment(plan));
            }
            Later::Hold { call, .. }
            | Later::Grow { call }
            | Later::Pause { call, .. }
            | Later::Resume { call }
                if self.calls[call].progress != Progress::Live => {}
            Later::Hold { call, track, held } => {
                let held_track = &mut self.calls[call].tracks[track];
                held_track.held = held;
                if let Some(diary) = &held_track.diary {
                    diary.borrow_mut().frozen = held && held_track.habits.freezes;
                }
                let (id, tracks) = (self.calls[call].id(), self.calls[call].track_plans());
                self.tell(call, Command::Update { call: id, revision: 0, tracks });
            }
            Later::Grow { call } => self.grow(call),
            Later::Pause { call, how } => {
                let (from, it) = (self.now(), &mut self.calls[call]);
                it.cut |= how == PauseHow::Cut;
                if it.pauses.last().is_none_or(|pause| pause.until.is_some()) {
                    it.pauses.push(SimPause { from, until: None });
                }
                let id = it.id();
                self.tell(call, Command::Pause { call: id, how });
            }
            Later::Resume { call } => {
                let (now, it) = (self.now(), &mut self.calls[call]);
                it.pauses.iter_mut().for_each(|pause| _ = pause.until.get_or_insert(now));
                let id = it.id();
                self.tell(call, Command::Resume { call: id });
            }
        }
    }

    /// Asks for one or two tracks more.
    fn grow(&mut self, index: usize) {
        let call = &mut self.calls[index];
        // Seven tracks have eight channels: which segment is the first to have the eighth track could not be told.
        if call.growing.is_some() || call.tracks.len() + 2 > TRACKS_MAX || call.tracks.len() + 1 == 7 {
            return;
        }
        let (alaw, more) = (call.tracks[0].alaw, if call.tracks.len() == 5 { 1 } else { 2 });
        let tracks = (0..1 + self.prng.below(more))
            .map(|_| SimTrack::drawn(Habits::plain_of, alaw, &mut self.prng))
            .collect();
        call.revisions += 1;
        call.grew = true;
        call.growing = Some((call.revisions, tracks));
        let update =
            Command::Update { call: call.id(), revision: call.revisions, tracks: call.growing_plans() };
        self.tell(index, update);
    }

    /// The answer to an update: ports never change, and there are more of them only where they were asked for.
    fn updated(&mut self, index: usize, revision: u32, result: Result<Vec<u16>, Refusal>) {
        self.note("updated", &[index as u64 + 1, revision.into(), result.is_ok().into()]);
        let call = &mut self.calls[index];
        let asked = call.growing.take_if(|(asked, _)| *asked == revision);
        let mut ports: Vec<u16> = call.tracks.iter().map(|track| track.port).collect();
        match (result, asked) {
            (Err(_), Some(_)) => {}
            (Err(why), None) => self.violation(format!("call {}: an update is refused: {why:?}", index + 1)),
            (Ok(told), asked) => {
                let (first, live) = (ports.len(), call.progress == Progress::Live);
                call.tracks.extend(asked.into_iter().flat_map(|(_, tracks)| tracks));
                ports.extend(told.iter().skip(first));
                if ports != told || told.len() != call.tracks.len() {
                    return self
                        .violation(format!("call {}: ports {told:?} instead of {ports:?}", index + 1));
                }
                call.tracks.iter_mut().zip(&told).for_each(|(track, port)| track.port = *port);
                (first..told.len()).filter(|_| live).for_each(|track| self.begin_stream(index, track));
            }
        }
    }

    /// What is told of media agrees with what was handed over.
    fn told_of_media(&mut self, index: usize, flowing: bool) {
        self.note("media", &[index as u64 + 1, flowing.into()]);
        let call = &mut self.calls[index];
        if std::mem::replace(&mut call.flowing, flowing) == flowing {
            self.violation(format!("call {}: it is told twice that media flow: {flowing}", index + 1));
        }
    }

    fn told_of_silence(&mut self, index: usize, since: Mono) {
        self.note("silence", &[index as u64 + 1, since.0]);
        let call = &self.calls[index];
        let moved = |track: &SimTrack| track.diary.as_ref().is_some_and(|d| !d.borrow().moves.is_empty());
        let machine = self.machine.borrow();
        let heard = machine.net.book().iter().any(|sent| {
            let audio = sent.label.call == call.number && matches!(sent.label.class, Class::Audio { .. });
            audio && sent.handed.iter().any(|&(_, arrival)| arrival > since)
        });
        drop(machine);
        if heard && !call.tracks.iter().any(moved) {
            self.violation(format!("call {}: silence is told while audio comes", index + 1));
        }
    }

    fn expect_segment(&mut self, call: usize, segment: u32) {
        let call = &self.calls[call];
        let plan = call.segment_plan(segment);
        self.witness.expect(&plan.path, &plan.key, plan.seed, &plan.block0);
    }

    fn open(&mut self, call: usize) {
        self.calls[call].progress = Progress::Opening;
        self.expect_segment(call, 1);
        let open = Box::new(self.calls[call].open());
        self.tell(call, Command::Open(open));
    }

    fn perhaps_close(&mut self, index: usize, now: Mono) {
        let call = &self.calls[index];
        let started = call.started.unwrap_or(now);
        let early = call.hang_up_early_ms.is_some_and(|ms| now.since(started) >= Duration::from_millis(ms));
        let done = call.is_silent() && self.machine.borrow().net.is_quiet(HOST);
        if early || done {
            self.calls[index].clean = done;
            self.calls[index].progress = Progress::Closing;
            // Who hangs up soon stops sending; well before the ports serve another call.
            self.calls[index].stop(now + Duration::from_millis(self.prng.below(600)));
            let call = self.calls[index].id();
            self.tell(index, Command::Close { call });
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        let of = |call: CallId| call.0 as usize - 1;
        match event {
            Event::Opened { call, ports, started } => self.opened(of(call), &ports, started),
            Event::Refused { call, .. } => {
                self.note("refused", &[call.0]);
                self.calls[of(call)].progress = Progress::Refused;
            }
            Event::Interval { call, interval } => {
                let cause = interval.cause as u64;
                self.note("interval", &[call.0, interval.track.into(), interval.start, interval.end, cause]);
                self.calls[of(call)].intervals.push(interval);
            }
            Event::SegmentWanted { call } => {
                let at = self.now() + Duration::from_millis(self.prng.below(300));
                self.later.push((at, Later::Segment { call: of(call) }));
            }
            Event::SegmentClosed { call, report } => {
                let durable = report.durable.is_ok();
                self.note("segment-closed", &[call.0, report.segment.into(), report.samples, durable.into()]);
                let machine = self.machine.borrow();
                let content =
                    machine.disk.find(&report.path).map(|inode| machine.disk.content(inode).to_vec());
                drop(machine);
                if durable && content.is_none() {
                    self.violation(format!("{} is durable but not there", report.path.display()));
                }
                self.calls[of(call)].segments.push((*report, content.filter(|_| durable)));
            }
            Event::Closed { call, tracks, samples } => {
                self.note("closed", &[call.0, samples]);
                let call = &mut self.calls[of(call)];
                call.end = Some((tracks, samples));
                call.progress = Progress::Closed;
            }
            Event::Updated { call, revision, result } => self.updated(of(call), revision, result),
            Event::Media { call, flowing } => self.told_of_media(of(call), flowing),
            Event::Silence { call, since } => self.told_of_silence(of(call), since),
            Event::Stats(_) | Event::Stopped => {}
        }
    }

    /// Every datagram that a shard sends is a receiver report about streams that are there (RFC 3550 section 6.4.2).
    pub(super) fn look_at_reports(&mut self) {
        let sent = self.machine.borrow_mut().net.take_outbox();
        for (from, to, bytes) in sent {
            if let Err(what) = self.check_report(&bytes) {
                self.violation(format!("{from} sends to {to}: {what}"));
            }
        }
    }

    fn check_report(&self, bytes: &[u8]) -> Result<(), String> {
        let packets: Result<Vec<Rtcp<'_>>, _> = rtcp::compound(bytes).collect();
        let packets = packets.map_err(|why| format!("no RTCP: {why:?}"))?;
        let [Rtcp::ReceiverReport { ssrc, reports }, Rtcp::SourceDescription(mut items)] = packets[..] else {
            return Err("not a receiver report with its CNAME".to_owned());
        };
        let call = self.calls.iter().find(|call| call.ssrc() == ssrc).ok_or("a stranger's SSRC")?;
        if !items.any(|(source, kind, name)| source == ssrc && kind == rtcp::CNAME && !name.is_empty()) {
            return Err("no CNAME".to_owned());
        }
        for block in reports {
            let sends = |track: &SimTrack| {
                let diary = track.diary.as_ref().map(|diary| diary.borrow());
                diary.is_some_and(|diary| diary.epochs.iter().any(|epoch| epoch.ssrc == block.ssrc))
            };
            if !call.tracks.iter().any(sends) || block.highest >> 16 > 1 {
                return Err(format!("a report about nobody: {block:?}"));
            }
        }
        Ok(())
    }

    pub(super) fn note(&self, name: &'static str, numbers: &[u64]) {
        self.machine.borrow_mut().note(name, numbers);
    }

    /// The call is answered: its clients begin to send.
    fn opened(&mut self, index: usize, ports: &[u16], started: Mono) {
        let now = self.now();
        self.note("opened", &[index as u64 + 1, started.0]);
        let call = &mut self.calls[index];
        call.started = Some(started);
        call.progress = Progress::Live;
        call.tracks.iter_mut().zip(ports).for_each(|(track, port)| track.port = *port);
        (0..ports.len()).for_each(|track| self.begin_stream(index, track));
        self.foresee(index, now);
    }

    /// The client begins to send one of its streams.
    fn begin_stream(&mut self, index: usize, number: usize) {
        let (now, seed) = (self.now(), self.prng.u64());
        let call = &mut self.calls[index];
        let at = |ms: u64| call.started.unwrap_or(now) + Duration::from_millis(ms);
        let end = at(call.talk_ms + 600);
        let quiet = call.quiet_ms.map(|(from, until)| (at(from), at(until)));
        let track = &mut call.tracks[number];
        let from = SocketAddr::from(([10, 0, 0, 2], 20_000 + 64 * (call.number * 8 + number as u16)));
        let to = SocketAddr::new(HOST, track.port);
        let rtcp_to = if track.rtcp_mux { to } else { SocketAddr::new(HOST, track.port + 1) };
        let start = now + Duration::from_millis(track.start_ms);
        let route = Route { from, to, rtcp_to };
        let id = (call.number, number as u8);
        let (stream, diary) =
            Stream::new(id, route, track.habits.clone(), track.alaw, (start, end.max(start)), quiet, seed);
        track.diary = Some(diary);
        self.machine.borrow_mut().net.add(Box::new(stream));
    }

    /// What will be done to the call while it lives.
    fn foresee(&mut self, call: usize, now: Mono) {
        let at = |ms: u64| now + Duration::from_millis(ms);
        let quiet = self.calls[call].quiet_ms.map_or(0, |(from, until)| until - from);
        for track in 0..self.calls[call].tracks.len() {
            if self.prng.chance(150) {
                let hold = 200 + self.prng.below(2000);
                let resume = hold + self.prng.below(1500);
                self.later.push((at(hold), Later::Hold { call, track, held: true }));
                self.later.push((at(resume), Later::Hold { call, track, held: false }));
            }
        }
        while self.prng.chance(200) {
            let how = if self.prng.chance(500) { PauseHow::Cut } else { PauseHow::Silence };
            let pause = self.prng.below(2500 + quiet);
            self.later.push((at(pause), Later::Pause { call, how }));
            if self.prng.chance(850) {
                self.later.push((at(pause + self.prng.below(2500)), Later::Resume { call }));
            }
        }
        if self.prng.chance(200) {
            self.later.push((at(self.prng.below(2500 + quiet)), Later::Grow { call }));
        }
    }
}
