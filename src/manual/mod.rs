//! The manual, as rustdoc.
