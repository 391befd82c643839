//! Finding and opening what a recorder has written, with the library and the recorder's own key.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tapehead::demo::recorded::Recorded;
use tapehead::keys::LocalKeys;
use tapehead::recording::Manifest;
use tapehead::recording::manifest::RecordingState;
use tapehead::store::{self, OsDisk};

/// A recording that is no longer running.
pub struct Recording {
    /// Its folder.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
}

/// Every recording below `home` that is final and in its place, in no order.
pub fn finished(home: &Path) -> Vec<Recording> {
    let Ok(keys) = LocalKeys::open(&home.join("tapehead.key")) else { return Vec::new() };
    let read = |folder: PathBuf| {
        let manifest = store::read_manifest(&OsDisk, &folder.join(store::MANIFEST), &keys).ok()?;
        (manifest.state != RecordingState::Open).then_some(Recording { folder, manifest })
    };
    let root = home.join("recordings");
    let folders = store::find_recordings(&OsDisk, &root).into_iter();
    // A recording is final a moment before it is moved to the folder of its day.
    folders.filter(|folder| !folder.starts_with(root.join(store::ACTIVE))).filter_map(read).collect()
}

/// Waits for the recording of this Call-ID.
pub fn recording_of(home: &Path, call_id: &str) -> Recording {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = finished(home).into_iter().find(|found| found.manifest.sip.call_id == call_id) {
            return found;
        }
        assert!(Instant::now() < deadline, "no finished recording of {call_id} in {}", home.display());
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Recording {
    /// Path of a segment, by its number from 1.
    pub fn segment(&self, number: usize) -> PathBuf {
        self.folder.join(&self.manifest.segments[number - 1].file)
    }

    /// Its audio.
    pub fn open(&self, home: &Path) -> Recorded {
        let keys = LocalKeys::open(&home.join("tapehead.key")).expect("the recorder made it");
        Recorded::open(&self.folder, &keys).expect("it opens")
    }
}
