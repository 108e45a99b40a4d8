#!/usr/bin/env python3
"""The content scanner under QEMU.

files: domains that hold real files are merged, write to them while the
  scanner goes on, and check every byte; on one CPU and on four.
unmerge: run=2 and scan-domain off make all private again; without memory
  they say so, and nothing is lost.
groups: nothing is shared across trust groups, by nobody.
knobs: what is wrong with a command line is said.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent /
                       "tools"))

from batch import answers, batch                                # noqa: E402
from cases import check, main, on_cpus                          # noqa: E402
import files                                                    # noqa: E402

GUESTS = ["files", "stress"]
KINDS = ["shell", "libc", "hypervisor"]
KNOB_CODES = ["ERANGE", "ERANGE", "EINVAL", "ETIMEDOUT", None, None, "EBUSY",
              "EINVAL", "ERANGE", None, None]


@on_cpus(1, 4)
def real_files(cpus):
    orders = [KINDS[i:] + KINDS[:i] for i in range(3)]
    replies, _ = batch(GUESTS, [
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
    ], cpus=cpus, modules=files.modules(KINDS))
    check(replies[4]["saved_across"] > 500, replies[4])
    check(replies[4]["saved_zero"] > 5000, replies[4])
    check(replies[8]["broken"] > 0, replies[8])
    check(replies[-1]["bytes"] == 0, replies[-1])


@on_cpus(1, 4)
def writers(cpus):
    """Domains that write to all of their memory under the scanner."""
    replies, _ = batch(GUESTS, [
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
    ], cpus=cpus)
    check(replies[3]["merged"] > 500, replies[3])
    check(replies[11]["shared_frames"] == 0, replies[11])


@on_cpus(1, 4)
def unmerge(cpus):
    replies, _ = batch(GUESTS, [
        "create name=a mem=4M scan=1",
        "create name=b mem=4M scan=1",
        "scan run=1 sleep_millisecs=1 wait=3",
        "scan-domain b off",
        "debug-gfn b gfn=7",
        "debug-gfn a gfn=7",
        "scan run=2",
        "audit",
        "debug-gfn a gfn=7",
    ], cpus=cpus)
    check(replies[2]["saved_zero"] == 2047, replies[2])
    check([replies[i]["type"] for i in (4, 5, 8)] ==
         ["ram_rw", "ram_shared", "ram_rw"], replies[4:])
    check(replies[7]["shared_frames"] == 0, replies[7])


@on_cpus(1)
def groups(cpus):
    replies, *_ = answers(GUESTS, [
        "create name=a mem=4M scan=1 group=1",
        "create name=b mem=4M scan=1 group=2",
        "create name=c mem=4M scan=1 group=2",
        "scan run=1 sleep_millisecs=1 wait=3",
        "share a 1 b 1",
        "share b 1 c 1",
        "add-physmap a 1 b 5000",
        "audit",
    ], cpus=cpus)
    codes = [r["ok"] or r["error"]["code"] for r in replies]
    # Within a group they are merged already.
    check(codes == [True] * 4 + ["EPERM", "EEXIST", "EPERM", True], codes)
    check(replies[3]["saved_zero"] == 1024 * 3 - 2, replies[3])
    check(replies[7]["violations"] == 0, replies[7])


@on_cpus(1)
def knobs(cpus):
    replies, *_ = answers(GUESTS, [
        "scan run=3", "scan pages_to_scan=0", "scan wait=1",
        "scan run=1 wait=1 timeout_ms=50",
        "create name=a mem=4M scan=1",
        "scan wait=2", "scan merge_across_domains=0",
        "scan-domain a maybe", "create name=c mem=4M group=65536",
        "scan run=2", "scan merge_across_domains=0 run=1 wait=1",
    ], cpus=cpus)
    codes = [None if r["ok"] else r["error"]["code"] for r in replies]
    check(codes == KNOB_CODES, codes)


if __name__ == "__main__":
    main()
