//! Server transactions (RFC 3261 section 17.2, RFC 6026 section 7.1), without I/O.
//!
//! A retransmitted request never reaches the owner: it is absorbed here or answered with what was said before. A 2xx to
//! an INVITE is not sent again from here but by the dialog, until its ACK comes (RFC 6026 section 8.1).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::builder::Reply;
use super::census::Census;
use super::event::{DialogId, RequestId};
use super::message::Message;
use super::method::Method;
use super::peer::Peer;
use super::session_timer::Wish;
use super::timers::{Due, LIFE, Resend, T2, T4, Timers};
use crate::base::Mono;
use crate::base::planted::{Bug, planted};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// No final response yet (Trying and Proceeding).
    Proceeding,
    /// A final response has been sent; for INVITE it waits for its ACK.
    Completed,
    /// INVITE: the ACK is there; more of it is absorbed.
    Confirmed,
    /// INVITE: a 2xx has been sent (RFC 6026).
    Accepted,
}

/// One transaction.
pub(crate) struct Transaction {
    pub(crate) method: Method,
    pub(crate) peer: Peer,
    pub(crate) reply: Arc<Reply>,
    pub(crate) cseq: u32,
    pub(crate) dialog: Option<DialogId>,
    /// Where the peer's Contact will be once this is answered 2xx.
    pub(crate) contact: Option<String>,
    /// What it says about session timers.
    pub(crate) wish: Wish,
    /// Whether the peer allows UPDATE, if it says what it allows.
    pub(crate) updates: Option<bool>,
    /// It has a session description: an INVITE without one leaves the offer to us.
    pub(crate) offered: bool,
    key: String,
    merge_key: Option<String>,
    state: State,
    last: Option<Arc<[u8]>>,
    resend: Resend,
}

impl Transaction {
    /// Whether no final response has been sent.
    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Proceeding
    }

    /// Where to connect to if the connection is gone.
    pub(crate) fn fallback(&self) -> Option<SocketAddr> {
        self.peer.transport.is_reliable().then(|| self.reply.address())
    }
}

/// What to send again: to whom and what.
pub(crate) type Again = (Peer, Option<SocketAddr>, Arc<[u8]>);

/// What a request turned out to be.
pub(crate) enum Receipt {
    /// Something new, with its transaction made.
    New(RequestId),
    /// Something seen before; what was said to it is said again.
    Retransmission(Option<Again>),
    /// The same request by another path (RFC 3261 section 8.2.2.2).
    Merged,
    /// No room for another transaction.
    Full,
    /// No room for another one of this peer.
    PeerFull,
}

/// All server transactions.
pub(crate) struct Server {
    /// Boxed, as a table that grows is half empty.
    transactions: HashMap<RequestId, Box<Transaction>>,
    keys: HashMap<String, RequestId>,
    merge_keys: HashMap<String, RequestId>,
    timers: Timers<RequestId>,
    next: u64,
    limit: usize,
    peers: Census,
    peer_limit: usize,
}

impl Server {
    pub(crate) fn new(limit: usize, peer_limit: usize) -> Server {
        Server {
            transactions: HashMap::new(),
            keys: HashMap::new(),
            merge_keys: HashMap::new(),
            timers: Timers::new(),
            next: 0,
            limit,
            peers: Census::default(),
            peer_limit,
        }
    }

    /// Whether this request belongs to a transaction that is there.
    pub(crate) fn knows(&self, request: &Message) -> bool {
        self.keys.contains_key(&key(request, request.method()))
    }

    /// Matches a request that is no ACK, or starts a transaction for it.
    pub(crate) fn receive(&mut self, now: Mono, request: &Message, peer: Peer, reply: Arc<Reply>) -> Receipt {
        let key = key(request, request.method());
        let known = self.keys.get(&key).filter(|_| !planted(Bug::RetransmissionServed));
        if let Some(known) = known.and_then(|id| self.transactions.get(id)) {
            return Receipt::Retransmission(known.repeat());
        }
        let merge_key = request.to().tag().is_empty().then(|| merge_key(request));
        if merge_key.as_ref().is_some_and(|key| self.merge_keys.contains_key(key)) {
            return Receipt::Merged;
        }
        if self.transactions.len() >= self.limit {
            return Receipt::Full;
        }
        if self.peers.of(peer.remote.ip()) >= self.peer_limit {
            return Receipt::PeerFull;
        }
        self.peers.add(peer.remote.ip());
        let id = RequestId(self.next);
        self.next += 1;
        self.keys.insert(key.clone(), id);
        self.merge_keys.extend(merge_key.clone().map(|key| (key, id)));
        let method = request.method().clone();
        // An INVITE waits for its owner; an answer to anything else is of no use after 64*T1 (RFC 4320 section 4.2).
        let resend = if method == Method::Invite { Resend::idle() } else { Resend::only_end(now, LIFE) };
        self.timers.set(id, resend.deadline());
        let (cseq, state) = (request.cseq().number, State::Proceeding);
        let opens = matches!(method, Method::Invite | Method::Update);
        let allows = opens && request.header("Allow").is_some();
        let transaction = Transaction {
            method,
            peer,
            reply,
            cseq,
            dialog: None,
            contact: opens.then(|| request.target()).flatten(),
            wish: if opens { Wish::of(request) } else { Wish::default() },
            updates: allows.then(|| request.lists("Allow", "UPDATE")),
            offered: opens && request.offers(),
            key,
            merge_key,
            state,
            last: None,
            resend,
        };
        self.transactions.insert(id, Box::new(transaction));
        Receipt::New(id)
    }

    /// Takes an ACK that belongs to a final response other than 2xx. False if it does not: then it is the dialog's.
    pub(crate) fn acknowledge(&mut self, now: Mono, ack: &Message) -> bool {
        let Some(id) = self.keys.get(&key(ack, &Method::Invite)).copied() else { return false };
        let Some(transaction) = self.transactions.get_mut(&id) else { return false };
        match transaction.state {
            State::Completed => {
                transaction.state = State::Confirmed;
                // Timer I.
                self.settle(now, id, T4);
                true
            }
            State::Confirmed => true,
            State::Proceeding | State::Accepted => false,
        }
    }

    /// The INVITE that `cancel` means (RFC 3261 section 9.2).
    pub(crate) fn cancelled(&self, cancel: &Message) -> Option<RequestId> {
        self.keys.get(&key(cancel, &Method::Invite)).copied()
    }

    /// Notes a response as sent, and gives back where it goes. `None` if a final one was sent before.
    pub(crate) fn respond(&mut self, now: Mono, id: RequestId, code: u16, bytes: Arc<[u8]>) -> Option<Again> {
        let transaction = self.transactions.get_mut(&id).filter(|transaction| transaction.is_open())?;
        transaction.last = Some(bytes);
        let again = transaction.repeat();
        let reliable = transaction.peer.transport.is_reliable();
        match (&transaction.method, code) {
            (_, 100..=199) => return again,
            (Method::Invite, 200..=299) => {
                transaction.state = State::Accepted;
                transaction.last = None;
                Arc::make_mut(&mut transaction.reply).forget();
                transaction.resend = Resend::only_end(now, LIFE); // Timer L.
            }
            (Method::Invite, _) => {
                transaction.state = State::Completed;
                let resend = Resend::until_life(now, T2); // Timers G and H.
                transaction.resend = if reliable { resend.quiet() } else { resend };
            }
            _ => {
                transaction.state = State::Completed;
                self.settle(now, id, LIFE); // Timer J.
                return again;
            }
        }
        self.timers.set(id, transaction.resend.deadline());
        again
    }

    /// Keeps a transaction for `rest`, or over a reliable transport not at all.
    fn settle(&mut self, now: Mono, id: RequestId, rest: std::time::Duration) {
        let Some(transaction) = self.transactions.get_mut(&id) else { return };
        if transaction.peer.transport.is_reliable() {
            self.remove(id);
        } else {
            transaction.resend = Resend::only_end(now, rest);
            self.timers.set(id, transaction.resend.deadline());
        }
    }

    fn remove(&mut self, id: RequestId) {
        self.timers.set(id, None);
        if planted(Bug::TransactionKept) {
            return;
        }
        if let Some(transaction) = self.transactions.remove(&id) {
            self.keys.remove(&transaction.key);
            self.peers.remove(transaction.peer.remote.ip());
            transaction.merge_key.map(|key| self.merge_keys.remove(&key));
        }
    }

    /// Runs what is due at `now`, until it gives something to send or nothing is left.
    pub(crate) fn expire(&mut self, now: Mono) -> Option<Again> {
        while let Some(id) = self.timers.pop(now) {
            let Some(transaction) = self.transactions.get_mut(&id) else { continue };
            let due = transaction.resend.fire(now);
            self.timers.set(id, transaction.resend.deadline());
            match due {
                Some(Due::Again) => return transaction.repeat(),
                Some(Due::End) => self.remove(id),
                None => {}
            }
        }
        None
    }

    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.timers.next()
    }

    pub(crate) fn transaction(&mut self, id: RequestId) -> Option<&mut Transaction> {
        self.transactions.get_mut(&id).map(Box::as_mut)
    }

    pub(crate) fn len(&self) -> usize {
        self.transactions.len()
    }
}

impl Transaction {
    fn repeat(&self) -> Option<Again> {
        // In Confirmed the ACK has come: nothing is said any more.
        let last = self.last.clone().filter(|_| self.state != State::Confirmed)?;
        let mut to = self.peer;
        if !to.transport.is_reliable() {
            to.remote = self.reply.address();
        }
        Some((to, self.fallback(), last))
    }
}

/// What names a transaction (RFC 3261 section 17.2.3): branch, sent-by and method; without the magic cookie everything
/// that an RFC 2543 client keeps the same. An ACK asks for its INVITE's.
fn key(request: &Message, method: &Method) -> String {
    let via = request.via();
    if via.has_cookie() {
        return format!(
            "{method} {} {}:{}",
            via.branch(),
            via.host.to_ascii_lowercase(),
            via.port.unwrap_or(0)
        );
    }
    let uri = request.uri().map_or("", |uri| uri.as_str());
    let (call, tag, number) = (request.call_id(), request.from().tag(), request.cseq().number);
    format!("{method} {number} {uri} {tag} {call} {via}")
}

fn merge_key(request: &Message) -> String {
    format!("{} {} {} {}", request.method(), request.cseq().number, request.from().tag(), request.call_id())
}
