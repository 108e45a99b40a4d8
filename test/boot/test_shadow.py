#!/usr/bin/env python3
"""Domains on the shadow MMU (paging=shadow) under QEMU: the guests that check
themselves give the verdicts that they give with nested paging.

`torture` edits its page tables at random and holds every access against a
walk in software: in all paging modes, on one CPU and on four, with its tables
on shared frames, in a pool too small for them, and beside its twin on nested
paging. Sharing, forks, resets and kills run on shadows, too. The audit (H1 to
H9) follows each.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
sys.path.insert(0, str(ROOT / "test" / "tools"))

import cases                                                    # noqa: E402
from cases import case, check                                   # noqa: E402
from qemu import EXIT_SUCCESS, Machine                          # noqa: E402

FIRST, FRAMES = 0x180, 0x680        # all but torture's image, of 8M
SMALLEST_POOL = 64


def batch(images, commands, cpus=1, timeout=120.0, memory=512 << 20):
    """[reply] of @commands. All of them are good, but those may fail that
    begin with a dash."""
    may_fail = [c.startswith("-") for c in commands]
    commands = [c.removeprefix("-") for c in commands]
    with Machine(ROOT / "build/hv/debug/quire",
                 [ROOT / f"build/guest/{name}.elf" for name in images],
                 cpus=cpus, memory=memory, commands=commands,
                 timeout=timeout) as machine:
        status = machine.wait()
        replies = [json.loads(line) for line in
                   machine.replies.read_text().splitlines()][1:]
        log = machine.log.read_text(errors="replace")
    said = [line for line in log.splitlines() if "FAIL" in line][:3]
    bad = [r for r, may in zip(replies, may_fail) if not (r["ok"] or may) or
           r.get("violations") or r.get("failed")]
    is_ended = status == EXIT_SUCCESS or any(may_fail)
    check(not bad and is_ended, f"{status}: {bad[:2]} {said}")
    check(len(replies) == len(commands), "replies are missing")
    return replies


def create(name, options, vcpus=1, more="paging=shadow", image="torture"):
    return (f"create name={name} image={image} mem=8M vcpus={vcpus} {more} "
            f'cmdline="{options}"')


def run(commands, names, cpus=1, between=(), images=("torture",)):
    """Run what @commands create: [info] of @names. @between: commands once
    the guests are set up. In the end there is nothing left of them."""
    replies = batch(images, [
        "memory",
        *commands,
        "wait all phase=1 timeout_ms=20000",
        *between,
        "allow all phase=98",
        "wait all verdict=1 timeout_ms=90000",
        *[f"info {name}" for name in names],
        "audit",
        "destroy all",
        "audit",
        "memory",
    ], cpus)
    check(replies[-1]["free_frames"] == replies[0]["free_frames"], replies[-1])
    check(replies[-1]["heap_objects"] == replies[0]["heap_objects"],
          replies[-1])
    found = replies[-4 - len(names):-4]
    check(all(i["verdict"] == "pass" for i in found), found)
    return found


@case
def every_guest():
    run([create("exits", "", image="exits"),
         create("hostile", "", image="hostile"),
         create("hello", "", image="hello"),
         create("state", "", image="state"),
         create("latency", "count=200 gap_us=300", image="latency"),
         create("smp", "", 4, image="smp"),
         create("paging", "", image="paging"),
         create("stress", "seed=7 rounds=3", image="stress"),
         create("nested", "seed=7 rounds=3", more="", image="stress")],
        ["exits"], cpus=2, images=("exits", "hostile", "hello", "state",
                                   "latency", "smp", "stress", "paging"))


@case
def events_cut_short():
    """An interrupt's stack and the tables on its way are shared frames."""
    run([create("l", "count=500 gap_us=300", image="latency")], ["l"],
        between=["nominate l gfn=0 count=384 skip=1"] * 100,
        images=["latency"])


@case
def tables_edited_at_random():
    run([create(f"seed{i}", f"seed={i} rounds=400") for i in range(1, 5)],
        ["seed1"])


@case
def tables_edited_on_four_cpus():
    run([create("t", "seed=21 rounds=20", 4)], "t", cpus=4)


@case
def out_of_long_mode():
    run([create(m, f"seed=51 rounds=25 modes={m}")
         for m in ("pae", "legacy", "none")], ["pae"])


@case
def all_modes_on_two_cpus():
    run([create("t", "seed=52 rounds=2 modes=long,pae,legacy,none", 4)],
        "t", cpus=2)


@case
def tables_on_shared_frames():
    share = f"share a {FIRST} b {FIRST} count={FRAMES} equal=1"
    for vcpus, cpus in ((1, 1), (4, 2)):
        found = run([create(name, "seed=31 rounds=80", vcpus)
                     for name in "ab"], "ab", cpus, [share])
        check(all(i["shared_gfns"] > 100 and i["private_frames"] < 2000
                  for i in found), found)


@case
def a_pool_too_small():
    run([create("t", "seed=61 rounds=150", 2,
                f"paging=shadow shadow_pages={SMALLEST_POOL}"),
         create("stress", "seed=7 rounds=3", image="stress",
                more=f"paging=shadow shadow_pages={SMALLEST_POOL}")],
        "t", cpus=2, images=("torture", "stress"))


@case
def the_same_as_nested():
    """Its touches, faults and edits, to the last one."""
    a, b = run([create("a", "seed=41 rounds=300"),
                create("b", "seed=41 rounds=300", more="")], "ab")
    check(a["paging"] == "shadow" and b["paging"] == "nested", (a, b))
    check(a["figures"][:5] == b["figures"][:5],
          f"{a['figures']} {b['figures']}")


def without_memory(policy, end):
    """A guest in a machine that has no frame left for its shadow."""
    return batch(["stress"], [
        f"create name=s image=stress mem=8M paging=shadow oom={policy} "
        "paused=1",
        *[f"-create name=f{i} mem={'1M' if i < 60 else '64K'} paused=1"
          for i in range(90)],
        "unpause s",
        "-wait s phase=1 timeout_ms=1500",
        "list",
        *end,
        "audit",
    ], memory=64 << 20)


@case
def no_memory_for_a_shadow():
    replies = without_memory("wait", ["destroy f0", "destroy f1",
                                      "allow s phase=98",
                                      "wait s verdict=1 timeout_ms=30000"])
    waiting = replies[-6]["domains"][0]
    check(waiting["parked_vcpus"] == 1 and waiting["phase"] == 0, waiting)
    replies = without_memory("kill", [])
    check("s" not in [d["name"] for d in replies[-2]["domains"]] or
          "shadow" in replies[-2]["domains"][0]["crash_reason"], replies[-2])


@case
def scenarios():
    """Sharing, forks, resets and the kills in the middle of them."""
    for name, sets in (("demo", ("domains=4", "mem=8M")),
                       ("forks", ("forks=20",))):
        options = [part for s in sets for part in ("--set", s)]
        status, out, err = cases.quire("run", name, "--debug", "--no-build",
                                       "--set", "paging=shadow", *options)
        check(status == 0, (out + err)[-800:])


@case
def one_frame_behind_many_entries():
    """Shared and written to, all its mappings show the copy; the ticks of
    each kind of exit are kept."""
    before, after = (reply["exit_ticks"] for reply in batch(["paging"], [
        "create name=s mem=8M paused=1",
        create("g", "alias=3000 gfn=0x700", image="paging"),
        "wait g phase=1", "allow g phase=2", "wait g phase=3",
        "nominate g gfn=0x700", "add-physmap g 0x700 s 0x100000",
        "allow g phase=4", "wait g phase=5", "shadow g", "allow g phase=6",
        "wait g phase=7", "shadow g", "allow g phase=8",
        "wait g verdict=1 timeout_ms=60000", "audit", "destroy all",
        "audit"]) if "exit_ticks" in reply)
    check(before["hidden_fault"]["count"] > 3000 and
          before["p2m_fault"]["count"] == 0, before)
    unshare = after["p2m_fault"]
    check(0 < unshare["min"] <= unshare["max"] <= unshare["sum"], unshare)


if __name__ == "__main__":
    cases.main()
