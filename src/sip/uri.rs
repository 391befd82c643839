//! URIs as peers write them: SIP, SIPS, TEL, other schemes, and things without any scheme (RFC 3261 section 19.1, RFC 3966).
//!
//! Parsing never fails: what a recorder is called by, or told about, must not decide whether it records. The text is kept
//! as it came. Left out: comparison by RFC 3261 section 19.1.4, which nothing here needs.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

use super::lex;

/// The scheme of a [`Uri`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Any other scheme.
    Other,
    /// None at all: bare digits, `user@host`, a token.
    None,
}

/// A URI: the text as it came, and where its parts are. Its `Debug` shows no personal data and it has no `Display`:
/// where the text itself is wanted, [`Uri::as_str`] says so.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    text: String,
    scheme: Scheme,
    user: Option<Range<usize>>,
    host: Range<usize>,
    port: Option<u16>,
    params: Range<usize>,
    headers: Range<usize>,
}

impl Uri {
    /// Reads `text`; blanks around it are dropped.
    pub fn parse(text: &str) -> Uri {
        let text = text.trim().to_owned();
        let (scheme, start) = scheme_of(&text);
        let end = text.len();
        let mut uri =
            Uri { text, scheme, user: None, host: end..end, port: None, params: end..end, headers: end..end };
        match scheme {
            Scheme::Tel => uri.locate_number(start),
            Scheme::Other => uri.host = start..end,
            _ => uri.locate(start),
        }
        uri
    }

    /// `tel:number;params`: the number counts as the user.
    fn locate_number(&mut self, start: usize) {
        let end = self.text[start..].find(';').map_or(self.text.len(), |at| start + at);
        self.user = Some(start..end);
        self.params = end..self.text.len();
        self.host = end..end;
    }

    /// `[user[:password]@]host[:port][;params][?headers]`, the user part allowed to hold `;` and `?`.
    fn locate(&mut self, start: usize) {
        let rest = &self.text[start..];
        // An unescaped '@' behind the '?' belongs to a header, unless there is none in front of it.
        let front = rest.find('?').unwrap_or(rest.len());
        let at = rest[..front].rfind('@').or_else(|| rest.rfind('@'));
        let host_start = at.map_or(start, |at| start + at + 1);
        if let Some(at) = at {
            let end = rest[..at].find(':').unwrap_or(at);
            self.user = Some(start..start + end);
        }
        let headers = self.text[host_start..].find('?').map_or(self.text.len(), |q| host_start + q);
        let params = self.text[host_start..headers].find(';').map_or(headers, |p| host_start + p);
        self.headers = headers..self.text.len();
        self.params = params..headers;
        let (host, port) = split_host_port(&self.text[host_start..params]);
        self.port = port;
        self.host = host_start..host_start + host.len();
    }

    /// The text as it came, blanks around it dropped. Personal data.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The user part, without password, escapes as they came; empty for `sip:@host`. The number of a `tel:` URI.
    pub fn user(&self) -> Option<&str> {
        self.user.clone().map(|range| &self.text[range])
    }

    /// The host as written, with the brackets of an IPv6 address; what follows the scheme for other schemes.
    pub fn host(&self) -> &str {
        &self.text[self.host.clone()]
    }

    /// The host as an address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        host_ip(self.host())
    }

    /// The port, if one is given and is a port.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The value of parameter `name`, compared without case; empty for a flag.
    pub fn param(&self, name: &str) -> Option<&str> {
        lex::param(&self.text[self.params.clone()], name)
    }

    /// All parameters, from the first `;` on, as text.
    pub fn params(&self) -> &str {
        &self.text[self.params.clone()]
    }

    /// The URI as a request line may hold it: without its headers (`?...`, RFC 3261 section 19.1.1). `None` if nothing is left, or
    /// something that would tear the line apart, or for `*`, which is a Contact and no URI (section 20.10).
    pub fn request_uri(&self) -> Option<&str> {
        let text = &self.text[..self.headers.start];
        (text != "*" && Uri::fits_request_line(text)).then_some(text)
    }

    /// Whether a request line with this between its blanks can be read again.
    pub(crate) fn fits_request_line(text: &str) -> bool {
        let tears = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"');
        !text.is_empty() && !text.contains(tears)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uri({:?}, [redacted])", self.scheme)
    }
}

fn scheme_of(text: &str) -> (Scheme, usize) {
    let Some(colon) = text.find(':') else { return (Scheme::None, 0) };
    let name = &text[..colon];
    let known = [("sip", Scheme::Sip), ("sips", Scheme::Sips), ("tel", Scheme::Tel)];
    if let Some((_, scheme)) = known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return (*scheme, colon + 1);
    }
    // `host:5060` and `user:1234@host` have no scheme; anything else that looks like one has.
    let looks = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let port = text[colon + 1..].starts_with(|c: char| c.is_ascii_digit());
    if looks && !port { (Scheme::Other, colon + 1) } else { (Scheme::None, 0) }
}

/// Host and port of `host[:port]`, blanks around either dropped. A port that is no number is no port.
pub(crate) fn split_host_port(text: &str) -> (&str, Option<u16>) {
    let host_end = match text.find(']') {
        Some(bracket) => bracket + 1,
        // More than one colon and no brackets: an IPv6 address whose writer forgot them.
        None if text.matches(':').count() > 1 => text.len(),
        None => text.find(':').unwrap_or(text.len()),
    };
    let port = text[host_end..].trim_start().strip_prefix(':').and_then(|port| port.trim().parse().ok());
    (text[..host_end].trim_end(), port)
}

/// `host` as an address: IPv4, or IPv6 with or without brackets.
pub(crate) fn host_ip(host: &str) -> Option<IpAddr> {
    if let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    host.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Scheme, Option<String>, String, Option<u16>) {
        let uri = Uri::parse(text);
        (uri.scheme(), uri.user().map(str::to_owned), uri.host().to_owned(), uri.port())
    }

    fn user_host(scheme: Scheme, user: &str, host: &str) -> (Scheme, Option<String>, String, Option<u16>) {
        (scheme, Some(user.to_owned()), host.to_owned(), None)
    }

    #[test]
    fn every_form_that_peers_write_is_read() {
        assert_eq!(
            parts("sip:rec@10.0.0.1:5070;transport=tcp"),
            (Scheme::Sip, Some("rec".into()), "10.0.0.1".into(), Some(5070))
        );
        assert_eq!(parts("SIPS:h.example"), (Scheme::Sips, None, "h.example".into(), None));
        assert_eq!(
            parts("tel:+1-201-555-0123;phone-context=x"),
            user_host(Scheme::Tel, "+1-201-555-0123", "")
        );
        assert_eq!(parts("15551234567"), (Scheme::None, None, "15551234567".into(), None));
        assert_eq!(parts("alice@example.com"), user_host(Scheme::None, "alice", "example.com"));
        assert_eq!(parts("sip:@10.1.1.1"), user_host(Scheme::Sip, "", "10.1.1.1"));
        assert_eq!(parts("10.0.0.1:5060"), (Scheme::None, None, "10.0.0.1".into(), Some(5060)));
        assert_eq!(parts("im:fred"), (Scheme::Other, None, "fred".into(), None));
        assert_eq!(parts("sip:[2001:db8::1]:5061"), (Scheme::Sip, None, "[2001:db8::1]".into(), Some(5061)));
        assert_eq!(parts(""), (Scheme::None, None, String::new(), None));
    }

    #[test]
    fn a_user_part_may_hold_semicolons_questions_and_a_password() {
        let odd = Uri::parse("sip:user;par=u%40example.net@example.com;lr?Route=%3Csip:a@b%3E");
        assert_eq!((odd.user(), odd.host()), (Some("user;par=u%40example.net"), "example.com"));
        assert_eq!(odd.param("LR"), Some(""));
        assert_eq!(odd.request_uri(), Some("sip:user;par=u%40example.net@example.com;lr"));
        for torn in ["", "?sip:192.0.2.1", "sip:a b@h", "sip:<a@h", "sip:a\u{85}@h"] {
            assert_eq!(Uri::parse(torn).request_uri(), None, "{torn:?}");
        }
        assert_eq!(Uri::parse("sip:a:secret@h").user(), Some("a"));
        assert_eq!(Uri::parse("sip:a?b@h").user(), Some("a?b"));
    }

    #[test]
    fn addresses_are_known_as_such() {
        assert_eq!(Uri::parse("sip:x@[::1]:1").ip(), Some("::1".parse().unwrap()));
        assert_eq!(Uri::parse("sip:x@127.0.0.1").ip(), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(Uri::parse("sip:x@sbc.example").ip(), None);
    }

    #[test]
    fn debug_shows_nobody() {
        assert_eq!(format!("{:?}", Uri::parse("sip:+15551234567@h")), "Uri(Sip, [redacted])");
    }
}
