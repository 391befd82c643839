//! SIPREC (RFC 7866) and its metadata (RFC 7865), as clients really send it.
//!
//! Metadata never decides whether a call is recorded: [`Metadata::read`] can't fail, it flags. The raw bytes are kept by the caller.
//! Leaves out vendors' extension data, which stays in the raw bytes, and requests from us to the client (RFC 7866 section 8.4).

mod body;
mod join;
mod metadata;
mod sign;
mod write;
mod xml;

pub use body::Bodies;
pub use join::{Join, TrackIdentity, identify};
pub use metadata::{
    CommunicationSession, Datamode, Flag, Group, Metadata, Name, Participant, Presence, Stream, StreamLink,
};
pub use sign::{Sign, is_one_leg};
pub use write::write;
