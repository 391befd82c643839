//! A recording: segments, WAV, manifest, recovery.
