"""The report's charts of time: the longest stretches, how late a sleeper is
woken, what a kill does when, and the two kinds of paging side by side. Those
with long names are drawn twice, for a phone and for a page."""

import statistics

from bench_goals import GOALS
from bench_numbers import show
from svg import Chart, Linear, Log, short

NARROW, WIDE = 360, 760
ROW = 15
NAME = 100                      # pixels the name of a limit may take
STRETCH = next(g["at_most"] for g in GOALS
               if g["match"].get("bench") == "latency")
STRETCH_MEDIAN = 5000           # the aim for the median of all operations
ZOOM = 24                       # slices that are shown one by one


def words(name):
    return name.replace("_", " ")


def stretches(results):
    """[(operation, longest, where)], the longest first."""
    rows = results.of("latency")
    return sorted(((r["operation"], r["instructions_longest"],
                    r.get("where", "")) for r in rows
                   if "instructions_longest" in r),
                  key=lambda entry: -entry[1])


def stretch_chart(results, width):
    """A bar for each operation, the longest at the top."""
    rows = stretches(results)
    left = 148 if width == NARROW else 190
    chart = Chart(width, 58 + ROW * len(rows) + 24,
                  "The longest stretch of each operation", " ".join(
                      f"{words(name)}: {show(longest)}."
                      for name, longest, _ in rows), left=left, right=56,
                  top=28, bottom=40)
    x = Linear([r[1] for r in rows] + [STRETCH], chart.x0, chart.x1, 4)
    chart.x_axis(x, "instructions without a preemption point", grid=True)
    median = statistics.median(r[1] for r in rows)
    marks = sorted([(STRETCH, f"at most {show(STRETCH)}"),
                    (median, f"median {show(median)}")])
    # The right line is the higher, so that neither goes through a name.
    for (value, name), up in zip(marks, (6, 19)):
        chart.rule(x(value), chart.y1 - up - 8, x(value), chart.y0, "axis")
        room = up > 6 and x(value) + NAME < width
        chart.text(x(value) + (4 if room else -4), chart.y1 - up, name,
                   "name", "start" if room else "end")
    for i, (name, longest, where) in enumerate(rows):
        y = chart.y1 + 4 + i * ROW
        chart.text(left - 6, y + 9, words(name), "", "end")
        missed = longest > STRETCH
        chart.bar(left, y, x(longest) - left, ROW - 5,
                  "fbad" if missed else "f0", f"{words(name)}: "
                  f"{show(longest)} instructions ({where})")
        # In a column of their own: no line goes through a figure there.
        chart.text(width, y + 9, show(longest), "value", "end")
    return chart


def stage_chart(kill, width):
    """Stages as spans of time, one a line, and the slices below them."""
    left = 84
    stages = kill["stages"]
    start = kill["start"]
    chart = Chart(width, 70 + ROW * (len(stages) + 1), "A kill, its stages "
                  "and its slices", " ".join(
                      f"{s['stage']}: from {s['start'] - start:,} to "
                      f"{s['end'] - start:,}, {s['slices']} slices, the "
                      f"longest {s['longest']:,}." for s in stages),
                  left=left, right=56, top=8, bottom=40)
    x = Linear([kill["end"] - start], left, chart.x1,
               4 if width == NARROW else 8)
    chart.x_axis(x, "instructions since the kill was accepted", grid=True)
    for i, stage in enumerate(stages):
        y = chart.y1 + 4 + i * ROW
        a, b = x(stage["start"] - start), x(stage["end"] - start)
        chart.text(left - 6, y + 9, stage["stage"], "", "end")
        chart.bar(a, y, max(b - a, 1.5), ROW - 5, "f0 pale" if stage[
            "slices"] > 1 else "f0", f"{stage['stage']}: "
            f"{stage['end'] - stage['start']:,} instructions, "
            f"{stage['slices']:,} slices, the longest {stage['longest']:,}")
        chart.text(b + 4, y + 9, short(stage["end"] - stage["start"]), "value")
    y = chart.y1 + 4 + len(stages) * ROW
    chart.text(left - 6, y + 9, "slices", "name", "end")
    for first, last in kill["slices"]:
        chart.bar(x(first - start), y, x(last - start) - x(first - start),
                  ROW - 5, "f1")
    return chart


def slice_chart(kill, width):
    """Its first slices one by one: between them the CPU was another's."""
    left, start = 84, kill["start"]
    pieces = kill["slices"][:ZOOM]
    chart = Chart(width, 92, f"The first {len(pieces)} slices",
                  " ".join(f"{a - start:,} to {b - start:,}."
                           for a, b in pieces), left=left, right=56, top=8,
                  bottom=40)
    x = Linear([pieces[-1][1] - start], left, chart.x1,
               4 if width == NARROW else 8)
    chart.x_axis(x, "instructions since the kill was accepted", grid=True)
    for y, name in ((chart.y1 + 4, "the kill"), (chart.y1 + 24, "others")):
        chart.text(left - 6, y + 11, name, "", "end")
    before = None
    for a, b in pieces:
        chart.bar(x(a - start), chart.y1 + 4, x(b - start) - x(a - start), 14,
                  "f1", f"{b - a:,} instructions")
        if before is not None:
            chart.bar(x(before - start), chart.y1 + 24,
                      x(a - start) - x(before - start), 14, "f0",
                      f"{a - before:,} instructions of something else")
        before = b
    return chart


def single_slices(kill):
    """Is each of its slices in the trace by itself?"""
    return kill.get("slices_per_segment", 1) == 1 and len(kill["slices"]) > 1


def pair_chart(rows, width, title, unit):
    """@rows: [(name, nested, shadow)]: two points on a line each."""
    left = 152 if width == NARROW else 180
    chart = Chart(width, 72 + 22 * len(rows), title, " ".join(
        f"{name}: nested {show(a)}, shadow {show(b)}."
        for name, a, b in rows), left=left, right=24, top=26, bottom=40)
    x = Log([v for _, a, b in rows for v in (a, b)], left, chart.x1)
    chart.heading(title)
    chart.x_axis(x, unit, grid=True)
    for i, (name, nested, shadow) in enumerate(rows):
        y = chart.y1 + 14 + 22 * i
        chart.text(left - 8, y + 4, words(name), "", "end")
        if min(nested, shadow) <= 0:
            chart.text(left + 4, y + 4, f"nested {show(nested)}, shadow "
                       f"{show(shadow)}", "soft")
            continue
        chart.rule(x(nested), y, x(shadow), y, "axis")
        chart.mark(x(nested), y, 0, "f0")
        chart.mark(x(shadow), y, 1, "f1")
        if i == 0:
            near = -1 if nested < shadow else 1
            chart.text(x(nested), y - 7, "nested", "name f0",
                       "end" if near < 0 else "start")
            chart.text(x(shadow), y - 7, "shadow", "name f1",
                       "start" if near < 0 else "end")
    return chart


def paired(results, field):
    """[(guest, nested, shadow)] of the benches of both kinds of paging."""
    table = {}
    for row in results.of("shadow"):
        if "guest" in row and row.get("paging") in ("nested", "shadow") \
                and field in row:
            table.setdefault(row["guest"], {})[row["paging"]] = row[field]
    return [(guest, pair["nested"], pair["shadow"])
            for guest, pair in table.items() if len(pair) == 2]
