#!/usr/bin/env python3
"""XENMEM_sharing_op from a privileged domain, under QEMU.

The guest `sharing` shares the memory of two others, verifies every result,
every error and every byte, and then sends garbage from all its vCPUs at once.
Afterwards the audit must find nothing, and the memory come back to the frame;
in the last test the domain is killed in the middle of it.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from errors import UserError                                    # noqa: E402
from qemu import EXIT_SUCCESS, Machine                          # noqa: E402

PAGES = 256
TARGETS = [f"create name={name} id={number} mem={PAGES * 4}K paused=1"
           for name, number in (("source", 100), ("client", 101))]


def batch(commands, cpus, timeout=120.0):
    """Run @commands; their replies and None, or what went wrong."""
    kernel = ROOT / "build/hv/debug/quire"
    try:
        with Machine(kernel, [ROOT / "build/guest/sharing.elf"], cpus=cpus,
                     memory=256 << 20, commands=commands,
                     timeout=timeout) as machine:
            status = machine.wait()
            replies = [json.loads(line) for line in
                       machine.replies.read_text().splitlines()][1:]
            log = machine.log.read_text(errors="replace")
    except UserError as err:
        return [], str(err).replace("\n", " | ")
    for reply in replies:
        if not reply["ok"]:
            return [], reply["error"]["message"]
        if reply.get("failed") or reply.get("violations"):
            said = [line for line in log.splitlines()
                    if "FAIL" in line or "(E)" in line]
            return [], f"{json.dumps(reply)} {said[:4]}"
    if len(replies) != len(commands):
        return [], f"{len(replies)} replies to {len(commands)} commands"
    if status != EXIT_SUCCESS:
        return [], f"exit status {status}: {log.splitlines()[-1:]}"
    return replies, None


def create(vcpus, options):
    return (f"create name=tool image=sharing mem=8M vcpus={vcpus} "
            f'privileged=1 cmdline="source=100 client=101 pages={PAGES} '
            f'{options}"')


def all_back(commands, cpus):
    """@commands between two counts of the free frames, which must agree."""
    replies, why = batch(["audit", "memory", *commands, "destroy all",
                          "audit", "memory"], cpus)
    if why is None:
        before, after = replies[1], replies[-1]
        if before["free_frames"] != after["free_frames"]:
            why = (f"{before['free_frames']} free frames before, "
                   f"{after['free_frames']} after")
    return why


def operations(cpus):
    return all_back([
        *TARGETS, create(cpus, "rounds=1500"),
        "wait tool phase=1 timeout_ms=20000",
        "allow tool phase=98",
        "wait tool verdict=1 timeout_ms=90000",
    ], cpus)


def unprivileged(cpus):
    """It may do nothing at all: the same guest fails, and nothing is shared."""
    replies, why = batch([
        *TARGETS,
        create(1, "only=fuzz rounds=50").replace("privileged=1 ", ""),
        "wait tool phase=1 timeout_ms=20000",
        "allow tool phase=98",
        "sleep ms=300",
        "info tool",
        "stats all",
    ], cpus)
    if why is None and replies[-2]["verdict"] != "fail":
        why = f"verdict {replies[-2]['verdict']}"
    if why is None and replies[-1]["share"]["nominates"] != 0:
        why = "it has nominated something"
    return why


def killed(cpus):
    """Three of them at once on the same domains, killed as they work."""
    fuzz = create(2, "only=fuzz rounds=1000000 seed={i}")
    return all_back([
        *TARGETS,
        fuzz.replace("name=tool", "name=tool{i} count=3"),
        *[f"wait tool{i} phase=1 timeout_ms=20000" for i in range(3)],
        *[f"allow tool{i} phase=98" for i in range(3)],
        "sleep ms=400",
        "destroy tool1",
        "destroy client",
        "sleep ms=200",
        "destroy tool0",
        "audit",
        "destroy source",
        "sleep ms=50",
        "destroy tool2",
    ], cpus)


def main():
    failed = 0
    tests = [(f"{fn.__name__} on {cpus} CPUs", fn, cpus)
             for fn, counts in ((operations, (1, 4)), (unprivileged, (1,)),
                                (killed, (1, 4))) for cpus in counts]
    for name, fn, cpus in tests:
        why = fn(cpus)
        failed += why is not None
        print(f"PASS {name}" if why is None else f"FAIL {name}: {why}",
              flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
