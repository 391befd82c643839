//! Client transactions (RFC 3261 section 17.1, RFC 6026 section 7.2), without I/O.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::builder::Builder;
use super::dialog::Hop;
use super::event::DialogId;
use super::header::Head;
use super::message::{Message, Start};
use super::method::Method;
use super::server::Again;
use super::timers::{Due, LIFE, Resend, T2, T4, Timers};
use crate::base::Mono;

/// How long a peer may think about our INVITE after its last provisional response (RFC 3261 section 16.6: timer C).
const ANSWER_MAX: Duration = Duration::from_secs(180);

/// A client transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct OutboundId(u64);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing has come back (Calling or Trying).
    Calling,
    /// A provisional response has.
    Proceeding,
    /// A final one has; more of it is absorbed. For INVITE: not a 2xx.
    Completed,
    /// INVITE: a 2xx; more of it goes to the dialog, which says ACK again.
    Accepted,
}

/// Who wants a request of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// The owner of the endpoint.
    Owner,
    /// The session timer.
    Refresh,
}

/// A request of ours to send.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) purpose: Purpose,
    /// How often it was sent before, each time as a transaction of its own.
    pub(crate) tries: u8,
    /// [`super::dialog::Dialog::offers`] when it was made.
    pub(crate) offers: u32,
    pub(crate) branch: String,
    pub(crate) cseq: u32,
    pub(crate) offered: bool,
    pub(crate) bytes: Vec<u8>,
}

/// Our own request on its way.
#[derive(Clone)]
pub(crate) struct Outbound {
    pub(crate) method: Method,
    pub(crate) purpose: Purpose,
    /// How often it was sent before, each time as a transaction of its own.
    pub(crate) tries: u8,
    /// [`super::dialog::Dialog::offers`] when it was made.
    pub(crate) offers: u32,
    pub(crate) dialog: DialogId,
    pub(crate) cseq: u32,
    /// Whether the request had a body: an INVITE without one leaves the answer to our ACK.
    pub(crate) offered: bool,
    branch: String,
    hop: Hop,
    state: State,
    bytes: Arc<[u8]>,
    /// To an INVITE that has failed.
    ack: Option<Arc<[u8]>>,
    resend: Resend,
}

/// What a response turned out to be.
pub(crate) enum Receipt {
    /// For the owner of the request.
    Response(OutboundId),
    /// A final failure to an INVITE: for the owner, and the ACK to send.
    Failure(OutboundId, Option<Again>),
    /// Seen before; the ACK to send again, if any.
    Repeated(Option<Again>),
    /// Belongs to nothing here.
    Stray,
}

/// All client transactions. Their number follows from that of dialogs: each has at most an INVITE, its CANCEL, a refresh and a BYE.
pub(crate) struct Outbounds {
    transactions: HashMap<OutboundId, Outbound>,
    keys: HashMap<String, OutboundId>,
    timers: Timers<OutboundId>,
    next: u64,
}

impl Outbounds {
    pub(crate) fn new() -> Outbounds {
        Outbounds { transactions: HashMap::new(), keys: HashMap::new(), timers: Timers::new(), next: 0 }
    }

    /// Starts a transaction and gives back what to send.
    pub(crate) fn start(
        &mut self,
        now: Mono,
        request: Request,
        dialog: DialogId,
        hop: Hop,
    ) -> (OutboundId, Again) {
        let id = OutboundId(self.next);
        self.next += 1;
        let Request { method, purpose, tries, offers, branch, cseq, offered, bytes } = request;
        // Timers A and B, or E and F.
        let resend = Resend::until_life(now, if method == Method::Invite { LIFE } else { T2 });
        let resend = if hop.0.transport.is_reliable() { resend.quiet() } else { resend };
        self.keys.insert(key(&method, &branch), id);
        self.timers.set(id, resend.deadline());
        let (bytes, state) = (bytes.into(), State::Calling);
        let transaction = Outbound {
            method,
            purpose,
            tries,
            offers,
            dialog,
            cseq,
            offered,
            branch,
            hop,
            state,
            bytes,
            ack: None,
            resend,
        };
        let again = transaction.again();
        self.transactions.insert(id, transaction);
        (id, again)
    }

    /// Matches a response (RFC 3261 section 17.1.3).
    pub(crate) fn receive(&mut self, now: Mono, response: &Message) -> Receipt {
        let Some(id) = self.keys.get(&key(response.method(), response.via().branch())).copied() else {
            return Receipt::Stray;
        };
        let Some(transaction) = self.transactions.get_mut(&id) else { return Receipt::Stray };
        let receipt = transaction.receive(now, id, response);
        self.timers.set(id, transaction.resend.deadline());
        receipt
    }

    pub(crate) fn transaction(&self, id: OutboundId) -> Option<&Outbound> {
        self.transactions.get(&id)
    }

    /// The CANCEL of an INVITE of ours and where it goes; `None` if a final response has come. False as long as nothing has,
    /// for nothing may be cancelled then (RFC 3261 section 9.1).
    pub(crate) fn cancel(&self, id: OutboundId) -> Option<(Request, Hop, bool)> {
        let transaction = self.transactions.get(&id)?;
        let open = matches!(transaction.state, State::Calling | State::Proceeding);
        let request = cancel(&transaction.bytes, &transaction.branch, transaction.cseq).filter(|_| open)?;
        Some((request, transaction.hop, transaction.state == State::Proceeding))
    }

    /// Runs what is due at `now`: something to send again, or the id of a request that got no answer.
    pub(crate) fn expire(&mut self, now: Mono) -> Option<Result<Again, Outbound>> {
        while let Some(id) = self.timers.pop(now) {
            let Some(transaction) = self.transactions.get_mut(&id) else { continue };
            let due = transaction.resend.fire(now);
            self.timers.set(id, transaction.resend.deadline());
            match due {
                Some(Due::Again) => return Some(Ok(transaction.again())),
                Some(Due::End) => {
                    let unanswered = matches!(transaction.state, State::Calling | State::Proceeding);
                    self.timers.set(id, None);
                    let gone = self.transactions.remove(&id)?;
                    self.keys.remove(&key(&gone.method, &gone.branch));
                    if unanswered {
                        return Some(Err(gone));
                    }
                }
                None => {}
            }
        }
        None
    }

    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.timers.next()
    }

    pub(crate) fn len(&self) -> usize {
        self.transactions.len()
    }
}

impl Outbound {
    /// The request as it was sent.
    pub(crate) fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    fn again(&self) -> Again {
        (self.hop.0, self.hop.1, self.bytes.clone())
    }

    fn ack_again(&self) -> Option<Again> {
        self.ack.clone().map(|ack| (self.hop.0, self.hop.1, ack))
    }

    fn receive(&mut self, now: Mono, id: OutboundId, response: &Message) -> Receipt {
        let code = response.code().unwrap_or(0);
        let invite = self.method == Method::Invite;
        match self.state {
            State::Accepted if (200..300).contains(&code) => Receipt::Response(id),
            State::Accepted => Receipt::Repeated(None),
            State::Completed => Receipt::Repeated(self.ack_again().filter(|_| code >= 300)),
            _ if code < 200 => {
                self.state = State::Proceeding;
                // An INVITE is silent now and waits, not for ever; anything else is sent each T2 until its end.
                self.resend = match (invite, self.hop.0.transport.is_reliable()) {
                    (true, _) => Resend::only_end(now, ANSWER_MAX),
                    (false, false) => self.resend.every(now, T2),
                    (false, true) => self.resend,
                };
                Receipt::Response(id)
            }
            _ if invite && code < 300 => {
                self.state = State::Accepted;
                self.resend = Resend::only_end(now, LIFE); // Timer M.
                Receipt::Response(id)
            }
            _ => self.complete(now, id, response, invite),
        }
    }

    fn complete(&mut self, now: Mono, id: OutboundId, response: &Message, invite: bool) -> Receipt {
        self.state = State::Completed;
        let rest = match (self.hop.0.transport.is_reliable(), invite) {
            (true, _) => Duration::ZERO,
            (false, true) => LIFE, // Timer D.
            (false, false) => T4,  // Timer K.
        };
        self.resend = Resend::only_end(now, rest);
        if !invite {
            return Receipt::Response(id);
        }
        self.ack = failure_ack(&self.bytes, self.cseq, response).map(Into::into);
        Receipt::Failure(id, self.ack_again())
    }
}

/// The ACK to a final response other than 2xx (RFC 3261 section 17.1.1.3): the INVITE's Via, From, Call-ID, Route and CSeq
/// number, the response's To.
fn failure_ack(invite: &[u8], cseq: u32, response: &Message) -> Option<Vec<u8>> {
    let builder = repeat(invite, &Method::Ack, &["Via", "Route", "From", "Call-ID"])?
        .header("To", response.header("To")?)
        .header("Max-Forwards", 70)
        .header("CSeq", format_args!("{cseq} ACK"));
    Some(builder.finish())
}

/// The CANCEL of an INVITE: the same Via, request-URI, From, To, Call-ID and number (RFC 3261 section 9.1).
fn cancel(invite: &[u8], branch: &str, cseq: u32) -> Option<Request> {
    let bytes = repeat(invite, &Method::Cancel, &["Via", "Route", "Max-Forwards", "From", "To", "Call-ID"])?
        .header("CSeq", format_args!("{cseq} CANCEL"))
        .finish();
    let (method, branch) = (Method::Cancel, branch.to_owned());
    let purpose = Purpose::Owner;
    Some(Request { method, purpose, tries: 0, offers: 0, branch, cseq, offered: false, bytes })
}

/// The same request once more, as a transaction of its own: everything but Via, CSeq and what is in `instead`.
pub(crate) fn once_more(
    request: &[u8],
    via: String,
    cseq: u32,
    instead: &[(&str, String)],
) -> Option<(Method, bool, Vec<u8>)> {
    let (head, _) = Head::read(request.to_vec());
    let Some(Start::Request { method, uri }) = head.start() else { return None };
    let anew = |name: &str| {
        let replaced = ["Via", "CSeq", "Content-Length", "Content-Type"].iter().copied();
        replaced.chain(instead.iter().map(|(name, _)| *name)).any(|new| new.eq_ignore_ascii_case(name))
    };
    let builder = Builder::request(method, uri.as_str())
        .header("Via", via)
        .headers(head.fields().filter(|(name, _)| !anew(name)))
        .header("CSeq", format_args!("{cseq} {method}"))
        .headers(instead.iter().map(|(name, value)| (name, value)));
    let content_type = head.header("Content-Type");
    let bytes = match &content_type {
        Some(content_type) => builder.body(content_type, head.body()).finish(),
        None => builder.finish(),
    };
    Some((method.clone(), content_type.is_some(), bytes))
}

/// Starts a request that repeats these headers of `invite`, which is of our own writing.
fn repeat(invite: &[u8], method: &Method, names: &[&str]) -> Option<Builder> {
    let (head, _) = Head::read(invite.to_vec());
    let Some(Start::Request { uri, .. }) = head.start() else { return None };
    let lines = names.iter().flat_map(|name| head.headers(name).map(move |value| (name, value)));
    Some(Builder::request(method, uri.as_str()).headers(lines))
}

fn key(method: &Method, branch: &str) -> String {
    format!("{method} {branch}")
}
