//! Sessions that are kept alive (RFC 4028), and INVITEs of both ends that meet (RFC 3261 section 14.1).

use super::*;
use crate::base::planted::{Bug, planted};
use crate::sip::client::Ask;
use crate::sip::dialog::Retry;
use crate::sip::digest;
use crate::sip::header::Head;
use crate::sip::message::Start;
use crate::sip::outbound::{Outbound, OutboundId, Purpose, Request, once_more};
use crate::sip::server::Transaction;
use crate::sip::session_timer::{Lapse, Refresher, Role, SessionExpires, SessionTimer, Terms};

/// How often a re-INVITE is sent that meets one of the peer's each time.
const TRIES_MAX: u8 = 5;

impl Endpoint {
    /// What our 2xx to this request says of timers.
    pub(super) fn terms(&mut self, request: RequestId) -> Option<Terms> {
        let Transaction { wish, dialog, .. } = self.server.transaction(request)?;
        let (wish, id) = (*wish, (*dialog)?);
        wish.answer(self.dialogs.dialog(id)?.timer.as_ref())
    }

    /// We have said so.
    pub(super) fn agreed(&mut self, now: Mono, id: DialogId, terms: Option<Terms>) {
        let timer = terms.map(|terms| {
            let refresher = if terms.refresher == Role::Uas { Refresher::Us } else { Refresher::Peer };
            SessionTimer::start(now, terms.seconds, refresher)
        });
        self.dialogs.set_timer(id, timer);
    }

    /// The peer has said so in its 2xx to a request of ours. One that says nothing of timers leaves them to us (RFC 4028 section 7.2).
    pub(in crate::sip) fn answered(&mut self, now: Mono, id: DialogId, response: &Message) {
        let Some(dialog) = self.dialogs.dialog(id) else { return };
        let timer = match (SessionExpires::read(response), dialog.timer) {
            (Some(SessionExpires { seconds, refresher: Some(Role::Uas) }), _) => {
                Some(SessionTimer::start(now, seconds, Refresher::Peer))
            }
            (Some(said), _) => Some(SessionTimer::start(now, said.seconds, Refresher::Us)),
            (None, Some(SessionTimer { seconds, refresher: Refresher::Us, .. })) => {
                Some(SessionTimer::start(now, seconds, Refresher::Us))
            }
            (None, _) => None,
        };
        self.dialogs.set_timer(id, timer);
    }

    pub(super) fn on_lapse(&mut self, now: Mono, id: DialogId, lapse: Lapse) {
        match lapse {
            Lapse::Refresh => self.refresh(now, id),
            Lapse::Expired => self.on_expired(id),
        }
    }

    fn on_expired(&mut self, id: DialogId) {
        let timer = self.dialogs.dialog(id).and_then(|dialog| dialog.timer);
        let Some(interval) = timer.map(|timer| timer.interval()) else { return };
        self.counters.sessions_expired += 1;
        self.event(Event::Expired { dialog: id, interval });
    }

    /// By UPDATE, which asks nothing of media, or else by what we said last in a re-INVITE (RFC 4028 section 7.4). What can't go out now
    /// is asked for again by the timer.
    fn refresh(&mut self, now: Mono, id: DialogId) {
        let Some(dialog) = self.dialogs.dialog(id) else { return };
        let sdp = dialog.sdp.as_ref().filter(|_| !dialog.updates).map(|sdp| sdp.to_vec());
        let method = if sdp.is_some() { Method::Invite } else { Method::Update };
        if dialog.refreshing.is_some() || dialog.leaving || (sdp.is_some() && dialog.is_inviting()) {
            return;
        }
        let hop = dialog.next_hop();
        let ask = Ask { method: method.clone(), purpose: Purpose::Refresh, offered: sdp.is_some() };
        let body = sdp.map(|sdp| ("application/sdp".to_owned(), sdp));
        let outbound = self.open_session(now, id, hop, ask, Vec::new(), body);
        self.counters.refreshes += 1;
        let Some(dialog) = self.dialogs.dialog(id) else { return };
        dialog.refreshing = outbound;
        if method == Method::Invite {
            dialog.invite_out = outbound;
        }
    }

    /// A 2xx to our refresh. An INVITE's has been acknowledged.
    pub(in crate::sip) fn on_refreshed(&mut self, now: Mono, id: DialogId, response: Message) {
        let Some(dialog) = self.dialogs.dialog(id) else { return self.stray() };
        dialog.refreshing = None;
        if let Some(target) = response.target() {
            // UPDATE refreshes the target, too (RFC 3311 section 5.1).
            dialog.target = target;
        }
        if !planted(Bug::RefreshForgotten) {
            self.answered(now, id, &response);
        }
        self.event(Event::Refreshed { dialog: id, message: Box::new(response) });
    }

    /// A refresh that failed does not end the dialog: that is for the owner to decide, once the session runs out or the peer says
    /// that it knows nothing of it (RFC 4028 section 10, RFC 5057).
    pub(in crate::sip) fn on_unrefreshed(
        &mut self,
        now: Mono,
        id: DialogId,
        code: u16,
        response: Option<&Message>,
    ) {
        let delay = self.back_off(id);
        let Some(dialog) = self.dialogs.dialog(id) else { return };
        dialog.refreshing = None;
        let (Some(timer), updates) = (dialog.timer.as_mut(), dialog.updates) else { return };
        match code {
            408 | 481 => self.on_expired(id),
            405 | 501 if updates => {
                dialog.updates = false;
                self.refresh(now, id);
            }
            422 => {
                let wanted = response.and_then(|response| response.header("Min-SE")?.trim().parse().ok());
                if let Some(seconds) = wanted.filter(|seconds| *seconds > timer.seconds) {
                    timer.seconds = seconds;
                    self.refresh(now, id);
                }
            }
            491 | 500 | 503 => timer.retry(now, delay),
            // The timer asks again.
            _ => {}
        }
        self.dialogs.rearm(id);
    }

    /// Whoever made the Call-ID waits longer, so that the two do not meet again (RFC 3261 section 14.1).
    fn back_off(&mut self, id: DialogId) -> Duration {
        let mut random = [0; 2];
        self.entropy.fill(&mut random);
        let tens = u64::from(u16::from_be_bytes(random)) % 191;
        let ours = self.dialogs.dialog(id).is_some_and(|dialog| dialog.ours);
        Duration::from_millis(if ours { 2100 + 10 * tens } else { 10 * tens })
    }

    /// Our re-INVITE got 491: it is sent again later. False if it has been sent often enough.
    pub(in crate::sip) fn wait_for_turn(&mut self, now: Mono, id: DialogId, outbound: &Outbound) -> bool {
        let at = now + self.back_off(id);
        let Some(dialog) = self.dialogs.dialog(id).filter(|dialog| dialog.confirmed && !dialog.leaving)
        else {
            return false;
        };
        let (request, tries) = (outbound.bytes().clone(), outbound.tries + 1);
        if tries >= TRIES_MAX {
            return false;
        }
        dialog.retry = Some(Retry { at, request, offers: outbound.offers, tries });
        self.dialogs.rearm(id);
        self.counters.glare += 1;
        true
    }

    /// Its time has come. If the peer has changed the session meanwhile, what it asks for is out of date: the owner is told.
    pub(super) fn on_retry(&mut self, now: Mono, id: DialogId, retry: Retry) {
        let at = now + self.back_off(id);
        let Some(dialog) = self.dialogs.dialog(id).filter(|dialog| !dialog.ending) else { return };
        if dialog.offers != retry.offers || retry.tries >= TRIES_MAX {
            return self.event(Event::Refused { dialog: id, code: 491, message: None });
        }
        if dialog.is_inviting() {
            dialog.retry = Some(Retry { at, tries: retry.tries + 1, ..retry });
            return self.dialogs.rearm(id);
        }
        let invite = self.send_again(now, id, &retry.request, (Purpose::Owner, retry.tries), &[]);
        if let Some(dialog) = self.dialogs.dialog(id) {
            dialog.invite_out = invite;
        }
    }

    /// Answers the peer's challenge to a request of ours, once, or twice if only the nonce was too old (RFC 3261 section 22.2).
    pub(in crate::sip) fn authenticate(
        &mut self,
        now: Mono,
        outbound: &Outbound,
        response: &Message,
    ) -> Option<OutboundId> {
        let id = outbound.dialog;
        let cnonce = self.random_hex(8);
        let dialog = self.dialogs.dialog(id).filter(|_| matches!(response.code(), Some(401 | 407)))?;
        let credentials = self.gate.as_ref()?.credentials(dialog.peer.remote.ip())?;
        let (head, _) = Head::read(outbound.bytes().to_vec());
        let Some(Start::Request { method, uri }) = head.start() else { return None };
        let (name, value, stale) =
            digest::authorization(response, credentials, method.as_str(), uri.as_str(), &cnonce)?;
        if outbound.tries > u8::from(stale) {
            return None;
        }
        self.counters.authenticated += 1;
        self.send_again(now, id, outbound.bytes(), (outbound.purpose, outbound.tries + 1), &[(name, value)])
    }

    /// Sends a request of ours once more as a new one, with these headers changed.
    pub(in crate::sip) fn send_again(
        &mut self,
        now: Mono,
        id: DialogId,
        request: &[u8],
        (purpose, tries): (Purpose, u8),
        instead: &[(&str, String)],
    ) -> Option<OutboundId> {
        let branch = self.branch();
        let dialog = self.dialogs.dialog(id)?;
        let hop = if dialog.confirmed { dialog.next_hop() } else { (dialog.peer, None) };
        let (cseq, offers) = (dialog.next_cseq(), dialog.offers);
        let via = dialog::via(&self.config, &hop.0, &branch);
        let (method, offered, bytes) = once_more(request, via, cseq, instead)?;
        let request = Request { method, purpose, tries, offers, branch, cseq, offered, bytes };
        let (outbound, again) = self.outbounds.start(now, request, id, hop);
        self.send(again);
        Some(outbound)
    }
}
