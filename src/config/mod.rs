//! The configuration: raw, then checked, then immutable.
//!
//! [`SETTINGS`] and [`PEER_SETTINGS`] declare each setting once; the TOML key, the environment variable, the help, the default and what
//! `serve --print-config` prints all come from there. [`Raw`] gathers values with their sources, [`Plan`] is what the recorder is
//! started with. Everything that can be checked is checked before a file or a socket is opened. Leaves out reading the file:
//! that is the command's business.

mod listen;
mod peers;
mod plan;
mod raw;
mod settings;
mod tls;

pub use listen::{External, Listen, StunPlan};
pub use peers::PeerPlan;
pub use plan::{CONTROL_SOCKET, LogFormat, LogLevel, Machine, Plan, ReceiveChoice, RingChoice};
pub use raw::{Problem, Problems, Raw, Source};
pub use settings::{PEER_SETTINGS, SETTINGS, Setting, Value};
pub use tls::{ClientCertificates, TlsPlan};
