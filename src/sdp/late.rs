//! Offers of ours: for an INVITE that has none, for a re-INVITE that has none, and in a re-INVITE of our own.
//!
//! Each is turned round: what the client is taken to have offered ([`assumed`]), and its answer read as if it were an offer ([`answered`]).
//! So there is one way from what a client says to what is recorded, whoever spoke first.

use super::answer::Judge;
use super::write::encoding;
use super::{Attribute, Description, Media, PAYLOAD_TYPES, payload_type};
use crate::link::Payload;

/// All that can be stored, under its usual numbers (RFC 3551 section 6; 101 is what most clients take for events).
const PAYLOADS: [(u8, Payload); 4] =
    [(0, Payload::Pcmu), (8, Payload::Pcma), (13, Payload::ComfortNoise), (101, Payload::TelephoneEvent)];

/// What a client that leaves the offer to us is taken to have: one stream per label, in every codec that can be stored.
pub fn assumed(labels: &[Option<String>]) -> Description {
    let line = |label: &Option<String>| {
        let maps = PAYLOADS
            .iter()
            .map(|(pt, payload)| Attribute::new("rtpmap", format!("{pt} {}", encoding(*payload))));
        Media {
            kind: "audio".to_owned(),
            // Any but 0, which would end the stream; the client's own port comes with its answer.
            port: 9,
            protocol: "RTP/AVP".to_owned(),
            formats: PAYLOADS.iter().map(|(pt, _)| pt.to_string()).collect(),
            connection: None,
            attributes: maps.chain(label.iter().map(|label| Attribute::new("label", label))).collect(),
        }
    };
    Description { media: labels.iter().map(line).collect(), ..Description::default() }
}

/// The client's answer to an offer of ours, as if it had offered it. `last` is what counted before: where the answer says nothing that can
/// be used, it goes on counting, for RTP may come all the same. The flag says that there was such a line.
pub fn answered(last: &Description, answer: &Description) -> (Description, bool) {
    let mut odd = answer.media.len() != last.media.len();
    let mut media = Vec::new();
    let (now, then) = (Judge::of(answer), Judge::of(last));
    for (index, before) in last.media.iter().enumerate() {
        let merged = match answer.media.get(index) {
            // Left out, which RFC 3264 section 6 does not allow, or declined.
            None => ended(before),
            Some(said) if said.port == 0 || before.port == 0 => ended(before),
            Some(said) => merged(&then, before, &now, said).unwrap_or_else(|| {
                odd = true;
                settled(&then, before)
            }),
        };
        media.push(merged);
    }
    (Description { media, ..answer.clone() }, odd)
}

fn ended(before: &Media) -> Media {
    Media { port: 0, ..before.clone() }
}

/// What was said of one line, made independent of the session it stood in.
fn settled(session: &Judge<'_>, media: &Media) -> Media {
    let mut settled = media.clone();
    settled.connection = session.offer.connection(media).cloned();
    if media.direction().is_none()
        && let Some(direction) = session.direction
    {
        settled.attributes.push(Attribute::flag(direction.name()));
    }
    settled
}

/// One line of an answer. The formats are the client's and behind them the payload types of before: it may send either. `None` if nothing can be
/// made of it where something could before.
fn merged(then: &Judge<'_>, before: &Media, now: &Judge<'_>, said: &Media) -> Option<Media> {
    let mut merged = Media { connection: now.offer.connection(said).cloned(), ..said.clone() };
    let known = ["rtpmap", "fmtp"].map(|name| (name, before.by_type(name), said.by_type(name)));
    let mut listed = [false; PAYLOAD_TYPES];
    said.formats.iter().filter_map(|format| payload_type(format)).for_each(|pt| listed[pt] = true);
    for (format, pt) in before.formats.iter().filter_map(|format| Some((format, payload_type(format)?))) {
        if !std::mem::replace(&mut listed[pt], true) {
            merged.formats.push(format.clone());
        }
    }
    for pt in (0..PAYLOAD_TYPES).filter(|pt| listed[*pt]) {
        // Numbers agreed need no mapping again.
        for (name, before, said) in &known {
            let kept = before[pt].filter(|_| said[pt].is_none());
            merged.attributes.extend(kept.map(|value| Attribute::new(name, format!("{pt} {value}"))));
        }
    }
    if said.label().is_none() {
        merged.attributes.extend(before.label().map(|label| Attribute::new("label", label)));
    }
    (now.is_storable(&merged) || !then.is_storable(before)).then_some(merged)
}

#[cfg(test)]
#[path = "late_tests.rs"]
mod tests;
