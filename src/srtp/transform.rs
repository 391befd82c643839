//! The transform of one packet under one set of session keys: AES in counter mode with HMAC-SHA1 (RFC 3711 section 4), or AES-GCM
//! (RFC 7714). Knows nothing of sequence, replay or who sends.
//!
//! Reading never changes the packet: what is authentic is written, decrypted, to another place, so that a packet can be
//! tried under several rollover counters and keys.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use aws_lc_rs::cipher::EncryptingKey;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::keys::{SALT_BYTES, counter_mode};

/// What of an RTCP packet stays in clear: the first header with its SSRC (RFC 3711 section 3.4).
pub(super) const RTCP_HEAD_BYTES: usize = 8;
const GCM_RTCP_AAD_BYTES: usize = RTCP_HEAD_BYTES + 4;

/// What takes part in the transform of a packet beside its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub kind: Kind,
    pub ssrc: u32,
    /// SRTP: rollover counter and sequence number, 48 bits; SRTCP: its index, 31 bits.
    pub index: u64,
    /// If not, it is only authenticated; never so under GCM.
    pub encrypted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Rtp,
    Rtcp,
}

impl Place {
    /// What stands behind the packet in the authenticated text: the rollover counter (RFC 3711 section 4.2), or what is also on the wire, the
    /// index with its E flag (section 3.4).
    pub fn tail(&self) -> [u8; 4] {
        match self.kind {
            Kind::Rtp => ((self.index >> 16) as u32).to_be_bytes(),
            Kind::Rtcp => (self.index as u32 & 0x7fff_ffff | u32::from(self.encrypted) << 31).to_be_bytes(),
        }
    }

    /// SSRC ‖ index in 48 bits: what every initialisation vector is made of.
    fn words(&self) -> [u8; 10] {
        let mut words = [0; 10];
        words[..4].copy_from_slice(&self.ssrc.to_be_bytes());
        words[4..].copy_from_slice(&self.index.to_be_bytes()[2..]);
        words
    }
}

/// See the [module](self).
pub(super) struct Transform {
    cipher: Cipher,
    salt: [u8; SALT_BYTES],
    /// Bytes of a tag.
    pub tag_bytes: usize,
}

enum Cipher {
    CounterMode { key: Box<EncryptingKey>, auth: Box<hmac::Key> },
    Gcm(Box<LessSafeKey>),
}

impl Transform {
    pub fn counter_mode(
        key: EncryptingKey,
        auth: hmac::Key,
        salt: [u8; SALT_BYTES],
        tag_bytes: usize,
    ) -> Transform {
        let cipher = Cipher::CounterMode { key: Box::new(key), auth: Box::new(auth) };
        Transform { cipher, salt, tag_bytes }
    }

    pub fn gcm(key: LessSafeKey, salt: [u8; SALT_BYTES], tag_bytes: usize) -> Transform {
        Transform { cipher: Cipher::Gcm(Box::new(key)), salt, tag_bytes }
    }

    /// Writes the plaintext of `sealed` to `out`, which is as long, if the packet is authentic. `head` goes before it in clear.
    pub fn open(&self, place: Place, (head, sealed, tag): (&[u8], &[u8], &[u8]), out: &mut [u8]) -> bool {
        match &self.cipher {
            Cipher::CounterMode { key, auth } => {
                let expected = sign(auth, [head, sealed, &place.tail()]);
                if verify_slices_are_equal(&expected.as_ref()[..self.tag_bytes], tag).is_err() {
                    return false;
                }
                out.copy_from_slice(sealed);
                if place.encrypted {
                    counter_mode(key, self.counter_iv(place), out);
                }
                true
            }
            Cipher::Gcm(key) => {
                let nonce = Nonce::assume_unique_for_key(self.gcm_iv(place));
                let mut room = [0; GCM_RTCP_AAD_BYTES];
                let aad = Aad::from(gcm_aad(place, head, &mut room));
                place.encrypted && key.open_separate_gather(nonce, aad, sealed, tag, out).is_ok()
            }
        }
    }

    /// Encrypts `body` in place and writes the tag. A place must never be used twice.
    pub fn seal(&self, place: Place, head: &[u8], body: &mut [u8], tag_out: &mut [u8]) {
        match &self.cipher {
            Cipher::CounterMode { key, auth } => {
                if place.encrypted {
                    counter_mode(key, self.counter_iv(place), body);
                }
                let tag = sign(auth, [head, body, &place.tail()]);
                tag_out.copy_from_slice(&tag.as_ref()[..self.tag_bytes]);
            }
            Cipher::Gcm(key) => {
                let nonce = Nonce::assume_unique_for_key(self.gcm_iv(place));
                let mut room = [0; GCM_RTCP_AAD_BYTES];
                let aad = Aad::from(gcm_aad(place, head, &mut room));
                let tag = key.seal_in_place_separate_tag(nonce, aad, body);
                tag_out.copy_from_slice(tag.expect("a datagram is far below GCM's 64 GiB").as_ref());
            }
        }
    }

    /// RFC 3711 section 4.1.1: salt * 2^16 XOR SSRC * 2^64 XOR index * 2^16.
    fn counter_iv(&self, place: Place) -> [u8; 16] {
        let mut iv = [0; 16];
        iv[..SALT_BYTES].copy_from_slice(&self.salt);
        iv[4..14].iter_mut().zip(place.words()).for_each(|(byte, word)| *byte ^= word);
        iv
    }

    /// RFC 7714 section 8.1 and 9.1: two bytes of zero, SSRC, index, XOR salt.
    fn gcm_iv(&self, place: Place) -> [u8; 12] {
        let mut iv = [0; 12];
        iv.copy_from_slice(&self.salt[..12]);
        iv[2..].iter_mut().zip(place.words()).for_each(|(byte, word)| *byte ^= word);
        iv
    }
}

fn sign(auth: &hmac::Key, texts: [&[u8]; 3]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(auth);
    texts.iter().for_each(|text| context.update(text));
    context.sign()
}

/// RFC 7714 section 8.2 and 9.2: the clear head; of SRTCP the index with its flag, too.
fn gcm_aad<'a>(place: Place, head: &'a [u8], room: &'a mut [u8; GCM_RTCP_AAD_BYTES]) -> &'a [u8] {
    match (place.kind, head.first_chunk::<RTCP_HEAD_BYTES>()) {
        (Kind::Rtcp, Some(clear)) => {
            room[..RTCP_HEAD_BYTES].copy_from_slice(clear);
            room[RTCP_HEAD_BYTES..].copy_from_slice(&place.tail());
            room
        }
        _ => head,
    }
}
