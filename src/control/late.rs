//! How many streams we offer to a client that leaves the offer to us, and what they are called.

use std::collections::BTreeSet;

use crate::limits::{LATE_OFFER_STREAMS, TRACKS_MAX};
use crate::sip::Message;
use crate::siprec::{Bodies, Metadata, is_one_leg};

/// The labels of the streams to offer: those of the metadata (RFC 7865 section 6.7); else one if the client forks one leg of its call at a time, as
/// CUCM does, else [`LATE_OFFER_STREAMS`]. What there is too much of the client declines with port 0; what is missing would be lost.
pub(super) fn labels(invite: &Message, bodies: &Bodies<'_>) -> Vec<Option<String>> {
    let mut known = BTreeSet::new();
    let streams = bodies.metadata.map(|raw| Metadata::read(raw).streams).unwrap_or_default();
    let labels: Vec<Option<String>> = streams
        .into_iter()
        .filter(|stream| stream.label.is_none() || known.insert(stream.label.clone()))
        .map(|stream| stream.label.filter(|label| is_token(label)))
        .take(TRACKS_MAX)
        .collect();
    match labels.len() {
        0 => vec![None; if is_one_leg(invite) { 1 } else { LATE_OFFER_STREAMS }],
        _ => labels,
    }
}

/// RFC 4574 section 4: what may stand behind `a=label:`. Anything else we had better not write.
fn is_token(label: &str) -> bool {
    let allowed = |c: char| c.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]".contains(c);
    (1..=64).contains(&label.len()) && label.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels_of(headers: &str, metadata: &str) -> Vec<Option<String>> {
        let text = format!(
            "INVITE sip:r@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nTo: <sip:r@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
             {headers}Content-Type: application/rs-metadata+xml\r\nContent-Length: {}\r\n\r\n{metadata}",
            metadata.len()
        );
        let invite = Message::parse_datagram(text.as_bytes()).expect("a message");
        labels(&invite, &Bodies::within(&invite))
    }

    const FROM: &str = "From: <sip:a@h>;tag=1\r\n";

    #[test]
    fn the_metadata_says_how_many_streams_there_are_and_what_they_are_called() {
        let stream = |id: usize, label: &str| format!("<stream stream_id='s{id}'>{label}</stream>");
        let document = |streams: &[String]| format!("<recording>{}</recording>", streams.concat());
        let three = [
            stream(1, "<label>7</label>"),
            stream(2, "<label>x y</label>"),
            stream(3, ""),
            stream(4, "<label>7</label>"),
        ];
        assert_eq!(labels_of(FROM, &document(&three)), [Some("7".to_owned()), None, None]);
        let many: Vec<String> = (0..20).map(|id| stream(id, "")).collect();
        assert_eq!(labels_of(FROM, &document(&many)).len(), TRACKS_MAX);
    }

    #[test]
    fn without_metadata_there_are_two_and_a_fork_of_one_leg_has_one() {
        assert_eq!(labels_of(FROM, ""), [None, None]);
        assert_eq!(labels_of("From: <sip:a@h;x-farend;x-refci=1>;tag=1\r\n", ""), [None]);
    }
}
