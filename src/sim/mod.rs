//! The simulated world: network, disk, clock, checkers, planted bugs.
