//! Key providers: who wraps the data key of a recording.
