//! Any bytes as an offer: read or refused, answered line by line, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapehead::base::Entropy;
use tapehead::sdp::{Agreement, Answerer, Keyring, parse};

/// Always the same: what is found can be found again.
struct Fixed;

impl Entropy for Fixed {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(7);
    }
}

fuzz_target!(|body: &[u8]| {
    let Ok(offer) = parse(body) else { return };
    assert_eq!(parse(offer.to_string().as_bytes()).as_ref(), Ok(&offer));
    let agreed = Agreement::of(&offer).secured(&mut Keyring::new(&mut Fixed), false);
    let answer = Answerer::new(1).answer(&offer, &agreed, [127, 0, 0, 1].into(), |_| Some(10_000));
    let answer = parse(answer.as_bytes()).expect("our own answer reads");
    assert_eq!(answer.media.len(), offer.media.len());
});
