#!/usr/bin/env python3
"""Where each nanosecond of a packet goes: a profile of the shard's thread while it is measured, in groups.

Run from the project's folder, after `cargo bench --no-run --bench plane`:
    benches/profile.py [VARIANT] [LOAD]      (default: "shard, sockets" 0; perf is needed)
The manual's page `cost_of_a_packet` explains the groups.
"""

import collections
import glob
import os
import re
import subprocess
import sys
import tempfile

# The first group of which a name is anywhere in the stack (kernel) or in the innermost function (ours).
KERNEL = [
    ("write: file system and block layer", ("ext4_", "iomap_", "xfs_", "blk_mq", "io_write", "submit_bio")),
    ("receive: from the socket into a buffer", ("io_recvmsg", "io_recv")),
    ("receive: work queued per packet, and its completion", ("io_poll_task_func", "io_run_local_work", "io_cqring_wait")),
    ("the rest of io_uring and of system calls", ("io_uring_enter", "do_syscall_64", "asm_")),
]
OURS = [
    ("seal", ("aes_gcm", "aead", "aws_lc", "seal::")),
    ("silence, coverage, copy", ("window::", "memset", "memmove", "memcpy")),
    ("track: order and place", ("media::", "rtp::")),
    ("ring: completions, buffers, addresses, stamps", ("ring::", "io_uring::")),
    ("shard: find the call, count, look at calls", ("shard::",)),
]


def group(stack):
    for name, words in OURS:
        if any(word in stack[0] for word in words):
            return name
    for name, words in KERNEL:
        if any(word in frame for frame in stack for word in words):
            return name
    return "other"


def samples(path):
    """The stacks of the measured thread, innermost function first."""
    text = subprocess.run(
        ["perf", "script", "-i", path, "--comms", "measured", "-F", "comm,ip,sym"], capture_output=True, text=True, check=True
    ).stdout
    for sample in text.split("\n\n"):
        frames = [line.split(None, 1) for line in sample.splitlines()[1:]]
        if frames:
            yield [frame[1] if len(frame) > 1 else "?" for frame in frames]


def main():
    variant, load = (sys.argv[1:] + ["shard, sockets", "0"][len(sys.argv) - 1 :])[:2]
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    bench = max((b for b in glob.glob(f"{target}/release/deps/plane-*") if "." not in os.path.basename(b)), key=os.path.getmtime)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/perf.data"
        command = ["perf", "record", "-o", path, "-F", "2000", "-g", bench, "--only", variant, "--load", load, "--rounds", "1"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        stacks = list(samples(path))
    measured = re.search(rf"^{re.escape(variant)} +(\d+)", said, re.M)
    print(said.strip())
    if not stacks or not measured:
        sys.exit("nothing was measured: is perf allowed to profile (kernel.perf_event_paranoid)?")
    cost = float(measured.group(1))
    groups = collections.Counter(map(group, stacks))
    leaves = collections.Counter((group(stack), stack[0]) for stack in stacks)
    print(f"\n{len(stacks)} samples")
    for name, count in groups.most_common():
        print(f"{cost * count / len(stacks):7.0f} ns {100 * count / len(stacks):5.1f} %  {name}")
        for (_, leaf), part in [entry for entry in leaves.most_common(400) if entry[0][0] == name][:4]:
            print(f"{'':18}{100 * part / len(stacks):5.1f} %  {leaf[:90]}")


if __name__ == "__main__":
    main()
