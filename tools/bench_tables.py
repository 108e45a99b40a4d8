"""The rows of a bench as a table to read: text for a terminal, Markdown for
docs/performance.md."""

from bench_cell import describe, is_measured
from bench_goals import at_most, is_missed, xen
from bench_numbers import show

# (heading, field) of each bench; the first is the figure that has a goal.
COLUMNS = {
    "share": [("per gfn", "instructions_per_gfn"),
              ("total", "instructions_total")],
    "unshare": [("mean", "instructions_mean"),
                ("least", "instructions_least"),
                ("most", "instructions_most")],
    "rmap": [("insert", "instructions_insert_mean"),
             ("find", "instructions_find_mean"),
             ("remove", "instructions_remove_mean"),
             ("worst", "instructions_worst"),
             ("bytes a sharer", "bytes_per_sharer"),
             ("most", "bytes_per_sharer_worst")],
    "destroy": [("per gfn", "instructions_per_gfn"),
                ("one alone", "instructions_per_gfn_alone"),
                ("ratio", "instructions_ratio_to_alone"),
                ("total", "instructions_total"),
                ("longest", "instructions_longest")],
    "spte-rmap": [("add", "instructions_add_mean"),
                  ("step", "instructions_step_mean"),
                  ("remove", "instructions_remove_mean"),
                  ("bytes", "bytes_links")],
    "shadow": [("total", "instructions_total"), ("exits", "count_exits")],
    "shadow-cost": [("mean", "instructions_mean"),
                    ("per mapping", "instructions_per_mapping"),
                    ("total", "instructions_total"),
                    ("longest", "instructions_longest"),
                    ("exits", "count_exits")],
    "scan": [("per page", "instructions_per_page")],
    "fork": [("per gfn", "instructions_per_gfn"),
             ("per dirty page", "instructions_per_dirty_page"),
             ("total", "instructions_total")],
    "latency": [("longest", "instructions_longest")],
    "wakeup": [("beyond idle", "instructions_beyond_idle"),
               ("worst", "instructions_worst"),
               ("median", "instructions_median"),
               ("worst idle", "instructions_worst_idle"),
               ("wake-ups", "count_wakeups")],
    "host": [("per gfn", "nanoseconds_per_gfn"),
             ("cache misses per gfn", "count_cache_misses_per_gfn")],
}
TITLES = {
    "share": "Sharing", "unshare": "A guest's write to a shared page, from "
    "its exit to the next VMRUN", "rmap": "The reverse map",
    "destroy": "Destroying a domain", "scan": "The scanner",
    "fork": "Forks", "spte-rmap": "The links of shadow entries",
    "shadow": "Guests on nested and on shadow paging",
    "shadow-cost": "Exits on shadow paging, from #VMEXIT to VMRUN",
    "latency": "The longest stretch without a preemption point",
    "wakeup": "How late a sleeping guest is woken beside a kill",
    "host": "common/ as a process on this host",
}
UNITS = {"host": "nanoseconds"}


def _columns(bench, rows):
    return [(h, f) for h, f in COLUMNS[bench] if any(f in r for r in rows)]


def _main_field(row, columns):
    return next((f for _, f in columns if f in row), None)


def configuration_words(row):
    """What was run, as a table's first column says it."""
    config = {k: v for k, v in row.items()
              if k not in ("bench", "skipped", "where", "cpus")
              and not is_measured(k)}
    if row.get("cpus", 1) != 1:
        config["CPUs"] = row["cpus"]
    words = ", ".join(describe(config))
    return f"{words} ({row['where']})" if row.get("where") else words


def grid(bench, rows):
    """Headings and cells; a figure above its goal is marked with !"""
    columns = _columns(bench, rows)
    head = ["", *[h for h, _ in columns], "at most", "Xen"]
    body = []
    for row in rows:
        if "skipped" in row:
            body.append([configuration_words(row), *["-"] * len(columns), "-",
                         f"skipped: {row['skipped']}"])
            continue
        main = _main_field(row, columns)
        cells = [show(row.get(f)) + ("!" if f in row and is_missed(row, f)
                                     else "") for _, f in columns]
        body.append([configuration_words(row), *cells, at_most(row, main),
                     xen(row, main)])
    return head, body


def text(bench, rows):
    """Lines for a terminal."""
    head, body = grid(bench, rows)
    skips = [cells for cells in body if cells[-1].startswith("skipped")]
    widths = [max(len(c[i]) for c in [head] + [
        b for b in body if i < len(head) - 1 or b not in skips])
        for i in range(len(head))]

    def line(cells):
        return "  ".join(c.ljust(w) if i == 0 else c.rjust(w)
                         for i, (c, w) in enumerate(zip(cells, widths))
                         ).rstrip()
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    unit = UNITS.get(bench, "instructions")
    return [f"{TITLES[bench]} ({unit})", line(head), rule,
            *[line(b) for b in body]]


def markdown(bench, rows):
    """The same as a Markdown table; what was missed is in bold."""
    head, body = grid(bench, rows)
    unit = UNITS.get(bench, "instructions")
    lines = ["| " + " | ".join([unit] + head[1:]) + " |",
             "|---" * len(head) + "|"]
    for cells in body:
        cells = [f"**{c[:-1]}**" if c.endswith("!") else c for c in cells]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def by_bench(rows):
    """{bench: its rows}, in the order of the tables."""
    return {b: [r for r in rows if r["bench"] == b] for b in COLUMNS
            if any(r["bench"] == b for r in rows)}
