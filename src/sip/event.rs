//! What goes in and out of an [`super::Endpoint`] besides messages.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::malformed::Why;
use super::message::Message;
use super::peer::Peer;
use crate::base::Networks;

/// A dialog of this endpoint, from its INVITE on (before it has both tags) until its end. Never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DialogId(pub u64);

/// A request that waits for [`super::Endpoint::respond`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// Something for the driver to send or for the owner to know.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send these bytes.
    Send {
        /// To whom and through which link.
        to: Peer,
        /// Where to connect to if a stream's link is gone (RFC 3261 section 18.2.2).
        fallback: Option<SocketAddr>,
        /// One whole message.
        bytes: Arc<[u8]>,
    },
    /// Something happened.
    Event(Event),
}

/// What the owner of the endpoint has to know. Where a `request` is given, the owner answers it with
/// [`super::Endpoint::respond`]; everything else has been answered already.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new INVITE. 100 has been sent.
    Invite {
        /// The dialog it will make, if accepted.
        dialog: DialogId,
        /// To be answered.
        request: RequestId,
        /// The INVITE.
        message: Box<Message>,
        /// Who sent it.
        from: Peer,
        /// Our tag in that dialog.
        local_tag: String,
    },
    /// An INVITE inside of a dialog. 100 has been sent. Whatever the answer, the dialog lives on.
    Reinvite {
        /// The dialog.
        dialog: DialogId,
        /// To be answered.
        request: RequestId,
        /// The INVITE.
        message: Box<Message>,
    },
    /// The ACK to our 2xx; carries the answer if the offer was ours (RFC 3261 section 13.2.1). Reported once.
    Ack {
        /// The dialog.
        dialog: DialogId,
        /// The ACK.
        message: Box<Message>,
    },
    /// The peer ended the dialog, which is gone. 200 has been sent. The body may hold the last metadata.
    Bye {
        /// The dialog.
        dialog: DialogId,
        /// The BYE.
        message: Box<Message>,
    },
    /// The peer took its INVITE back. 200 and 487 have been sent.
    Cancel {
        /// The dialog.
        dialog: DialogId,
        /// Whether the dialog is gone; not so if a re-INVITE was cancelled.
        ended: bool,
    },
    /// Another dialog, accepted just now, takes its place (RFC 3891). It lives until the owner says [`super::Endpoint::bye`], as it should.
    Replaced {
        /// The dialog.
        dialog: DialogId,
    },
    /// UPDATE, INFO, MESSAGE or NOTIFY inside of a dialog; the message says which.
    InDialog {
        /// The dialog.
        dialog: DialogId,
        /// To be answered within 32 s.
        request: RequestId,
        /// The request.
        message: Box<Message>,
    },
    /// Our 2xx got no ACK within 64*T1. The dialog lives until the owner says [`super::Endpoint::bye`]
    /// (RFC 3261 section 13.3.1.4 recommends it; for a re-INVITE waiting may be wiser).
    Timeout {
        /// The dialog.
        dialog: DialogId,
    },
    /// A provisional response to our INVITE.
    Progress {
        /// The dialog.
        dialog: DialogId,
        /// The response.
        message: Box<Message>,
    },
    /// A 2xx to our INVITE or re-INVITE. ACK has been sent, unless ours was without an offer: then
    /// [`super::Endpoint::ack`] sends it with the answer.
    Accepted {
        /// The dialog.
        dialog: DialogId,
        /// The response.
        message: Box<Message>,
    },
    /// Our INVITE or re-INVITE failed.
    Refused {
        /// The dialog; gone unless it was a re-INVITE's.
        dialog: DialogId,
        /// The status code; 408 if nothing came.
        code: u16,
        /// The response, if one came.
        message: Option<Box<Message>>,
    },
    /// The session was not refreshed within its interval (RFC 4028 section 10), or the peer does not answer our refresh or knows the dialog
    /// no more. The dialog lives until the owner says [`super::Endpoint::bye`], which it should if no media has come for `interval`.
    /// Comes again after every further interval.
    Expired {
        /// The dialog.
        dialog: DialogId,
        /// How long a session lasts without a refresh.
        interval: Duration,
    },
    /// The peer has answered a refresh of ours 2xx. If that was a re-INVITE with our last session description, it holds the peer's.
    Refreshed {
        /// The dialog.
        dialog: DialogId,
        /// The response.
        message: Box<Message>,
    },
    /// Our BYE is done and the dialog gone, whatever the peer said to it.
    Closed {
        /// The dialog.
        dialog: DialogId,
        /// The status code; 408 if nothing came, 480 if we took back what had not begun.
        code: u16,
    },
}

/// An answer to a request. The endpoint adds Via, From, To with our tag, Call-ID, CSeq, Record-Route, Server, and what the
/// method asks for: Contact, Allow, Supported, Accept.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<(String, Vec<u8>)>,
}

impl Answer {
    /// An answer with this status line.
    pub fn new(code: u16, reason: &str) -> Answer {
        Answer { code, reason: reason.to_owned(), headers: Vec::new(), body: None }
    }

    /// 200 OK.
    pub fn ok() -> Answer {
        Answer::new(200, "OK")
    }

    /// 503 with the time after which to try again, rounded up to seconds (RFC 3261 section 21.5.4).
    pub fn unavailable(reason: &str, retry_after: Duration) -> Answer {
        let seconds = retry_after.as_millis().div_ceil(1000);
        Answer::new(503, reason).header("Retry-After", &seconds.to_string())
    }

    /// Adds a header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.body = Some((content_type.to_owned(), body.into()));
        self
    }
}

/// What was asked for is not there any more: the request is answered, cancelled or timed out, or the dialog is gone.
/// Nothing needs to be done about it; an event has told or will tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request is answered or the dialog has ended already")
    }
}

impl std::error::Error for Gone {}

/// Who the endpoint is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Server (in responses) and User-Agent (in requests).
    pub product: String,
    /// The user part of our Contact.
    pub user: String,
    /// Per listener the host, with a port if need be, that Contact and Via show instead of the local address.
    pub advertised: BTreeMap<u16, String>,
    /// What peers in these networks know us as instead, on whatever listener. Our port stays.
    pub known_as: Networks<IpAddr>,
    /// Contact's header parameter: `+sip.srs` for a recorder, `+sip.src` for a recording client (RFC 7866 section 6).
    pub feature: String,
    /// Transactions alive at once; further requests are answered 503 without state.
    pub transactions_max: usize,
    /// Dialogs alive at once; further INVITEs are answered 503.
    pub dialogs_max: usize,
    /// Transactions of one address.
    pub peer_transactions_max: usize,
    /// Dialogs of one address.
    pub peer_dialogs_max: usize,
}

impl Config {
    /// A recorder's.
    pub fn recorder() -> Config {
        Config {
            product: concat!("tapehead/", env!("CARGO_PKG_VERSION")).to_owned(),
            user: "tapehead".to_owned(),
            advertised: BTreeMap::new(),
            known_as: Networks::default(),
            feature: "+sip.srs".to_owned(),
            transactions_max: crate::limits::TRANSACTIONS_MAX,
            dialogs_max: crate::limits::DIALOGS_MAX,
            peer_transactions_max: crate::limits::PEER_TRANSACTIONS_MAX,
            peer_dialogs_max: crate::limits::PEER_DIALOGS_MAX,
        }
    }

    /// A recording client's, for the demo, load and tests.
    pub fn client() -> Config {
        Config { user: "src".to_owned(), feature: "+sip.src".to_owned(), ..Config::recorder() }
    }
}

impl Counters {
    /// The counter of malformed messages of this kind.
    pub(super) fn malformed(&mut self, why: Why) -> &mut u64 {
        match why {
            Why::StartLine => &mut self.malformed_start_line,
            Why::RequestLine => &mut self.malformed_request_line,
            Why::Version => &mut self.malformed_version,
            Why::StatusCode => &mut self.malformed_status_code,
            Why::HeaderLine => &mut self.malformed_header_line,
            Why::TooManyHeaders => &mut self.headers_too_many,
            Why::HeadersTooLong => &mut self.headers_too_long,
            Why::BodyTooLong => &mut self.body_too_long,
            Why::Missing(_) => &mut self.header_missing,
            Why::Repeated(_) => &mut self.header_repeated,
            Why::Invalid(_) => &mut self.header_invalid,
            Why::MethodMismatch => &mut self.cseq_mismatch,
            Why::Truncated => &mut self.body_truncated,
            Why::LengthUnknown => &mut self.length_unknown,
        }
    }
}

/// What is answered 503 with this Retry-After, before any dialog is made of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Shut {
    /// INVITEs outside of dialogs.
    pub invites: Option<Duration>,
    /// OPTIONS outside of dialogs.
    pub options: Option<Duration>,
}

crate::counters! {
    /// What went by unnoticed by the owner.
    pub struct Counters {
        /// Malformed messages answered with an error.
        pub malformed_answered: u64,
        /// Malformed messages dropped: not answerable.
        pub malformed_dropped: u64,
        /// Of both: neither a request nor a response.
        pub malformed_start_line: u64,
        /// Of both: a malformed request line.
        pub malformed_request_line: u64,
        /// Of both: another version of SIP (505).
        pub malformed_version: u64,
        /// Of both: a status code out of range.
        pub malformed_status_code: u64,
        /// Of both: a header line without a name and a colon.
        pub malformed_header_line: u64,
        /// Of both: too many header lines (513).
        pub headers_too_many: u64,
        /// Of both: a header block too long (513).
        pub headers_too_long: u64,
        /// Of both: a body too long (413).
        pub body_too_long: u64,
        /// Of both: a header that has to be there is not.
        pub header_missing: u64,
        /// Of both: a header that may be there once is there more often.
        pub header_repeated: u64,
        /// Of both: a header's value can't be read.
        pub header_invalid: u64,
        /// Of both: CSeq names another method than the request line.
        pub cseq_mismatch: u64,
        /// Of both: a datagram shorter than its Content-Length.
        pub body_truncated: u64,
        /// Of both: on a stream a body of unknown length.
        pub length_unknown: u64,
        /// Retransmitted requests absorbed.
        pub retransmissions: u64,
        /// INVITEs answered 503 because the owner had shut the door.
        pub turned_away: u64,
        /// Requests answered 503 because there were too many transactions.
        pub transactions_full: u64,
        /// Requests answered 503 because their peer had too many transactions.
        pub peer_transactions_full: u64,
        /// INVITEs answered 503 because there were too many dialogs.
        pub dialogs_full: u64,
        /// INVITEs answered 503 because their peer had too many dialogs.
        pub peer_dialogs_full: u64,
        /// Messages dropped because their sender is not allowed.
        pub not_allowed: u64,
        /// Requests answered 503 because their peer sent too many of them.
        pub rate_refused: u64,
        /// Requests dropped because their peer sent far too many of them.
        pub rate_dropped: u64,
        /// Requests answered 401 for want of credentials.
        pub challenged: u64,
        /// Requests answered 401 because their nonce was used before, too old or none of ours, though the password was right.
        pub nonce_stale: u64,
        /// Requests answered 401 because their credentials were wrong.
        pub credentials_wrong: u64,
        /// Requests of ours sent again with credentials.
        pub authenticated: u64,
        /// Requests that arrived by more than one path (482).
        pub merged: u64,
        /// ACKs and responses that belong to nothing.
        pub stray: u64,
        /// Requests answered 416: their URI is neither sip, sips nor tel.
        pub uri_scheme_refused: u64,
        /// Requests answered 420: they require what is not known here.
        pub option_refused: u64,
        /// Requests answered 415: their body is encoded.
        pub encoding_refused: u64,
        /// Requests answered 501: their method is not served.
        pub method_unserved: u64,
        /// Requests answered 481: their dialog, or what they cancel or acknowledge, is not there (any more).
        pub no_dialog: u64,
        /// Requests answered 500: their CSeq is lower than that of one before.
        pub out_of_order: u64,
        /// Re-INVITEs answered 500: an earlier one is not answered.
        pub out_of_turn: u64,
        /// Messages of ours over UDP that were too long for one packet: they go in fragments.
        pub datagrams_long: u64,
        /// OPTIONS answered.
        pub options: u64,
        /// Refreshes of sessions sent.
        pub refreshes: u64,
        /// Sessions that ran out without a refresh.
        pub sessions_expired: u64,
        /// INVITEs and offers of both ends that met (491).
        pub glare: u64,
    }
}
