//! Everything in any order: every call ends and nothing is left of it.

use super::*;
use proptest::prelude::*;

/// What may happen to a call, in any order, whether it makes sense or not.
#[derive(Clone, Debug)]
enum Op {
    Invite(u64),
    Opened(u64),
    Refused(u64),
    Ack(u64),
    Reinvite(u64),
    Bye(u64),
    Cancel(u64),
    Timeout(u64),
    Wanted(u64),
    Closed(u64, bool),
    Interval(u64),
    Pass(u64),
    Stopped(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let id = 1..6u64;
    prop_oneof![
        6 => id.clone().prop_map(Op::Invite),
        6 => id.clone().prop_map(Op::Opened),
        1 => id.clone().prop_map(Op::Refused),
        2 => id.clone().prop_map(Op::Ack),
        2 => id.clone().prop_map(Op::Reinvite),
        2 => id.clone().prop_map(Op::Bye),
        2 => id.clone().prop_map(Op::Cancel),
        1 => id.clone().prop_map(Op::Timeout),
        1 => id.clone().prop_map(Op::Wanted),
        3 => (id.clone(), any::<bool>()).prop_map(|(id, durable)| Op::Closed(id, durable)),
        2 => id.prop_map(Op::Interval),
        3 => (0..3000u64).prop_map(Op::Pass),
        1 => (1..2usize).prop_map(Op::Stopped),
    ]
}

impl World {
    fn apply(&mut self, op: Op, invites: &mut Vec<u64>) {
        let text = || Box::new(message("INFO", "", None));
        let dialog = DialogId;
        match op {
            // A dialog is never used twice.
            Op::Invite(id) if !self.control.dialogs.contains_key(&dialog(id)) => {
                invites.push(self.invite(id))
            }
            Op::Invite(_) => {}
            Op::Opened(id) => self.opened(id),
            Op::Refused(id) => {
                self.shard(ShardEvent::Refused { call: CallId(id), reason: link::Refusal::Full });
            }
            Op::Ack(id) => self.sip(SipEvent::Ack { dialog: dialog(id), message: text() }),
            Op::Reinvite(id) => {
                let request = self.reinvite(id, OFFER);
                assert!(self.answered(request).is_some(), "every re-INVITE is answered at once");
            }
            Op::Bye(id) => self.bye(id, Some(METADATA)),
            Op::Cancel(id) => self.sip(SipEvent::Cancel { dialog: dialog(id), ended: true }),
            Op::Timeout(id) => self.sip(SipEvent::Timeout { dialog: dialog(id) }),
            Op::Wanted(id) => self.shard(ShardEvent::SegmentWanted { call: CallId(id) }),
            Op::Closed(id, durable) => {
                self.shard_closes(id, if durable { Ok(()) } else { Err("EIO".to_owned()) });
            }
            Op::Interval(id) => {
                let interval =
                    Interval { track: 0, start: 0, end: 160, cause: Cause::Loss, packets: 1, merged: false };
                self.shard(ShardEvent::Interval { call: CallId(id), interval });
            }
            Op::Pass(ms) => self.pass(ms),
            Op::Stopped(shard) => {
                let now = self.now();
                self.control.shard(shard, ShardEvent::Stopped, now);
                self.settle();
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_every_call_ends_and_nothing_is_left(
        ops in proptest::collection::vec(op(), 0..60)
    ) {
        let mut world = World::new();
        let mut invites = Vec::new();
        ops.into_iter().for_each(|op| world.apply(op, &mut invites));
        let now = world.now();
        world.control.close_all(now);
        world.settle();
        for id in 1..200 {
            world.shard(ShardEvent::Refused { call: CallId(id), reason: link::Refusal::Closed });
            world.shard_closes(id, Ok(()));
        }
        prop_assert_eq!((world.control.calls(), world.control.deadline()), (0, None));
        prop_assert!(world.control.dialogs.is_empty());
        for invite in invites {
            let answers = world.answers.iter().filter(|(request, _, _)| *request == invite).count();
            prop_assert!(answers <= 1, "one final answer at most; a cancelled one has none from us");
        }
    }
}

#[test]
fn no_line_of_the_log_holds_personal_data() {
    let mut world = World::new();
    world.live(1);
    world.reinvite(1, "garbage");
    world.pass(Duration::from_secs(60).as_millis() as u64);
    world.bye(1, None);
    world.shard_closes(1, Ok(()));
    assert!(world.logs.len() >= 3);
    assert!(world.logs.iter().all(|log| !log.text.contains("alice") && !log.text.contains("sip:")));
}
