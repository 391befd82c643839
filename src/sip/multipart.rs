//! Multipart bodies (RFC 2046 section 5.1) as recording clients write them.
//!
//! [`split`] takes any subtype and forgives what clients get wrong: a boundary that is not quoted though it should be, that
//! holds `=` or starts with dashes, that Content-Type does not name at all; bare LF; blanks after a delimiter; a missing closing
//! delimiter or final line end; folded part headers and missing blanks behind their colons; a part's own Content-Length that is
//! wrong. Parts are slices of the body, which is never rewritten. Nesting is left to the caller.

use super::lex;
use crate::base::lossy;
use crate::limits::{MULTIPART_HEAD_BYTES_MAX, MULTIPART_PARTS_MAX};

/// One part of a multipart body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    headers: Vec<(String, String)>,
    /// It had more headers than [`MULTIPART_HEAD_BYTES_MAX`] has room for.
    pub cut: bool,
    /// Its content, byte for byte.
    pub body: &'a [u8],
}

impl Part<'_> {
    /// The first header of this name, compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Its media type in lower case, without parameters; empty if the part does not say.
    pub fn media_type(&self) -> String {
        media_type(self.header("Content-Type").unwrap_or(""))
    }

    /// Its disposition in lower case, without parameters; empty if the part does not say.
    pub fn disposition(&self) -> String {
        media_type(self.header("Content-Disposition").unwrap_or(""))
    }
}

/// Why a body could not be taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Error {
    /// No line of the body is a delimiter.
    NoDelimiter,
    /// More than [`MULTIPART_PARTS_MAX`] parts.
    TooManyParts,
    /// More than [`MULTIPART_HEAD_BYTES_MAX`] of headers in front of a part: those behind were passed over.
    HeadTooLong,
    /// Multipart in multipart, deeper than the caller follows.
    TooDeep,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NoDelimiter => f.write_str("no line of the multipart body is its delimiter"),
            Error::TooDeep => f.write_str("multipart bodies are nested too deep"),
            Error::HeadTooLong => write!(
                f,
                "a part of the multipart body has more than {MULTIPART_HEAD_BYTES_MAX} bytes of headers"
            ),
            Error::TooManyParts => write!(f, "the multipart body has more than {MULTIPART_PARTS_MAX} parts"),
        }
    }
}

impl std::error::Error for Error {}

/// A Content-Type or Content-Disposition value without parameters, in lower case.
pub fn media_type(value: &str) -> String {
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

/// Multipart within multipart is followed this deep.
pub const NESTING_MAX: usize = 3;

/// Whether a body of this media type is a session description: by its type, or by its content where the type says nothing of use.
pub fn is_sdp(media_type: &str, body: &[u8]) -> bool {
    match media_type {
        "application/sdp" => true,
        "" | "multipart/mixed" | "text/plain" => body.trim_ascii_start().starts_with(b"v="),
        _ => false,
    }
}

/// Whether a body of this type is or holds a session description that says something.
pub(crate) fn offers(content_type: &str, body: &[u8], depth: usize) -> bool {
    let media_type = media_type(content_type);
    if depth < NESTING_MAX
        && media_type.starts_with("multipart/")
        && let Ok(parts) = split(content_type, body)
    {
        return parts.iter().any(|p| offers(p.header("Content-Type").unwrap_or(""), p.body, depth + 1));
    }
    is_sdp(&media_type, body) && !body.trim_ascii().is_empty()
}

/// Takes `body` apart by the boundary that `content_type`, the header's value with its parameters, names.
pub fn split<'a>(content_type: &str, body: &'a [u8]) -> Result<Vec<Part<'a>>, Error> {
    let parameters = content_type.find(';').map_or("", |at| &content_type[at..]);
    let named = lex::param(parameters, "boundary").unwrap_or("").trim();
    // Some write the delimiter itself, dashes and all, as the boundary; some name none: then the first line tells.
    let first = body.trim_ascii_start().split(|b| *b == b'\n').next().unwrap_or(&[]).trim_ascii();
    let candidates = [format!("--{named}").into_bytes(), named.as_bytes().to_vec(), first.to_vec()];
    for delimiter in candidates.iter().filter(|d| d.len() > 2 && d.starts_with(b"--")) {
        let parts = split_by(delimiter, body)?;
        if !parts.is_empty() {
            return Ok(parts);
        }
    }
    Err(Error::NoDelimiter)
}

/// What a line is to the splitter.
#[derive(PartialEq)]
enum Line {
    Content,
    Delimiter,
    Close,
}

fn classify(line: &[u8], delimiter: &[u8]) -> Line {
    match line.strip_prefix(delimiter).map(|rest| rest.trim_ascii()) {
        Some(b"") => Line::Delimiter,
        Some(b"--") => Line::Close,
        _ => Line::Content,
    }
}

fn split_by<'a>(delimiter: &[u8], body: &'a [u8]) -> Result<Vec<Part<'a>>, Error> {
    let mut parts = Vec::new();
    let mut open: Option<usize> = None;
    let mut at = 0;
    for line in body.split_inclusive(|b| *b == b'\n') {
        let kind = classify(line, delimiter);
        if kind != Line::Content {
            if let Some(start) = open.take() {
                parts.push(part(&body[start..at.max(start)], true));
            }
            if parts.len() > MULTIPART_PARTS_MAX {
                return Err(Error::TooManyParts);
            }
            open = (kind == Line::Delimiter).then_some(at + line.len());
        }
        at += line.len();
        if kind == Line::Close {
            break;
        }
    }
    // The closing delimiter never came: the body's end closes the part.
    parts.extend(open.map(|start| part(&body[start..], false)));
    if parts.len() > MULTIPART_PARTS_MAX { Err(Error::TooManyParts) } else { Ok(parts) }
}

/// One part's headers and content. The line end in front of a delimiter belongs to the delimiter (RFC 2046 section 5.1.1).
fn part(raw: &[u8], delimited: bool) -> Part<'_> {
    let raw = match raw.strip_suffix(b"\n") {
        Some(cut) if delimited => cut.strip_suffix(b"\r").unwrap_or(cut),
        _ => raw,
    };
    let mut headers: Vec<(String, String)> = Vec::new();
    let (mut at, mut cut) = (0, false);
    for line in raw.split_inclusive(|b| *b == b'\n') {
        let text = lossy(line);
        let fits = at + line.len() <= MULTIPART_HEAD_BYTES_MAX;
        let folded = text.starts_with([' ', '\t']) && !text.trim().is_empty();
        if text.trim().is_empty() {
            at += line.len();
            break;
        } else if let (true, Some(last)) = (folded, headers.last_mut()) {
            if fits {
                last.1.push(' ');
                last.1.push_str(text.trim());
            }
            cut |= !fits;
        } else if let Some((name, value)) = header(&text) {
            if fits {
                headers.push((name.to_owned(), value.to_owned()));
            }
            cut |= !fits;
        } else {
            // No empty line between headers and content: the content starts with the first line that can't be a header.
            break;
        }
        at += line.len();
    }
    Part { headers, cut, body: &raw[at..] }
}

fn header(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    lex::is_token(name.trim_end().as_bytes()).then(|| (name.trim_end(), value.trim()))
}

/// Writes a multipart body.
#[derive(Clone, Debug)]
pub struct Writer {
    boundary: String,
    parts: Vec<(String, Vec<u8>)>,
}

impl Writer {
    /// Starts one whose parts are parted by `boundary` (a token of at most 70 characters), made longer should a part hold it.
    pub fn new(boundary: &str) -> Writer {
        Writer { boundary: boundary.to_owned(), parts: Vec::new() }
    }

    /// Adds a part; `headers` are whole lines without line ends, such as `Content-Disposition: recording-session`.
    #[must_use]
    pub fn part(mut self, content_type: &str, headers: &[&str], body: impl Into<Vec<u8>>) -> Writer {
        let extra: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        self.parts.push((format!("Content-Type: {content_type}\r\n{extra}\r\n"), body.into()));
        self
    }

    /// The value for Content-Type, and the body.
    pub fn finish(mut self) -> (String, Vec<u8>) {
        let holds = |body: &[u8], boundary: &str| {
            body.windows(boundary.len().max(1)).any(|w| w == boundary.as_bytes())
        };
        while self.parts.iter().any(|(_, body)| holds(body, &self.boundary)) {
            self.boundary.push('x');
        }
        let mut out = Vec::new();
        for (head, body) in &self.parts {
            out.extend_from_slice(format!("--{}\r\n{head}", self.boundary).as_bytes());
            out.extend_from_slice(body);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        (format!("multipart/mixed;boundary=\"{}\"", self.boundary), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\n";
    const XML: &str = "<?xml version=\"1.0\"?>\r\n<recording/>";

    /// Media types and contents of the parts.
    fn parts(content_type: &str, body: &str) -> Vec<(String, String)> {
        let text = |p: &Part<'_>| (p.media_type(), String::from_utf8_lossy(p.body).into_owned());
        split(content_type, body.as_bytes()).unwrap().iter().map(text).collect()
    }

    fn expected() -> Vec<(String, String)> {
        vec![("application/sdp".into(), SDP.into()), ("application/rs-metadata+xml".into(), XML.into())]
    }

    fn body(delimiter: &str) -> String {
        format!(
            "{delimiter}\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n{delimiter}\r\n\
             Content-Disposition: recording-session\r\nContent-Type:application/rs-metadata+xml;\r\n charset=utf-8\r\n\r\n{XML}\r\n{delimiter}--\r\n"
        )
    }

    #[test]
    fn boundaries_are_found_quoted_or_not_with_equals_signs_and_dashes() {
        for (boundary, delimiter) in [
            ("boundary=\"unique-boundary-1\"", "--unique-boundary-1"),
            ("BOUNDARY = foobar", "--foobar"),
            ("boundary=----=_Part_12_3.4", "------=_Part_12_3.4"),
            ("boundary=\"--dashes\"", "----dashes"),
            ("charset=x; boundary=\"with blank\"; y=z", "--with blank"),
            ("boundary=--delimiter", "--delimiter"),
            ("charset=utf-8", "--unnamed"),
        ] {
            assert_eq!(
                parts(&format!("multipart/mixed;{boundary}"), &body(delimiter)),
                expected(),
                "{boundary}"
            );
        }
    }

    #[test]
    fn a_missing_end_bare_lf_and_trailing_blanks_lose_nothing() {
        let whole = body("--b");
        let open = whole.strip_suffix("\r\n--b--\r\n").unwrap();
        assert_eq!(parts("multipart/mixed;boundary=b", open), expected());
        assert_eq!(parts("multipart/mixed;boundary=b", whole.trim_end()), expected());
        assert_eq!(parts("multipart/mixed;boundary=b", &whole.replace("--b\r\n", "--b  \t\r\n")), expected());
        assert_eq!(
            parts("multipart/mixed;boundary=b", &format!("preamble\r\n{whole}epilogue --b\r\n")),
            expected()
        );
        let lf: Vec<_> = expected().into_iter().map(|(t, b)| (t, b.replace("\r\n", "\n"))).collect();
        assert_eq!(parts("multipart/mixed;boundary=b", &whole.replace("\r\n", "\n")), lf);
    }

    #[test]
    fn a_boundary_that_starts_another_and_a_wrong_part_length_do_not_mislead() {
        let tricky =
            "--b\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n--bb\r\n--b-\r\nx --b\r\n--b--";
        assert_eq!(
            parts("multipart/mixed;boundary=b", tricky),
            [("text/plain".to_owned(), "--bb\r\n--b-\r\nx --b".to_owned())]
        );
    }

    #[test]
    fn headers_without_an_empty_line_and_parts_without_headers_are_read() {
        let body = "--b\nContent-Type: application/sdp\nv=0\n--b\n\nplain\n--b\n--b--\n";
        let got = parts("multipart/related;boundary=b", body);
        let want = [("application/sdp", "v=0"), ("", "plain"), ("", "")];
        assert_eq!(got, want.map(|(t, b)| (t.to_owned(), b.to_owned())));
    }

    #[test]
    fn parts_are_bounded_and_a_body_without_delimiter_is_an_error() {
        let many = "--b\r\n\r\nx\r\n".repeat(MULTIPART_PARTS_MAX + 1);
        assert_eq!(split("multipart/mixed;boundary=b", many.as_bytes()), Err(Error::TooManyParts));
        assert_eq!(split("multipart/mixed;boundary=b", many.repeat(2).as_bytes()), Err(Error::TooManyParts));
        let full = "--b\r\n\r\nx\r\n".repeat(MULTIPART_PARTS_MAX);
        assert_eq!(
            split("multipart/mixed;boundary=b", full.as_bytes()).map(|parts| parts.len()),
            Ok(MULTIPART_PARTS_MAX)
        );
        assert_eq!(split("multipart/mixed;boundary=b", SDP.as_bytes()), Err(Error::NoDelimiter));
        assert_eq!(split("multipart/mixed", b""), Err(Error::NoDelimiter));
    }

    #[test]
    fn the_headers_of_a_part_are_bounded_and_its_content_is_found_all_the_same() {
        let first = "Content-Type: a/b\r\n";
        for filler in [" folded\r\n", "X: y\r\n"] {
            let one = |lines: usize| format!("--b\r\n{first}{}\r\nx\r\n--b--\r\n", filler.repeat(lines));
            let room = (MULTIPART_HEAD_BYTES_MAX - first.len()) / filler.len();
            for (lines, cut) in [(room, false), (room + 1, true), (20 * room, true)] {
                let body = one(lines);
                let parts = split("multipart/mixed;boundary=b", body.as_bytes()).unwrap();
                let length: usize =
                    parts[0].headers.iter().map(|(name, value)| name.len() + value.len()).sum();
                assert_eq!((parts.len(), parts[0].body, parts[0].cut), (1, &b"x"[..], cut));
                assert!(parts[0].media_type().starts_with("a/b") && length < MULTIPART_HEAD_BYTES_MAX);
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_never_panic(content_type in ".{0,60}", body: Vec<u8>) {
            let _ = split(&content_type, &body);
            let _ = split("multipart/mixed;boundary=b", &body);
        }

        #[test]
        fn what_is_written_is_read_back(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..5)) {
            let writer = contents.iter().fold(Writer::new("-"), |w, body| w.part("a/b", &["X: y"], body.clone()));
            let (content_type, body) = writer.finish();
            let parts = split(&content_type, &body).unwrap();
            prop_assert_eq!(parts.iter().map(|p| p.body.to_vec()).collect::<Vec<_>>(), contents);
            prop_assert!(parts.iter().all(|p| p.header("x") == Some("y")));
        }
    }
}
