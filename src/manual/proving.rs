//! Proving: what `./check` runs, what each part proves, and where to add to it.
//!
//! | part | proves | add to it |
//! |---|---|---|
//! | unit and property tests, beside the code | each core, alone | in the module's `tests` |
//! | `src/tidy.rs` | layers, banned calls, file headers, lengths | one line in a table |
//! | `src/ring/conformance_tests.rs` | that all rings behave alike | one step in the script |
//! | the simulator, [`crate::sim`] | whole shards under loss, full disks, crashes, from a seed | a fault, a checker, a planted bug |
//! | `tests/`, end to end | the real binary on real sockets: configuration, calls, hold, errors, shutdown | a test named as a sentence |
//! | `tests/scenarios` with `sipp-scenarios/` | that clients that are not ours are recorded over UDP, TCP and TLS: the flows of RFC 8068, vendors' dialects, defects; each against its expectation | `NAME.xml` and `NAME.toml` |
//! | `tests/sipp.rs` | that SIPp's own player is recorded, tone by tone | |
//! | `tests/tls.rs` | that OpenSSL's client and SIPp are served over TLS, and who is not | |
//! | `tests/transport.rs`, `tests/nat.rs` | how large messages may be and are; which address clients are told | |
//! | `tests/kill.rs` | kill -9 costs at most a second, and recovery says so | |
//! | `tests/overload.rs` | that a flood is shed packet by packet, counted, and leaves recordings whole | |
//! | `tests/linear.rs` | that a message costs in proportion to its length, whatever is repeated in it | a kind of input in its tables |
//! | `fuzz/` | that no input makes a parser panic, nor keeps it for seconds | a file in `fuzz_targets` and its `[[bin]]` |
//! | `benches/` with `--smoke` | that the measured paths still do what they claim | a bench with a smoke value |
//! | `tapehead demo` | all of it together, sample by sample | |
//!
//! `./check quick` is the inner loop. `tapehead vopr SEED` replays one run of the simulator with a full trace. `fuzz/run NAME SECONDS` fuzzes one parser
//! for as long as you like.
//!
//! **What fuzzing has found** so far, each with a test that fails without its mending: a BYE that nobody could read, after a Contact with a stray `<` and after
//! one of header fields alone (`sip_path`); an IPv6 extension header that goes on behind its packet's end (`frame`). What it can't find by short inputs, costs that
//! grow faster than a message, a reader found: formats times attributes in SDP, folded part headers; hence `tests/linear.rs` and inputs of a megabyte.
//!
//! **A bench** prints its figures, compares against a baseline that does nothing but the bare call, uses a fixed seed, and with `--smoke` runs for a second or two
//! and fails if its result (not its speed) is off: figures of a busy machine prove nothing.
//!
//! **A bug** gets a test that fails without the fix, in the narrowest of the above that can show it.
