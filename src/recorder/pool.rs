//! The background pool: a few threads that write manifests and finalise recordings, so that neither shards nor signalling ever wait for
//! a file system's metadata.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use super::Finished;
use crate::base::RecordingId;
use crate::control::{Job, Paper};
use crate::limits::{FINALISE_BACKLOG_MAX, MOVE_BATCH, POOL_THREADS};
use crate::link::CallId;
use crate::store::{self, Keyring, Mover, OsDisk, Sealed, StoreError};
use crate::sys::{OsEntropy, affinity};

/// The pool. Each call's jobs run on one of its threads, in order.
pub(super) struct Pool {
    queues: Vec<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    pending: Arc<AtomicUsize>,
}

struct Worker {
    recordings: PathBuf,
    finished: Option<mpsc::Sender<Finished>>,
    pending: Arc<AtomicUsize>,
}

impl Pool {
    /// Starts the threads.
    pub fn start(recordings: &Path, finished: Option<mpsc::Sender<Finished>>) -> std::io::Result<Pool> {
        let pending = Arc::new(AtomicUsize::new(0));
        let mut pool = Pool { queues: Vec::new(), threads: Vec::new(), pending: Arc::clone(&pending) };
        for index in 0..POOL_THREADS {
            let (queue, jobs) = mpsc::channel();
            let worker = Worker {
                recordings: recordings.to_owned(),
                finished: finished.clone(),
                pending: Arc::clone(&pending),
            };
            let thread = std::thread::Builder::new().name(format!("pool-{index}"));
            pool.threads.push(thread.spawn(move || worker.run(&jobs))?);
            pool.queues.push(queue);
        }
        Ok(pool)
    }

    /// Queues a job. Never refused: it is the new calls that are, when [`Pool::is_behind`].
    pub fn submit(&self, job: Job) {
        self.pending.fetch_add(1, Ordering::Relaxed);
        let thread = (job.call().0 % self.queues.len() as u64) as usize;
        // Fails only if the thread has panicked, which is in the log; recovery will find the recording.
        let _ = self.queues[thread].send(job);
    }

    /// Jobs that wait or are being done.
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Whether so much waits that no new calls should be taken.
    pub fn is_behind(&self) -> bool {
        self.pending.load(Ordering::Relaxed) > FINALISE_BACKLOG_MAX
    }

    /// Finishes what is queued and ends the threads.
    pub fn join(self) {
        drop(self.queues);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the pool panicked: recordings may be left for recovery");
            }
        }
    }
}

/// Jobs that wait, and how many of each call.
#[derive(Default)]
struct Line {
    jobs: VecDeque<Job>,
    waiting: HashMap<CallId, u32>,
}

impl Line {
    /// The next job, and whether another of the same call waits already. `None` once no more can come.
    fn next(&mut self, source: &mpsc::Receiver<Job>) -> Option<(Job, bool)> {
        if !self.has_more(source) {
            let job = source.recv().ok()?;
            self.add(job);
        }
        let job = self.jobs.pop_front()?;
        let call = job.call();
        let left = self.waiting.get(&call).map_or(0, |waiting| waiting - 1);
        match left {
            0 => self.waiting.remove(&call),
            left => self.waiting.insert(call, left),
        };
        Some((job, left > 0))
    }

    /// Whether a job waits already.
    fn has_more(&mut self, source: &mpsc::Receiver<Job>) -> bool {
        while let Ok(job) = source.try_recv() {
            self.add(job);
        }
        !self.jobs.is_empty()
    }

    fn add(&mut self, job: Job) {
        *self.waiting.entry(job.call()).or_default() += 1;
        self.jobs.push_back(job);
    }
}

impl Worker {
    fn run(&self, jobs: &mpsc::Receiver<Job>) {
        if let Err(why) = affinity::stand_back() {
            tracing::debug!(%why, "the background pool runs at the priority of the shards");
        }
        let mut line = Line::default();
        let (mut mover, mut sealed) = (Mover::default(), Vec::with_capacity(MOVE_BATCH));
        while let Some((job, superseded)) = line.next(jobs) {
            match job {
                // What comes after it says all that it says, and more.
                Job::Checkpoint(_) if superseded => {}
                Job::Checkpoint(paper) => self.checkpoint(*paper),
                Job::Finalise(paper) => sealed.extend(self.finalise(*paper)),
                Job::Discard { dir, .. } => discard(&dir),
            }
            self.pending.fetch_sub(1, Ordering::Relaxed);
            if sealed.len() >= MOVE_BATCH || !line.has_more(jobs) {
                mover.move_all(&OsDisk, &self.recordings, &sealed, |one, moved| self.moved(one, moved));
                sealed.clear();
            }
        }
    }

    fn checkpoint(&self, paper: Paper) {
        let (recording, keyring) =
            (paper.manifest.recording, Keyring { key: paper.key, wrapped: paper.wrapped });
        let done = store::checkpoint(&OsDisk, &self.recordings, &paper.manifest, &keyring, &mut OsEntropy);
        if let Err(why) = done {
            tracing::warn!(%recording, %why, "the manifest was not written; the next one may be");
        }
    }

    fn finalise(&self, paper: Paper) -> Option<Sealed> {
        let (recording, keyring) =
            (paper.manifest.recording, Keyring { key: paper.key, wrapped: paper.wrapped });
        store::finalise(&OsDisk, &self.recordings, paper.manifest, &keyring, &mut OsEntropy)
            .inspect_err(|why| left(recording, why))
            .ok()
    }

    fn moved(&self, one: &Sealed, moved: Result<(), StoreError>) {
        if let Err(why) = moved {
            return left(one.recording, &why);
        }
        tracing::info!(recording = %one.recording, folder = ?one.complete, "recording finished");
        if let Some(finished) = &self.finished {
            // Nobody listens any more: fine.
            let _ = finished.send(Finished { recording: one.recording, folder: one.complete.clone() });
        }
    }
}

fn left(recording: RecordingId, why: &StoreError) {
    tracing::error!(%recording, %why, "not finalised: left for recovery at the next start");
}

fn discard(dir: &Path) {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => {}
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
        Err(why) => {
            tracing::warn!(folder = %dir.display(), %why, "the folder of a refused call was not removed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_come_in_order_and_each_knows_whether_another_of_its_call_waits() {
        let (queue, jobs) = mpsc::channel();
        for call in [1, 2, 1, 1] {
            queue.send(Job::Discard { call: CallId(call), dir: PathBuf::new() }).unwrap();
        }
        drop(queue);
        let mut line = Line::default();
        let order: Vec<_> =
            std::iter::from_fn(|| line.next(&jobs)).map(|(job, more)| (job.call().0, more)).collect();
        assert_eq!(order, [(1, true), (2, false), (1, true), (1, false)]);
        assert!(line.waiting.is_empty());
    }
}
