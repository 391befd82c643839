//! The system calls that the rest needs, each behind a safe function: memory, clock, entropy, affinity.
//!
//! With `ring` this is where `unsafe` may be; everything else is safe code.

pub mod memory;
