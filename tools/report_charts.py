"""The report's charts of costs over sizes: destroying, memory, the links of
shadow entries. A panel is 360 pixels wide: a phone, or a third of a page."""

from bench_goals import GOALS
from bench_numbers import show
from svg import Chart, Linear, Log, beside

FORMS = ["adaptive", "hash256", "list", "rbtree"]
LINKS = ["sibling", "single", "desc"]
PATTERNS = {"dense": "dense: gfns in a row",
            "random": "random: uniform over 64 GiB",
            "stride256": "256 gfns apart", "runs64": "runs of 64 gfns"}
ORDERS = {"forward": "in the order added", "reverse": "in reverse",
          "random": "at random"}
WIDTH, HEIGHT = 360, 300
REMOVE_MOST = next(g["at_most"] for g in GOALS
                   if g["match"].get("bench") == "spte-rmap"
                   and g["field"] == "instructions_remove_mean")
STRIP = 14                      # a line of what was not run
RIGHT = 70                      # room for the names of lines


def _points(rows, x, y):
    return sorted((r[x], r[y]) for r in rows if y in r)


def present(values, order):
    """Those of @order that are among @values, then the others."""
    values = set(values)
    return [v for v in order if v in values] + \
        sorted(values - set(order), key=str)


def xen_points(pattern):
    """[(gfns, instructions a gfn)] that Xen was measured at."""
    return sorted({(g["match"]["gfns"], g["xen"]) for g in GOALS
                   if g["match"].get("frames") == "one"
                   and g["match"].get("pattern") == pattern
                   and "gfns" in g["match"]
                   and isinstance(g["xen"], (int, float))})


def goal_of(pattern):
    """What a gfn of this pattern is to cost at most."""
    found = [g["at_most"] for g in GOALS
             if g["match"].get("frames") == "one"
             and g["match"].get("cpus", 1) == 1
             and g["match"].get("pattern") == pattern]
    return found[0] if found else None


def _sentence(lines):
    """A chart in words, for who does not see it."""
    return " ".join(f"{name}: " + ", ".join(
        f"{show(y)} at {x:,}" for x, y in points) + "."
        for name, points in lines if points)


def _lines(chart, lines, x, y):
    """[(name, points)], each with its name at its end; returns the ends."""
    ends = []
    for i, (name, points) in enumerate(lines):
        shown = [(x(a), y(b)) for a, b in points if x.has(a) and y.has(b)]
        if not shown:
            continue
        chart.line(shown, i % 4)
        ends.append((*shown[-1], name, f"f{i % 4}"))
    return ends


def _strip(chart, x, skips, forms):
    """Cells that were not run: crosses above the plot, never a figure."""
    if not skips:
        return
    top = chart.y1 - 4 - STRIP * _deepest(skips)
    chart.bar(chart.x0, top, chart.x1 - chart.x0, chart.y1 - 4 - top, "band")
    chart.text(chart.x0 + 4, top + 10, "not run:", "soft")
    for i, (form, n) in enumerate(skips):
        y = top + STRIP / 2 + STRIP * sum(m == n for _, m in skips[:i])
        series = forms.index(form) % 4
        chart.mark(x(n), y, "x", f"s{series}")
        chart.text(x(n) + 7, y + 4, form, f"name f{series}")


def _deepest(skips):
    """How many were not run at one size, at most."""
    sizes = [n for _, n in skips]
    return max(map(sizes.count, sizes), default=0)


def _destroy_panel(results, pattern, forms, xs, ys, room):
    """@room: pixels above the plot for what was not run, in any panel."""
    match = {"frames": "one", "cpus": 1, "pattern": pattern}
    lines = [(f, _points(results.of("destroy", rmap=f, **match), "gfns",
                         "instructions_per_gfn")) for f in forms]
    xen = xen_points(pattern)
    chart = Chart(WIDTH, HEIGHT + room, f"Destroying a domain, {pattern}",
                  _sentence([*lines, ("Xen", xen)]), right=RIGHT,
                  top=42 + room)
    chart.heading(PATTERNS.get(pattern, pattern))
    x = Log(xs, chart.x0, chart.x1)
    y = Log(ys, chart.y0, chart.y1)
    chart.text(0, 28, "instructions a gfn", "soft")
    chart.y_axis(y)
    chart.x_axis(x, "gfns of the domain, all on one frame")
    goal = goal_of(pattern)
    if goal:
        chart.goal(y(goal), f"at most {goal}")
    _strip(chart, x, _skips(results, pattern), forms)
    ends = _lines(chart, lines, x, y)
    xen = [(x(a), y(b)) for a, b in xen if x.has(a)]
    for point in xen:
        chart.mark(*point, 3, "ink")
    if xen:
        ends.append((*xen[-1], "Xen", ""))
    chart.labels(ends)
    return chart


def _skips(results, pattern):
    """[(form, gfns)] of what was not run."""
    return [(r["rmap"], r["gfns"]) for r in results.skipped(
        "destroy", frames="one", cpus=1, pattern=pattern)]


def destroy_panels(results):
    """Small multiples with the same axes, one a pattern."""
    rows = [r for r in results.of("destroy", frames="one", cpus=1)
            if "instructions_per_gfn" in r]
    alike = rows + results.skipped("destroy", frames="one", cpus=1)
    forms = present({r["rmap"] for r in alike}, FORMS)
    patterns = present({r["pattern"] for r in alike}, PATTERNS)
    xen = [p for name in patterns for p in xen_points(name)]
    goals = [g for g in map(goal_of, patterns) if g]
    xs = [r["gfns"] for r in alike] + [n for n, _ in xen]
    ys = [r["instructions_per_gfn"] for r in rows] + [c for _, c in xen]
    deepest = max((_deepest(_skips(results, p)) for p in patterns), default=0)
    room = STRIP * deepest + 4 if deepest else 0
    return [_destroy_panel(results, p, forms, xs, ys + goals, room)
            for p in patterns]


def destroy_svg(results):
    """The same as one file."""
    return beside(destroy_panels(results), "Destroying a domain, instructions "
                  "a gfn", "One panel for each pattern of gfns, one line for "
                  "each reverse map, and Xen's measured points.")


def memory_panels(results):
    """Bytes of reverse map a sharer, a panel for each pattern."""
    rows = [r for r in results.of("rmap") if "bytes_per_sharer" in r]
    forms = present({r["rmap"] for r in rows}, FORMS)
    charts = []
    for pattern in present({r["pattern"] for r in rows}, PATTERNS):
        lines = [(f, _points([r for r in rows if r["rmap"] == f
                              and r["pattern"] == pattern], "sharers",
                             "bytes_per_sharer")) for f in forms]
        chart = Chart(WIDTH, HEIGHT - 40, f"Memory of a reverse map, "
                      f"{pattern}", _sentence(lines), right=RIGHT, top=38)
        chart.heading(PATTERNS.get(pattern, pattern))
        chart.text(0, 28, "bytes a sharer", "soft")
        x = Log([r["sharers"] for r in rows], chart.x0, chart.x1)
        y = Linear([r["bytes_per_sharer"] for r in rows], chart.y0, chart.y1)
        chart.y_axis(y)
        chart.x_axis(x, "sharers of the frame")
        chart.labels(_lines(chart, lines, x, y))
        charts.append(chart)
    return charts


def link_panels(results):
    """Removing the links of shadow entries, a panel for each order."""
    rows = [r for r in results.of("spte-rmap")
            if "instructions_remove_mean" in r]
    forms = present({r["form"] for r in rows}, LINKS)
    charts = []
    for order in present({r["order"] for r in rows}, ORDERS):
        lines = [(f, _points([r for r in rows if r["form"] == f
                              and r["order"] == order], "mappings",
                             "instructions_remove_mean")) for f in forms]
        chart = Chart(WIDTH, HEIGHT - 40, f"Removing an spte {order}",
                      _sentence(lines), right=RIGHT, top=38)
        chart.heading("removed " + ORDERS.get(order, order))
        chart.text(0, 28, "instructions a removal", "soft")
        x = Log([r["mappings"] for r in rows], chart.x0, chart.x1)
        y = Log([r["instructions_remove_mean"] for r in rows] + [10],
                chart.y0, chart.y1)
        chart.y_axis(y)
        chart.x_axis(x, "sptes that map the gfn")
        chart.goal(y(REMOVE_MOST), "")
        chart.labels([*_lines(chart, lines, x, y), (
            chart.x1 - 4, y(REMOVE_MOST), f"at most {REMOVE_MOST}", "soft")])
        charts.append(chart)
    return charts
