//! `tapehead inspect FILE`: what a sealed file says of itself. `tapehead inspect limits`: what follows from `limits.rs`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::exit::Exit;
use super::place::KeyArg;
use crate::keys::KeyProvider;
use crate::limits::*;
use crate::store::{MANIFEST, OsDisk, SealedFile, read_manifest};

/// Arguments of `inspect`.
#[derive(clap::Args)]
pub struct Args {
    /// A sealed file, a recording's folder, or the word `limits` for the sizes that the program is built with
    what: PathBuf,
    /// Show personal data: numbers, names, addresses, metadata
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    key: KeyArg,
}

/// Prints as JSON, or for `limits` as text.
pub fn run(args: Args) -> ExitCode {
    if args.what.as_os_str() == "limits" {
        print!("{}", limits());
        return Exit::Ok.into();
    }
    let Ok(keys) = args.key.open_if_there() else { return Exit::Usage.into() };
    let file = if args.what.is_dir() { args.what.join(MANIFEST) } else { args.what.clone() };
    match inspect(&file, keys.as_ref().map(|keys| keys as &dyn KeyProvider), args.reveal) {
        Ok(value) => {
            println!("{value:#}");
            Exit::Ok.into()
        }
        Err(why) => {
            eprintln!("tapehead: {}: {why}", file.display());
            Exit::Failed.into()
        }
    }
}

/// Block 0 of the file, and the manifest of its recording if there is a key and a manifest.
fn inspect(file: &Path, keys: Option<&dyn KeyProvider>, reveal: bool) -> Result<Value, String> {
    let sealed = SealedFile::open(&OsDisk, file).map_err(|why| why.to_string())?;
    let block0 = sealed.block0.encode().map_err(|why| why.to_string())?;
    let block0: Value = serde_json::from_slice(&block0).map_err(|why| why.to_string())?;
    let manifest = keys.map(|keys| match read_manifest(&OsDisk, &file.with_file_name(MANIFEST), keys) {
        Ok(manifest) if reveal => json!(manifest),
        Ok(manifest) => json!(manifest.concealed()),
        Err(why) => json!({ "error": why.to_string() }),
    });
    Ok(json!({ "file": file.to_string_lossy(), "bytes": sealed.size, "block0": block0, "manifest": manifest }))
}

/// The sizes that follow from `limits.rs`, one per line.
fn limits() -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: u64, unit: &str, why: &str| {
        let text = format!("{name:<28}{:>14} {unit:<9}{why}", grouped(value));
        out += text.trim_end();
        out.push('\n');
    };
    let stereo = 2 * u64::from(crate::media::SAMPLE_RATE);
    let segment = u64::from(SEGMENT_FRAMES_MAX) * FRAME_PLAIN_BYTES as u64;
    line("frame", FRAME_BYTES as u64, "bytes", "one disk block, one Tink segment");
    line("frame audio", FRAME_PLAIN_BYTES as u64, "bytes", "what a frame holds without its tag");
    line("frame time", FRAME_PLAIN_BYTES as u64 * 1000 / stereo, "ms", "two tracks of G.711");
    line("overhead of a segment", AUDIO_OFFSET + TAG_BYTES as u64, "bytes", "block 0, frame 0 and the final frame");
    line("segment frames", SEGMENT_FRAMES_MAX.into(), "frames", "as many as RIFF's 32-bit sizes allow");
    line("segment time", segment / stereo / 3600, "hours", "two tracks of G.711");
    line("recording segments", SEGMENTS_MAX.into(), "segments", "");
    line("block", BLOCK_BYTES as u64, "bytes", "the unit of writing");
    line("block time", (BLOCK_FRAMES * FRAME_PLAIN_BYTES) as u64 * 1000 / stereo, "ms", "two tracks of G.711");
    line("blocks per call", POOL_BLOCKS_PER_CALL as u64, "blocks", "in the shard's pool, shared");
    line("block memory per call", (POOL_BLOCKS_PER_CALL * BLOCK_BYTES) as u64, "bytes", "touched only when used");
    line("blocks of one call", CALL_BLOCKS_MAX as u64, "blocks", "at most, on a slow disk");
    line("loss at a crash", LOSS_AT_CRASH_MAX.as_millis() as u64, "ms", "of each call, at most");
    line("silence owed", SILENCE_FRAMES.into(), "frames", "of each call, before they are written together");
    line("tracks of a recording", TRACKS_MAX as u64, "tracks", "");
    line("calls", CALLS_MAX.into(), "calls", "at once, by the ports there are");
    line("shards", SHARDS_MAX as u64, "threads", "");
    line("receive buffers", RECEIVE_BUFFERS_MAX as u64, "buffers", "of one shard, at most");
    line("receive memory", (RECEIVE_BUFFERS_MAX * RECEIVE_BUFFER_BYTES) as u64, "bytes", "of one shard, at most");
    line("longest RTP datagram", DATAGRAM_BYTES_MAX as u64, "bytes", "a longer one is counted as truncated");
line("commands queued", COMMANDS_MAX as u64, "commands", "towards a shard");
    line("events queued", EVENTS_MAX as u64, "events", "from a shard");
    out
}

/// With a comma between thousands.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let group = |(at, digit): (usize, char)| {
        let comma = at > 0 && (digits.len() - at).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of a limit shows here with everything that follows from it. To accept it: `tapehead inspect limits > src/cli/limits.txt`
    #[test]
    fn the_derived_limits_are_those_written_down() {
        assert_eq!(limits(), include_str!("limits.txt"));
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
