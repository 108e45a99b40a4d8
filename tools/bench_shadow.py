"""bench shadow: the same guests on nested paging and on shadow paging: what
they and their exits take, and how many exits there are. What each kind of
exit takes is bench_shadow_cost.py's.

Under icount a TLB miss costs nothing, a walk of two dimensions no more than
one of one: what nested paging loses there on a processor is not in the figures.
"""

import bench_shadow_cost
from bench_cell import Cell
from errors import UserError

# (what, image, its options, memory); each ends with a verdict of its own.
GUESTS = [
    ("memory in order", "stress", "seed=7 mode=order", "8M"),
    ("memory at random", "stress", "seed=7 mode=random", "8M"),
    ("mixed stores", "stress", "seed=7 mode=mix rounds=3", "8M"),
    ("page tables edited, 64-bit", "torture", "seed=41 rounds=300", "8M"),
    ("page tables edited, PAE", "torture", "seed=41 rounds=25 modes=pae",
     "8M"),
    ("page tables edited, 32-bit", "torture",
     "seed=41 rounds=25 modes=legacy", "8M"),
    ("processor state", "state", "", "4M"),
    ("interrupts, sleep", "latency", "count=200 gap_us=300", "4M"),
    ("hypercalls, exits", "exits", "", "4M"),
]
SHARED = "shared pages written"
FIRST, PAGES = 0x180, 1600          # of stress in 8M
PAGINGS = ("nested", "shadow")
LAST_PHASE = 9                      # more than any of them has


def _create(name, image, options, memory, paging):
    return f"create name={name} image={image} mem={memory} " \
        f'paging={paging} cmdline="{options}"'


def _cell(what, names, paging, lines):
    config = {"guest": what, "paging": paging}
    ends = [f"allow all phase={LAST_PHASE}",
            "wait all verdict=1 timeout_ms=60000"]
    cell = Cell("shadow", config, [*lines, *ends, *[
        (name, f"info {name}") for name in names]], None)

    def rows(replies):
        vcpus = [v for name in names for v in replies[name]["vcpu"]]
        for name in names:
            if replies[name]["verdict"] != "pass":
                raise UserError(f"the guest `{what}' failed on {paging} "
                                "paging")
        return [cell.row({
            "instructions_total": sum(v["run_ticks"] for v in vcpus),
            "count_exits": sum(v["exits"] for v in vcpus)})]
    cell.rows = rows
    return cell


def _shared(paging):
    """Two that fill their pages alike, share these, and write to them."""
    lines = [_create(name, "stress", f"seed={i} cseed=3 common=80",
                     "8M", paging) for i, name in enumerate("ab")]
    return _cell(SHARED, "ab", paging, [
        *lines, "wait all phase=1 timeout_ms=60000",
        f"share a {FIRST} b {FIRST} count={PAGES} equal=1"])


def cells(_):
    return [_cell(what, "g", paging, [_create("g", *guest, paging)])
            for what, *guest in GUESTS for paging in PAGINGS] + \
        [_shared(paging) for paging in PAGINGS] + bench_shadow_cost.cells()
