//! A SIP request or response: its own bytes, an index of them, and the values every layer needs, read once.
//!
//! [`Message::parse_datagram`] takes one datagram; for streams see [`super::Framer`]. What must be right is checked here
//! and named by [`Why`]; everything else is read on demand and tolerantly.

use std::ops::Deref;

use super::header::Head;
use super::lex;
use super::malformed::{Malformed, Why};
use super::method::Method;
use super::multipart;
use super::name_addr::NameAddr;
use super::uri::Uri;
use super::via::Via;
use crate::base::lossy;

/// A start line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Start {
    /// A request line.
    Request {
        /// What is asked.
        method: Method,
        /// The request-URI.
        uri: Uri,
    },
    /// A status line.
    Response {
        /// 100 to 699.
        code: u16,
        /// The reason phrase; may be empty.
        reason: String,
    },
}

impl Start {
    /// Reads a start line. A request line that is wrong is still known to be one, so that it can be answered.
    pub(crate) fn read(line: &[u8]) -> (Option<Start>, Option<Why>) {
        let text = lossy(line);
        if text.get(..4).is_some_and(|front| front.eq_ignore_ascii_case("SIP/")) {
            return match Start::status(&text) {
                Ok(start) => (Some(start), None),
                Err(why) => (None, Some(why)),
            };
        }
        let (method, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let (uri, version) = rest.rsplit_once(' ').unwrap_or((rest, ""));
        let is_sip = rest.to_ascii_uppercase().contains("SIP/");
        if !lex::is_token(method.as_bytes()) || !is_sip {
            return (None, Some(Why::StartLine));
        }
        let wrong = if !Uri::fits_request_line(uri) || !version.to_ascii_uppercase().starts_with("SIP/") {
            Some(Why::RequestLine)
        } else {
            (!version.eq_ignore_ascii_case("SIP/2.0")).then_some(Why::Version)
        };
        (Some(Start::Request { method: Method::from_token(method), uri: Uri::parse(uri) }), wrong)
    }

    fn status(text: &str) -> Result<Start, Why> {
        let (version, rest) = text.split_once(' ').ok_or(Why::StartLine)?;
        if !version.eq_ignore_ascii_case("SIP/2.0") {
            return Err(Why::Version);
        }
        let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let digits = code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit());
        let code =
            code.parse().ok().filter(|code| digits && (100..700).contains(code)).ok_or(Why::StatusCode)?;
        Ok(Start::Response { code, reason: reason.to_owned() })
    }
}

/// The CSeq header (RFC 3261 section 20.16).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CSeq {
    /// Sequence number.
    pub number: u32,
    /// The method it counts.
    pub method: Method,
}

impl CSeq {
    /// Reads `number method`.
    pub fn parse(text: &str) -> Option<CSeq> {
        let (number, method) = text.split_once([' ', '\t'])?;
        let digits = number.bytes().all(|b| b.is_ascii_digit());
        let number = number.parse().ok().filter(|_| digits)?;
        let method = method.trim();
        lex::is_token(method.as_bytes()).then(|| CSeq { number, method: Method::from_token(method) })
    }
}

/// A well-formed message. Raw headers, fields and the body are those of its [`Head`].
#[derive(Clone, Debug)]
pub struct Message {
    head: Head,
    via: Via,
    from: NameAddr,
    to: NameAddr,
    call_id: String,
    cseq: CSeq,
}

impl Deref for Message {
    type Target = Head;
    fn deref(&self) -> &Head {
        &self.head
    }
}

impl Message {
    /// Reads one datagram: without Content-Length the body ends with it, and what follows the body is dropped
    /// (RFC 3261 section 18.3).
    pub fn parse_datagram(bytes: &[u8]) -> Result<Message, Malformed> {
        Message::parse(bytes.to_vec())
    }

    /// Reads `bytes`, which hold one message and nothing in front of it but empty lines.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Message, Malformed> {
        let (mut head, wrong) = Head::read(bytes);
        let wrong = wrong.or_else(|| body_fault(&mut head));
        match wrong.map_or_else(|| Essentials::read(&head), Err) {
            Ok(Essentials { via, from, to, call_id, cseq }) => {
                Ok(Message { head, via, from, to, call_id, cseq })
            }
            Err(why) => Err(Malformed::new(why, head)),
        }
    }

    /// Whether it is a request.
    pub fn is_request(&self) -> bool {
        self.head.method().is_some()
    }

    /// The method: of the request line, or for a response the one in CSeq.
    pub fn method(&self) -> &Method {
        &self.cseq.method
    }

    /// The request-URI, if it is a request.
    pub fn uri(&self) -> Option<&Uri> {
        match self.head.start()? {
            Start::Request { uri, .. } => Some(uri),
            Start::Response { .. } => None,
        }
    }

    /// The status code, if it is a response.
    pub fn code(&self) -> Option<u16> {
        match self.head.start()? {
            Start::Response { code, .. } => Some(*code),
            Start::Request { .. } => None,
        }
    }

    /// The topmost Via.
    pub fn via(&self) -> &Via {
        &self.via
    }

    /// From.
    pub fn from(&self) -> &NameAddr {
        &self.from
    }

    /// To.
    pub fn to(&self) -> &NameAddr {
        &self.to
    }

    /// Call-ID.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// CSeq.
    pub fn cseq(&self) -> &CSeq {
        &self.cseq
    }

    /// The first Contact that can be read.
    pub fn contact(&self) -> Option<NameAddr> {
        self.addresses("Contact").into_iter().next()
    }

    /// Where requests within the dialog go: the URI of Contact, if it can be asked for (RFC 3261 section 12.1).
    pub fn target(&self) -> Option<String> {
        Some(self.contact()?.uri().request_uri()?.to_owned())
    }

    /// Every element of Contact, Route, Record-Route, P-Asserted-Identity, ... that can be read, in order.
    pub fn addresses(&self, name: &str) -> Vec<NameAddr> {
        self.list(name).iter().filter_map(|item| NameAddr::parse(item)).collect()
    }

    /// Max-Forwards, if it is there and a number.
    pub fn max_forwards(&self) -> Option<u32> {
        self.header("Max-Forwards")?.parse().ok()
    }

    /// Content-Type with its parameters.
    pub fn content_type(&self) -> Option<String> {
        self.header("Content-Type").filter(|value| !value.is_empty()).map(|value| value.into_owned())
    }

    /// Whether its body holds a session description.
    pub fn offers(&self) -> bool {
        multipart::offers(&self.content_type().unwrap_or_default(), self.body(), 0)
    }

    /// Option tags in Require, in lower case.
    pub fn require(&self) -> Vec<String> {
        self.list("Require").into_iter().map(|tag| tag.to_ascii_lowercase()).collect()
    }

    /// Option tags in Supported, in lower case.
    pub fn supported(&self) -> Vec<String> {
        self.list("Supported").into_iter().map(|tag| tag.to_ascii_lowercase()).collect()
    }

    /// Methods in Allow.
    pub fn allow(&self) -> Vec<Method> {
        self.list("Allow").iter().map(|name| Method::from_token(name)).collect()
    }

    /// Session-Expires as it came (RFC 4028 section 4).
    pub fn session_expires(&self) -> Option<String> {
        self.header("Session-Expires").map(|value| value.into_owned())
    }
}

/// Cuts the body to Content-Length.
fn body_fault(head: &mut Head) -> Option<Why> {
    match head.content_length() {
        Err(why) => Some(why),
        Ok(Some(length)) if !head.limit_body(length) => Some(Why::Truncated),
        Ok(_) => None,
    }
}

/// What a message has to have (RFC 3261 section 8.1.1), read and checked.
struct Essentials {
    via: Via,
    from: NameAddr,
    to: NameAddr,
    call_id: String,
    cseq: CSeq,
}

impl Essentials {
    fn read(head: &Head) -> Result<Essentials, Why> {
        let vias = head.list("Via");
        let top = vias.first().ok_or(Why::Missing("Via"))?;
        let via = Via::parse(top).ok_or(Why::Invalid("Via"))?;
        // The others are only handed back, yet nonsense among them says that the message was damaged.
        if vias[1..].iter().any(|element| Via::parse(element).is_none()) {
            return Err(Why::Invalid("Via"));
        }
        let address = |name| NameAddr::parse(&single(head, name)?).ok_or(Why::Invalid(name));
        let (from, to) = (address("From")?, address("To")?);
        let call_id = single(head, "Call-ID")?;
        if call_id.is_empty() {
            return Err(Why::Invalid("Call-ID"));
        }
        let cseq = CSeq::parse(&single(head, "CSeq")?).ok_or(Why::Invalid("CSeq"))?;
        if head.method().is_some_and(|method| *method != cseq.method) {
            return Err(Why::MethodMismatch);
        }
        Ok(Essentials { via, from, to, call_id, cseq })
    }
}

/// The one header of this name.
fn single(head: &Head, name: &'static str) -> Result<String, Why> {
    let mut all = head.headers(name);
    let value = all.next().ok_or(Why::Missing(name))?;
    if all.next().is_some() {
        return Err(Why::Repeated(name));
    }
    Ok(value.into_owned())
}
