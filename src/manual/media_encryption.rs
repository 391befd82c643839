//! Media encryption: SRTP between client and recorder, with keys from the session description.
//!
//! What the recorder keeps is sealed under keys of its own ([`super::sealed_format`]); this is about the way there.
//!
//! # What is agreed
//!
//! Keys come by SDES (RFC 4568), an `a=crypto` line per stream, so the signalling itself should be TLS: whoever reads it has the keys.
//!
//! | in the offer | in the answer |
//! |---|---|
//! | `RTP/SAVP`, `RTP/SAVPF` with `a=crypto` | the first line that can be done, under its tag and name, with a key of ours |
//! | `RTP/AVP`, `RTP/AVPF` with `a=crypto` | likewise: then SRTP it is; without a usable line it stays RTP |
//! | `RTP/SAVP` without a usable line | port 0, and a note in manifest and log |
//! | DTLS-SRTP (`UDP/TLS/RTP/SAVP`, or a fingerprint and no `a=crypto`) | port 0, and a note |
//!
//! The suites, in no order, for the client's order is what counts:
//!
//! | name | also taken as | key ‖ salt | tag |
//! |---|---|---|---|
//! | `AES_CM_128_HMAC_SHA1_80` | | 16 + 14 bytes | 10 bytes |
//! | `AES_CM_128_HMAC_SHA1_32` | | 16 + 14 | 4; SRTCP 10 |
//! | `AES_256_CM_HMAC_SHA1_80` | `AES_CM_256_HMAC_SHA1_80` | 32 + 14 | 10 |
//! | `AES_256_CM_HMAC_SHA1_32` | `AES_CM_256_HMAC_SHA1_32` | 32 + 14 | 4; SRTCP 10 |
//! | `AEAD_AES_128_GCM` | | 16 + 12 | 16 |
//! | `AEAD_AES_256_GCM` | | 32 + 12 | 16 |
//!
//! A lifetime is read and left to the client. Master key identifiers of up to [`crate::limits::SRTP_MKI_BYTES_MAX`] bytes are followed, several keys in
//! one line, too; our own key has an identifier if the client's has. `UNENCRYPTED_SRTP` and `UNENCRYPTED_SRTCP` are done for the AES-CM suites if the
//! client asks for them. A line with `UNAUTHENTICATED_SRTP`, `KDR` above 0, `FEC_ORDER`, `FEC_KEY` or an unknown parameter is passed over for the next.
//!
//! Our key is another one for each stream. It stays the same over refreshes, as long as the client's key does, so that the answer to
//! a refresh is the same to the letter; a new key of the client gets a new one of ours. It is random per call and is nowhere written down.
//!
//! # What happens to a packet
//!
//! On a secured stream a packet is authenticated **before anything else looks at it**: a stranger's packet can't move the source lock, a
//! sequence number or a clock, and takes no memory. Then it is checked for replay (a window of 128 packets) and decrypted into a buffer on the
//! stack; from there it goes the way of [`super::life_of_a_packet`]. Nothing allocates. Two fates of the ledger tell what was refused:
//!
//! - `srtp_auth`: not authentic. Another key or suite, changed on the way, or in clear although keys were agreed. A few at a change of keys
//!   are normal; a stream that counts nothing else has a client that does not use the key it has told.
//! - `srtp_replay`: seen before, or more than 128 packets late. A network that doubles packets ends up here.
//!
//! Receiver reports to such a stream are SRTCP under our key.
//!
//! # Changing keys
//!
//! A re-INVITE with another key: the shard knows it before the client has its 200, and packets under the old one are still taken for
//! [`crate::limits::SRTP_OLD_KEY_HOLD`]. The rollover counter of RFC 3711 is not on the wire, and senders do not agree on when to reset it. So a
//! source new to a key is tried at 0, at 1 (its first packets may have been lost around its first wrap), and at the counter it had under the
//! key or the SSRC before. Under the same key a source may begin anew once after each new description, within [`crate::limits::SRTP_RESTART_HOLD`]; whichever
//! of both goes on wins. How many are tried is bounded, and only an authentic packet decides.
//!
//! # What it costs
//!
//! Nanoseconds of CPU time per packet of 172 bytes, `cargo bench --bench srtp`, medians of three runs on an EPYC with VAES and SHA-NI whose cores were
//! busy. `refuse` is what a stranger's packet costs: it is tried at two rollover counters. libsrtp2 is Debian's 2.5, on OpenSSL.
//!
//! | suite | open | refuse | libsrtp2 |
//! |---|---|---|---|
//! | `AES_CM_128_HMAC_SHA1_80` | 438 | 671 | 2,450 |
//! | `AES_256_CM_HMAC_SHA1_80` | 460 | 663 | 2,520 |
//! | `AEAD_AES_128_GCM` | 159 | 289 | 827 |
//! | `AEAD_AES_256_GCM` | 170 | 295 | 921 |
//! | a copy alone | 5 | | |
//!
//! Leaves out DTLS-SRTP, SRTP in offers of the recorder's own to a client that has offered none, and encrypted header extensions (RFC 6904).
