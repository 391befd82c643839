//! Any bytes as recording metadata: always a model, never a panic; what our writer makes of the model reads as well-formed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapehead::siprec::{Flag, Metadata, identify, write};

fuzz_target!(|raw: &[u8]| {
    let metadata = Metadata::read(raw);
    identify(&metadata, &[(0, Some("1")), (1, None)]);
    let again = Metadata::read(write(&metadata).as_bytes());
    assert!(!again.flags.contains(&Flag::UnknownRoot));
});
