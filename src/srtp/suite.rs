//! The crypto suites (RFC 4568 section 6.2, RFC 6188, RFC 7714 section 14.2) with their lengths.

/// A crypto suite.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Suite {
    /// AES-128 in counter mode, HMAC-SHA1 cut to 80 bits.
    AesCm128HmacSha1_80,
    /// AES-128 in counter mode, HMAC-SHA1 cut to 32 bits (SRTCP: 80).
    AesCm128HmacSha1_32,
    /// AES-256 in counter mode, HMAC-SHA1 cut to 80 bits.
    AesCm256HmacSha1_80,
    /// AES-256 in counter mode, HMAC-SHA1 cut to 32 bits (SRTCP: 80).
    AesCm256HmacSha1_32,
    /// AES-128-GCM with a tag of 16 bytes.
    AeadAes128Gcm,
    /// AES-256-GCM with a tag of 16 bytes.
    AeadAes256Gcm,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Suite; 6] = [
        Suite::AesCm128HmacSha1_80,
        Suite::AesCm128HmacSha1_32,
        Suite::AesCm256HmacSha1_80,
        Suite::AesCm256HmacSha1_32,
        Suite::AeadAes128Gcm,
        Suite::AeadAes256Gcm,
    ];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Suite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Suite::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Suite::AesCm256HmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Suite::AesCm256HmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Suite::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The suite of that name, in any case. RFC 6188 turned the words of RFC 4568 round; some clients did not follow.
    pub fn named(name: &str) -> Option<Suite> {
        let vendors = [
            ("AES_CM_256_HMAC_SHA1_80", Suite::AesCm256HmacSha1_80),
            ("AES_CM_256_HMAC_SHA1_32", Suite::AesCm256HmacSha1_32),
        ];
        let registered = Suite::ALL.into_iter().map(|suite| (suite.name(), suite));
        registered.chain(vendors).find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, suite)| suite)
    }

    /// Bytes of the master key, and of the session's encryption keys.
    pub const fn key_bytes(self) -> usize {
        match self {
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 | Suite::AeadAes128Gcm => 16,
            Suite::AesCm256HmacSha1_80 | Suite::AesCm256HmacSha1_32 | Suite::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt, and of the session's salts.
    pub const fn salt_bytes(self) -> usize {
        if self.is_aead() { 12 } else { 14 }
    }

    /// Whether encryption and authentication are one (RFC 7714).
    pub const fn is_aead(self) -> bool {
        matches!(self, Suite::AeadAes128Gcm | Suite::AeadAes256Gcm)
    }

    /// Bytes of the tag of an SRTP packet.
    pub const fn rtp_tag_bytes(self) -> usize {
        match self {
            Suite::AesCm128HmacSha1_32 | Suite::AesCm256HmacSha1_32 => 4,
            _ => self.rtcp_tag_bytes(),
        }
    }

    /// Bytes of the tag of an SRTCP packet: never cut to 32 bits (RFC 3711 section 5.2).
    pub const fn rtcp_tag_bytes(self) -> usize {
        if self.is_aead() { 16 } else { 10 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_known_by_the_names_of_the_registry_and_of_vendors() {
        for suite in Suite::ALL {
            assert_eq!(Suite::named(suite.name()), Some(suite));
            assert_eq!(Suite::named(&suite.name().to_lowercase()), Some(suite));
        }
        assert_eq!(Suite::named("AES_CM_256_HMAC_SHA1_80"), Some(Suite::AesCm256HmacSha1_80));
        assert_eq!(Suite::named("F8_128_HMAC_SHA1_80"), None);
        assert_eq!(Suite::named("AES_192_CM_HMAC_SHA1_80"), None);
    }

    #[test]
    fn lengths_are_those_of_the_standards() {
        let lengths = |s: Suite| (s.key_bytes() + s.salt_bytes(), s.rtp_tag_bytes(), s.rtcp_tag_bytes());
        let all: Vec<_> = Suite::ALL.into_iter().map(lengths).collect();
        assert_eq!(all, [(30, 10, 10), (30, 4, 10), (46, 10, 10), (46, 4, 10), (28, 16, 16), (44, 16, 16)]);
    }
}
