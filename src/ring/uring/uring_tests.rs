//! What only this ring can get wrong: too little locked memory, tags, ends of receives.

use super::*;
use crate::limits::FRAME_BYTES;
use crate::ring::conformance::{World, conformance_tests};
use crate::ring::loopback::{Loopback, loopback_world};
use crate::ring::{Errno, FileIx};

struct Uring(Loopback);
loopback_world!(Uring, UringRing, |plan, blocks| UringRing::new(plan, blocks).unwrap());
conformance_tests!(Uring);

#[test]
fn tags_read_back() {
    for tag in [
        Tag::Receive { socket: u32::MAX, generation: Tag::GENERATIONS - 1 },
        Tag::Cancel { socket: 7, generation: 1 },
        Tag::File { index: 12 },
    ] {
        assert_eq!(Tag::decode(tag.encode()), Some(tag));
    }
    assert_eq!(Tag::decode(0), None);
}

/// Runs `body` in a thread without CAP_IPC_LOCK, while the process may lock `limit` bytes.
fn without_privilege(limit: u64, body: impl FnOnce() + Send) {
    let bound = libc::rlimit { rlim_cur: limit, rlim_max: libc::RLIM_INFINITY };
    let mut before = bound;
    // SAFETY: the structures live through the calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut before), 0);
        assert_eq!(
            libc::setrlimit(libc::RLIMIT_MEMLOCK, &libc::rlimit { rlim_max: before.rlim_max, ..bound }),
            0
        );
    }
    let outcome = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                // Version 3 of the capability interface: two words each of effective, permitted, inheritable.
                let (header, mut caps) = ([0x2008_0522u32, 0], [0u32; 6]);
                // SAFETY: both arrays live through the calls and have the interface's layout.
                unsafe {
                    assert_eq!(libc::syscall(libc::SYS_capget, &raw const header, &raw mut caps), 0);
                    caps[0] &= !(1 << 14);
                    assert_eq!(libc::syscall(libc::SYS_capset, &raw const header, &raw const caps), 0);
                }
                body();
            })
            .join()
    });
    // SAFETY: the structure lives through the call.
    unsafe { assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &before), 0) };
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn plan(receive_buffers: u32) -> RingPlan {
    RingPlan { sockets_max: 400, files_max: 100, receive_buffers }
}

#[test]
fn locked_memory_is_shared_out_before_the_ring_gives_up() {
    // In a process of its own, because the limit is the process's and other tests run beside.
    if std::env::var_os("TAPEHEAD_ALONE").is_none() {
        let name = "ring::uring::tests::locked_memory_is_shared_out_before_the_ring_gives_up";
        let alone = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env("TAPEHEAD_ALONE", "1")
            .output()
            .unwrap();
        let said =
            String::from_utf8_lossy(&alone.stdout).into_owned() + &String::from_utf8_lossy(&alone.stderr);
        assert!(alone.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    a_user_with_8_mib_of_locked_memory_runs_a_small_plan();
    a_ring_shrinks_to_what_may_be_locked();
    a_ring_that_can_not_be_had_says_need_and_limit();
}

fn a_user_with_8_mib_of_locked_memory_runs_a_small_plan() {
    without_privilege(8 << 20, || {
        // 300 blocks are 4.7 MiB: registered. 2,000 are 31 MiB: not, and writing works all the same.
        for blocks in [300, 2000] {
            let mut blocks = BlockPool::new(blocks).unwrap();
            let mut ring = UringRing::new(plan(8192), &blocks).unwrap();
            assert_eq!(ring.receive_buffers(), 8192);
            let world = Loopback::new(std::net::Ipv4Addr::LOCALHOST.into());
            let (file, path) = (FileIx(9), world.folder().join("a"));
            let block = blocks.acquire().unwrap();
            blocks.frame_mut(block, 1).fill(9);
            ring.submit(Op::Create { file, path: path.clone() }, &blocks).unwrap();
            assert_eq!(answer(&mut ring), Completion::Created { file, result: Ok(()) });
            let (start, len) = (FRAME_BYTES as u32, FRAME_BYTES as u32);
            ring.submit(Op::Write { file, offset: 0, block, start, len }, &blocks).unwrap();
            assert_eq!(answer(&mut ring), Completion::Written { file, block, start, result: Ok(len) });
            assert!(std::fs::read(path).unwrap() == [9; FRAME_BYTES]);
        }
    });
}

fn a_ring_shrinks_to_what_may_be_locked() {
    without_privilege(512 << 10, || {
        let blocks = BlockPool::new(1).unwrap();
        let ring = UringRing::new(plan(32_768), &blocks).unwrap();
        assert!((64..32_768).contains(&ring.receive_buffers()));
    });
}

fn a_ring_that_can_not_be_had_says_need_and_limit() {
    without_privilege(4096, || {
        let blocks = BlockPool::new(1).unwrap();
        match UringRing::new(plan(8192), &blocks).err() {
            Some(RingError::LockedMemory { need, limit: 4096 }) => {
                assert!(need > 256 << 10, "{need}")
            }
            other => panic!("{other:?}"),
        }
    });
}

/// The first thing the ring says that is not trouble.
fn answer(ring: &mut UringRing) -> Completion<'static> {
    let mut first = None;
    while first.is_none() {
        ring.drain(clock::mono() + Duration::from_millis(2), &mut |_, completion| {
            first = Some(match completion {
                Completion::Created { file, result } => Completion::Created { file, result },
                Completion::Written { file, block, start, result } => {
                    Completion::Written { file, block, start, result }
                }
                Completion::Ahead { .. } => return,
                other => panic!("{other:?}"),
            });
        });
    }
    first.unwrap()
}

#[test]
fn an_op_on_a_slot_without_a_file_or_socket_is_answered() {
    let mut blocks = BlockPool::new(1).unwrap();
    let mut ring =
        UringRing::new(RingPlan { sockets_max: 2, files_max: 2, receive_buffers: 64 }, &blocks).unwrap();
    let (file, socket, bad) = (FileIx(1), SocketIx(1), Errno(libc::EBADF));
    let block = blocks.acquire().unwrap();
    let to = "127.0.0.1:9".parse().unwrap();
    for op in [
        Op::Write { file, offset: 0, block, start: 0, len: 4096 },
        Op::Sync { file },
        Op::Truncate { file, size: 0 },
        Op::Allocate { file, size: 1 },
        Op::CloseFile { file },
        Op::CloseSocket { socket },
        Op::SendTo { socket, to, bytes: Box::new([1]) },
    ] {
        ring.submit(op, &blocks).unwrap();
    }
    let mut seen = Vec::new();
    ring.drain(clock::mono(), &mut |_, completion| seen.push(format!("{completion:?}")));
    let expected = [
        Completion::Written { file, block, start: 0, result: Err(bad) },
        Completion::Synced { file, result: Err(bad) },
        Completion::Truncated { file, result: Err(bad) },
        Completion::Allocated { file, result: Err(bad) },
        Completion::FileClosed { file },
        Completion::SocketClosed { socket },
        Completion::Trouble(Trouble::SendFailed { socket, errno: bad }),
    ];
    assert_eq!(seen, expected.map(|completion| format!("{completion:?}")));
}

#[test]
fn running_out_of_buffers_is_told() {
    let blocks = BlockPool::new(1).unwrap();
    let mut ring =
        UringRing::new(RingPlan { sockets_max: 4, files_max: 1, receive_buffers: 8 }, &blocks).unwrap();
    let mut world = Loopback::new(std::net::Ipv4Addr::LOCALHOST.into());
    ring.submit(Op::Bind { socket: SocketIx(0), at: "127.0.0.1:0".parse().unwrap() }, &blocks).unwrap();
    let mut at = None;
    ring.drain(clock::mono(), &mut |_, completion| {
        if let Completion::Bound { result, .. } = completion {
            at = result.ok();
        }
    });
    (0..50).for_each(|_| world.send(0, at.unwrap(), b"x"));
    let (mut received, mut no_buffers) = (0, 0);
    ring.drain(clock::mono() + Duration::from_millis(5), &mut |_, completion| match completion {
        Completion::Received { .. } => received += 1,
        Completion::Trouble(Trouble::NoBuffers) => no_buffers += 1,
        Completion::Ahead { .. } => {}
        other => panic!("{other:?}"),
    });
    assert_eq!(received, 50, "all in one drain");
    assert!((1..=10).contains(&no_buffers), "{no_buffers}");
}
