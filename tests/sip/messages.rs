//! The messages of RFC 4475 by their names there, bit for bit (`torture/README.md` says where they are from), and what is to become of each.

/// What is to become of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Well-formed, and taken.
    Taken,
    /// Called malformed by RFC 4475, which allows to be liberal; nothing that matters to a recorder is wrong with it.
    Tolerated,
    /// Refused with this reason, and answered.
    Answered(&'static str),
    /// Refused with this reason; there is nobody to tell.
    Dropped(&'static str),
}

use Fate::{Answered, Dropped, Taken, Tolerated};

macro_rules! torture {
    ($($name:ident $fate:expr,)*) => {
        [$((stringify!($name), $fate, include_bytes!(concat!("torture/", stringify!($name), ".dat"))),)*]
    };
}

/// Name, fate, bytes.
pub const TORTURE: [(&str, Fate, &[u8]); 49] = torture![
    wsinv Taken,
    intmeth Taken,
    esc01 Taken,
    escnull Taken,
    esc02 Taken,
    lwsdisp Taken,
    dblreq Taken,
    semiuri Taken,
    transports Taken,
    mpart01 Taken,
    unreason Taken,
    noreason Taken,
    badinv01 Answered("Via can't be read"),
    clerr Answered("Body shorter than Content-Length"),
    ncl Answered("Content-Length can't be read"),
    scalar02 Answered("CSeq can't be read"),
    scalarlg Dropped("CSeq can't be read"),
    quotbal Answered("To can't be read"),
    ltgtruri Answered("Malformed request line"),
    lwsruri Answered("Malformed request line"),
    lwsstart Answered("Malformed request line"),
    trws Answered("Malformed request line"),
    escruri Tolerated,
    baddate Tolerated,
    regbadct Tolerated,
    badaspec Tolerated,
    baddn Tolerated,
    badvers Answered("Only SIP/2.0 is spoken here"),
    mismatch01 Answered("CSeq names another method"),
    mismatch02 Answered("CSeq names another method"),
    bigcode Dropped("Status code out of range"),
    badbranch Taken,
    insuf Dropped("From missing"),
    unkscm Taken,
    novelsc Taken,
    unksm2 Taken,
    bext01 Taken,
    invut Taken,
    regaut01 Taken,
    multi01 Answered("From given more than once"),
    mcl01 Answered("Content-Length given more than once"),
    bcast Taken,
    zeromf Taken,
    cparam01 Taken,
    cparam02 Taken,
    regescrt Taken,
    inv2543 Taken,
    longreq Taken,
    sdp01 Taken,
];
