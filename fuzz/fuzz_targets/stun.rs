//! Any bytes as a STUN answer: an address or a reason, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapehead::base::Entropy;
use tapehead::stun::Request;

struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}

fuzz_target!(|input: &[u8]| {
    let request = Request::new(&mut Zeros);
    let _ = request.read(input);
    // With the header right, so that the fuzzer need not find the cookie first.
    let mut answer =
        [&[1, 1], &(input.len() as u16).to_be_bytes()[..], &request.bytes()[4..], input].concat();
    if let Ok(address) = request.read(&answer) {
        assert!(!address.ip().is_unspecified());
    }
    answer[1] = 0x11;
    assert!(request.read(&answer).is_err());
});
