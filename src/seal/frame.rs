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
    pub fn new(entropy: &mut (impl crate::base::Entropy + ?Sized)) -> StreamSeed {
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

    /// Reads a stream header; `None` if its length byte is not 40 or bytes are missing.
    pub fn parse(header: &[u8]) -> Option<StreamSeed> {
        let header: &[u8; STREAM_HEADER_BYTES] = header.get(..STREAM_HEADER_BYTES)?.try_into().ok()?;
        let (salt, nonce_prefix) = (header[1..33].try_into().ok()?, header[33..].try_into().ok()?);
        (usize::from(header[0]) == STREAM_HEADER_BYTES).then_some(StreamSeed { salt, nonce_prefix })
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
        FrameSealer { key: file_key(data_key, seed, aad), nonce_prefix: seed.nonce_prefix }
    }

    /// Seals `frame` in place: all but its last 16 bytes are plaintext, which get the tag.
    ///
    /// The caller must never seal two contents under one `(counter, last)`.
    pub fn seal(&self, counter: u32, last: bool, frame: &mut [u8]) {
        let (plain, tag_out) = frame.split_at_mut(frame.len() - TAG_BYTES);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(&self.nonce_prefix, counter, last), Aad::empty(), plain)
            .expect("a frame is far below GCM's 64 GiB");
        tag_out.copy_from_slice(tag.as_ref());
    }
}

/// Opens the frames of one stream in place, in any order.
pub struct FrameOpener {
    key: LessSafeKey,
    nonce_prefix: [u8; 7],
}

/// A frame whose tag does not fit: other bytes, another place, another file or another key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DamagedFrame;

impl FrameOpener {
    /// The opener of the stream that `seed` starts, with `aad` as Tink's associated data.
    pub fn new(data_key: &DataKey, seed: &StreamSeed, aad: &[u8]) -> FrameOpener {
        FrameOpener { key: file_key(data_key, seed, aad), nonce_prefix: seed.nonce_prefix }
    }

    /// Opens `frame` in place and gives its plaintext, 16 bytes shorter. After an error `frame` holds nothing of use.
    pub fn open<'f>(
        &self,
        counter: u32,
        last: bool,
        frame: &'f mut [u8],
    ) -> Result<&'f mut [u8], DamagedFrame> {
        self.key
            .open_in_place(nonce(&self.nonce_prefix, counter, last), Aad::empty(), frame)
            .map_err(|_| DamagedFrame)
    }
}

/// HKDF-SHA256 as Tink uses it: the associated data is the derivation's info, not GCM's.
fn file_key(data_key: &DataKey, seed: &StreamSeed, aad: &[u8]) -> LessSafeKey {
    let mut file_key = [0; 32];
    let info = [aad];
    hkdf::Salt::new(hkdf::HKDF_SHA256, &seed.salt)
        .extract(data_key.expose())
        .expand(&info, FileKeyLen)
        .and_then(|okm| okm.fill(&mut file_key))
        .expect("HKDF-SHA256 always yields 32 bytes");
    let key = UnboundKey::new(&AES_256_GCM, &file_key).expect("a 32-byte key fits AES-256");
    file_key.zeroize();
    LessSafeKey::new(key)
}

fn nonce(prefix: &[u8; 7], counter: u32, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..7].copy_from_slice(prefix);
    nonce[7..11].copy_from_slice(&counter.to_be_bytes());
    nonce[11] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use aes_gcm::aead::{AeadInOut, KeyInit};
    use proptest::prelude::*;

    use super::*;
    use crate::limits::FRAME_BYTES;

    const SEED: StreamSeed = StreamSeed { salt: [3; 32], nonce_prefix: [5; 7] };

    fn data_key() -> DataKey {
        DataKey::new([7; 32])
    }

    /// HKDF-SHA256 (RFC 5869) from HMAC alone, beside the library's.
    fn independent_file_key(aad: &[u8]) -> [u8; 32] {
        use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
        let prk = sign(&Key::new(HMAC_SHA256, &SEED.salt), data_key().expose());
        let okm = sign(&Key::new(HMAC_SHA256, prk.as_ref()), &[aad, &[1]].concat());
        okm.as_ref().try_into().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_sealed_frame_is_what_an_independent_implementation_computes(
            plain in proptest::collection::vec(any::<u8>(), 0..FRAME_BYTES), counter in any::<u32>(), last in any::<bool>(),
        ) {
            let mut frame = [&plain[..], &[0; TAG_BYTES]].concat();
            FrameSealer::new(&data_key(), &SEED, b"place").seal(counter, last, &mut frame);
            let mut nonce = [5; 12];
            nonce[7..11].copy_from_slice(&counter.to_be_bytes());
            nonce[11] = u8::from(last);
            let mut theirs = plain.clone();
            let cipher = aes_gcm::Aes256Gcm::new(&independent_file_key(b"place").into());
            let tag = cipher.encrypt_inout_detached(&nonce.into(), b"", theirs.as_mut_slice().into()).unwrap();
            theirs.extend_from_slice(&tag);
            prop_assert!(frame == theirs);
            let opener = FrameOpener::new(&data_key(), &SEED, b"place");
            prop_assert_eq!(opener.open(counter, last, &mut frame).map(|opened| &*opened), Ok(&plain[..]));
        }
    }

    #[test]
    fn a_frame_opens_only_in_its_place() {
        let mut sealed = [1; 100];
        FrameSealer::new(&data_key(), &SEED, b"place").seal(4, false, &mut sealed);
        let open =
            |opener: &FrameOpener, counter, last| opener.open(counter, last, &mut sealed.clone()).is_ok();
        let opener = FrameOpener::new(&data_key(), &SEED, b"place");
        assert!(open(&opener, 4, false));
        assert!(!open(&opener, 5, false) && !open(&opener, 4, true));
        assert!(!open(&FrameOpener::new(&data_key(), &SEED, b"other"), 4, false));
        assert_eq!(opener.open(0, true, &mut [0; 3]), Err(DamagedFrame));
    }

    #[test]
    fn a_stream_header_reads_back() {
        assert_eq!(StreamSeed::parse(&SEED.header()), Some(SEED));
        assert_eq!(StreamSeed::parse(&[0; STREAM_HEADER_BYTES]), None);
        assert_eq!(StreamSeed::parse(&SEED.header()[1..]), None);
    }
}
