//! Dialogs (RFC 3261 section 12): who the two ends are, where requests of ours go, and the 2xx that waits for its ACK.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::builder::Builder;
use super::event::{Config, DialogId, RequestId};
use super::message::Message;
use super::method::Method;
use super::name_addr::NameAddr;
use super::outbound::OutboundId;
use super::peer::{Peer, Transport};
use super::server::Again;
use super::timers::{Due, Resend, Timers};
use super::uri::{Uri, split_host_port};
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
}

/// Our 2xx that waits for its ACK (RFC 3261 section 13.3.1.4).
pub(crate) struct Unacked {
    pub(crate) cseq: u32,
    pub(crate) again: Again,
    pub(crate) resend: Resend,
}

impl Dialog {
    /// A dialog that we are the UAS of. What an INVITE leaves out is made up for: without Contact its From is the target,
    /// and requests go to where it came from anyway.
    pub(crate) fn from_invite(invite: &Message, peer: Peer, local_tag: String) -> Dialog {
        let header = |name| invite.header(name).map_or_else(String::new, |value| value.into_owned());
        let target = invite.contact().unwrap_or_else(|| invite.from().clone());
        Dialog {
            call_id: invite.call_id().to_owned(),
            local: format!("{};tag={local_tag}", header("To")),
            remote: header("From"),
            remote_tag: invite.from().tag().to_owned(),
            target: target.uri().without_headers().to_owned(),
            routes: invite.list("Record-Route"),
            local_tag,
            local_cseq: 0,
            remote_cseq: Some(invite.cseq().number),
            peer,
            confirmed: false,
            invite_in: None,
            invite_out: None,
            leaving: false,
            ending: false,
            ack: None,
            invite_cseq: 0,
            unacked: None,
        }
    }

    /// Takes over what a 2xx to our INVITE says (RFC 3261 section 12.1.2, 12.2.1.2).
    fn accept(&mut self, response: &Message) {
        if let Some(contact) = response.contact() {
            self.target = contact.uri().without_headers().to_owned();
        }
        if !self.confirmed {
            self.remote = response.header("To").map_or_else(String::new, |to| to.into_owned());
            self.remote_tag = response.to().tag().to_owned();
            self.routes = response.list("Record-Route");
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
    }

    /// With a strict router in front (no `lr`) the request-URI is its, and the target goes last.
    fn uri_and_routes(&self) -> (String, Vec<String>) {
        let first = self.routes.first().and_then(|route| NameAddr::parse(route));
        match first.filter(|first| first.uri().param("lr").is_none()) {
            None => (self.target.clone(), self.routes.clone()),
            Some(strict) => {
                let mut routes = self.routes[1..].to_vec();
                routes.push(format!("<{}>", self.target));
                (strict.uri().without_headers().to_owned(), routes)
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
        let transport = uri.param("transport").and_then(Transport::from_name).unwrap_or(self.peer.transport);
        let address = uri
            .ip()
            .filter(|ip| !ip.is_unspecified())
            .map(|ip| SocketAddr::new(ip, uri.port().unwrap_or(5060)));
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

/// Our host as the peer should see it.
pub(crate) fn host(config: &Config, peer: &Peer) -> String {
    match config.advertised.get(&peer.listener) {
        Some(host) if split_host_port(host).1.is_some() => host.clone(),
        Some(host) => format!("{host}:{}", peer.local.port()),
        None => peer.local.to_string(),
    }
}

/// Our Contact, with the feature tag that RFC 7866 section 6 asks for.
pub(crate) fn contact(config: &Config, peer: &Peer) -> String {
    let transport = match peer.transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
    };
    format!("<sip:{}@{}{transport}>;{}", config.user, host(config, peer), config.feature)
}

/// Our Via. `rport` asks for the answer to come back here (RFC 3581).
pub(crate) fn via(config: &Config, peer: &Peer, branch: &str) -> String {
    format!("SIP/2.0/{} {};branch={branch};rport", peer.transport.as_str(), host(config, peer))
}

/// All dialogs, by our name for them and by Call-ID and both tags (RFC 3261 section 12).
pub(crate) struct Dialogs {
    dialogs: HashMap<DialogId, Dialog>,
    keys: HashMap<(String, String, String), DialogId>,
    timers: Timers<DialogId>,
    next: u64,
}

impl Dialogs {
    pub(crate) fn new() -> Dialogs {
        Dialogs { dialogs: HashMap::new(), keys: HashMap::new(), timers: Timers::new(), next: 0 }
    }

    pub(crate) fn insert(&mut self, dialog: Dialog) -> DialogId {
        let id = DialogId(self.next);
        self.next += 1;
        self.keys.insert(dialog_key(&dialog), id);
        self.dialogs.insert(id, dialog);
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

    pub(crate) fn dialog(&mut self, id: DialogId) -> Option<&mut Dialog> {
        self.dialogs.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: DialogId) -> Option<Dialog> {
        self.timers.set(id, None);
        let dialog = self.dialogs.remove(&id)?;
        let key = dialog_key(&dialog);
        if self.keys.get(&key) == Some(&id) {
            self.keys.remove(&key);
        }
        Some(dialog)
    }

    /// Sets the 2xx that is sent again until its ACK comes; `None` when it has.
    pub(crate) fn set_unacked(&mut self, id: DialogId, unacked: Option<Unacked>) {
        if let Some(dialog) = self.dialogs.get_mut(&id) {
            self.timers.set(id, unacked.as_ref().and_then(|unacked| unacked.resend.deadline()));
            dialog.unacked = unacked;
        }
    }

    /// Runs what is due at `now`: a 2xx to send again, or the dialog whose ACK never came.
    pub(crate) fn expire(&mut self, now: Mono) -> Option<Result<Again, DialogId>> {
        while let Some(id) = self.timers.pop(now) {
            let Some(dialog) = self.dialogs.get_mut(&id) else { continue };
            let Some(unacked) = dialog.unacked.as_mut() else { continue };
            match unacked.resend.fire(now) {
                Some(Due::End) => {
                    dialog.unacked = None;
                    return Some(Err(id));
                }
                due => {
                    let again = unacked.again.clone();
                    self.timers.set(id, unacked.resend.deadline());
                    if due.is_some() {
                        return Some(Ok(again));
                    }
                }
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
}

fn dialog_key(dialog: &Dialog) -> (String, String, String) {
    (dialog.call_id.clone(), dialog.local_tag.clone(), dialog.remote_tag.clone())
}
