//! What a recording is made of, as bytes: the WAV inside a segment and the manifest.
//!
//! Leaves out files (`store`) and encryption (`seal`).

pub mod layout;
pub mod manifest;
mod manifest_siprec;
pub mod wav;

pub use manifest::Manifest;
