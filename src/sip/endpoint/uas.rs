//! Requests from the peer: which are answered here, which become events, and how those are answered
//! (RFC 3261 sections 8.2, 9.2, 12.2.2, 13.3, 14.2, 15.1.2).

use std::sync::Arc;

use super::*;
use crate::sip::dialog::{Dialog, Unacked};
use crate::sip::gate::Verdict;
use crate::sip::lex;
use crate::sip::multipart;
use crate::sip::server::Receipt;
use crate::sip::session_timer::Terms;
use crate::sip::timers::{Resend, T2};
use crate::sip::uri::Scheme;

/// Option tags that a peer may require: those we speak, and those that ask nothing of a recorder. Vendors require them in
/// recording sessions; refusing would lose the recording.
const KNOWN_OPTIONS: [&str; 16] = [
    "siprec",
    "record-aware",
    "100rel",
    "timer",
    "replaces",
    "resource-priority",
    "histinfo",
    "from-change",
    "path",
    "outbound",
    "gruu",
    "norefersub",
    "nosub",
    "tdialog",
    "privacy",
    "uui",
];

/// When a request outside of its turn may be tried again (RFC 3261 section 14.2: 0 to 10 s).
const TURN: Duration = Duration::from_secs(2);
/// Retry-After of a peer that sends too much: its bucket is full again then.
const RATE: Duration = Duration::from_secs(1);
/// Retry-After of a full table.
const OVERLOAD: Duration = Duration::from_secs(5);

impl Endpoint {
    pub(super) fn on_request(&mut self, now: Mono, from: Peer, message: Message) {
        if *message.method() == Method::Ack {
            return self.on_ack(now, message);
        }
        let Some(reply) = Reply::new(&message, from.remote).map(Arc::new) else { return };
        if !self.may_enter(now, from, &message, &reply) {
            return;
        }
        match self.server.receive(now, &message, from, reply.clone()) {
            Receipt::New(request) => self.on_new_request(now, from, request, message),
            Receipt::Retransmission(again) => {
                self.counters.retransmissions += 1;
                again.into_iter().for_each(|again| self.send(again));
            }
            Receipt::Merged => {
                self.counters.merged += 1;
                self.respond_stateless(from, &reply, &Answer::new(482, "Loop Detected"));
            }
            Receipt::Full => {
                self.counters.transactions_full += 1;
                self.respond_stateless(from, &reply, &Answer::unavailable("Too Many Transactions", OVERLOAD));
            }
            Receipt::PeerFull => {
                self.counters.peer_transactions_full += 1;
                let answer = Answer::unavailable("Too Many Transactions of This Peer", OVERLOAD);
                self.respond_stateless(from, &reply, &answer);
            }
        }
    }

    /// Asks the gate, unless the request has passed it before. What it refuses leaves no state behind.
    fn may_enter(&mut self, now: Mono, from: Peer, message: &Message, reply: &Reply) -> bool {
        let ip = from.remote.ip();
        let Some(gate) = self.gate.as_mut().filter(|gate| gate.asks(ip)) else { return true };
        if self.server.knows(message) {
            return true;
        }
        let answer = match gate.check(now, ip, message) {
            Verdict::Pass => return true,
            Verdict::Drop => {
                self.counters.rate_dropped += 1;
                return false;
            }
            Verdict::Busy => {
                self.counters.rate_refused += 1;
                Answer::unavailable("Too Many Requests", RATE)
            }
            Verdict::Challenge { nonce, stale, wrong } => {
                let counters = &mut self.counters;
                *match (wrong, stale) {
                    (true, _) => &mut counters.credentials_wrong,
                    (false, true) => &mut counters.nonce_stale,
                    (false, false) => &mut counters.challenged,
                } += 1;
                gate.challenges(&nonce, stale).fold(Answer::new(401, "Unauthorized"), |answer, challenge| {
                    answer.header("WWW-Authenticate", &challenge)
                })
            }
        };
        self.respond_stateless(from, reply, &answer);
        false
    }

    fn on_new_request(&mut self, now: Mono, from: Peer, request: RequestId, message: Message) {
        if *message.method() == Method::Cancel {
            self.on_cancel(now, request, &message);
        } else if let Some(no) = refusal(&message) {
            self.refuse(now, request, no);
        } else if message.to().tag().is_empty() {
            self.on_outside(now, from, request, message);
        } else {
            self.on_inside(now, from, request, message);
        }
    }

    /// A request that belongs to no dialog.
    fn on_outside(&mut self, now: Mono, from: Peer, request: RequestId, message: Message) {
        match message.method() {
            Method::Invite => self.on_invite(now, from, request, message),
            Method::Options => self.on_options(now, request),
            Method::Bye
            | Method::Update
            | Method::Info
            | Method::Prack
            | Method::Notify
            | Method::Message => self.refuse(now, request, No::Dialog(UNKNOWN)),
            _ => self.refuse(now, request, No::Unserved),
        }
    }

    fn on_invite(&mut self, now: Mono, from: Peer, request: RequestId, message: Message) {
        if let Some(after) = self.shut.invites {
            self.counters.turned_away += 1;
            return self.answer(now, request, Answer::unavailable("Service Unavailable", after));
        }
        if self.dialogs.len() >= self.config.dialogs_max {
            self.counters.dialogs_full += 1;
            return self.answer(now, request, Answer::unavailable("Too Many Dialogs", OVERLOAD));
        }
        if self.dialogs.of_peer(from.remote.ip()) >= self.config.peer_dialogs_max {
            self.counters.peer_dialogs_full += 1;
            return self.answer(now, request, Answer::unavailable("Too Many Dialogs of This Peer", OVERLOAD));
        }
        let tag = self.tag();
        let mut dialog = Dialog::from_invite(&message, from, tag.clone(), now);
        let session_id = message.header("Session-ID");
        dialog.session_id = session_id.and_then(|value| SessionId::of(&value, || self.new_call_id()));
        dialog.invite_in = Some(request);
        // One that names no dialog of ours is a call like any other: a client that takes over from one that died must not lose it.
        dialog.replaces = message.header("Replaces").and_then(|value| self.dialogs.replaced(&value));
        let dialog = self.dialogs.insert(dialog);
        self.bind(request, dialog);
        self.answer(now, request, Answer::new(100, "Trying"));
        self.event(Event::Invite { dialog, request, message: Box::new(message), from, local_tag: tag });
    }

    /// A request that names a dialog by its To tag.
    fn on_inside(&mut self, now: Mono, from: Peer, request: RequestId, message: Message) {
        let found = self.dialogs.find(&message).and_then(|id| Some((id, self.dialogs.dialog(id)?)));
        let Some((id, dialog)) = found else {
            return self.refuse(now, request, No::Dialog(UNKNOWN));
        };
        // RFC 3261 section 12.2.2: a lower number is out of order.
        let number = message.cseq().number;
        if dialog.remote_cseq.is_some_and(|last| number < last) {
            return self.refuse(now, request, No::Order);
        }
        dialog.remote_cseq = Some(number);
        dialog.peer = from;
        if dialog.ending && *message.method() != Method::Bye {
            return self.refuse(now, request, No::Dialog("Dialog Is Ending"));
        }
        match message.method() {
            Method::Invite => self.on_reinvite(now, id, request, message),
            Method::Bye => self.on_bye(now, id, request, message),
            // Refusing it while we drain could end the call.
            Method::Options => {
                self.counters.options += 1;
                self.answer(now, request, Answer::ok());
            }
            Method::Update if let Some(code) = dialog.clash(&message) => {
                self.refuse(now, request, if code == 491 { No::Glare } else { No::Turn });
            }
            // We never send a reliable provisional response, so there is none to acknowledge (RFC 3262 section 3).
            Method::Prack => self.refuse(now, request, No::Dialog("No Such Provisional Response")),
            Method::Update | Method::Info | Method::Message | Method::Notify => {
                self.bind(request, id);
                self.event(Event::InDialog { dialog: id, request, message: Box::new(message) });
            }
            _ => self.refuse(now, request, No::Unserved),
        }
    }

    /// RFC 3261 section 14.2: one INVITE at a time.
    fn on_reinvite(&mut self, now: Mono, id: DialogId, request: RequestId, message: Message) {
        let Some(dialog) = self.dialogs.dialog(id) else { return };
        if dialog.invite_out.is_some() {
            return self.refuse(now, request, No::Glare);
        }
        if dialog.invite_in.is_some() || !dialog.confirmed {
            return self.refuse(now, request, No::Turn);
        }
        dialog.invite_in = Some(request);
        self.bind(request, id);
        self.answer(now, request, Answer::new(100, "Trying"));
        self.event(Event::Reinvite { dialog: id, request, message: Box::new(message) });
    }

    /// RFC 3261 section 15.1.2; a BYE may come before the ACK and before our answer.
    fn on_bye(&mut self, now: Mono, id: DialogId, request: RequestId, message: Message) {
        self.answer(now, request, Answer::ok());
        let Some(dialog) = self.dialogs.dialog(id) else { return };
        let crossed = dialog.ending;
        if let Some(invite) = dialog.invite_in.take() {
            self.answer(now, invite, Answer::new(487, "Request Terminated"));
        }
        // If ours crossed it, the owner hears of its own alone, once that is done.
        if !crossed {
            self.dialogs.remove(id);
            self.event(Event::Bye { dialog: id, message: Box::new(message) });
        }
    }

    /// RFC 3261 section 11.2: what an INVITE would be answered now.
    fn on_options(&mut self, now: Mono, request: RequestId) {
        self.counters.options += 1;
        match self.shut.options {
            Some(after) => self.answer(now, request, Answer::unavailable("Service Unavailable", after)),
            None => self.answer(now, request, Answer::ok()),
        }
    }

    /// RFC 3261 section 9.2: a CANCEL that comes too late changes nothing.
    fn on_cancel(&mut self, now: Mono, request: RequestId, message: &Message) {
        let Some(invite) = self.server.cancelled(message) else {
            return self.refuse(now, request, No::Dialog(UNKNOWN));
        };
        let Some((open, dialog)) = self.server.transaction(invite).map(|t| (t.is_open(), t.dialog)) else {
            return;
        };
        dialog.into_iter().for_each(|dialog| self.bind(request, dialog));
        self.answer(now, request, Answer::ok());
        let (true, Some(id)) = (open, dialog) else { return };
        self.answer(now, invite, Answer::new(487, "Request Terminated"));
        let ended = self.dialogs.dialog(id).is_none();
        self.event(Event::Cancel { dialog: id, ended });
    }

    /// An ACK may come from anywhere: only its tags and number count (RFC 3261 section 13.3.1.4).
    fn on_ack(&mut self, now: Mono, message: Message) {
        if self.server.acknowledge(now, &message) {
            return;
        }
        let found = self.dialogs.find(&message).and_then(|id| Some((id, self.dialogs.dialog(id)?)));
        let waited = found
            .filter(|(_, dialog)| dialog.unacked.as_ref().is_some_and(|u| u.cseq == message.cseq().number));
        let Some((id, _)) = waited else { return self.stray() };
        self.dialogs.set_unacked(id, None);
        self.event(Event::Ack { dialog: id, message: Box::new(message) });
        self.leave_if_wanted(now, id);
    }

    /// Answers the request of an event. A provisional answer may be followed by another; after a final one the request is gone.
    pub fn respond(&mut self, now: Mono, request: RequestId, answer: Answer) -> Result<(), Gone> {
        let open = self.server.transaction(request).is_some_and(|transaction| transaction.is_open());
        if !open {
            return Err(Gone);
        }
        self.answer(now, request, answer);
        Ok(())
    }

    /// Says no without asking anybody.
    fn refuse(&mut self, now: Mono, request: RequestId, no: No) {
        *no.counter(&mut self.counters) += 1;
        self.answer(now, request, no.into_answer());
    }

    /// Makes the dialog feel the answer to this request. Those refused out of turn must not be felt.
    fn bind(&mut self, request: RequestId, dialog: DialogId) {
        if let Some(transaction) = self.server.transaction(request) {
            transaction.dialog = Some(dialog);
        }
    }

    /// Sends an answer through its transaction and draws the consequences for its dialog.
    fn answer(&mut self, now: Mono, request: RequestId, answer: Answer) {
        let code = answer.code;
        let terms = if (200..300).contains(&code) { self.terms(request) } else { None };
        let Some(transaction) = self.server.transaction(request) else { return };
        let (method, reply, peer) = (transaction.method.clone(), transaction.reply.clone(), transaction.peer);
        let (dialog, cseq, contact) = (transaction.dialog, transaction.cseq, transaction.contact.clone());
        let (updates, offered) = (transaction.updates, transaction.offered);
        let felt = dialog.and_then(|id| self.dialogs.dialog(id));
        let (tag, own) = felt.map_or((None, None), |dialog| {
            (Some(dialog.local_tag.clone()), dialog.session_id.as_ref().map(|id| id.own.clone()))
        });
        let names = (tag.unwrap_or_else(|| self.tag()), own.unwrap_or_else(|| NIL.to_owned()));
        let said = Said { method: method.clone(), updates, offered, contact, sdp: sdp(&answer), terms };
        let bytes = self.compose(&reply, &said, &peer, answer, names).into();
        let Some(again) = self.server.respond(now, request, code, bytes) else { return };
        self.send(again.clone());
        match dialog.filter(|_| code >= 200) {
            Some(id) if (200..300).contains(&code) => {
                let late = !offered && said.sdp.is_some();
                let unacked = Unacked { cseq, late, again, resend: Resend::until_life(now, T2) };
                self.accepted(now, id, said, unacked);
            }
            Some(id) if method == Method::Invite => self.rejected(id),
            _ => {}
        }
    }

    /// Adds what a response to this method says about us.
    fn compose(
        &self,
        reply: &Reply,
        said: &Said,
        peer: &Peer,
        mut answer: Answer,
        (tag, own): (String, String),
    ) -> Vec<u8> {
        let body = answer.body.take();
        let mut builder = self.response(reply, &answer, &tag, &own);
        let opens = matches!(said.method, Method::Invite | Method::Update);
        if opens && (101..300).contains(&answer.code) {
            builder = builder.header("Contact", self.contact(peer, reply.is_secure()));
        }
        if (opens || said.method == Method::Options) && (200..300).contains(&answer.code) {
            builder = Endpoint::with_capabilities(builder);
        }
        if let Some(terms) = said.terms.filter(|terms| terms.said) {
            let expires = format_args!("{};refresher={}", terms.seconds, terms.refresher.as_str());
            let require = terms.require.then_some(("Require", "timer"));
            builder = builder.header("Session-Expires", expires).headers(require);
        }
        if let Some((content_type, body)) = body {
            builder = builder.body(&content_type, body);
        }
        if peer.transport == Transport::Udp {
            builder = builder.sparing(SIP_ANSWER_BYTES, &["Accept", "Server"]);
        }
        builder.finish()
    }

    /// We said 2xx inside of a dialog or to make one.
    fn accepted(&mut self, now: Mono, id: DialogId, said: Said, unacked: Unacked) {
        let Some(dialog) = self.dialogs.dialog(id) else { return };
        if !matches!(said.method, Method::Invite | Method::Update) {
            return;
        }
        if let Some(contact) = said.contact {
            // Target refresh (RFC 3261 section 12.2.2).
            dialog.target = contact;
        }
        dialog.updates = said.updates.unwrap_or(dialog.updates);
        dialog.offers += u32::from(said.offered && said.sdp.is_some());
        if said.sdp.is_some() {
            dialog.sdp = said.sdp;
        }
        if said.method == Method::Invite {
            dialog.invite_in = None;
            dialog.confirmed = true;
            let replaced = dialog.replaces.take();
            self.dialogs.set_unacked(id, Some(unacked));
            if let Some(dialog) = replaced {
                self.event(Event::Replaced { dialog });
            }
        }
        self.agreed(now, id, said.terms);
    }

    /// We said no to an INVITE: the end of a dialog that had not begun, and of nothing else.
    fn rejected(&mut self, id: DialogId) {
        let Some(dialog) = self.dialogs.dialog(id) else { return };
        dialog.invite_in = None;
        if !dialog.confirmed {
            self.dialogs.remove(id);
        }
    }
}

/// What of a request and of our answer to it matters to its dialog.
struct Said {
    method: Method,
    /// The peer's Allow lists UPDATE, if it has sent one.
    updates: Option<bool>,
    /// The request had a session description.
    offered: bool,
    contact: Option<String>,
    /// Our session description.
    sdp: Option<Box<[u8]>>,
    terms: Option<Terms>,
}

fn sdp(answer: &Answer) -> Option<Box<[u8]>> {
    let (content_type, body) = answer.body.as_ref().filter(|_| (200..300).contains(&answer.code))?;
    (multipart::media_type(content_type) == "application/sdp").then(|| body.as_slice().into())
}

/// Why nobody is asked about a request.
enum No {
    /// Another scheme than ours.
    Scheme,
    /// It requires these.
    Options(String),
    /// Its body is encoded.
    Encoding,
    /// A method that a recorder does not serve, or that nobody knows.
    Unserved,
    /// What it belongs to is not there; the reason phrase.
    Dialog(&'static str),
    /// A lower CSeq than before.
    Order,
    /// It met an INVITE or offer of ours.
    Glare,
    /// Before the answer to the one before.
    Turn,
}

/// 481's own reason phrase.
const UNKNOWN: &str = "Call/Transaction Does Not Exist";

impl No {
    fn counter<'a>(&self, counters: &'a mut Counters) -> &'a mut u64 {
        match self {
            No::Scheme => &mut counters.uri_scheme_refused,
            No::Options(_) => &mut counters.option_refused,
            No::Encoding => &mut counters.encoding_refused,
            No::Unserved => &mut counters.method_unserved,
            No::Dialog(_) => &mut counters.no_dialog,
            No::Order => &mut counters.out_of_order,
            No::Glare => &mut counters.glare,
            No::Turn => &mut counters.out_of_turn,
        }
    }

    fn into_answer(self) -> Answer {
        match self {
            No::Scheme => Answer::new(416, "Unsupported URI Scheme"),
            No::Options(unknown) => Answer::new(420, "Bad Extension").header("Unsupported", &unknown),
            No::Encoding => Answer::new(415, "Unsupported Media Type").header("Accept-Encoding", "identity"),
            No::Unserved => Answer::new(501, "Not Implemented").header("Allow", ALLOW),
            No::Dialog(reason) => Answer::new(481, reason),
            No::Order => Answer::new(500, "CSeq Out of Order"),
            No::Glare => Answer::new(491, "Request Pending"),
            No::Turn => Answer::new(500, "Earlier INVITE Unanswered")
                .header("Retry-After", &TURN.as_secs().to_string()),
        }
    }
}

/// What can't be served, whoever asks (RFC 3261 section 8.2.1 to 8.2.2.3).
fn refusal(message: &Message) -> Option<No> {
    if message.uri().is_some_and(|uri| uri.scheme() == Scheme::Other) {
        return Some(No::Scheme);
    }
    let unknown: Vec<String> =
        message.require().into_iter().filter(|tag| !KNOWN_OPTIONS.contains(&tag.as_str())).collect();
    if !unknown.is_empty() {
        return Some(No::Options(unknown.join(", ")));
    }
    is_encoded(message).then_some(No::Encoding)
}

/// Whether its body is compressed, or encoded otherwise, and asks to be understood (RFC 3261 section 8.2.3). A BYE ends the call all the same.
fn is_encoded(message: &Message) -> bool {
    let plain = |encoding: &String| encoding.eq_ignore_ascii_case("identity");
    let disposition = message.header("Content-Disposition").unwrap_or_default();
    let optional = lex::params(&disposition).any(|param| matches!(param, ("handling", Some("optional"))));
    let ends = matches!(message.method(), Method::Bye | Method::Cancel);
    !ends && !message.body().is_empty() && !optional && !message.list("Content-Encoding").iter().all(plain)
}
