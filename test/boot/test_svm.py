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

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent /
                       "tools"))

from batch import batch                                         # noqa: E402
from cases import main, on_cpus                                 # noqa: E402


@on_cpus(1, 4)
def lost_events(cpus):
    batch(["latency"], [
        'create image=latency mem=8M cmdline="count=1000 gap_us=300"',
        "wait all phase=1 timeout_ms=20000",
        "allow all phase=98",
        # the guest's image, its stack and its tables among it
        *["nominate 0 gfn=0 count=384 skip=1"] * 200,
        "wait all verdict=1 timeout_ms=30000",
        "audit",
    ], cpus=cpus)


@on_cpus(1, 4)
def state(cpus):
    batch(["state"], [
        f"create image=state mem=8M count={3 if cpus == 1 else 2}",
        "wait all phase=1 timeout_ms=20000",
        *[f"nominate {i} gfn=0 count=384 skip=1"
          for i in range(3 if cpus == 1 else 2)],
        "allow all phase=98",
        "wait all verdict=1 timeout_ms=30000",
    ], cpus=cpus)


@on_cpus(1, 4)
def hostile(cpus):
    batch(["hostile", "smp", "exits"], [
        "create image=exits mem=8M",
        "create image=hostile mem=8M count=2",
        "create image=smp mem=8M vcpus=4",
        "wait all phase=1 timeout_ms=30000",
        "allow all phase=98",
        "wait all verdict=1 timeout_ms=60000",
        "audit",
    ], cpus=cpus)


if __name__ == "__main__":
    main()
