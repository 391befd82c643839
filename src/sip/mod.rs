//! SIP without I/O: messages, framing, transactions, dialogs (RFC 3261, 3581, 5626 section 4.4.1, 6026).
//!
//! Bytes become a [`Message`] ([`Message::parse_datagram`], [`Framer`]); an [`Endpoint`] takes messages and instants and gives
//! back [`Action`]s: bytes to send and [`Event`]s for the recorder (and, for the demo and the tests, for a recording client:
//! [`client`]). Nothing in here reads a clock, draws entropy or touches a socket.
//!
//! Left out: TLS (a transport is only a tag here), DNS (a next hop that is no IP address is reached through the peer that
//! named it), authentication, and the meaning of bodies ([`crate::sdp`], [`crate::siprec`]).

pub mod builder;
pub mod client;
pub mod endpoint;
pub mod event;
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

mod dialog;
mod framer;
mod outbound;
mod server;

pub use builder::{Builder, Reply};
pub use endpoint::Endpoint;
pub use event::{Action, Answer, Config, Counters, DialogId, Event, Gone, RequestId};
pub use framer::{Frame, Framer};
pub use header::Head;
pub use malformed::{Malformed, Why};
pub use message::{CSeq, Message, Start};
pub use method::Method;
pub use name_addr::NameAddr;
pub use peer::{Peer, Transport};
pub use uri::{Scheme, Uri};
pub use via::Via;
