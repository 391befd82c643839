//! The data key of a recording as a Tink keyset, so that the official Tink libraries open its files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use super::DataKey;
use crate::limits::FRAME_BYTES;

/// A cleartext keyset in Tink's JSON. Secret: whoever holds it can open every file of the recording.
///
/// The key is an `AesGcmHkdfStreamingKey` (tink proto/aes_gcm_hkdf_streaming.proto): ciphertext segments of 4,096 bytes, derived keys of 32
/// bytes, HKDF with SHA-256. `key_id` is any number; it only names the key within the set.
pub fn tink_keyset(key: &DataKey, key_id: u32) -> Zeroizing<String> {
    let value = Zeroizing::new(BASE64.encode(&proto(key)[..]));
    Zeroizing::new(format!(
        r#"{{"primaryKeyId":{key_id},"key":[{{"keyData":{{"typeUrl":"type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey","value":"{}","keyMaterialType":"SYMMETRIC"}},"status":"ENABLED","keyId":{key_id},"outputPrefixType":"RAW"}}]}}
"#,
        *value
    ))
}

/// The protocol buffer: `version` is 0 and so left out, field 2 the parameters, field 3 the key.
fn proto(key: &DataKey) -> Zeroizing<Vec<u8>> {
    const SHA256: u8 = 3;
    // A varint of two bytes: low seven bits first.
    let segment = [FRAME_BYTES as u8 & 0x7f | 0x80, (FRAME_BYTES >> 7) as u8];
    let mut out = Zeroizing::new(Vec::with_capacity(64));
    out.extend_from_slice(&[0x12, 7, 0x08, segment[0], segment[1], 0x10, 32, 0x18, SHA256]);
    out.extend_from_slice(&[0x1a, 32]);
    out.extend_from_slice(key.expose());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyset_holds_the_key_under_tinks_field_numbers() {
        let keyset = tink_keyset(&DataKey::new([0xab; 32]), 7);
        let json: serde_json::Value = serde_json::from_str(&keyset).unwrap();
        let value = BASE64.decode(json["key"][0]["keyData"]["value"].as_str().unwrap()).unwrap();
        assert_eq!(value[..11], [0x12, 7, 0x08, 0x80, 0x20, 0x10, 32, 0x18, 3, 0x1a, 32]);
        assert_eq!(value[11..], [0xab; 32]);
        assert_eq!((&json["primaryKeyId"], &json["key"][0]["keyId"]), (&7.into(), &7.into()));
    }
}
