//! Keys in the session description (SDES, RFC 4568): reading `a=crypto`, choosing one, writing ours.
//!
//! A line that asks for what we can't do is passed over, not the stream: the next one may do. Leaves out key derivation rates, forward error
//! correction and SRTP without authentication.

use std::fmt::Write;

use aws_lc_rs::hkdf;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::{Attribute, Media};
use crate::base::Entropy;
use crate::limits::{SRTP_MASTERS_MAX, SRTP_MKI_BYTES_MAX};
use crate::srtp::{Keys, Plan, Suite};

/// Takes base64 with its padding, without it, and with stray bits at the end.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// An `a=crypto` line that we can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crypto {
    /// As offered: the answer repeats it.
    tag: String,
    /// As offered: some spell it their own way.
    name: String,
    /// The suite.
    pub suite: Suite,
    /// Its writer's master keys.
    pub keys: Vec<Keys>,
    clear_rtp: bool,
    clear_rtcp: bool,
}

impl Crypto {
    /// The line of a media description to go by: the first that we can do, for their order is their writer's preference (RFC 4568 section 7.1.1).
    pub fn of(media: &Media) -> Option<Crypto> {
        media.values("crypto").find_map(Crypto::parse)
    }

    /// `<tag> <suite> <key-params> [<session-params>]` (RFC 4568 section 9.1).
    fn parse(value: &str) -> Option<Crypto> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next().filter(|tag| tag.len() <= 9 && tag.bytes().all(|b| b.is_ascii_digit()))?;
        let name = words.next()?;
        let suite = Suite::named(name)?;
        // Some end the list with a semicolon.
        let list = words.next()?.split(';').filter(|key| !key.is_empty());
        let keys: Option<Vec<Keys>> = list.take(SRTP_MASTERS_MAX).map(|key| keys(suite, key)).collect();
        let keys = keys?;
        let mki_bytes = keys.first()?.mki().len();
        // Keys are told apart by identifiers of one length (section 6.1).
        let apart = keys.len() == 1 || mki_bytes > 0;
        if !apart || keys.iter().any(|keys| keys.mki().len() != mki_bytes) {
            return None;
        }
        let (tag, name) = (tag.to_owned(), name.to_owned());
        let mut crypto = Crypto { tag, name, suite, keys, clear_rtp: false, clear_rtcp: false };
        words.all(|word| crypto.parameter(word)).then_some(crypto)
    }

    /// Takes a session parameter (RFC 4568 section 6.3). False if we can't do it.
    fn parameter(&mut self, word: &str) -> bool {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        // GCM always encrypts (RFC 7714 section 14.2.1 has no use for these).
        if is("UNENCRYPTED_SRTP") && !self.suite.is_aead() {
            self.clear_rtp = true;
            return true;
        }
        if is("UNENCRYPTED_SRTCP") && !self.suite.is_aead() {
            self.clear_rtcp = true;
            return true;
        }
        // The window size is a hint, and a parameter with a minus may be ignored (section 6.3.6 and 6.3.7).
        is("KDR=0") || word.starts_with('-') || word.to_ascii_uppercase().starts_with("WSH=")
    }

    /// The line that answers this one with `ours` (RFC 4568 section 7.1.2).
    pub(super) fn answer(&self, ours: &Keys) -> Attribute {
        let mut value = format!("{} {} {}", self.tag, self.name, inline(ours).as_str());
        let parameters = [(self.clear_rtp, "UNENCRYPTED_SRTP"), (self.clear_rtcp, "UNENCRYPTED_SRTCP")];
        parameters.iter().filter(|(asked, _)| *asked).for_each(|(_, name)| {
            value.push(' ');
            value.push_str(name);
        });
        Attribute::new("crypto", value)
    }
}

/// The line that offers `keys`.
pub(super) fn offered(tag: u32, suite: Suite, keys: &Keys) -> Attribute {
    Attribute::new("crypto", format!("{tag} {} {}", suite.name(), inline(keys).as_str()))
}

/// `inline:<key||salt>[|MKI:length]`.
fn inline(keys: &Keys) -> Zeroizing<String> {
    let mut text = Zeroizing::new(format!("inline:{}", LENIENT.encode(keys.expose())));
    let mki = keys.mki();
    if !mki.is_empty() {
        // Ours are small, and those of a client fit what they came from.
        let number = mki.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
        let _ = write!(text, "|{number}:{}", mki.len());
    }
    text
}

/// `inline:<key||salt>[|lifetime][|MKI:length]` (RFC 4568 section 6.1). The lifetime is the sender's to keep.
fn keys(suite: Suite, text: &str) -> Option<Keys> {
    let (method, info) = text.split_once(':')?;
    if !method.eq_ignore_ascii_case("inline") {
        return None;
    }
    let mut parts = info.split('|');
    let bytes = Zeroizing::new(LENIENT.decode(parts.next()?).ok()?);
    let keys = Keys::new(suite, &bytes)?;
    match parts.find_map(|part| part.split_once(':')) {
        Some((number, length)) => keys.with_mki(mki(number, length)?.as_slice()),
        None => Some(keys),
    }
}

/// A decimal number as so many bytes, big endian.
fn mki(number: &str, length: &str) -> Option<Vec<u8>> {
    let length: usize = length.trim().parse().ok().filter(|len| (1..=SRTP_MKI_BYTES_MAX).contains(len))?;
    let number: u128 = number.trim().parse().ok()?;
    let bytes = number.to_be_bytes();
    let (high, low) = bytes.split_at(bytes.len() - length);
    high.iter().all(|byte| *byte == 0).then(|| low.to_vec())
}

/// Our keys in one dialog: fresh for each m-line, the same as long as the client's are the same (interop 37).
pub struct Keyring {
    draw: Draw,
    /// By the index of the m-line.
    lines: Vec<Option<Plan>>,
}

impl Keyring {
    /// For a new dialog.
    pub fn new(entropy: &mut (impl Entropy + ?Sized)) -> Keyring {
        let mut seed = Zeroizing::new([0; 32]);
        entropy.fill(&mut seed[..]);
        let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &seed[..]);
        Keyring { draw: Draw { prk, drawn: 0 }, lines: Vec::new() }
    }

    /// What secures the m-line at `index` by `crypto`. Our key is fresh if the client's is, unless ours `stands`.
    pub(super) fn plan(&mut self, index: usize, crypto: &Crypto, stands: bool) -> Plan {
        if self.lines.len() <= index {
            self.lines.resize(index + 1, None);
        }
        let Crypto { suite, keys: peer, clear_rtp, clear_rtcp, .. } = crypto;
        let (clear_rtp, clear_rtcp) = (*clear_rtp, *clear_rtcp);
        let draw = &mut self.draw;
        let mut fresh = || {
            let keys = Keys::fresh(*suite, draw);
            let mki = peer.first().map_or(0, |keys| keys.mki().len());
            // Identified if the client's are, at the same length.
            let number = 1u128.to_be_bytes();
            keys.with_mki(&number[number.len() - mki..]).expect("as long as one that was read")
        };
        let last = self.lines[index].take();
        let same = |last: &Plan| last.suite == *suite && (stands || last.peer == *peer);
        let ours = match last.filter(same) {
            Some(last) => last.ours.clone(),
            None => fresh(),
        };
        let plan = Plan { suite: *suite, peer: peer.clone(), ours, clear_rtp, clear_rtcp };
        self.lines[index] = Some(plan.clone());
        plan
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring([redacted])")
    }
}

/// Key material from one secret: no two draws are the same (RFC 5869), and whoever writes an answer needs no entropy at hand.
struct Draw {
    prk: hkdf::Prk,
    drawn: u64,
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Entropy for Draw {
    fn fill(&mut self, out: &mut [u8]) {
        self.drawn += 1;
        let number = self.drawn.to_be_bytes();
        let info = [&b"SRTP master key"[..], &number];
        let filled = self.prk.expand(&info, Length(out.len())).and_then(|okm| okm.fill(out));
        filled.expect("a master key is shorter than 255 hashes");
    }
}

#[cfg(test)]
#[path = "crypto_tests.rs"]
mod tests;
