//! Any datagram as RTCP: no panic, and every list in it ends.
#![no_main]

use tapehead::rtp::rtcp::{Rtcp, compound};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for packet in compound(data).flatten() {
        match packet {
            Rtcp::SenderReport { reports, .. } | Rtcp::ReceiverReport { reports, .. } => {
                assert!(reports.count() <= 31);
            }
            Rtcp::SourceDescription(items) => assert!(items.count() <= data.len()),
            _ => {}
        }
    }
});
