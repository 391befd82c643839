//! Who is on which track: label first, then stream id, then position (ids and labels are used as clients please: interop 21, 31).

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::records::StreamRecord;
use super::{Flag, History};

/// How a track found its stream, or a speaker his track.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// The stream has the label of the track's m-line (RFC 7866 section 8.2).
    Label,
    /// The stream's id is the label of the track's m-line.
    StreamId,
    /// The stream stands where the m-line stands. A guess, and marked as one.
    Position,
    /// The participant is told to send the stream.
    Association,
}

/// Someone who sends a track's stream, and from when to when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Speaker {
    /// Index into the participants.
    pub participant: u32,
    /// Id of the stream.
    pub stream: String,
    /// [`Join::Association`], or [`Join::Position`] where no association was ever told: then the order is a guess.
    pub by: Join,
    /// Arrival of the document that told, RFC 3339.
    pub since: String,
    /// The same for its end; while it lasts, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// A track's place in the metadata.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TrackIdentity {
    /// How its stream was found; `None` if it was not.
    pub join: Option<Join>,
    /// Id of its stream: of the last one, where the id has changed.
    pub stream: Option<String>,
    /// Those who send it or have sent it, in order: several at once in a mixed stream.
    pub speakers: Vec<Speaker>,
}

/// Where a track stood before its line or label changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Former {
    /// The index of its m-line.
    pub line: usize,
    /// Its label.
    pub label: Option<String>,
    /// When the offer came that changed it, RFC 3339.
    pub until: String,
}

/// Finds the stream and the senders of each track. `lines` gives, per track, the index of its m-line and its label.
pub fn identify(history: &History, lines: &[(usize, Option<&str>)]) -> Vec<TrackIdentity> {
    identify_over_time(
        history,
        &lines.iter().map(|(line, label)| (*line, *label, &[][..])).collect::<Vec<_>>(),
    )
}

/// The same of tracks that have stood elsewhere before, as they did in that order.
pub fn identify_over_time(
    history: &History,
    tracks: &[(usize, Option<&str>, &[Former])],
) -> Vec<TrackIdentity> {
    let at = |line: usize, label: Option<&str>| one(history, line, label.map(str::trim));
    let over_time = |(line, label, former): &(usize, Option<&str>, &[Former])| {
        let before = former.iter().map(|was| (at(was.line, was.label.as_deref()), was.until.clone()));
        succession(before.filter(|(was, _)| was.join.is_some()).collect(), at(*line, *label))
    };
    let mut found: Vec<TrackIdentity> = tracks.iter().map(over_time).collect();
    by_order(history, &mut found);
    found
}

/// What a track was, one after the other until then, and what it is now: everybody for as long as it was his. A label that the metadata never
/// tells of is another name for what was there before.
fn succession(former: Vec<(TrackIdentity, String)>, now: TrackIdentity) -> TrackIdentity {
    let mut all: Vec<(TrackIdentity, Option<String>)> =
        former.into_iter().map(|(was, until)| (was, Some(until))).collect();
    if now.join.is_some() || all.is_empty() {
        all.push((now, None));
    }
    if let Some((_, until)) = all.last_mut() {
        *until = None;
    }
    let (mut whole, mut since) = (TrackIdentity::default(), String::new());
    for (identity, until) in all {
        let his = |who| within(who, &since, until.as_deref());
        whole.speakers.extend(identity.speakers.into_iter().filter_map(his));
        (whole.join, whole.stream) = (identity.join, identity.stream);
        since = until.unwrap_or(since);
    }
    whole
}

/// A speaker for as long as the track was his; times in RFC 3339 of one form compare as text.
fn within(mut who: Speaker, since: &str, until: Option<&str>) -> Option<Speaker> {
    if who.since.as_str() < since {
        who.since = since.to_owned();
    }
    if let Some(until) = until.filter(|until| who.until.as_deref().is_none_or(|end| *until < end)) {
        who.until = Some(until.to_owned());
    }
    who.until.as_ref().is_none_or(|until| who.since < *until).then_some(who)
}

fn one(history: &History, line: usize, label: Option<&str>) -> TrackIdentity {
    let Some((join, streams)) = streams_of(history, line, label) else { return TrackIdentity::default() };
    let ids: HashSet<&str> = streams.iter().map(|stream| stream.id.as_str()).collect();
    let sent = history.links.iter().filter(|link| link.sends && ids.contains(link.stream.as_str()));
    let speakers = sent.map(|link| Speaker {
        participant: link.participant,
        stream: link.stream.clone(),
        by: Join::Association,
        since: link.span.since.clone(),
        until: link.span.until.clone(),
    });
    let last = streams.last().map(|stream| stream.id.clone());
    TrackIdentity { join: Some(join), speakers: speakers.collect(), stream: last }
}

/// The records of a track's stream: several, where its id has changed under the same label.
fn streams_of<'a>(
    history: &'a History,
    line: usize,
    label: Option<&str>,
) -> Option<(Join, Vec<&'a StreamRecord>)> {
    let streams = &history.streams;
    let all = |is: &dyn Fn(&StreamRecord) -> bool| {
        // Those that have ended come first: the last word counts.
        let ended = streams.iter().filter(|s| !s.span.is_open() && is(s));
        ended.chain(streams.iter().filter(|s| s.span.is_open() && is(s))).collect::<Vec<_>>()
    };
    let told = |stream: &StreamRecord| stream.label.as_deref().map(str::trim) == label;
    // Only where labels can't contradict.
    let here = |stream: &StreamRecord| {
        stream.position as usize == line && (stream.label.is_none() || label.is_none())
    };
    let labelled = label.and_then(|label| {
        let by_label = Some((Join::Label, all(&told))).filter(|(_, found)| !found.is_empty());
        let by_id = || Some((Join::StreamId, all(&|stream| stream.id == label)));
        by_label.or_else(by_id).filter(|(_, found)| !found.is_empty())
    });
    labelled.or_else(|| all(&here).pop().map(|stream| (Join::Position, vec![stream])))
}

/// Where no association was ever told and there are as many participants as tracks, their order is all there is.
fn by_order(history: &History, tracks: &mut [TrackIdentity]) {
    let told = history.links.iter().any(|link| link.sends);
    // The associations may stand behind the damage.
    let damaged = history.flags.iter().any(|flag| matches!(flag, Flag::Malformed | Flag::Cut));
    if told || damaged || history.participants.len() != tracks.len() {
        return;
    }
    for (place, (track, who)) in tracks.iter_mut().zip(&history.participants).enumerate() {
        track.speakers.push(Speaker {
            participant: place as u32,
            stream: track.stream.clone().unwrap_or_default(),
            by: Join::Position,
            since: who.span.since.clone(),
            until: who.span.until.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metadata;
    use super::*;

    /// Alice sends s1, Bob s2.
    fn history(streams: &str) -> History {
        let mut history = History::default();
        let text = format!(
            "<recording><participant id='alice'/><participant id='bob'/>{streams}\
             <participantstreamassoc id='alice'><send>s1</send><recv>s2</recv></participantstreamassoc>\
             <participantstreamassoc id='bob'><send>s2</send><recv>s1</recv></participantstreamassoc></recording>"
        );
        history.apply(&Metadata::read(text.as_bytes()), "t1", false);
        history
    }

    fn speakers(track: &TrackIdentity) -> Vec<u32> {
        track.speakers.iter().map(|speaker| speaker.participant).collect()
    }

    #[test]
    fn the_label_counts_before_id_and_position() {
        let history =
            history("<stream id='s1'><label>20</label></stream><stream id='s2'><label> 10 </label></stream>");
        let found = identify(&history, &[(0, Some("10")), (1, Some("20"))]);
        assert_eq!((speakers(&found[0]), speakers(&found[1])), (vec![1], vec![0]));
        assert!(found.iter().all(|track| track.join == Some(Join::Label)));
    }

    #[test]
    fn without_matching_labels_the_id_and_then_the_position_counts() {
        let history = history("<stream id='s1'/><stream id='s2'/>");
        let found = identify(&history, &[(0, Some("s2")), (1, Some("other")), (2, None)]);
        assert_eq!((found[0].join, speakers(&found[0])), (Some(Join::StreamId), vec![1]));
        assert_eq!((found[1].join, speakers(&found[1])), (Some(Join::Position), vec![1]));
        assert_eq!(found[2], TrackIdentity::default());
    }

    #[test]
    fn a_stream_whose_id_changes_keeps_its_track_and_contradicting_labels_have_none() {
        let mut history =
            history("<stream id='s1'><label>1</label></stream><stream id='s2'><label>2</label></stream>");
        let next = "<recording><datamode>partial</datamode><stream id='s9'><label>1</label></stream><participant id='carol'/>\
                    <participantstreamassoc id='carol'><send>s9</send></participantstreamassoc></recording>";
        history.apply(&Metadata::read(next.as_bytes()), "t2", false);
        let found = identify(&history, &[(0, Some("1")), (1, Some("3"))]);
        assert_eq!((speakers(&found[0]), found[0].stream.as_deref()), (vec![0, 2], Some("s9")));
        assert_eq!(found[0].speakers[0].until.as_deref(), Some("t2"), "the old id has ended");
        assert_eq!(found[1], TrackIdentity::default());
    }

    #[test]
    fn who_spoke_under_a_former_label_stays_with_the_track_until_that_changed() {
        let mut history =
            history("<stream id='s1'><label>1</label></stream><stream id='s2'><label>2</label></stream>");
        let next = "<recording><datamode>partial</datamode><stream id='s5'><label>5</label></stream><participant id='cleo'/>\
                    <participantstreamassoc id='cleo'><send>s5</send></participantstreamassoc></recording>";
        history.apply(&Metadata::read(next.as_bytes()), "t3", false);
        let former = |label: &str, until: &str| {
            [Former { line: 0, label: Some(label.to_owned()), until: until.to_owned() }]
        };
        let told = |former: &[Former], label| {
            let found = identify_over_time(&history, &[(0, Some(label), former)]).remove(0);
            let speakers = found.speakers.iter();
            let spans: Vec<_> = speakers
                .map(|who| (who.participant, who.since.clone(), who.until.clone().unwrap_or_default()))
                .collect();
            (found.stream.unwrap_or_default(), spans)
        };
        let span = |who: u32, since: &str, until: &str| (who, since.to_owned(), until.to_owned());
        let both = vec![span(0, "t1", "t2"), span(2, "t3", "")];
        assert_eq!(told(&former("1", "t2"), "5"), ("s5".to_owned(), both));
        // The metadata came before the offer, and the same label again is no news.
        let late = vec![span(0, "t1", "t4"), span(2, "t4", "")];
        assert_eq!(told(&former("1", "t4"), "5"), ("s5".to_owned(), late));
        // Nobody tells of label 9: the stream was renamed.
        assert_eq!(told(&former("1", "t2"), "9"), ("s1".to_owned(), vec![span(0, "t1", "")]));
        assert_eq!(told(&former("9", "t2"), "1"), ("s1".to_owned(), vec![span(0, "t1", "")]));
    }

    #[test]
    fn where_no_association_is_told_as_many_people_as_tracks_are_taken_in_order_and_marked() {
        let mut history = History::default();
        let text = "<recording><participant id='a'/><participant id='b'/></recording>";
        history.apply(&Metadata::read(text.as_bytes()), "t1", false);
        let found = identify(&history, &[(0, Some("1")), (1, Some("2"))]);
        assert_eq!((speakers(&found[1]), found[1].speakers[0].by), (vec![1], Join::Position));
        assert!(identify(&history, &[(0, None)])[0].speakers.is_empty(), "two people on one track: no guess");
    }
}
