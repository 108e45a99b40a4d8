#!/usr/bin/env python3
"""Memory overcommitted by two, under QEMU, on 1 and 4 CPUs: guests that
rewrite all they share wait for frames, go on when others are killed or lose
their limits, and have lost nothing. And what a kill costs beside the sharers
of others, in instructions.

Each guest verifies its own bytes; the machine's memory must be back to the
frame; a list of commands that does not end in time is a deadlock.
"""

import json
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from errors import UserError                                    # noqa: E402
from qemu import EXIT_FAILURE, EXIT_SUCCESS, Machine            # noqa: E402

MIB = 1 << 20
GUESTS = 12             # of 8 MiB, in a machine of 64 MiB: 96 against 53
BYTES = "8M"
FITS = 5                # with nothing shared


def batch(commands, *, cpus=1, memory=64 * MIB, may_fail=(), timeout=150.0,
          build="debug", icount=False):
    """The replies to @commands and None, or what went wrong."""
    kernel = ROOT / f"build/hv/{build}/quire"
    try:
        with Machine(kernel, [ROOT / "build/guest/stress.elf"], cpus=cpus,
                     memory=memory, commands=commands, icount=icount,
                     timeout=timeout) as machine:
            status = machine.wait()
            replies = [json.loads(line) for line in
                       machine.replies.read_text().splitlines()][1:]
            log = machine.log.read_text(errors="replace")
    except UserError as err:
        return [], str(err).replace("\n", " | ")
    failed = False
    for command, reply in zip(commands, replies):
        if not reply["ok"]:
            failed = True
            if command not in may_fail:
                return [], f"{command}: {json.dumps(reply)[:300]}"
        if reply.get("failed") or reply.get("violations"):
            said = [line for line in log.splitlines()
                    if "FAIL" in line or "(E)" in line]
            return [], f"{command}: {json.dumps(reply)[:200]} {said[:4]}"
    if len(replies) != len(commands):
        return [], f"{len(replies)} replies to {len(commands)} commands"
    if status != (EXIT_FAILURE if failed else EXIT_SUCCESS):
        return [], f"exit status {status}: {log.splitlines()[-1:]}"
    return replies, None


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


def judge(commands, replies, why, left):
    """All that are left have passed, somebody has waited, nothing is lost."""
    if why is not None:
        return why
    before, after = replies[0], replies[-1]
    for key in ("free_frames", "heap_objects", "table_frames"):
        if before[key] != after[key]:
            return f"{key}: {before[key]} before, {after[key]} after"
    oom = replies[-5]["oom"]
    if oom["waiting"] or oom["promised"] or oom["resumes"] == 0:
        return f"at the end: {oom}"
    passed = sum(reply["passed"] for command, reply in zip(commands, replies)
                 if command.endswith("verdict=1 timeout_ms=90000"))
    if passed != left:
        return f"{passed} have passed, not {left}"
    return None


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
    replies, why = batch(commands, cpus=cpus, may_fail=(hopeless,))
    if why is None:
        listed = replies[commands.index("list")]["domains"]
        if len(listed) != GUESTS:
            why = f"{len(listed)} domains are listed with no memory"
    return judge(commands, replies, why, FITS)


def killed_by_policy(cpus):
    """Those that may be killed make room for those that wait."""
    commands = [*all_shared(lambda i: "kill" if i >= FITS else "wait"),
                *[f"wait g{i} verdict=1 timeout_ms=90000"
                  for i in range(FITS)], *the_end()]
    replies, why = batch(commands, cpus=cpus)
    if why is None and replies[-5]["oom"]["kills"] == 0:
        why = "nobody was killed"
    return judge(commands, replies, why, FITS)


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
    replies, why = batch(commands, cpus=cpus, may_fail=(hopeless,))
    if why is None:
        waiting = replies[commands.index("stats all")]["oom"]["waiting"]
        if waiting != 3:
            why = f"{waiting} wait for their limits, not 3"
    return judge(commands, replies, why, 3)


def kill_cost(cpus):
    """Instructions a gfn, alone on the frame and beside ten times as many."""
    def one(others):
        replies, why = batch(
            ["create name=a mem=4M paused=1", "create name=b mem=4M paused=1",
             "create name=c mem=4M paused=1", "nominate a gfn=0",
             f"add-random a 0 c 4096 count={others} span=16M",
             "add-physmap a 0 b 4096 count=20000", "destroy b"],
            cpus=cpus, memory=256 * MIB, build="release", icount=True)
        return (replies[-1]["destroyed"][0] if why is None else None), why
    alone, why = one(1)
    if why is None:
        beside, why = one(200000)
    if why is None and beside["busy_ticks"] > 1.2 * alone["busy_ticks"]:
        why = (f"{beside['busy_ticks']} instructions beside 200,000 sharers, "
               f"{alone['busy_ticks']} alone")
    return why


def main():
    failed = 0
    tests = [(f"{fn.__name__} on {cpus} CPUs", fn, cpus)
             for fn, counts in ((killed_by_hand, (1, 4)),
                                (killed_by_policy, (1, 4)),
                                (limited, (1, 4)), (kill_cost, (1,)))
             for cpus in counts]
    for name, fn, cpus in tests:
        why = fn(cpus)
        failed += why is not None
        print(f"PASS {name}" if why is None else f"FAIL {name}: {why}",
              flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
