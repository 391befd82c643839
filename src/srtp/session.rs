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

/// See the [module](self).
pub struct Session {
    now: Option<Context>,
    before: Option<(Context, Mono)>,
    sender: Option<Sender>,
}

impl Session {
    /// Security by `plan` from now on.
    pub fn new(plan: &Plan) -> Session {
        let now = Some(Context::new(plan.clone()));
        Session { now, before: None, sender: Some(Sender::new(plan.suite, &plan.ours, plan.clear_rtcp)) }
    }

    /// The session was described anew at `at`: with the same keys, with others, or without. Packets under the old ones are still on the way.
    pub fn update(&mut self, plan: Option<&Plan>, at: Mono) {
        if let (Some(now), Some(plan)) = (&mut self.now, plan)
            && now.is_for(plan)
        {
            now.reopen(at + SRTP_RESTART_HOLD);
        } else if let Some(old) = std::mem::replace(&mut self.now, plan.map(|p| Context::new(p.clone()))) {
            self.before = Some((old, at + SRTP_OLD_KEY_HOLD));
        }
        match (&mut self.sender, plan) {
            (Some(sender), Some(plan)) => sender.rekey(plan.suite, &plan.ours, plan.clear_rtcp),
            (sender, plan) => {
                *sender = plan.map(|plan| Sender::new(plan.suite, &plan.ours, plan.clear_rtcp));
            }
        }
    }

    /// The RTP packet in `packet`, in clear, written to `room`. Without keys it is the packet itself.
    pub fn rtp<'a>(&mut self, packet: &'a [u8], at: Mono, room: &'a mut [u8]) -> Result<&'a [u8], Failure> {
        let before = self.before.as_mut().filter(|(_, until)| at < *until).map(|(before, _)| before);
        let Some(now) = &mut self.now else {
            return Ok(match before.map(|before| before.rtp(packet, None, at, room)) {
                Some(Ok(len)) => &room[..len],
                _ => packet,
            });
        };
        let kept = before.as_ref().and_then(|before| before.rollovers_of(packet));
        match (now.rtp(packet, kept, at, room), before) {
            (Err(Failure::Auth), Some(before)) => before.rtp(packet, None, at, room),
            (taken, _) => taken,
        }
        .map(|len| &room[..len])
    }

    /// The RTCP packet in `packet`, in clear, written to `room`. Without keys it is the packet itself.
    pub fn rtcp<'a>(&mut self, packet: &'a [u8], at: Mono, room: &'a mut [u8]) -> Result<&'a [u8], Failure> {
        let before = self.before.as_mut().filter(|(_, until)| at < *until).map(|(before, _)| before);
        let Some(now) = &mut self.now else {
            return Ok(match before.map(|before| before.rtcp(packet, at, room)) {
                Some(Ok(len)) => &room[..len],
                _ => packet,
            });
        };
        match (now.rtcp(packet, at, room), before) {
            (Err(Failure::Auth), Some(before)) => before.rtcp(packet, at, room),
            (taken, _) => taken,
        }
        .map(|len| &room[..len])
    }

    /// Protects a report of ours.
    pub fn protect_rtcp(&mut self, packet: &mut Vec<u8>) {
        if let Some(sender) = &mut self.sender {
            sender.rtcp(packet);
        }
    }
}
