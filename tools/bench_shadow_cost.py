"""bench shadow, its second table: what each exit of a guest on shadow paging
takes, from #VMEXIT to the next VMRUN, by the guest `paging`.

The hypervisor keeps count and ticks of each kind of exit (command `shadow`,
exit_ticks): a figure is the difference of two readings, around a phase of the
guest that does nothing else.
"""

from bench_cell import Cell
from bench_spte import FIELDS, MAPPINGS, ORDERS, line

BENCH = "shadow-cost"
GFN = 0x700                     # mapped N times; behind them gfns of no mapping
FIRST_USE, NOT_MAPPED = GFN + 0x80, GFN + 0x90
BASE = 1 << 20                  # of the other sharer, beyond its RAM
GUEST = 'create name=g image=paging mem=8M paging=shadow cmdline="{}"'
# (operation, its kind in exit_ticks), in the order of the guest's phases.
EXITS = [("hidden fault", "hidden_fault"),
         ("the guest's own page fault", "own_fault"),
         ("load of a CR3 seen before", "cr3_load"),
         ("INVLPG", "invlpg")]


def _to_phase(phase):
    """From the phase before, which the guest waits behind."""
    return [f"allow g phase={phase - 1}", f"wait g phase={phase} "
            "timeout_ms=60000"]


def spent(before, after, kind):
    """(count, ticks) between two replies of `shadow`."""
    a, b = (reply["exit_ticks"][kind] for reply in (before, after))
    return b["count"] - a["count"], b.get("sum", 0) - a.get("sum", 0)


def _longest(cell, replies, operation):
    worst = max(replies["latency"]["cpus"], key=lambda c: c["longest_ticks"])
    return cell.row({"instructions_longest": worst["longest_ticks"]},
                    operation=f"{operation}, longest stretch",
                    where=worst["what"])


def _exits():
    lines = [GUEST.format(""), "wait g phase=1", "latency reset=1",
             *_to_phase(3), ("0", "shadow g")]
    for i in range(len(EXITS)):
        lines += [*_to_phase(5 + 2 * i), (str(i + 1), "shadow g")]
    lines += ["allow g phase=98", ("verdict", "wait g verdict=1"),
              ("latency", "latency"), "audit"]
    cell = Cell(BENCH, {"operation": "exits"}, lines, None)

    def rows(replies):
        assert replies["verdict"]["passed"] == 1, replies["verdict"]
        result = []
        for i, (operation, kind) in enumerate(EXITS):
            count, ticks = spent(replies[str(i)], replies[str(i + 1)], kind)
            result.append(cell.row({"instructions_mean": ticks / count,
                                    "count_exits": count},
                                   operation=operation))
        return [*result, _longest(cell, replies, "all of these")]
    cell.rows = rows
    return cell


def _alias(n):
    """One gfn mapped @n times by the guest: nominated, then written to."""
    lines = [
        "create name=s mem=8M paused=1",
        GUEST.format(f"alias={n} gfn={GFN}") + " shadow_pages=1024",
        "wait g phase=1", f"nominate g gfn={FIRST_USE}",
        f"add-physmap g {FIRST_USE} s {BASE}", "latency reset=1",
        *_to_phase(3), ("none", f"nominate g gfn={NOT_MAPPED}"),
        ("all", f"nominate g gfn={GFN}"), f"add-physmap g {GFN} s {BASE + 1}",
        *_to_phase(5), ("before", "shadow g"), *_to_phase(7),
        ("after", "shadow g"), "allow g phase=98",
        ("verdict", "wait g verdict=1 timeout_ms=60000"),
        ("latency", "latency"), "audit"]
    cell = Cell(BENCH, {"operation": "shared and written", "mappings": n},
                lines, None, weight=1 + n / 2e4)

    def rows(replies):
        assert replies["verdict"]["passed"] == 1, replies["verdict"]
        count, ticks = spent(replies["before"], replies["after"], "p2m_fault")
        protect = replies["all"]["busy_ticks"] - replies["none"]["busy_ticks"]
        return [
            cell.row({"instructions_per_mapping": protect / n},
                     operation="write-protect"),
            cell.row({"instructions_total": ticks, "count_exits": count},
                     operation="unshare"),
            _longest(cell, replies, "both")]
    cell.rows = rows
    return cell


def _links():
    """The dearest of all lengths and orders, of the form that is used."""
    asked = [(f"{n} {order}", line("sibling", n, order))
             for order in ORDERS for n in MAPPINGS]
    cell = Cell(BENCH, {"operation": "reverse map"}, asked, None, weight=0.5)

    def rows(replies):
        result = []
        for phase in FIELDS:
            cost, where = max((it[phase]["ticks"] / it[phase]["ops"], name)
                              for name, it in replies.items())
            n, order = where.split()
            result.append(cell.row(
                {"instructions_mean": cost}, where=f"{int(n):,}, {order}",
                operation=f"reverse map {phase}, the dearest"))
        return result
    cell.rows = rows
    return cell


def cells():
    return [_exits(), *[_alias(n) for n in MAPPINGS], _links()]
