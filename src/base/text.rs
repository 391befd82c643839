//! Bytes as text, in the two ways that are needed everywhere.

use std::borrow::Cow;

/// Bytes as hexadecimal digits, in lower case.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Bytes that should be UTF-8; what is none is replaced. Much faster than replacing as one goes where there is nothing to replace.
pub fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_two_for_each_byte_and_damage_is_shown() {
        assert_eq!(hex(&[0, 0x9a, 0xff]), "009aff");
        assert_eq!([lossy("é".as_bytes()), lossy(b"a\xff")], ["é", "a\u{fffd}"]);
    }
}
