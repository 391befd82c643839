//! Export of a recording, or of one segment, as a plain WAV file.
//!
//! Segments of one layout are joined byte for byte; where tracks were added during the call, they are silent before. If formats differ,
//! everything becomes PCM16. Gaps between segments are silence, but for those that a pause has cut out; and so is a damaged frame, with a
//! warning that says where. Leaves out where the bytes go.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use super::disk::Disk;
use super::names::*;
use super::sealed_file::{OpenError, OpenedFile, SealedFile, read_manifest};
use crate::keys::{KeyError, KeyProvider};
use crate::limits::*;
use crate::media::{Cause, SampleFormat, alaw_to_linear, mulaw_to_linear};
use crate::recording::{Manifest, wav};
use crate::seal::{AudioParams, Kind, State};

/// What was exported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exported {
    /// Format, rate and channels of the WAV file; `start` is where it starts on the recording's timeline.
    pub audio: AudioParams,
    /// Samples per channel.
    pub samples: u64,
    /// Samples that a pause has cut out: so much longer is the recording's timeline.
    pub cut: u64,
    /// What is not as it was recorded. Empty if all is well.
    pub warnings: Vec<String>,
}

/// Why nothing, or no more, could be exported.
#[derive(Debug)]
pub enum ExportError {
    /// The data key can't be had.
    Key(KeyError),
    /// There is no audio that can be opened: why.
    NoAudio(String),
    /// Segments lie too far apart on the timeline to be believed.
    Gap(Duration),
    /// Reading failed.
    Read(io::Error),
    /// Writing failed.
    Write(io::Error),
}

impl std::fmt::Display for ExportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ExportError::Key(why) => write!(f, "{why}"),
            ExportError::NoAudio(why) => write!(f, "no audio to export: {why}"),
            ExportError::Gap(gap) => {
                write!(f, "a gap of {} hours between segments: export them one by one", gap.as_secs() / 3600)
            }
            ExportError::Read(why) => write!(f, "reading failed: {why}"),
            ExportError::Write(why) => write!(f, "writing failed: {why}"),
        }
    }
}

impl std::error::Error for ExportError {}

/// Writes the recording in the folder `path`, or of the manifest or the segment at `path`, as a WAV file to `out`. `progress` is told of samples.
pub fn export(
    disk: &dyn Disk,
    path: &Path,
    keys: &dyn KeyProvider,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> Result<Exported, ExportError> {
    let mut warnings = Vec::new();
    let (parts, origin, pauses) = plan(disk, path, keys, &mut warnings)?;
    let (Some(first), Some(end)) = (parts.first(), parts.iter().map(Part::end).max()) else {
        return Err(ExportError::NoAudio("the recording has no segment that can be opened".to_owned()));
    };
    let same = parts.iter().all(|part| part.audio.format == first.audio.format);
    let channels = parts.iter().map(|part| part.audio.channels).max().unwrap_or(1);
    let format = if same { first.audio.format } else { SampleFormat::Pcm16 };
    let audio = AudioParams { format, channels, rate: first.audio.rate, start: origin };
    check_gaps(&parts, origin)?;
    let cuts = cuts(&parts, origin, &pauses);
    let cut = cuts.iter().map(|(from, to)| to - from).sum();
    let samples = end - origin - cut;
    let mut sink = Sink { out, audio, position: origin, failure: None };
    sink.write(&wav::plain_header(&audio, samples));
    for part in &parts {
        if cuts.contains(&(sink.position, part.start)) {
            sink.position = part.start;
        }
        sink.silence_until(part.start);
        copy(part, &mut sink, &mut warnings, progress)?;
    }
    if samples * wav::block_align(&audio) % 2 == 1 {
        sink.write(&[0]);
    }
    sink.finish()?;
    Ok(Exported { audio, samples, cut, warnings })
}

/// A start taken from a block 0 that someone has changed must not make us write silence for years.
fn check_gaps(parts: &[Part<'_>], origin: u64) -> Result<(), ExportError> {
    let mut position = origin;
    for part in parts {
        let gap = part.start.saturating_sub(position) / u64::from(part.audio.rate.max(1));
        if gap > EXPORT_GAP_MAX.as_secs() {
            return Err(ExportError::Gap(Duration::from_secs(gap)));
        }
        position = position.max(part.end());
    }
    Ok(())
}

/// The gaps between segments that lie wholly in a pause, as `(from, to)`.
fn cuts(parts: &[Part<'_>], origin: u64, pauses: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut position = origin;
    let mut cuts = Vec::new();
    for part in parts {
        let gap = (position, part.start);
        let in_pause = |&(from, to): &(u64, u64)| from <= gap.0 && gap.1 <= to;
        if gap.0 < gap.1 && pauses.iter().any(in_pause) {
            cuts.push(gap);
        }
        position = position.max(part.end());
    }
    cuts
}

/// A segment and its place.
struct Part<'d> {
    file: OpenedFile<'d>,
    audio: AudioParams,
    start: u64,
    samples: u64,
}

impl Part<'_> {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.samples)
    }
}

/// The parts in order, where the export starts, and the stretches that were paused.
type Parts<'d> = (Vec<Part<'d>>, u64, Vec<(u64, u64)>);

/// Finds out what there is to export.
fn plan<'d>(
    disk: &'d dyn Disk,
    path: &Path,
    keys: &dyn KeyProvider,
    warnings: &mut Vec<String>,
) -> Result<Parts<'d>, ExportError> {
    if disk.list(path).is_ok() {
        return plan_recording(disk, path, keys, warnings);
    }
    let sealed = SealedFile::open(disk, path).map_err(|why| ExportError::NoAudio(why.to_string()))?;
    if sealed.block0.kind == Kind::Manifest {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return plan_recording(disk, folder, keys, warnings);
    }
    let part = part(sealed, keys, warnings)?;
    let origin = part.start;
    Ok((vec![part], origin, Vec::new()))
}

fn plan_recording<'d>(
    disk: &'d dyn Disk,
    folder: &Path,
    keys: &dyn KeyProvider,
    warnings: &mut Vec<String>,
) -> Result<Parts<'d>, ExportError> {
    let manifest = match read_manifest(disk, &folder.join(MANIFEST), keys) {
        Ok(manifest) => Some(manifest),
        Err(why) => {
            warnings.push(format!("the manifest can't be read ({why}): places are taken from the segments"));
            None
        }
    };
    let mut parts = Vec::new();
    let mut present = Vec::new();
    for entry in disk.list(folder).map_err(ExportError::Read)? {
        let Some(number) = segment_number(&entry.name) else { continue };
        present.push(number);
        let opened = SealedFile::open(disk, &folder.join(&entry.name));
        match opened
            .map_err(|why| ExportError::NoAudio(why.to_string()))
            .and_then(|sealed| part(sealed, keys, warnings))
        {
            Ok(mut part) => {
                believe(&mut part, manifest.as_ref(), warnings);
                parts.push(part);
            }
            // No other segment will open either.
            Err(ExportError::Key(why)) => return Err(ExportError::Key(why)),
            Err(why) => warnings.push(format!("{} is left out: {why}", entry.name)),
        }
    }
    let entries = manifest.iter().flat_map(|manifest| &manifest.segments);
    let missing = entries.filter(|entry| !present.contains(&entry.number));
    warnings.extend(missing.map(|entry| format!("segment {} is missing", entry.number)));
    parts.sort_by_key(|part| part.start);
    let intervals = manifest.iter().flat_map(|manifest| &manifest.intervals);
    let pauses = intervals.filter(|interval| interval.cause == Cause::Pause);
    Ok((parts, 0, pauses.map(|interval| (interval.start, interval.end)).collect()))
}

/// Opens a segment. What its frame 0 says of the audio is authentic, what block 0 says is not.
fn part<'d>(
    sealed: SealedFile<'d>,
    keys: &dyn KeyProvider,
    warnings: &mut Vec<String>,
) -> Result<Part<'d>, ExportError> {
    let name = sealed.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(mut audio) = sealed.block0.audio else {
        return Err(ExportError::NoAudio("block 0 tells of no audio".to_owned()));
    };
    let open = sealed.block0.state == State::Open;
    let file = sealed.unlock(keys).map_err(|why| match why {
        OpenError::Key(why) => ExportError::Key(why),
        why => ExportError::NoAudio(why.to_string()),
    })?;
    match file.frame0().map_err(ExportError::Read)? {
        Ok(header) => {
            if let Ok(info) = wav::parse(&header) {
                audio =
                    AudioParams { format: info.format, rate: info.rate, channels: info.channels, ..audio };
            }
        }
        Err(_) if open => {}
        Err(_) => warnings.push(format!("{name}: frame 0 is damaged, the format is taken from block 0")),
    }
    let mut frames = file.sealed.frames().min(file.sealed.whole_frames());
    if open {
        frames = good_until(&file, frames).map_err(ExportError::Read)?;
        warnings.push(format!("{name} is not closed (`tapehead recover`): what is good so far is exported"));
    } else if frames < file.sealed.frames() {
        warnings.push(format!("{name} is cut: {frames} of {} frames are there", file.sealed.frames()));
    }
    let there = wav::samples(&audio, frames);
    let samples = file.sealed.block0.closing.map_or(there, |closing| closing.samples.min(there));
    Ok(Part { start: audio.start, file, audio, samples })
}

/// The last good frame of a file that is not closed.
fn good_until(file: &OpenedFile<'_>, frames: u32) -> io::Result<u32> {
    let mut last = 0;
    file.each_frame(1, frames + 1, |counter, plain| {
        if plain.is_ok() {
            last = counter;
        }
        Ok(())
    })?;
    Ok(last)
}

/// The manifest's word counts for more than block 0's: it is authentic.
fn believe(part: &mut Part<'_>, manifest: Option<&Manifest>, warnings: &mut Vec<String>) {
    let number = part.file.sealed.block0.segment;
    let Some(manifest) = manifest else { return };
    let Some(entry) = manifest.segments.iter().find(|entry| entry.number == number) else {
        if manifest.state != crate::recording::manifest::RecordingState::Open {
            warnings.push(format!("the manifest does not know segment {number}"));
        }
        return;
    };
    let there = wav::samples(&part.audio, part.file.sealed.whole_frames());
    let samples = entry.samples.min(there);
    if (part.start, part.samples) != (entry.start, samples) {
        warnings.push(format!("block 0 of segment {number} differs from the manifest, which is followed"));
    }
    (part.start, part.samples) = (entry.start, samples);
}

/// Copies a part's samples, without what lies before the sink's position: that has been written.
fn copy(
    part: &Part<'_>,
    sink: &mut Sink<'_>,
    warnings: &mut Vec<String>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ExportError> {
    let align = wav::block_align(&part.audio) as usize;
    if sink.position > part.start {
        warnings.push(format!("segment {} overlaps the one before it", part.file.sealed.block0.segment));
    }
    let mut skip = (sink.position.saturating_sub(part.start)).min(part.samples) as usize * align;
    let mut left = part.samples as usize * align - skip;
    let frames = wav::frames(&part.audio, part.samples) as u32;
    let silence = [part.audio.format.silence(); FRAME_PLAIN_BYTES];
    // A sample may lie across two frames: its beginning waits here for its end.
    let mut carry = Vec::with_capacity(FRAME_PLAIN_BYTES + align);
    let mut damaged = Vec::new();
    let shown = part.file.each_frame(1, frames + 1, |counter, plain| {
        if plain.is_err() {
            damaged.push(counter);
        }
        let plain = plain.unwrap_or(&silence);
        let plain = &plain[skip.min(plain.len())..];
        skip = skip.saturating_sub(FRAME_PLAIN_BYTES);
        let plain = &plain[..left.min(plain.len())];
        left -= plain.len();
        carry.extend_from_slice(plain);
        let whole = carry.len() - carry.len() % align;
        sink.samples(&carry[..whole], &part.audio);
        carry.drain(..whole);
        progress((whole / align) as u64);
        Ok(())
    });
    shown.map_err(ExportError::Read)?;
    let number = part.file.sealed.block0.segment;
    warnings.extend(damaged.iter().map(|&frame| damage(part, number, frame)));
    Ok(())
}

fn damage(part: &Part<'_>, number: u32, frame: u32) -> String {
    let from = part.start.saturating_add(wav::samples(&part.audio, frame - 1));
    let to = part.start.saturating_add(wav::samples(&part.audio, frame)).min(part.end());
    let seconds = |samples: u64| samples as f64 / f64::from(part.audio.rate);
    format!(
        "segment {number}, frame {frame} is damaged: silence from {:.3} s to {:.3} s",
        seconds(from),
        seconds(to)
    )
}

/// The WAV file as it grows. Remembers its first failure.
struct Sink<'w> {
    out: &'w mut dyn Write,
    audio: AudioParams,
    position: u64,
    failure: Option<io::Error>,
}

impl Sink<'_> {
    fn write(&mut self, bytes: &[u8]) {
        if self.failure.is_none() {
            self.failure = self.out.write_all(bytes).err();
        }
    }

    fn finish(self) -> Result<(), ExportError> {
        self.failure.map_or(Ok(()), Err).and_then(|()| self.out.flush()).map_err(ExportError::Write)
    }

    fn silence_until(&mut self, position: u64) {
        let Some(gap) = position.checked_sub(self.position) else { return };
        let silence = [self.audio.format.silence(); FRAME_PLAIN_BYTES];
        let mut left = gap * wav::block_align(&self.audio);
        while left > 0 {
            let bytes = left.min(silence.len() as u64);
            self.write(&silence[..bytes as usize]);
            left -= bytes;
        }
        self.position = position;
    }

    /// Whole samples of all channels, as `from` stores them.
    fn samples(&mut self, bytes: &[u8], from: &AudioParams) {
        let align = wav::block_align(from) as usize;
        self.position += (bytes.len() / align) as u64;
        if (from.format, from.channels) == (self.audio.format, self.audio.channels) {
            return self.write(bytes);
        }
        let mut converted = Vec::with_capacity(bytes.len() * 2);
        for sample in bytes.chunks_exact(align) {
            if from.format == self.audio.format {
                converted.extend_from_slice(sample);
            } else {
                let channels = sample.chunks_exact(from.format.bytes());
                converted.extend(channels.flat_map(|channel| linear(from.format, channel).to_le_bytes()));
            }
            // Channels that this segment does not have are silent in it.
            let missing = usize::from(self.audio.channels.saturating_sub(from.channels));
            let silence = missing * self.audio.format.bytes();
            converted.resize(converted.len() + silence, self.audio.format.silence());
        }
        self.write(&converted);
    }
}

fn linear(format: SampleFormat, sample: &[u8]) -> i16 {
    match format {
        SampleFormat::Mulaw => mulaw_to_linear(sample[0]),
        SampleFormat::Alaw => alaw_to_linear(sample[0]),
        SampleFormat::Pcm16 => i16::from_le_bytes([sample[0], sample[1]]),
    }
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
