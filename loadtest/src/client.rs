//! The signalling of a run: one SIP endpoint of the library, any number of calls, each from INVITE to the answer to its BYE.
//!
//! ```text
//!   INVITE ─▶ Inviting ─ 200 ─▶ Talking ─ its time is over, or all ends ─▶ Stopping ─ its streams have told how far they came ─▶ BYE ─▶ Leaving ─ 200 ─▶ a line in run.jsonl
//! ```
//!
//! Leaves out the media, which are [`crate::send`]'s: that is told when streams begin, and tells when they have ended.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use tapehead::base::{Mono, Wall};
use tapehead::sdp::Direction;
use tapehead::sip::{Action, Answer, DialogId, Endpoint, Event, Message, Peer};
use tapehead::sip_net::Transports;
use tapehead::srtp;
use tapehead::sys::clock;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::offer::{Offer, destinations};
use crate::plan::Plan;
use crate::profile::{Profile, profile_of};
use crate::ramp::Ramp;
use crate::record::{CallRecord, End, Recorder, TrackRecord};
use crate::send::stream::Start;
use crate::send::{Done, Order};
use crate::sys::Address;
use crate::tally::Tally;

/// Media begins so long after its 200: the sending thread has heard of it by then.
const LEAD: Duration = Duration::from_millis(3);
/// Calls are ended at least at this rate at the end of a run.
const END_RATE_MIN: f64 = 50.0;
/// Sockets need so long until they can send.
const SETTLE: Duration = Duration::from_millis(10);
/// How often the owner is shown how things stand.
const SHOW_EVERY: Duration = Duration::from_millis(250);
/// A re-INVITE that another transaction is in the way of is tried again after this long, ...
const RETRY: Duration = Duration::from_millis(200);
/// ... so often.
const RETRIES: u8 = 10;

/// A sending thread as calls see it.
pub struct Seat {
    /// What it is told.
    pub orders: mpsc::Sender<Order>,
    /// The ports it sends from.
    pub ports: Vec<u16>,
}

/// What calls are made with.
pub struct Means {
    /// The sockets of signalling.
    pub transports: Transports,
    /// The recorder.
    pub peer: Peer,
    /// Who sends.
    pub seats: Vec<Seat>,
    /// Streams that have ended.
    pub done: UnboundedReceiver<Done>,
    /// Where calls are written down.
    pub recorder: Recorder,
}

/// How things stand.
pub struct Standing<'a> {
    /// Since the run began.
    pub elapsed: Duration,
    /// Calls that are not yet over.
    pub calls: usize,
    /// Whether they are being ended.
    pub closing: bool,
    /// What has been counted.
    pub tally: &'a Tally,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Inviting,
    Talking,
    /// Its streams are ending; then we hang up, unless this says that the call is over already.
    Stopping(Option<End>),
    Leaving,
}

struct Call {
    dialog: DialogId,
    call_id: String,
    profile: Profile,
    offer: Offer,
    invited: (Mono, Wall),
    answer: Option<Duration>,
    media: Option<Wall>,
    tracks: Vec<TrackRecord>,
    /// Streams that have not told yet how far they came.
    running: usize,
    exhausted: bool,
    left: Option<Mono>,
    stage: Stage,
}

/// What is to be done with a call at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Mono,
    call: u64,
    hold: bool,
    tries: u8,
}

/// See the [module](self).
pub struct Client<'a> {
    plan: &'a Plan,
    run: u32,
    means: Means,
    endpoint: Endpoint,
    calls: BTreeMap<u64, Call>,
    dialogs: HashMap<DialogId, u64>,
    dues: BinaryHeap<Reverse<Due>>,
    ramp: Ramp,
    next_call: u64,
    started: Mono,
    /// Calls to be ended at the end of the run, and when the next.
    closing: Option<(VecDeque<u64>, Mono)>,
    shown: Mono,
    /// No call begins before this, for the recorder has said so.
    held_until: Mono,
    /// INVITEs and BYEs that went out, and those of them that were new.
    sent: u64,
    made: u64,
    /// What has been counted.
    pub tally: Tally,
}

impl<'a> Client<'a> {
    /// A client that has not called yet. `run` tells this run's Call-IDs from those of others with the same seed.
    pub fn new(plan: &'a Plan, run: u32, means: Means, endpoint: Endpoint) -> Client<'a> {
        let now = clock::mono();
        Client {
            plan,
            run,
            means,
            endpoint,
            calls: BTreeMap::new(),
            dialogs: HashMap::new(),
            dues: BinaryHeap::new(),
            ramp: Ramp::new(now, plan.calls, plan.rate, plan.total),
            next_call: 0,
            started: now,
            closing: None,
            shown: now,
            held_until: now,
            sent: 0,
            made: 0,
            tally: Tally::default(),
        }
    }

    /// Makes all calls and ends them. `interrupted` is waited for: once it comes the calls are ended, the second time they are left as they are.
    /// `show` is told how things stand now and then. What has been counted is returned, and whether the run was interrupted.
    pub async fn run(
        mut self,
        interrupted: &mut UnboundedReceiver<()>,
        mut show: impl FnMut(Standing<'_>),
    ) -> io::Result<(Tally, bool)> {
        let mut stop = false;
        // A socket is ready to send only once the runtime has heard of it: the first INVITE would be dropped.
        tokio::time::sleep(SETTLE).await;
        loop {
            let now = clock::mono();
            self.begin_calls(now);
            self.do_what_is_due(now);
            self.close_calls(now);
            self.act(now)?;
            if now >= self.shown + SHOW_EVERY {
                self.shown = now;
                show(self.standing(now));
            }
            if self.calls.is_empty() && self.ramp.is_closed() {
                break;
            }
            let wait = self.deadline(now).since(now);
            tokio::select! {
                inbound = self.means.transports.receive() => {
                    self.endpoint.receive(clock::mono(), inbound.peer, inbound.message);
                }
                Some(done) = self.means.done.recv() => self.on_done(done)?,
                () = tokio::time::sleep(wait) => {}
                Some(()) = interrupted.recv() => {
                    if std::mem::replace(&mut stop, true) {
                        break;
                    }
                    self.close(now);
                }
            }
        }
        show(self.standing(clock::mono()));
        self.tally.slipped = self.ramp.slipped();
        self.tally.calls.resent = self.sent.saturating_sub(self.made + self.endpoint.counters().refreshes);
        self.means.recorder.finish()?;
        Ok((self.tally, stop))
    }

    fn standing(&self, now: Mono) -> Standing<'_> {
        Standing {
            elapsed: now.since(self.started),
            calls: self.calls.len(),
            closing: self.closing.is_some(),
            tally: &self.tally,
        }
    }

    fn deadline(&self, now: Mono) -> Mono {
        let ends = self.started + self.plan.lasts();
        let others = [
            self.endpoint.deadline(),
            self.dues.peek().map(|Reverse(due)| due.at),
            self.ramp.next(self.calls.len()),
            self.closing.as_ref().filter(|(calls, _)| !calls.is_empty()).map(|(_, at)| *at),
            self.closing.is_none().then_some(ends),
        ];
        others.into_iter().flatten().fold(now + SHOW_EVERY, Mono::min)
    }

    fn begin_calls(&mut self, now: Mono) {
        if now >= self.started + self.plan.lasts() {
            self.close(now);
        }
        while self.ramp.next(self.calls.len()).is_some_and(|at| at <= now) {
            let late = self.ramp.begin(now);
            self.tally.late.add(late);
            self.begin(now);
        }
    }

    fn begin(&mut self, now: Mono) {
        let number = self.next_call;
        self.next_call += 1;
        // The plan has been checked: there is one.
        let profile = profile_of(&self.plan.profiles, self.plan.seed, number).cloned().unwrap_or_default();
        let local = self.means.peer.local.ip();
        let call_id = format!("lt-{:x}-{number}-{:08x}@{local}", self.plan.seed, self.run);
        let seat = self.seat(number);
        let ports: Vec<u16> =
            (0..self.plan.tracks).map(|track| seat.ports[self.socket(number, track)]).collect();
        let suite = self.plan.suite().unwrap_or_default();
        let mut offer = Offer::new(local, number, &ports, &profile, suite);
        let invitation = offer.invitation(self.means.peer.remote, &call_id);
        let dialog = self.endpoint.invite(now, self.means.peer, invitation);
        self.made += 1;
        self.tally.calls.begun += 1;
        self.dialogs.insert(dialog, number);
        let call = Call {
            dialog,
            call_id,
            profile,
            offer,
            invited: (now, clock::wall()),
            answer: None,
            media: None,
            tracks: vec![TrackRecord::default(); self.plan.tracks as usize],
            running: 0,
            exhausted: false,
            left: None,
            stage: Stage::Inviting,
        };
        self.calls.insert(number, call);
    }

    fn seat(&self, number: u64) -> &Seat {
        &self.means.seats[(number % self.means.seats.len() as u64) as usize]
    }

    /// Which of its seat's sockets a track comes from.
    fn socket(&self, number: u64, track: u32) -> usize {
        let seats = self.means.seats.len() as u64;
        let stream = number / seats * u64::from(self.plan.tracks) + u64::from(track);
        (stream % self.seat(number).ports.len() as u64) as usize
    }

    fn act(&mut self, now: Mono) -> io::Result<()> {
        while let Some(action) = self.endpoint.poll(now) {
            match action {
                Action::Send { to, fallback, bytes } => {
                    self.sent += u64::from(bytes.starts_with(b"INVITE ") || bytes.starts_with(b"BYE "));
                    self.means.transports.send(to, fallback, bytes);
                }
                Action::Event(event) => self.on_event(now, event)?,
            }
        }
        Ok(())
    }

    fn on_event(&mut self, now: Mono, event: Event) -> io::Result<()> {
        match event {
            Event::Accepted { dialog, message } => self.on_accepted(now, dialog, &message),
            Event::Refused { dialog, code, message } => {
                self.on_refused(now, dialog, code, message.as_deref())?;
            }
            Event::Bye { dialog, .. } => {
                if let Some(number) = self.dialogs.remove(&dialog) {
                    self.stop(number, Some(End::ByRecorder))?;
                }
            }
            Event::Closed { dialog, code } => {
                let end = if code == 200 { End::HungUp } else { End::ByeFailed(code) };
                if let Some(number) = self.dialogs.remove(&dialog) {
                    self.stop(number, Some(end))?;
                }
            }
            // Our sessions change by our own plan only.
            Event::Reinvite { request, .. } => {
                self.respond(now, request, Answer::new(488, "Not Acceptable Here"))
            }
            Event::InDialog { request, .. } => self.respond(now, request, Answer::ok()),
            Event::Invite { request, .. } => self.respond(now, request, Answer::new(603, "Decline")),
            Event::Expired { dialog, .. } => {
                self.tally.complain("a session was not refreshed in its time".to_owned());
                // Gone means that it is ending already.
                let _ = self.endpoint.bye(now, dialog);
            }
            Event::Ack { .. }
            | Event::Cancel { .. }
            | Event::Timeout { .. }
            | Event::Replaced { .. }
            | Event::Progress { .. }
            | Event::Refreshed { .. } => {}
        }
        Ok(())
    }

    fn respond(&mut self, now: Mono, request: tapehead::sip::RequestId, answer: Answer) {
        // Gone means that the recorder has lost interest.
        let _ = self.endpoint.respond(now, request, answer);
    }

    fn on_accepted(&mut self, now: Mono, dialog: DialogId, message: &Message) {
        let Some(&number) = self.dialogs.get(&dialog) else { return };
        let Some(call) = self.calls.get_mut(&number) else { return };
        if call.stage != Stage::Inviting {
            self.tally.calls.reinvites += 1;
            return;
        }
        let answer = now.since(call.invited.0);
        call.answer = Some(answer);
        self.tally.answer.add(answer);
        let suite = self.plan.suite().unwrap_or_default();
        match destinations(message.body(), call.tracks.len(), suite) {
            Ok(there) => {
                self.tally.calls.answered += 1;
                self.talk(now, number, &there);
            }
            Err(why) => {
                self.tally.complain(format!("the answer to call {number} can't be used: {why}"));
                self.dialogs.remove(&dialog);
                let _ = self.endpoint.bye(now, dialog);
                let _ = self.stop(number, Some(End::BadAnswer));
            }
        }
    }

    /// Begins the streams of a call.
    fn talk(&mut self, now: Mono, number: u64, there: &[std::net::SocketAddr]) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        // Not all at the same place within their packets: calls that begin at an even rate would be in step.
        let phase =
            crate::signal::mix(self.plan.seed ^ number) % (u64::from(call.profile.ptime_ms) * 1_000_000);
        let begin = LEAD + Duration::from_nanos(phase);
        let at = now + begin;
        call.media = Some(Wall(clock::wall().0 + begin.as_nanos() as u64));
        call.stage = Stage::Talking;
        call.running = there.len();
        let profile = call.profile.clone();
        let senders: Vec<Option<srtp::Sender>> = call
            .offer
            .tracks
            .iter()
            .map(|track| track.keys.as_ref().map(|(suite, keys)| srtp::Sender::new(*suite, keys, false)))
            .collect();
        if let Some(hold) = profile.hold {
            let from = at + Duration::from_millis(u64::from(hold.after_ms));
            let until = from + Duration::from_millis(u64::from(hold.for_ms));
            for (at, hold) in [(from, true), (until, false)] {
                self.dues.push(Reverse(Due { at, call: number, hold, tries: 0 }));
            }
        }
        for ((to, srtp), track) in there.iter().zip(senders).zip(0..) {
            let start = Start {
                call: number,
                track,
                profile: profile.clone(),
                to: Address::from(*to),
                socket: self.socket(number, track),
                srtp,
                at,
                lasts: self.plan.length(number),
            };
            // A thread that is gone is found at the end: it has panicked.
            let _ = self.seat(number).orders.send(Order::Start(Box::new(start)));
        }
        if self.closing.is_some() {
            let _ = self.stop(number, None);
        }
    }

    fn on_refused(
        &mut self,
        now: Mono,
        dialog: DialogId,
        code: u16,
        message: Option<&Message>,
    ) -> io::Result<()> {
        let Some(&number) = self.dialogs.get(&dialog) else { return Ok(()) };
        let Some(call) = self.calls.get(&number) else { return Ok(()) };
        if call.stage != Stage::Inviting {
            self.tally.calls.reinvites_failed += 1;
            self.tally.complain(format!("a re-INVITE of call {number} was refused with {code}"));
            return Ok(());
        }
        if let Some(seconds) = message.and_then(retry_after) {
            // RFC 3261 section 21.5.4: nothing is sent there before.
            self.tally.calls.retry_after += 1;
            let until = now + Duration::from_secs(seconds);
            self.ramp.hold_off(until);
            self.tally.calls.held_off_s += until.since(self.held_until.max(now)).as_secs_f64();
            self.held_until = self.held_until.max(until);
        }
        self.dialogs.remove(&dialog);
        self.stop(number, Some(End::Refused(code)))
    }

    /// Ends the streams of a call; then we hang up, unless `end` says that it is over already.
    fn stop(&mut self, number: u64, end: Option<End>) -> io::Result<()> {
        let Some(call) = self.calls.get_mut(&number) else { return Ok(()) };
        match (call.stage, end) {
            (Stage::Stopping(None) | Stage::Leaving, None) => return Ok(()),
            _ => call.stage = Stage::Stopping(end),
        }
        if call.running == 0 {
            return self.stopped(number);
        }
        let _ = self.seat(number).orders.send(Order::Stop(number));
        Ok(())
    }

    fn on_done(&mut self, done: Done) -> io::Result<()> {
        let Some(call) = self.calls.get_mut(&done.call) else { return Ok(()) };
        if let Some(track) = call.tracks.get_mut(done.track as usize) {
            *track = done.record;
        }
        call.running = call.running.saturating_sub(1);
        call.exhausted |= done.exhausted;
        if call.running > 0 { Ok(()) } else { self.stopped(done.call) }
    }

    /// The streams of a call have ended: its time is over, it has vanished, or it was stopped.
    fn stopped(&mut self, number: u64) -> io::Result<()> {
        let now = clock::mono();
        let Some(call) = self.calls.get_mut(&number) else { return Ok(()) };
        match call.stage {
            Stage::Stopping(Some(end)) => return self.over(number, end),
            _ if call.exhausted => {
                self.dialogs.remove(&call.dialog);
                self.endpoint.forget(call.dialog);
                return self.over(number, End::Vanished);
            }
            _ => {}
        }
        (call.stage, call.left) = (Stage::Leaving, Some(now));
        self.made += 1;
        if self.endpoint.bye(now, call.dialog).is_err() {
            // The recorder's BYE is on its way to us.
            call.stage = Stage::Stopping(Some(End::ByRecorder));
            return self.over(number, End::ByRecorder);
        }
        Ok(())
    }

    fn over(&mut self, number: u64, end: End) -> io::Result<()> {
        let live = self.calls.len();
        let Some(call) = self.calls.remove(&number) else { return Ok(()) };
        self.ramp.ended(clock::mono(), live);
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let bye = call.left.map(|left| clock::mono().since(left));
        if let (Some(bye), End::HungUp) = (bye, end) {
            self.tally.bye.add(bye);
        }
        self.tally.ended(end);
        self.means.recorder.write(&CallRecord {
            call: number,
            call_id: call.call_id,
            profile: call.profile.name,
            invited: call.invited.1.to_rfc3339(),
            answer_ms: call.answer.map(ms),
            media_ns: call.media.map(|at| at.0),
            tracks: call.tracks,
            ended: clock::wall().to_rfc3339(),
            bye_ms: bye.map(ms),
            end,
        })
    }

    /// Holds and resumes what is due for it.
    fn do_what_is_due(&mut self, now: Mono) {
        while self.dues.peek().is_some_and(|Reverse(due)| due.at <= now) {
            let Some(Reverse(due)) = self.dues.pop() else { return };
            let Some(call) = self.calls.get_mut(&due.call).filter(|call| call.stage == Stage::Talking) else {
                continue;
            };
            let direction = if due.hold { Direction::Inactive } else { Direction::SendOnly };
            let offer = call.offer.next(direction);
            let offer = Answer::ok().body("application/sdp", offer);
            if self.endpoint.reinvite(now, call.dialog, offer).is_ok() {
                self.made += 1;
            } else if due.tries < RETRIES {
                // Another transaction is in the way.
                self.dues.push(Reverse(Due { at: now + RETRY, tries: due.tries + 1, ..due }));
            } else {
                self.tally.calls.reinvites_failed += 1;
                self.tally.complain(format!("no re-INVITE of call {} was possible", due.call));
            }
        }
    }

    /// From now on calls are only ended.
    fn close(&mut self, now: Mono) {
        self.ramp.close();
        if self.closing.is_none() {
            self.closing = Some((self.calls.keys().copied().collect(), now));
        }
    }

    fn close_calls(&mut self, now: Mono) {
        let every = Duration::from_secs_f64(1.0 / self.plan.rate.max(END_RATE_MIN));
        while let Some((calls, next)) = self.closing.as_mut().filter(|(_, next)| *next <= now) {
            let Some(number) = calls.pop_front() else { return };
            *next = (*next + every).max(now - every);
            // Those that are not answered yet are ended when they are.
            if self.calls.get(&number).is_some_and(|call| call.stage == Stage::Talking) {
                let _ = self.stop(number, None);
            }
        }
    }
}

/// Seconds of Retry-After (RFC 3261 section 20.33): a comment and parameters may follow.
fn retry_after(message: &Message) -> Option<u64> {
    let value = message.header("Retry-After")?;
    let value = value.trim();
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    value[..end].parse().ok()
}
