//! A session recording client (SRC, RFC 7866): places calls at a recorder and sends real-time audio, for the demonstration and for tests.
//!
//! Leaves out what only a border controller needs: it records no one, it plays signals that can be checked to the sample.

pub mod pace;
pub mod script;
pub mod signal;
