//! A session recording client (SRC, RFC 7866): places calls at a recorder and sends real-time audio, for the demonstration and for tests.
//!
//! Leaves out what only a border controller needs: it records no one, it plays signals that can be checked to the sample.

pub mod call;
pub mod line;
pub mod pace;
pub mod script;
pub mod signal;

pub use call::{Call, CallError, Party};
pub use line::Line;
pub use script::{Impairment, Script, StreamPlan};
pub use signal::{Law, Signal};

#[cfg(test)]
mod tests;
