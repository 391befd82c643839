//! The sealed format, for whoever has to open a recording without us.
//!
//! A recording is a folder of sealed files: its segments `0001.tape`, `0002.tape`, ... and `manifest.tape`. All have the same shape:
//!
//! ```text
//!   byte 0        4,096                      8,192          12,288               8,192 + 4,096 n
//!   | block 0     | frame 0                  | frame 1      | ...  | frame n     | final frame |
//!   | clear JSON  | 40 B header, 4,040 B, tag | 4,080 B, tag |      | 4,080 B, tag | tag alone   |
//!                 |<------- one Tink stream: AES256-GCM-HKDF, 4 KiB segments ---------------->|
//! ```
//!
//! # Block 0
//!
//! One JSON object, padded with spaces, ended by a newline; `head -c 4096 FILE` shows it ([`crate::seal::Block0`]):
//!
//! | member | meaning |
//! |---|---|
//! | `format`, `version` | `tapehead-sealed`, 1. A reader refuses versions it does not know |
//! | `kind` | `segment` or `manifest` |
//! | `recording`, `segment` | the recording's id; the number within it, 0 for the manifest |
//! | `state` | `open` (being written, or left by a crash), `closed`, `recovered` |
//! | `closing` | once closed: `frames` (n above) and `samples` per track (of a manifest: bytes of JSON); the rest of frame n is padding |
//! | `tenant`, `started` | whose, and the start of the recording session |
//! | `cipher` | `AES256_GCM_HKDF_4KB/SHA256` |
//! | `audio` | of a segment: `format` (`mulaw`, `alaw`, `pcm16`), `rate`, `channels`, `start` (position of its first sample on the recording's timeline) |
//! | `keys` | the data key, wrapped: a list of `{provider, key_id, wrapped, created}`, any of which will do |
//!
//! Members that change while a file lives (`state`, `closing`) lie in the first 512 bytes, the wrapped keys behind them: a torn write of the
//! former leaves the latter alone. Nothing in block 0 is secret or personal. Nothing in it is authenticated either, but for `recording` and
//! `segment`, without which no frame opens; `verify` and `export` hold the rest against what is sealed: the WAV header in frame 0, and the manifest.
//!
//! # The stream
//!
//! From byte 4,096 on a file is what [Tink](https://developers.google.com/tink) calls streaming AEAD, key type `AesGcmHkdfStreamingKey`:
//!
//! - header: length byte 40, 32 bytes of salt, 7 bytes of nonce prefix, fresh for each file;
//! - file key = HKDF-SHA256(ikm: the recording's data key, salt, info: the associated data), 32 bytes;
//! - associated data = `tapehead/1:<recording>/<segment>`, so that files can't be swapped;
//! - nonce of a frame = prefix ‖ counter (u32, big endian, frame 0 is 0) ‖ 1 for the final frame, else 0.
//!
//! A frame is one disk block and can be opened alone: to read a range, fetch only the frames it touches. `tapehead keys export` writes the keyset
//! of one recording and prints the six lines of Python that open a file with it; a test does that with the official package.
//!
//! The final frame is always empty. A file without it has been cut, and every Tink library refuses it.
//!
//! # Inside a segment: WAV
//!
//! The plaintext is a WAV file ([`crate::recording::wav`]), format 7 (µ-law), 6 (A-law) or 1 (PCM, 16 bit), tracks interleaved as channels. Its
//! header fills frame 0 with a `JUNK` chunk, so samples start exactly with frame 1. The sizes in it count whole frames; the exact length is
//! `samples`, and `export` trims to it. Channels that had nothing to say hold silence; why is in the manifest's intervals.
//!
//! # Inside the manifest: JSON
//!
//! [`crate::recording::Manifest`], padded with spaces: who, when, the metadata as it came, tracks with their packet ledgers, intervals of silence with
//! their causes, and for each segment its size and the SHA-256 of everything from byte 4,096 on (`tail -c +4097 0001.tape | sha256sum`).
//! Block 0 is left out of the hash, so that keys can be rotated by rewriting it.
//!
//! # One nonce, one content
//!
//! AES-GCM breaks if two contents are ever sealed under one key and nonce. So:
//!
//! - a restart never continues a segment: it opens the next one, with a new salt;
//! - an audio frame is sealed once and written until the disk has it, always the same bytes;
//! - the final frame is empty, whatever `n` turns out to be;
//! - frame 0 is sealed last, after everything else is durable, and is a pure function of `n` and the audio parameters. Recovery computes the same bytes,
//!   and where it can't be sure that `n` is the same, it leaves frame 0 damaged.
//!
//! # Order at close
//!
//! Frames, final frame, truncate, sync; then frame 0 and block 0, sync; then `0001.tape.part` becomes `0001.tape`, and the folder is synced. When all
//! segments are there, they are hashed, the manifest is sealed beside the old one, synced and renamed over it, and the folder is synced; then it moves
//! from `active/` to the day the recording started. Each step may be the last one before a crash; `recover` goes on from any of them.
//! Recordings that end together go through these steps together: none of them is taken further before what it needs is durable.
//!
//! # Keys
//!
//! One data key per recording, from the operating system. The provider `local` wraps it with a master key from a file:
//! base64 of nonce (12 bytes) ‖ AES-256-GCM ‖ tag, associated data `tapehead-key/1:<recording>/<tenant>`.
