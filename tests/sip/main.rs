//! The SIP parser against what the standards call torture, against chance, and beside rsip.

mod messages;
mod properties;
mod rsip_finding;
mod torture;
