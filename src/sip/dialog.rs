//! Dialogs (RFC 3261 section 12): who the two ends are, where requests of ours go, and the 2xx that waits for its ACK.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::builder::Builder;
use super::census::Census;
use super::event::{Config, DialogId, RequestId};
use super::lex;
use super::message::Message;
use super::method::Method;
use super::name_addr::NameAddr;
use super::outbound::OutboundId;
use super::peer::{Peer, Transport};
use super::server::Again;
use super::session_id::SessionId;
use super::session_timer::{Lapse, SessionTimer};
use super::timers::{Due, Resend, Timers};
use super::uri::{Scheme, Uri, split_host_port};
use crate::base::Mono;

/// To whom a request of ours goes, and where to connect to should the link be gone.
pub(crate) type Hop = (Peer, Option<SocketAddr>);

/// One dialog, early or confirmed.
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    pub(crate) local_tag: String,
    pub(crate) remote_tag: String,
    /// From of our requests, tag included.
    pub(crate) local: String,
    /// To of our requests, tag included once known.
    pub(crate) remote: String,
    /// The remote target (RFC 3261 section 12.1.1).
    pub(crate) target: String,
    pub(crate) routes: Vec<String>,
    pub(crate) local_cseq: u32,
    pub(crate) remote_cseq: Option<u32>,
    /// Where the peer's last request came from, or where our INVITE went.
    pub(crate) peer: Peer,
    pub(crate) confirmed: bool,
    /// The peer's INVITE that waits for our answer.
    pub(crate) invite_in: Option<RequestId>,
    /// Our INVITE that waits for the peer's.
    pub(crate) invite_out: Option<OutboundId>,
    /// We want out as soon as that is allowed: CANCEL before a provisional response, BYE before an ACK.
    pub(crate) leaving: bool,
    /// Our BYE is under way.
    pub(crate) ending: bool,
    /// The ACK that we sent, by CSeq number, to be repeated with each repeated 2xx.
    pub(crate) ack: Option<(u32, Again)>,
    /// CSeq number of our last accepted INVITE, which its ACK repeats.
    pub(crate) invite_cseq: u32,
    pub(crate) unacked: Option<Unacked>,
    /// When it was made, and with whom.
    pub(crate) since: Mono,
    pub(crate) origin: IpAddr,
    /// The Call-ID is ours: decides who backs off how long (RFC 3261 section 14.1).
    pub(crate) ours: bool,
    pub(crate) timer: Option<SessionTimer>,
    /// Our refresh that waits for its answer.
    pub(crate) refreshing: Option<OutboundId>,
    /// The peer's Allow lists UPDATE (RFC 3311).
    pub(crate) updates: bool,
    /// The session description that we gave last, which a refresh by re-INVITE repeats.
    pub(crate) sdp: Option<Box<[u8]>>,
    /// Offers of the peer that we have accepted.
    pub(crate) offers: u32,
    pub(crate) retry: Option<Retry>,
    pub(crate) session_id: Option<SessionId>,
    /// The dialog whose place it takes once it is accepted (RFC 3891).
    pub(crate) replaces: Option<DialogId>,
}

/// A re-INVITE of ours that met one of the peer's and has to wait (RFC 3261 section 14.1).
pub(crate) struct Retry {
    pub(crate) at: Mono,
    /// As it was sent before.
    pub(crate) request: Arc<[u8]>,
    /// [`Dialog::offers`] when it was made: an offer older than the last change would undo that.
    pub(crate) offers: u32,
    /// How often it was sent.
    pub(crate) tries: u8,
}

/// Our 2xx that waits for its ACK (RFC 3261 section 13.3.1.4).
pub(crate) struct Unacked {
    pub(crate) cseq: u32,
    /// The offer was in our 2xx: its answer comes with the ACK.
    pub(crate) late: bool,
    pub(crate) again: Again,
    pub(crate) resend: Resend,
}

impl Dialog {
    /// A dialog that we are the UAS of. What an INVITE leaves out is made up for: without a Contact that can be asked for its From is
    /// the target, or else its source, and requests go to where it came from anyway.
    pub(crate) fn from_invite(invite: &Message, peer: Peer, local_tag: String, now: Mono) -> Dialog {
        let header = |name| invite.header(name).map_or_else(String::new, |value| value.into_owned());
        let from = || invite.from().uri().request_uri().map(str::to_owned);
        let target = invite.target().or_else(from).unwrap_or_else(|| format!("sip:{}", peer.remote));
        Dialog {
            local: format!("{};tag={local_tag}", header("To")),
            remote: header("From"),
            remote_tag: invite.from().tag().to_owned(),
            target,
            routes: routes(invite),
            remote_cseq: Some(invite.cseq().number),
            ..Dialog::new(invite.call_id().to_owned(), local_tag, peer, now)
        }
    }

    /// One in which nothing has been said yet.
    pub(crate) fn new(call_id: String, local_tag: String, peer: Peer, now: Mono) -> Dialog {
        Dialog {
            call_id,
            local: String::new(),
            remote: String::new(),
            remote_tag: String::new(),
            target: String::new(),
            routes: Vec::new(),
            local_tag,
            local_cseq: 0,
            remote_cseq: None,
            peer,
            confirmed: false,
            invite_in: None,
            invite_out: None,
            leaving: false,
            ending: false,
            ack: None,
            invite_cseq: 0,
            unacked: None,
            since: now,
            origin: peer.remote.ip(),
            ours: false,
            timer: None,
            refreshing: None,
            updates: false,
            sdp: None,
            offers: 0,
            retry: None,
            session_id: None,
            replaces: None,
        }
    }

    /// Whether an INVITE is under way either way, its ACK included: another one has to wait (RFC 3261 section 14.1).
    pub(crate) fn is_inviting(&self) -> bool {
        self.invite_in.is_some() || self.invite_out.is_some() || self.unacked.is_some()
    }

    /// Whether an UPDATE of the peer with an offer meets one that is not answered yet, and what to say then (RFC 3311 section 5.2).
    pub(crate) fn clash(&self, update: &Message) -> Option<u16> {
        let ours = self.invite_out.is_some() || self.unacked.as_ref().is_some_and(|unacked| unacked.late);
        match (ours, self.invite_in.is_some()) {
            _ if !update.offers() => None,
            (true, _) => Some(491),
            (_, true) => Some(500),
            _ => None,
        }
    }

    /// When something of it is due.
    fn deadline(&self) -> Option<Mono> {
        let resend = self.unacked.as_ref().and_then(|unacked| unacked.resend.deadline());
        let timer =
            self.timer.as_ref().map(SessionTimer::deadline).filter(|_| self.confirmed && !self.ending);
        let retry = self.retry.as_ref().map(|retry| retry.at);
        [resend, timer, retry].into_iter().flatten().min()
    }

    /// What is due at `now`, one thing at a time.
    fn fire(&mut self, now: Mono) -> Option<Fired> {
        if let Some(unacked) = self.unacked.as_mut() {
            match unacked.resend.fire(now) {
                Some(Due::Again) => return Some(Fired::Again(unacked.again.clone())),
                Some(Due::End) => {
                    self.unacked = None;
                    return Some(Fired::Unacknowledged);
                }
                None => {}
            }
        }
        if self.retry.as_ref().is_some_and(|retry| retry.at <= now) {
            return self.retry.take().map(Fired::Retry);
        }
        if self.ending {
            return None;
        }
        self.timer.as_mut()?.fire(now).map(Fired::Session)
    }

    /// Takes over what a 2xx to our INVITE says (RFC 3261 section 12.1.2, 12.2.1.2).
    fn accept(&mut self, response: &Message) {
        if let Some(target) = response.target() {
            self.target = target;
        }
        if !self.confirmed {
            self.remote = response.header("To").map_or_else(String::new, |to| to.into_owned());
            self.remote_tag = response.to().tag().to_owned();
            self.routes = routes(response);
            self.routes.reverse();
            self.confirmed = true;
        }
    }

    /// The next sequence number of ours.
    pub(crate) fn next_cseq(&mut self) -> u32 {
        self.local_cseq += 1;
        self.local_cseq
    }

    /// Starts a request inside of the dialog (RFC 3261 section 12.2.1.1), without Contact and body.
    pub(crate) fn request(
        &self,
        method: &Method,
        cseq: u32,
        branch: &str,
        hop: Peer,
        config: &Config,
    ) -> Builder {
        let (uri, routes) = self.uri_and_routes();
        Builder::request(method, &uri)
            .header("Via", via(config, &hop, branch))
            .header("Max-Forwards", 70)
            .headers(routes.iter().map(|route| ("Route", route)))
            .header("From", &self.local)
            .header("To", &self.remote)
            .header("Call-ID", &self.call_id)
            .header("CSeq", format_args!("{cseq} {method}"))
            .header("User-Agent", &config.product)
            .headers(self.session_id.iter().map(|id| ("Session-ID", id.header())))
    }

    /// With a strict router in front (no `lr`) the request-URI is its, and the target goes last.
    fn uri_and_routes(&self) -> (String, Vec<String>) {
        let first = self.routes.first().and_then(|route| NameAddr::parse(route));
        let strict = first.filter(|first| first.uri().param("lr").is_none());
        match strict.as_ref().and_then(|strict| strict.uri().request_uri()) {
            None => (self.target.clone(), self.routes.clone()),
            Some(strict) => {
                let mut routes = self.routes[1..].to_vec();
                routes.push(format!("<{}>", self.target));
                (strict.to_owned(), routes)
            }
        }
    }

    /// Where our requests go: the first Record-Route, else the target; and where to connect to should the link be gone.
    /// One that is named and not numbered is reached the way the peer came; so is everything on a stream whose other end
    /// has that address (RFC 5923 in spirit).
    pub(crate) fn next_hop(&self) -> Hop {
        let first =
            self.routes.first().and_then(|route| NameAddr::parse(route)).map(|route| route.uri().clone());
        let uri = first.unwrap_or_else(|| Uri::parse(&self.target));
        let transport = match uri.scheme() {
            // Whatever it says besides: it is TLS over that (RFC 3261 section 26.2.2).
            Scheme::Sips => Transport::Tls,
            _ => uri.param("transport").and_then(Transport::from_name).unwrap_or(self.peer.transport),
        };
        let address = uri
            .ip()
            .filter(|ip| !ip.is_unspecified())
            .map(|ip| SocketAddr::new(ip, uri.port().unwrap_or(transport.default_port())));
        let reliable = self.peer.transport.is_reliable();
        match address.filter(|_| transport == self.peer.transport) {
            Some(remote) if !reliable => (Peer { remote, ..self.peer }, None),
            Some(remote) if remote.ip() != self.peer.remote.ip() => {
                (Peer { link: Peer::NEW_CONNECTION, remote, ..self.peer }, None)
            }
            fallback => (self.peer, fallback.filter(|_| reliable)),
        }
    }
}

/// The route set (RFC 3261 section 12.1). Without its brackets, which are no choice here (section 20.34), a route's parameters would count as
/// the header's.
fn routes(message: &Message) -> Vec<String> {
    let bracketed = |route: String| if route.contains('<') { route } else { format!("<{route}>") };
    message.list("Record-Route").into_iter().map(bracketed).collect()
}

/// Our host as the peer should see it.
pub(crate) fn host(config: &Config, peer: &Peer) -> String {
    if let Some(known_as) = config.known_as.find(peer.remote.ip()) {
        return SocketAddr::new(*known_as, peer.local.port()).to_string();
    }
    match config.advertised.get(&peer.listener) {
        Some(host) if split_host_port(host).1.is_some() => host.clone(),
        Some(host) => format!("{host}:{}", peer.local.port()),
        None => peer.local.to_string(),
    }
}

/// Our Contact, with the feature tag that RFC 7866 section 6 asks for. To a peer that insists on TLS a SIPS URI, which says so by
/// itself (RFC 3261 section 12.1.1, 26.2.2).
pub(crate) fn contact(config: &Config, peer: &Peer, secure: bool) -> String {
    let (scheme, transport) = match peer.transport {
        Transport::Udp => ("sip", ""),
        Transport::Tcp => ("sip", ";transport=tcp"),
        Transport::Tls if secure => ("sips", ""),
        Transport::Tls => ("sip", ";transport=tls"),
    };
    format!("<{scheme}:{}@{}{transport}>;{}", config.user, host(config, peer), config.feature)
}

/// Our Via. `rport` asks for the answer to come back here (RFC 3581).
pub(crate) fn via(config: &Config, peer: &Peer, branch: &str) -> String {
    format!("SIP/2.0/{} {};branch={branch};rport", peer.transport.as_str(), host(config, peer))
}

/// What a dialog's time has come for.
pub(crate) enum Fired {
    /// A 2xx to send again.
    Again(Again),
    /// The ACK to our 2xx never came.
    Unacknowledged,
    /// The session timer.
    Session(Lapse),
    /// A re-INVITE to send again.
    Retry(Retry),
}

/// All dialogs, by our name for them and by Call-ID and both tags (RFC 3261 section 12).
pub(crate) struct Dialogs {
    /// Boxed, as a table that grows is half empty.
    dialogs: HashMap<DialogId, Box<Dialog>>,
    keys: HashMap<(String, String, String), DialogId>,
    timers: Timers<DialogId>,
    next: u64,
    peers: Census,
}

impl Dialogs {
    pub(crate) fn new() -> Dialogs {
        let (dialogs, keys, timers) = (HashMap::new(), HashMap::new(), Timers::new());
        Dialogs { dialogs, keys, timers, next: 0, peers: Census::default() }
    }

    pub(crate) fn insert(&mut self, dialog: Dialog) -> DialogId {
        let id = DialogId(self.next);
        self.next += 1;
        self.keys.insert(dialog_key(&dialog), id);
        self.peers.add(dialog.origin);
        self.dialogs.insert(id, Box::new(dialog));
        id
    }

    /// Takes over what a 2xx says; from then on requests with the peer's tag are found.
    pub(crate) fn accept(&mut self, id: DialogId, response: &Message) {
        let Some(dialog) = self.dialogs.get_mut(&id) else { return };
        self.keys.remove(&dialog_key(dialog));
        dialog.accept(response);
        self.keys.insert(dialog_key(dialog), id);
    }

    /// The dialog that a request from the peer belongs to.
    pub(crate) fn find(&self, request: &Message) -> Option<DialogId> {
        let (local, remote) = (request.to().tag().to_owned(), request.from().tag().to_owned());
        self.keys.get(&(request.call_id().to_owned(), local, remote)).copied()
    }

    /// The confirmed dialog that a `Replaces` header field names (RFC 3891 section 3: `to-tag` is ours), unless only one that has not begun is meant.
    pub(crate) fn replaced(&self, replaces: &str) -> Option<DialogId> {
        let (call_id, params) = replaces.split_once(';')?;
        let tag = |name| lex::param(params, name).map(str::to_owned);
        let id = *self.keys.get(&(call_id.trim().to_owned(), tag("to-tag")?, tag("from-tag")?))?;
        let is_meant = self.dialogs.get(&id).is_some_and(|dialog| dialog.confirmed);
        (is_meant && tag("early-only").is_none()).then_some(id)
    }

    pub(crate) fn dialog(&mut self, id: DialogId) -> Option<&mut Dialog> {
        self.dialogs.get_mut(&id).map(Box::as_mut)
    }

    pub(crate) fn remove(&mut self, id: DialogId) -> Option<Dialog> {
        self.timers.set(id, None);
        let dialog = self.dialogs.remove(&id)?;
        self.peers.remove(dialog.origin);
        let key = dialog_key(&dialog);
        if self.keys.get(&key) == Some(&id) {
            self.keys.remove(&key);
        }
        Some(*dialog)
    }

    /// Puts the timer of a dialog right after it was changed.
    pub(crate) fn rearm(&mut self, id: DialogId) {
        self.timers.set(id, self.dialogs.get(&id).and_then(|dialog| dialog.deadline()));
    }

    /// Sets the 2xx that is sent again until its ACK comes; `None` when it has.
    pub(crate) fn set_unacked(&mut self, id: DialogId, unacked: Option<Unacked>) {
        if let Some(dialog) = self.dialogs.get_mut(&id) {
            dialog.unacked = unacked;
            self.rearm(id);
        }
    }

    /// Sets what keeps the session alive.
    pub(crate) fn set_timer(&mut self, id: DialogId, timer: Option<SessionTimer>) {
        if let Some(dialog) = self.dialogs.get_mut(&id) {
            dialog.timer = timer;
            self.rearm(id);
        }
    }

    /// Runs one thing that is due at `now`.
    pub(crate) fn expire(&mut self, now: Mono) -> Option<(DialogId, Fired)> {
        while let Some(id) = self.timers.pop(now) {
            let Some(dialog) = self.dialogs.get_mut(&id) else { continue };
            let fired = dialog.fire(now);
            self.rearm(id);
            if let Some(fired) = fired {
                return Some((id, fired));
            }
        }
        None
    }

    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.timers.next()
    }

    pub(crate) fn len(&self) -> usize {
        self.dialogs.len()
    }

    /// How many were made with this address.
    pub(crate) fn of_peer(&self, address: IpAddr) -> usize {
        self.peers.of(address)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (DialogId, &Dialog)> {
        self.dialogs.iter().map(|(id, dialog)| (*id, &**dialog))
    }
}

fn dialog_key(dialog: &Dialog) -> (String, String, String) {
    (dialog.call_id.clone(), dialog.local_tag.clone(), dialog.remote_tag.clone())
}
