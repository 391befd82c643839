//! Sizing: what so many calls need of machines, networks, disks and money. Arithmetic alone.
//!
//! ```text
//!   Demand (calls, minutes, tracks, retention)   Coefficients (what a packet, a call costs: measured, else assumed)
//!        └──────────────┬──────────────────────────────┘
//!                    size() ─▶ Report: figures in groups, each with its grade ─▶ text, JSON, page (HTML)
//!                       ▲
//!                    Prices (tuning/prices.toml, or the user's)
//! ```
//!
//! Every figure says what it rests on ([`Grade`]): arithmetic of the format, something measured, or something assumed; the weakest
//! counts. Whoever measures writes [`Coefficients`] into a report; whoever plans reads them. Leaves out reading files: that is `cli`'s.

mod coefficients;
mod demand;
mod figures;
mod need;
mod page;
mod prices;
mod svg;

pub use coefficients::{Basis, ByTier, Coefficients, Known, TIERS};
pub use demand::{Asked, Codec, Demand, DemandError, retention_days};
pub use figures::{Figure, Grade, Group, Report, number};
pub use need::size;
pub use page::page;
pub use prices::{Cost, CostItem, Prices};

#[cfg(test)]
mod tests;
