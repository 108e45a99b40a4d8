#!/usr/bin/env python3
"""XENMEM_sharing_op from a privileged domain, under QEMU.

The guest `sharing` shares the memory of two others, verifies every result,
every error and every byte, and then sends garbage from all its vCPUs at once.
Afterwards the audit must find nothing, and the memory come back to the frame;
in the last test the domain is killed in the middle of it.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent /
                       "tools"))

from batch import all_back, batch                               # noqa: E402
from cases import check, main, on_cpus                          # noqa: E402

PAGES = 256
TARGETS = [f"create name={name} id={number} mem={PAGES * 4}K paused=1"
           for name, number in (("source", 100), ("client", 101))]


def create(vcpus, options):
    return (f"create name=tool image=sharing mem=8M vcpus={vcpus} "
            f'privileged=1 cmdline="source=100 client=101 pages={PAGES} '
            f'{options}"')


@on_cpus(1, 4)
def operations(cpus):
    all_back(["sharing"], [
        *TARGETS, create(cpus, "rounds=1500"),
        "wait tool phase=1 timeout_ms=20000",
        "allow tool phase=98",
        "wait tool verdict=1 timeout_ms=90000",
    ], cpus=cpus)


@on_cpus(1)
def unprivileged(cpus):
    """It may do nothing at all: the same guest fails, and nothing is shared."""
    replies, _ = batch(["sharing"], [
        *TARGETS,
        create(1, "only=fuzz rounds=50").replace("privileged=1 ", ""),
        "wait tool phase=1 timeout_ms=20000",
        "allow tool phase=98",
        "sleep ms=300",
        "info tool",
        "stats all",
    ], cpus=cpus)
    check(replies[-2]["verdict"] == "fail", replies[-2]["verdict"])
    check(replies[-1]["share"]["nominates"] == 0,
          "it has nominated something")


@on_cpus(1, 4)
def killed(cpus):
    """Three of them at once on the same domains, killed as they work."""
    fuzz = create(2, "only=fuzz rounds=1000000 seed={i}")
    all_back(["sharing"], [
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
    ], cpus=cpus)


if __name__ == "__main__":
    main()
