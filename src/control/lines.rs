//! Which m-line of a later offer carries which track.
//!
//! By position (RFC 3264 section 8), unless the labels say that lines have changed places, which some clients do. A label that is new
//! in its place is a stream that was renamed.

/// Where a track stood last, and what it is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Its m-line; the last one it had if it has none now: what was gone may be back where it was.
    pub line: usize,
    /// Whether it has that line now.
    pub live: bool,
    /// Its label.
    pub label: Option<&'a str>,
}

/// An m-line that can carry a track: its index and its label.
pub(super) type Candidate<'a> = (usize, Option<&'a str>);

type Fits = fn(&Place<'_>, usize, Option<&str>) -> bool;

/// The line of each track, none twice.
pub(super) fn matched(places: &[Place<'_>], candidates: &[Candidate<'_>]) -> Vec<Option<usize>> {
    let mut found: Vec<Option<usize>> = vec![None; places.len()];
    // Who stays where it was under its own name, or where nobody has one.
    let stays: Fits = |place, line, label| place.line == line && place.label == label;
    // Who has moved.
    let moved: Fits = |place, _, label| label.is_some() && place.label == label;
    // Who has got another name or lost it.
    let renamed: Fits = |place, line, _| place.line == line;
    // Who has a line goes before who has lost it, and names before places.
    let rules =
        [(true, stays), (true, moved), (false, stays), (false, moved), (true, renamed), (false, renamed)];
    for (live, fits) in rules {
        for (index, place) in places.iter().enumerate() {
            if place.live == live && found[index].is_none() {
                let suits = |(line, label): &&Candidate<'_>| {
                    !found.contains(&Some(*line)) && fits(place, *line, *label)
                };
                found[index] = candidates.iter().find(suits).map(|(line, _)| *line);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place((line, label): &(usize, &'static str)) -> Place<'static> {
        Place { line: *line, live: true, label: Some(*label).filter(|label| !label.is_empty()) }
    }

    fn lines(places: &[(usize, &'static str)], labels: &[&str]) -> Vec<Option<usize>> {
        let places: Vec<_> = places.iter().map(place).collect();
        let labels = labels.iter().map(|label| Some(*label).filter(|label| !label.is_empty()));
        matched(&places, &labels.enumerate().collect::<Vec<_>>())
    }

    #[test]
    fn position_counts_where_labels_do_not_contradict() {
        assert_eq!(lines(&[(0, "1"), (2, "2")], &["1", "v", "2"]), [Some(0), Some(2)]);
        assert_eq!(lines(&[(0, ""), (1, "")], &["", ""]), [Some(0), Some(1)]);
        assert_eq!(lines(&[(0, "1"), (1, "2")], &["", ""]), [Some(0), Some(1)], "labels given up");
        assert_eq!(lines(&[(0, ""), (1, "")], &["1", "2"]), [Some(0), Some(1)], "labels taken up");
        assert_eq!(lines(&[(0, "1"), (1, "2")], &["7", "8"]), [Some(0), Some(1)], "renamed");
    }

    #[test]
    fn labels_count_where_lines_have_changed_places() {
        assert_eq!(lines(&[(0, "a"), (1, "b")], &["b", "a"]), [Some(1), Some(0)]);
        assert_eq!(lines(&[(0, "a"), (1, "b")], &["b", "c"]), [None, Some(0)]);
        assert_eq!(lines(&[(0, "a"), (1, "b")], &["x", "a", "b"]), [Some(1), Some(2)]);
    }

    #[test]
    fn no_line_serves_two_tracks_even_if_labels_repeat() {
        assert_eq!(lines(&[(0, "1"), (1, "1")], &["2", "1"]), [Some(0), Some(1)]);
        assert_eq!(lines(&[(0, "1"), (1, "1")], &["1"]), [Some(0), None]);
    }

    #[test]
    fn a_track_that_lost_its_line_gets_it_back_unless_another_stands_there() {
        let gone = Place { line: 0, live: false, label: Some("a") };
        let other = Place { line: 0, live: true, label: Some("b") };
        assert_eq!(matched(&[gone], &[(0, Some("c"))]), [Some(0)]);
        assert_eq!(matched(&[gone, other], &[(0, None), (1, Some("x"))]), [None, Some(0)]);
        assert_eq!(matched(&[gone, other], &[(0, Some("b")), (1, Some("a"))]), [Some(1), Some(0)]);
        let namesake = Place { line: 1, live: true, label: Some("a") };
        assert_eq!(matched(&[gone, namesake], &[(0, Some("a"))]), [None, Some(0)]);
    }

    proptest! {
        #[test]
        fn the_same_offer_again_finds_the_same_lines_and_none_is_given_twice(
            first in proptest::collection::vec(proptest::option::of("[ab1]"), 1..8),
            second in proptest::collection::vec(proptest::option::of("[ab1]"), 0..8),
        ) {


            let places: Vec<_> = first.iter().enumerate().map(|(line, label)| Place { line, live: true, label: label.as_deref() }).collect();
            let own: Vec<_> = first.iter().map(Option::as_deref).enumerate().collect();
            prop_assert_eq!(matched(&places, &own), (0..first.len()).map(Some).collect::<Vec<_>>());
            let other: Vec<_> = second.iter().map(Option::as_deref).enumerate().collect();
            let mut found: Vec<_> = matched(&places, &other).into_iter().flatten().collect();
            let count = found.len();
            found.sort_unstable();
            found.dedup();
            prop_assert_eq!(found.len(), count);
            prop_assert!(found.iter().all(|line| *line < second.len()));
        }
    }
}
