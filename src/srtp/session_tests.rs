//! Sessions from both ends: what a sender protects, and what comes of it here.

use proptest::prelude::*;

use super::*;
use crate::limits::SOURCES_MAX;
use crate::rtp::{Header, Packet, write};
use crate::srtp::{Keys, Suite};

fn keys(suite: Suite, seed: u8) -> Keys {
    let bytes: Vec<u8> = (0..46).map(|n| seed.wrapping_mul(31).wrapping_add(n)).collect();
    Keys::new(suite, &bytes[..suite.key_bytes() + suite.salt_bytes()]).unwrap()
}

fn plan(suite: Suite, seed: u8) -> Plan {
    let (peer, ours) = (vec![keys(suite, seed)], keys(suite, 200));
    Plan { suite, peer, ours, clear_rtp: false, clear_rtcp: false }
}

fn sender(plan: &Plan) -> Sender {
    Sender::new(plan.suite, &plan.peer[0], plan.clear_rtcp)
}

const SSRC: u32 = 0x53;

/// The packet of extended sequence number `index`.
fn clear(ssrc: u32, index: u64) -> Vec<u8> {
    let header = Header {
        sequence: index as u16,
        ssrc,
        timestamp: index as u32 * 160,
        extension: (index.is_multiple_of(3)).then_some((0xbede, &[1, 2, 3, 4][..])),
        csrc: if index.is_multiple_of(5) { &[9] } else { &[] },
        padding: (index % 7) as u8,
        ..Header::default()
    };
    let mut packet = Vec::new();
    write(&header, &index.to_be_bytes().repeat(20), &mut packet);
    packet
}

fn protected(sender: &Sender, ssrc: u32, index: u64) -> Vec<u8> {
    let mut packet = clear(ssrc, index);
    sender.rtp((index >> 16) as u32, &mut packet);
    packet
}

fn ms(ms: u64) -> Mono {
    Mono::from_ms(1000 + ms)
}

fn open(session: &mut Session, packet: &[u8], at: Mono) -> Result<Vec<u8>, Failure> {
    session.open(false, packet, at, &mut [0; 600]).map(<[u8]>::to_vec)
}

/// Opens the packet of `index` under `sender`, and compares.
fn takes(session: &mut Session, sender: &Sender, index: u64, at: Mono) -> Result<(), Failure> {
    let opened = open(session, &protected(sender, SSRC, index), at)?;
    assert_eq!(opened, clear(SSRC, index));
    Ok(())
}

#[test]
fn what_is_protected_opens_once_across_the_rollover_and_out_of_order() {
    for suite in Suite::ALL {
        let plan = plan(suite, 1);
        let (mut session, sender) = (Session::new(&plan), sender(&plan));
        for index in [65_530, 65_533, 65_531, 65_536, 65_535, 65_532, 65_540, 98_000, 130_000, 131_074] {
            assert_eq!(takes(&mut session, &sender, index, ms(0)), Ok(()), "{suite:?} {index}");
            assert_eq!(takes(&mut session, &sender, index, ms(0)), Err(Failure::Replay), "{suite:?} {index}");
        }
        assert_eq!(
            takes(&mut session, &sender, 131_074 - 128, ms(0)),
            Err(Failure::Replay),
            "too old to know"
        );
    }
}

#[test]
fn what_is_not_authentic_changes_nothing() {
    for suite in Suite::ALL {
        let right = plan(suite, 1);
        let (mut session, sender) = (Session::new(&right), sender(&right));
        takes(&mut session, &sender, 100, ms(0)).unwrap();
        let wrong = self::sender(&plan(suite, 2));
        assert_eq!(takes(&mut session, &wrong, 101, ms(0)), Err(Failure::Auth), "another key");
        assert_eq!(open(&mut session, &clear(SSRC, 101), ms(0)), Err(Failure::Auth), "in clear");
        let whole = protected(&sender, SSRC, 101);
        for byte in 0..whole.len() {
            let mut changed = whole.clone();
            changed[byte] ^= 0x10;
            assert!(open(&mut session, &changed, ms(0)).is_err(), "{suite:?}: byte {byte} changed");
            assert!(open(&mut session, &whole[..byte], ms(0)).is_err(), "{suite:?}: cut at {byte}");
        }
        // Sources that nobody vouches for take no room.
        (0..100).for_each(|ssrc| assert!(open(&mut session, &protected(&wrong, ssrc, 7), ms(0)).is_err()));
        assert_eq!(takes(&mut session, &sender, 101, ms(0)), Ok(()));
    }
}

#[test]
fn a_source_first_heard_after_its_rollover_is_found() {
    let plan = plan(Suite::AesCm128HmacSha1_80, 1);
    let (mut session, sender) = (Session::new(&plan), sender(&plan));
    assert_eq!(takes(&mut session, &sender, 65_537, ms(0)), Ok(()));
    assert_eq!(takes(&mut session, &sender, 65_535, ms(0)), Ok(()), "overtaken");
    assert_eq!(takes(&mut session, &sender, 65_538, ms(0)), Ok(()));
}

#[test]
fn sources_are_told_apart_and_bounded() {
    let plan = plan(Suite::AeadAes128Gcm, 1);
    let (mut session, sender) = (Session::new(&plan), sender(&plan));
    let mut take = |ssrc: u32, index, at| open(&mut session, &protected(&sender, ssrc, index), at).map(drop);
    for ssrc in 0..SOURCES_MAX as u32 {
        assert_eq!(take(ssrc, 70_000, ms(0)), Ok(()));
    }
    assert_eq!(take(77, 5, ms(0)), Err(Failure::Sources));
    assert_eq!(take(0, 70_001, ms(1500)), Ok(()));
    assert_eq!(take(77, 6, ms(1500)), Ok(()), "one that fell silent made room");
    // Some go on with the counter that they had under their last SSRC.
    assert_eq!(take(78, (1 << 16) + 9, ms(1500)), Ok(()));
}

#[test]
fn after_new_keys_the_old_ones_are_taken_for_a_moment_and_the_rollover_counter_is_kept_or_reset() {
    for (kept, suite) in [(0, Suite::AesCm128HmacSha1_32), (3, Suite::AeadAes256Gcm)] {
        let (first, second) = (plan(suite, 1), plan(suite, 2));
        let (old, new) = (sender(&first), sender(&second));
        let mut session = Session::new(&first);
        // At rollover counter 3 by way of 1 and 2.
        for index in [60_000, 90_000, 120_000, 150_000, 180_000, 200_000] {
            takes(&mut session, &old, index, ms(0)).unwrap();
        }
        session.update(Some(&second));
        takes(&mut session, &new, (kept << 16) + 4000, ms(100)).unwrap();
        takes(&mut session, &old, 200_001, ms(200)).unwrap();
        takes(&mut session, &new, (kept << 16) + 4001, ms(300)).unwrap();
        assert_eq!(takes(&mut session, &old, 200_001, ms(300)), Err(Failure::Replay));
        assert!(takes(&mut session, &old, 200_002, ms(5200)).is_err(), "the moment is over");
        takes(&mut session, &new, (kept << 16) + 4002, ms(5200)).unwrap();
    }
}

#[test]
fn under_the_same_keys_a_sender_may_begin_anew_once_per_description() {
    let plan = plan(Suite::AesCm128HmacSha1_80, 1);
    let sender = sender(&plan);
    let mut session = Session::new(&plan);
    for index in [60_000, 90_000] {
        takes(&mut session, &sender, index, ms(0)).unwrap();
    }
    assert!(takes(&mut session, &sender, 24_600, ms(10)).is_err(), "nobody said so");
    session.update(Some(&plan));
    takes(&mut session, &sender, 90_001, ms(12_000)).unwrap();
    takes(&mut session, &sender, 24_600, ms(12_100)).unwrap();
    takes(&mut session, &sender, 90_002, ms(12_200)).expect("if it did not, it goes on as before");
    takes(&mut session, &sender, 24_601, ms(12_300)).unwrap();
    assert_eq!(takes(&mut session, &sender, 24_601, ms(12_300)), Err(Failure::Replay));
    assert_eq!(takes(&mut session, &sender, 90_002, ms(12_300)), Err(Failure::Replay));
    (24_602..24_800).for_each(|index| takes(&mut session, &sender, index, ms(12_400)).unwrap());
    assert!(takes(&mut session, &sender, 90_003, ms(12_400)).is_err(), "the one that went on has won");
    assert!(takes(&mut session, &sender, 90_000, ms(12_400)).is_err());
}

#[test]
fn after_a_long_silence_lost_rollovers_are_made_good() {
    let plan = plan(Suite::AeadAes128Gcm, 1);
    let (mut session, sender) = (Session::new(&plan), sender(&plan));
    takes(&mut session, &sender, 1000, ms(0)).unwrap();
    assert_eq!(
        takes(&mut session, &sender, 50_000, ms(100)),
        Ok(()),
        "within one rollover it is only an estimate"
    );
    assert!(takes(&mut session, &sender, 50_000 + 100_000, ms(200)).is_err());
    takes(&mut session, &sender, 50_000 + 100_000, ms(900_000)).unwrap();
    takes(&mut session, &sender, 50_000 + 100_001, ms(900_020)).unwrap();
}

#[test]
fn reports_are_protected_under_an_index_that_never_goes_back() {
    for suite in Suite::ALL {
        let (first, second) = (plan(suite, 1), plan(suite, 2));
        let mirror =
            |plan: &Plan| Plan { peer: vec![plan.ours.clone()], ours: plan.peer[0].clone(), ..plan.clone() };
        let (mut us, mut them) = (Session::new(&first), Session::new(&mirror(&first)));
        let report: Vec<u8> = (0..44).collect();
        let exchange = |us: &mut Session, them: &mut Session| {
            let mut packet = report.clone();
            us.protect_rtcp(&mut packet);
            assert_ne!(packet[8..44], report[8..]);
            assert_eq!(them.open(true, &packet, ms(0), &mut [0; 100]), Ok(&report[..]));
            assert_eq!(them.open(true, &packet, ms(0), &mut [0; 100]), Err(Failure::Replay));
            let word = if suite.is_aead() { packet.len() - 4 } else { packet.len() - 14 };
            u32::from_be_bytes(packet[word..word + 4].try_into().unwrap()) & 0x7fff_ffff
        };
        assert_eq!([exchange(&mut us, &mut them), exchange(&mut us, &mut them)], [0, 1], "{suite:?}");
        us.update(Some(&Plan { ours: keys(suite, 9), ..second.clone() }));
        them.update(Some(&Plan { peer: vec![keys(suite, 9)], ..mirror(&second) }));
        assert_eq!(exchange(&mut us, &mut them), 2, "{suite:?}");
    }
}

#[test]
fn identifiers_choose_the_key_and_a_flag_does_not_choose_clear_text() {
    for suite in Suite::ALL {
        let one = keys(suite, 1).with_mki(&[0, 0, 0, 1]).unwrap();
        let two = keys(suite, 2).with_mki(&[0, 0, 0, 2]).unwrap();
        let three = keys(suite, 2).with_mki(&[0, 0, 0, 3]).unwrap();
        let plan = Plan { peer: vec![one.clone(), two.clone()], ..plan(suite, 1) };
        let mut session = Session::new(&plan);
        let (one, two, three) = (&one, &two, &three);
        let [one, two, three] = [one, two, three].map(|keys| Sender::new(suite, keys, false));
        takes(&mut session, &one, 1, ms(0)).unwrap();
        takes(&mut session, &two, 2, ms(0)).unwrap();
        assert_eq!(takes(&mut session, &three, 3, ms(0)), Err(Failure::Auth));
        let mut clear = Sender::new(suite, &plan.peer[0], true);
        if !suite.is_aead() {
            let mut packet = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
            clear.rtcp(&mut packet);
            assert_eq!(session.open(true, &packet, ms(0), &mut [0; 100]), Err(Failure::Auth));
            let mut lax = Session::new(&Plan { clear_rtcp: true, ..plan });
            assert!(lax.open(true, &packet, ms(0), &mut [0; 100]).is_ok());
        }
    }
}

#[test]
fn when_security_ends_what_is_on_its_way_is_still_opened_and_clear_text_passes() {
    let plan = plan(Suite::AesCm256HmacSha1_80, 1);
    let (mut session, sender) = (Session::new(&plan), sender(&plan));
    takes(&mut session, &sender, 10, ms(0)).unwrap();
    session.update(None);
    takes(&mut session, &sender, 11, ms(10)).unwrap();
    assert_eq!(open(&mut session, &clear(SSRC, 12), ms(20)), Ok(clear(SSRC, 12)));
    let mut report = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
    session.protect_rtcp(&mut report);
    assert_eq!(report.len(), 8, "our reports go in clear, too");
}

proptest! {
    #[test]
    fn no_datagram_panics_and_none_is_authentic(
        bytes in prop::collection::vec(any::<u8>(), 0..200), rtcp in any::<bool>(), suite in 0..6usize
    ) {
        let mut session = Session::new(&plan(Suite::ALL[suite], 1));
        let room = &mut [0; 600];
        prop_assert!(matches!(
            session.open(rtcp, &bytes, ms(0), room), Err(Failure::Auth | Failure::Malformed)
        ));
    }

    #[test]
    fn any_order_within_the_window_opens_to_what_was_sent(
        start in prop_oneof![Just(65_400u64), any::<u16>().prop_map(u64::from)],
        delays in prop::collection::vec(0u64..60, 1..300)
    ) {
        let plan = plan(Suite::AeadAes128Gcm, 1);
        let (mut session, sender) = (Session::new(&plan), sender(&plan));
        let mut order: Vec<(u64, u64)> = (0..).zip(&delays).map(|(n, delay)| (n + delay, start + n)).collect();
        order.sort();
        for (_, index) in order {
            let packet = protected(&sender, SSRC, index);
            prop_assert_eq!(open(&mut session, &packet, ms(0)), Ok(clear(SSRC, index)));
            let read = clear(SSRC, index);
            prop_assert!(Packet::parse(&read).is_ok());
        }
    }
}
