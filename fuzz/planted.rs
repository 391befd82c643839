//! Not a parser: a planted panic that only coverage guidance finds, so that `./check` knows the fuzzer works.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // Four nested branches: some seconds by guidance, 2^32 tries by chance.
    if let [b'r', b's', b'-', b'm', ..] = input {
        panic!("planted");
    }
});
