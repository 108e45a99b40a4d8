"""bench rmap: the reverse map alone, by the command bench-rmap: the same trace
for each form, finds and removals in random order."""

from bench_cell import Cell
from bench_destroy import QUADRATIC, growth, probed

PATTERNS = ["dense", "random", "stride256", "runs64"]
OPS = 100_000                   # finds, and removals, of a form that walks not
SLOW_OPS = 1000
GIB = 1 << 30


def _cell(n, pattern, form):
    config = {"pattern": pattern, "rmap": form, "sharers": n}
    ops = min(n, SLOW_OPS if form in QUADRATIC else OPS)
    cell = Cell("rmap", config, [
        ("it", f"bench-rmap form={form} n={n} pattern={pattern} order=random "
         f"ops={ops}")], None, memory=max(1, -(-n * 64 // GIB)) * GIB,
        weight=0.3 + n / 5e5,
        estimate=growth("rmap", config, "sharers", "instructions_total"))

    def rows(replies):
        it = replies["it"]
        phases = {p: it[p] for p in ("insert", "find", "remove")}
        row = {f"instructions_{p}_mean": t["ticks"] / t["ops"]
               for p, t in phases.items()}
        row |= {f"instructions_{p}_worst": t["worst_ticks"]
                for p, t in phases.items()}
        row["instructions_worst"] = max(t["worst_ticks"]
                                        for t in phases.values())
        row["instructions_total"] = sum(t["ticks"] for t in phases.values())
        row["bytes_per_sharer"] = it["bytes"] / n
        if it.get("worst_bytes_n"):
            row["bytes_per_sharer_worst"] = \
                it["worst_bytes"] / it["worst_bytes_n"]
        return [cell.row(row)]
    cell.rows = rows
    return cell


def rmap_cells(args):
    return [_cell(n, pattern, form) for form in args.rmap
            for pattern in args.pattern
            for n in probed(form, args.sharers)]
