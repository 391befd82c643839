//! Reading SDP. Takes bare LF, unknown lines, lines out of order and repeated ones; refuses only what has no
//! readable m-line where one is meant, for then no answer could match it (RFC 3264 section 6).

use super::{Attribute, Connection, Description, Media, Origin};
use crate::base::lossy;
use crate::limits::{SDP_ATTRIBUTES_MAX, SDP_FORMATS_MAX, SDP_LINES_MAX, SDP_MEDIA_MAX};

/// Why a body is no session description.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// Not one line of the form `x=`.
    NotSdp,
    /// More than [`SDP_LINES_MAX`] lines.
    Lines,
    /// More than [`SDP_MEDIA_MAX`] m-lines.
    Media,
    /// More than [`SDP_FORMATS_MAX`] formats of one m-line.
    Formats,
    /// More than [`SDP_ATTRIBUTES_MAX`] attributes of one m-line or of the session.
    Attributes,
    /// The m-line at this line number (from 1) can't be read.
    MediaLine(usize),
}

impl Malformed {
    /// The name of its counter.
    pub fn reason(&self) -> &'static str {
        match self {
            Malformed::NotSdp => "sdp_none",
            Malformed::Lines => "sdp_lines_max",
            Malformed::Media => "sdp_media_max",
            Malformed::Formats => "sdp_formats_max",
            Malformed::Attributes => "sdp_attributes_max",
            Malformed::MediaLine(_) => "sdp_media_line",
        }
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Malformed::NotSdp => f.write_str("the body is no session description"),
            Malformed::Lines => write!(f, "the session description has more than {SDP_LINES_MAX} lines"),
            Malformed::Media => {
                write!(f, "the session description has more than {SDP_MEDIA_MAX} media lines")
            }
            Malformed::Formats => {
                write!(f, "a media line of the session description has more than {SDP_FORMATS_MAX} formats")
            }
            Malformed::Attributes => {
                write!(
                    f,
                    "the session description has more than {SDP_ATTRIBUTES_MAX} attributes in one place"
                )
            }
            Malformed::MediaLine(line) => write!(f, "the media line at line {line} is not readable"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Reads a session description.
pub fn parse(body: &[u8]) -> Result<Description, Malformed> {
    let text = lossy(body);
    let mut description = Description::default();
    let mut known = false;
    for (index, line) in text.split('\n').enumerate() {
        if index >= SDP_LINES_MAX {
            return Err(Malformed::Lines);
        }
        let Some((kind, value)) = split(line) else { continue };
        known |= "vosictmabkzrpeu".contains(kind);
        if kind == 'm' && description.media.len() == SDP_MEDIA_MAX {
            return Err(Malformed::Media);
        }
        take(&mut description, kind, value).ok_or(Malformed::MediaLine(index + 1))?;
        let last = description.media.last();
        if last.is_some_and(|media| media.formats.len() > SDP_FORMATS_MAX) {
            return Err(Malformed::Formats);
        }
        if last.map_or(&description.attributes, |media| &media.attributes).len() > SDP_ATTRIBUTES_MAX {
            return Err(Malformed::Attributes);
        }
    }
    if known { Ok(description) } else { Err(Malformed::NotSdp) }
}

/// The type and the value of a line. RFC 8866 section 5 allows no blanks around `=`; some send them behind it.
fn split(line: &str) -> Option<(char, &str)> {
    // A CR left inside would end up in what we write.
    let line = line.trim_matches(|c: char| c.is_ascii_whitespace() || c.is_control());
    let mut chars = line.chars();
    let kind = chars.next()?;
    let value = chars.as_str().strip_prefix('=')?.trim();
    (!value.contains(|c: char| c.is_control() && c != '\t')).then_some((kind, value))
}

/// `None` only for an m-line that can't be read.
fn take(description: &mut Description, kind: char, value: &str) -> Option<()> {
    match kind {
        'm' => description.media.push(media(value)?),
        'a' => {
            if let Some(attribute) = attribute(value) {
                match description.media.last_mut() {
                    Some(media) => media.attributes.push(attribute),
                    None => description.attributes.push(attribute),
                }
            }
        }
        'c' => {
            let place = match description.media.last_mut() {
                Some(media) => &mut media.connection,
                None => &mut description.connection,
            };
            // The first counts: more of them is a layered multicast (RFC 8866 section 5.7), no recording.
            *place = place.take().or_else(|| connection(value));
        }
        'o' => description.origin = origin(value),
        's' => description.name = value.to_owned(),
        _ => {}
    }
    Some(())
}

/// `<media> <port>[/<number of ports>] <proto> <fmt> ...` (RFC 8866 section 5.14).
fn media(value: &str) -> Option<Media> {
    let mut words = value.split_ascii_whitespace();
    let kind = words.next()?.to_owned();
    let port = words.next()?.split('/').next()?.parse().ok()?;
    let protocol = words.next()?.to_owned();
    let formats = words.take(SDP_FORMATS_MAX + 1).map(str::to_owned).collect();
    Some(Media { kind, port, protocol, formats, connection: None, attributes: Vec::new() })
}

fn attribute(value: &str) -> Option<Attribute> {
    let (name, value) = match value.split_once(':') {
        Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
        None => (value, None),
    };
    (!name.is_empty()).then(|| Attribute { name: name.to_owned(), value })
}

/// `IN IP4 address`.
fn connection(value: &str) -> Option<Connection> {
    value.split_ascii_whitespace().nth(2).map(|address| Connection(address.to_owned()))
}

/// `<username> <sess-id> <sess-version> <nettype> <addrtype> <unicast-address>` (RFC 8866 section 5.2). A user name with
/// blanks in it happens: the last five words are what they are.
fn origin(value: &str) -> Origin {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let Some(tail) = words.len().checked_sub(5) else { return Origin::default() };
    Origin {
        username: if tail == 0 { "-".to_owned() } else { words[..tail].join(" ") },
        id: words[tail].to_owned(),
        version: words[tail + 1].to_owned(),
        address: words[tail + 4].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Direction;
    use super::*;
    use proptest::prelude::*;

    const CUBE: &str = "v=0\r\no=CiscoSystemsSIP-GW-UserAgent 5871 6437 IN IP4 10.1.1.1\r\ns=SIP Call\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\n\
        m=audio 16552 RTP/AVP 0 101 19\r\nc=IN IP4 10.1.1.2\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
        a=fmtp:101 0-16\r\na=rtpmap:19 CN/8000\r\na=ptime:20\r\na=sendonly\r\na=label:1\r\n\
        m=audio 16554 RTP/AVP 0\r\na=label:2\r\na=inactive\r\n";

    #[test]
    fn a_description_reads_as_written() {
        let d = parse(CUBE.as_bytes()).unwrap();
        assert_eq!(d.origin.username, "CiscoSystemsSIP-GW-UserAgent");
        assert_eq!(d.media.len(), 2);
        let first = &d.media[0];
        assert_eq!((first.label(), first.direction()), (Some("1"), Some(Direction::SendOnly)));
        assert_eq!(first.by_type("rtpmap")[101], Some("telephone-event/8000"));
        assert_eq!(first.by_type("fmtp")[101], Some("0-16"));
        assert_eq!(d.connection(first).unwrap().ip(), Some("10.1.1.2".parse().unwrap()));
        assert_eq!(d.connection(&d.media[1]).unwrap().ip(), Some("10.1.1.1".parse().unwrap()));
    }

    #[test]
    fn bare_line_feeds_unknown_lines_and_odd_order_are_taken() {
        let text = "a=sendonly\nm=audio 10/2 rtp/avp 8\nx=what\no=a b 1 2 IN IP4 h\na=label: 268749245 \n\ns=late\n?";
        let d = parse(text.as_bytes()).unwrap();
        assert_eq!((d.media[0].port, d.media[0].label()), (10, Some("268749245")));
        assert_eq!(Direction::of(&d.attributes), Some(Direction::SendOnly));
        assert_eq!((d.origin.username.as_str(), d.name.as_str()), ("a b", "late"));
    }

    #[test]
    fn what_could_not_be_answered_is_refused() {
        assert_eq!(parse(b"<xml/>"), Err(Malformed::NotSdp));
        assert_eq!(parse(b"v=0\nm=audio x RTP/AVP 0"), Err(Malformed::MediaLine(2)));
        let many = "m=audio 1 RTP/AVP 0\n".repeat(SDP_MEDIA_MAX + 1);
        assert_eq!(parse(many.as_bytes()), Err(Malformed::Media));
        assert_eq!(parse("x=x\n".repeat(SDP_LINES_MAX + 1).as_bytes()), Err(Malformed::Lines));
    }

    #[test]
    fn formats_and_attributes_are_bounded() {
        let offer = |formats: usize, session: usize, media: usize| {
            let (session, media) = ("a=x\n".repeat(session), "a=x\n".repeat(media));
            parse(format!("v=0\n{session}m=audio 1 RTP/AVP{}\n{media}", " 0".repeat(formats)).as_bytes())
        };
        let (formats, attributes) = (SDP_FORMATS_MAX, SDP_ATTRIBUTES_MAX);
        assert!(offer(formats, attributes, attributes).is_ok());
        assert_eq!(offer(formats + 1, 0, 0), Err(Malformed::Formats));
        assert_eq!(offer(1, attributes + 1, 0), Err(Malformed::Attributes));
        assert_eq!(offer(1, 0, attributes + 1), Err(Malformed::Attributes));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_what_is_read_survives_writing(
            bytes in proptest::collection::vec(any::<u8>(), 0..600)
        ) {
            if let Ok(read) = parse(&bytes) {
                prop_assert_eq!(parse(read.to_string().as_bytes()), Ok(read));
            }
        }

        #[test]
        fn sdp_like_text_survives_writing(
            lines in proptest::collection::vec("([vosctma]=)?(audio |IN IP4 |rtpmap:|[ -~]){0,12}", 0..30)
        ) {
            if let Ok(read) = parse(lines.join("\n").as_bytes()) {
                prop_assert_eq!(parse(read.to_string().as_bytes()), Ok(read));
            }
        }
    }
}
