//! `name-addr` and `addr-spec` with parameters: From, To, Contact, Route, Record-Route (RFC 3261 section 20).

use std::fmt;

use super::lex;
use super::uri::Uri;

/// A display name, a URI and the header's own parameters. Its `Debug` shows no personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct NameAddr {
    display: String,
    uri: Uri,
    params: String,
}

impl NameAddr {
    /// Reads one element: `"name" <uri>;params`, `token <uri>;params` or, without brackets, `uri;params`.
    /// `None` if it is empty or a quote or bracket is left open.
    pub fn parse(text: &str) -> Option<NameAddr> {
        let text = text.trim();
        let (display, rest) = display_name(text)?;
        let Some(inside) = rest.strip_prefix('<') else { return NameAddr::parse_bare(text) };
        let (uri, after) = inside.split_once('>')?;
        let params = after.find(';').map_or("", |at| &after[at..]);
        Some(NameAddr { display, uri: Uri::parse(uri), params: params.to_owned() })
    }

    /// Without brackets every parameter is the header's, not the URI's (RFC 3261 section 20.10). A `;` in the user part
    /// is not allowed here, and met all the same: those in front of the '@' are the user's.
    fn parse_bare(text: &str) -> Option<NameAddr> {
        let user_end = text.find('@').unwrap_or(0);
        let end = text[user_end..].find(';').map_or(text.len(), |at| user_end + at);
        let uri = Uri::parse(&text[..end]);
        let whole = !uri.as_str().is_empty() && !uri.as_str().contains(['"', '<', '>']);
        whole.then(|| NameAddr { display: String::new(), uri, params: text[end..].to_owned() })
    }

    /// The display name without quotes and escapes; empty if there is none. Personal data.
    pub fn display(&self) -> &str {
        &self.display
    }

    /// The URI.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The `tag`; empty if missing, which RFC 2543 peers do.
    pub fn tag(&self) -> &str {
        self.param("tag").unwrap_or("")
    }

    /// The value of the header parameter `name` (not of the URI's), compared without case; empty for a flag.
    pub fn param(&self, name: &str) -> Option<&str> {
        lex::param(&self.params, name)
    }
}

impl fmt::Debug for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameAddr({:?})", self.uri)
    }
}

/// The display name and what follows it, which starts with `<` unless the value has no brackets.
fn display_name(text: &str) -> Option<(String, &str)> {
    if let Some(inside) = text.strip_prefix('"') {
        let mut escaped = false;
        let close = inside.bytes().position(|b| {
            let closes = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            closes
        })?;
        let display = lex::unquote(&text[..close + 2]).into_owned();
        let rest = text[close + 2..].trim_start();
        return rest.starts_with('<').then_some((display, rest));
    }
    let bracket = text.find('<').unwrap_or(0);
    Some((text[..bracket].trim().to_owned(), &text[bracket..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, String, String) {
        let got = NameAddr::parse(text).expect("parses");
        (got.display().to_owned(), got.uri().as_str().to_owned(), got.tag().to_owned())
    }

    fn triple(display: &str, uri: &str, tag: &str) -> (String, String, String) {
        (display.to_owned(), uri.to_owned(), tag.to_owned())
    }

    #[test]
    fn names_and_addresses_are_read_in_every_form() {
        assert_eq!(read(r#""A \"b\" <c>" <sip:a@h;x=1>;tag=7"#), triple(r#"A "b" <c>"#, "sip:a@h;x=1", "7"));
        assert_eq!(
            read("caller<sip:caller@example.com>;tag=323"),
            triple("caller", "sip:caller@example.com", "323")
        );
        assert_eq!(read("sip:acmeSrc@1.2.3.4;tag=x"), triple("", "sip:acmeSrc@1.2.3.4", "x"));
        assert_eq!(read("<sip:10.0.0.1>; TAG = 9 "), triple("", "sip:10.0.0.1", "9"));
        assert_eq!(read("< sip:t.watson@example.org >"), triple("", "sip:t.watson@example.org", ""));
        assert_eq!(read("sip:a;x=1@h;tag=1"), triple("", "sip:a;x=1@h", "1"));
        assert_eq!(read("*"), triple("", "*", ""));
        assert_eq!(read("\"\" <sip:@h>;tag=e"), triple("", "sip:@h", "e"));
    }

    #[test]
    fn what_is_left_open_or_empty_is_refused() {
        for text in ["", "\"Mr. J. <sip:j@h>;tag=1", "\"J\" sip:j@h", "<sip:j@h;tag=1", ";tag=1", "a\"b@h"] {
            assert_eq!(NameAddr::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_parameter_of_the_uri_is_not_one_of_the_header() {
        let contact = NameAddr::parse("<sip:src@h;+sip-src;lr>;+sip.src").unwrap();
        assert_eq!((contact.param("+sip.src"), contact.param("lr")), (Some(""), None));
        assert_eq!(contact.uri().param("+sip-src"), Some(""));
    }
}
