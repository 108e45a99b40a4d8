#!/usr/bin/env python3
"""Break the code on purpose and see a test fail.

test/mutations/ lists deliberate breakages, a file for each room of the code:

    [[mutation]]
    name = "p2m: no generation bump"     # what is broken
    file = "common/p2m/flush.c"          # where
    old = "text that occurs once"
    new = "what it becomes"
    test = "test/model/test_flush"       # the program that must fail, or
    boot = "test/boot/test_run.py"       # ... the script that must; behind
                                         # it may be the names of its cases

Each one is applied to a copy of the tree; the test is built there and run
under a time limit. A mutant that builds and passes has SURVIVED: exit 1. One
that does not apply (the code moved on) or does not build is an error too.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
LISTS = ROOT / "test" / "mutations"
KEEP = ("Makefile", "arch", "common", "include", "test", "tools", "quire")
BUILD_SECONDS = 600


def run(argv, cwd, seconds):
    """Exit status of a command, its output dropped; None: timed out.

    What the command itself started ends with it: a test forks.
    """
    with subprocess.Popen(argv, cwd=cwd, start_new_session=True,
                          stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def judge(mutation, tree, seconds):
    """'caught', or what is wrong; the tree is left as it was found."""
    path = tree / mutation["file"]
    text = path.read_text()
    if text.count(mutation["old"]) != 1:
        return f"does not apply: {text.count(mutation['old'])} matches"
    path.write_text(text.replace(mutation["old"], mutation["new"]))
    try:
        if "test" in mutation:
            program = f"build/host/asan/{mutation['test']}"
            targets, argv = [program], [program]
        else:
            targets, argv = ["all"], [sys.executable,
                                      *mutation["boot"].split()]
        if run(["make", "-j2", *targets], tree, BUILD_SECONDS) != 0:
            return "does not build"
        return "SURVIVED" if run(argv, tree, seconds) == 0 else "caught"
    finally:
        path.write_text(text)


def read_all():
    """Every mutation of every room, in the order of the files' names."""
    return [m for path in sorted(LISTS.glob("*.toml"))
            for m in tomllib.loads(path.read_text())["mutation"]]


def listing(mutations):
    """Each test and what it must catch, and how many there are."""
    by_test = {}
    for m in mutations:
        by_test.setdefault(m.get("test") or m["boot"], []).append(m["name"])
    lines = []
    for test in sorted(by_test):
        lines += [f"{test} ({len(by_test[test])})",
                  *(f"    {name}" for name in by_test[test])]
    return [*lines, f"{len(mutations)} breakages, {len(by_test)} tests"]


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("only", nargs="*", help="words; all must be in the name")
    ap.add_argument("--timeout", type=int, default=120,
                    help="seconds a test may take (a hang counts as caught)")
    ap.add_argument("--list", action="store_true",
                    help="run nothing: which there are, by test")
    args = ap.parse_args()
    mutations = [m for m in read_all()
                 if all(word in m["name"] for word in args.only)]
    if args.list:
        print("\n".join(listing(mutations)))
        return 0
    caught = 0
    with tempfile.TemporaryDirectory(prefix="quire-mutate-") as tmp:
        tree = pathlib.Path(tmp)
        for name in KEEP + ("build",):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, symlinks=True)
            elif source.exists():
                shutil.copy2(source, tree / name)
        for m in mutations:
            verdict = judge(m, tree, args.timeout)
            by = m.get("test") or m.get("boot")
            print(f"{verdict:9} {m['name']}  [{by}]", flush=True)
            caught += verdict == "caught"
    print(f"{caught} passed, {len(mutations) - caught} failed")
    return 0 if mutations and caught == len(mutations) else 1


if __name__ == "__main__":
    sys.exit(main())
