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
use super::endpoint::{ALLOW, Endpoint};
use super::event::{Answer, DialogId, Event, Gone};
use super::message::Message;
use super::method::Method;
use super::outbound::{Outbound, OutboundId, Receipt, Request};
use super::peer::Peer;
use crate::base::Mono;

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
            call_id,
            local: format!("{};tag={tag}", invitation.from.unwrap_or(own)),
            local_tag: tag,
            remote: format!("<{}>", invitation.to),
            remote_tag: String::new(),
            target: invitation.to,
            routes: Vec::new(),
            local_cseq: 0,
            remote_cseq: None,
            peer: to,
            confirmed: false,
            invite_in: None,
            invite_out: None,
            leaving: false,
            ending: false,
            ack: None,
            invite_cseq: 0,
            unacked: None,
        };
        let id = self.dialogs.insert(dialog);
        self.send_invite(now, id, (to, None), invitation.headers, invitation.body);
        id
    }

    /// Changes the session. `Err` if the dialog is not confirmed or an INVITE is under way either way.
    pub fn reinvite(&mut self, now: Mono, id: DialogId, offer: Answer) -> Result<(), Gone> {
        let dialog = self.dialogs.dialog(id).ok_or(Gone)?;
        let busy =
            dialog.invite_in.is_some() || dialog.invite_out.is_some() || dialog.ending || !dialog.confirmed;
        if busy {
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
        let (contact, offered) = (contact(&self.config, &hop.0), body.is_some());
        let extend = |builder: Builder| {
            let builder = builder.header("Contact", contact).header("Allow", ALLOW).headers(headers);
            match body {
                Some((content_type, body)) => builder.body(&content_type, body),
                None => builder,
            }
        };
        let outbound = self.request(now, id, hop, &Method::Invite, offered, extend);
        if let Some(dialog) = self.dialogs.dialog(id) {
            dialog.invite_out = outbound;
        }
    }

    /// Sends a request of ours inside of a dialog.
    fn request(
        &mut self,
        now: Mono,
        id: DialogId,
        hop: Hop,
        method: &Method,
        offered: bool,
        extend: impl FnOnce(Builder) -> Builder,
    ) -> Option<OutboundId> {
        let branch = self.branch();
        let dialog = self.dialogs.dialog(id)?;
        let cseq = dialog.next_cseq();
        let bytes = extend(dialog.request(method, cseq, &branch, hop.0, &self.config)).finish();
        let request = Request { method: method.clone(), branch, cseq, offered, bytes };
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
        let hop = dialog.next_hop();
        self.request(now, id, hop, &Method::Bye, false, |builder| builder);
        Ok(())
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
            Receipt::Failure(id, ack) => {
                ack.into_iter().for_each(|ack| self.send(ack));
                if let Some(id) = self.outbounds.transaction(id).map(|outbound| outbound.dialog) {
                    self.on_refused(id, code, Some(message));
                }
            }
            Receipt::Response(id) => {
                let Some(outbound) = self.outbounds.transaction(id) else { return };
                let (method, id, cseq, offered) =
                    (outbound.method.clone(), outbound.dialog, outbound.cseq, outbound.offered);
                match (method, code) {
                    (Method::Invite, ..200) => self.on_progress(now, id, message),
                    (Method::Invite, _) => self.on_accepted(now, id, cseq, offered, message),
                    (Method::Bye, 200..) => self.on_closed(id, code),
                    _ => {}
                }
            }
        }
    }

    fn on_progress(&mut self, now: Mono, id: DialogId, message: Message) {
        self.event(Event::Progress { dialog: id, message: Box::new(message) });
        if self.dialogs.dialog(id).is_some_and(|dialog| std::mem::take(&mut dialog.leaving)) {
            // Gone means that it was answered in the same moment.
            let _ = self.cancel(now, id);
        }
    }

    fn on_accepted(&mut self, now: Mono, id: DialogId, cseq: u32, offered: bool, message: Message) {
        let Some(dialog) = self.dialogs.dialog(id) else { return self.stray() };
        if let Some((_, ack)) = dialog.ack.clone().filter(|(number, _)| *number == cseq) {
            return self.send(ack);
        }
        if dialog.invite_out.take().is_none() {
            // A repeated 2xx whose ACK the owner still owes.
            return;
        }
        dialog.invite_cseq = cseq;
        let leaving = std::mem::take(&mut dialog.leaving);
        self.dialogs.accept(id, &message);
        if offered {
            // The dialog is there: that was looked at above.
            let _ = self.send_ack(id, None);
        }
        self.event(Event::Accepted { dialog: id, message: Box::new(message) });
        if leaving {
            let _ = self.bye(now, id);
        }
    }

    fn on_refused(&mut self, id: DialogId, code: u16, message: Option<Message>) {
        let Some(dialog) = self.dialogs.dialog(id) else { return };
        dialog.invite_out = None;
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
    pub(super) fn on_unanswered(&mut self, outbound: &Outbound) {
        match outbound.method {
            Method::Invite => self.on_refused(outbound.dialog, 408, None),
            Method::Bye => self.on_closed(outbound.dialog, 408),
            _ => {}
        }
    }
}
