//! The few rules of SIP's grammar that every header shares: tokens, comma lists, parameters, quoted strings
//! (RFC 3261 section 25.1). Tolerant: blanks are allowed wherever a peer has ever put one.

use std::borrow::Cow;

/// Whether `text` is a token (RFC 3261 section 25.1).
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(b, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
        })
}

/// Where the first byte of `text` that `wanted` accepts stands, outside of quotes and of angle brackets.
fn find_outside(text: &str, wanted: u8) -> Option<usize> {
    let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if escaped {
            escaped = false;
        } else if quoted {
            escaped = byte == b'\\';
            quoted = byte != b'"';
        } else if bracketed {
            bracketed = byte != b'>';
        } else if byte == wanted {
            return Some(at);
        } else {
            quoted = byte == b'"';
            bracketed = byte == b'<';
        }
    }
    None
}

/// `text` up to the first `separator` outside of quotes and brackets, and what follows it.
pub(crate) fn split_once_outside(text: &str, separator: u8) -> (&str, Option<&str>) {
    match find_outside(text, separator) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

fn split_outside(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let (item, after) = split_once_outside(rest?, separator);
        rest = after;
        Some(item)
    })
    .map(str::trim)
    .filter(|item| !item.is_empty())
}

/// The elements of a comma-separated header value. Empty ones are skipped, so an empty value has none.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    split_outside(value, b',')
}

/// The parameters in `text`, the part of a value from its first `;` on, as name and value (`None` for a flag).
/// Quoted values are given without their quotes.
pub fn params(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    raw_params(text).map(|(name, value)| (name, value.map(strip_quotes)))
}

/// The same, quoted values with their quotes.
pub(crate) fn raw_params(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    split_outside(text, b';').map(|item| {
        let (name, value) = split_once_outside(item, b'=');
        (name.trim(), value.map(str::trim))
    })
}

/// The value of parameter `name` (compared without case); empty for a flag.
pub fn param<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    params(text).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.unwrap_or(""))
}

/// Whether a parameter's value is closed in itself: a quoted string, or nothing that would open one. Anything else would
/// swallow what is written behind it.
pub(crate) fn is_value(text: &str) -> bool {
    if strip_quotes(text).len() == text.len() {
        return !text.contains(['"', '<', '>']);
    }
    let mut escaped = false;
    let open = strip_quotes(text).bytes().any(|b| {
        let quote = b == b'"' && !escaped;
        escaped = b == b'\\' && !escaped;
        quote
    });
    !open && !escaped
}

/// `text` without one pair of surrounding quotes; escapes inside stay as they are.
pub(crate) fn strip_quotes(text: &str) -> &str {
    text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text)
}

/// The content of a quoted string with its escapes resolved, or `text` as it is.
pub(crate) fn unquote(text: &str) -> Cow<'_, str> {
    let inner = strip_quotes(text);
    if inner.len() == text.len() || !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_split_outside_of_quotes_and_brackets_only() {
        let value = r#""a, \"b" <sip:x,y@h;p=1>;q=1 , <sip:z@h>,,"#;
        assert_eq!(list(value).collect::<Vec<_>>(), [r#""a, \"b" <sip:x,y@h;p=1>;q=1"#, "<sip:z@h>"]);
        assert_eq!(list("").count(), 0);
        assert_eq!(list(" , ,").count(), 0);
    }

    #[test]
    fn parameters_are_found_without_case_with_blanks_and_quotes() {
        let text = "; TAG = abc ;flag;x=\"a;b\"";
        assert_eq!(param(text, "tag"), Some("abc"));
        assert_eq!(param(text, "Flag"), Some(""));
        assert_eq!(param(text, "x"), Some("a;b"));
        assert_eq!(param(text, "y"), None);
    }

    #[test]
    fn a_value_that_would_swallow_its_neighbours_is_none() {
        assert!(["", "a", r#""a;b""#, r#""\"""#, "\"\""].into_iter().all(is_value));
        assert!(
            [r#"""#, r#""a"#, r#"a"b"#, r#""a\""#, r#""a"b""#, "<a"].into_iter().all(|text| !is_value(text))
        );
    }

    #[test]
    fn quoted_strings_lose_their_escapes() {
        assert_eq!(unquote(r#""J Rosenberg \\\"""#), r#"J Rosenberg \""#);
        assert_eq!(unquote("plain"), "plain");
        assert_eq!(unquote("\""), "\"");
    }
}
