//! What the recorder has written: found by Call-ID, read once, and listened to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tapehead::keys::LocalKeys;
use tapehead::recording::Manifest;
use tapehead::recording::manifest::RecordingState;
use tapehead::store::{self, OsDisk};

use super::common::audio::{read_wav, share_of};

/// Frequencies that scenarios play. Each has whole periods in [`WINDOW`].
pub const TONES: [&str; 6] = ["440", "660", "1000", "1300", "1720", "2200"];
/// Samples that are looked at together: 50 ms.
const WINDOW: usize = 400;
/// How long the recorder may take to finish a recording whose call is over.
const PATIENCE: Duration = Duration::from_secs(15);

/// The recordings of one recorder. Reads each manifest once.
pub struct Library {
    home: PathBuf,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    known: BTreeMap<PathBuf, Manifest>,
    /// Those that a scenario has asked for.
    claimed: BTreeSet<PathBuf>,
}

impl Library {
    pub fn new(home: &Path) -> Library {
        Library { home: home.to_owned(), shelf: Mutex::default() }
    }

    fn keys(&self) -> Option<LocalKeys> {
        LocalKeys::open(&self.home.join("tapehead.key")).ok()
    }

    /// Waits for `count` recordings of a Call-ID; returns those there are, the earliest first.
    pub fn of(&self, call_id: &str, count: usize) -> Vec<(PathBuf, Manifest)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.look(call_id);
            if found.len() >= count || Instant::now() > deadline {
                return found;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn look(&self, call_id: &str) -> Vec<(PathBuf, Manifest)> {
        let mut shelf = self.shelf.lock().expect("no one panics in it");
        self.refresh(&mut shelf);
        let ours = shelf.known.iter().filter(|(_, manifest)| manifest.sip.call_id == call_id);
        let mut found: Vec<(PathBuf, Manifest)> = ours.map(|(path, m)| (path.clone(), m.clone())).collect();
        found.sort_by(|a, b| a.1.started.cmp(&b.1.started));
        shelf.claimed.extend(found.iter().map(|(path, _)| path.clone()));
        found
    }

    /// A recording is final a moment before it is moved to the folder of its day.
    fn refresh(&self, shelf: &mut Shelf) {
        let Some(keys) = self.keys() else { return };
        let root = self.home.join("recordings");
        for folder in store::find_recordings(&OsDisk, &root) {
            if folder.starts_with(root.join(store::ACTIVE)) || shelf.known.contains_key(&folder) {
                continue;
            }
            let read = store::read_manifest(&OsDisk, &folder.join(store::MANIFEST), &keys).ok();
            if let Some(manifest) = read.filter(|manifest| manifest.state != RecordingState::Open) {
                shelf.known.insert(folder, manifest);
            }
        }
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.shelf.lock().expect("no one panics in it").known.is_empty()
    }

    /// Recordings that no scenario asked for, and those that came after it had looked.
    pub fn unexpected(&self) -> Vec<String> {
        let mut shelf = self.shelf.lock().expect("no one panics in it");
        self.refresh(&mut shelf);
        let nobodys = shelf.known.iter().filter(|(folder, _)| !shelf.claimed.contains(*folder));
        let mut found: Vec<String> = nobodys
            .map(|(_, manifest)| format!("a recording that nobody expects: {}", manifest.sip.call_id))
            .collect();
        let active = self.home.join("recordings").join(store::ACTIVE);
        let left = store::find_recordings(&OsDisk, &active).len();
        found.extend((left > 0).then(|| format!("{left} recordings are left unfinished")));
        found
    }

    /// The sound of each track.
    pub fn listen(&self, folder: &Path) -> Result<Vec<Sound>, String> {
        let keys = self.keys().ok_or("the recorder's key is gone")?;
        let mut wav = Vec::new();
        let exported = store::export(&OsDisk, folder, &keys, &mut wav, &mut |_| ());
        let exported = exported.map_err(|why| why.to_string())?;
        if !exported.warnings.is_empty() {
            return Err(format!("export warns: {:?}", exported.warnings));
        }
        Ok(read_wav(&wav).channels.iter().map(|samples| Sound::of(samples)).collect())
    }
}

/// What can be heard on a track: windows that hold a tone, by tone. One that holds two, where tones meet, counts for neither.
#[derive(Debug, Default)]
pub struct Sound {
    windows: BTreeMap<String, usize>,
}

impl Sound {
    fn of(samples: &[i16]) -> Sound {
        let mut sound = Sound::default();
        for window in samples.chunks_exact(WINDOW) {
            let share = |hz: &&&str| share_of(hz.parse().expect("a number"), window);
            if let Some(hz) = TONES.iter().find(|hz| share(hz) > 0.9) {
                *sound.windows.entry((*hz).to_owned()).or_default() += 1;
            }
        }
        sound
    }

    /// How long this tone can be heard.
    pub fn seconds_of(&self, hz: &str) -> f64 {
        (self.windows.get(hz).copied().unwrap_or(0) * WINDOW) as f64 / 8000.0
    }

    /// The tones that can be heard.
    pub fn tones(&self) -> impl Iterator<Item = &String> {
        self.windows.keys()
    }
}
