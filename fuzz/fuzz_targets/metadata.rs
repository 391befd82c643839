//! Any bytes as recording metadata, several documents parted by NUL bytes: always a model and a history within their limits, never a
//! panic; a document told twice is no news; what our writer makes of the model reads as well-formed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapehead::limits::{EXTENSIONS_MAX, METADATA_EVENTS_MAX, METADATA_RECORDS_MAX};
use tapehead::siprec::{Flag, History, Metadata, identify, write};

fuzz_target!(|raw: &[u8]| {
    let mut history = History::default();
    for (number, raw) in raw.split(|byte| *byte == 0).take(8).enumerate() {
        let metadata = Metadata::read(raw);
        assert!(metadata.extensions.len() <= EXTENSIONS_MAX);
        metadata.extensions.iter().for_each(|extension| drop(extension.known()));
        history.apply(&metadata, &format!("t{number}"), number == 7);
        let again = Metadata::read(write(&metadata).as_bytes());
        assert!(!again.flags.contains(&Flag::UnknownRoot));
    }
    assert!(history.records() <= METADATA_RECORDS_MAX && history.events.len() <= METADATA_EVENTS_MAX);
    assert!(history.links.iter().all(|link| (link.participant as usize) < history.participants.len()));
    for track in identify(&history, &[(0, Some("1")), (1, None)]) {
        assert!(track.speakers.iter().all(|one| (one.participant as usize) < history.participants.len()));
    }
});
