"""The table of a run: per domain and in total, what sharing was worth and what
unsharing and destroying cost."""


# What a reply must have for each kind of entry.
FIELDS = {"shared": ("domains", "share"),
          "written": ("domains", "unshare_ticks"), "destroyed": ("destroyed",)}


TICKS = "[ticks]"


class Units:
    """Ticks as people read them: instructions under icount (one tick is one
    instruction there), microseconds otherwise."""

    def __init__(self, icount, ticks_per_second):
        self.icount = icount
        self.per_microsecond = ticks_per_second / 1e6
        self.name = "instructions" if icount else "us"

    def show(self, ticks):
        """Right for a total or a long stretch."""
        if ticks is None:
            return "-"
        if self.icount:
            return f"{ticks:,}"
        value = ticks / self.per_microsecond
        return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"

    def show_fine(self, ticks):
        """Right for the cost of one gfn."""
        if ticks is None:
            return "-"
        if self.icount:
            return f"{ticks:,.1f}"
        return f"{ticks / self.per_microsecond:,.3f}"

    def show_any(self, value, of_ticks):
        """(text, unit) of a scenario's figure."""
        if not of_ticks:
            return (f"{value:,}" if isinstance(value, int)
                    else f"{value:,.2f}"), ""
        show = self.show if value >= 10_000 else self.show_fine
        return show(round(value) if value >= 10_000 else value), \
            " " + self.name


def share_rest(parts, total):
    """@parts, each rounded down, so that they add up to @total: the rest goes
    to the first, one each. Parts of something else stay what they are."""
    rest = total - sum(parts)
    if not 0 <= rest < len(parts):
        return list(parts)
    return [part + (i < rest) for i, part in enumerate(parts)]


class Domain:
    """What the replies of a run say about one domain."""

    def __init__(self, number, name):
        self.number, self.name = number, name
        self.pages = self.shared = self.saved = self.faults = None
        self.unshare = {}
        self.destroy = None

    def as_dict(self):
        return {"domain": self.number, "name": self.name,
                "pages": self.pages, "shared_gfns": self.shared,
                "saved_frames": self.saved, "cow_faults": self.faults,
                "unshare_ticks": self.unshare, "destroy": self.destroy}


class Table:
    """Fed with replies; rows come in the order of the domains' first reply."""

    def __init__(self):
        self.domains = {}
        self.figures = {}           # label: (value, is it of ticks)
        self.saved_total = self.shared_total = None
        self.unshare_total = {}

    def _domain(self, entry):
        key = (entry["domain"], entry["name"])
        return self.domains.setdefault(key, Domain(*key))

    def add(self, kind, reply):
        """@kind: "shared" or "written", a reply of stats; "destroyed". False:
        the reply has nothing of the kind."""
        if any(field not in reply for field in FIELDS[kind]):
            return False
        self._add(kind, reply)
        return True

    def _add(self, kind, reply):
        if kind == "destroyed":
            for entry in reply["destroyed"]:
                self._domain(entry).destroy = entry
            return
        saved = share_rest([e["saved_frames"] for e in reply["domains"]],
                           reply["share"]["saved_frames"])
        for entry, part in zip(reply["domains"], saved):
            domain = self._domain(entry)
            if kind == "shared":
                domain.pages = entry["pages"]
                domain.shared = entry["shared_gfns"]
                domain.saved = part
            else:
                domain.faults = entry.get("cow_faults")
                domain.unshare = entry["unshare_ticks"]
        if kind == "shared":
            self.saved_total = reply["share"]["saved_frames"]
            self.shared_total = reply["share"]["shared_frames"]
        else:
            self.unshare_total = reply["unshare_ticks"]

    def add_figure(self, label, value):
        """One of a scenario's own. @label ends in [ticks] where that is what
        it counts. The last of a label stays."""
        name = label.removesuffix(TICKS).rstrip()
        self.figures[name] = (value, name != label)

    def figure_lines(self, units):
        """The scenario's own figures, a line each."""
        shown = [(label, units.show_any(value, of_ticks))
                 for label, (value, of_ticks) in self.figures.items()]
        wide = max((len(label) for label, _ in shown), default=0)
        narrow = max((len(value) for _, (value, _) in shown), default=0)
        return [f"{label.ljust(wide)}  {value.rjust(narrow)}{unit}"
                for label, (value, unit) in shown]

    def totals(self):
        """The same figures over all domains."""
        rows = list(self.domains.values())
        kills = [d.destroy for d in rows if d.destroy]

        def added(values):
            values = [v for v in values if v is not None]
            return sum(values) if values else None

        gfns = sum(k["gfns"] for k in kills)
        busy = sum(k["busy_ticks"] for k in kills)
        return {
            "pages": added(d.pages for d in rows),
            "shared_gfns": added(d.shared for d in rows),
            "shared_frames": self.shared_total,
            "saved_frames": self.saved_total,
            "cow_faults": added(d.faults for d in rows),
            "unshare_ticks": self.unshare_total,
            "destroy": {
                "total_ticks": sum(k["total_ticks"] for k in kills),
                "busy_ticks": busy, "gfns": gfns,
                "longest_ticks": max(k["longest_ticks"] for k in kills),
                "preemptions": sum(k["preemptions"] for k in kills),
            } if kills else None,
        }

    def lines(self, units):
        """The table as text, without an end of line each."""
        if not self.domains:
            return []
        fine = "instr" if units.icount else "us"
        rows = [["domain", "pages", "shared", "saved", "CoW faults",
                 "unshare min", "mean", "max", "destroy",
                 "per gfn", "longest"],
                ["", "", "", "", "", fine, fine, fine, fine, fine, fine]]
        rows += [self._row(d.name, d.as_dict(), units)
                 for d in self.domains.values()]
        rows.append(self._row("total", self.totals(), units))
        # A run that shares nothing, say, has columns that say nothing.
        kept = [i for i in range(len(rows[0]))
                if any(row[i] != "-" for row in rows[2:])]
        rows = [[row[i] for i in kept] for row in rows]
        widths = [max(len(row[i]) for row in rows)
                  for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(w) if i == 0 else cell.rjust(w)
                           for i, (cell, w) in enumerate(zip(row, widths))
                           ).rstrip() for row in rows]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        return [*lines[:2], rule, *lines[2:-1], rule, lines[-1]]

    @staticmethod
    def _row(name, d, units):
        def count(n):
            return "-" if n is None else f"{n:,}"

        unshare, destroy = d["unshare_ticks"], d["destroy"] or {}
        gfns = destroy.get("gfns")
        return [name, count(d["pages"]), count(d["shared_gfns"]),
                count(d["saved_frames"]), count(d["cow_faults"]),
                units.show(unshare.get("min")),
                units.show(round(unshare["sum"] / unshare["count"])
                           if unshare.get("count") else None),
                units.show(unshare.get("max")),
                units.show(destroy.get("total_ticks")),
                units.show_fine(destroy["busy_ticks"] / gfns
                                if gfns else None),
                units.show(destroy.get("longest_ticks"))]
