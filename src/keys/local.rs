//! The local provider: a master key in a file, mode 0600, created on first start.
//!
//! ```text
//!   tapehead-master-key 1
//!   id 5f0c6d7e8a9b0c1d
//!   key <base64 of 32 bytes>
//! ```
//! A wrapped key is `nonce (12) ‖ AES-256-GCM(data key) ‖ tag`, with the recording and the tenant as associated data. Nonces are random:
//! NIST SP 800-38D section 8.3 allows 2^32 of them per master key. Leaves out rotation: a new file, and rewritten blocks 0.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::{Zeroize, Zeroizing};

use super::{KeyContext, KeyError, KeyProvider};
use crate::base::{Entropy, Wall, hex};
use crate::limits::MASTER_KEY_FILE_BYTES_MAX;
use crate::seal::{DataKey, WrappedKey};
use crate::sys::entropy::OsEntropy;

const MAGIC: &str = "tapehead-master-key 1";
const PROVIDER: &str = "local";

/// A master key, held in memory.
pub struct LocalKeys {
    id: String,
    key: LessSafeKey,
}

/// Why there is no master key.
#[derive(Debug)]
pub enum MasterKeyError {
    /// The file could not be read or made.
    Io(PathBuf, io::Error),
    /// Others than its owner may read or write it: its mode.
    Exposed(PathBuf, u32),
    /// It is not a master key file: what is wrong, without what it holds.
    Malformed(PathBuf, &'static str),
}

impl std::fmt::Display for MasterKeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MasterKeyError::Io(path, why) => write!(f, "master key {}: {why}", path.display()),
            MasterKeyError::Exposed(path, mode) => {
                let path = path.display();
                write!(f, "master key {path} is open to others (mode {mode:04o}): run `chmod 600 {path}`")
            }
            MasterKeyError::Malformed(path, what) => {
                write!(f, "{} is not a master key file of Tapehead: {what}", path.display())
            }
        }
    }
}

impl std::error::Error for MasterKeyError {}

impl LocalKeys {
    /// Reads the master key file, or makes it if there is none. Two processes that start at once agree on one.
    pub fn open_or_create(path: &Path) -> Result<LocalKeys, MasterKeyError> {
        match LocalKeys::open(path) {
            Err(MasterKeyError::Io(_, why)) if why.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        match create(path) {
            Ok(()) => {}
            // Another process was faster: its key is the one.
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
            Err(why) => return Err(MasterKeyError::Io(path.to_owned(), why)),
        }
        LocalKeys::open(path)
    }

    /// Reads the master key file.
    pub fn open(path: &Path) -> Result<LocalKeys, MasterKeyError> {
        let io = |why| MasterKeyError::Io(path.to_owned(), why);
        let file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(MasterKeyError::Exposed(path.to_owned(), mode));
        }
        let mut text = Zeroizing::new(String::with_capacity(MASTER_KEY_FILE_BYTES_MAX));
        file.take(MASTER_KEY_FILE_BYTES_MAX as u64).read_to_string(&mut text).map_err(io)?;
        LocalKeys::parse(&text).map_err(|what| MasterKeyError::Malformed(path.to_owned(), what))
    }

    /// The name of the master key, as block 0 gives it.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn parse(text: &str) -> Result<LocalKeys, &'static str> {
        let mut lines = text.lines().map(str::trim_end);
        if lines.next() != Some(MAGIC) {
            return Err("the first line is not `tapehead-master-key 1`");
        }
        let id = lines
            .next()
            .and_then(|line| line.strip_prefix("id "))
            .ok_or("the second line is not `id ...`")?;
        let key = lines
            .next()
            .and_then(|line| line.strip_prefix("key "))
            .ok_or("the third line is not `key ...`")?;
        let key = Zeroizing::new(BASE64.decode(key).map_err(|_| "the key is not base64")?);
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| "the key is not 32 bytes")?;
        Ok(LocalKeys { id: id.to_owned(), key: LessSafeKey::new(key) })
    }
}

impl std::fmt::Debug for LocalKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalKeys").field("id", &self.id).finish_non_exhaustive()
    }
}

impl KeyProvider for LocalKeys {
    fn name(&self) -> &str {
        PROVIDER
    }

    fn may_block(&self) -> bool {
        false
    }

    fn wrap(&self, key: &DataKey, context: KeyContext<'_>, now: Wall) -> Result<WrappedKey, KeyError> {
        let mut nonce = [0; NONCE_LEN];
        OsEntropy.fill(&mut nonce);
        let mut boxed = *key.expose();
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad(context), &mut boxed)
            .map_err(|_| KeyError::Unavailable("AES-GCM failed".to_owned()))?;
        Ok(WrappedKey {
            provider: PROVIDER.to_owned(),
            key_id: self.id.clone(),
            wrapped: BASE64.encode([&nonce, &boxed[..], tag.as_ref()].concat()),
            created: now.to_rfc3339(),
        })
    }

    fn unwrap(&self, wrapped: &WrappedKey, context: KeyContext<'_>) -> Result<DataKey, KeyError> {
        if wrapped.key_id != self.id {
            let (theirs, ours) = (&wrapped.key_id, &self.id);
            return Err(KeyError::Refused(format!(
                "it was wrapped by master key {theirs}, this one is {ours}"
            )));
        }
        let damaged = |what: &str| KeyError::Damaged(what.to_owned());
        let bytes = BASE64.decode(&wrapped.wrapped).map_err(|_| damaged("not base64"))?;
        let (nonce, boxed) = bytes.split_at_checked(NONCE_LEN).ok_or_else(|| damaged("too short"))?;
        let mut boxed = Zeroizing::new(boxed.to_vec());
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged("too short"))?;
        let plain = self
            .key
            .open_in_place(nonce, aad(context), &mut boxed)
            .map_err(|_| damaged("it was changed, or belongs to another recording or tenant"))?;
        let plain: &mut [u8; 32] = plain.try_into().map_err(|_| damaged("not a key of 32 bytes"))?;
        let key = DataKey::new(*plain);
        plain.zeroize();
        Ok(key)
    }
}

/// The recording has a fixed length, so that no recording and tenant can be read as another pair.
fn aad(context: KeyContext<'_>) -> Aad<Vec<u8>> {
    Aad::from(format!("tapehead-key/1:{}/{}", context.recording, context.tenant).into_bytes())
}

/// Makes the file whole or not at all: written beside, then linked under its name, which fails if that is taken.
fn create(path: &Path) -> io::Result<()> {
    let (mut id, mut key) = ([0; 8], Zeroizing::new([0; 32]));
    OsEntropy.fill(&mut id);
    OsEntropy.fill(&mut key[..]);
    let id = hex(&id);
    let encoded = Zeroizing::new(BASE64.encode(&key[..]));
    let text = Zeroizing::new(format!("{MAGIC}\nid {id}\nkey {}\n", *encoded));

    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{id}.new"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let made = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&beside, path));
    fs::remove_file(&beside)?;
    made?;
    // A key that a power cut takes away would take every recording with it.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn context(tenant: &str) -> KeyContext<'_> {
        KeyContext { recording: "0199f0a1b2c370008000000000000001".parse().unwrap(), tenant }
    }

    #[test]
    fn the_master_key_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tapehead.key");
        let first = LocalKeys::open_or_create(&path).unwrap();
        let again = LocalKeys::open_or_create(&path).unwrap();
        assert_eq!(first.id(), again.id());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = LocalKeys::open(&path).unwrap_err();
        assert!(matches!(error, MasterKeyError::Exposed(_, 0o640)));
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn processes_that_start_together_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tapehead.key");
        let open = || LocalKeys::open_or_create(&path).unwrap().id().to_owned();
        let ids: Vec<String> = std::thread::scope(|scope| {
            [(); 8].map(|()| scope.spawn(open)).map(|one| one.join().unwrap()).to_vec()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn a_data_key_comes_back_for_its_own_recording_and_tenant_alone() {
        let folder = tempfile::tempdir().unwrap();
        let keys = LocalKeys::open_or_create(&folder.path().join("a")).unwrap();
        let key = DataKey::new([9; 32]);
        let mut wrapped = keys.wrap(&key, context("acme"), Wall(0)).unwrap();
        assert_eq!(keys.unwrap(&wrapped, context("acme")).unwrap().expose(), key.expose());
        assert!(matches!(keys.unwrap(&wrapped, context("other")), Err(KeyError::Damaged(_))));
        assert_ne!(
            keys.wrap(&key, context("acme"), Wall(0)).unwrap().wrapped,
            wrapped.wrapped,
            "a fresh nonce"
        );

        let others = LocalKeys::open_or_create(&folder.path().join("b")).unwrap();
        assert!(matches!(others.unwrap(&wrapped, context("acme")), Err(KeyError::Refused(_))));
        wrapped.wrapped.replace_range(4..5, if &wrapped.wrapped[4..5] == "A" { "B" } else { "A" });
        assert!(matches!(keys.unwrap_any(&[wrapped], context("acme")), Err(KeyError::Damaged(_))));
        assert!(matches!(keys.unwrap_any(&[], context("acme")), Err(KeyError::Refused(_))));
    }

    #[test]
    fn a_file_that_is_no_master_key_is_named_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        for text in ["", "tapehead-master-key 2\n", "tapehead-master-key 1\nid a\nkey c2VjcmV0\n"] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = LocalKeys::open(&path).unwrap_err();
            assert!(
                matches!(error, MasterKeyError::Malformed(..)) && !error.to_string().contains("c2Vj"),
                "{error}"
            );
        }
    }
}
