//! Sealing and opening of frames: Tink's AES256-GCM-HKDF streaming AEAD with 4,096-byte segments.
//!
//! file key = HKDF-SHA256(ikm = data key, salt, info = associated data); nonce = prefix ‖ counter (u32 BE) ‖ last (0 or 1).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::limits::{STREAM_HEADER_BYTES, TAG_BYTES};

/// The data key of one recording. Wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; 32]);

impl DataKey {
    /// A key from 32 bytes of the operating system's entropy, or as a provider unwrapped it.
    pub fn new(bytes: [u8; 32]) -> DataKey {
        DataKey(bytes)
    }

    /// The bytes, for a provider to wrap and for the Tink keyset.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKey([redacted])")
    }
}

/// Salt and nonce prefix of one stream: from the operating system, fresh for each file, not secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamSeed {
    /// HKDF salt.
    pub salt: [u8; 32],
    /// First 7 bytes of every nonce.
    pub nonce_prefix: [u8; 7],
}

impl StreamSeed {
    /// A fresh seed.
    pub fn new(entropy: &mut impl crate::base::Entropy) -> StreamSeed {
        let mut seed = StreamSeed { salt: [0; 32], nonce_prefix: [0; 7] };
        entropy.fill(&mut seed.salt);
        entropy.fill(&mut seed.nonce_prefix);
        seed
    }

    /// The Tink stream header: length, salt, prefix.
    pub fn header(&self) -> [u8; STREAM_HEADER_BYTES] {
        let mut header = [0; STREAM_HEADER_BYTES];
        header[0] = STREAM_HEADER_BYTES as u8;
        header[1..33].copy_from_slice(&self.salt);
        header[33..].copy_from_slice(&self.nonce_prefix);
        header
    }
}

/// Seals the frames of one stream in place.
pub struct FrameSealer {
    key: LessSafeKey,
    nonce_prefix: [u8; 7],
}

struct FileKeyLen;
impl hkdf::KeyType for FileKeyLen {
    fn len(&self) -> usize {
        32
    }
}

impl FrameSealer {
    /// The sealer of the stream that `seed` starts, with `aad` as Tink's associated data.
    pub fn new(data_key: &DataKey, seed: &StreamSeed, aad: &[u8]) -> FrameSealer {
        let mut file_key = [0; 32];
        let info = [aad];
        hkdf::Salt::new(hkdf::HKDF_SHA256, &seed.salt)
            .extract(data_key.expose())
            .expand(&info, FileKeyLen)
            .and_then(|okm| okm.fill(&mut file_key))
            .expect("HKDF-SHA256 always yields 32 bytes");
        let key = UnboundKey::new(&AES_256_GCM, &file_key).expect("a 32-byte key fits AES-256");
        file_key.zeroize();
        FrameSealer { key: LessSafeKey::new(key), nonce_prefix: seed.nonce_prefix }
    }

    /// Seals `frame` in place: all but its last 16 bytes are plaintext, which get the tag.
    ///
    /// The caller must never seal two contents under one `(counter, last)`.
    pub fn seal(&self, counter: u32, last: bool, frame: &mut [u8]) {
        let (plain, tag_out) = frame.split_at_mut(frame.len() - TAG_BYTES);
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(counter, last), Aad::empty(), plain)
            .expect("a frame is far below GCM's 64 GiB");
        tag_out.copy_from_slice(tag.as_ref());
    }

    fn nonce(&self, counter: u32, last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..7].copy_from_slice(&self.nonce_prefix);
        nonce[7..11].copy_from_slice(&counter.to_be_bytes());
        nonce[11] = u8::from(last);
        Nonce::assume_unique_for_key(nonce)
    }
}
