//! SIP without I/O: messages, framing, transactions, dialogs (RFC 3261, 3581, 4028, 5626 section 4.4.1, 6026, 7616, 7989).
//!
//! Bytes become a [`Message`] ([`Message::parse_datagram`], [`Framer`]); an [`Endpoint`] takes messages and instants and gives
//! back [`Action`]s: bytes to send and [`Event`]s for the recorder (and, for the demo and the tests, for a recording client:
//! [`client`]). Nothing in here reads a clock, draws entropy or touches a socket.
//!
//! # What was taken from rsip
//!
//! Nothing. rsip 0.4, the parser of choice when this was begun, was tried with the values that recording clients send and
//! with the torture messages of RFC 4475 (`tests/sip/rsip_finding.rs` holds the lists and fails should a later version do
//! better). Its URI knows no `tel:`, no IPv6 address and no headers, and reads another host out of a user part with an '@';
//! its Via is refused for blanks where the RFC allows them, or read without its branch, which is the name of the
//! transaction; its From, To and Contact are refused for a quoted parameter, an escaped quote or a blank in front of a
//! semicolon; its CSeq knows only the methods it was written with. Of 28 valid torture messages it takes 19. Any of these
//! is a recording lost. It stays a dev-dependency, for that comparison alone.
//!
//! Left out: TLS (a transport is only a tag here), DNS (a next hop that is no IP address is reached through the peer that
//! named it), the change to TCP for requests of ours longer than 1,300 bytes (RFC 3261 section 18.1.1: they go in fragments the way
//! the peer came, and are counted as `datagrams_long`), and the meaning of bodies ([`crate::sdp`], [`crate::siprec`]).

pub mod builder;
pub mod client;
pub mod digest;
pub mod endpoint;
pub mod event;
pub mod gate;
pub mod header;
pub mod lex;
pub mod malformed;
pub mod message;
pub mod method;
pub mod multipart;
pub mod name_addr;
pub mod peer;
pub mod timers;
pub mod uri;
pub mod via;

mod census;
mod dialog;
mod framer;
mod nonce;
mod outbound;
mod server;
mod session_id;
mod session_timer;
mod table;

pub use builder::{Builder, Reply};
pub use digest::Credentials;
pub use endpoint::Endpoint;
pub use event::{Action, Answer, Config, Counters, DialogId, Event, Gone, RequestId, Shut};
pub use framer::{Frame, Framer};
pub use gate::{Allowed, Gate, Rule, Verdict};
pub use header::Head;
pub use malformed::{Malformed, Why};
pub use message::{CSeq, Message, Start};
pub use method::Method;
pub use name_addr::NameAddr;
pub use peer::{Peer, Transport};
pub use session_timer::Refresher;
pub use table::{DialogRow, SessionRow};
pub use uri::{Scheme, Uri};
pub use via::Via;
