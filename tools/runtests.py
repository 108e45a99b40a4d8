#!/usr/bin/env python3
"""Run test programs, two at a time, each under a time limit.

A test program prints `PASS name` or `FAIL name: why` for each test and last
`N passed, N failed`. One that ends otherwise (no closing line, nothing at
all, a signal, the time limit, a status that contradicts its words) counts as
failed: silence never passes. A script (*.py) is run by python3. The last line
is `N passed, N failed` over all programs; the status is 0 only without a
failure.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

CLOSING = re.compile(r"^(\d+) passed, (\d+) failed$")


def run(program, seconds):
    """(passed, failed, complaints, seconds it took) of one program."""
    argv = [sys.executable, program] if program.endswith(".py") else [program]
    began = time.monotonic()
    try:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, text=True,
                                 stderr=subprocess.STDOUT, errors="replace",
                                 start_new_session=True)
    except OSError as err:
        return 0, 1, [f"cannot be run: {err.strerror}"], 0.0
    try:
        output, _ = child.communicate(timeout=seconds)
        late = False
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        output, _ = child.communicate()
        late = True
    took = time.monotonic() - began
    return (*judge(output, child.returncode, late, seconds), took)


def judge(output, status, late, seconds):
    """(passed, failed, complaints): what the words and the status say."""
    lines = output.splitlines()
    complaints = [line for line in lines if line.startswith("FAIL")]
    closing = CLOSING.match(lines[-1]) if lines else None
    tail = [f"    {line}" for line in lines[-25:]]
    if late:
        return 0, 1, complaints + [f"time limit of {seconds} s"] + tail
    if closing is None:
        what = "printed nothing" if not lines else "no closing line"
        return 0, 1, complaints + [f"{what}, status {status}"] + tail
    passed, failed = int(closing.group(1)), int(closing.group(2))
    if passed + failed == 0:
        return 0, 1, ["ran no test"]
    if failed == 0 and status != 0:
        return passed, 1, [f"all passed, but status {status}"] + tail
    if failed > 0 and not complaints:
        complaints = tail
    skips = [line for line in lines if line.startswith("SKIP")]
    return passed, failed, complaints + skips


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("programs", nargs="*")
    ap.add_argument("-j", type=int, default=2, dest="jobs")
    ap.add_argument("--timeout", type=int, default=180,
                    help="seconds one program may take")
    args = ap.parse_args()
    total_passed = total_failed = 0
    with concurrent.futures.ThreadPoolExecutor(max(1, args.jobs)) as pool:
        futures = {pool.submit(run, p, args.timeout): p
                   for p in args.programs}
        for done in concurrent.futures.as_completed(futures):
            passed, failed, complaints, took = done.result()
            name = pathlib.Path(futures[done]).stem
            word = "FAIL" if failed else "PASS"
            print(f"{word} {name}: {passed} passed, {failed} failed, "
                  f"{took:.1f} s", flush=True)
            for line in complaints:
                print(f"  {line}", flush=True)
            total_passed += passed
            total_failed += failed
    print(f"{total_passed} passed, {total_failed} failed")
    return 0 if total_passed and not total_failed else 1


if __name__ == "__main__":
    sys.exit(main())
