#!/usr/bin/env python3
"""No operation keeps a CPU from other work for more than 20,000 instructions.

Every command that works on memory, and guests that make long calls, one by
one in the release build under -icount: the longest stretch without a
preemption point is reset before and read after each.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
sys.path.insert(0, str(ROOT / "test" / "tools"))

import cases                                                    # noqa: E402
from bench_latency import OPERATIONS, PREPARE                   # noqa: E402
from cases import case, check                                   # noqa: E402
from qemu import EXIT_SUCCESS, Machine                          # noqa: E402

LIMIT = 20_000

# Gfns that are far apart each have a table, and make nodes of a reverse map.
SPARSE = [
    ("create", "create name=t mem=4K max=64M paused=1"),
    ("stride_256", "add-physmap s 0 t 1048576 count=20000 stride=256"),
    ("audit_stride_256", "audit"),
    ("stats_stride_256", "stats all"),
    ("info", "info t"),
    ("destroy_stride_256", "destroy t"),
    ("create_again", "create name=t mem=4K max=64M paused=1"),
    ("random", "add-random s 0 t 1048576 count=20000"),
    ("audit_random", "audit"),
    ("destroy_random", "destroy t"),
    ("own", "add-physmap s 0 s 1048576 count=20000 stride=64"),
    ("destroy_own", "destroy s"),
    ("help", "help"),
    ("modules", "modules"),
    ("jobs", "jobs"),
    ("latency", "latency"),
]

MORE = [
    ("create_1G_page",
     "create name=g ranges=0x40000000:1G superpages=1 paused=1"),
    ("audit_1G_page", "audit"),
    ("destroy_1G_page", "destroy g"),
]


def sweep(operations, modules=(), memory=1 << 30, prepare=()):
    """{name: (longest stretch, what)} of each of @operations."""
    commands = list(prepare)
    for _, command in operations:
        commands += ["latency reset=1", command, "latency"]
    kernel = ROOT / "build/hv/release/quire"
    with Machine(kernel, list(modules), memory=memory, commands=commands,
                 icount=True, timeout=200.0) as machine:
        status = machine.wait()
        replies = [json.loads(line) for line in
                   machine.replies.read_text().splitlines()][1:]
    failed = [(c, r) for c, r in zip(commands, replies) if not r["ok"]]
    check(not failed and status == EXIT_SUCCESS, f"{status}, {failed[:2]}")
    check(len(replies) == len(commands), "replies are missing")
    found = {}
    for i, (name, _) in enumerate(operations):
        cpus = replies[len(prepare) + 3 * i + 2]["cpus"]
        worst = max(cpus, key=lambda cpu: cpu["longest_ticks"])
        found[name] = (worst["longest_ticks"], worst["what"])
    return found


def judge(found):
    check(found, "nothing was measured")
    for name, (longest, what) in found.items():
        check(longest > 0, f"{name}: nothing was measured")
    late = [f"{name}: {longest} in {what}"
            for name, (longest, what) in found.items()
            if longest > LIMIT]
    check(not late, "; ".join(late))


@case
def every_command_on_memory():
    judge(sweep(OPERATIONS, memory=4 << 30, prepare=PREPARE))


@case
def gfns_far_apart():
    judge(sweep(SPARSE, memory=4 << 30,
                prepare=["create name=s mem=4K paused=1",
                         "nominate s gfn=0"]))


@case
def a_gigabyte_in_one_entry():
    judge(sweep(MORE, memory=4 << 30))


@case
def calls_of_guests():
    """`exits` makes every kind of call, console lines of all lengths too."""
    judge(sweep([("exits", "create name=x image=exits mem=16M"),
                 ("wait", "wait x verdict=1 timeout_ms=60000"),
                 ("destroy", "destroy x")],
                modules=[ROOT / "build/guest/exits.elf"]))


if __name__ == "__main__":
    cases.main()
