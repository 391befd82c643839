//! Any datagram as RTP: no panic, the payload lies within, and what was read survives being written again.
#![no_main]

use tapehead::rtp::{Header, Packet, write};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(packet) = Packet::parse(data) else { return };
    let csrc: Vec<u32> =
        packet.csrc.chunks_exact(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
    let header = Header {
        payload_type: packet.payload_type,
        marker: packet.marker,
        sequence: packet.sequence,
        timestamp: packet.timestamp,
        ssrc: packet.ssrc,
        csrc: &csrc,
        extension: packet.extension,
        padding: 0,
    };
    let mut wire = Vec::new();
    write(&header, packet.payload, &mut wire);
    assert_eq!(Packet::parse(&wire), Ok(packet));
});
