//! The other role of an [`Endpoint`]: calling. What a recording client (SRC) does, for the demo, for load and for tests; and
//! what a recorder does inside of its dialogs: BYE, later re-INVITE.
//!
//! ```no_run
//! # use tapehead::sip::{client::Invitation, multipart::Writer, Endpoint, Peer};
//! # fn call(endpoint: &mut Endpoint, now: tapehead::base::Mono, recorder: Peer, sdp: String, metadata: String) {
//! let (content_type, body) = Writer::new("boundary")
//!     .part("application/sdp", &[], sdp)
//!     .part("application/rs-metadata+xml", &["Content-Disposition: recording-session"], metadata)
//!     .finish();
//! let invitation = Invitation::to("sip:recorder@127.0.0.1").header("Require", "siprec").body(&content_type, body);
//! let dialog = endpoint.invite(now, recorder, invitation);
//! # }
//! ```
//!
//! Left out: forked INVITEs (the first 2xx counts), authentication, redirection.

use super::builder::Builder;
use super::dialog::{Dialog, Hop, contact, host};
use super::endpoint::{ALLOW, Endpoint, SUPPORTED};
use super::event::{Answer, DialogId, Event, Gone};
use super::message::Message;
use super::method::Method;
use super::outbound::{Outbound, OutboundId, Purpose, Receipt, Request};
use super::peer::Peer;
use super::session_timer::{Refresher, Role};
use super::uri::{Scheme, Uri};
use crate::base::Mono;
use crate::base::planted::{Bug, planted};

/// A request of ours.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) purpose: Purpose,
    /// Whether it has a body.
    pub(super) offered: bool,
}

/// An INVITE to send.
#[derive(Clone, Debug)]
pub struct Invitation {
    to: String,
    from: Option<String>,
    call_id: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<(String, Vec<u8>)>,
}

impl Invitation {
    /// To this URI, from our own Contact, without a body.
    pub fn to(uri: &str) -> Invitation {
        Invitation { to: uri.to_owned(), from: None, call_id: None, headers: Vec::new(), body: None }
    }

    /// From this address, without a tag.
    #[must_use]
    pub fn from(mut self, address: &str) -> Invitation {
        self.from = Some(address.to_owned());
        self
    }

    /// With this Call-ID instead of a random one.
    #[must_use]
    pub fn call_id(mut self, call_id: &str) -> Invitation {
        self.call_id = Some(call_id.to_owned());
        self
    }

    /// With another header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Invitation {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this body. Without one the offer is the peer's: its 2xx has to be answered by [`Endpoint::ack`].
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Invitation {
        self.body = Some((content_type.to_owned(), body.into()));
        self
    }
}

impl Endpoint {
    /// Calls `to`. Events: Progress, then Accepted or Refused.
    pub fn invite(&mut self, now: Mono, to: Peer, invitation: Invitation) -> DialogId {
        let tag = self.tag();
        let call_id = invitation.call_id.unwrap_or_else(|| self.new_call_id());
        let own = format!("<sip:{}@{}>", self.config.user, host(&self.config, &to));
        let dialog = Dialog {
            local: format!("{};tag={tag}", invitation.from.unwrap_or(own)),
            remote: format!("<{}>", invitation.to),
            target: invitation.to,
            ours: true,
            ..Dialog::new(call_id, tag, to, now)
        };
        let id = self.dialogs.insert(dialog);
        self.send_invite(now, id, (to, None), invitation.headers, invitation.body);
        id
    }

    /// Changes the session, in either role. `Err` if the dialog is not confirmed or an INVITE is under way either way, its ACK included.
    /// Events: Accepted or Refused. One that meets the peer's (491) is sent again after a while; should the peer have changed the
    /// session until then, Refused says 491 and the offer is to be made anew.
    pub fn reinvite(&mut self, now: Mono, id: DialogId, offer: Answer) -> Result<(), Gone> {
        let dialog = self.dialogs.dialog(id).ok_or(Gone)?;
        let waits = dialog.is_inviting() || dialog.retry.is_some();
        if waits || dialog.ending || dialog.leaving || !dialog.confirmed {
            return Err(Gone);
        }
        let hop = dialog.next_hop();
        self.send_invite(now, id, hop, offer.headers, offer.body);
        Ok(())
    }

    fn send_invite(
        &mut self,
        now: Mono,
        id: DialogId,
        hop: Hop,
        headers: Vec<(String, String)>,
        body: Option<(String, Vec<u8>)>,
    ) {
        let ask = Ask { method: Method::Invite, purpose: Purpose::Owner, offered: body.is_some() };
        let outbound = self.open_session(now, id, hop, ask, headers, body);
        if let Some(dialog) = self.dialogs.dialog(id) {
            dialog.invite_out = outbound;
        }
    }

    /// Sends an INVITE or UPDATE, which says what we can and goes on with the session timer (RFC 4028 section 7.1).
    pub(super) fn open_session(
        &mut self,
        now: Mono,
        id: DialogId,
        hop: Hop,
        ask: Ask,
        headers: Vec<(String, String)>,
        body: Option<(String, Vec<u8>)>,
    ) -> Option<OutboundId> {
        let secure = Uri::parse(&self.dialogs.dialog(id)?.target).scheme() == Scheme::Sips;
        let contact = contact(&self.config, &hop.0, secure);
        let timer = self.dialogs.dialog(id)?.timer.map(|timer| {
            let role = if timer.refresher == Refresher::Us { Role::Uac } else { Role::Uas };
            ("Session-Expires", format!("{};refresher={}", timer.seconds, role.as_str()))
        });
        let given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        let supported = (!given("Supported")).then_some(("Supported", SUPPORTED));
        let timer = timer.filter(|_| !given("Session-Expires"));
        let extend = |builder: Builder| {
            let builder = builder.header("Contact", contact).header("Allow", ALLOW);
            let builder = builder.headers(supported).headers(timer).headers(headers);
            match body {
                Some((content_type, body)) => builder.body(&content_type, body),
                None => builder,
            }
        };
        self.request(now, id, hop, ask, extend)
    }

    /// Sends a request of ours inside of a dialog.
    fn request(
        &mut self,
        now: Mono,
        id: DialogId,
        hop: Hop,
        Ask { method, purpose, offered }: Ask,
        extend: impl FnOnce(Builder) -> Builder,
    ) -> Option<OutboundId> {
        let branch = self.branch();
        let dialog = self.dialogs.dialog(id)?;
        let (cseq, offers) = (dialog.next_cseq(), dialog.offers);
        let bytes = extend(dialog.request(&method, cseq, &branch, hop.0, &self.config)).finish();
        let request = Request { method, purpose, tries: 0, offers, branch, cseq, offered, bytes };
        let (outbound, again) = self.outbounds.start(now, request, id, hop);
        self.send(again);
        Some(outbound)
    }

    /// Acknowledges a 2xx to an INVITE that had no offer, with the answer (RFC 3261 section 13.2.2.4).
    pub fn ack(&mut self, id: DialogId, content_type: &str, answer: &[u8]) -> Result<(), Gone> {
        self.send_ack(id, Some((content_type, answer)))
    }

    fn send_ack(&mut self, id: DialogId, body: Option<(&str, &[u8])>) -> Result<(), Gone> {
        let branch = self.branch();
        let dialog = self.dialogs.dialog(id).filter(|dialog| dialog.confirmed).ok_or(Gone)?;
        let (cseq, hop) = (dialog.invite_cseq, dialog.next_hop());
        let mut builder = dialog.request(&Method::Ack, cseq, &branch, hop.0, &self.config);
        if let Some((content_type, body)) = body {
            builder = builder.body(content_type, body);
            dialog.sdp = Some(body.into());
        }
        let bytes: std::sync::Arc<[u8]> = builder.finish().into();
        let again = (hop.0, hop.1, bytes);
        dialog.ack = Some((cseq, again.clone()));
        self.send(again);
        Ok(())
    }

    /// Takes our INVITE back (RFC 3261 section 9.1). If the peer has accepted meanwhile, Accepted comes all the same.
    pub fn cancel(&mut self, now: Mono, id: DialogId) -> Result<(), Gone> {
        let dialog = self.dialogs.dialog(id).ok_or(Gone)?;
        let invite = dialog.invite_out.ok_or(Gone)?;
        let (cancel, hop, allowed) = self.outbounds.cancel(invite).ok_or(Gone)?;
        if !allowed {
            dialog.leaving = true;
            return Ok(());
        }
        let (_, again) = self.outbounds.start(now, cancel, id, hop);
        self.send(again);
        Ok(())
    }

    /// Ends a dialog. Event: Closed. A 2xx of ours that still waits for its ACK is waited for first (RFC 3261 section 15);
    /// an INVITE not answered yet is refused with 480, one of ours cancelled (then Refused comes instead).
    pub fn bye(&mut self, now: Mono, id: DialogId) -> Result<(), Gone> {
        let dialog = self.dialogs.dialog(id).filter(|dialog| !dialog.ending).ok_or(Gone)?;
        if !dialog.confirmed {
            return match dialog.invite_in {
                Some(request) => {
                    self.respond(now, request, Answer::new(480, "Temporarily Unavailable"))?;
                    self.event(Event::Closed { dialog: id, code: 480 });
                    Ok(())
                }
                None => self.cancel(now, id),
            };
        }
        if dialog.unacked.is_some() {
            dialog.leaving = true;
            return Ok(());
        }
        dialog.ending = true;
        dialog.retry = None;
        let hop = dialog.next_hop();
        self.dialogs.rearm(id);
        let ask = Ask { method: Method::Bye, purpose: Purpose::Owner, offered: false };
        self.request(now, id, hop, ask, |builder| builder);
        Ok(())
    }

    /// Sends each BYE that waits for an ACK (RFC 3261 section 15) without it: there is no more time.
    pub fn leave(&mut self, now: Mono) {
        let waiting = |dialog: &Dialog| dialog.leaving && dialog.unacked.is_some();
        let ids: Vec<DialogId> =
            self.dialogs.iter().filter(|(_, dialog)| waiting(dialog)).map(|(id, _)| id).collect();
        for id in ids {
            self.dialogs.set_unacked(id, None);
            self.leave_if_wanted(now, id);
        }
    }

    /// Forgets a dialog as a client does that has died: nothing more is sent in it, and what comes finds nobody. For tests and load.
    pub fn forget(&mut self, id: DialogId) {
        self.dialogs.remove(id);
    }

    pub(super) fn leave_if_wanted(&mut self, now: Mono, id: DialogId) {
        if self.dialogs.dialog(id).is_some_and(|dialog| std::mem::take(&mut dialog.leaving)) {
            // It may have been ended meanwhile, which is what is wanted.
            let _ = self.bye(now, id);
        }
    }

    pub(super) fn on_response(&mut self, now: Mono, message: Message) {
        let code = message.code().unwrap_or(0);
        match self.outbounds.receive(now, &message) {
            Receipt::Stray => self.stray(),
            Receipt::Repeated(again) => again.into_iter().for_each(|again| self.send(again)),
            Receipt::Failure(outbound, ack) => {
                ack.into_iter().for_each(|ack| self.send(ack));
                if let Some(outbound) = self.outbounds.transaction(outbound).cloned() {
                    self.on_failure(now, &outbound, code, Some(message));
                }
            }
            Receipt::Response(outbound) => self.on_answered(now, outbound, code, message),
        }
    }

    fn on_answered(&mut self, now: Mono, outbound: OutboundId, code: u16, message: Message) {
        let Some(outbound) = self.outbounds.transaction(outbound).cloned() else { return };
        let (id, purpose) = (outbound.dialog, outbound.purpose);
        if matches!(code, 401 | 407)
            && let Some(again) = self.authenticate(now, &outbound, &message)
        {
            if let Some(dialog) = self.dialogs.dialog(id) {
                dialog.refreshing = dialog.refreshing.map(|_| again);
            }
            return;
        }
        match (&outbound.method, code) {
            (Method::Invite, ..200) if purpose == Purpose::Refresh => {}
            (Method::Invite, ..200) => self.on_progress(now, id, message),
            (Method::Invite, _) => {
                let sent = Sent { purpose, cseq: outbound.cseq, body: body(&outbound) };
                self.on_accepted(now, id, sent, message);
            }
            (Method::Bye, 200..) => self.on_closed(id, code),
            (Method::Update, 200..300) => self.on_refreshed(now, id, message),
            (Method::Update, 300..) => self.on_unrefreshed(now, id, code, Some(&message)),
            _ => {}
        }
    }

    /// A final answer to an INVITE of ours, or that there is none.
    fn on_failure(&mut self, now: Mono, outbound: &Outbound, code: u16, message: Option<Message>) {
        let id = outbound.dialog;
        if let Some(dialog) = self.dialogs.dialog(id) {
            dialog.invite_out = None;
        }
        if let Some(again) = message.as_ref().and_then(|message| self.authenticate(now, outbound, message)) {
            if let Some(dialog) = self.dialogs.dialog(id) {
                dialog.invite_out = Some(again);
                dialog.refreshing = dialog.refreshing.map(|_| again);
            }
            return self.leave_if_wanted(now, id);
        }
        if outbound.purpose == Purpose::Refresh {
            self.on_unrefreshed(now, id, code, message.as_ref());
        } else if code != 491 || !self.wait_for_turn(now, id, outbound) {
            self.on_refused(id, code, message);
        }
        self.leave_if_wanted(now, id);
    }

    fn on_progress(&mut self, now: Mono, id: DialogId, message: Message) {
        self.event(Event::Progress { dialog: id, message: Box::new(message) });
        if self.dialogs.dialog(id).is_some_and(|dialog| std::mem::take(&mut dialog.leaving)) {
            // Gone means that it was answered in the same moment.
            let _ = self.cancel(now, id);
        }
    }

    fn on_accepted(&mut self, now: Mono, id: DialogId, sent: Sent, message: Message) {
        let Sent { purpose, cseq, body } = sent;
        let Some(dialog) = self.dialogs.dialog(id) else { return self.stray() };
        if let Some((_, ack)) = dialog.ack.clone().filter(|(number, _)| *number == cseq) {
            return if planted(Bug::AckNotRepeated) { self.stray() } else { self.send(ack) };
        }
        if dialog.invite_out.take().is_none() {
            // A repeated 2xx whose ACK the owner still owes.
            return;
        }
        dialog.invite_cseq = cseq;
        let leaving = std::mem::take(&mut dialog.leaving);
        if message.header("Allow").is_some() {
            dialog.updates = message.lists("Allow", "UPDATE");
        }
        self.dialogs.accept(id, &message);
        if let Some(body) = body {
            if let Some(dialog) = self.dialogs.dialog(id) {
                dialog.sdp = Some(body);
            }
            // The dialog is there: that was looked at above.
            let _ = self.send_ack(id, None);
        }
        match purpose {
            Purpose::Refresh => self.on_refreshed(now, id, message),
            Purpose::Owner => {
                self.answered(now, id, &message);
                self.event(Event::Accepted { dialog: id, message: Box::new(message) });
            }
        }
        if leaving {
            let _ = self.bye(now, id);
        }
    }

    fn on_refused(&mut self, id: DialogId, code: u16, message: Option<Message>) {
        let Some(dialog) = self.dialogs.dialog(id) else { return };
        if !dialog.confirmed {
            self.dialogs.remove(id);
        }
        self.event(Event::Refused { dialog: id, code, message: message.map(Box::new) });
    }

    fn on_closed(&mut self, id: DialogId, code: u16) {
        if self.dialogs.remove(id).is_some() {
            self.event(Event::Closed { dialog: id, code });
        }
    }

    /// Timers B and F: as if 408 had come (RFC 3261 section 8.1.3.1).
    pub(super) fn on_unanswered(&mut self, now: Mono, outbound: &Outbound) {
        match outbound.method {
            Method::Invite => self.on_failure(now, outbound, 408, None),
            Method::Bye => self.on_closed(outbound.dialog, 408),
            Method::Update => self.on_unrefreshed(now, outbound.dialog, 408, None),
            _ => {}
        }
    }
}

/// What of an INVITE of ours matters to its 2xx.
struct Sent {
    purpose: Purpose,
    cseq: u32,
    /// The session description offered; without one it is asked for by our ACK.
    body: Option<Box<[u8]>>,
}

/// The body of a request of ours.
fn body(outbound: &Outbound) -> Option<Box<[u8]>> {
    let bytes = outbound.bytes();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    outbound.offered.then(|| bytes[end + 4..].into())
}
