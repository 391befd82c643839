//! Finding the offer and the metadata in a body: multipart in any order, one alone, mislabelled or not labelled at all.

use super::read::looks_like_metadata;
use crate::sip::Message;
use crate::sip::multipart::{self, NESTING_MAX, is_sdp};

/// What a body holds, as slices of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Bodies<'a> {
    /// The first session description.
    pub sdp: Option<&'a [u8]>,
    /// The first metadata document. Says nothing about whether it can be read.
    pub metadata: Option<&'a [u8]>,
    /// Why a multipart body could not be taken apart wholly, if there was one.
    pub unreadable: Option<multipart::Error>,
    /// What may hold anything: a body that could not be taken apart, or that nothing says the type of.
    pub unknown: Option<&'a [u8]>,
}

impl<'a> Bodies<'a> {
    /// Looks through a message.
    pub fn within(message: &'a Message) -> Bodies<'a> {
        Bodies::of(message.content_type().as_deref(), message.body())
    }

    /// Looks through a message's body.
    pub fn of(content_type: Option<&str>, body: &'a [u8]) -> Bodies<'a> {
        let mut found = Bodies::default();
        found.look(content_type.unwrap_or(""), "", body, 0);
        found
    }

    fn look(&mut self, content_type: &str, disposition: &str, body: &'a [u8], depth: usize) {
        let media_type = multipart::media_type(content_type);
        if media_type.starts_with("multipart/") {
            let deep = Err(multipart::Error::TooDeep);
            match if depth < NESTING_MAX { multipart::split(content_type, body) } else { deep } {
                // A part nobody knows, wanted or not, is passed over (`handling=required` on it is no reason to lose the call).
                Ok(parts) => {
                    for part in &parts {
                        if part.cut {
                            self.unreadable = self.unreadable.or(Some(multipart::Error::HeadTooLong));
                        }
                        let content_type = part.header("Content-Type").unwrap_or("");
                        self.look(content_type, &part.disposition(), part.body, depth + 1);
                    }
                    return;
                }
                Err(why) => self.unreadable = self.unreadable.or(Some(why)),
            }
        }
        match kind(&media_type, disposition, body) {
            Some(Kind::Sdp) => self.sdp = self.sdp.or(Some(body)),
            Some(Kind::Metadata) => self.metadata = self.metadata.or(Some(body)),
            // Of any other type it is nothing that we are told to read.
            None if media_type.is_empty() || media_type.starts_with("multipart/") => {
                self.unknown = self.unknown.or(Some(body).filter(|body| !body.trim_ascii().is_empty()));
            }
            None => {}
        }
    }
}

enum Kind {
    Sdp,
    Metadata,
}

/// By type (RFC 7866 section 12, RFC 9806), by disposition (RFC 7866 section 9.1), and by content where they say nothing of use.
fn kind(media_type: &str, disposition: &str, body: &[u8]) -> Option<Kind> {
    match media_type {
        "application/rs-metadata+xml" | "application/rs-metadata" => Some(Kind::Metadata),
        _ if is_sdp(media_type, body) => Some(Kind::Sdp),
        _ if disposition == "recording-session" => Some(Kind::Metadata),
        "" | "application/xml" | "text/xml" | "text/plain" if looks_like_metadata(body) => {
            Some(Kind::Metadata)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::multipart::Writer;

    const SDP: &[u8] = b"v=0\r\nm=audio 4 RTP/AVP 0\r\n";
    const XML: &[u8] = b"<?xml version='1.0'?>\r\n<x:recording xmlns:x='u'></x:recording>";

    fn find(parts: &[(&str, &[&str], &[u8])]) -> (bool, bool) {
        let writer = parts.iter().fold(Writer::new("b"), |w, (t, h, body)| w.part(t, h, *body));
        let (content_type, body) = writer.finish();
        let found = Bodies::of(Some(&content_type), &body);
        (found.sdp == Some(SDP), found.metadata == Some(XML))
    }

    #[test]
    fn both_parts_are_found_in_either_order_and_among_others() {
        let (sdp, xml) =
            (("application/SDP; x=y", &[][..], SDP), ("application/rs-metadata+xml", &[][..], XML));
        let other = ("application/gtd", &["Content-Disposition: signal;handling=required"][..], &b"x"[..]);
        for parts in [[sdp, xml, other], [other, xml, sdp], [xml, other, sdp]] {
            assert_eq!(find(&parts), (true, true));
        }
    }

    #[test]
    fn metadata_goes_by_several_names() {
        let disposition: &[&str] = &["Content-Disposition: recording-session;handling=optional"];
        for (name, headers) in [
            ("application/rs-metadata", &[][..]),
            ("application/xml", &[]),
            ("text/xml", &[]),
            ("application/x-any", disposition),
        ] {
            assert_eq!(find(&[("application/sdp", &[], SDP), (name, headers, XML)]), (true, true), "{name}");
        }
        assert_eq!(find(&[("application/xml", &[], b"<presence/>")]), (false, false));
    }

    #[test]
    fn one_body_alone_needs_no_multipart_and_a_nested_one_is_opened() {
        assert_eq!(Bodies::of(Some("application/sdp"), SDP).sdp, Some(SDP));
        assert_eq!(Bodies::of(None, SDP).sdp, Some(SDP));
        assert_eq!(Bodies::of(Some("application/rs-metadata+xml"), b"").metadata, Some(&b""[..]));
        let (inner_type, inner) = Writer::new("in").part("application/sdp", &[], SDP).finish();
        assert_eq!(find(&[(&inner_type, &[], &inner), ("application/rs-metadata", &[], XML)]), (true, true));
        let slip = Bodies::of(Some("multipart/mixed"), SDP);
        assert_eq!((slip.sdp, slip.unreadable), (Some(SDP), Some(multipart::Error::NoDelimiter)));
    }

    #[test]
    fn a_body_of_too_many_parts_or_levels_says_so() {
        let many =
            (0..=crate::limits::MULTIPART_PARTS_MAX).fold(Writer::new("b"), |w, _| w.part("a/b", &[], "x"));
        let (content_type, body) = many.finish();
        let found = Bodies::of(Some(&content_type), &body);
        assert_eq!(found.unreadable, Some(multipart::Error::TooManyParts));
        assert_eq!(found.unknown, Some(&body[..]));
        assert_eq!(Bodies::of(None, b"secret").unknown, Some(&b"secret"[..]));
        assert_eq!(Bodies::of(Some("application/gtd"), b"x").unknown, None);
        let mut inner = ("application/sdp".to_owned(), SDP.to_vec());
        for level in 0..=NESTING_MAX {
            inner = Writer::new(&format!("b{level}")).part(&inner.0, &[], inner.1).finish();
        }
        let found = Bodies::of(Some(&inner.0), &inner.1);
        assert_eq!((found.sdp, found.unreadable), (None, Some(multipart::Error::TooDeep)));
    }
}
