//! A finished recording, opened: its manifest and each track's codes. For small recordings: everything is in memory.

use std::error::Error;
use std::path::Path;

use crate::keys::KeyProvider;
use crate::limits::FRAME0_PLAIN_BYTES;
use crate::media::SampleFormat;
use crate::recording::Manifest;
use crate::store::{self, OsDisk, ReadError, SealedFile};

/// See the [module](self).
pub struct Recorded {
    /// Everything but the audio.
    pub manifest: Manifest,
    /// The codes of each track.
    pub tracks: Vec<Vec<u8>>,
    /// How they are coded.
    pub format: SampleFormat,
}

impl Recorded {
    /// Opens the recording in `folder`.
    ///
    /// # Errors
    /// What is missing, damaged, or coded with more than a byte per sample.
    pub fn open(folder: &Path, keys: &dyn KeyProvider) -> Result<Recorded, Box<dyn Error>> {
        let manifest = store::read_manifest(&OsDisk, &folder.join(store::MANIFEST), keys)?;
        let format = manifest.segments.first().ok_or("the recording has no audio")?.format;
        let mut tracks = vec![Vec::new(); manifest.tracks.len()];
        for entry in &manifest.segments {
            if entry.format != format || format.bytes() != 1 {
                return Err(format!("{} is not coded like the first segment", entry.file).into());
            }
            let interleaved = samples(&folder.join(&entry.file), entry.samples, keys)?;
            let channels = interleaved.len() / (entry.samples as usize).max(1);
            for (number, track) in tracks.iter_mut().enumerate() {
                track.extend(interleaved.iter().skip(number).step_by(channels.max(1)));
            }
        }
        Ok(Recorded { manifest, tracks, format })
    }
}

/// The samples of one segment file, as they lie.
fn samples(path: &Path, samples: u64, keys: &dyn KeyProvider) -> Result<Vec<u8>, Box<dyn Error>> {
    let sealed = SealedFile::open(&OsDisk, path)?;
    let audio = sealed.block0.audio.ok_or_else(|| format!("{} holds no audio", path.display()))?;
    let mut bytes = vec![0; samples as usize * usize::from(audio.channels)];
    let opened = sealed.unlock(keys)?;
    match opened.read(FRAME0_PLAIN_BYTES as u64, &mut bytes) {
        Ok(read) if read == bytes.len() => Ok(bytes),
        Ok(_) => Err(format!("{} is cut", path.display()).into()),
        Err(ReadError::Damaged(frame)) => Err(format!("{}: frame {frame} is damaged", path.display()).into()),
        Err(ReadError::Io(error)) => Err(error.into()),
    }
}
