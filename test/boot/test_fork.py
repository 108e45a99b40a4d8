#!/usr/bin/env python3
"""Forks under QEMU: domains verify their own memory after being forked, reset
and orphaned, on 1 and 4 CPUs; the memory comes back to the frame.

The guest `forker` writes what follows from its own domain id, so that a page
of another's is noticed; `stress` with then=loop verifies itself for ever, and
is forked in the middle of it.
"""

import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent /
                       "tools"))

from batch import MIB, all_back                                 # noqa: E402
from cases import check, main, on_cpus                          # noqa: E402

FORKS = 16
OPTIONS = {"memory": 512 * MIB}


@on_cpus(1, 4)
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
    all_back(["forker"], commands, cpus=cpus, **OPTIONS)


@on_cpus(1, 4)
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
    for reply in all_back(["stress"], commands, cpus=cpus, **OPTIONS):
        check(reply.get("state", "running") == "running", str(reply)[:300])


@on_cpus(1)
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
    all_back(["forker"], commands, cpus=cpus, must_fail=bad, **OPTIONS)


if __name__ == "__main__":
    main()
