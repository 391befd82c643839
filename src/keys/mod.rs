//! Key providers: who wraps the data key of a recording.
//!
//! A provider is asked off the packet path, before a call is answered. Leaves out deadlines and pools of ready-wrapped keys:
//! those are the caller's.

mod local;

pub use local::{LocalKeys, MasterKeyError};

use crate::base::{RecordingId, Wall};
use crate::seal::{DataKey, WrappedKey};

/// What a data key belongs to. A provider binds the wrapped key to it, so that it can't be moved to another recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyContext<'a> {
    /// The recording.
    pub recording: RecordingId,
    /// Whose it is.
    pub tenant: &'a str,
}

/// Why a provider did not do as asked. No text of it holds key material.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// It can't be reached or does not work now: try again later.
    Unavailable(String),
    /// It will not, now or later: wrong key, wrong provider, no permission.
    Refused(String),
    /// The wrapped key is not whole, or belongs to another recording or tenant.
    Damaged(String),
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyError::Unavailable(why) => write!(f, "the key provider is unavailable: {why}"),
            KeyError::Refused(why) => write!(f, "the key provider refuses: {why}"),
            KeyError::Damaged(why) => write!(f, "the wrapped key is damaged: {why}"),
        }
    }
}

impl std::error::Error for KeyError {}

/// Wraps and unwraps data keys. May block on the network: never call it from a shard.
pub trait KeyProvider: Send + Sync {
    /// Its name in block 0: `local`.
    fn name(&self) -> &str;

    /// Whether an answer may take long, or never come, as over a network. One that answers from memory is asked where it is needed.
    fn may_block(&self) -> bool {
        true
    }

    /// Wraps `key` for block 0; `now` becomes its date of creation.
    fn wrap(&self, key: &DataKey, context: KeyContext<'_>, now: Wall) -> Result<WrappedKey, KeyError>;

    /// The data key inside `wrapped`.
    fn unwrap(&self, wrapped: &WrappedKey, context: KeyContext<'_>) -> Result<DataKey, KeyError>;

    /// The data key, from the first of `wrapped` that this provider can open.
    fn unwrap_any(&self, wrapped: &[WrappedKey], context: KeyContext<'_>) -> Result<DataKey, KeyError> {
        let mut error =
            KeyError::Refused(format!("the file holds no key wrapped by provider {:?}", self.name()));
        for candidate in wrapped.iter().filter(|candidate| candidate.provider == self.name()) {
            match self.unwrap(candidate, context) {
                Ok(key) => return Ok(key),
                Err(why) => error = why,
            }
        }
        Err(error)
    }
}
