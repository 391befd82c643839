//! A recording as the verifier sees it: its manifest, and of each channel the G.711 code of every sample on the recording's timeline.
//!
//! Opened by the recorder's own reader. Silence of any format becomes [`SILENT`]; linear samples go back to the code they came from.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tapehead::keys::KeyProvider;
use tapehead::limits::FRAME_PLAIN_BYTES;
use tapehead::media::{SampleFormat, alaw_to_linear, mulaw_to_linear};
use tapehead::recording::layout::ACTIVE;
use tapehead::recording::manifest::SegmentEntry;
use tapehead::recording::{Manifest, wav};
use tapehead::seal::AudioParams;
use tapehead::store::{Disk, MANIFEST, OsDisk, SealedFile, find_recordings, read_manifest, segment_number};

use crate::profile::Codec;

/// Stands for silence; no signal holds it, for it is odd.
pub const SILENT: u8 = 0xff;
/// Stands for a linear sample that no even code gives; no signal holds it either.
const FOREIGN: u8 = 0x01;
/// Longest recording that is looked at, in samples: a day. Beyond it a manifest is not believed.
const SAMPLES_MAX: u64 = 24 * 3600 * 8000;

/// A recording.
pub struct Recorded {
    /// Its manifest.
    pub manifest: Manifest,
    /// Codes by channel; each as long as the recording.
    pub channels: Vec<Vec<u8>>,
    /// What could not be read, in words.
    pub damage: Vec<String>,
}

/// Where the recordings of a run's calls lie, by Call-ID.
#[derive(Default)]
pub struct Index {
    /// The folders of each Call-ID.
    pub by_call_id: HashMap<String, Vec<PathBuf>>,
    /// Folders whose manifest can't be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Recordings of others: another run, the same seed or not, or real calls.
    pub foreign: u64,
    /// The size of all manifests found, in bytes.
    pub manifest_bytes: u64,
    /// Folders that were moved while they were looked at, or that are so new that they hold no manifest.
    pub moving: u64,
}

impl Index {
    /// Looks through all recordings below `root` for Call-IDs that are `ours`. `seen` is called for each recording.
    pub fn read(
        root: &Path,
        ours: impl Fn(&str) -> bool,
        keys: &dyn KeyProvider,
        mut seen: impl FnMut(),
    ) -> Index {
        let mut index = Index::default();
        for folder in find_recordings(&OsDisk, root) {
            seen();
            match read_manifest(&OsDisk, &folder.join(MANIFEST), keys) {
                Ok(manifest) if ours(&manifest.sip.call_id) => {
                    index.manifest_bytes +=
                        std::fs::metadata(folder.join(MANIFEST)).map_or(0, |file| file.len());
                    index.by_call_id.entry(manifest.sip.call_id).or_default().push(folder);
                }
                Ok(_) => index.foreign += 1,
                // The recorder finishes recordings meanwhile: this one lies elsewhere by now, or has just begun.
                Err(_) if !folder.join(MANIFEST).exists() && is_active(&folder) => index.moving += 1,
                Err(why) => index.unreadable.push((folder, why.to_string())),
            }
        }
        index
    }
}

/// Whether a folder lies among those of recordings that are being written.
pub fn is_active(folder: &Path) -> bool {
    folder.parent().is_some_and(|parent| parent.ends_with(ACTIVE))
}

/// Opens a recording whose tracks all have this codec.
pub fn open(folder: &Path, keys: &dyn KeyProvider, codec: Codec) -> Result<Recorded, String> {
    let manifest = read_manifest(&OsDisk, &folder.join(MANIFEST), keys).map_err(|why| why.to_string())?;
    if manifest.samples > SAMPLES_MAX {
        return Err(format!("{} samples are more than a day", manifest.samples));
    }
    let channels = manifest.tracks.len();
    let mut recorded = Recorded {
        channels: vec![vec![SILENT; manifest.samples as usize]; channels],
        damage: Vec::new(),
        manifest,
    };
    let entries = std::mem::take(&mut recorded.manifest.segments);
    for entry in &entries {
        if let Err(why) = recorded.read_segment(&folder.join(&entry.file), entry, keys, codec) {
            recorded.damage.push(format!("segment {}: {why}", entry.number));
        }
    }
    for file in OsDisk.list(folder).map_err(|why| why.to_string())? {
        let number = segment_number(&file.name);
        if number.is_some_and(|number| entries.iter().all(|entry| entry.number != number)) {
            recorded.damage.push(format!("the manifest does not know {}", file.name));
        }
    }
    recorded.manifest.segments = entries;
    Ok(recorded)
}

impl Recorded {
    fn read_segment(
        &mut self,
        path: &Path,
        entry: &SegmentEntry,
        keys: &dyn KeyProvider,
        codec: Codec,
    ) -> Result<(), String> {
        let sealed = SealedFile::open(&OsDisk, path).map_err(|why| why.to_string())?;
        let mut audio = sealed.block0.audio.ok_or("block 0 tells of no audio")?;
        let file = sealed.unlock(keys).map_err(|why| why.to_string())?;
        // What frame 0 says of the format is authentic.
        let header = file.frame0().map_err(|why| why.to_string())?.map_err(|_| "frame 0 is damaged")?;
        let info = wav::parse(&header).map_err(|why| format!("{why:?}"))?;
        (audio.format, audio.channels) = (info.format, info.channels.max(1));
        if entry.start.saturating_add(entry.samples) > self.manifest.samples {
            return Err("it reaches beyond the end of the recording".to_owned());
        }
        let frames = wav::frames(&audio, entry.samples) as u32;
        let mut bytes = Vec::with_capacity(frames as usize * FRAME_PLAIN_BYTES);
        let mut damaged = Vec::new();
        let shown = file.each_frame(1, frames + 1, |counter, plain| {
            match plain {
                Ok(plain) => bytes.extend_from_slice(plain),
                Err(_) => {
                    damaged.push(counter);
                    bytes.resize(bytes.len() + FRAME_PLAIN_BYTES, audio.format.silence());
                }
            }
            Ok(())
        });
        shown.map_err(|why| why.to_string())?;
        bytes.truncate(entry.samples as usize * wav::block_align(&audio) as usize);
        self.lay(&bytes, entry.start as usize, &audio, codec);
        match damaged.first() {
            Some(frame) => Err(format!("{} frames are damaged, the first is {frame}", damaged.len())),
            None => Ok(()),
        }
    }

    /// Lays interleaved samples on the channels from `start` on.
    fn lay(&mut self, bytes: &[u8], start: usize, audio: &AudioParams, codec: Codec) {
        let (width, all) = (audio.format.bytes(), usize::from(audio.channels));
        for (number, channel) in self.channels.iter_mut().enumerate().take(all) {
            let out = &mut channel[start..];
            let silence = audio.format.silence();
            let one = |code: u8| if code == silence { SILENT } else { code };
            match (audio.format, all) {
                (SampleFormat::Pcm16, _) => {
                    let codes = codes_of(codec);
                    let samples = bytes.chunks_exact(width * all).map(|every| &every[number * width..]);
                    let linear = samples.map(|two| u16::from_le_bytes([two[0], two[1]]));
                    out.iter_mut().zip(linear).for_each(|(out, linear)| *out = codes[usize::from(linear)]);
                }
                (_, 2) => {
                    let pairs = bytes.as_chunks::<2>().0;
                    out.iter_mut().zip(pairs).for_each(|(out, pair)| *out = one(pair[number]));
                }
                _ => {
                    let samples = bytes.chunks_exact(all).map(|every| every[number]);
                    out.iter_mut().zip(samples).for_each(|(out, code)| *out = one(code));
                }
            }
        }
    }
}

/// Linear sample, as its 16 bits, to the even code of the law that gives it.
fn codes_of(codec: Codec) -> Box<[u8]> {
    let linear: fn(u8) -> i16 = match codec {
        Codec::Pcmu => mulaw_to_linear,
        Codec::Pcma => alaw_to_linear,
    };
    let mut codes = vec![FOREIGN; 1 << 16].into_boxed_slice();
    for code in (0..=254).step_by(2) {
        codes[usize::from(linear(code) as u16)] = code;
    }
    // Zero is what linear silence is made of, and no even code of either law.
    codes[0] = SILENT;
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_even_code_survives_linear_samples() {
        for (codec, linear) in
            [(Codec::Pcmu, mulaw_to_linear as fn(u8) -> i16), (Codec::Pcma, alaw_to_linear as fn(u8) -> i16)]
        {
            let codes = codes_of(codec);
            for code in (0..=254).step_by(2) {
                assert_eq!(codes[usize::from(linear(code) as u16)], code);
            }
            assert_eq!((codes[0], codes[5]), (SILENT, FOREIGN));
        }
    }
}
