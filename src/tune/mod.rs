//! Setting a machine up for recording: one list of settings (`tuning/settings.toml`), looked at, applied and taken back.
//!
//! ```text
//!   settings.toml ─▶ Setting ── inspect(tree, facts) ─▶ Seen: good, or the changes that are lacking
//!                                                        │ apply: state first, then each change
//!                                                        ▼
//!                    undo ◀── state.json: what was there before, mode 0600, replaced atomically
//! ```
//!
//! What is applied at once (`/proc`, `/sys`, nftables) is also made to outlive a restart: sysctls by files in `/etc/sysctl.d`, the
//! rest by a unit that applies the list again before the recorder starts. Nothing is touched that the list does not name, neither by
//! `apply` nor by `undo`, whatever a state file says. Every path is below a root, so that all of it runs on a tree of files as well.
//!
//! Leaves out printing (`cli`), and what is true of a process rather than of a machine (`doctor`).

mod apply;
mod facts;
mod inspect;
mod list;
mod state;
mod system;
mod tree;
mod undo;

pub use apply::{Applied, Failure, apply, changes};
pub use facts::Facts;
pub use inspect::{Change, How, Seen, Status, inspect};
pub use list::{Setting, Want, settings};
pub use state::{STATE_FOLDER, StateError};
pub use tree::Tree;
pub use undo::{Undone, undo};

#[cfg(test)]
mod tests;
