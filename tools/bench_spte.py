"""bench spte-rmap: the links between shadow entries of one gfn, by the command
bench-spte-rmap: the same trace for each form."""

from bench_cell import Cell

FORMS = ["sibling", "single", "desc"]
ORDERS = ["forward", "reverse", "random"]
MAPPINGS = [1, 2, 16, 1000, 100_000]
FIELDS = ("add", "step", "remove")
PHASE_LIMIT = 300_000_000       # instructions; a phase that walks ends then


def line(form, n, order):
    """The command."""
    return f"bench-spte-rmap form={form} n={n} order={order} " \
        f"limit={PHASE_LIMIT}"


def _cell(form, order):
    config = {"form": form, "order": order}
    cell = Cell("spte-rmap", config, [
        (str(n), line(form, n, order)) for n in MAPPINGS], None, weight=0.5)

    def rows(replies):
        result = []
        for n in MAPPINGS:
            it = replies[str(n)]
            row = {f"instructions_{p}_mean": it[p]["ticks"] / it[p]["ops"]
                   for p in FIELDS}
            result.append(cell.row(row | {"bytes_links": it["bytes"],
                                          "count_removed":
                                          it["remove"]["ops"]}, mappings=n))
        return result
    cell.rows = rows
    return cell


def spte_cells(args):
    if "bench-spte-rmap" not in args.known_commands:
        return []
    return [_cell(form, order) for form in FORMS for order in ORDERS]
