//! What a recording is made of, as bytes: the WAV inside a segment and the manifest.
//!
//! Leaves out files (`store`) and encryption (`seal`).

pub mod layout;
pub mod manifest;
mod manifest_siprec;
mod pause;
pub mod wav;

pub use manifest::Manifest;
pub use pause::Pause;
