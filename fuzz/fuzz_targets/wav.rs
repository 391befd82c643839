//! Any bytes as a WAV header: read or refused, and what is read says where its samples are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapehead::recording::wav;
use tapehead::seal::AudioParams;

fuzz_target!(|data: &[u8]| {
    let Ok(info) = wav::parse(data) else { return };
    assert!(info.data_at <= data.len() && info.channels > 0);
    // A header of ours with the same parameters reads back as such.
    if info.channels <= 8 {
        let params = AudioParams { format: info.format, rate: info.rate, channels: info.channels, start: 0 };
        let ours = wav::parse(&wav::header(&params, info.data_bytes / 4080)).expect("our own header reads");
        assert_eq!((ours.format, ours.rate, ours.channels), (info.format, info.rate, info.channels));
    }
});
