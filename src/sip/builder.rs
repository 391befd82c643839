//! Requests and responses as bytes.
//!
//! A [`Builder`] writes header lines in the order given and Content-Length last. A [`Reply`] remembers what a response has to
//! repeat of its request (RFC 3261 section 8.2.6.2), so that the request itself need not be kept.

use std::fmt::{Display, Write};
use std::net::SocketAddr;

use super::header::Head;
use super::message::Start;
use super::method::Method;
use super::name_addr::NameAddr;
use super::uri::Scheme;
use super::via::Via;

/// Writes one message.
#[derive(Clone)]
pub struct Builder {
    head: String,
    body: Vec<u8>,
}

impl Builder {
    /// Starts a request. What would tear the request line, or make it unreadable, is escaped in the URI: blanks, brackets, quotes.
    pub fn request(method: &Method, uri: &str) -> Builder {
        let uri = uri.split(|c: char| c.is_whitespace() || c.is_control()).collect::<Vec<_>>().join("%20");
        let uri = uri.replace('<', "%3C").replace('>', "%3E").replace('"', "%22");
        Builder::start(format_args!("{method} {uri} SIP/2.0"))
    }

    /// Starts a response; for one to a request at hand see [`Reply`].
    pub fn response(code: u16, reason: &str) -> Builder {
        Builder::start(format_args!("SIP/2.0 {code} {}", one_line(reason)))
    }

    fn start(line: std::fmt::Arguments<'_>) -> Builder {
        // Room for nearly every head at once.
        let mut head = String::with_capacity(1024);
        // Writing to a String does not fail.
        let _ = write!(head, "{line}\r\n");
        Builder { head, body: Vec::new() }
    }

    /// Adds a header line. Line ends inside the value become blanks: no value can add a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Display) -> Builder {
        let start = self.head.len();
        // Writing to a String does not fail.
        let _ = write!(self.head, "{name}: {value}");
        if self.head.as_bytes()[start..].iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            let clean = one_line(&self.head[start..]);
            self.head.truncate(start);
            self.head.push_str(&clean);
        }
        self.head.push_str("\r\n");
        self
    }

    /// Adds several header lines.
    #[must_use]
    pub fn headers<N: AsRef<str>, V: Display>(self, lines: impl IntoIterator<Item = (N, V)>) -> Builder {
        lines.into_iter().fold(self, |builder, (name, value)| builder.header(name.as_ref(), value))
    }

    /// Sets the body and its Content-Type.
    #[must_use]
    pub fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Builder {
        let mut builder = self.header("Content-Type", content_type);
        builder.body = body.into();
        builder
    }

    /// Leaves out lines of these names, one name after the other, as long as the message would be longer than `bytes`.
    #[must_use]
    pub(crate) fn sparing(mut self, bytes: usize, names: &[&str]) -> Builder {
        const CONTENT_LENGTH: usize = "Content-Length: 65535\r\n\r\n".len();
        for name in names {
            if self.head.len() + CONTENT_LENGTH + self.body.len() <= bytes {
                break;
            }
            let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(": "));
            self.head = self.head.split_inclusive("\r\n").filter(|line| !of_name(line)).collect();
        }
        self
    }

    /// The message.
    pub fn finish(mut self) -> Vec<u8> {
        let body = std::mem::take(&mut self.body);
        let mut bytes = self.header("Content-Length", body.len()).head.into_bytes();
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&body);
        bytes
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

/// What a response repeats of its request, and where it goes.
#[derive(Clone, Debug)]
pub struct Reply {
    via: Via,
    vias: Vec<String>,
    from: String,
    to: String,
    tagged: bool,
    call_id: String,
    cseq: String,
    record_routes: Vec<String>,
    timestamp: Option<String>,
    session_id: Option<String>,
    secure: bool,
    source: SocketAddr,
}

impl Reply {
    /// Keeps only where responses go: there will be none from here any more, and this may live for long.
    pub(crate) fn forget(&mut self) {
        (self.vias, self.record_routes) = (Vec::new(), Vec::new());
        (self.from, self.to, self.call_id, self.cseq) = Default::default();
        (self.timestamp, self.session_id) = (None, None);
    }

    /// From a request that came from `source`. `None` if something that has to be repeated can't be read.
    pub fn new(request: &Head, source: SocketAddr) -> Option<Reply> {
        let mut vias = request.list("Via");
        let mut via = Via::parse(vias.first()?)?;
        via.stamp(source);
        vias[0] = via.to_string();
        let line = |name| request.header(name).map(|value| value.into_owned());
        let to = line("To")?;
        let tagged = NameAddr::parse(&to).is_some_and(|to| !to.tag().is_empty());
        let record_routes = request.headers("Record-Route").map(|value| value.into_owned()).collect();
        let (from, call_id, cseq) = (line("From")?, line("Call-ID")?, line("CSeq")?);
        let (timestamp, session_id) = (line("Timestamp"), line("Session-ID"));
        Some(Reply {
            via,
            vias,
            from,
            to,
            tagged,
            call_id,
            cseq,
            record_routes,
            timestamp,
            session_id,
            secure: insists_on_tls(request),
            source,
        })
    }

    /// Starts the response. `to_tag` is added unless the request had one, and never to a 100.
    pub fn builder(&self, code: u16, reason: &str, to_tag: &str) -> Builder {
        let tag = if self.tagged || code == 100 || to_tag.is_empty() {
            String::new()
        } else {
            format!(";tag={to_tag}")
        };
        let builder = Builder::response(code, reason)
            .headers(self.vias.iter().map(|via| ("Via", via)))
            .header("From", &self.from)
            .header("To", format_args!("{}{tag}", self.to))
            .header("Call-ID", &self.call_id)
            .header("CSeq", &self.cseq);
        match code {
            // The route set is only made by these (RFC 3261 section 12.1.1).
            101..=299 => builder.headers(self.record_routes.iter().map(|route| ("Record-Route", route))),
            100 => builder.headers(self.timestamp.iter().map(|stamp| ("Timestamp", stamp))),
            _ => builder,
        }
    }

    /// Whether our Contact has to be a SIPS URI.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// The request's Session-ID as it came.
    pub(crate) fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    /// Where the response goes if not back over the connection the request came on.
    pub fn address(&self) -> SocketAddr {
        self.via.response_address(self.source)
    }
}

/// Whether a SIPS URI is where RFC 3261 section 12.1.1 looks for one: the request-URI, or who the client is reached through.
fn insists_on_tls(request: &Head) -> bool {
    let asked = matches!(request.start(), Some(Start::Request { uri, .. }) if uri.scheme() == Scheme::Sips);
    let through = request.header("Record-Route").or_else(|| request.header("Contact"));
    asked
        || through
            .and_then(|value| NameAddr::parse(&value))
            .is_some_and(|at| at.uri().scheme() == Scheme::Sips)
}

#[cfg(test)]
mod tests {
    use super::super::Message;
    use super::*;

    fn request() -> Message {
        let bytes = Builder::request(&Method::Options, "sip:h")
            .header("Via", "SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK1, SIP/2.0/UDP 10.0.0.2;branch=z9hG4bK0")
            .header("Record-Route", "<sip:p1;lr>, <sip:p2;lr>")
            .header("From", "<sip:a@h>;tag=1")
            .header("To", "<sip:h>")
            .header("Call-ID", "c")
            .header("CSeq", "1 OPTIONS")
            .header("Timestamp", "54")
            .finish();
        Message::parse_datagram(&bytes).unwrap()
    }

    #[test]
    fn a_response_repeats_what_it_must_and_stamps_the_source() {
        let reply = Reply::new(&request(), "192.0.2.7:4000".parse().unwrap()).unwrap();
        let ok = Message::parse_datagram(&reply.builder(200, "OK", "t").body("a/b", "xyz").finish()).unwrap();
        assert_eq!((ok.code(), ok.to().tag(), ok.body()), (Some(200), "t", &b"xyz"[..]));
        assert_eq!((ok.via().param("received"), ok.via().param("rport")), (Some("192.0.2.7"), Some("4000")));
        assert_eq!((ok.list("Via").len(), ok.addresses("Record-Route").len()), (2, 2));
        let trying = Message::parse_datagram(&reply.builder(100, "Trying", "t").finish()).unwrap();
        assert_eq!((trying.to().tag(), trying.header("Timestamp").as_deref()), ("", Some("54")));
        assert_eq!(trying.header("Record-Route"), None);
    }

    #[test]
    fn a_request_to_a_nonsensical_contact_is_still_a_request() {
        let bytes = Builder::request(&Method::Bye, "sip:a@h</x> \"")
            .header("Via", "SIP/2.0/UDP h;branch=z9hG4bK1")
            .finish();
        assert!(bytes.starts_with(b"BYE sip:a@h%3C/x%3E%20%22 SIP/2.0\r\n"), "{bytes:?}");
    }

    #[test]
    fn no_value_can_add_a_header_line() {
        let bytes = Builder::response(200, "OK\r\nX: 1").header("Subject", "a\r\nEvil: yes").finish();
        assert!(!String::from_utf8(bytes).unwrap().contains("\nEvil"));
    }
}
