//! Client transactions (RFC 3261 section 17.1, RFC 6026 section 7.2), without I/O.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::builder::Builder;
use super::dialog::Hop;
use super::event::DialogId;
use super::message::Message;
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

/// Our own request on its way.
pub(crate) struct Outbound {
    pub(crate) method: Method,
    pub(crate) dialog: DialogId,
    pub(crate) cseq: u32,
    /// Whether the request had a body: an INVITE without one leaves the answer to our ACK.
    pub(crate) offered: bool,
    key: String,
    hop: Hop,
    state: State,
    /// The request, or the ACK once a failure has come.
    bytes: Arc<[u8]>,
    resend: Resend,
}

/// What a response turned out to be.
pub(crate) enum Receipt {
    /// For the owner of the request.
    Response(OutboundId),
    /// A final failure to an INVITE: for the owner, and the ACK to send.
    Failure(OutboundId, Again),
    /// Seen before; the ACK to send again, if any.
    Repeated(Option<Again>),
    /// Belongs to nothing here.
    Stray,
}

/// All client transactions. Their number follows from that of dialogs: each has at most an INVITE, its CANCEL and a BYE.
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

    /// Starts a transaction for `bytes`, a request of ours, and gives back what to send.
    pub(crate) fn start(
        &mut self,
        now: Mono,
        request: &Message,
        dialog: DialogId,
        hop: Hop,
    ) -> (OutboundId, Again) {
        let id = OutboundId(self.next);
        self.next += 1;
        let method = request.method().clone();
        // Timers A and B, or E and F.
        let resend = Resend::until_life(now, if method == Method::Invite { LIFE } else { T2 });
        let resend = if hop.0.transport.is_reliable() { resend.quiet() } else { resend };
        let key = key(request);
        self.keys.insert(key.clone(), id);
        self.timers.set(id, resend.deadline());
        let (cseq, offered, state) = (request.cseq().number, !request.body().is_empty(), State::Calling);
        let transaction = Outbound {
            method,
            dialog,
            cseq,
            offered,
            key,
            hop,
            state,
            bytes: request.bytes().into(),
            resend,
        };
        let again = transaction.again();
        self.transactions.insert(id, transaction);
        (id, again)
    }

    /// Matches a response (RFC 3261 section 17.1.3).
    pub(crate) fn receive(&mut self, now: Mono, response: &Message) -> Receipt {
        let Some(id) = self.keys.get(&key(response)).copied() else { return Receipt::Stray };
        let Some(transaction) = self.transactions.get_mut(&id) else { return Receipt::Stray };
        let receipt = transaction.receive(now, id, response);
        self.timers.set(id, transaction.resend.deadline());
        receipt
    }

    pub(crate) fn transaction(&self, id: OutboundId) -> Option<&Outbound> {
        self.transactions.get(&id)
    }

    /// The request as it was sent, if no final response has come.
    pub(crate) fn open(&self, id: OutboundId) -> Option<(&[u8], Hop, bool)> {
        let transaction = self.transactions.get(&id)?;
        let open = matches!(transaction.state, State::Calling | State::Proceeding);
        open.then_some((&*transaction.bytes, transaction.hop, transaction.state == State::Proceeding))
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
                    self.keys.remove(&gone.key);
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
    fn again(&self) -> Again {
        (self.hop.0, self.hop.1, self.bytes.clone())
    }

    fn receive(&mut self, now: Mono, id: OutboundId, response: &Message) -> Receipt {
        let code = response.code().unwrap_or(0);
        let invite = self.method == Method::Invite;
        match self.state {
            State::Accepted if (200..300).contains(&code) => Receipt::Response(id),
            State::Accepted => Receipt::Repeated(None),
            State::Completed => Receipt::Repeated((invite && code >= 300).then(|| self.again())),
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
        if let Some(ack) = failure_ack(&self.bytes, response) {
            self.bytes = ack.into();
        }
        Receipt::Failure(id, self.again())
    }
}

/// The ACK to a final response other than 2xx (RFC 3261 section 17.1.1.3): the INVITE's Via, From, Call-ID, Route and CSeq
/// number, the response's To.
fn failure_ack(invite: &[u8], response: &Message) -> Option<Vec<u8>> {
    let invite = Message::parse_datagram(invite).ok()?;
    let uri = invite.uri()?.as_str().to_owned();
    let repeated = |name: &'static str| {
        invite.headers(name).map(move |value| (name, value.into_owned())).collect::<Vec<_>>()
    };
    let builder = Builder::request(&Method::Ack, &uri)
        .headers(repeated("Via").into_iter().take(1))
        .headers(repeated("Route"))
        .header("Max-Forwards", 70)
        .headers(repeated("From"))
        .header("To", response.header("To")?)
        .header("Call-ID", invite.call_id())
        .header("CSeq", format_args!("{} ACK", invite.cseq().number));
    Some(builder.finish())
}

fn key(message: &Message) -> String {
    format!("{} {}", message.method(), message.via().branch())
}
