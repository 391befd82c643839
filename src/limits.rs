//! Every capacity and every bound of the product, in one place, with the arithmetic between them
//! checked at compile time. `tapehead inspect limits` prints what follows from them.
//!
//! Leaves out what an operator sets: that is [`crate::config`], whose defaults are bounded by these.

use std::time::Duration;

// ---------------------------------------------------------------- the sealed format

/// One sealed frame on disk: a Tink streaming segment, one disk block.
pub const FRAME_BYTES: usize = 4096;
/// GCM tag at the end of each frame.
pub const TAG_BYTES: usize = 16;
/// Plaintext of a frame: 4,080 bytes, 255 ms of two-track G.711.
pub const FRAME_PLAIN_BYTES: usize = FRAME_BYTES - TAG_BYTES;
/// Tink streaming header in front of frame 0: length byte, 32 bytes of salt, 7 of nonce prefix.
pub const STREAM_HEADER_BYTES: usize = 40;
/// Plaintext of frame 0, which shares its disk block with the stream header.
pub const FRAME0_PLAIN_BYTES: usize = FRAME_PLAIN_BYTES - STREAM_HEADER_BYTES;
/// Block 0, the clear JSON in front of the stream.
pub const BLOCK0_BYTES: usize = 4096;
/// Where the first frame that holds audio starts in a segment file: after block 0 and frame 0.
pub const AUDIO_OFFSET: u64 = (BLOCK0_BYTES + FRAME_BYTES) as u64;
/// A segment's frame counter is a u32 (Tink) and WAV sizes are a u32 (RIFF): the smaller bound rules.
pub const SEGMENT_FRAMES_MAX: u32 = (u32::MAX as u64 / FRAME_PLAIN_BYTES as u64) as u32 - 2;

/// A master key file is three short lines; a longer one is something else.
pub const MASTER_KEY_FILE_BYTES_MAX: usize = 1024;
/// Longest manifest that is read: the metadata escaped six times over, the intervals, the segments, and room.
pub const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A password file is one line.
pub const SECRET_FILE_BYTES_MAX: usize = 1024;
/// Folders are searched for recordings so deep: the day's three, the recording's, and room for a tenant's and a site's above.
pub const FOLDER_DEPTH_MAX: usize = 8;
/// A gap between two segments longer than this is not written out as silence: a week.
pub const EXPORT_GAP_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

// ---------------------------------------------------------------- blocks and writing

/// Frames per block: the unit of the shard's block pool.
pub const BLOCK_FRAMES: usize = 2;
/// A block of the pool, 8 KiB: half a second of two-track G.711, which is as much as a crash may cost beside the horizon. Larger ones would be written
/// in parts all the same, and hold more memory.
pub const BLOCK_BYTES: usize = BLOCK_FRAMES * FRAME_BYTES;
/// Blocks a call may hold at once: one in flight, two being filled, and room to ride out a slow disk.
pub const CALL_BLOCKS_MAX: usize = 1 + 2 + 13;
/// Blocks the pool holds for each call that may be live: one being filled while the one before is sealed and written, which is all that a two-track
/// call needs while the disk keeps up, and one for when it does not.
pub const POOL_BLOCKS_PER_CALL: usize = 3;
/// Calls per further block of the pool, for those on a slow disk and for the heads and tails of files.
pub const POOL_CALLS_PER_SPARE_BLOCK: usize = 8;
/// Frames of pure silence that a call owes its file before they are sealed and written together, in one write of 128 KiB: 8 s of two-track G.711.
/// Fewer cost more writes, more a longer stretch that a crash leaves unsaid. Audio is written as soon as ever.
pub const SILENCE_FRAMES: u32 = 32;
/// A shard has a large block, which silence is sealed in, for so many calls ...
pub const CALLS_PER_SILENCE_BLOCK: usize = 128;
/// ... and no more than these: one is free again after a tick, and 2,000 silent calls need 5 at a time.
pub const SILENCE_BLOCKS_MAX: usize = 16;
/// What a crash may cost a call. The flush rule keeps the oldest unwritten sample that was received younger than this, while the shard gets its
/// core and the disk answers: what either stands still for comes on top.
pub const LOSS_AT_CRASH_MAX: Duration = Duration::from_millis(1000);
/// Kept free of the above for the write itself and a late tick.
pub const LOSS_AT_CRASH_MARGIN: Duration = Duration::from_millis(150);
/// A new file is given this much room, some seconds, so that a short call does not pay for a long one's.
pub const ALLOCATE_FIRST_BYTES: u64 = 64 << 10;
/// Each time it is full its room doubles, by this much at most. What is left over is trimmed at close.
pub const ALLOCATE_STEP_BYTES: u64 = 1 << 20;
/// A failed write is tried again after this long, for as long as the call lives.
pub const WRITE_RETRY: Duration = Duration::from_millis(500);
/// At close a failing disk is given this long; then the segment is left for `recover`.
pub const CLOSE_RETRY_MAX: Duration = Duration::from_secs(10);

// ---------------------------------------------------------------- time

/// How often a shard wakes. 5 ms costs about twice at low load, 50 ms gains nothing (measured).
pub const TICK: Duration = Duration::from_millis(20);
/// A live call in which more is under way than audio that waits to be sealed is looked at every so many ticks: a look costs some cache misses.
pub const LIVE_CALL_TICKS: u32 = 3;
/// Samples of a packet as most clients send it, 20 ms.
pub const PACKET_SAMPLES_USUAL: usize = 160;
/// How often it wakes while it opens calls: that takes some rounds of the ring, and the client waits for its 200. All that are being opened share them.
pub const OPENING_TICK: Duration = Duration::from_micros(250);
/// Longest horizon an operator may configure: a window of blocks must hold it.
pub const HORIZON_MAX: Duration = Duration::from_millis(500);
/// A packet further ahead of its arrival than this has jumped: it is placed by arrival instead.
pub const AHEAD_MAX: Duration = Duration::from_millis(400);
/// A track listens to one address at a time; another may take over once it has been silent for this long ...
pub const SOURCE_HOLD: Duration = Duration::from_millis(200);
/// ... and the other has sent so many packets without it being heard. So many from one address also make it the one.
pub const SOURCE_LOCK_PACKETS: u32 = 5;
/// While it is still learned who talks, whoever has been silent for this long gives way to one who sends more.
pub const SOURCE_LEARN: Duration = Duration::from_millis(100);
/// An address that has been silent for this long is forgotten: whoever speaks first is heard.
pub const SOURCE_GONE: Duration = Duration::from_secs(2);
/// A call whose RTP has stopped for longer than this is told to the control core as one without media.
pub const MEDIA_GAP_MAX: Duration = Duration::from_secs(5);
/// A source whose smallest delay has moved by this much is put right at its next natural gap.
pub const DRIFT_CORRECT: Duration = Duration::from_millis(40);
/// ... and at once when it has moved by this much.
pub const DRIFT_FORCE: Duration = Duration::from_millis(120);
/// Receiver reports are sent this often per track (RFC 3550 section 6.2: the recommended minimum is 5 s).
pub const RTCP_INTERVAL: Duration = Duration::from_secs(5);
/// A segment's format waits this long for a packet to tell the codec; then the offer's first codec is assumed.
pub const FORMAT_WAIT: Duration = Duration::from_millis(1000);
/// A freed port pair rests this long, so that the last call's late packets do not meet the next call.
pub const PORT_REST: Duration = Duration::from_secs(2);
/// The shard reports its counters this often.
pub const STATS_INTERVAL: Duration = Duration::from_secs(1);

// ---------------------------------------------------------------- calls

/// Shard threads.
pub const SHARDS_MAX: usize = 256;
/// Calls of the whole recorder: each has a port pair at least.
pub const CALLS_MAX: u32 = 32_256;
/// File slots per call: the segment being written and two that are being closed.
pub const FILES_PER_CALL: u32 = 3;
/// Port pairs that a call tries when others hold them.
pub const PORT_TRIES_MAX: u32 = 64;
/// Tracks of one recording: the SDP m-lines we accept as audio; further ones are answered with port 0.
pub const TRACKS_MAX: usize = 8;
/// Former labels of a track that its map of speakers goes by; beyond it the middle is forgotten, which is counted.
pub const TRACK_LABELS_MAX: usize = 64;
/// Streams that are offered to a client that leaves the offer to us and says nothing of its streams: the two sides of a call.
pub const LATE_OFFER_STREAMS: usize = 2;
/// Sources (SSRCs) followed at once per track; the one silent longest makes room.
pub const SOURCES_MAX: usize = 4;
/// Payload types of one m-line that are looked at.
pub const PAYLOAD_TYPES_MAX: usize = 32;
/// Intervals a track holds in the shard until the control core has taken them; then neighbours are merged.
pub const INTERVALS_PENDING_MAX: usize = 32;
/// Pauses of a call that unsealed audio may still meet; beyond it neighbours are merged.
pub const PAUSES_OPEN_MAX: usize = 8;
/// From the INVITE on, the key provider and the shard have this long together; then the call is answered 503.
pub const OPEN_WAIT_MAX: Duration = Duration::from_secs(2);
/// ... and the key provider alone this long.
pub const KEY_WAIT_MAX: Duration = Duration::from_secs(1);
/// Threads that ask a key provider which may take its time: so many questions at once.
pub const KEY_THREADS: usize = 8;
/// Questions that wait for one of them; a call beyond it is answered 503.
pub const KEY_QUESTIONS_MAX: usize = 1024;
/// What a 503 asks the client to wait.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);
/// A call's manifest is first written when it has lasted this long: what its client says at its very start goes with it, and a crash
/// before that leaves a recording whose participants are unknown.
pub const CHECKPOINT_FIRST: Duration = Duration::from_millis(200);
/// Once a call is being closed, a manifest that is due waits this long for the last one to make it needless.
pub const CHECKPOINT_CLOSING: Duration = Duration::from_secs(1);
/// While its intervals or its metadata change, a call's manifest is written this often at most.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);
/// Recordings that may wait to be finalised before new calls are answered 503.
pub const FINALISE_BACKLOG_MAX: usize = 10_000;
/// Manifests that a thread of the pool writes together,
pub const POOL_BATCH: usize = 256;
/// ... bytes of them, about,
pub const POOL_BATCH_BYTES: usize = 8 << 20;
/// ... and how long it waits for more of them: nobody is in a hurry, and so it is woken for many at once.
pub const POOL_GATHER: Duration = Duration::from_millis(10);
/// Threads of the background pool. While one waits for the disk, another reads and seals.
pub const POOL_THREADS: usize = 4;
/// Files or folders that each of them syncs at once. 64 files took 30 ms so, and 250 ms one after the other (ext4).
pub const SYNCS_AT_ONCE: usize = 16;
/// A disk that has synced one in less time is in memory, or as good as: then threads cost more than they gain.
pub const SYNC_QUICK: Duration = Duration::from_micros(200);
/// How often disk and pool are looked at.
pub const WORLD_INTERVAL: Duration = Duration::from_secs(1);
/// At shutdown our BYEs may be answered for this long.
pub const BYE_WAIT_MAX: Duration = Duration::from_secs(2);
/// Whose recordings they are, where there is only one tenant.
pub const TENANT: &str = "default";
/// Header fields of the INVITE that a manifest keeps, besides those it has a member for.
pub const KEPT_HEADERS_MAX: usize = 64;
/// Bytes of them.
pub const KEPT_HEADER_BYTES_MAX: usize = 16 * 1024;
/// Remarks in a manifest; further ones are only logged.
pub const NOTES_MAX: usize = 64;
/// Pauses of a recording in its manifest; of further ones only the newest.
pub const PAUSES_MAX: usize = 1000;
/// Intervals of a recording in its manifest; beyond it neighbours are merged and the manifest says so.
pub const INTERVALS_MAX: usize = 20_000;
/// Segments of one recording.
pub const SEGMENTS_MAX: u32 = 10_000;

/// A shard that has been too busy takes calls again once it is this far below the bound, in millionths of a core.
pub const BUSY_HYSTERESIS_PPM: u32 = 50_000;
/// Shards whose use of their core differs by less than this count as equally busy.
pub const BUSY_STEP_PPM: u32 = 50_000;
/// A call is taken to cost this much of a core at least, in millionths: figures of a few calls are mostly noise.
pub const CALL_BUSY_PPM_MIN: u32 = 20;
/// Failures in a row after which a key provider is left alone,
pub const KEY_FAILURES_MAX: u32 = 3;
/// ... for this long.
pub const KEY_PAUSE: Duration = Duration::from_secs(2);

// ---------------------------------------------------------------- receiving past UDP

/// A block of a packet ring: the kernel hands over whole ones, so a small one is handed over sooner and a large one cheaper.
pub const PACKET_BLOCK_BYTES: usize = 256 * 1024;
/// Fewest and most blocks of a shard's packet ring on an interface: 32 MiB and 512 MiB.
pub const PACKET_BLOCKS: u32 = 128;
/// See [`PACKET_BLOCKS`].
pub const PACKET_BLOCKS_MAX: u32 = 2048;
/// A packet of 20 ms of G.711 in a packet ring: the kernel puts 96 bytes in front of it, RTP, UDP and IPv6 are 60.
pub const PACKET_FRAME_BYTES: usize = (96 + 60 + 160usize).next_multiple_of(16);
/// The machine may stand still for this long before a packet ring is full.
pub const PACKET_STALL: Duration = Duration::from_millis(500);
const _: () = assert!(
    PACKET_BLOCKS as u128 / 2 * PACKET_BLOCK_AGE_MAX.as_millis() >= PACKET_STALL.as_millis(),
    "at low load each block is handed over nearly empty"
);
/// A block of the ring that takes what this machine sends to its own media address: there are half as many, 4 MiB in all.
pub const PACKET_LOCAL_BLOCK_BYTES: usize = 64 * 1024;
/// A block that is not full is handed over after this long.
pub const PACKET_BLOCK_AGE_MAX: Duration = Duration::from_millis(10);
/// Extension headers of IPv6 that may stand in front of UDP.
pub const IPV6_EXTENSIONS_MAX: usize = 4;
/// So much of a frame is captured, from its network header on: the longest headers, and a byte more than is handed out.
pub const PACKET_CAPTURE_BYTES: usize = 60 + IPV6_EXTENSIONS_MAX * 64 + 8 + DATAGRAM_BYTES_MAX + 1;

// ---------------------------------------------------------------- administration

/// Longest request on the control socket.
pub const ADMIN_LINE_BYTES_MAX: usize = 4096;
/// Entries of one answer to a request for a list: so many take well under a millisecond.
pub const ADMIN_PAGE: usize = 200;
/// Clients of the control socket at once.
pub const ADMIN_CLIENTS_MAX: usize = 8;
/// A client that asks nothing for this long is let go.
pub const ADMIN_IDLE_MAX: Duration = Duration::from_secs(60);

// ---------------------------------------------------------------- receiving

/// One receive buffer: the kernel's message header, an IPv6 name, a time stamp and 60 ms of G.711.
pub const RECEIVE_BUFFER_BYTES: usize = 640;
/// Longest RTP or RTCP payload that fits; a longer datagram is counted as truncated.
pub const DATAGRAM_BYTES_MAX: usize = RECEIVE_BUFFER_BYTES - 16 - 28 - 64;
/// Longest master key identifier of SRTP; RFC 3711 allows 128, in use are 1 and 4.
pub const SRTP_MKI_BYTES_MAX: usize = 16;
/// What SRTP puts around a packet at most: tag and identifier.
pub const SRTP_OVERHEAD_BYTES_MAX: usize = 16 + SRTP_MKI_BYTES_MAX;
/// Master keys of one crypto line.
pub const SRTP_MASTERS_MAX: usize = 4;
/// After a change of keys packets under the old ones are taken for this long.
pub const SRTP_OLD_KEY_HOLD: Duration = Duration::from_secs(5);
/// After a new description with the same keys a sender may begin anew at rollover counter 0 for this long.
pub const SRTP_RESTART_HOLD: Duration = Duration::from_secs(10);
/// An SRTP source silent for this long may make room for another.
pub const SRTP_SOURCE_IDLE: Duration = Duration::from_secs(1);
/// So many packets that the estimate of the rollover counter fails (2^15) can't get lost in less, at 500 packets per second.
pub const SRTP_ROLLOVER_UNHEARD: Duration = Duration::from_secs(60);
/// Receive buffers that the kernel has while there is no backlog, at first: few, so that they stay in the cache. When it runs out it gets twice as many.
pub const RECEIVE_STOCK_MIN: u16 = 512;
/// Most receive buffers of a shard: the kernel's limit of one provided-buffer ring.
pub const RECEIVE_BUFFERS_MAX: usize = 32_768;
/// Room for datagrams in the socket that a shard shares among its ports; the kernel counts twice that, and about 768 bytes for each of G.711:
/// 87,000, or 0.4 s at 200,000 packets per second. The usual room of a socket lost 93 % of 10,000 that came at once (measured).
pub const STEERED_SOCKET_BYTES: u32 = 32 << 20;

// ---------------------------------------------------------------- link

/// Commands queued towards a shard.
pub const COMMANDS_MAX: usize = 4096;
/// Events queued from a shard; what does not fit waits in the shard, bounded per call.
pub const EVENTS_MAX: usize = 16_384;

// ---------------------------------------------------------------- signalling

/// Peers in the configuration.
pub const PEERS_MAX: usize = 4096;
/// Networks of one peer, and of the list of those who may talk at all.
pub const NETWORKS_MAX: usize = 1024;
/// Requests or calls per second that may be asked for as a limit: more than any machine takes.
pub const RATE_MAX: u64 = 1_000_000;

/// Longest SIP message on UDP: what IP can carry (RFC 3261 section 18.1.1).
pub const SIP_DATAGRAM_BYTES_MAX: usize = 65_535;
/// A response over UDP that would be longer leaves out what the client can do without, lest it comes in fragments, of which one may be lost
/// (RFC 3261 section 18.1.1).
pub const SIP_ANSWER_BYTES: usize = 1299;
/// Longest header block of a SIP message.
pub const SIP_HEADER_BYTES_MAX: usize = 64 * 1024;
/// Longest body of a SIP message on a stream, unless an operator decides otherwise.
pub const SIP_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Header lines of one SIP message.
pub const SIP_HEADERS_MAX: usize = 512;
/// Parts of one multipart body.
pub const MULTIPART_PARTS_MAX: usize = 32;
/// Bytes of the headers of one part; further ones are passed over.
pub const MULTIPART_HEAD_BYTES_MAX: usize = 8 * 1024;
/// TCP and TLS connections of SIP peers held at once. The one idle longest makes room, first of all one that never carried a message.
pub const SIP_CONNECTIONS_MAX: usize = 4096;
/// Messages queued towards one TCP peer; one that does not read them loses its connection. A trunk's whole burst of calls is answered in
/// one turn of the control core.
pub const SIP_WRITES_MAX: usize = 1024;
/// After so many messages the control core lets the sockets' own tasks run.
pub const SIP_TURNS_PER_YIELD: u32 = 16;
/// Messages that wait for the control core; beyond it sockets are not read.
pub const SIP_INBOUND_MAX: usize = 1024;
/// Of a message on its way in, each connection has this much to itself, beside what it reads at once: ordinary messages always pass.
pub const SIP_STREAM_FREE_BYTES: usize = 16 * 1024;
/// What all connections together may hold beyond it: messages that are not complete, not yet looked at, or not yet taken by their peer.
/// A connection that would need more is closed.
pub const SIP_STREAM_BYTES_MAX: usize = 256 << 20;
/// TLS handshakes under way at once; the oldest makes room.
pub const TLS_HANDSHAKES_MAX: usize = 256;
/// A TLS handshake has to be done after this long.
pub const TLS_HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// How often certificates and keys are looked at for changes.
pub const TLS_LOOK_INTERVAL: Duration = Duration::from_secs(3);
/// A STUN server is asked so many times before it counts as silent ...
pub const STUN_TRIES: u32 = 3;
/// ... the first time with this long to answer, then twice as long each (RFC 8489 section 6.2.1).
pub const STUN_FIRST_WAIT: Duration = Duration::from_millis(500);
/// A message begun on a stream has to be complete after this long.
pub const SIP_STREAM_MESSAGE_MAX: Duration = Duration::from_secs(32);
/// Transactions alive at once; a request beyond it is answered 503 without state. Over UDP a call leaves two for 32 s each: enough for
/// 3,000 calls per second.
pub const TRANSACTIONS_MAX: usize = 200_000;
/// Dialogs alive at once; an INVITE beyond it is answered 503.
pub const DIALOGS_MAX: usize = 200_000;
/// Transactions of one address; so one peer alone can't take what all need.
pub const PEER_TRANSACTIONS_MAX: usize = TRANSACTIONS_MAX / 3 * 2;
/// Dialogs of one address.
pub const PEER_DIALOGS_MAX: usize = DIALOGS_MAX / 2;
/// How long a client may use a nonce of ours (RFC 7616 section 3.3).
pub const DIGEST_NONCE_LIFE: Duration = Duration::from_secs(300);
/// Nonces in use whose counts are remembered; beyond it the oldest is stale before its time.
pub const DIGEST_NONCES_MAX: usize = 65_536;
/// m-lines of one SDP body.
pub const SDP_MEDIA_MAX: usize = 64;
/// Lines of one SDP body.
pub const SDP_LINES_MAX: usize = 4096;
/// Formats of one m-line: RTP has so many payload types (RFC 3550 section 5.1).
pub const SDP_FORMATS_MAX: usize = 128;
/// Attributes of one m-line, and of the session. Browsers send some hundred.
pub const SDP_ATTRIBUTES_MAX: usize = 1024;
/// Bytes of one metadata document that are modelled; the raw bytes are kept in full. A conference of 100 takes 60 KB, and reading so much keeps
/// signalling for some milliseconds (60 to 140 ns for each byte).
pub const METADATA_DOCUMENT_BYTES_MAX: usize = 80 * 1024;
/// Nesting of metadata XML.
pub const XML_DEPTH_MAX: usize = 64;
/// Elements of one metadata document that are modelled; the raw bytes are kept in full.
pub const XML_ELEMENTS_MAX: usize = 10_000;
/// Attributes of one element that are modelled.
pub const XML_ATTRIBUTES_MAX: usize = 64;
/// Longest text or attribute value that is modelled: ids of 200 and more characters are seen in the field.
pub const XML_VALUE_BYTES_MAX: usize = 4096;
/// Namespace declarations in scope at once.
pub const XML_NAMESPACES_MAX: usize = 64;
/// Groups, sessions, participants, streams and associations of one metadata document that are modelled. A conference of 100 has 500.
pub const METADATA_ENTRIES_MAX: usize = 1500;
/// The same of a recording, all revisions together.
pub const METADATA_RECORDS_MAX: usize = 2 * METADATA_ENTRIES_MAX;
/// Changes of the metadata that a recording's history tells; further ones are only in the raw revisions.
pub const METADATA_EVENTS_MAX: usize = 4096;
/// Bytes of ids, addresses, names and times in a recording's history; beyond it nothing new is taken in.
pub const METADATA_TEXT_BYTES_MAX: usize = 512 * 1024;
/// Elements of extension data that a recording lists; further ones are only in the raw revisions.
pub const EXTENSIONS_MAX: usize = 512;
/// Bytes of them.
pub const EXTENSION_BYTES_MAX: usize = 128 * 1024;
/// Identifiers by which a recording's calls may be found elsewhere.
pub const CORRELATIONS_MAX: usize = 128;
/// Requests within the dialog whose header fields a manifest keeps; of further ones only the last.
pub const KEPT_MESSAGES_MAX: usize = 64;
/// Bytes of their header fields, all together.
pub const KEPT_MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// Metadata revisions kept per recording, raw; of further ones only the last is.
pub const METADATA_REVISIONS_MAX: usize = 256;
/// Bytes of raw metadata that all live calls hold together: 8 KB for each of [`CALLS_MAX`]. A manifest that is being written has a copy of its own.
pub const METADATA_TOTAL_BYTES_MAX: usize = 256 << 20;
/// Bytes of raw metadata kept per recording.
pub const METADATA_BYTES_MAX: usize = 4 * 1024 * 1024;

const _: () = {
    assert!(LIVE_CALL_TICKS as u128 * TICK.as_millis() * 2 <= LOSS_AT_CRASH_MARGIN.as_millis());
    assert!(PEER_TRANSACTIONS_MAX > 2000 * 32 * 2, "one client alone may bring all calls");
    assert!(KEY_WAIT_MAX.as_millis() < OPEN_WAIT_MAX.as_millis(), "the shard needs some time, too");
    assert!(KEY_WAIT_MAX.as_millis() < KEY_PAUSE.as_millis(), "one call asks a failing provider at a time");
    assert!(FRAME0_PLAIN_BYTES == 4040);
    assert!(FRAME_PLAIN_BYTES == 4080);
    assert!(
        MANIFEST_BYTES_MAX as usize
            > 6 * (METADATA_BYTES_MAX + METADATA_TEXT_BYTES_MAX)
                + 512 * (METADATA_EVENTS_MAX + METADATA_RECORDS_MAX)
                + 150 * INTERVALS_MAX
                + 300 * SEGMENTS_MAX as usize
                + (16 << 20)
    );
    assert!(BLOCK0_BYTES == FRAME_BYTES, "block 0 and a frame are both one disk block");
    assert!(
        FRAME0_PLAIN_BYTES as u64 + SEGMENT_FRAMES_MAX as u64 * FRAME_PLAIN_BYTES as u64 <= u32::MAX as u64
    );
    assert!(CALL_BLOCKS_MAX > POOL_BLOCKS_PER_CALL);
    assert!((SILENCE_FRAMES as usize).is_multiple_of(BLOCK_FRAMES) && SILENCE_FRAMES.is_power_of_two());
    // The widest recording must not outrun its blocks: 8 tracks of PCM16 fill a frame in under 32 ms.
    let frames_per_second = TRACKS_MAX * 2 * 8000 / FRAME_PLAIN_BYTES + 1;
    let span_ms = HORIZON_MAX.as_millis() + AHEAD_MAX.as_millis();
    assert!(span_ms < 1000 && CALL_BLOCKS_MAX * BLOCK_FRAMES >= frames_per_second);
    // A few of the largest messages fit beside each other, and the worst of all connections stays below half a GiB.
    assert!(SIP_STREAM_BYTES_MAX >= 16 * (SIP_HEADER_BYTES_MAX + SIP_BODY_BYTES_MAX));
    assert!(SIP_STREAM_BYTES_MAX + SIP_CONNECTIONS_MAX * 2 * SIP_STREAM_FREE_BYTES <= 512 << 20);
    assert!(DRIFT_FORCE.as_millis() < HORIZON_MAX.as_millis());
    assert!(
        DATAGRAM_BYTES_MAX >= 12 + 60 * 8 + SRTP_OVERHEAD_BYTES_MAX,
        "60 ms of G.711 with its header, under SRTP"
    );
    assert!(RECEIVE_BUFFERS_MAX.is_power_of_two());
};
