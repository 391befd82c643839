//! The same job as one would first write it, to measure the recorder against: a tokio task per socket, the aes-gcm crate, `tokio::fs`.
//!
//! It receives, puts packets in order by their timestamps, interleaves the two tracks of a call, seals each frame of 4,096 bytes once a later one is
//! being filled for a while, and writes it to the call's file. Nothing is slow on purpose, and nothing is left out of that; but it has none of the
//! rest: no arrival times, no sources learned, no gaps written down, no loss bounded at a crash, nothing synced.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aes_gcm::aead::{AeadInOut, KeyInit};
use tapehead::limits::{FRAME_BYTES, FRAME_PLAIN_BYTES, TICK};
use tapehead::rtp;
use tapehead::sys::clock;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::common::{ANY_PORT, Receiver};

/// What a G.711 µ-law decoder plays as silence.
const SILENCE: u8 = 0xff;
const CHANNELS: usize = 2;
/// Frames of a call that may still be filled: half a second.
const FRAMES_OPEN: usize = 2;

/// Records `streams` streams, two to a call, on a runtime as `#[tokio::main]` makes it.
pub struct Naive {
    _runtime: Runtime,
    targets: Vec<SocketAddr>,
    received: Arc<AtomicU64>,
    _folder: tempfile::TempDir,
}

impl Naive {
    pub fn new(streams: usize) -> Naive {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder below target/");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be had");
        let received = Arc::new(AtomicU64::new(0));
        let mut targets = Vec::new();
        runtime.block_on(async {
            for number in 0..streams / CHANNELS {
                let call = Arc::new(Mutex::new(Call::create(folder.path(), number).await));
                for track in 0..CHANNELS {
                    let socket = UdpSocket::bind(ANY_PORT).await.expect("a free port");
                    targets.push(socket.local_addr().expect("bound"));
                    tokio::spawn(record(socket, call.clone(), track, received.clone()));
                }
            }
        });
        Naive { _runtime: runtime, targets, received, _folder: folder }
    }
}

impl Receiver for Naive {
    const PINNED: bool = false;

    fn targets(&self) -> Vec<SocketAddr> {
        self.targets.clone()
    }

    fn turn(&mut self) {
        clock::sleep_until(clock::mono() + TICK);
    }

    fn received(&mut self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn so_far(&self) -> Option<u64> {
        Some(self.received.load(Ordering::Relaxed))
    }
}

async fn record(socket: UdpSocket, call: Arc<Mutex<Call>>, track: usize, received: Arc<AtomicU64>) {
    let mut bytes = [0; 1500];
    while let Ok((len, _from)) = socket.recv_from(&mut bytes).await {
        received.fetch_add(1, Ordering::Relaxed);
        if let Ok(packet) = rtp::Packet::parse(&bytes[..len]) {
            call.lock().await.place(track, packet.timestamp, packet.payload).await;
        }
    }
}

struct Call {
    file: File,
    cipher: aes_gcm::Aes256Gcm,
    /// First timestamp of each track: the zero of its timeline.
    zero: [Option<u32>; CHANNELS],
    /// Frames being filled, and the number of the first of them.
    frames: VecDeque<Box<[u8; FRAME_BYTES]>>,
    first: usize,
}

impl Call {
    async fn create(folder: &Path, number: usize) -> Call {
        let file = File::create(folder.join(format!("{number}.sealed"))).await.expect("a file");
        let cipher = aes_gcm::Aes256Gcm::new(&[number as u8; 32].into());
        Call { file, cipher, zero: [None; CHANNELS], frames: VecDeque::new(), first: 0 }
    }

    async fn place(&mut self, track: usize, timestamp: u32, payload: &[u8]) {
        let zero = *self.zero[track].get_or_insert(timestamp);
        let mut at = timestamp.wrapping_sub(zero) as usize * CHANNELS;
        for &sample in payload {
            let frame = at / FRAME_PLAIN_BYTES;
            while frame >= self.first + self.frames.len() {
                self.frames.push_back(Box::new([SILENCE; FRAME_BYTES]));
            }
            // What comes later than this is lost.
            if let Some(frame) = frame.checked_sub(self.first) {
                self.frames[frame][at % FRAME_PLAIN_BYTES + track] = sample;
            }
            at += CHANNELS;
        }
        while self.frames.len() > FRAMES_OPEN {
            self.seal_and_write().await;
        }
    }

    async fn seal_and_write(&mut self) {
        let Some(mut frame) = self.frames.pop_front() else { return };
        let mut nonce = [0; 12];
        nonce[8..].copy_from_slice(&(self.first as u32).to_be_bytes());
        let (plain, tag) = frame.split_at_mut(FRAME_PLAIN_BYTES);
        let sealed = self.cipher.encrypt_inout_detached(&nonce.into(), b"", plain.into());
        tag.copy_from_slice(&sealed.expect("a frame is far below GCM's bound"));
        self.file.write_all(&*frame).await.expect("room on the disk");
        self.first += 1;
    }
}
