//! The simulated control core: opens, holds, closes calls through the link, and keeps what the shards tell.

use std::net::SocketAddr;
use std::time::Duration;

use super::call::{HOST, Progress, SimTrack};
use super::peer::{Route, Stream};
use super::world::{Later, World};
use crate::base::Mono;
use crate::link::{Command, Event};
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
            Later::Hold { call, track, held } => {
                if self.calls[call].progress == Progress::Live {
                    self.calls[call].tracks[track].held = held;
                    let (id, tracks) = (self.calls[call].id(), self.calls[call].track_plans());
                    self.tell(call, Command::Update { call: id, revision: 0, tracks });
                }
            }
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
        let of = |call: crate::link::CallId| call.0 as usize - 1;
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
            Event::Updated { .. } | Event::Media { .. } | Event::Silence { .. } => {}
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
        let mut machine = self.machine.borrow_mut();
        for (number, (track, &port)) in call.tracks.iter_mut().zip(ports).enumerate() {
            track.port = port;
            let from = SocketAddr::from(([10, 0, 0, 2], 20_000 + 2 * (call.number * 16 + number as u16)));
            let to = SocketAddr::new(HOST, port);
            let rtcp_to = if track.rtcp_mux { to } else { SocketAddr::new(HOST, port + 1) };
            let start = now + Duration::from_millis(track.start_ms);
            let times = (start, start + Duration::from_millis(call.talk_ms));
            let id = (call.number, number as u8);
            let route = Route { from, to, rtcp_to };
            let (stream, diary) =
                Stream::new(id, route, track.habits.clone(), track.alaw, times, self.prng.u64());
            track.diary = Some(diary);
            machine.net.add(Box::new(stream));
            if self.prng.chance(150) {
                let at = |ms: u64| now + Duration::from_millis(ms);
                let hold = 200 + self.prng.below(2000);
                let resume = hold + self.prng.below(1500);
                self.later.push((at(hold), Later::Hold { call: index, track: number, held: true }));
                self.later.push((at(resume), Later::Hold { call: index, track: number, held: false }));
            }
        }
    }
}
