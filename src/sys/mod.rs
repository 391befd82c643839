//! The system calls that the rest needs, each behind a safe function: memory, clock, entropy, affinity, limits,
//! sockets, files, BPF, capabilities.
//!
//! With `ring` this is where `unsafe` may be; everything else is safe code.

pub mod affinity;
pub mod bpf;
pub mod cache;
pub mod capability;
pub mod clock;
pub mod entropy;
pub mod file;
pub mod interface;
pub mod memory;
#[cfg(test)]
#[path = "netns_tests.rs"]
pub(crate) mod netns;
pub mod packet_socket;
pub mod process;
pub mod rlimit;
pub mod socket;
pub mod space;
pub mod wake;

pub use clock::{mono, wall};
pub use entropy::OsEntropy;
