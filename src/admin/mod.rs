//! The administrator's words: what can be asked of a running recorder, and what it answers.
//!
//! One request is a line of JSON, `{"command":"status"}`; so is its answer, `{"ok":...}` or `{"error":{"kind":...,"why":...}}`.
//! [`answer()`] turns one into the other with the help of a [`Subject`], without I/O: the socket is `recorder`'s, the command line `cli`'s.
//! Lists are given in pages ([`crate::limits::ADMIN_PAGE`]), so that no request holds up the calls for long.

mod answer;
pub mod metrics;
mod request;
mod status;

pub use answer::{Refused, Subject, answer};
pub use request::{CallName, DrainOrder, PauseOrder, Request};
pub use status::{DialogStatus, Limits, ShardStatus, SipStatus, Status};

#[cfg(test)]
mod tests;
