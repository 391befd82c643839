//! SIPREC (RFC 7866) and its metadata (RFC 7865), as clients really send it. `manual::interop` lists what that is.
//!
//! Metadata never decides whether a call is recorded: [`Metadata::read`] can't fail, it flags. The raw bytes are kept by the caller.
//! A [`Dossier`] collects what all messages of a recording session tell; [`History`] is its model of state and history.
//! Leaves out requests from us to the client (RFC 7866 section 8.4).

mod aor;
mod body;
mod correlation;
mod cuts;
mod dossier;
mod encoding;
mod extension;
mod headers;
mod history;
mod join;
mod metadata;
mod read;
mod records;
mod role;
mod sign;
mod vendor;
mod write;
mod xml;

pub use aor::is_personal;
pub use body::Bodies;
pub use correlation::Correlation;
pub use cuts::Cuts;
pub use dossier::{Dossier, Told};
pub use extension::{Extension, Known, KnownKind};
pub use history::History;
pub use join::{Former, Join, Speaker, TrackIdentity, identify, identify_over_time};
pub use metadata::{
    CommunicationSession, Datamode, Flag, Group, Metadata, Name, Participant, Presence, SessionTimes, Stream,
    StreamLink, Times,
};
pub use records::*;
pub use role::{Role, RoleOf};
pub use sign::{Sign, is_one_leg};
pub use vendor::{Vendor, VendorSign};
pub use write::write;

#[cfg(test)]
mod dialect_tests;
