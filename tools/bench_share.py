"""bench share and bench unshare: the operations one by one.

Tables of the p2m are told apart: a gfn added where its leaf table is there
already is one row, and a table that had to be made is another.
"""

from bench_cell import Cell

BASE = 1 << 20                  # the client's first gfn beyond its RAM
LEAF = 512                      # gfns of one leaf table
LEAVES = 20
PAGES = 8192
WRITES = 64                     # of the writer, each to a page of its own
FIRST = 512                     # the writer's first page
WORD = 5
SMALL = "create name={} mem=4K paused=1"


def _cell(operation, n, lines, **config):
    """A cell whose command named `it` works on @n gfns."""
    cell = Cell("share", {"operation": operation, "gfns": n} | config, lines,
                None, weight=1)
    cell.rows = lambda replies: [cell.row(
        {"instructions_per_gfn": replies["it"]["busy_ticks"] / n})]
    return cell


def _two_domains(pages):
    return [f"create name=a mem={4 * pages}K paused=1",
            f"create name=b mem={4 * pages}K paused=1"]


def _add_bulk():
    """One frame at 511 of each 512 gfns: the tables are there, since the
    first gfn of each was added before. Then where there are none yet."""
    n = LEAVES * (LEAF - 1)
    lines = [SMALL.format("s"), SMALL.format("c"),
             f"add-physmap s 0 c {BASE} count={LEAVES} stride={LEAF}"]
    lines += [(f"old{i}", f"add-physmap s 0 c {BASE + i * LEAF + 1} "
               f"count={LEAF - 1}") for i in range(LEAVES)]
    lines += [(f"new{i}", f"add-physmap s 0 c {2 * BASE + i * LEAF} "
               f"count={LEAF - 1}") for i in range(LEAVES)]
    lines += ["audit"]
    cell = Cell("share", {"operation": "add_physmap_bulk", "gfns": n}, lines,
                None)

    def rows(replies):
        old, new = (sum(replies[f"{age}{i}"]["busy_ticks"]
                        for i in range(LEAVES)) for age in ("old", "new"))
        return [cell.row({"instructions_per_gfn": old / n}),
                cell.row({"instructions_per_gfn": new / n},
                         operation="add_physmap_bulk_new_tables")]
    cell.rows = rows
    return cell


def _add_single():
    """Drawn one by one, all holes of one leaf table but the first."""
    return _cell("add_physmap_single", LEAF - 1, [
        SMALL.format("s"), SMALL.format("c"), f"add-physmap s 0 c {BASE}",
        ("it", f"add-random s 0 c {BASE + 1} count={LEAF - 1} "
         f"span={LEAF - 1}"), "audit"])


def _add_single_large(sharers):
    """The same beside many sharers."""
    return _cell("add_physmap_single", LEAF - 1, [
        SMALL.format("s"), SMALL.format("c"), SMALL.format("d"),
        f"add-physmap s 0 d {BASE} count={sharers}",
        f"add-physmap s 0 c {BASE}",
        ("it", f"add-random s 0 c {BASE + 1} count={LEAF - 1} "
         f"span={LEAF - 1}"), "audit"], sharers=sharers)


def _heavy(operation, heavy, sharers):
    """One pair, one of whose frames has many sharers already."""
    cell = Cell("share", {"operation": operation, "sharers": sharers}, [
        *_two_domains(1), SMALL.format("c"),
        f"add-physmap {heavy} 0 c {BASE} count={sharers}",
        ("it", "share a 0 b 0"), "audit"], None)
    cell.rows = lambda replies: [cell.row(
        {"instructions_total": replies["it"]["busy_ticks"]})]
    return cell


def share_cells(_):
    pages = _two_domains(PAGES)
    nominated = [f"nominate {d} gfn=0 count={PAGES}" for d in "ab"]
    moved = 100_000
    return [
        _cell("nominate", PAGES, [*pages, ("it", nominated[0]), "audit"]),
        _cell("share_pair", PAGES, [*pages, *nominated, (
            "it", f"share a 0 b 0 count={PAGES}"), "audit"]),
        _cell("nominate_and_share_pair", PAGES, [*pages, (
            "it", f"share a 0 b 0 count={PAGES}"), "audit"]),
        _cell("range_share", PAGES, [*pages, (
            "it", f"range-share a 0 b 0 count={PAGES}"), "audit"]),
        _cell("add_range", PAGES, [*pages, nominated[0], (
            "it", f"add-range a 0 b {BASE} count={PAGES}"), "audit"]),
        _add_bulk(), _add_single(), _add_single_large(1_000_000),
        # Either of the two frames may be the one with the sharers.
        _heavy("share_heavy_source", "a", moved),
        _heavy("share_heavy_client", "b", moved),
        _cell("unshare_by_toolstack_copy", PAGES // 2, [
            *pages, f"share a 0 b 0 count={PAGES}",
            ("it", f"unshare b gfn=0 count={PAGES // 2}"), "audit"]),
        _cell("unshare_by_toolstack_last", PAGES, [
            *pages, nominated[0],
            ("it", f"unshare a gfn=0 count={PAGES}"), "audit"]),
    ]


def _writer(count):
    return [SMALL.format("s"), f"fill s gfn=0 word={WORD}",
            f"create name=w image=writer mem=4M cmdline=\"first={FIRST} "
            f"count={count} word={WORD}\"", "wait w phase=1",
            f"depopulate w gfn={FIRST} count={count}"]


WRITE = ["allow w phase=2", ("verdict", "wait w verdict=1"),
         ("stats", "stats w")]


def _unshare_cell(copy, sharers, lines, memory=1 << 30):
    cell = Cell("unshare", {"copy": "with copy" if copy else "without copy",
                            "sharers": sharers}, lines + WRITE, None,
                memory=memory, weight=0.5 + sharers / 2e5)

    def rows(replies):
        assert replies["verdict"]["passed"] == 1, replies["verdict"]
        ticks = replies["stats"]["unshare_ticks"]
        return [cell.row({
            "instructions_least": ticks["min"],
            "instructions_mean": ticks["sum"] / ticks["count"],
            "instructions_most": ticks["max"],
            "count_unshares": ticks["count"]})]
    cell.rows = rows
    return cell


def _with_copy(sharers):
    """Many pages of one guest on one frame, beside another's gfns."""
    others = sharers - WRITES - 1
    return _unshare_cell(True, sharers, [
        *_writer(WRITES), SMALL.format("c"),
        f"add-physmap s 0 w {FIRST} count={WRITES}",
        f"add-physmap s 0 c {BASE} count={others}"])


def _with_copy_of_two():
    """Each page on a frame of its own, with one other sharer."""
    lines = _writer(WRITES)
    lines[0] = f"create name=s mem={4 * WRITES}K paused=1"
    lines[1] = f"fill s gfn=0 count={WRITES} word={WORD}"
    return _unshare_cell(True, 2, [
        *lines, f"nominate s gfn=0 count={WRITES}",
        f"add-range s 0 w {FIRST} count={WRITES}"])


def _last_of(sharers):
    """The guest's is the last of what were @sharers."""
    return _unshare_cell(False, sharers, [
        *_writer(1), SMALL.format("c"), f"add-physmap s 0 w {FIRST}",
        f"add-physmap s 0 c {BASE} count={sharers - 2}", "destroy c",
        "destroy s"])


def unshare_cells(args):
    sizes = [n for n in args.sharers if n > WRITES + 1]
    alone = _unshare_cell(False, 1, [
        f"create name=w image=writer mem=4M cmdline=\"first={FIRST} "
        f"count={WRITES} word=0\"", "wait w phase=1",
        f"nominate w gfn={FIRST} count={WRITES}"])
    result = [alone, _with_copy_of_two()]
    result += [_with_copy(n) for n in sizes]
    result += [_last_of(n) for n in sizes]
    for cell in result[len(sizes) + 2:]:
        cell.config["copy"] = "without copy, the last of"
    return result
