//! The configuration: raw, then checked, then immutable.
