#!/usr/bin/env python3
"""Memory overcommitted by two, under QEMU, on 1 and 4 CPUs: guests that
rewrite all they share wait for frames, go on when others are killed or lose
their limits, and have lost nothing. And what a kill costs beside the sharers
of others, in instructions.

Each guest verifies its own bytes; the machine's memory must be back to the
frame; a list of commands that does not end in time is a deadlock.
"""

import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent /
                       "tools"))

from batch import MIB, batch, check_same                        # noqa: E402
from cases import check, main, on_cpus                          # noqa: E402

GUESTS = 12             # of 8 MiB, in a machine of 64 MiB: 96 against 53
BYTES = "8M"
FITS = 5                # with nothing shared


def all_shared(policy, vcpus=1):
    """Every guest's pages are those of the first; each may begin to write."""
    commands = ["memory"]
    for i in range(GUESTS):
        commands += [
            f"create name=g{i} image=stress mem={BYTES} vcpus={vcpus} "
            f'oom={policy(i)} cmdline="seed={i} common=100 write=100"',
            f"wait g{i} phase=1 timeout_ms=30000"]
        if i > 0:
            commands.append(f"share g0 @0 g{i} @0 count=@1 equal=1")
    return commands + ["audit", "allow all phase=2",
                       "events since=1 count=1 wait_ms=60000"]


def the_end():
    return ["stats all", "audit", "destroy all", "audit", "memory"]


def judged(commands, left, cpus, may_fail=()):
    """The replies: all that are @left have passed, somebody has waited,
    nothing is lost."""
    replies, _ = batch(["stress"], commands, cpus=cpus, memory=64 * MIB,
                       may_fail=may_fail, timeout=150.0)
    check_same(replies[0], replies[-1], "free_frames", "heap_objects",
               "table_frames")
    oom = replies[-5]["oom"]
    check(not oom["waiting"] and not oom["promised"] and oom["resumes"] != 0,
          f"at the end: {oom}")
    passed = sum(reply["passed"] for command, reply in zip(commands, replies)
                 if command.endswith("verdict=1 timeout_ms=90000"))
    check(passed == left, f"{passed} have passed, not {left}")
    return replies


@on_cpus(1, 4)
def killed_by_hand(cpus):
    """All wait; then some are destroyed, in any order, while the others go
    on, and the channel answers all the time."""
    rng = random.Random(cpus)
    names = [f"g{i}" for i in range(GUESTS)]
    rng.shuffle(names)
    hopeless = "wait all verdict=1 timeout_ms=2500"
    commands = [*all_shared(lambda i: "wait"), hopeless, "list",
                "info g0", "memory", "audit", "events since=1"]
    for name in names[FITS:]:
        commands += [f"pause {names[0]}", f"destroy {name}", "audit",
                     f"unpause {names[0]}"]
    commands += ["wait all verdict=1 timeout_ms=90000", *the_end()]
    replies = judged(commands, FITS, cpus, (hopeless,))
    listed = replies[commands.index("list")]["domains"]
    check(len(listed) == GUESTS,
          f"{len(listed)} domains are listed with no memory")


@on_cpus(1, 4)
def killed_by_policy(cpus):
    """Those that may be killed make room for those that wait."""
    commands = [*all_shared(lambda i: "kill" if i >= FITS else "wait"),
                *[f"wait g{i} verdict=1 timeout_ms=90000"
                  for i in range(FITS)], *the_end()]
    replies = judged(commands, FITS, cpus)
    check(replies[-5]["oom"]["kills"] != 0, "nobody was killed")


@on_cpus(1, 4)
def limited(cpus):
    """Each at its own limit, with memory there; limits are raised in turn."""
    commands = ["memory"]
    for i in range(3):
        commands += [
            f"create name=g{i} image=stress mem={BYTES} "
            f'cmdline="seed={i} common=100 write=100"',
            f"wait g{i} phase=1 timeout_ms=30000"]
        if i > 0:
            commands.append(f"share g0 @0 g{i} @0 count=@1 equal=1")
    commands += [f"set-max g{i} max=4M" for i in range(3)]
    hopeless = "wait all verdict=1 timeout_ms=1000"
    commands += ["allow all phase=2", hopeless, "stats all", "audit"]
    for mib in (5, 6, 7, 16):
        commands += [f"set-max g{i} max={mib}M" for i in range(3)]
        commands += ["sleep ms=50"]
    commands += ["wait all verdict=1 timeout_ms=90000", *the_end()]
    replies = judged(commands, 3, cpus, (hopeless,))
    waiting = replies[commands.index("stats all")]["oom"]["waiting"]
    check(waiting == 3, f"{waiting} wait for their limits, not 3")


@on_cpus(1)
def kill_cost(cpus):
    """Instructions a gfn, alone on the frame and beside ten times as many."""
    def one(others):
        replies, _ = batch(["stress"], [
            "create name=a mem=4M paused=1", "create name=b mem=4M paused=1",
            "create name=c mem=4M paused=1", "nominate a gfn=0",
            f"add-random a 0 c 4096 count={others} span=16M",
            "add-physmap a 0 b 4096 count=20000", "destroy b",
        ], cpus=cpus, timeout=150.0, build="release", icount=True)
        return replies[-1]["destroyed"][0]["busy_ticks"]

    alone, beside = one(1), one(200000)
    check(beside <= 1.2 * alone, f"{beside} instructions beside 200,000 "
          f"sharers, {alone} alone")


if __name__ == "__main__":
    main()
