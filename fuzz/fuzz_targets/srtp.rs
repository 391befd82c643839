//! Any datagrams to a secured track, by any suite: no panic, nothing but what was protected is taken, and what nobody vouches for takes no room.
//!
//! The first byte chooses suite and kind; behind it are datagrams, each after a length byte. Between them real packets go on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapehead::base::Mono;
use tapehead::rtp::{Header, write};
use tapehead::srtp::{Keys, Plan, Sender, Session, Suite};

fn keys(suite: Suite, mki: &[u8]) -> Keys {
    Keys::new(suite, &[7; 46][..suite.key_bytes() + suite.salt_bytes()]).unwrap().with_mki(mki).unwrap()
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, mut rest)) = data.split_first() else { return };
    let suite = Suite::ALL[usize::from(choice & 7) % Suite::ALL.len()];
    let mki: &[u8] = if choice & 0x10 == 0 { &[] } else { &[1, 2] };
    let is_rtcp = choice & 0x20 != 0;
    let keys = keys(suite, mki);
    let plan =
        Plan { suite, peer: vec![keys.clone()], ours: keys.clone(), clear_rtp: false, clear_rtcp: false };
    let (mut session, sender) = (Session::new(&plan), Sender::new(suite, &keys, false));
    let mut sequence = 65_530u32;
    while let Some((&len, tail)) = rest.split_first() {
        let (datagram, tail) = tail.split_at(usize::from(len).min(tail.len()));
        rest = tail;
        assert!(session.open(is_rtcp, datagram, Mono(1), &mut [0; 600]).is_err(), "nobody knows the key");
        if len & 1 == 1 {
            session.update(Some(&plan));
        }
        let header = Header { sequence: sequence as u16, ssrc: 7, ..Header::default() };
        let mut clear = Vec::new();
        write(&header, datagram, &mut clear);
        let mut sealed = clear.clone();
        sender.rtp(sequence >> 16, &mut sealed);
        assert_eq!(session.open(false, &sealed, Mono(1), &mut [0; 600]), Ok(&clear[..]));
        sequence += 1;
    }
});
