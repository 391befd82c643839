//! Decisions per call: admission, placement, the life of a recording session. No I/O.
