//! The head of a message: its start line and an index into its own bytes for every header line.
//!
//! The bytes are never changed: a body can be handed on exactly as it came, and every header can be kept for later search.
//! Names are compared without case and in their compact forms (RFC 3261 section 7.3.3), folded lines are unfolded when
//! read, lines may end in a bare LF, values may be empty. Nothing is understood here: see [`super::Message`].

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::lex;
use super::malformed::Why;
use super::message::Start;
use super::method::Method;
use crate::base::lossy;
use crate::limits::{SIP_HEADER_BYTES_MAX, SIP_HEADERS_MAX};

/// Compact forms: RFC 3261 section 20, RFC 3515, 3841, 3892, 4028, 4474, 6665.
const COMPACT: [(&str, u8); 20] = [
    ("Call-ID", b'i'),
    ("Contact", b'm'),
    ("Content-Encoding", b'e'),
    ("Content-Length", b'l'),
    ("Content-Type", b'c'),
    ("From", b'f'),
    ("Subject", b's'),
    ("Supported", b'k'),
    ("To", b't'),
    ("Via", b'v'),
    ("Session-Expires", b'x'),
    ("Refer-To", b'r'),
    ("Referred-By", b'b'),
    ("Event", b'o'),
    ("Allow-Events", b'u'),
    ("Accept-Contact", b'a'),
    ("Reject-Contact", b'j'),
    ("Request-Disposition", b'd'),
    ("Identity", b'y'),
    ("Identity-Info", b'n'),
];

#[derive(Clone, Debug)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

/// Start line and header index over the message's own bytes. Its `Debug` shows no content.
#[derive(Clone)]
pub struct Head {
    bytes: Vec<u8>,
    start: Option<Start>,
    fields: Vec<Field>,
    body: Range<usize>,
}

impl Head {
    /// Indexes `bytes`, a whole message. What can be read is in the head even when something is wrong with it.
    pub(crate) fn read(bytes: Vec<u8>) -> (Head, Option<Why>) {
        // Empty lines in front of a message are to be ignored (RFC 3261 section 7.5).
        let first = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len());
        let mut lines = Lines { bytes: &bytes, at: first };
        let (start, mut wrong) = Start::read(lines.next().map_or(&[], |line| &bytes[line]));
        let mut fields: Vec<Field> = Vec::with_capacity(24);
        for line in lines.by_ref().take_while(|line| !line.is_empty()) {
            let fault = add_line(&bytes, &mut fields, line).err();
            wrong = wrong.or(fault);
            if fault == Some(Why::TooManyHeaders) {
                break;
            }
        }
        let body = lines.at..bytes.len();
        if body.start - first > SIP_HEADER_BYTES_MAX {
            wrong = wrong.or(Some(Why::HeadersTooLong));
        }
        (Head { bytes, start, fields, body }, wrong)
    }

    /// Shortens the body to `length` bytes; false if there are not that many.
    pub(crate) fn limit_body(&mut self, length: usize) -> bool {
        let fits = length <= self.body.len();
        if fits {
            self.body.end = self.body.start + length;
            self.bytes.truncate(self.body.end);
        }
        fits
    }

    /// The start line, if there is one.
    pub fn start(&self) -> Option<&Start> {
        self.start.as_ref()
    }

    /// The method, if this is a request.
    pub fn method(&self) -> Option<&Method> {
        match self.start.as_ref()? {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// The first header of this name: unfolded, without blanks around it. `name` is the long form, in any case.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.headers(name).next()
    }

    /// Every header of this name, in order.
    pub fn headers<'a>(&'a self, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
        let compact =
            COMPACT.iter().find(|(long, _)| long.eq_ignore_ascii_case(name)).map(|(_, short)| *short);
        let named = move |field: &&Field| match &self.bytes[field.name.clone()] {
            [short] => compact == Some(short.to_ascii_lowercase()) || name.as_bytes() == [*short],
            long => long.eq_ignore_ascii_case(name.as_bytes()),
        };
        self.fields.iter().filter(named).map(|field| unfold(&self.bytes[field.value.clone()]))
    }

    /// The elements of every header of this name, comma lists taken apart, empty elements skipped.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.headers(name)
            .flat_map(|value| lex::list(&value).map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    /// Whether the list in header `name` holds `token`, compared without case.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.headers(name).any(|value| lex::list(&value).any(|item| item.eq_ignore_ascii_case(token)))
    }

    /// Every header line in order, as name and unfolded value.
    pub fn fields(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.fields
            .iter()
            .map(|field| (lossy(&self.bytes[field.name.clone()]), unfold(&self.bytes[field.value.clone()])))
    }

    /// The body, exactly as it came.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.body.clone()]
    }

    /// The whole message, exactly as it came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What Content-Length says (RFC 3261 section 20.14); repeating it is allowed as long as it says the same.
    pub(crate) fn content_length(&self) -> Result<Option<usize>, Why> {
        let mut length = None;
        for value in self.headers("Content-Length") {
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            let this = value.parse().ok().filter(|_| digits).ok_or(Why::Invalid("Content-Length"))?;
            if length.is_some_and(|before: usize| before != this) {
                return Err(Why::Repeated("Content-Length"));
            }
            length = Some(this);
        }
        Ok(length)
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.start {
            Some(Start::Request { method, .. }) => method.to_string(),
            Some(Start::Response { code, .. }) => code.to_string(),
            None => "?".to_owned(),
        };
        write!(f, "Head({what}, {} headers, {} bytes of body)", self.fields.len(), self.body.len())
    }
}

/// Lines as ranges without their line ends. The first empty one ends the head: `at` then stands on the body.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let rest = self.bytes.get(start..).filter(|rest| !rest.is_empty())?;
        let length = rest.iter().position(|b| *b == b'\n');
        self.at = length.map_or(self.bytes.len(), |length| start + length + 1);
        let end = length.map_or(self.bytes.len(), |length| start + length);
        let bare = self.bytes[start..end].strip_suffix(b"\r").map_or(end, |line| start + line.len());
        Some(start..bare)
    }
}

fn add_line(bytes: &[u8], fields: &mut Vec<Field>, line: Range<usize>) -> Result<(), Why> {
    let text = &bytes[line.clone()];
    if matches!(text[0], b' ' | b'\t') {
        // A continuation (RFC 3261 section 7.3.1); the raw value simply grows over the line end.
        let last = fields.last_mut().ok_or(Why::HeaderLine)?;
        last.value.end = line.start + text.trim_ascii_end().len();
        last.value.end = last.value.end.max(last.value.start);
        return Ok(());
    }
    if fields.len() == SIP_HEADERS_MAX {
        return Err(Why::TooManyHeaders);
    }
    let colon = text.iter().position(|b| *b == b':').ok_or(Why::HeaderLine)?;
    let name = text[..colon].trim_ascii_end();
    if !lex::is_token(name) {
        return Err(Why::HeaderLine);
    }
    let value = line.start + colon + 1..line.start + text.trim_ascii_end().len();
    fields.push(Field {
        name: line.start..line.start + name.len(),
        value: value.start..value.end.max(value.start),
    });
    Ok(())
}

/// A value as one line: each line end with the blanks around it becomes one blank, so does a stray CR. Bytes that are no
/// UTF-8 are replaced.
fn unfold(raw: &[u8]) -> Cow<'_, str> {
    let raw = raw.trim_ascii();
    if !raw.contains(&b'\n') && !raw.contains(&b'\r') {
        return lossy(raw);
    }
    let lines =
        raw.split(|b| matches!(b, b'\n' | b'\r')).map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.map(lossy).collect();
    Cow::Owned(lines.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        let (head, wrong) = Head::read(text.as_bytes().to_vec());
        assert_eq!(wrong, None);
        head
    }

    #[test]
    fn names_match_in_any_case_in_compact_form_and_with_blanks_before_the_colon() {
        let head = head(
            "OPTIONS sip:h SIP/2.0\r\nTO :\r\n sip:a@h\r\nv:x\r\nVIA: y\r\nsupported:\r\nk: a, b,,c\r\n\r\n",
        );
        assert_eq!(head.header("to").as_deref(), Some("sip:a@h"));
        assert_eq!(head.headers("Via").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(head.list("Supported"), ["a", "b", "c"]);
        assert!(head.lists("supported", "B") && !head.lists("Supported", ""));
        assert_eq!(head.header("Contact"), None);
        assert_eq!(head.fields().count(), 5);
    }

    #[test]
    fn lines_may_end_in_a_bare_lf_and_the_body_is_untouched() {
        let head = head("\r\n\nOPTIONS sip:h SIP/2.0\nSubject: a\n  b\n\t c\nl:3\n\n\nx\r\n");
        assert_eq!(head.header("Subject").as_deref(), Some("a b c"));
        assert_eq!(head.body(), b"\nx\r\n");
        assert_eq!(head.content_length(), Ok(Some(3)));
    }

    #[test]
    fn content_length_is_digits_and_agrees_with_itself() {
        let said = |value: &str| head(&format!("OPTIONS sip:h SIP/2.0\r\n{value}\r\n\r\n")).content_length();
        assert_eq!(said("Content-Length:  \t 12"), Ok(Some(12)));
        assert_eq!(said("Content-Length: 12\r\nl: 12"), Ok(Some(12)));
        assert_eq!(said("Content-Length: 12\r\nl: 13"), Err(Why::Repeated("Content-Length")));
        for bad in ["-999", "", "+1", "12a", "99999999999999999999999"] {
            assert_eq!(said(&format!("Content-Length: {bad}")), Err(Why::Invalid("Content-Length")), "{bad}");
        }
    }

    #[test]
    fn a_head_is_bounded_and_a_line_without_colon_is_named() {
        let many = format!("OPTIONS sip:h SIP/2.0\r\n{}\r\n", "a: b\r\n".repeat(SIP_HEADERS_MAX + 1));
        assert_eq!(Head::read(many.into_bytes()).1, Some(Why::TooManyHeaders));
        let long = format!("OPTIONS sip:h SIP/2.0\r\na: {}\r\n\r\n", "x".repeat(SIP_HEADER_BYTES_MAX));
        assert_eq!(Head::read(long.into_bytes()).1, Some(Why::HeadersTooLong));
        assert_eq!(
            Head::read(b"OPTIONS sip:h SIP/2.0\r\nnonsense\r\n\r\n".to_vec()).1,
            Some(Why::HeaderLine)
        );
        assert_eq!(
            Head::read(b"OPTIONS sip:h SIP/2.0\r\n folded: x\r\n\r\n".to_vec()).1,
            Some(Why::HeaderLine)
        );
    }
}
