//! The security of one track over its life: the keys of now, and for a moment those of before.

use super::receive::Context;
use super::{Plan, Sender};
use crate::base::Mono;
use crate::limits::{SRTP_OLD_KEY_HOLD, SRTP_RESTART_HOLD};

/// Why a packet is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Failure {
    /// Not RTP or RTCP as far as its clear head goes.
    Malformed,
    /// Its tag does not fit: another key, another suite, changed on the way, or not protected at all.
    Auth,
    /// Seen before, or too old to know.
    Replay,
    /// Authentic, of more sources than are followed.
    Sources,
}

/// See the module's text.
pub struct Session {
    now: Option<Context>,
    before: Option<Context>,
    sender: Option<Sender>,
    /// When the first packet came after the last description.
    since: Option<Mono>,
}

impl Session {
    /// Security by `plan` from now on.
    pub fn new(plan: &Plan) -> Session {
        let sender = Some(Sender::new(plan.suite, &plan.ours, plan.clear_rtcp));
        Session { now: Some(Context::new(plan.clone())), before: None, sender, since: None }
    }

    /// The session was described anew: with the same keys, with others, or without. Packets under the old ones are still on the way.
    pub fn update(&mut self, plan: Option<&Plan>) {
        self.since = None;
        match (&mut self.now, plan) {
            (Some(now), Some(plan)) if now.is_for(plan) => now.reopen(),
            (None, None) => {}
            _ => {
                let next = plan.map(|plan| Context::new(plan.clone()));
                self.before = std::mem::replace(&mut self.now, next).or(self.before.take());
            }
        }
        match (&mut self.sender, plan) {
            (Some(sender), Some(plan)) => sender.rekey(plan.suite, &plan.ours, plan.clear_rtcp),
            // Without keys it waits, for its index must not begin anew.
            (Some(_), None) | (None, None) => {}
            (sender @ None, Some(plan)) => {
                *sender = Some(Sender::new(plan.suite, &plan.ours, plan.clear_rtcp));
            }
        }
    }

    /// The RTP or RTCP (`rtcp`) in `packet` that came at `at`, in clear, written to `room`. Where nothing is secured any more it is the packet itself.
    pub fn open<'a>(
        &mut self,
        rtcp: bool,
        packet: &'a [u8],
        at: Mono,
        room: &'a mut [u8],
    ) -> Result<&'a [u8], Failure> {
        let since = at.since(*self.since.get_or_insert(at));
        if since >= SRTP_OLD_KEY_HOLD {
            self.before = None;
        }
        let restart = since < SRTP_RESTART_HOLD;
        let kept = self.before.as_ref().and_then(|before| before.rollovers_of(packet));
        let mut open = |context: &mut Context, kept| match rtcp {
            true => context.rtcp(packet, at, room),
            false => context.rtp(packet, (kept, restart), at, room),
        };
        let opened = match (&mut self.now, &mut self.before) {
            (Some(now), before) => match (open(now, kept), before) {
                (Err(Failure::Auth), Some(before)) => open(before, None),
                // By its number alone: under the old keys it may be a new one.
                (Err(Failure::Replay), Some(before)) => open(before, None).or(Err(Failure::Replay)),
                (opened, _) => opened,
            },
            (None, Some(before)) => match open(before, None) {
                Err(Failure::Auth | Failure::Malformed) => return Ok(packet),
                opened => opened,
            },
            (None, None) => return Ok(packet),
        };
        opened.map(|len| &room[..len])
    }

    /// Protects a report of ours, if it is to be.
    pub fn protect_rtcp(&mut self, packet: &mut Vec<u8>) {
        if let (Some(sender), Some(_)) = (&mut self.sender, &self.now) {
            sender.rtcp(packet);
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
