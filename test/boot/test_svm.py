#!/usr/bin/env python3
"""The world switch under QEMU, as guests feel it.

lost events: a domain sleeps in HLT between timer interrupts while all its
  pages are made shareable again and again, its stack and IDT included, so that
  deliveries fault half-way, on a page that must be unshared. (An upcall that
  is lost comes again by itself; `state' has traps that do not.)
state: what a vCPU keeps in the processor stays its own, with three taking
  turns on one CPU, and one alone on a CPU.
hostile: every register, MSR, port and privileged instruction, on one CPU and
  on four at once with others beside it.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from errors import UserError                                    # noqa: E402
from qemu import EXIT_SUCCESS, Machine                          # noqa: E402


def batch(images, commands, cpus=1, timeout=100.0):
    """Run @commands; what went wrong, or None."""
    modules = [ROOT / f"build/guest/{name}.elf" for name in images]
    kernel = ROOT / "build/hv/debug/quire"
    try:
        with Machine(kernel, modules, cpus=cpus, memory=256 << 20,
                     commands=commands, timeout=timeout) as machine:
            status = machine.wait()
            replies = [json.loads(line) for line in
                       machine.replies.read_text().splitlines()]
            log = machine.log.read_text(errors="replace")
    except UserError as err:
        return str(err).replace("\n", " | ")
    for reply in replies:
        if not reply["ok"]:
            return reply["error"]["message"]
        if reply.get("failed") or reply.get("violations"):
            said = [line for line in log.splitlines() if "FAIL" in line]
            return f"{json.dumps(reply)} {said[:4]}"
    if len(replies) != len(commands) + 1:
        return f"{len(replies)} replies to {len(commands)} commands"
    if status != EXIT_SUCCESS:
        return f"exit status {status}: {log.splitlines()[-1:]}"
    return None


def lost_events(cpus):
    return batch(["latency"], [
        'create image=latency mem=8M cmdline="count=1000 gap_us=300"',
        "wait all phase=1 timeout_ms=20000",
        "allow all phase=98",
        # the guest's image, its stack and its tables among it
        *["nominate 0 gfn=0 count=384 skip=1"] * 200,
        "wait all verdict=1 timeout_ms=30000",
        "audit",
    ], cpus)


def state(cpus):
    return batch(["state"], [
        f"create image=state mem=8M count={3 if cpus == 1 else 2}",
        "wait all phase=1 timeout_ms=20000",
        *[f"nominate {i} gfn=0 count=384 skip=1"
          for i in range(3 if cpus == 1 else 2)],
        "allow all phase=98",
        "wait all verdict=1 timeout_ms=30000",
    ], cpus)


def hostile(cpus):
    return batch(["hostile", "smp", "exits"], [
        "create image=exits mem=8M",
        "create image=hostile mem=8M count=2",
        "create image=smp mem=8M vcpus=4",
        "wait all phase=1 timeout_ms=30000",
        "allow all phase=98",
        "wait all verdict=1 timeout_ms=60000",
        "audit",
    ], cpus)


def main():
    failed = 0
    tests = [(f"{fn.__name__} on {cpus} CPUs", fn, cpus)
             for fn in (lost_events, state, hostile) for cpus in (1, 4)]
    for name, fn, cpus in tests:
        why = fn(cpus)
        failed += why is not None
        print(f"PASS {name}" if why is None else f"FAIL {name}: {why}",
              flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
