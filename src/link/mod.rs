//! The queues between the control core and the shards: commands one way, events the other. The only things the two share.
//!
//! Both are bounded, wait-free, single producer, single consumer. A shard looks at its commands whenever it turns: once per tick, and at once when
//! a command comes while it sleeps, which its [`Sleeper`] tells. After it has queued events it rings the control core's bell once per turn.

mod write_times;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};

use crate::base::{Mono, RecordingId, SegmentNumber};
use crate::limits::{COMMANDS_MAX, EVENTS_MAX};
pub use crate::media::{Anchor, Payload};
use crate::media::{Counters, Interval, SampleFormat};
use crate::seal::{Block0, DataKey, StreamSeed};
use crate::srtp;
pub use write_times::WriteTimes;

/// A call as control and shards name it; never reused while the process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub u64);

/// One track as the session description agreed it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrackPlan {
    /// Payload types agreed, and what each carries.
    pub payloads: Vec<(u8, Payload)>,
    /// Where the session description says that its RTP comes from, if it says so. A hint: behind NAT it is wrong.
    pub rtp_from: Option<SocketAddr>,
    /// Where receiver reports go; `None` until known.
    pub rtcp_to: Option<SocketAddr>,
    /// RTP and RTCP share the port (RFC 5761).
    pub rtcp_mux: bool,
    /// The client has put the stream on hold: silence is expected.
    pub held: bool,
    /// SRTP, if it was agreed; else RTP in clear.
    pub srtp: Option<Box<srtp::Plan>>,
}

/// Everything a shard needs to write one segment.
#[derive(Debug)]
pub struct SegmentPlan {
    /// Which call.
    pub call: CallId,
    /// Number within the recording, from 1.
    pub segment: SegmentNumber,
    /// The `.part` file. On durable close it is renamed to the same name without `.part`.
    pub path: PathBuf,
    /// Block 0 as known so far: format, start and closing fields are the shard's to fill.
    pub block0: Box<Block0>,
    /// The recording's data key.
    pub key: DataKey,
    /// Salt and nonce prefix, fresh for this segment.
    pub seed: StreamSeed,
}

/// A call to record.
#[derive(Debug)]
pub struct OpenCall {
    /// Which call.
    pub call: CallId,
    /// Its recording.
    pub recording: RecordingId,
    /// The local address to receive on.
    pub bind: IpAddr,
    /// Its tracks, in channel order: 1 to [`crate::limits::TRACKS_MAX`].
    pub tracks: Vec<TrackPlan>,
    /// The format to open the first segment with, should no packet say otherwise in time.
    pub format: SampleFormat,
    /// Our SSRC in receiver reports (RFC 3550 section 6.4.2).
    pub ssrc: u32,
    /// The first segment.
    pub segment: SegmentPlan,
}

/// Control to shard.
#[derive(Debug)]
pub enum Command {
    /// Bind ports, create the file, start. Answered by [`Event::Opened`] or [`Event::Refused`].
    Open(Box<OpenCall>),
    /// The answer to [`Event::SegmentWanted`].
    Segment(Box<SegmentPlan>),
    /// The session description changed (re-INVITE): the same tracks in the same order, and perhaps more behind them. Opens the learning of
    /// sources anew. Answered by [`Event::Updated`].
    Update {
        /// Which call.
        call: CallId,
        /// The caller's number for this change; the answer carries it.
        revision: u32,
        /// All its tracks. Never fewer than before: one that was removed stays as one that is held.
        tracks: Vec<TrackPlan>,
    },
    /// From now on no audio that arrives is recorded, until [`Command::Resume`]. A second one changes how, and nothing else.
    Pause {
        /// Which call.
        call: CallId,
        /// What stands in the recording instead.
        how: PauseHow,
    },
    /// Ends a pause; without one it does nothing.
    Resume {
        /// Which call.
        call: CallId,
    },
    /// Close every segment properly. Answered by [`Event::SegmentClosed`] for each and then [`Event::Closed`].
    Close {
        /// Which call.
        call: CallId,
    },
    /// End the shard's thread once no call is left.
    Shutdown,
}

/// What a pause leaves in the recording. Either way its stretch is an interval with [`crate::media::Cause::Pause`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PauseHow {
    /// Silence, as long as the pause.
    Silence,
    /// Nothing: the segment ends at the pause and the next one begins at the resume.
    Cut,
}

/// Why a shard did not take a call, or tracks added to one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Other processes hold the port pairs that were tried.
    Ports(String),
    /// No port pair is free that has rested long enough.
    PortsRest,
    /// No call slot, socket slot or block is free.
    Full,
    /// The file could not be made or given room.
    File(String),
    /// It was closed before it was open.
    Closed,
}

/// One segment, closed.
#[derive(Clone, PartialEq, Debug)]
pub struct SegmentReport {
    /// Number within the recording.
    pub segment: SegmentNumber,
    /// Where it is now: the final name if durable, else the `.part`.
    pub path: PathBuf,
    /// How samples are stored.
    pub format: SampleFormat,
    /// Position of its first sample on the recording's timeline.
    pub start: u64,
    /// Samples per track that belong to the recording (the file holds silence up to the end of its last frame).
    pub samples: u64,
    /// Frames of audio.
    pub frames: u32,
    /// Whether everything is sealed, written, synced and renamed; if not, why.
    pub durable: Result<(), String>,
}

/// One track at the end of its call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrackReport {
    /// The ledger.
    pub counters: Counters,
    /// Position of the first audio sample placed.
    pub first: Option<u64>,
    /// Every anchor: which source's timestamp was laid on which position. Bounded; the first ones are kept.
    pub anchors: Vec<Anchor>,
}

/// Shard to control.
#[derive(Debug)]
pub enum Event {
    /// Ports are bound and the file is there: the call may be answered.
    Opened {
        /// Which call.
        call: CallId,
        /// The RTP port of each track, in order.
        ports: Vec<u16>,
        /// The zero of the recording's timeline.
        started: Mono,
    },
    /// The call can't be recorded; nothing of it is left.
    Refused {
        /// Which call.
        call: CallId,
        /// Why.
        reason: Refusal,
    },
    /// The answer to [`Command::Update`]: the RTP port of each track, in order, once new ones are bound; or why there are no more tracks than
    /// before, and then nothing of the update is in force.
    Updated {
        /// Which call.
        call: CallId,
        /// The number that the update had.
        revision: u32,
        /// The ports.
        result: Result<Vec<u16>, Refusal>,
    },
    /// RTP has begun to flow on any of its tracks, or has stopped on all of them for longer than [`crate::limits::MEDIA_GAP_MAX`].
    Media {
        /// Which call.
        call: CallId,
        /// Whether packets come.
        flowing: bool,
    },
    /// No RTP has come on any of its tracks, none of them held, for as long as the operator has set. Once per stretch; ends no call.
    Silence {
        /// Which call.
        call: CallId,
        /// When the last packet came, or the call was opened.
        since: Mono,
    },
    /// A silent stretch has been settled.
    Interval {
        /// Which call.
        call: CallId,
        /// The stretch.
        interval: Interval,
    },
    /// The call needs its next segment: codec change or size.
    SegmentWanted {
        /// Which call.
        call: CallId,
    },
    /// A segment is closed.
    SegmentClosed {
        /// Which call.
        call: CallId,
        /// How.
        report: Box<SegmentReport>,
    },
    /// All segments are closed, ports are free.
    Closed {
        /// Which call.
        call: CallId,
        /// Its tracks.
        tracks: Vec<TrackReport>,
        /// Its length in samples.
        samples: u64,
    },
    /// The shard's counters so far, once per [`crate::limits::STATS_INTERVAL`] while they change.
    Stats(Box<ShardStats>),
    /// The shard has ended.
    Stopped,
}

/// What a shard counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ShardStats {
    /// Calls live.
    pub calls: u32,
    /// The sum of all tracks' ledgers, ended calls included.
    pub packets: Counters,
    /// Datagrams on a socket that belongs to no call (any more).
    pub stray: u64,
    /// First fragments of packets to open ports, which the packet tier does not put together.
    pub fragments: u64,
    /// Datagrams whose UDP checksum was wrong, where the kernel leaves checking it to us.
    pub bad_checksums: u64,
    /// Packets to open ports whose headers contradict themselves, where the kernel leaves reading them to us.
    pub malformed_frames: u64,
    /// Receives ended for want of buffers.
    pub no_buffers: u64,
    /// Completion queue overflows.
    pub cq_overflows: u64,
    /// Receives re-armed for other reasons.
    pub rearmed: u64,
    /// Receiver reports that could not be sent.
    pub send_failed: u64,
    /// Bytes written.
    pub written: u64,
    /// Writes that failed and were tried again.
    pub write_errors: u64,
    /// How long writes took.
    pub write_times: WriteTimes,
    /// Blocks free in the pool, of how many.
    pub blocks_free: u32,
    /// Blocks in the pool.
    pub blocks: u32,
    /// Processor time that its thread has used, in microseconds.
    pub cpu_us: u64,
    /// Processor time that its thread has used since the last report, in millionths of a core.
    pub busy_ppm: u32,
    /// Longest time between two ticks, in microseconds, since the last report.
    pub tick_us_max: u64,
}

/// Rings when events are waiting. The control core sets what it does: with tokio, `Notify::notify_one`.
pub type Bell = Arc<dyn Fn() + Send + Sync>;

/// Whether the shard sleeps, and what wakes it. Most commands find it awake, or woken already by the one before, and cost no system call.
#[derive(Default)]
pub struct Sleeper {
    asleep: AtomicBool,
    waker: OnceLock<Bell>,
}

impl Sleeper {
    /// The shard says how it is woken, once.
    pub fn set_waker(&self, waker: Bell) {
        let _ = self.waker.set(waker);
    }

    /// The shard is about to sleep. It has to look at its commands once more after this.
    pub fn doze(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        // Either we see the command that came meanwhile, or who queued it sees that we sleep.
        fence(Ordering::SeqCst);
    }

    /// The shard is awake.
    pub fn rise(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Wakes the shard if it sleeps and nobody has done so yet.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed)
            && self.asleep.swap(false, Ordering::Relaxed)
            && let Some(waker) = self.waker.get()
        {
            waker();
        }
    }
}

/// The control core's end of a link.
pub struct ControlEnd {
    /// Commands go in here. `Err` when full: the caller answers 503.
    pub commands: rtrb::Producer<Command>,
    /// To be woken after commands were queued.
    pub sleeper: Arc<Sleeper>,
    /// Events come out here.
    pub events: rtrb::Consumer<Event>,
}

/// The shard's end of a link.
pub struct ShardEnd {
    /// Commands come out here.
    pub commands: rtrb::Consumer<Command>,
    /// Events go in here. When full the shard keeps what it has to say, bounded per call.
    pub events: rtrb::Producer<Event>,
    /// To be rung after events were queued.
    pub bell: Bell,
    /// Where the shard says that it sleeps.
    pub sleeper: Arc<Sleeper>,
}

/// A link between the control core and one shard.
pub fn link(bell: Bell) -> (ControlEnd, ShardEnd) {
    let (command_in, command_out) = rtrb::RingBuffer::new(COMMANDS_MAX);
    let (event_in, event_out) = rtrb::RingBuffer::new(EVENTS_MAX);
    let sleeper = Arc::new(Sleeper::default());
    (
        ControlEnd { commands: command_in, events: event_out, sleeper: Arc::clone(&sleeper) },
        ShardEnd { commands: command_out, events: event_in, bell, sleeper },
    )
}
