//! Any bytes as an offer: read or refused, answered line by line, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapehead::sdp::{Agreement, Answerer, parse};

fuzz_target!(|body: &[u8]| {
    let Ok(offer) = parse(body) else { return };
    assert_eq!(parse(offer.to_string().as_bytes()).as_ref(), Ok(&offer));
    let agreed = Agreement::of(&offer);
    let answer = Answerer::new(1).answer(&offer, &agreed, [127, 0, 0, 1].into(), |_| Some(10_000));
    let answer = parse(answer.as_bytes()).expect("our own answer reads");
    assert_eq!(answer.media.len(), offer.media.len());
});
