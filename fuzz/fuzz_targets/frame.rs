//! Any bytes as a frame from a tap: a datagram within it, or a fault; the same datagram when less of it was captured or more is vouched for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapehead::ring::packet::frame::{Fault, Frame, parse};

fuzz_target!(|input: &[u8]| {
    // The first two bytes say how much longer it was on the wire and how much of it was captured.
    let [more, less, bytes @ ..] = input else { return };
    let wire_bytes = bytes.len() + usize::from(*more);
    let frame = Frame { bytes, wire_bytes, is_vouched: false, interface: 3 };
    let vouched = Frame { is_vouched: true, ..frame };
    let read = parse(&vouched);
    if let Ok(datagram) = read {
        assert!(datagram.payload.len() + 28 <= bytes.len());
        if !datagram.payload.is_empty() {
            assert!(bytes.as_ptr_range().contains(&datagram.payload.as_ptr()));
        }
    }
    // The checksum alone may be what is wrong with it.
    match parse(&frame) {
        Err(Fault::Checksum) => assert!(read.is_ok()),
        other => assert_eq!(other, read),
    }
    let cut = Frame { bytes: &bytes[..bytes.len().saturating_sub(usize::from(*less))], ..vouched };
    if let (Ok(part), Ok(whole)) = (parse(&cut), read) {
        assert_eq!((part.port, part.from), (whole.port, whole.from));
        assert!(whole.payload.starts_with(part.payload));
    }
});
