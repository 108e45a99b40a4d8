#!/usr/bin/env python3
"""The guest `torture` under QEMU: page tables edited at random, every access
held against a walk in software (test/guest/torture/torture.c).

It must pass for several seeds, on one CPU and on four, alone and with all its
frames shared with another domain, page tables included; and each wrong rule
given to its walk must make it fail.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent /
                       "tools"))

import cases                                                    # noqa: E402
from batch import MIB, answers                                  # noqa: E402
from cases import case, check                                   # noqa: E402

FIRST, FRAMES = 0x180, 0x680        # all but its image, of 8M
RULES = ["nx", "wp", "user", "rsv", "smep", "smap", "dirty", "accessed",
         "invlpg"]


def create(name, options, vcpus=1):
    return (f"create name={name} image=torture mem=8M vcpus={vcpus} "
            f'cmdline="{options}"')


def run(domains, cpus=1, between=()):
    """Run them side by side: {name: info}, and the log. @domains: {name:
    (options, vcpus)}; @between: commands once they are set up."""
    names = list(domains)
    replies, log, _ = answers(["torture"], [
        *[create(name, *how) for name, how in domains.items()],
        "wait all phase=1 timeout_ms=20000",
        *between,
        "allow all phase=98",
        "wait all verdict=1 timeout_ms=40000",
        *[f"info {name}" for name in names],
        "audit",
    ], cpus=cpus, memory=512 * MIB)
    bad = [r for r in replies if not r["ok"] or r.get("violations")]
    check(not bad, bad[:2])
    return dict(zip(names, replies[-1 - len(names):-1])), log


def check_passed(found, log, touches, edits=True, cached=True):
    """All passed, and not because they did nothing. @edits: there are tables;
    @cached: translations of them outlive an access."""
    said = [line for line in log.splitlines() if "FAIL" in line][:3]
    for name, info in found.items():
        check(info["verdict"] == "pass", f"{name}: {info['verdict']} {said}")
        figures = info["figures"]
        check(figures[1] > touches * figures[0], f"{name}: {figures}")
        least = 0 if not edits else 4 if cached else 2
        check(all(n > 0 for n in figures[2:2 + least]), f"{name}: {figures}")
        check(figures[2] < figures[1] * 9 // 10, f"{name}: only faults")


@case
def many_seeds_on_one_cpu():
    found, log = run({f"seed{i}": (f"seed={i} rounds=1000", 1)
                      for i in range(1, 7)})
    check_passed(found, log, 12_000)


@case
def four_vcpus_on_one_cpu():
    check_passed(*run({"t": ("seed=11 rounds=600", 4)}), 7_000)


@case
def four_vcpus_on_four_cpus():
    found, log = run({f"seed{i}": (f"seed={i} rounds=600", 4)
                      for i in (21, 22)}, cpus=4)
    check_passed(found, log, 7_000)


@case
def out_of_long_mode():
    """PAE, 2-level and no paging: left and entered again for each access."""
    found, log = run({m: (f"seed=51 rounds=60 modes={m}", 1)
                      for m in ("pae", "legacy", "none")})
    check_passed({"none": found.pop("none")}, log, 800, edits=False)
    check_passed(found, log, 800, cached=False)


@case
def all_modes_on_four_cpus():
    modes = "modes=long,pae,legacy,none"
    found, log = run({"t": (f"seed=52 rounds=25 {modes}", 4)}, cpus=4)
    check_passed(found, log, 1_000)


@case
def tables_on_shared_frames():
    """Twins of one seed: every table is copied on its first write, and the
    processor's setting of an accessed bit is such a write."""
    share = f"share a {FIRST} b {FIRST} count={FRAMES} equal=1"
    for vcpus, cpus in ((1, 1), (4, 4)):
        found, log = run({name: ("seed=31 rounds=500", vcpus)
                          for name in "ab"}, cpus, [share])
        check_passed(found, log, 6_000)
        check(all(i["shared_gfns"] > 100 and i["private_frames"] < 2000
                  for i in found.values()), found)


@case
def the_same_seed_does_the_same():
    found, _ = run({name: ("seed=41 rounds=500", 1) for name in "ab"})
    a, b = (found[name]["figures"] for name in "ab")
    check(a[:9] == b[:9], f"{a} {b}")


@case
def every_wrong_rule_is_found():
    found, log = run({r: (f"seed=1 rounds=2000 break={r}", 1) for r in RULES})
    for name, info in found.items():
        check(info["verdict"] == "fail", f"{name} was not noticed")
    check("the error code is" in log and "an entry is" in log, log[-500:])


@case
def wrong_rules_out_of_long_mode():
    found, _ = run({f"{rule}-{mode}":
                    (f"seed=1 rounds=300 modes={mode} break={rule}", 1)
                    for rule, mode in (("nx", "pae"), ("rsv", "pae"),
                                       ("wp", "legacy"), ("user", "legacy"),
                                       ("dirty", "legacy"))})
    for name, info in found.items():
        check(info["verdict"] == "fail", f"{name} was not noticed")


@case
def a_shootdown_that_is_not_done_is_found():
    found, log = run({"t": ("seed=3 rounds=2000 break=shootdown", 4)}, cpus=4)
    check(found["t"]["verdict"] == "fail", "it was not noticed")
    check("after the shootdown" in log or "taken away" in log, log[-500:])


if __name__ == "__main__":
    cases.main()
