//! Master keys, and the session keys that follow from them (RFC 3711 section 4.3). Wiped when dropped, never printed.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Suite;
use super::transform::Transform;
use crate::base::Entropy;
use crate::limits::SRTP_MKI_BYTES_MAX;

/// The longest master key with its salt: AES-256 in counter mode.
const MASTER_BYTES_MAX: usize = 32 + 14;
/// The salt of counter mode; that of GCM is filled up with zeros (RFC 7714 section 11).
pub(super) const SALT_BYTES: usize = 14;

/// A master key with its salt, and the identifier it goes by, if it has one.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Keys {
    bytes: [u8; MASTER_BYTES_MAX],
    len: usize,
    mki: [u8; SRTP_MKI_BYTES_MAX],
    mki_len: usize,
}

impl Keys {
    /// Master key ‖ salt, as RFC 4568 section 6.1 writes them. `None` unless they are as long as `suite` wants them.
    pub fn new(suite: Suite, bytes: &[u8]) -> Option<Keys> {
        let len = suite.key_bytes() + suite.salt_bytes();
        if bytes.len() != len {
            return None;
        }
        let mut keys = Keys { bytes: [0; MASTER_BYTES_MAX], len, mki: [0; SRTP_MKI_BYTES_MAX], mki_len: 0 };
        keys.bytes[..len].copy_from_slice(bytes);
        Some(keys)
    }

    /// Fresh ones.
    pub fn fresh(suite: Suite, entropy: &mut (impl Entropy + ?Sized)) -> Keys {
        let mut bytes = Zeroizing::new([0; MASTER_BYTES_MAX]);
        let len = suite.key_bytes() + suite.salt_bytes();
        entropy.fill(&mut bytes[..len]);
        Keys::new(suite, &bytes[..len]).expect("the length is the suite's")
    }

    /// The same under a master key identifier (RFC 3711 section 3.1), which goes along in every packet. `None` if that is longer than
    /// [`SRTP_MKI_BYTES_MAX`].
    pub fn with_mki(mut self, mki: &[u8]) -> Option<Keys> {
        self.mki.get_mut(..mki.len())?.copy_from_slice(mki);
        self.mki_len = mki.len();
        Some(self)
    }

    /// Master key ‖ salt, to be written into a session description.
    pub fn expose(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Its identifier; empty without one.
    pub fn mki(&self) -> &[u8] {
        &self.mki[..self.mki_len]
    }

    /// The transform of SRTP under these keys.
    pub(super) fn rtp(&self, suite: Suite) -> Transform {
        self.transform(suite, [0, 1, 2], suite.rtp_tag_bytes())
    }

    /// The transform of SRTCP under these keys.
    pub(super) fn rtcp(&self, suite: Suite) -> Transform {
        self.transform(suite, [3, 4, 5], suite.rtcp_tag_bytes())
    }

    /// The transform with the keys that `labels` (encryption, authentication, salt; RFC 3711 section 4.3.2) stand for.
    fn transform(&self, suite: Suite, labels: [u8; 3], tag_bytes: usize) -> Transform {
        let (master, master_salt) = self.expose().split_at(suite.key_bytes());
        let derived = Derivation::new(master, master_salt);
        let mut key = Zeroizing::new([0; 32]);
        let key = &mut key[..suite.key_bytes()];
        derived.fill(labels[0], key);
        let mut salt = [0; SALT_BYTES];
        derived.fill(labels[2], &mut salt[..suite.salt_bytes()]);
        if suite.is_aead() {
            return Transform::gcm(aead_key(key), salt, tag_bytes);
        }
        // RFC 3711 section 5.2: 160 bits, of AES-256, too (RFC 6188 section 2).
        let mut auth = Zeroizing::new([0; 20]);
        derived.fill(labels[1], &mut auth[..]);
        let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth[..]);
        Transform::counter_mode(counter_key(key), auth, salt, tag_bytes)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys([redacted])")
    }
}

/// AES in counter mode as a key derivation function (RFC 3711 section 4.3.3, RFC 6188 section 3).
struct Derivation {
    master: EncryptingKey,
    salt: [u8; SALT_BYTES],
}

impl Derivation {
    fn new(master: &[u8], master_salt: &[u8]) -> Derivation {
        let mut salt = [0; SALT_BYTES];
        salt[..master_salt.len()].copy_from_slice(master_salt);
        Derivation { master: counter_key(master), salt }
    }

    /// Fills `out` with what `label` stands for, at a key derivation rate of 0.
    fn fill(&self, label: u8, out: &mut [u8]) {
        let mut iv = [0; 16];
        iv[..SALT_BYTES].copy_from_slice(&self.salt);
        // The label stands left of a 48-bit index, which is 0.
        iv[7] ^= label;
        out.fill(0);
        counter_mode(&self.master, iv, out);
    }
}

fn counter_key(key: &[u8]) -> EncryptingKey {
    let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
    let key = UnboundCipherKey::new(algorithm, key).expect("the length is the algorithm's");
    EncryptingKey::ctr(key).expect("AES has a counter mode")
}

fn aead_key(key: &[u8]) -> LessSafeKey {
    let algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
    LessSafeKey::new(UnboundKey::new(algorithm, key).expect("the length is the algorithm's"))
}

/// Lays the key stream that starts at `iv` over `bytes`.
pub(super) fn counter_mode(key: &EncryptingKey, iv: [u8; 16], bytes: &mut [u8]) {
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    key.less_safe_encrypt(bytes, context).expect("counter mode takes every length and this IV");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 appendix B.3.
    #[test]
    fn session_keys_are_those_of_the_standard() {
        let master =
            [0xe1, 0xf9, 0x7a, 0x0d, 0x3e, 0x01, 0x8b, 0xe0, 0xd6, 0x4f, 0xa3, 0x2c, 0x06, 0xde, 0x41, 0x39];
        let salt = [0x0e, 0xc6, 0x75, 0xad, 0x49, 0x8a, 0xfe, 0xeb, 0xb6, 0x96, 0x0b, 0x3a, 0xab, 0xe6];
        let derived = Derivation::new(&master, &salt);
        let take = |label, len| {
            let mut out = vec![0; len];
            derived.fill(label, &mut out);
            out.iter().map(|byte| format!("{byte:02X}")).collect::<String>()
        };
        assert_eq!(take(0, 16), "C61E7A93744F39EE10734AFE3FF7A087");
        assert_eq!(take(2, 14), "30CBBC08863D8C85D49DB34A9AE1");
        assert_eq!(take(1, 20), "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4");
    }

    #[test]
    fn keys_print_nothing_and_have_the_suites_length() {
        let keys = Keys::new(Suite::AeadAes128Gcm, &[7; 28]).unwrap();
        assert_eq!(format!("{keys:?}"), "Keys([redacted])");
        assert!(Keys::new(Suite::AeadAes128Gcm, &[7; 30]).is_none());
        assert!(keys.clone().with_mki(&[0; SRTP_MKI_BYTES_MAX + 1]).is_none());
        assert_eq!(keys.with_mki(&[0, 1]).unwrap().mki(), [0, 1]);
    }
}
