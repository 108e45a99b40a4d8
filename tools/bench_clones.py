"""bench scan and bench fork: sharing that nobody asked for page by page."""

from bench_cell import Cell

PAGES = 4096                    # of a domain: 16 MiB
FORKED = 16_384                 # 64 MiB
DIRTY = 1000


def _scanned(common):
    """Two domains at rest after they filled their memory, and the scanner,
    which does a full scan and sleeps."""
    return ["create name=g{i} image=stress mem=16M count=2 "
            f"cmdline=\"seed={{i}} common={common} mode=order\"",
            "wait all phase=1 timeout_ms=60000", "pause all",
            "scan-domain g0 on", "scan-domain g1 on",
            f"scan pages_to_scan={2 * PAGES} sleep_millisecs=1000"]


def _scans(n):
    """A full scan each, and what it has cost so far."""
    return [(f"s{i}", "scan run=1 wait=1 timeout_ms=600000")
            for i in range(n)]


def _cost(replies, i, per):
    """Ticks of the scans up to the @i-th beyond the one before, a page."""
    ticks = replies[f"s{i}"]["scan_ticks"] - replies[f"s{i - 1}"]["scan_ticks"]
    pages = replies[f"s{i}"][per] - replies[f"s{i - 1}"][per]
    return ticks / pages if pages else None


def _row(cell, operation, cost, **more):
    return cell.row({"instructions_per_page": cost} | more,
                    operation=operation)


def scan_cells(_):
    """Three scans merge what is equal; those after them find it merged. With
    nothing in common they find each page as it was."""
    equal = Cell("scan", {"contents": "alike"}, [
        *_scanned(100), *_scans(6), "audit"], None, weight=4)
    unequal = Cell("scan", {"contents": "different"}, [
        *_scanned(0), *_scans(5), "audit"], None, weight=3)

    def merged(replies):
        """The scan that merged most, all of its work over its merges."""
        best = max(range(1, 6), key=lambda i: replies[f"s{i}"]["merged"]
                   - replies[f"s{i - 1}"]["merged"])
        return [_row(equal, "merge", _cost(replies, best, "merged"),
                     count_merged=replies[f"s{best}"]["merged"]),
                _row(equal, "rescan_merged",
                     _cost(replies, 5, "pages_scanned"))]
    equal.rows = merged
    unequal.rows = lambda replies: [
        _row(unequal, "rescan_unchanged",
             _cost(replies, 4, "pages_scanned"),
             count_merged=replies["s4"]["merged"])]
    return [equal, unequal]


def _fork_row(cell, operation, reply, n):
    return cell.row({"instructions_per_gfn": reply["busy_ticks"] / n,
                     "instructions_total": reply["busy_ticks"]},
                    operation=operation, gfns=n)


def fork_cells(_):
    large = Cell("fork", {"memory": "64M"}, [
        f"create name=a mem={4 * FORKED}K paused=1",
        ("first", "fork a name=b paused=1"),
        ("later", "fork a name=c paused=1"),
        f"fill b gfn=100 count={DIRTY} word=9",
        ("reset", "fork-reset b"), "audit"], None, weight=2)
    small = Cell("fork", {"memory": "4K"}, [
        "create name=a mem=4K paused=1", ("it", "fork a name=b paused=1")],
        None)

    def rows(replies):
        reset = replies["reset"]["busy_ticks"]
        return [_fork_row(large, "first_fork", replies["first"], FORKED),
                _fork_row(large, "later_fork", replies["later"], FORKED),
                large.row({"instructions_per_dirty_page": reset / DIRTY,
                           "instructions_total": reset},
                          operation="fork_reset", pages=DIRTY)]
    large.rows = rows
    small.rows = lambda replies: [
        _fork_row(small, "fork", replies["it"], 1)]
    return [large, small]
