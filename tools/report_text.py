"""The report's findings: plain sentences, each from rows that were measured.
A finding whose rows are not there is left out."""

import statistics

from bench_goals import XEN_DENSE, goals_of
from bench_numbers import show
from bench_tables import COLUMNS, TITLES, configuration_words
from report_charts import LINKS, PATTERNS
from report_time import STRETCH, STRETCH_MEDIAN, paired, stretches, words
from report_wakeup import BEYOND, BEYOND_MOST

COST, BYTES = "instructions_per_gfn", "bytes_per_sharer"
REMOVE = "instructions_remove_mean"
DESTROY = "destroy, per gfn"
RATIO_AT = 100_000              # sharers, of the result of 2012


def times(ratio):
    """A ratio as one says it: 1.25, 13, 4,300."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def _destroys(results, **match):
    """{gfns: instructions a gfn} of kills of gfns on one frame."""
    rows = results.of("destroy", frames="one", cpus=1, **match)
    return {r["gfns"]: r[COST] for r in sorted(rows, key=lambda r: r["gfns"])
            if COST in r}


def _against_xen(results):
    found = _destroys(results, rmap="adaptive", pattern="dense")
    both = [n for n in found if n in XEN_DENSE and found[n]]
    if not both:
        return
    n = both[-1]
    yield f"Killing a domain with {n:,} gfns on one frame takes " \
        f"*{show(found[n])} instructions a gfn*. Xen takes " \
        f"{XEN_DENSE[n]:,}: {times(XEN_DENSE[n] / found[n])} times as many."
    first, last = min(found), max(found)
    if first < last:
        yield f"From {first:,} to {last:,} such gfns the cost of one goes " \
            f"from {show(found[first])} to *{show(found[last])}* " \
            "instructions: it does not grow with the sharers." \
            if found[last] <= 1.2 * found[first] else \
            f"From {first:,} to {last:,} such gfns the cost of one goes " \
            f"from {show(found[first])} to *{show(found[last])}* instructions."


def list_ratios(results, n=RATIO_AT):
    """[(what, pattern, list, adaptive)] at @n sharers: whole kills where they
    were run, and single removals, in random order."""
    found = []
    for pattern in PATTERNS:
        slow = _destroys(results, rmap="list", pattern=pattern).get(n)
        fast = _destroys(results, rmap="adaptive", pattern=pattern).get(n)
        if slow and fast:
            found.append((DESTROY, pattern, slow, fast))
    for pattern in PATTERNS:
        rows = {r["rmap"]: r.get(REMOVE) for r in results.of(
            "rmap", pattern=pattern, sharers=n)}
        if rows.get("list") and rows.get("adaptive"):
            found.append(("one removal, in random order", pattern,
                          rows["list"], rows["adaptive"]))
    return found


def _list_against_adaptive(results):
    ratios = list_ratios(results)
    if not ratios:
        return
    # A whole kill where gfns came in any order, if there is one.
    what, pattern, slow, fast = next(
        (r for r in ratios if r[:2] == (DESTROY, "random")),
        max(ratios, key=lambda r: r[2] / r[3]))
    yield f"The result of 2012, with {RATIO_AT:,} sharers ({what}, " \
        f"{pattern}): the adaptive map takes {show(fast)} instructions, the " \
        f"list {show(slow)}: *{times(slow / fast)} times* as many."


def _stretches(results):
    rows = stretches(results)
    if not rows:
        return
    name, longest, _ = rows[0]
    median = statistics.median(r[1] for r in rows)
    yield f"Of {len(rows)} operations none keeps a CPU for longer than " \
        f"*{show(longest)} instructions* ({words(name)}); the limit is " \
        f"{show(STRETCH)}." if longest <= STRETCH else \
        f"The longest stretch of {len(rows)} operations is " \
        f"*{show(longest)} instructions* ({words(name)}), above the limit " \
        f"of {show(STRETCH)}."
    yield f"The median of their longest stretches is *{show(median)}*; the " \
        f"aim is {show(STRETCH_MEDIAN)}, " \
        + ("reached." if median <= STRETCH_MEDIAN else "not reached.")


def _wakeups(results):
    rows = results.of("wakeup")
    if not rows:
        return
    worst = max(rows, key=lambda r: r[BEYOND])
    yield f"Of {len(rows)} kills beside which a guest measured its wake-ups, " \
        f"none made it wait for more than *{show(worst[BEYOND])} " \
        f"instructions* beyond its idle worst; {show(BEYOND_MOST)} are " \
        "allowed." if worst[BEYOND] <= BEYOND_MOST else \
        f"The worst of {len(rows)} kills beside which a guest measured its " \
        f"wake-ups made it wait *{show(worst[BEYOND])} instructions* beyond " \
        f"its idle worst, more than the {show(BEYOND_MOST)} allowed."


def _memory(results):
    rows = [r for r in results.of("rmap", rmap="adaptive") if BYTES in r]
    if not rows:
        return
    n = max(r["sharers"] for r in rows)
    least = min((r for r in rows if r["sharers"] == n), key=lambda r: r[BYTES])
    most = max((r for r in rows if r["sharers"] == n), key=lambda r: r[BYTES])
    yield f"With {n:,} sharers of one frame the reverse map takes " \
        f"*{show(least[BYTES])} to {show(most[BYTES])} bytes a sharer* " \
        f"({least['pattern']} to {most['pattern']})."


def _traces(results):
    if not results.kills:
        return
    kill = max(results.kills, key=lambda k: k["end"] - k["start"])
    slices = kill.get("slices_total", len(kill["slices"]))
    longest = max((s["longest"] for k in results.kills for s in k["stages"]),
                  default=0)
    many = len(results.kills)
    which = "The kill that was traced" if many == 1 else \
        f"The longest of {many} kills that were traced"
    yield f"{which}, of {kill['gfns']:,} gfns, ran in *{slices:,} slices*. " \
        f"No slice{' of any of them' * (many > 1)} is above " \
        f"*{longest:,} instructions*."


def _links(results):
    rows = results.of("spte-rmap")
    if not rows:
        return
    n = max(r["mappings"] for r in rows)
    worst = {form: max((r[REMOVE] for r in rows if r["mappings"] == n
                        and r["form"] == form and REMOVE in r), default=None)
             for form in LINKS}
    if all(worst.values()):
        yield f"Of {n:,} shadow entries on one chain, one is removed in " \
            f"*{show(worst['sibling'])} instructions* in the worst order; by " \
            f"the single link it is {show(worst['single'])}, by descriptors " \
            f"{show(worst['desc'])}."


def _paging(results):
    rows = sorted((shadow / nested, guest) for guest, nested, shadow
                  in paired(results, "instructions_total") if nested)
    if rows:
        (least, best), (most, worst) = rows[0], rows[-1]
        yield f"Of {len(rows)} guests the same on both kinds of paging, " \
            f"shadow paging takes *{times(least)} to {times(most)} times* " \
            f"the instructions of nested paging ({words(best)}; " \
            f"{words(worst)})."


def judged(results):
    """[(row, field, goal)] of all that has a goal."""
    return [(row, field, g) for row in results.rows if "skipped" not in row
            for field, g in goals_of(row).items()
            if g["at_most"] is not None]


def _goals(results):
    entries = judged(results)
    if not entries:
        return
    met = sum(row[f] <= g["at_most"] for row, f, g in entries)
    text = f"*{met} of {len(entries)}* figures with a goal reach it"
    if met < len(entries):
        row, field, g = max(entries, key=lambda e: e[0][e[1]]
                            / e[2]["at_most"])
        text += f"; the farthest from it is at {show(row[field])} instead " \
            f"of {show(g['at_most'])} ({heading(row, field)})"
    yield text + "."


def heading(row, field):
    """What a figure is, in a few words."""
    name = next((h for h, f in COLUMNS[row["bench"]] if f == field), field)
    return f"{TITLES[row['bench']].lower()}, {configuration_words(row)}, " \
        f"{name}"


def findings(results):
    """Sentences; what is between * is to stand out."""
    return [text for part in (
        _against_xen, _list_against_adaptive, _stretches, _wakeups, _traces,
        _memory, _links, _paging, _goals) for text in part(results)]
