"""bench latency: the longest stretch without a preemption point of each
operation, one by one: the same machine, reset before and read after each."""

from bench_cell import Cell

BASE = 1 << 20
N = 20_000

PREPARE = [
    "create name=a mem=64M paused=1", "create name=b mem=64M paused=1",
    "create name=s mem=4K paused=1",
    "create name=c mem=4K max=64M paused=1",
]

# What is measured, in order; each stands on what those before it did.
OPERATIONS = [
    ("create_64M", "create name=d mem=64M paused=1"),
    ("create_2M_pages", "create name=e mem=64M superpages=1 paused=1"),
    ("create_1G_page", "create name=g mem=2G superpages=1 paused=1"),
    ("nominate", "nominate a gfn=0 count=8192"),
    ("share", "share a 0 b 0 count=4096"),
    ("share_equal", "share a 4096 b 4096 count=4096 equal=1"),
    ("range_share", "range-share a 8192 b 8192 count=8192"),
    ("add_physmap", f"add-physmap s 0 c {BASE} count={N}"),
    ("add_physmap_stride_256",
     f"add-physmap s 0 c {4 * BASE} count={N} stride=256"),
    ("add_random", f"add-random s 0 c {64 * BASE} count={N}"),
    ("add_range", f"add-range a 0 c {128 * BASE} count=4096"),
    ("share_heavy_client", "share d 0 s 0"),
    ("unshare", "unshare b gfn=0 count=2048"),
    ("nominate_in_2M_page", "nominate e gfn=5"),
    ("populate", f"populate c gfn={256 * BASE} count=2000"),
    ("depopulate", f"depopulate c gfn={256 * BASE} count=2000"),
    ("fill", "fill d gfn=0 count=1000"),
    ("hash", "hash d gfn=0 count=1000"),
    ("audit", "audit"),
    ("stats", "stats all"),
    ("list", "list"),
    ("memory", "memory"),
    ("fork", "fork a name=f"),
    ("fork_reset", "fork-reset f"),
    ("destroy_fork", "destroy f"),
    ("set_max", "set-max d max=128M"),
    ("set_oom", "set-oom all policy=kill"),
    ("destroy_sharers", "destroy c"),
    ("destroy_half_shared", "destroy b"),
    ("destroy_last_sharers", "destroy a"),
    ("destroy_private", "destroy d"),
    ("destroy_2M_pages", "destroy e"),
    ("destroy_1G_page", "destroy g"),
    # All pages of two domains are zeros: each is seen, then merged.
    ("create_scanned", "create name=z{i} mem=16M count=2 scan=1 paused=1"),
    ("scan", "scan run=1 pages_to_scan=1000000 sleep_millisecs=1 wait=3"),
    ("scan_unmerge", "scan run=2 timeout_ms=60000"),
]


def latency_cells(args):
    known = args.known_commands
    result = [("idle", "sleep ms=20")]
    result += [(name, line) for name, line in OPERATIONS
               if line.split()[0] in known]
    if "fork" not in known:
        result = [(n, c) for n, c in result if n != "destroy_fork"]
    lines = list(PREPARE)
    for name, line in result:
        lines += ["latency reset=1", line, (name, "latency")]
    cell = Cell("latency", {}, lines, None, memory=4 << 30, weight=3)

    def rows(replies):
        table = []
        for name, _ in result:
            worst = max(replies[name]["cpus"],
                        key=lambda c: c["longest_ticks"])
            table.append(cell.row({
                "instructions_longest": worst["longest_ticks"]},
                operation=name, where=worst["what"]))
        return table
    cell.rows = rows
    return [cell]
