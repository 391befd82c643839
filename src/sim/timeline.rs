//! Reads a track of a recording back into what was sent: which samples of which stream lie where.
//!
//! Needs no anchors: sixteen samples in a row name their origin ([`super::message`]). What can't be explained is an error.

use std::collections::BTreeMap;

use super::message::{Heard, Origin, WORD_SAMPLES};

const WORD: usize = WORD_SAMPLES as usize;

/// A run of samples of one epoch, laid without a break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Where it begins on the timeline.
    pub position: u64,
    /// How long it is.
    pub samples: u64,
    /// The epoch of its stream.
    pub epoch: u8,
    /// The first sample's index in its stream.
    pub index: u64,
}

impl Piece {
    /// Position minus index: where sample 0 of the epoch would lie.
    pub fn offset(&self) -> i64 {
        self.position as i64 - self.index as i64
    }
}

/// Whose samples are to be found.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The call.
    pub call: u16,
    /// The track.
    pub track: u8,
}

/// Explains every sample of `heard`, which begins at position `start`.
pub fn explain(owner: Owner, start: u64, heard: &[Heard]) -> Result<Vec<Piece>, String> {
    let mut reader = Reader { owner, start, heard, pieces: Vec::new(), orphans: Vec::new() };
    let mut at = 0;
    while at < heard.len() {
        at = match heard[at] {
            Heard::Silence => at + 1,
            Heard::Audio(_) => reader.run(at)?,
            Heard::Foreign => return Err(reader.at(at, "a sample that nobody can have sent")),
        };
    }
    reader.adopt_orphans()?;
    Ok(reader.pieces)
}

struct Reader<'a> {
    owner: Owner,
    start: u64,
    heard: &'a [Heard],
    pieces: Vec<Piece>,
    /// Stretches too short to name their origin.
    orphans: Vec<(usize, usize)>,
}

impl Reader<'_> {
    /// Explains the run of audio that begins at `from`; where it ends.
    fn run(&mut self, from: usize) -> Result<usize, String> {
        let length = self.heard[from..].iter().take_while(|heard| matches!(heard, Heard::Audio(_))).count();
        let end = from + length;
        let mut at = from;
        while at < end {
            let Some((name_at, origin)) = self.name(at, end)? else {
                self.orphans.push((at, end));
                return Ok(end);
            };
            let (epoch, offset) = (origin.epoch, name_at as i64 - origin.index as i64);
            let mut begin = name_at;
            while begin > at && self.fits(begin - 1, epoch, offset) {
                begin -= 1;
            }
            if begin > at {
                self.orphans.push((at, begin));
            }
            let after = self.follow(name_at, end, epoch, offset);
            self.piece(begin, after, epoch, offset);
            at = after;
        }
        Ok(end)
    }

    /// The first word in `[at, end)` that names its origin, within one packet's reach.
    fn name(&self, at: usize, end: usize) -> Result<Option<(usize, Origin)>, String> {
        for from in at..end.saturating_sub(WORD - 1) {
            let Some(origin) = self.word(from) else { continue };
            if origin.call != self.owner.call || origin.track != self.owner.track {
                // Twelve bits may agree by chance; a stranger's word is followed by its next one.
                let next = Origin { index: origin.index + WORD_SAMPLES, ..origin };
                if from + 2 * WORD <= end && self.word(from + WORD) == Some(next) {
                    let text = format!("audio of call {} track {}", origin.call, origin.track);
                    return Err(self.at(from, &text));
                }
                continue;
            }
            return Ok(Some((from, origin)));
        }
        Ok(None)
    }

    fn word(&self, from: usize) -> Option<Origin> {
        let mut message = [0; WORD];
        for (nibble, heard) in message.iter_mut().zip(&self.heard[from..from + WORD]) {
            let Heard::Audio(bits) = *heard else { return None };
            *nibble = bits;
        }
        Origin::of(&message)
    }

    /// How far `[from, end)` goes on as the stream that begins there. Decided by whole words, because single samples agree by chance.
    fn follow(&self, from: usize, end: usize, epoch: u8, offset: i64) -> usize {
        let mut at = from;
        while at < end {
            let step = WORD.min(end - at);
            let same = (at..at + step).take_while(|&at| self.fits(at, epoch, offset)).count();
            if same < step {
                // A word cut short by another packet keeps what is beyond chance.
                return if same >= 4 { at + same } else { at };
            }
            at += step;
        }
        end
    }

    fn fits(&self, at: usize, epoch: u8, offset: i64) -> bool {
        let Ok(index) = u64::try_from(at as i64 - offset) else { return false };
        let within = index % WORD_SAMPLES;
        let Owner { call, track } = self.owner;
        let message = Origin { call, track, epoch, index: index - within }.message();
        self.heard[at] == Heard::Audio(message[within as usize])
    }

    fn piece(&mut self, from: usize, to: usize, epoch: u8, offset: i64) {
        if from < to {
            let index = (from as i64 - offset) as u64;
            let (position, samples) = (self.start + from as u64, (to - from) as u64);
            self.pieces.push(Piece { position, samples, epoch, index });
        }
    }

    /// Short stretches belong to a stream that is seen elsewhere, laid the same way.
    fn adopt_orphans(&mut self) -> Result<(), String> {
        let known: BTreeMap<(u8, i64), ()> =
            self.pieces.iter().map(|piece| ((piece.epoch, piece.offset() - self.start as i64), ())).collect();
        for (from, to) in std::mem::take(&mut self.orphans) {
            let mut at = from;
            while at < to {
                let reach = |&&(epoch, offset): &&(u8, i64)| {
                    (at..to).take_while(|&at| self.fits(at, epoch, offset)).count()
                };
                let best = known.keys().max_by_key(reach);
                let Some((&(epoch, offset), length)) =
                    best.map(|key| (key, reach(&key))).filter(|best| best.1 > 0)
                else {
                    // The first samples of a first packet, where a crash has cut: too few to tell whose they are.
                    if to == self.heard.len() && to - at < WORD {
                        break;
                    }
                    return Err(self.at(at, "samples that nobody has sent like this"));
                };
                self.piece(at, at + length, epoch, offset);
                at += length;
            }
        }
        self.pieces.sort_by_key(|piece| piece.position);
        Ok(())
    }

    fn at(&self, at: usize, what: &str) -> String {
        let Owner { call, track } = self.owner;
        format!("call {call} track {track} position {}: {what}", self.start + at as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { call: 3, track: 1 };

    fn sent(epoch: u8, index: u64, samples: u64) -> Vec<Heard> {
        let word = |index| Origin { call: 3, track: 1, epoch, index }.message();
        let from = index - index % 16;
        let all: Vec<Heard> = (from..index + samples).step_by(16).flat_map(word).map(Heard::Audio).collect();
        all[(index - from) as usize..][..samples as usize].to_vec()
    }

    #[test]
    fn pieces_are_found_with_gaps_cuts_and_changes_of_source() {
        let silence = vec![Heard::Silence; 37];
        let heard =
            [silence.clone(), sent(0, 160, 320), silence, sent(0, 640, 100), sent(1, 648, 152)].concat();
        let pieces = explain(OWNER, 1000, &heard).unwrap();
        let found: Vec<_> = pieces.iter().map(|p| (p.position, p.samples, p.epoch, p.index)).collect();
        assert_eq!(found, [(1037, 320, 0, 160), (1394, 100, 0, 640), (1494, 152, 1, 648)]);
    }

    #[test]
    fn a_strangers_audio_and_invented_samples_are_errors() {
        let stranger = explain(Owner { call: 3, track: 0 }, 0, &sent(0, 0, 160)).unwrap_err();
        assert!(stranger.contains("audio of call 3 track 1"), "{stranger}");
        let mut bent = sent(0, 0, 160);
        bent[80] = Heard::Audio(0);
        bent[81] = Heard::Audio(0);
        assert!(explain(OWNER, 0, &bent).is_err());
        assert!(explain(OWNER, 0, &[Heard::Foreign]).is_err());
    }
}
