//! The background pool: a few threads that write manifests and finalise recordings, so that neither shards nor signalling ever wait for
//! a file system's metadata.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use super::Finished;
use crate::base::RecordingId;
use crate::control::{Job, Paper};
use crate::limits::{FINALISE_BACKLOG_MAX, POOL_BATCH, POOL_BATCH_BYTES, POOL_GATHER, POOL_THREADS};
use crate::recording::Manifest;
use crate::store::{self, Keyring, OsDisk, Sealed, StoreError, Writer};
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

/// Waits for a job, and then a moment for more. `None` once no more can come.
fn next_batch(jobs: &mpsc::Receiver<Job>) -> Option<Vec<Job>> {
    let first = jobs.recv().ok()?;
    std::thread::sleep(POOL_GATHER);
    Some(std::iter::once(first).chain(jobs.try_iter()).take(POOL_BATCH).collect())
}

/// Leaves out each checkpoint that another job of its call follows: that says all that it says, and more. So there is one job of each call, for
/// the others are the last of theirs.
fn without_superseded(mut batch: Vec<Job>) -> Vec<Job> {
    let mut later = HashSet::with_capacity(batch.len());
    batch.reverse();
    batch.retain(|job| later.insert(job.call()) || !matches!(job, Job::Checkpoint(_)));
    batch.reverse();
    batch
}

impl Worker {
    fn run(&self, jobs: &mpsc::Receiver<Job>) {
        if let Err(why) = affinity::stand_back() {
            tracing::debug!(%why, "the background pool runs at the priority of the shards");
        }
        let mut writer = Writer::default();
        while let Some(batch) = next_batch(jobs) {
            let count = batch.len();
            let mut sealed = Vec::with_capacity(count);
            let mut write = |sealed: &mut Vec<Sealed>| {
                writer.write_all(&OsDisk, &self.recordings, sealed, |one, done| self.written(one, done));
                sealed.clear();
            };
            for job in without_superseded(batch) {
                sealed.extend(self.seal(job));
                if sealed.iter().map(Sealed::bytes).sum::<usize>() > POOL_BATCH_BYTES {
                    write(&mut sealed);
                }
            }
            write(&mut sealed);
            self.pending.fetch_sub(count, Ordering::Relaxed);
        }
    }

    fn seal(&self, job: Job) -> Option<Sealed> {
        match job {
            Job::Checkpoint(paper) => {
                let (manifest, keyring) = taken_apart(*paper);
                store::checkpoint(&self.recordings, &manifest, &keyring, &mut OsEntropy)
                    .inspect_err(|why| not_written(manifest.recording, why))
                    .ok()
            }
            Job::Finalise(paper) => {
                let (manifest, keyring) = taken_apart(*paper);
                let recording = manifest.recording;
                store::finalise(&OsDisk, &self.recordings, manifest, &keyring, &mut OsEntropy)
                    .inspect_err(|why| left(recording, why))
                    .ok()
            }
            Job::Discard { dir, .. } => {
                discard(&dir);
                None
            }
        }
    }

    fn written(&self, one: &Sealed, done: Result<(), StoreError>) {
        let Some(complete) = &one.complete else {
            return done.unwrap_or_else(|why| not_written(one.recording, &why));
        };
        if let Err(why) = done {
            return left(one.recording, &why);
        }
        tracing::info!(recording = %one.recording, folder = ?complete, "recording finished");
        if let Some(finished) = &self.finished {
            // Nobody listens any more: fine.
            let _ = finished.send(Finished { recording: one.recording, folder: complete.clone() });
        }
    }
}

fn taken_apart(paper: Paper) -> (Manifest, Keyring) {
    (paper.manifest, Keyring { key: paper.key, wrapped: paper.wrapped })
}

fn not_written(recording: RecordingId, why: &StoreError) {
    tracing::warn!(%recording, %why, "the manifest was not written; the next one may be");
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
    use crate::base::Wall;
    use crate::link::CallId;
    use crate::seal::DataKey;

    fn job(call: u64) -> Job {
        Job::Discard { call: CallId(call), dir: PathBuf::new() }
    }

    fn checkpoint(call: u64) -> Job {
        let recording = "0199f0a1b2c370008000000000000001".parse().unwrap();
        let manifest = Manifest::new(recording, "acme", Wall(0));
        let key = DataKey::new([0; 32]);
        Job::Checkpoint(Box::new(Paper { call: CallId(call), manifest, key, wrapped: Vec::new() }))
    }

    #[test]
    fn what_waits_comes_together_and_in_order() {
        let (queue, jobs) = mpsc::channel();
        [1, 2, 1].into_iter().for_each(|call| queue.send(job(call)).unwrap());
        drop(queue);
        let batch = next_batch(&jobs).unwrap();
        assert_eq!(batch.iter().map(|job| job.call().0).collect::<Vec<_>>(), [1, 2, 1]);
        assert!(next_batch(&jobs).is_none());
    }

    #[test]
    fn a_checkpoint_is_left_out_when_something_of_its_call_follows() {
        let batch = [checkpoint(1), checkpoint(2), checkpoint(1), checkpoint(3), job(3)];
        let left = without_superseded(batch.into());
        let told = left.iter().map(|job| (job.call().0, matches!(job, Job::Checkpoint(_))));
        assert_eq!(told.collect::<Vec<_>>(), [(2, true), (1, true), (3, false)]);
    }
}
