//! The failure model: what may break, what it costs, and where it is written down.
//!
//! | what happens | what may be lost | how it is shown |
//! |---|---|---|
//! | a packet is lost on the network | its 20 ms | interval with cause `loss`, silence of exactly that length |
//! | a packet is later than the horizon | its 20 ms | interval, counted `late` |
//! | a source moves to another address without a word | up to 300 ms of it at 20 ms a packet | interval, counted `wrong_source` |
//! | strangers send to a media port | nothing while the source talks | counted `wrong_source` |
//! | no RTP comes for a long time | nothing: the call goes on | a warning in the log, `rtp.silence_alarm_seconds` |
//! | ports for added tracks can't be bound | those tracks: their lines are declined, the rest goes on | log |
//! | a crash during a pause | what was paused is not there anyway; the rest as at any crash | intervals with causes `pause` and `crash` |
//! | the machine stands still | nothing while socket buffers hold (half a second and more), then packets | `kernel_drops` in the ledger: ours |
//! | kill -9, panic, out of memory | at most 1 s of audio per call, and what the shard or the disk had stood still for | interval with cause `crash` after `recover`; it is longer by the silence that may not have been written yet |
//! | power loss | the same, and what the disk had not kept | the same |
//! | disk full, I/O error | new calls get 503; running calls keep what fits into their blocks, write it when there is room again, then lose audio | interval with cause `overflow`, error in the log |
//! | the master key can't be read | nothing: `serve` does not start | error that names the file |
//! | a data key can't be wrapped, or the provider does not answer within a second | nothing: the call gets 503 | error in the log, counter |
//! | a peer sends nonsense | nothing | counted by reason, answered 400 where an answer is possible |
//! | a file is damaged later | the frames hit, no more | `verify` names file and frame; `export` gives the rest and exits with 3 |
//! | a file is cut | what is behind the cut | the missing last frame: `verify` says so |
//! | SIGTERM, SIGINT | nothing: after the drain time segments are closed and the client gets BYE | `end_cause` in the manifest |
//!
//! # Crash and recovery
//!
//! The shard writes a file front to back, one operation at a time, so a crash leaves a prefix of what was sealed and perhaps one torn block.
//! `recover` (at every start, and as a command) opens the file with its key, keeps frame after frame as long as their tags
//! are good, drops the rest, seals the final frame and then frame 0, and marks file and manifest `recovered`. Doing it twice changes nothing.
//!
//! **A nonce is never used for two contents.** Frame 0, whose content is known only at the end, is sealed last, and its content follows from what is
//! on disk alone: a recovery that seals it again produces the same bytes. A restart never appends to an old segment; it opens a new one with a
//! new salt, and so with a new key.
//!
//! # Who is to blame
//!
//! - The peer's fault is counted with a reason and life goes on.
//! - The world's fault (disk, kernel, keys) is a typed error that says what to do.
//! - Our own fault is an assertion. A shard that panics aborts the process: calls in doubt are worse than a restart with recovery.
