"""What the report is made of: results of benches and traces of kills, read
from files or measured, checked, and put together.

A document is what `quire bench --json` writes, {"rows": [...]}, or the reply
of `kill-trace`, {"kills": [...]}, or both in one, which is what `quire report
--json` writes. A file with anything else in it is refused whole.
"""

import math

import compare
from bench_cell import configuration, is_measured
from bench_tables import COLUMNS
from errors import UserError

# The fields a row must have beside one that was measured, or `skipped`.
NEEDED = {
    "destroy": ("frames", "rmap", "cpus", "gfns"),
    "rmap": ("pattern", "rmap", "sharers"),
    "latency": ("operation",), "wakeup": (
        "frames", "gfns", "kill", "instructions_beyond_idle",
        "instructions_worst", "instructions_worst_idle"),
    "spte-rmap": ("form", "order", "mappings"),
}
STAGE = {"stage": str, "start": int, "end": int, "slices": int,
         "longest": int}
KILL = {"domain": int, "start": int, "gfns": int}
KILL_MORE = {"what": str, "slices_total": int, "slices_per_segment": int}
NAMES = ("frames", "pattern", "rmap", "form", "order", "operation", "guest",
         "paging", "where", "who", "kill", "skipped")
HISTOGRAM = "count_delays"      # fields: [[below, how many], ...]
TOLD = ("version", "commit", "compiler", "emulator", "machine", "command")


class Results:
    """@rows in the order they came; of two of one configuration the later
    stays. @about: {field of TOLD: its values, each once}."""

    def __init__(self):
        self.rows, self.kills = [], []
        self.about = {field: [] for field in TOLD}

    def add(self, document):
        rows = {(r["bench"], configuration(r)): r for r in self.rows}
        for row in document.get("rows", []):
            row = {"bench": row.get("bench", document.get("bench"))} | row
            rows[(row["bench"], configuration(row))] = row
        self.rows = list(rows.values())
        self.kills += document.get("kills", [])
        for field in TOLD:
            value = document.get(field)
            if isinstance(value, str) and value not in self.about[field]:
                self.about[field].append(value)

    def of(self, bench, **match):
        """The rows of a bench that were measured and have these fields."""
        return [r for r in self.rows if r["bench"] == bench
                and "skipped" not in r
                and all(r.get(k) == v for k, v in match.items())]

    def skipped(self, bench, **match):
        return [r for r in self.rows if r["bench"] == bench
                and "skipped" in r
                and all(r.get(k) == v for k, v in match.items())]

    def document(self):
        """All of it, for a file."""
        about = {f: "; ".join(v) for f, v in self.about.items() if v}
        return {"bench": "report", **about, "unit": "instructions",
                "rows": self.rows, "kills": self.kills}


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) \
        and value >= 0


def _is_figure(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) \
        and math.isfinite(value) and value >= 0


def _bad(path, where, why):
    return UserError(f"{path}: {where}: {why}", status=2)


def _check_histogram(path, where, table):
    """[[edge, count], ...], edges rising; the last may be null: above."""
    if not isinstance(table, list) or not all(
            isinstance(e, list) and len(e) == 2 and _is_count(e[1])
            for e in table):
        raise _bad(path, where, "not [[delays below, how many], ...]")
    edges = [e[0] for e in table]
    if edges and edges[-1] is None:
        edges.pop()
    if not all(_is_count(e) and e > 0 for e in edges) or \
            edges != sorted(set(edges)):
        raise _bad(path, where, "its edges do not rise")


def _check_row(path, where, row, bench):
    if not isinstance(bench, str) or bench not in COLUMNS:
        raise _bad(path, where, f"bench {bench}: the report knows "
                   + ", ".join(COLUMNS))
    for field in NEEDED.get(bench, ()):
        if field not in row and not (is_measured(field)
                                     and "skipped" in row):
            raise _bad(path, where, f"a row of {bench} without `{field}'")
    for field in ("gfns", "sharers", "mappings"):
        if field in row and not _is_count(row[field]):
            raise _bad(path, where, f"`{field}' is {row[field]!r}: a count "
                       "is a whole number from 0 on")
    for field, value in row.items():
        if field.startswith(HISTOGRAM):
            _check_histogram(path, f"{where}, {field}", value)
        elif is_measured(field):
            if not _is_figure(value):
                raise _bad(path, where, f"`{field}' is {value!r}: what was "
                           "measured is a number from 0 on")
        elif field in NAMES and not isinstance(value, str):
            raise _bad(path, where, f"`{field}' is {value!r}, not text")
        elif not isinstance(value, str) and not _is_figure(value):
            raise _bad(path, where, f"`{field}' is {value!r}: neither text "
                       "nor a number from 0 on")
    if bench == "destroy" and row["frames"] == "one" and "pattern" not in row:
        raise _bad(path, where, "a row of one frame without `pattern'")
    if "skipped" not in row and not any(map(is_measured, row)):
        raise _bad(path, where, "nothing was measured, and no `skipped' says "
                   "why")


def _check_fields(path, where, entry, fields):
    if not isinstance(entry, dict):
        raise _bad(path, where, "not an object")
    for field, kind in fields.items():
        value = entry.get(field)
        if not (_is_count(value) if kind is int else isinstance(value, kind)):
            raise _bad(path, where, f"`{field}' is missing, or no "
                       + {int: "count", str: "text", list: "list"}[kind])


def _check_kill(path, where, kill):
    _check_fields(path, where, kill, KILL | {"stages": list, "slices": list})
    _check_fields(path, where, kill, {
        k: kind for k, kind in KILL_MORE.items() if k in kill})
    start, end = kill["start"], kill.get("end")
    if not _is_count(end) or end < start:
        raise _bad(path, where, "it has no `end' after its `start': was the "
                   "trace read before the kill was over?")
    for i, stage in enumerate(kill["stages"]):
        _check_fields(path, f"{where}, stage {i}", stage, STAGE)
    for i, piece in enumerate(kill["slices"]):
        if not (isinstance(piece, list) and len(piece) == 2
                and all(map(_is_count, piece)) and piece[0] <= piece[1]):
            raise _bad(path, f"{where}, slice {i}", "not [start, end]")
    for first, last in [*kill["slices"],
                        *[(s["start"], s["end"]) for s in kill["stages"]]]:
        if not start <= first <= last <= end:
            raise _bad(path, where, f"[{first}, {last}] is not within the "
                       f"kill's [{start}, {end}]")


def check(path, document):
    """UserError if a part of it is not what the report can show."""
    if not isinstance(document, dict) or \
            not ("rows" in document or "kills" in document):
        raise UserError(f"{path}: neither rows nor kills: is it from `quire "
                        "bench --json', `quire report --json' or `kill-trace'"
                        "?", status=2)
    for name in ("rows", "kills"):
        entries = document.get(name, [])
        if not isinstance(entries, list) or \
                not all(isinstance(e, dict) for e in entries):
            raise UserError(f"{path}: `{name}' is no list of objects",
                            status=2)
    for i, row in enumerate(document.get("rows", [])):
        _check_row(path, f"row {i}", row,
                   row.get("bench", document.get("bench")))
    for i, kill in enumerate(document.get("kills", [])):
        _check_kill(path, f"kill {i}", kill)


def load(paths):
    """The results in all of these files."""
    results = Results()
    for path in paths:
        document = compare.read(path)
        check(path, document)
        results.add(document)
    if not results.rows and not results.kills:
        raise UserError(f"{', '.join(paths)}: no rows at all", status=2)
    return results
