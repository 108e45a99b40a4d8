#!/usr/bin/env python3
"""The content scanner under QEMU.

files: domains that hold real files are merged, write to them while the
  scanner goes on, and check every byte; on one CPU and on four.
unmerge: run=2 and scan-domain off make all private again; without memory
  they say so, and nothing is lost.
groups: nothing is shared across trust groups, by nobody.
knobs: what is wrong with a command line is said.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import files                                                    # noqa: E402
from errors import UserError                                    # noqa: E402
from qemu import EXIT_SUCCESS, Machine                          # noqa: E402

KINDS = ["shell", "libc", "hypervisor"]
KNOB_CODES = ["ERANGE", "ERANGE", "EINVAL", "ETIMEDOUT", None, None, "EBUSY",
              "EINVAL", "ERANGE", None, None]


def batch(commands, cpus=1, kinds=(), timeout=100.0):
    """Run @commands; their replies. @kinds: of files, as modules."""
    modules = [ROOT / f"build/guest/{g}.elf" for g in ("files", "stress")]
    with Machine(ROOT / "build/hv/debug/quire",
                 modules + files.modules(kinds), cpus=cpus,
                 memory=256 << 20, commands=commands,
                 timeout=timeout) as machine:
        status = machine.wait()
        replies = [json.loads(line) for line in
                   machine.replies.read_text().splitlines()][1:]
    if len(replies) != len(commands):
        raise UserError(f"{len(replies)} replies to {len(commands)} commands")
    if all(r["ok"] for r in replies) != (status == EXIT_SUCCESS):
        raise UserError(f"exit status {status}")
    return replies


def need(condition, what):
    if not condition:
        raise UserError(str(what)[:400])


def need_good(replies):
    for reply in replies:
        need(reply["ok"], reply)
        need(not reply.get("failed") and not reply.get("violations"), reply)


def real_files(cpus):
    orders = [KINDS[i:] + KINDS[:i] for i in range(3)]
    replies = batch([
        *[f"create image=files name=f{i} mem=16M scan=1 "
          f"modules={','.join(order)} cmdline=write=8"
          for i, order in enumerate(orders)],
        "wait all phase=1 timeout_ms=30000",
        "scan run=1 sleep_millisecs=1 pages_to_scan=1000 wait=3",
        "audit",
        "allow all phase=2",
        "wait all phase=2 timeout_ms=60000",
        "scan",
        "allow all phase=99",
        "wait all verdict=1 timeout_ms=60000",
        "audit",
        "destroy all",
        "scan run=0",
    ], cpus, KINDS)
    need_good(replies)
    need(replies[4]["saved_across"] > 500, replies[4])
    need(replies[4]["saved_zero"] > 5000, replies[4])
    need(replies[8]["broken"] > 0, replies[8])
    need(replies[-1]["bytes"] == 0, replies[-1])


def writers(cpus):
    """Domains that write to all of their memory under the scanner."""
    replies = batch([
        "scan run=1 sleep_millisecs=1 pages_to_scan=300",
        "create image=stress name=s{i} mem=8M scan=1 count=4 "
        'cmdline="seed={i} common=60 write=90 mode=mix"',
        "wait all phase=1 timeout_ms=60000",
        "scan wait=2",
        "allow all phase=99",
        "scan wait=2",
        "wait all verdict=1 timeout_ms=60000",
        "audit",
        "destroy s1",
        "scan wait=1",
        "scan run=2",
        "audit",
        "destroy all",
    ], cpus)
    need_good(replies)
    need(replies[3]["merged"] > 500, replies[3])
    need(replies[11]["shared_frames"] == 0, replies[11])


def unmerge(cpus):
    replies = batch([
        "create name=a mem=4M scan=1",
        "create name=b mem=4M scan=1",
        "scan run=1 sleep_millisecs=1 wait=3",
        "scan-domain b off",
        "debug-gfn b gfn=7",
        "debug-gfn a gfn=7",
        "scan run=2",
        "audit",
        "debug-gfn a gfn=7",
    ], cpus)
    need_good(replies)
    need(replies[2]["saved_zero"] == 2047, replies[2])
    need([replies[i]["type"] for i in (4, 5, 8)] ==
         ["ram_rw", "ram_shared", "ram_rw"], replies[4:])
    need(replies[7]["shared_frames"] == 0, replies[7])


def groups(cpus):
    replies = batch([
        "create name=a mem=4M scan=1 group=1",
        "create name=b mem=4M scan=1 group=2",
        "create name=c mem=4M scan=1 group=2",
        "scan run=1 sleep_millisecs=1 wait=3",
        "share a 1 b 1",
        "share b 1 c 1",
        "add-physmap a 1 b 5000",
        "audit",
    ], cpus)
    codes = [r["ok"] or r["error"]["code"] for r in replies]
    # Within a group they are merged already.
    need(codes == [True] * 4 + ["EPERM", "EEXIST", "EPERM", True], codes)
    need(replies[3]["saved_zero"] == 1024 * 3 - 2, replies[3])
    need(replies[7]["violations"] == 0, replies[7])


def knobs(cpus):
    replies = batch([
        "scan run=3", "scan pages_to_scan=0", "scan wait=1",
        "scan run=1 wait=1 timeout_ms=50",
        "create name=a mem=4M scan=1",
        "scan wait=2", "scan merge_across_domains=0",
        "scan-domain a maybe", "create name=c mem=4M group=65536",
        "scan run=2", "scan merge_across_domains=0 run=1 wait=1",
    ], cpus)
    codes = [None if r["ok"] else r["error"]["code"] for r in replies]
    need(codes == KNOB_CODES, codes)


def main():
    tests = [(real_files, (1, 4)), (writers, (1, 4)), (unmerge, (1, 4)),
             (groups, (1,)), (knobs, (1,))]
    passed = failed = 0
    for test, counts in tests:
        for cpus in counts:
            name = f"{test.__name__}_{cpus}_cpus"
            try:
                test(cpus)
                print(f"PASS {name}", flush=True)
                passed += 1
            except UserError as err:
                print(f"FAIL {name}: {str(err)[:600]}", flush=True)
                failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
