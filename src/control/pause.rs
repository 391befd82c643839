//! Pausing: one recording or all of them, by command.
//!
//! A recording that is paused alone and with all the others goes on only when both have been lifted: nobody's pause is ended by
//! somebody else's command. Calls that come while everything is paused are taken and paused from their first packet on.
//! The shard throws the audio away; a client whose rules allow it is also asked to stop sending (RFC 7866 section 7.2), and nothing
//! hangs on its consent. The client's own hold is another thing, and an interval of its own cause.

use super::Control;
use super::action::{Now, Outbox, Severity};
use super::call::{Call, Phase};
use super::change::sdp_in;
use crate::base::{Entropy, RecordingId, Redacted};
use crate::limits::PAUSES_MAX;
use crate::link::{Command, PauseHow};
use crate::recording::Pause;
use crate::sdp::Direction;
use crate::sip::{Answer, Message};
use crate::siprec::Bodies;

/// What a pause is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PauseScope {
    /// Every recording, those to come included.
    All,
    /// This one.
    Recording(RecordingId),
}

/// There is no such recording, or it is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRecording;

impl std::fmt::Display for NoRecording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("there is no such recording, or it is over")
    }
}

impl std::error::Error for NoRecording {}

/// Who asked for a pause, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Order {
    by: String,
    reason: String,
}

/// The pauses of one call.
pub(super) struct Pauses {
    how: PauseHow,
    entries: Vec<Pause>,
    /// For this recording alone, and for all: the entry of each that is in force.
    alone: Option<usize>,
    all: Option<usize>,
    /// What the client has been asked for last and has answered, and what it has been asked for now.
    asked: Direction,
    asking: Option<Direction>,
}

impl Pauses {
    pub fn new(how: PauseHow) -> Pauses {
        Pauses { how, entries: Vec::new(), alone: None, all: None, asked: Direction::RecvOnly, asking: None }
    }

    pub fn in_force(&self) -> bool {
        self.alone.is_some() || self.all.is_some()
    }

    /// For the manifest.
    pub fn entries(&self) -> &[Pause] {
        &self.entries
    }

    fn of(&mut self, scope: PauseScope) -> &mut Option<usize> {
        match scope {
            PauseScope::All => &mut self.all,
            PauseScope::Recording(_) => &mut self.alone,
        }
    }
}

impl<E: Entropy> Control<E> {
    /// Pauses recordings: from now on none of their audio is kept. `by` and `reason` go into the manifest. Tells how many calls it touched.
    pub fn pause(
        &mut self,
        scope: PauseScope,
        by: &str,
        reason: &str,
        now: Now,
    ) -> Result<usize, NoRecording> {
        let order = Order { by: by.to_owned(), reason: reason.to_owned() };
        if scope == PauseScope::All {
            self.paused = Some(order.clone());
        }
        self.in_scope(scope, |call, out| call.pause(scope, &order, now, out))
    }

    /// Ends a pause of the same scope. Tells how many calls it touched.
    pub fn resume(&mut self, scope: PauseScope, by: &str, now: Now) -> Result<usize, NoRecording> {
        if scope == PauseScope::All {
            self.paused = None;
        }
        self.in_scope(scope, |call, out| call.resume(scope, by, now, out))
    }

    /// Whether everything is paused.
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    fn in_scope(
        &mut self,
        scope: PauseScope,
        mut act: impl FnMut(&mut Call, &mut Outbox),
    ) -> Result<usize, NoRecording> {
        let meant = |call: &Call| match scope {
            PauseScope::All => call.is_recorded(),
            PauseScope::Recording(recording) => call.is_recorded() && call.book.recording() == recording,
        };
        let calls: Vec<_> = self.calls.iter().filter(|(_, call)| meant(call)).map(|(id, _)| *id).collect();
        for id in &calls {
            self.with(*id, |call, _, out| act(call, out));
        }
        if calls.is_empty() && scope != PauseScope::All { Err(NoRecording) } else { Ok(calls.len()) }
    }
}

impl Call {
    fn is_recorded(&self) -> bool {
        matches!(self.phase, Phase::Keys | Phase::Opening | Phase::Live)
    }

    /// Pauses it. A second order of the same scope changes nothing.
    pub(super) fn pause(&mut self, scope: PauseScope, order: &Order, now: Now, out: &mut Outbox) {
        if self.pauses.of(scope).is_some() {
            return;
        }
        let before = self.pauses.in_force();
        let entry = Pause {
            scope: if scope == PauseScope::All { "all" } else { "recording" }.to_owned(),
            by: Redacted::new(order.by.clone()),
            reason: Redacted::new(order.reason.clone()),
            policy: if self.pauses.how == PauseHow::Cut { "cut" } else { "silence" }.to_owned(),
            at: now.wall.to_rfc3339(),
            start: self.position(now),
            ..Pause::default()
        };
        if self.pauses.entries.len() >= PAUSES_MAX {
            self.pauses.entries.pop();
            self.book.note("there were more pauses than are kept: of the last ones only the newest is");
        }
        *self.pauses.of(scope) = Some(self.pauses.entries.len());
        self.pauses.entries.push(entry);
        if !before {
            self.log(out, Severity::Warn, "recording paused by command");
            self.stop_or_go(now, out);
        }
    }

    fn resume(&mut self, scope: PauseScope, by: &str, now: Now, out: &mut Outbox) {
        let Some(entry) = self.pauses.of(scope).take() else { return };
        let end = self.position(now);
        if let Some(entry) = self.pauses.entries.get_mut(entry) {
            entry.ended = Some(now.wall.to_rfc3339());
            entry.end = Some(end);
            entry.ended_by = Some(Redacted::new(by.to_owned()));
        }
        if !self.pauses.in_force() {
            self.log(out, Severity::Info, "recording goes on by command");
            self.stop_or_go(now, out);
        }
    }

    /// Tells the shard, the client, and the disk.
    fn stop_or_go(&mut self, now: Now, out: &mut Outbox) {
        if matches!(self.phase, Phase::Opening | Phase::Live) {
            self.tell_pause(out);
        }
        if self.phase == Phase::Live {
            self.ask_client(out);
            self.checkpoint(now, out);
        }
    }

    /// Has the shard know whether it is paused. Right behind the order to open, so that not one packet comes before it.
    pub(super) fn tell_pause(&self, out: &mut Outbox) {
        let call = self.id;
        let command = match self.pauses.in_force() {
            true => Command::Pause { call, how: self.pauses.how },
            false => Command::Resume { call },
        };
        out.command(self.shard, command);
    }

    /// Asks a client that takes requests of ours to stop sending or to go on. One request at a time; what has changed meanwhile is asked for
    /// when it is answered.
    pub(super) fn ask_client(&mut self, out: &mut Outbox) {
        let wanted = if self.pauses.in_force() { Direction::Inactive } else { Direction::RecvOnly };
        let busy = self.pauses.asking.is_some() || self.waiting.is_some();
        if !self.peer.reinvite || !self.acked || busy || self.pauses.asked == wanted {
            return;
        }
        self.pauses.asking = Some(wanted);
        let offer = Answer::ok().body("application/sdp", self.terms.offer(wanted));
        out.reinvite(self.dialog, offer);
    }

    /// Whether an offer of ours is on its way in a request of ours.
    pub(super) fn is_asking(&self) -> bool {
        self.pauses.asking.is_some()
    }

    /// The client has answered our re-INVITE.
    pub fn agreed_to(&mut self, response: &Message, out: &mut Outbox) {
        let Some(asked) = self.pauses.asking.take().filter(|_| self.phase == Phase::Live) else { return };
        self.pauses.asked = asked;
        self.answered(sdp_in(&Bodies::within(response)), out);
        self.ask_client(out);
    }

    /// The client will not have our re-INVITE: so be it, its audio is thrown away here.
    pub fn refused_by_client(&mut self, code: u16, out: &mut Outbox) {
        let Some(asked) = self.pauses.asking.take().filter(|_| self.phase == Phase::Live) else { return };
        self.terms.unanswered = false;
        if code == 491 {
            // Something of the client's was in the way: asked for again when that is done.
            return;
        }
        self.pauses.asked = asked;
        self.log(out, Severity::Warn, format!("the client refused our re-INVITE with {code}"));
        self.book.note("the client refused a re-INVITE of the recorder");
        self.ask_client(out);
    }
}
