//! The character encoding of a document (XML 1.0 section 4.3.3 and appendix F): UTF-8, UTF-16 by its byte order, and ISO-8859-1 where the
//! document says so. Everything else is read as UTF-8, with what is none replaced.

use std::borrow::Cow;

use crate::base::lossy;

/// Bytes within which an XML declaration ends.
const DECLARATION_BYTES: usize = 200;
/// What the declaration calls ISO-8859-1 and its superset, in lower case; as in browsers all of them mean Windows-1252.
const LATIN: [&str; 6] = ["iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "windows-1252", "cp1252"];
/// What Windows-1252 has where ISO-8859-1 has control characters, from 0x80 on.
const HIGH: [char; 32] = [
    '\u{20ac}', '\u{81}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}', '\u{2021}', '\u{2c6}',
    '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8d}', '\u{17d}', '\u{8f}', '\u{90}', '\u{2018}',
    '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}', '\u{2013}', '\u{2014}', '\u{2dc}', '\u{2122}', '\u{161}',
    '\u{203a}', '\u{153}', '\u{9d}', '\u{17e}', '\u{178}',
];

/// A document as text.
pub(super) fn decoded(raw: &[u8]) -> Cow<'_, str> {
    match raw {
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0, b'<', ..] => utf16(raw, u16::from_be_bytes),
        [b'<', 0, ..] => utf16(raw, u16::from_le_bytes),
        // Some declare what they do not write: what is UTF-8 is that.
        _ if std::str::from_utf8(raw).is_err() && is_latin(raw) => {
            raw.iter().map(|byte| latin(*byte)).collect()
        }
        _ => lossy(raw),
    }
}

fn utf16<'a>(raw: &[u8], unit: fn([u8; 2]) -> u16) -> Cow<'a, str> {
    let units = raw.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units).map(|read| read.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn latin(byte: u8) -> char {
    match byte {
        0x80..0xa0 => HIGH[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

/// Whether the XML declaration says so.
fn is_latin(raw: &[u8]) -> bool {
    let head = lossy(&raw[..raw.len().min(DECLARATION_BYTES)]).to_ascii_lowercase();
    let declaration = head.trim_start().strip_prefix("<?xml").and_then(|rest| rest.split_once("?>"));
    let Some((_, value)) = declaration.and_then(|(said, _)| said.split_once("encoding")) else {
        return false;
    };
    let value = value.trim_start().trim_start_matches('=').trim_start();
    let name = value.trim_start_matches(['"', '\'']).split(['"', '\'']).next().unwrap_or("");
    LATIN.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::super::{Bodies, Metadata};
    use super::*;

    const DOCUMENT: &str = "<recording><participant id='a'><nameID aor='sip:a@h'><name>J\u{fc}rgen \u{20ac}</name></nameID></participant></recording>";

    fn name(raw: &[u8]) -> String {
        assert_eq!(Bodies::of(Some("text/xml"), raw).metadata, Some(raw), "known by its root");
        let read = Metadata::read(raw);
        assert!(read.flags.is_empty(), "{:?}", read.flags);
        format!("{:?}", read.participants[0].names)
    }

    #[test]
    fn names_are_read_in_every_encoding_that_a_document_may_have() {
        let wanted = name(DOCUMENT.as_bytes());
        let units =
            |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        let marked = format!("\u{feff}<?xml version='1.0' encoding='UTF-16'?>{DOCUMENT}");
        for text in [marked.as_str(), DOCUMENT] {
            assert_eq!(name(&units(text, u16::to_be_bytes)), wanted);
            assert_eq!(name(&units(text, u16::to_le_bytes)), wanted);
        }
        let byte =
            |c: char| HIGH.iter().position(|high| *high == c).map_or(c as u32 as u8, |at| 0x80 + at as u8);
        for declared in ["ISO-8859-1", "windows-1252"] {
            let text = format!("<?xml version=\"1.0\" encoding = \"{declared}\" ?>{DOCUMENT}");
            assert_eq!(name(&text.chars().map(byte).collect::<Vec<u8>>()), wanted);
            assert_eq!(name(text.as_bytes()), wanted, "declared and not written");
        }
    }
}
