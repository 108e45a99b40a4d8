#!/usr/bin/env python3
"""The list of deliberate breakages: well-formed, and shown in full."""

import pathlib
import tempfile
import time

from cases import ROOT, case, check, main, run

import mutate

MUTATIONS = mutate.read_all()


@case
def each_is_complete():
    names = [m["name"] for m in MUTATIONS]
    check(len(set(names)) == len(names),
          [n for n in names if names.count(n) > 1])
    for m in MUTATIONS:
        check(("test" in m) != ("boot" in m), m["name"])
        test, *cases = (m.get("boot") or m["test"] + ".c").split()
        check((ROOT / test).exists(), f"{m['name']}: no {test}")
        for name in cases:
            check(f"def {name}(" in (ROOT / test).read_text(),
                  f"{m['name']}: no case {name}")
        check((ROOT / m["file"]).exists(), f"{m['name']}: no {m['file']}")
        check(m["old"] != m["new"], f"{m['name']}: breaks nothing")


@case
def the_list_has_all():
    lines = mutate.listing(MUTATIONS)
    check(sorted(line.strip() for line in lines if line.startswith("    "))
          == sorted(m["name"] for m in MUTATIONS))
    check(lines[-1].startswith(f"{len(MUTATIONS)} breakages, "), lines[-1])
    tests = [line for line in lines[:-1] if not line.startswith(" ")]
    check(tests == sorted(tests))


@case
def words_choose():
    program = ROOT / "tools" / "mutate.py"
    status, out, _ = run(program, "--list", "rmap:", "split")
    lines = out.splitlines()
    check(status == 0 and len(lines) > 2, out)
    check(all("rmap:" in line and "split" in line for line in lines
              if line.startswith("    ")), out)


@case
def what_a_test_starts_ends_with_it():
    """A test that forks and hangs leaves nobody behind."""
    with tempfile.TemporaryDirectory() as folder:
        note = pathlib.Path(folder, "pid")
        hangs = f"sleep 300 & echo $! > {note}; wait"
        check(mutate.run(["sh", "-c", hangs], folder, 1) is None)
        child = pathlib.Path("/proc", note.read_text().strip(), "stat")
        for _ in range(100):
            if not child.exists() or ") Z " in child.read_text():
                return
            time.sleep(0.05)
        check(False, "the child still runs")


main()
