"""The report's charts of wake-up delays: how late a sleeping guest is woken, in
a quiet machine and beside a kill."""

from bench_goals import GOALS
from bench_numbers import show
from svg import Chart, Log, number, short

NARROW = 360
ROW = 18
APART = 64                      # pixels, of names that can be centred
BEYOND = "instructions_beyond_idle"
BEYOND_MOST = next(g["at_most"] for g in GOALS if g["field"] == BEYOND)
PANELS = 6                      # the kills that disturb most
FIRST_EDGE = 1024
KINDS = {"one": "one frame", "pairs": "pairs", "seed": "100 sharers a frame",
         "private": "private pages", "superpages": "2M pages",
         "holes": "1 TiB of holes"}
ORDER = list(KINDS)


def _kill(row):
    """What was killed, in few words."""
    parts = [KINDS.get(row["frames"], row["frames"])]
    if row["frames"] == "one":
        parts = [row.get("pattern", "one frame")]
    if row["frames"] != "holes":
        parts.append(short(row["gfns"]))
    if "who" in row:
        parts.append(row["who"])
    return ", ".join(parts)


def _rows(results):
    """Kills on the guest's CPU first, then by kind and size."""
    return sorted(results.of("wakeup"), key=lambda r: (
        r["kill"] != "on its CPU", r["frames"] not in ORDER,
        ORDER.index(r["frames"]) if r["frames"] in ORDER else 0,
        str(r.get("pattern")), r["gfns"]))


def worst_chart(results, width):
    """The worst delay idle and beside each kill, two points on a line."""
    rows = _rows(results)
    groups = list(dict.fromkeys(r["kill"] for r in rows))
    left = 158 if width == NARROW else 180
    chart = Chart(width, 66 + ROW * (len(rows) + 2 * len(groups)),
                  "The latest wake-up beside each kill", " ".join(
                      f"{_kill(r)}, {r['kill']}: idle "
                      f"{show(r['instructions_worst_idle'])}, beside the kill "
                      f"{show(r['instructions_worst'])}." for r in rows),
                  left=left, right=24, top=10, bottom=40)
    limits = [r["instructions_worst_idle"] + BEYOND_MOST for r in rows]
    x = Log([r[f] for r in rows for f in (
        "instructions_worst", "instructions_worst_idle")] + limits,
        left, chart.x1)
    chart.x_axis(x, "instructions late", grid=True)
    y = chart.y1
    for group in groups:
        y += 2 * ROW
        chart.text(0, y - ROW - 2, f"kill {group}", "head")
        for i, row in enumerate(r for r in rows if r["kill"] == group):
            _worst_row(chart, x, y, row, first=i == 0)
            y += ROW
    return chart


def _worst_row(chart, x, y, row, first):
    idle, worst = row["instructions_worst_idle"], row["instructions_worst"]
    limit = x(idle + BEYOND_MOST)
    chart.text(chart.x0 - 8, y + 4, _kill(row), "", "end")
    chart.rule(limit, y - 5, limit, y + 5, "axis")
    if min(idle, worst) <= 0:
        chart.text(chart.x0 + 4, y + 4, f"idle {show(idle)}, beside the kill "
                   f"{show(worst)}", "soft")
        return
    chart.rule(x(idle), y, x(worst), y, "axis")
    chart.mark(x(idle), y, 0, "f0")
    chart.mark(x(worst), y, 1,
               "fbad" if row[BEYOND] > BEYOND_MOST else "f1")
    if first:
        sides = ("end", "start") if idle <= worst else ("start", "end")
        if abs(x(worst) - x(idle)) > APART:
            sides = ("middle", "middle")
        gap = {"end": -2, "middle": 0, "start": 2}
        chart.text(x(idle) + gap[sides[0]], y - 8, "idle", "name f0", sides[0])
        chart.text(x(worst) + gap[sides[1]], y - 8, "beside the kill",
                   "name f1", sides[1])
        chart.text(limit, y - 22, "goal", "soft", "middle")


def below(edge):
    """Where the bucket begins that ends at @edge: four thirds and three
    halves of each other, in turn, from 1,024 on."""
    if edge <= FIRST_EDGE:
        return edge / 2
    return edge * 3 // 4 if edge & (edge - 1) == 0 else edge * 2 // 3


def shares(table):
    """[(from, to, part)] of a histogram [[below, how many], ...]."""
    total = sum(n for _, n in table)
    result, last = [], FIRST_EDGE
    for edge, n in table:
        start, end = (last, last * 2) if edge is None else (below(edge), edge)
        if n:
            result.append((start, end, n / total))
        last = end
    return result


def _panel(row, x_values, y_values):
    """Filled: beside the kill; outlined: idle."""
    tables = [shares(row["count_delays"]), shares(row["count_delays_idle"])]
    chart = Chart(NARROW, 210, f"Wake-up delays beside the kill of "
                  f"{_kill(row)}", " ".join(
                      f"{name}: " + ", ".join(
                          f"{part:.2%} from {show(a)} to {show(b)}"
                          for a, b, part in table) + "."
                      for name, table in zip(("kill", "idle"), tables)),
                  left=48, right=30, top=38, bottom=36)
    chart.heading(_kill(row))
    chart.text(0, 28, "part of the wake-ups", "soft")
    x = Log(x_values, chart.x0, chart.x1)
    y = Log(y_values, chart.y0, chart.y1)
    chart.y_axis(y, show=lambda v: f"{v * 100:g}%")
    chart.x_axis(x, "instructions late")
    for a, b, part in tables[0]:
        chart.bar(x(a), y(part), x(b) - x(a) - 0.5, chart.y0 - y(part),
                  "f1 pale", f"{part:.2%} from {show(a)} to {show(b)}")
    for a, b, part in tables[1]:
        chart.add("path", class_="line s0", d=f"M{number(x(a))} "
                  f"{number(chart.y0)}V{number(y(part))}H{number(x(b))}"
                  f"V{number(chart.y0)}")
    chart.key([("beside the kill", "f1 pale", "f1"), ("idle", "s0", "f0")])
    return chart


def delay_panels(results):
    """Of each kind of kill on the guest's own CPU the one that delays most."""
    kinds = {}
    for row in _rows(results):
        if row["kill"] == "on its CPU" and row.get("count_delays") \
                and row.get("count_delays_idle"):
            kind = (row["frames"], row.get("pattern"))
            if kind not in kinds or row[BEYOND] > kinds[kind][BEYOND]:
                kinds[kind] = row
    rows = sorted(kinds.values(), key=lambda r: -r[BEYOND])[:PANELS]
    tables = [shares(r[f]) for r in rows
              for f in ("count_delays", "count_delays_idle")]
    xs = [v for table in tables for a, b, _ in table for v in (a, b)]
    ys = [part for table in tables for _, _, part in table] + [1]
    return [_panel(row, xs, ys) for row in rows]
