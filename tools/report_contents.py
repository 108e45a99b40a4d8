"""What the report says, section by section, from results alone. A section
without rows says which command measures them."""

from bench_goals import XEN_DENSE, goals_of
from bench_numbers import show
from bench_tables import COLUMNS, TITLES, UNITS, by_bench, \
    configuration_words, grid
from report_charts import destroy_panels, link_panels, memory_panels
from report_page import absent, bullets, details, facts, figure, \
    figure_twice, heading, page, paragraph, section, table
from report_text import RATIO_AT, findings, judged, list_ratios, times
from report_time import ZOOM, pair_chart, paired, single_slices, \
    slice_chart, stage_chart, stretch_chart, stretches
from report_wakeup import delay_panels, worst_chart

TITLE = "What sharing, unsharing and killing cost in Quire"
SHOWN = {"destroy", "rmap", "latency", "spte-rmap", "wakeup", "shadow"}


def _goals_words(row):
    """Which columns are judged, and by what: add ≤ 40, remove ≤ 60."""
    limits = {}
    goals = goals_of(row)
    for name, field in COLUMNS[row["bench"]]:
        if field in goals and goals[field]["at_most"] is not None:
            limits.setdefault(goals[field]["at_most"], []).append(name)
    return ", ".join(" and ".join(filter(None, (
        ", ".join(names[:-1]), names[-1]))) + f" ≤ {show(limit)}"
        for limit, names in limits.items()) or "-"


def _rows_table(bench, rows):
    head, body = grid(bench, rows)
    head[0] = UNITS.get(bench, "instructions")
    goal = head.index("at most")
    head[goal] = "goal"
    for row, cells in zip(rows, body):
        if "skipped" not in row:
            cells[goal] = _goals_words(row)
    return table(head, [("", body)], TITLES[bench])


def _head(results, command):
    about = results.about
    unknown = "not in these results"

    def told(field):
        return "; ".join(about[field]) or unknown
    pairs = [("Quire", f"version {told('version')}, commit "
              f"{told('commit')}"), ("emulator", told("emulator")),
             ("compiler", told("compiler")), ("measured on", told("machine")),
             ("measured by", told("command")), ("this page", command)]
    lead = "Quire is a hypervisor whose domains share memory. Costs are in " \
        "instructions, counted under QEMU's icount: the same build gives " \
        "the same figures to the last digit on any machine. Xen is 4.17.7 " \
        "with memory sharing opened for SVM, on the same emulator, counted " \
        "the same way."
    parts = [f"<header><h1>{TITLE}</h1>", paragraph(lead, "lead"),
             facts(pairs), "</header>"]
    mixed = [f for f in ("version", "commit", "compiler", "emulator")
             if len(about[f]) > 1]
    if mixed:
        parts.append(paragraph("These results come from more than one "
                               + " and more than one ".join(mixed)
                               + ": not all figures are of one build.",
                               "none"))
    return "\n".join(parts)


def _summary(results):
    found = findings(results)
    return section("Findings", bullets(found) if found else paragraph(
        "Nothing that has a finding was measured.", "none"))


def _destroy(results):
    charts = destroy_panels(results)
    command = "./quire bench destroy --pattern dense,random,stride256 " \
        "--rmap adaptive,hash256,list,rbtree --json FILE"
    if not charts:
        return section("Killing a domain", absent(
            "kills of domains whose gfns are all on one frame", command))
    rows = [r for r in results.rows if r["bench"] == "destroy"]
    skipped = " A cross is a cell that was not run: the table says why. It " \
        "has no figure." if results.skipped("destroy") else ""
    return section(
        "Killing a domain",
        paragraph("From the kill accepted until the last frame can be "
                  "allocated, divided by the gfns of the domain. Scrubbing "
                  "is apart."),
        figure(charts, "Cost of a gfn over the gfns that share one frame, "
               "both axes logarithmic, the same in all panels. A line is a "
               "reverse map; `adaptive` is Quire's. Diamonds are Xen's "
               f"measured points ({', '.join(f'{n:,}' for n in XEN_DENSE)} "
               "gfns for dense). The dotted line is the goal."
               + skipped,
               details("All kills, as a table",
                       _rows_table("destroy", rows))))


def _list(results):
    ratios = list_ratios(results)
    title = "The result of 2012: a list against the adaptive map"
    if not ratios:
        return section(title, absent(
            f"list and adaptive at {RATIO_AT:,} sharers",
            "./quire bench destroy --sharers 100k --pattern dense,random "
            "--rmap adaptive,list --json FILE"))
    body = [[what, pattern, show(slow), show(fast), times(slow / fast)]
            for what, pattern, slow, fast in ratios]
    return section(title, paragraph(
        "A list is cheap to add to. What it costs shows when a sharer is "
        "taken out that is not at its head: every removal walks. A kill "
        "goes by ascending gfn; where gfns were added so, each is at the "
        "head when it goes, which is the list's best case. At random they "
        "are anywhere."),
        table([f"instructions, {RATIO_AT:,} sharers", "gfns", "list",
               "adaptive", "list / adaptive"], [("", body)], title))


def _stretches(results):
    rows = results.of("latency")
    if not stretches(results):
        return section("The longest stretch", absent(
            "what each operation keeps a CPU from other work for",
            "./quire bench latency --json FILE"))
    return section(
        "The longest stretch",
        paragraph("While one of these runs, nothing else does on its CPU. "
                  "The machine's answer to anything else is late by that "
                  "much at most."),
        figure_twice(lambda w: stretch_chart(results, w),
                     "The longest run of instructions between two preemption "
                     "points, of each operation alone.",
                     details("As a table, with the place of each",
                             _rows_table("latency", rows))))


def _wakeups(results):
    rows = [r for r in results.rows if r["bench"] == "wakeup"]
    if not results.of("wakeup"):
        return section("A neighbour's sleep", absent(
            "how late a guest is woken, idle and beside a kill",
            "./quire bench wakeup --json FILE"))
    panels = delay_panels(results)
    return section(
        "A neighbour's sleep",
        paragraph("A guest sets a timer, sleeps, and measures how late it is "
                  "woken, while another domain is killed on the same CPU or "
                  "on another."),
        figure_twice(lambda w: worst_chart(results, w),
                     "Its latest wake-up in a quiet machine (disc) and "
                     "beside each kill (square), logarithmic. The short bar "
                     "is where the goal ends, 50,000 instructions beyond the "
                     "quiet one.",
                     details("As a table", _rows_table("wakeup", rows))),
        figure(panels, "Delays of all wake-ups: which part of them was how "
               "late, beside a kill on the guest's own CPU (filled) and in "
               "a quiet machine (outline), both axes logarithmic.")
        if panels else "")


def _stages_table(kill):
    start = kill["start"]
    return table(["stage", "from", "to", "slices", "longest slice"], [("", [
        [s["stage"], f"{s['start'] - start:,}", f"{s['end'] - start:,}",
         f"{s['slices']:,}", f"{s['longest']:,}"] for s in kill["stages"]])],
        "Stages of a kill")


def _timeline(results):
    kills = [k for k in results.kills if k["end"] > k["start"]
             and k["stages"] and k["slices"]]
    if not kills:
        return section("A kill in time", absent(
            "when each stage and each slice of a kill was",
            "./quire report --json FILE"))
    parts = []
    for kill in kills:
        what = kill.get("what") or f"{kill['gfns']:,} gfns"
        total = kill.get("slices_total", len(kill["slices"]))
        each = kill.get("slices_per_segment", 1)
        drawn = "Each block in the last line is a slice." if each == 1 else \
            f"Each block in the last line is {each:,} slices together."
        parts += [heading(what), figure_twice(
            lambda w, kill=kill: stage_chart(kill, w),
            f"{total:,} slices in {kill['end'] - kill['start']:,} "
            f"instructions. Spans are from a stage's first slice to its "
            f"last, preemptions included. {drawn}",
            details("As a table", _stages_table(kill)))]
    closer = max((k for k in kills if single_slices(k)),
                 key=lambda k: len(k["slices"]), default=None)
    if closer:
        what = closer.get("what") or f"{closer['gfns']:,} gfns"
        parts.append(figure_twice(
            lambda w: slice_chart(closer, w),
            f"The first {min(ZOOM, len(closer['slices']))} slices of the "
            f"kill of {what}: after each the CPU is free for others, and "
            "comes back to the kill when they have had their turn."))
    return section("A kill in time", *parts)


def _memory(results):
    charts = memory_panels(results)
    if not charts:
        return section("Memory of the reverse map", absent(
            "bytes a sharer", "./quire bench rmap --pattern dense,random,"
            "stride256 --rmap adaptive,hash256,list,rbtree --json FILE"))
    rows = [r for r in results.rows if r["bench"] == "rmap"]
    return section(
        "Memory of the reverse map",
        figure(charts, "Bytes of reverse map a sharer, over the sharers of "
               "one frame. Gfns in a row share words of the adaptive map; "
               "gfns far apart have one each.", details(
                   "The reverse map alone: instructions an operation, and "
                   "bytes", _rows_table("rmap", rows))))


def _links(results):
    charts = link_panels(results)
    if not charts:
        return section("Links between shadow entries", absent(
            "adding, walking and removing them",
            "./quire bench spte-rmap --json FILE"))
    return section(
        "Links between shadow entries",
        paragraph("Who takes a page from a guest on shadow paging finds "
                  "every shadow entry (spte) of its gfn. `single` is the "
                  "proposal of 2010, one link an entry; `sibling` has two in "
                  "the same memory; `desc` has descriptors of 14."),
        figure(charts, "Taking out one of the sptes of a gfn, over how many "
               "there are; both axes logarithmic.", details(
                   "As a table", _rows_table("spte-rmap", [
                       r for r in results.rows
                       if r["bench"] == "spte-rmap"]))))


def _importance(group):
    """Kills first, then as the tables come."""
    titles = list(TITLES.values())
    return group[0] != TITLES["destroy"], titles.index(group[0])


def _goals(results):
    groups = {}
    for row, field, goal in judged(results):
        name = next((h for h, f in COLUMNS[row["bench"]] if f == field), "")
        value, limit, xen = row[field], goal["at_most"], goal["xen"]
        missed = value > limit
        number = isinstance(xen, (int, float))
        groups.setdefault(TITLES[row["bench"]], []).append([
            f"{configuration_words(row)}: {name}",
            show(value) + "!" * missed, show(limit),
            f"{times(value / limit)} × goal!" if missed else "reached",
            show(xen), times(xen / value) if number and value else "-"])
    if not groups:
        return section("Goals against measured", absent(
            "anything with a goal", "./quire bench all --json FILE"))
    return section("Goals against measured", table(
        ["instructions", "measured", "goal", "outcome", "Xen",
         "Xen / Quire"], sorted(groups.items(), key=_importance),
        "Goals against measured"))


def _paging(results):
    parts = []
    for field, title, unit in (
            ("instructions_total", "Instructions", "instructions"),
            ("count_exits", "Exits", "exits (#VMEXIT)")):
        rows = paired(results, field)
        if rows:
            body = [[g.replace("_", " "), show(a), show(b), times(b / a)
                     if a else "-"] for g, a, b in rows]
            parts.append(figure_twice(
                lambda w, rows=rows, title=title, unit=unit: pair_chart(
                    rows, w, title, unit),
                f"{title} of the same guests on both kinds of paging, "
                "logarithmic.", details("As a table", table(
                    ["guest", "nested", "shadow", "shadow / nested"],
                    [("", body)], title))))
    if not parts:
        parts = [absent("the same guests on shadow and on nested paging",
                        "./quire bench shadow --json FILE")]
    else:
        parts.insert(0, paragraph(
            "Instructions of a guest and of the hypervisor at its exits, from "
            "its first to its verdict. A TLB miss costs nothing under icount "
            "in either; what nested paging loses to walks of two dimensions "
            "on a processor is not in these figures."))
        parts.append(details("All of it, as a table", _rows_table("shadow", [
            r for r in results.rows if r["bench"] == "shadow"])))
    return section("Shadow paging against nested paging", *parts)


def _others(results):
    rest = {b: rows for b, rows in by_bench(results.rows).items()
            if b not in SHOWN}
    return section("Other tables", *[
        heading(TITLES[b]) + _rows_table(b, rows)
        for b, rows in rest.items()]) if rest else ""


def contents(results, command):
    """The page's text."""
    return page(TITLE, [part for part in (
        _head(results, command), _summary(results), _destroy(results),
        _list(results), _stretches(results), _wakeups(results),
        _timeline(results),
        _memory(results), _links(results), _paging(results),
        _goals(results), _others(results)) if part])
