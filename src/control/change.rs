//! Offers and answers during a call: hold and resume, streams added and removed, refreshes, and answers to offers of ours.
//!
//! ```text
//!   re-INVITE, UPDATE ─▶ read ─┬─ nothing new ──────────▶ Update ─▶ 200
//!                              └─ new tracks, payloads ─▶ Update ─▶ Updated ─▶ 200     (ports are bound before they are told)
//!   re-INVITE without an offer ─▶ 200 with ours ─▶ ACK with the answer ─▶ Update
//! ```
//!
//! Whatever is wrong with an offer, the call goes on as before (RFC 3261 section 14.2).

use super::Refusal;
use super::action::{Now, Outbox, Severity};
use super::call::{Call, Phase};
use crate::base::Mono;
use crate::limits::OPEN_WAIT_MAX;
use crate::link::{self, Command, TrackPlan};
use crate::sdp::Direction;
use crate::sip::{Answer, Message, Method, RequestId};
use crate::siprec::Bodies;

/// A request that is answered when the shard has found ports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    request: RequestId,
    until: Mono,
    /// The update that the shard has to take first, if no track is missing.
    update: Option<u32>,
}

/// The offer or answer in a message's bodies. Clients that have none may send an empty body of that type.
pub(super) fn sdp_in<'a>(bodies: &Bodies<'a>) -> Option<&'a [u8]> {
    bodies.sdp.filter(|sdp| !sdp.trim_ascii().is_empty())
}

impl Call {
    /// A re-INVITE: hold, resume, refresh, a change of codecs or streams, new metadata, or any of these together.
    pub fn reinvite(&mut self, request: RequestId, message: &Message, now: Now, out: &mut Outbox) {
        let bodies = self.metadata(message, now, out);
        match sdp_in(&bodies) {
            Some(sdp) => self.reoffer(request, sdp, now, out),
            None if !self.has_turn(request, out) => {}
            // The offer is ours to make (RFC 3261 section 14.2): the session as it is, and its answer comes in the ACK.
            None => {
                let offer = self.terms.offer(Direction::RecvOnly);
                out.answer(request, Answer::ok().body("application/sdp", offer));
            }
        }
    }

    /// UPDATE with or without an offer (RFC 3311), INFO, MESSAGE, NOTIFY: whatever may carry metadata.
    pub fn in_dialog(&mut self, request: RequestId, message: &Message, now: Now, out: &mut Outbox) {
        let bodies = self.metadata(message, now, out);
        match sdp_in(&bodies).filter(|_| *message.method() == Method::Update) {
            Some(sdp) => self.reoffer(request, sdp, now, out),
            None => out.answer(request, Answer::ok()),
        }
    }

    /// Takes in what a message says of the recorded call. Gives its bodies.
    fn metadata<'a>(&mut self, message: &'a Message, now: Now, out: &mut Outbox) -> Bodies<'a> {
        let bodies = Bodies::within(message);
        if self.book.revision(now.wall, message, bodies) && self.phase == Phase::Live {
            self.checkpoint_soon(now, out);
        }
        bodies
    }

    /// Whether the session can be changed now; if not, the request is answered.
    fn has_turn(&self, request: RequestId, out: &mut Outbox) -> bool {
        let refusal = match self.phase {
            Phase::Live if self.is_asking() => Refusal::Glare,
            Phase::Live if self.waiting.is_none() => return true,
            Phase::Live | Phase::Keys | Phase::Opening => Refusal::Unanswered,
            Phase::Abandoned | Phase::Closing | Phase::Over => Refusal::Gone,
        };
        out.refuse(request, Some(self.book.recording()), &refusal);
        false
    }

    fn reoffer(&mut self, request: RequestId, sdp: &[u8], now: Now, out: &mut Outbox) {
        if !self.has_turn(request, out) {
            return;
        }
        self.terms.at = now.wall;
        match self.terms.reoffer(sdp) {
            Ok(shard_first) => {
                self.waiting = Some(Waiting { request, until: now.mono + OPEN_WAIT_MAX, update: None });
                self.go_on(shard_first, out);
            }
            Err(refusal) => out.refuse(request, Some(self.book.recording()), &refusal),
        }
    }

    /// Answers the offer at hand, or has the shard know or add what it needs first. The shard takes one addition at a time.
    fn go_on(&mut self, shard_first: bool, out: &mut Outbox) {
        if !self.terms.is_bound() && self.growing.is_none() {
            self.growing = Some(self.tell(self.terms.plans(), out));
            return;
        }
        let update = self.update(out);
        match &mut self.waiting {
            Some(waiting) if shard_first && self.terms.is_bound() => waiting.update = Some(update),
            _ if self.terms.is_bound() => self.agree(out),
            _ => {}
        }
    }

    /// Tells the shard how the tracks that it has are now.
    pub(super) fn update(&mut self, out: &mut Outbox) -> u32 {
        self.tell(self.terms.bound_plans(), out)
    }

    fn tell(&mut self, tracks: Vec<TrackPlan>, out: &mut Outbox) -> u32 {
        self.terms.revision += 1;
        let revision = self.terms.revision;
        out.command(self.shard, Command::Update { call: self.id, revision, tracks });
        revision
    }

    /// Answers the offer at hand.
    fn agree(&mut self, out: &mut Outbox) {
        let Some(Waiting { request, .. }) = self.waiting.take() else { return };
        out.answer(request, Answer::ok().body("application/sdp", self.terms.answer()));
        self.note_declined(out);
        self.ask_client(out);
    }

    /// Says in manifest and log what is not recorded.
    pub(super) fn note_declined(&mut self, out: &mut Outbox) {
        for note in self.terms.notes() {
            if self.book.note(note) {
                self.log(out, Severity::Warn, note);
            }
        }
    }

    /// The shard has taken an update, or has no room for the tracks that it adds.
    pub fn updated(
        &mut self,
        revision: u32,
        result: Result<Vec<u16>, link::Refusal>,
        now: Now,
        out: &mut Outbox,
    ) {
        if self.waiting.is_some_and(|waiting| waiting.update == Some(revision)) {
            return self.agree(out);
        }
        if self.growing != Some(revision) || !matches!(self.phase, Phase::Live | Phase::Closing) {
            return;
        }
        self.growing = None;
        match result {
            Ok(ports) => self.terms.bound(&ports),
            Err(refusal) => {
                self.book.note("streams were added for which there was no room");
                let why = Refusal::Shard(refusal);
                self.log(out, Severity::Error, format!("added streams are not recorded: {why}"));
                self.terms.unbound();
            }
        }
        if self.phase == Phase::Live {
            // Nothing of a refused update is in force, and after a long time the offer may be another.
            self.go_on(false, out);
            self.checkpoint(now, out);
        }
    }

    /// The shard takes too long: the call goes on with the tracks that it has. Should they come, the next offer finds them.
    pub(super) fn overdue(&mut self, now: Now, out: &mut Outbox) {
        if self.waiting.is_some_and(|waiting| waiting.until <= now.mono) {
            self.log(out, Severity::Error, "the shard took too long for an update");
            if !self.terms.is_bound() {
                self.book.note("streams were added for which there was no room in time");
            }
            self.agree(out);
        }
    }

    /// When a request has waited long enough.
    pub(super) fn waits_until(&self) -> Option<Mono> {
        self.waiting.map(|waiting| waiting.until)
    }

    /// The client took its re-INVITE back, which the endpoint has answered: as if it had never been.
    pub fn taken_back(&mut self, out: &mut Outbox) {
        if self.waiting.take().is_some() {
            self.terms.revert();
            self.update(out);
            self.ask_client(out);
        }
    }

    /// Answers what waits when the dialog ends (RFC 3261 section 15.1.2).
    pub(super) fn terminate_waiting(&mut self, out: &mut Outbox) {
        if let Some(Waiting { request, .. }) = self.waiting.take() {
            out.answer(request, Answer::new(487, "Request Terminated"));
        }
    }

    /// The ACK to a 200. If that had our offer, it has the client's answer (RFC 3261 section 13.2.2.4); without a good one whatever comes is recorded.
    pub fn acknowledged(&mut self, message: &Message, now: Now, out: &mut Outbox) {
        self.acked = true;
        let mut bodies = Bodies::default();
        if !message.body().is_empty() {
            bodies = self.metadata(message, now, out);
        }
        if self.terms.unanswered && self.phase == Phase::Live {
            self.answered(sdp_in(&bodies), out);
        }
        self.ask_client(out);
    }

    /// The client has answered a refresh of ours: if that was our last session description, with its own.
    pub fn refreshed(&mut self, response: &Message, out: &mut Outbox) {
        let before = self.terms.bound_plans();
        // One that makes no sense changes nothing.
        let read = sdp_in(&Bodies::within(response)).map(|sdp| self.terms.answered(sdp));
        if matches!(read, Some(Ok(_))) && self.phase == Phase::Live && self.terms.bound_plans() != before {
            self.update(out);
        }
        self.ask_client(out);
    }

    /// The answer to an offer of ours.
    pub(super) fn answered(&mut self, sdp: Option<&[u8]>, out: &mut Outbox) {
        let read = match sdp {
            Some(sdp) => self.terms.answered(sdp).map_err(|why| why.to_string()),
            None => {
                self.terms.unanswered = false;
                Err("there was none".to_owned())
            }
        };
        if !matches!(read, Ok(false)) {
            let why = read.err().unwrap_or_else(|| "not every line fits".to_owned());
            self.book.note(
                "the client's answer to an offer of the recorder was missing or odd: what came was recorded",
            );
            self.log(out, Severity::Warn, format!("the answer to our offer is odd: {why}"));
        }
        // Also without an answer: sources are learnt anew.
        self.update(out);
        self.note_declined(out);
    }
}
