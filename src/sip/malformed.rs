//! What is wrong with a message, and whether its sender can be told (RFC 3261 section 21.4.1, 16.3; RFC 4475 section 3.1.2).

use std::fmt;

use super::header::Head;

/// Why bytes are no SIP message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Why {
    /// Neither a request line nor a status line.
    StartLine,
    /// A request line whose URI is empty, bracketed or has blanks, or with anything but single blanks in it.
    RequestLine,
    /// A version of SIP other than 2.0.
    Version,
    /// A status code outside of 100 to 699.
    StatusCode,
    /// A header line without a colon, or without a token in front of it.
    HeaderLine,
    /// More header lines than [`crate::limits::SIP_HEADERS_MAX`].
    TooManyHeaders,
    /// A header block longer than [`crate::limits::SIP_HEADER_BYTES_MAX`].
    HeadersTooLong,
    /// A body longer than is taken.
    BodyTooLong,
    /// A mandatory header is not there.
    Missing(&'static str),
    /// A header that has to be there once is there more often.
    Repeated(&'static str),
    /// A header's value can't be read.
    Invalid(&'static str),
    /// CSeq names another method than the request line.
    MethodMismatch,
    /// Content-Length says more than the datagram holds.
    Truncated,
    /// A body on a stream whose length nothing says.
    LengthUnknown,
}

impl Why {
    /// The status code to answer with.
    pub fn code(self) -> u16 {
        match self {
            Why::Version => 505,
            // RFC 3261 section 21.4.11.
            Why::BodyTooLong => 413,
            Why::HeadersTooLong | Why::TooManyHeaders => 513,
            _ => 400,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::StartLine => f.write_str("Neither a request nor a response"),
            Why::RequestLine => f.write_str("Malformed request line"),
            Why::Version => f.write_str("Only SIP/2.0 is spoken here"),
            Why::StatusCode => f.write_str("Status code out of range"),
            Why::HeaderLine => f.write_str("Header line without a name and a colon"),
            Why::TooManyHeaders => f.write_str("Too many header lines"),
            Why::HeadersTooLong => f.write_str("Header block too long"),
            Why::BodyTooLong => f.write_str("Body too long"),
            Why::Missing(name) => write!(f, "{name} missing"),
            Why::Repeated(name) => write!(f, "{name} given more than once"),
            Why::Invalid(name) => write!(f, "{name} can't be read"),
            Why::MethodMismatch => f.write_str("CSeq names another method"),
            Why::Truncated => f.write_str("Body shorter than Content-Length"),
            Why::LengthUnknown => f.write_str("Content-Length missing"),
        }
    }
}

/// A message that can't be taken, with as much of it as could be indexed.
#[derive(Clone, Debug)]
pub struct Malformed {
    /// The first thing found wrong.
    pub why: Why,
    head: Box<Head>,
}

impl Malformed {
    pub(crate) fn new(why: Why, head: Head) -> Malformed {
        Malformed { why, head: Box::new(head) }
    }

    /// The head of the message, if it is a request that can be answered: not an ACK, and with what a response has to
    /// repeat (RFC 3261 section 8.2.6.2). [`super::Reply`] says whether its Via can be read.
    pub fn request(&self) -> Option<&Head> {
        let head = &*self.head;
        let method = head.method()?;
        let complete =
            ["Via", "From", "To", "Call-ID", "CSeq"].iter().all(|name| head.header(name).is_some());
        (complete && *method != super::Method::Ack).then_some(head)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.why, f)
    }
}

impl std::error::Error for Malformed {}
