//! `a=crypto` as clients write it, and what they get for it.

use proptest::prelude::*;

use super::super::{Agreement, Answerer, Description, Line, Why, parse};
use super::*;
use crate::sys::OsEntropy;

const KEY_128: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
const KEY_GCM: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHA==";
const KEY_256: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLg==";

fn line(protocol: &str, attributes: &str) -> Description {
    let text = format!("v=0\nc=IN IP4 10.0.0.1\nm=audio 4000 {protocol} 0\n{attributes}\n");
    parse(text.as_bytes()).unwrap()
}

struct Dialog(Keyring, Answerer);

impl Dialog {
    fn new() -> Dialog {
        Dialog(Keyring::new(&mut OsEntropy), Answerer::new(9))
    }

    fn answer(&mut self, offer: &Description) -> String {
        let agreed = Agreement::of(offer).secured(&mut self.0, false);
        self.1.answer(offer, &agreed, "192.0.2.9".parse().unwrap(), |line| Some(10_000 + 2 * line as u16))
    }

    /// The crypto lines of the answer, one per m-line that has one.
    fn crypto(&mut self, offer: &Description) -> Vec<String> {
        let answer = parse(self.answer(offer).as_bytes()).unwrap();
        answer.media.iter().flat_map(|media| media.values("crypto")).map(str::to_owned).collect()
    }
}

fn declined(offer: &Description) -> Option<Why> {
    match Agreement::of(offer).lines[0] {
        Line::Declined(why) => Some(why),
        _ => None,
    }
}

#[test]
fn the_first_line_that_we_can_do_is_answered_under_its_tag_with_a_key_of_ours() {
    let offer = line(
        "RTP/SAVP",
        &format!(
            "a=sendonly\na=crypto:1 F8_128_HMAC_SHA1_80 inline:{KEY_128}\na=crypto:2 AEAD_AES_256_GCM inline:{KEY_128}\n\
             a=crypto:7 aes_cm_128_hmac_sha1_80 inline:{KEY_128}|2^20|1:4\na=label:1\na=crypto:8 AEAD_AES_128_GCM inline:{KEY_GCM}"
        ),
    );
    let mut dialog = Dialog::new();
    let answered = dialog.crypto(&offer);
    let [answered] = &answered[..] else { panic!("one line: {answered:?}") };
    assert!(answered.starts_with("7 aes_cm_128_hmac_sha1_80 inline:") && answered.ends_with("|1:4"));
    assert!(!answered.contains(KEY_128), "our own key");
    assert!(dialog.answer(&offer).contains("m=audio 10000 RTP/SAVP 0\r\n"));
}

#[test]
fn lines_are_taken_as_clients_write_them() {
    let taken = |suite: &str, rest: &str| Crypto::parse(&format!("1 {suite} inline:{rest}"));
    for (suite, rest) in [
        ("AES_CM_128_HMAC_SHA1_32", KEY_128.to_owned()),
        ("AES_256_CM_HMAC_SHA1_80", KEY_256.to_owned()),
        ("AES_CM_256_HMAC_SHA1_80", KEY_256.trim_end_matches('=').to_owned()),
        ("AEAD_AES_128_GCM", KEY_GCM.trim_end_matches('=').to_owned()),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128}|2^31")),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128}|1048576|4294967295:4")),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128}|1:1")),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128};")),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128}|2^20|1:4;inline:{KEY_128}|2^20|2:4")),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128} WSH=1024 KDR=0 -X-vendor")),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128} UNENCRYPTED_SRTCP")),
    ] {
        let crypto = taken(suite, &rest).unwrap_or_else(|| panic!("{suite} {rest}"));
        assert!(!format!("{crypto:?}").contains(&KEY_128[..8]));
    }
    for (suite, rest) in [
        ("AES_CM_128_HMAC_SHA1_80", KEY_GCM.to_owned()),
        ("AES_CM_128_HMAC_SHA1_80", "#".to_owned()),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128}|256:1")),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128}|1:0")),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128}|1:200")),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128};inline:{KEY_128}")),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128} KDR=10")),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128} UNAUTHENTICATED_SRTP")),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128} FEC_ORDER=FEC_SRTP")),
        ("AES_CM_128_HMAC_SHA1_80", format!("{KEY_128} X-vendor")),
        ("AEAD_AES_128_GCM", format!("{KEY_GCM} UNENCRYPTED_SRTCP")),
    ] {
        assert_eq!(taken(suite, &rest), None, "{suite} {rest}");
    }
    assert_eq!(Crypto::parse("1 AES_CM_128_HMAC_SHA1_80 ;"), None, "no key");
    assert_eq!(Crypto::parse(&format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY_128}")), None, "no tag");
    let several = taken("AES_CM_128_HMAC_SHA1_80", &format!("{KEY_128}|1:4;inline:{KEY_128}|2:4")).unwrap();
    assert_eq!(
        several.keys.iter().map(|k| k.mki().to_vec()).collect::<Vec<_>>(),
        [[0, 0, 0, 1], [0, 0, 0, 2]]
    );
}

#[test]
fn our_key_is_another_for_each_line_and_stays_while_the_clients_does() {
    let text = |first: &str, second: &str| {
        format!(
            "v=0\nc=IN IP4 10.0.0.1\nm=audio 4000 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{first}\n\
             m=audio 4002 RTP/SAVPF 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{second}\n"
        )
    };
    let offer = |first, second| parse(text(first, second).as_bytes()).unwrap();
    let other = "e0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    let mut dialog = Dialog::new();
    let initial = dialog.answer(&offer(KEY_128, KEY_128));
    assert_eq!(
        dialog.answer(&offer(KEY_128, KEY_128)),
        initial,
        "a refresh changes nothing, not even the version"
    );
    let before = dialog.crypto(&offer(KEY_128, KEY_128));
    assert_ne!(before[0], before[1], "the client's keys are equal, ours are not");
    let after = dialog.crypto(&offer(KEY_128, other));
    assert_eq!((before.len(), after.len()), (2, 2));
    assert!(before[0] == after[0] && before[1] != after[1]);
    let back = dialog.crypto(&offer(KEY_128, KEY_128));
    assert!(back[1] != before[1] && back[1] != after[1], "no key of ours comes again");
}

#[test]
fn what_is_secured_otherwise_is_declined_and_says_why() {
    let sdes = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_128}");
    let dtls = "a=fingerprint:sha-256 AA:BB\na=setup:actpass";
    assert_eq!(declined(&line("RTP/SAVP", "")), Some(Why::NoKeys));
    assert_eq!(declined(&line("RTP/SAVP", "a=crypto:1 F8_128_HMAC_SHA1_80 inline:x")), Some(Why::NoKeys));
    assert_eq!(declined(&line("RTP/SAVPF", dtls)), Some(Why::Dtls));
    assert_eq!(declined(&line("UDP/TLS/RTP/SAVPF", dtls)), Some(Why::Dtls));
    assert_eq!(declined(&line("UDP/BFCP", "")), Some(Why::NotRtp));
    assert_eq!(
        declined(&line("RTP/SAVPF", &format!("{dtls}\n{sdes}"))),
        None,
        "keys of both kinds: SDES it is"
    );
    assert_eq!(declined(&line("rtp/savp", &sdes)), None);
}

#[test]
fn under_the_plain_profile_keys_are_used_if_they_can_be() {
    let mut dialog = Dialog::new();
    let sdes = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_128} UNENCRYPTED_SRTP");
    let answered = dialog.crypto(&line("RTP/AVP", &sdes));
    assert!(answered[0].ends_with(" UNENCRYPTED_SRTP"), "{answered:?}");
    assert_eq!(dialog.crypto(&line("RTP/AVP", "a=crypto:1 F8_128_HMAC_SHA1_80 inline:x")), [""; 0]);
    assert!(dialog.answer(&line("RTP/AVP", "")).contains("m=audio 10000 RTP/AVP 0"));
}

#[test]
fn a_secured_line_without_a_key_of_ours_is_not_answered_as_if_it_were_clear() {
    let offer = line("RTP/AVP", &format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_128}"));
    let answer =
        Answerer::new(1)
            .answer(&offer, &Agreement::of(&offer), "192.0.2.9".parse().unwrap(), |_| Some(10_000));
    assert!(answer.contains("m=audio 0 RTP/AVP 0"), "{answer}");
}

#[test]
fn no_key_is_printed() {
    let offer = line("RTP/SAVP", &format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_128}"));
    let mut dialog = Dialog::new();
    let ours = dialog.crypto(&offer).remove(0);
    let ours = ours.split("inline:").nth(1).unwrap();
    let agreed = Agreement::of(&offer).secured(&mut dialog.0, false);
    let printed = format!("{offer:?} {agreed:?} {:?} {:?}", dialog.0, dialog.1);
    assert!(
        printed.contains("[redacted]") && !printed.contains(KEY_128) && !printed.contains(ours),
        "{printed}"
    );
}

proptest! {
    #[test]
    fn any_crypto_line_is_taken_or_passed_over(
        value in "([0-9]{1,3} )?(AES_CM_128_HMAC_SHA1_80|AEAD_AES_128_GCM|X) ?(inline:)?[A-Za-z0-9+/]{0,50}={0,2}([|;][ -~]{0,12}){0,3}"
    ) {
        if let Some(crypto) = Crypto::parse(&value) {
            prop_assert!(!crypto.keys.is_empty());
            let plan = Keyring::new(&mut OsEntropy).plan(0, &crypto, false);
            let answer = crypto.answer(&plan.ours);
            let read = Crypto::parse(answer.value.as_deref().unwrap()).unwrap();
            prop_assert_eq!(read.keys, vec![plan.ours]);
        }
    }
}
