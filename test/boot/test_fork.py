#!/usr/bin/env python3
"""Forks under QEMU: domains verify their own memory after being forked, reset
and orphaned, on 1 and 4 CPUs; the memory comes back to the frame.

The guest `forker` writes what follows from its own domain id, so that a page
of another's is noticed; `stress` with then=loop verifies itself for ever, and
is forked in the middle of it.
"""

import json
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from errors import UserError                                    # noqa: E402
from qemu import EXIT_FAILURE, EXIT_SUCCESS, Machine            # noqa: E402

FORKS = 16


def batch(image, commands, cpus, may_fail=(), timeout=120.0):
    """Run @commands; their replies and None, or what went wrong."""
    kernel = ROOT / "build/hv/debug/quire"
    try:
        with Machine(kernel, [ROOT / f"build/guest/{image}.elf"], cpus=cpus,
                     memory=512 << 20, commands=commands,
                     timeout=timeout) as machine:
            status = machine.wait()
            replies = [json.loads(line) for line in
                       machine.replies.read_text().splitlines()][1:]
            log = machine.log.read_text(errors="replace")
    except UserError as err:
        return [], str(err).replace("\n", " | ")
    for command, reply in zip(commands, replies):
        if reply["ok"] == (command in may_fail):
            return [], f"{command}: {json.dumps(reply)[:300]}"
        if reply.get("failed") or reply.get("violations"):
            said = [line for line in log.splitlines()
                    if "FAIL" in line or "(E)" in line]
            return [], f"{command}: {json.dumps(reply)[:200]} {said[:4]}"
    if len(replies) != len(commands):
        return [], f"{len(replies)} replies to {len(commands)} commands"
    if status != (EXIT_FAILURE if may_fail else EXIT_SUCCESS):
        return [], f"exit status {status}: {log.splitlines()[-1:]}"
    return replies, None


def all_back(image, commands, cpus, may_fail=()):
    """@commands between two counts of the memory, which must agree."""
    replies, why = batch(image, ["memory", *commands, "destroy all", "audit",
                                 "memory"], cpus, may_fail)
    if why is None:
        for key in ("free_frames", "heap_objects"):
            before, after = replies[0][key], replies[-1][key]
            if before != after:
                why = f"{key}: {before} before, {after} after"
    return replies, why


def own_ways(cpus):
    """Forks, forks of forks, resets; killed in a random order."""
    names = [f"a{i}" for i in range(FORKS)]
    rng = random.Random(cpus)
    commands = [
        'create name=p image=forker mem=8M cmdline="seed=3 write=5"',
        "wait p phase=1 timeout_ms=30000",
        f"fork p name=a{{i}} count={FORKS}",
        "allow all phase=2",
        "wait all verdict=1 timeout_ms=60000",
        "audit",
        "fork a0 name=b{i} count=3",
        "fork-reset a1", "fork-reset a3",
        "audit",
        "allow all phase=3",
        "wait a0 phase=3 timeout_ms=60000",
        "wait a1 phase=3 timeout_ms=60000",
        "wait b1 phase=3 timeout_ms=60000",
        "fork-reset b1",
        "wait p phase=3 timeout_ms=60000",
        "destroy p",
        "allow b1 phase=3", "wait b1 phase=3 timeout_ms=60000",
    ]
    order = [*names, "b0", "b1", "b2"]
    rng.shuffle(order)
    for i, name in enumerate(order):
        commands.append(f"destroy {name}")
        if i % 6 == 0:
            commands.append("audit")
    return all_back("forker", commands, cpus)[1]


def in_the_middle(cpus):
    """A domain that never waits is forked again and again, its forks are
    forked and reset: all of them find their memory as they left it."""
    commands = [
        'create name=p image=stress mem=6M cmdline="seed=3 write=30 then=loop '
        'pages=600"',
        "wait p phase=1 timeout_ms=30000", "allow p phase=2",
        "wait p verdict=1 timeout_ms=30000",
    ]
    for i in range(4):
        commands += [f"fork p name=f{i}", "sleep ms=60"]
    commands += ["fork f0 name=g0", "fork f1 name=g1 paused=1", "sleep ms=60"]
    for i in range(6):
        commands += [f"fork-reset f{i % 3}", "sleep ms=30"]
    commands += ["unpause g1", "destroy p", "sleep ms=60", "fork g1 name=h",
                 "sleep ms=60", "audit"]
    lived = ["f0", "f1", "f2", "f3", "g0", "g1", "h"]
    commands += [f"info {name}" for name in lived]
    replies, why = all_back("stress", commands, cpus)
    for reply in replies if why is None else ():
        if reply.get("state", "running") != "running":
            why = json.dumps(reply)[:300]
    return why


def refusals(cpus):
    """What cannot be forked or reset, and that nothing comes of it."""
    bad = ["fork p name=2x", "fork p id=0", "fork-reset p", "fork-info p",
           "fork-reset f state=0 memory=0", "fork crashed", "fork nobody",
           "fork p count=2 id=9"]
    commands = [
        'create name=p image=forker mem=4M cmdline="rounds=1 then=shutdown"',
        "wait p phase=1 timeout_ms=30000",
        "fork p name=f", "fork p name=crashed", "fork p name=paused paused=1",
        "pause f", "fork f name=of-paused", "fork paused name=twice",
        "allow crashed phase=2", "wait crashed state=shutdown",
        *bad,
        "fork-reset crashed", "allow all phase=2", "unpause f",
        "unpause paused",
        "wait all state=shutdown timeout_ms=30000", "wait all verdict=1",
        "audit",
    ]
    return all_back("forker", commands, cpus, bad)[1]


def main():
    failed = 0
    tests = [(f"{fn.__name__} on {cpus} CPUs", fn, cpus)
             for fn, counts in ((own_ways, (1, 4)), (in_the_middle, (1, 4)),
                                (refusals, (1,))) for cpus in counts]
    for name, fn, cpus in tests:
        why = fn(cpus)
        failed += why is not None
        print(f"PASS {name}" if why is None else f"FAIL {name}: {why}",
              flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
