//! Small types that every layer shares: instants, identifiers, randomness, redaction.
//!
//! Leaves out anything that reads a clock or draws entropy: those are drivers (`sys`).

mod counters;
mod id;
mod instant;
mod networks;
pub mod planted;
mod prng;
mod rate;
mod redacted;
mod text;

pub use id::{RecordingId, SegmentNumber};
pub use instant::{Mono, Wall, ppm};
pub use networks::{Network, Networks, network};
pub use prng::Prng;
pub use rate::Rate;
pub use redacted::Redacted;
pub use text::{hex, lossy};

/// Randomness fit for keys, salts, nonces and tags. Implemented by the operating system's generator
/// (`sys::OsEntropy`) and, for the simulator alone, by a seeded stand-in; never mixed up with
/// [`Prng`], which is for simulation and jitter.
pub trait Entropy {
    /// Fills `out` with random bytes.
    fn fill(&mut self, out: &mut [u8]);
}

/// Randomness that is none, for tests: the same from the same seed.
#[cfg(test)]
pub(crate) struct Seeded(Prng);

#[cfg(test)]
impl Seeded {
    /// From this seed.
    pub fn new(seed: u64) -> Seeded {
        Seeded(Prng::new(seed))
    }
}

#[cfg(test)]
impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}
