//! A shard: one pinned thread, one ring, a slice of the RTP ports and the calls on them.
