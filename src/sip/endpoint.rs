//! One SIP endpoint without I/O: messages and instants in, [`Action`]s out.
//!
//! ```text
//!  Message ──▶ transactions ──▶ method, URI, option tags ──▶ dialogs ──▶ Event ──▶ owner
//!                  ▲                                            ▲                    │
//!                  └──── responses, retransmissions ◀───────────┴──── respond, bye ◀─┘
//! ```
//!
//! The driver calls [`Endpoint::receive`] for each message, the owner [`Endpoint::respond`] and its like for each event; after
//! either, and when [`Endpoint::deadline`] has come, [`Endpoint::poll`] is called until it gives nothing more.
//!
//! This file holds what both roles share. `uas` takes requests, [`super::client`] makes them.

mod session;
mod uas;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::builder::{Builder, Reply};
use super::dialog::{self, Dialogs, Fired};
use super::event::{Action, Answer, Config, Counters, DialogId, Event, Gone, RequestId, Shut};
use super::gate::Gate;
use super::malformed::Malformed;
use super::message::Message;
use super::method::Method;
use super::outbound::Outbounds;
use super::peer::{Peer, Transport};
use super::server::{Again, Server};
use super::session_id::{self, NIL, SessionId};
use crate::base::{Entropy, Mono, Networks, hex};
use crate::limits::SIP_ANSWER_BYTES;

/// Methods that are served. In Allow (RFC 3261 section 20.5).
pub const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, PRACK, MESSAGE, NOTIFY";
/// Option tags in Supported.
pub const SUPPORTED: &str = "siprec, timer, replaces, 100rel";
/// Bodies that are read.
pub const ACCEPT: &str =
    "application/sdp, application/rs-metadata, application/rs-metadata+xml, multipart/mixed";

/// See the [module](self).
pub struct Endpoint {
    pub(super) config: Config,
    entropy: Box<dyn Entropy + Send>,
    server: Server,
    pub(super) outbounds: Outbounds,
    pub(super) dialogs: Dialogs,
    out: VecDeque<Action>,
    counters: Counters,
    shut: Shut,
    gate: Option<Gate>,
}

impl Endpoint {
    /// An endpoint that knows nobody yet. `entropy` makes tags, branches and Call-IDs.
    pub fn new(config: Config, entropy: Box<dyn Entropy + Send>) -> Endpoint {
        let server = Server::new(config.transactions_max, config.peer_transactions_max);
        let (outbounds, dialogs, out) = (Outbounds::new(), Dialogs::new(), VecDeque::new());
        Endpoint {
            config,
            entropy,
            server,
            outbounds,
            dialogs,
            out,
            counters: Counters::default(),
            shut: Shut::default(),
            gate: None,
        }
    }

    /// Takes what came from `from`: a message, or what is wrong with it.
    pub fn receive(&mut self, now: Mono, from: Peer, parsed: Result<Message, Malformed>) {
        if self.gate.as_ref().is_some_and(|gate| !gate.allowed().allows(from.remote.ip())) {
            self.counters.not_allowed += 1;
            return;
        }
        match parsed {
            Ok(message) if message.is_request() => self.on_request(now, from, message),
            Ok(message) => self.on_response(now, message),
            Err(malformed) => self.on_malformed(from, &malformed),
        }
    }

    /// The next thing to do; call until `None`. Runs the timers that are due at `now`.
    pub fn poll(&mut self, now: Mono) -> Option<Action> {
        while self.out.is_empty() && self.expire(now) {}
        self.out.pop_front()
    }

    /// When [`Endpoint::poll`] has to be called next if nothing else happens.
    pub fn deadline(&self) -> Option<Mono> {
        [self.server.deadline(), self.outbounds.deadline(), self.dialogs.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is answered 503 from now on; dialogs go on.
    pub fn set_shut(&mut self, shut: Shut) {
        self.shut = shut;
    }

    /// What Contact and Via show of a listener instead of its local address: a host, with a port if it differs. Dialogs that
    /// live show it from their next message on.
    pub fn set_advertised(&mut self, listener: u16, host: Option<String>) {
        match host {
            Some(host) => _ = self.config.advertised.insert(listener, host),
            None => _ = self.config.advertised.remove(&listener),
        }
    }

    /// Sets what Contact and Via show to peers in these networks, whatever their listener is advertised as.
    pub fn set_known_as(&mut self, addresses: Networks<IpAddr>) {
        self.config.known_as = addresses;
    }

    /// Sets who may talk to us and who has to authenticate himself. Without one everybody may do everything.
    pub fn set_gate(&mut self, gate: Gate) {
        self.gate = Some(gate);
    }

    /// What has been counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Transactions alive.
    pub fn transactions(&self) -> usize {
        self.server.len() + self.outbounds.len()
    }

    /// Dialogs alive.
    pub fn dialogs(&self) -> usize {
        self.dialogs.len()
    }

    /// Runs one thing that is due. False if nothing is.
    fn expire(&mut self, now: Mono) -> bool {
        if let Some(again) = self.server.expire(now) {
            self.send(again);
            return true;
        }
        match self.outbounds.expire(now) {
            Some(Ok(again)) => {
                self.send(again);
                return true;
            }
            Some(Err(unanswered)) => {
                self.on_unanswered(now, &unanswered);
                return true;
            }
            None => {}
        }
        let Some((dialog, fired)) = self.dialogs.expire(now) else { return false };
        match fired {
            Fired::Again(again) => self.send(again),
            Fired::Unacknowledged => {
                self.event(Event::Timeout { dialog });
                self.leave_if_wanted(now, dialog);
            }
            Fired::Session(lapse) => self.on_lapse(now, dialog, lapse),
            Fired::Retry(retry) => self.on_retry(now, dialog, retry),
        }
        true
    }

    /// 400 and its like, without state: there is too little to trust for any (RFC 3261 section 8.2.7).
    fn on_malformed(&mut self, from: Peer, malformed: &Malformed) {
        *self.counters.malformed(malformed.why) += 1;
        let Some(reply) = malformed.request().and_then(|head| Reply::new(head, from.remote)) else {
            self.counters.malformed_dropped += 1;
            return;
        };
        self.counters.malformed_answered += 1;
        self.respond_stateless(from, &reply, &Answer::new(malformed.why.code(), &malformed.why.to_string()));
    }

    fn respond_stateless(&mut self, from: Peer, reply: &Reply, answer: &Answer) {
        let tag = self.tag();
        let bytes = self.response(reply, answer, &tag, NIL).finish();
        let mut to = from;
        let fallback = to.transport.is_reliable().then(|| reply.address());
        if fallback.is_none() {
            to.remote = reply.address();
        }
        self.send((to, fallback, bytes.into()));
    }

    /// Starts a response; `own` is our name in Session-ID (RFC 7989 section 5).
    fn response(&self, reply: &Reply, answer: &Answer, tag: &str, own: &str) -> Builder {
        let session_id = reply.session_id().filter(|_| answer.code > 100);
        let session_id = session_id.and_then(|theirs| session_id::answer(theirs, own));
        let builder = reply
            .builder(answer.code, &answer.reason, tag)
            .header("Server", &self.config.product)
            .headers(session_id.map(|id| ("Session-ID", id)))
            .headers(answer.headers.iter().map(|(name, value)| (name, value)));
        match &answer.body {
            Some((content_type, body)) => builder.body(content_type, body.clone()),
            None => builder,
        }
    }

    /// RFC 3261 section 18.1.1 would have a long request go over TCP. Whether the peer takes that nobody has said, and what it has sent us
    /// was longer: ours goes the way it came, in fragments, and is counted.
    pub(super) fn send(&mut self, (to, fallback, bytes): Again) {
        if to.transport == Transport::Udp && bytes.len() > SIP_ANSWER_BYTES {
            self.counters.datagrams_long += 1;
        }
        self.out.push_back(Action::Send { to, fallback, bytes });
    }

    pub(super) fn event(&mut self, event: Event) {
        self.out.push_back(Action::Event(event));
    }

    pub(super) fn stray(&mut self) {
        self.counters.stray += 1;
    }

    fn random_hex(&mut self, bytes: usize) -> String {
        let mut random = [0; 16];
        self.entropy.fill(&mut random[..bytes]);
        hex(&random[..bytes])
    }

    /// A tag (RFC 3261 section 19.3): at least 32 bits of randomness; we take 64.
    pub(super) fn tag(&mut self) -> String {
        self.random_hex(8)
    }

    /// A branch with the magic cookie (RFC 3261 section 8.1.1.7).
    pub(super) fn branch(&mut self) -> String {
        format!("z9hG4bK{}", self.random_hex(12))
    }

    pub(super) fn new_call_id(&mut self) -> String {
        self.random_hex(16)
    }

    /// Headers that say what we can (RFC 3261 section 20.1, 20.5, 20.37).
    fn with_capabilities(builder: Builder) -> Builder {
        builder.header("Allow", ALLOW).header("Supported", SUPPORTED).header("Accept", ACCEPT)
    }

    fn contact(&self, peer: &Peer, secure: bool) -> String {
        dialog::contact(&self.config, peer, secure)
    }
}
