//! Who is on which track: label first, then stream id, then position (ids and labels are used as clients please).

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::Metadata;

/// How a track found its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// The stream has the label of the track's m-line (RFC 7866 section 8.2).
    Label,
    /// The stream's id is the label of the track's m-line.
    StreamId,
    /// The stream stands where the m-line stands. A guess, and marked as one.
    Position,
}

/// A track's place in the metadata.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TrackIdentity {
    /// How its stream was found; `None` if it was not.
    pub join: Option<Join>,
    /// Id of its stream.
    pub stream: Option<String>,
    /// Indices into [`Metadata::participants`] of those who send it: several in a mixed stream.
    pub senders: Vec<usize>,
}

/// Finds the stream and the senders of each track. `lines` gives, per track, the index of its m-line and its label.
pub fn identify(metadata: &Metadata, lines: &[(usize, Option<&str>)]) -> Vec<TrackIdentity> {
    lines.iter().map(|(line, label)| one(metadata, *line, *label)).collect()
}

fn one(metadata: &Metadata, line: usize, label: Option<&str>) -> TrackIdentity {
    let Some((join, index)) = stream_of(metadata, line, label) else { return TrackIdentity::default() };
    let id = metadata.streams[index].id.clone();
    let sending: HashSet<&str> = metadata
        .links
        .iter()
        .filter(|link| link.sends.contains(&id))
        .map(|link| link.participant.as_str())
        .collect();
    let people = metadata.participants.iter().enumerate();
    let senders = people.filter(|(_, who)| sending.contains(who.id.as_str())).map(|(at, _)| at);
    TrackIdentity { join: Some(join), senders: senders.collect(), stream: Some(id) }
}

fn stream_of(metadata: &Metadata, line: usize, label: Option<&str>) -> Option<(Join, usize)> {
    let streams = &metadata.streams;
    // Later documents come later in the history: the last word on a label counts.
    let by_label = || streams.iter().rposition(|s| s.label.as_deref().map(str::trim) == label);
    let by_id = || streams.iter().rposition(|s| Some(s.id.as_str()) == label);
    // Only where labels can't contradict.
    let by_position = || streams.get(line).filter(|s| s.label.is_none() || label.is_none()).map(|_| line);
    let labelled = label.and_then(|_| {
        by_label().map(|at| (Join::Label, at)).or_else(|| by_id().map(|at| (Join::StreamId, at)))
    });
    labelled.or_else(|| by_position().map(|at| (Join::Position, at)))
}

#[cfg(test)]
mod tests {
    use super::super::{Metadata, Participant, Stream, StreamLink};
    use super::*;

    fn stream(id: &str, label: Option<&str>) -> Stream {
        Stream { id: id.to_owned(), session: None, label: label.map(str::to_owned) }
    }

    fn people(streams: Vec<Stream>) -> Metadata {
        let participants = ["alice", "bob"].map(|id| Participant { id: id.to_owned(), names: Vec::new() });
        let link = |who: &str, sends: &str, receives: &str| StreamLink {
            participant: who.to_owned(),
            sends: vec![sends.to_owned()],
            receives: vec![receives.to_owned()],
        };
        Metadata {
            participants: participants.into(),
            links: vec![link("alice", "s1", "s2"), link("bob", "s2", "s1")],
            streams,
            ..Metadata::default()
        }
    }

    #[test]
    fn the_label_counts_before_id_and_position() {
        let metadata = people(vec![stream("s1", Some("20")), stream("s2", Some("10"))]);
        let found = identify(&metadata, &[(0, Some("10")), (1, Some("20"))]);
        assert_eq!(found[0].senders, [1]);
        assert_eq!(found[1].senders, [0]);
        assert!(found.iter().all(|t| t.join == Some(Join::Label)));
    }

    #[test]
    fn without_matching_labels_the_id_and_then_the_position_counts() {
        let metadata = people(vec![stream("s1", None), stream("s2", None)]);
        let found = identify(&metadata, &[(0, Some("s2")), (1, Some("other")), (2, None)]);
        assert_eq!((found[0].join, found[0].senders.as_slice()), (Some(Join::StreamId), &[1][..]));
        assert_eq!((found[1].join, found[1].senders.as_slice()), (Some(Join::Position), &[1][..]));
        assert_eq!(found[2], TrackIdentity::default());
    }

    #[test]
    fn a_mixed_stream_has_all_its_senders_and_contradicting_labels_have_none() {
        let mut metadata = people(vec![stream("s1", Some("1"))]);
        metadata.links[1].sends = vec!["s1".to_owned()];
        assert_eq!(identify(&metadata, &[(0, Some("1"))])[0].senders, [0, 1]);
        assert_eq!(identify(&metadata, &[(0, Some("2"))])[0], TrackIdentity::default());
    }
}
