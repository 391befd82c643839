//! The session description of one call over its life: what was agreed, with which ports, and what a later offer changes.

use std::net::IpAddr;

use super::Refusal;
use crate::link::{Payload, TrackPlan};
use crate::media::SampleFormat;
use crate::sdp::{self, Agreement, Answerer, Description, Line, TrackTerms};

/// A track of the call: one m-line of its first offer.
pub(super) struct Track {
    /// The m-line it was first on.
    home: usize,
    /// The m-line it is on now, if it still has one.
    line: Option<usize>,
    /// Its label, as first offered.
    pub label: Option<String>,
    /// What the shard knows.
    pub plan: TrackPlan,
    /// Our RTP port, once bound.
    pub port: Option<u16>,
}

/// The terms of one call.
pub(super) struct Terms {
    offer: Description,
    agreed: Agreement,
    answerer: Answerer,
    address: IpAddr,
    /// In channel order.
    pub tracks: Vec<Track>,
    /// How often they have changed.
    pub revision: u32,
}

/// Reads an offer and what can be made of it. Fails if there is nothing to store.
pub(super) fn read(sdp: Option<&[u8]>) -> Result<(Description, Agreement), Refusal> {
    let offer = sdp::parse(sdp.ok_or(Refusal::NoOffer)?).map_err(Refusal::BadOffer)?;
    let agreed = Agreement::of(&offer);
    Ok((offer, agreed))
}

impl Terms {
    /// The first offer's. `address` is what we tell as ours, `id` goes into the answer's `o=`.
    pub fn new(offer: Description, agreed: Agreement, address: IpAddr, id: u64) -> Result<Terms, Refusal> {
        let track = |(line, terms): (usize, &TrackTerms)| Track {
            home: line,
            line: Some(line),
            label: terms.label.clone(),
            plan: terms.plan.clone(),
            port: None,
        };
        let tracks: Vec<Track> = agreed.tracks().map(track).collect();
        if tracks.is_empty() {
            return Err(Refusal::NothingToStore);
        }
        Ok(Terms { offer, agreed, answerer: Answerer::new(id), address, tracks, revision: 0 })
    }

    /// What the shard has to know, in channel order.
    pub fn plans(&self) -> Vec<TrackPlan> {
        self.tracks.iter().map(|track| track.plan.clone()).collect()
    }

    /// Per track the index of its m-line and the label it has there, for the metadata.
    pub fn lines(&self) -> Vec<(usize, Option<&str>)> {
        let of = |track| {
            let track: &Track = track;
            let now = track.line.and_then(|line| self.offer.media.get(line)).and_then(|media| media.label());
            (track.home, now.or(track.label.as_deref()))
        };
        self.tracks.iter().map(of).collect()
    }

    /// The format that suits what the client prefers: one law for all, else linear, which holds both.
    pub fn format(&self) -> SampleFormat {
        let mut preferred = self.agreed.tracks().map(|(_, terms)| terms.preferred());
        match preferred.next() {
            Some(Payload::Pcmu) if preferred.all(|p| p == Payload::Pcmu) => SampleFormat::Mulaw,
            Some(Payload::Pcma) if preferred.all(|p| p == Payload::Pcma) => SampleFormat::Alaw,
            _ => SampleFormat::Pcm16,
        }
    }

    /// The answer to the offer at hand, once ports are known. Also what we offer ourselves in answer to a request without an offer.
    pub fn answer(&mut self) -> String {
        let tracks = &self.tracks;
        let port_of =
            |line| tracks.iter().find(|track| track.line == Some(line)).and_then(|track| track.port);
        self.answerer.answer(&self.offer, &self.agreed, self.address, port_of)
    }

    /// A later offer (RFC 3264 section 8). The tracks stay what they are: one whose line has ended, or can't be stored any more,
    /// is held; a line added is declined. Returns how many lines were added in vain.
    pub fn reoffer(&mut self, sdp: &[u8]) -> Result<usize, Refusal> {
        let (offer, agreed) = read(Some(sdp))?;
        if agreed.is_hopeless() {
            return Err(Refusal::NothingToStore);
        }
        let lines = self.match_lines(&offer);
        for (track, line) in self.tracks.iter_mut().zip(lines) {
            track.line = line;
            match line.map(|line| &agreed.lines[line]) {
                Some(Line::Track(terms)) => track.plan = terms.plan.clone(),
                _ => track.plan.held = true,
            }
        }
        let added =
            agreed.tracks().filter(|(line, _)| !self.tracks.iter().any(|t| t.line == Some(*line))).count();
        (self.offer, self.agreed) = (offer, agreed);
        self.revision += 1;
        Ok(added)
    }

    /// The m-line of each track: by position (RFC 3264 section 8), unless the labels say that lines have changed places, which
    /// some clients do.
    fn match_lines(&self, offer: &Description) -> Vec<Option<usize>> {
        let labels: Vec<Option<&str>> = offer.media.iter().map(|media| media.label()).collect();
        let ours = |label: &str| self.tracks.iter().any(|t| t.label.as_deref() == Some(label));
        let one = |track: &Track| {
            // A line that was gone may be back in its old place.
            let place = track.line.unwrap_or(track.home);
            let here = labels.get(place).copied();
            let wanted = track.label.as_deref();
            match here {
                Some(label) if label == wanted || label.is_none() => Some(place),
                _ if wanted.is_some() && labels.contains(&wanted) => labels.iter().position(|l| *l == wanted),
                // A new label in the old place, and nobody else's: it is still this stream.
                Some(Some(label)) if !ours(label) => Some(place),
                _ => None,
            }
        };
        self.tracks.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[(&str, u16, &str)]) -> Vec<u8> {
        let line = |(label, port, direction): &(&str, u16, &str)| {
            format!("m=audio {port} RTP/AVP 0 8\r\na=label:{label}\r\na={direction}\r\n")
        };
        format!("v=0\r\nc=IN IP4 10.0.0.1\r\n{}", lines.iter().map(line).collect::<String>()).into_bytes()
    }

    fn terms(offer: &[u8]) -> Terms {
        let (offer, agreed) = read(Some(offer)).unwrap();
        let mut terms = Terms::new(offer, agreed, "192.0.2.1".parse().unwrap(), 1).unwrap();
        for (index, track) in terms.tracks.iter_mut().enumerate() {
            track.port = Some(10_000 + 2 * index as u16);
        }
        terms
    }

    /// Label, port and direction of each line of the answer.
    fn answered(terms: &mut Terms) -> Vec<(String, u16, &'static str)> {
        let answer = sdp::parse(terms.answer().as_bytes()).unwrap();
        let line = |m: &sdp::Media| {
            (m.label().unwrap_or("").to_owned(), m.port, m.direction().map_or("", |d| d.name()))
        };
        answer.media.iter().map(line).collect()
    }

    #[test]
    fn hold_and_resume_keep_the_ports() {
        let mut terms = terms(&lines(&[("1", 4000, "sendonly"), ("2", 4002, "sendonly")]));
        terms.reoffer(&lines(&[("1", 4000, "inactive"), ("2", 0, "sendonly")])).unwrap();
        assert_eq!(answered(&mut terms), [("1".to_owned(), 10_000, "inactive"), ("2".to_owned(), 0, "")]);
        assert!(terms.plans().iter().all(|plan| plan.held));
        terms.reoffer(&lines(&[("1", 4000, "sendonly"), ("2", 4002, "sendonly")])).unwrap();
        assert_eq!(answered(&mut terms)[1], ("2".to_owned(), 10_002, "recvonly"));
        assert!(terms.plans().iter().all(|plan| !plan.held));
    }

    #[test]
    fn lines_that_change_places_are_followed_by_their_labels() {
        let mut terms = terms(&lines(&[("a", 4000, "sendonly"), ("b", 4002, "sendonly")]));
        terms.reoffer(&lines(&[("b", 4002, "sendonly"), ("a", 4000, "inactive")])).unwrap();
        assert_eq!(
            answered(&mut terms),
            [("b".to_owned(), 10_002, "recvonly"), ("a".to_owned(), 10_000, "inactive")]
        );
        assert_eq!(terms.plans().iter().map(|p| p.held).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn a_new_label_in_the_old_place_is_the_same_stream_and_added_lines_are_declined() {
        let mut terms = terms(&lines(&[("1", 4000, "sendonly")]));
        let added = terms.reoffer(&lines(&[("7", 4000, "sendonly"), ("8", 4002, "sendonly")])).unwrap();
        assert_eq!(added, 1);
        assert_eq!(answered(&mut terms), [("7".to_owned(), 10_000, "recvonly"), ("8".to_owned(), 0, "")]);
    }

    #[test]
    fn a_line_that_is_missing_is_held_and_found_again() {
        let mut terms = terms(&lines(&[("1", 4000, "sendonly"), ("2", 4002, "sendonly")]));
        terms.reoffer(&lines(&[("1", 4000, "sendonly")])).unwrap();
        assert_eq!(terms.plans().iter().map(|p| p.held).collect::<Vec<_>>(), [false, true]);
        terms.reoffer(&lines(&[("1", 4000, "sendonly"), ("2", 4002, "sendonly")])).unwrap();
        assert_eq!(answered(&mut terms)[1].1, 10_002);
    }

    #[test]
    fn what_can_no_longer_be_stored_leaves_the_terms_as_they_were() {
        let mut terms = terms(&lines(&[("1", 4000, "sendonly")]));
        let before = terms.answer();
        assert_eq!(terms.reoffer(b"v=0\nm=audio 4000 RTP/AVP 9\n"), Err(Refusal::NothingToStore));
        assert!(matches!(terms.reoffer(b"what"), Err(Refusal::BadOffer(_))));
        assert_eq!(terms.answer(), before);
        assert_eq!(terms.format(), SampleFormat::Mulaw);
    }
}
