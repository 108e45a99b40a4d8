#!/usr/bin/env python3
"""Bring the tables of documents up to date.

    python3 tools/performance.py DOCUMENT.md ... RESULT.json ...

A result is what `quire bench --json`, a program of test/bench or `quire run
--json` wrote. The lines between `<!-- NAME -->` and `<!-- /NAME -->` become:

    NAME of a bench   the table of its rows; `<!-- NAME key=value ... -->`
                      takes only rows that have those
    forms             the forms of reverse map side by side, of the bench rmap
    run scenario=S    the figures of runs of S, a column for each --boot
    made of=bench     compiler and emulator, in their own words; or of=run

A marker for which nothing was measured is an error, so a document never keeps
a figure that has gone; but benches leave the tables of runs alone, and runs
those of benches.
"""

import pathlib
import re
import sys

import compare
from bench_numbers import show
from bench_tables import markdown
from errors import UserError

BLOCK = re.compile(r"(<!-- ([\w-]+)((?: [\w-]+=[^ ]+)*) -->\n).*?(<!-- /\2 -->)",
                   re.DOTALL)
FORMS = ["adaptive", "rbtree", "hash256", "list"]


class Results:
    """All that was measured: rows of benches, and documents of runs."""

    def __init__(self, documents):
        self.runs = [d for d in documents if "scenario" in d]
        self.benches = [d for d in documents if "scenario" not in d]
        self.rows = [{"bench": d.get("bench")} | row for d in self.benches
                     for row in d["rows"]]


def _wanted(row, conditions):
    return all(str(row.get(key)) in value.split(",")
               for key, value in conditions.items())


def _rows_table(results, name, conditions):
    rows = [r for r in results.rows if r["bench"] == name
            and _wanted(r, conditions)]
    return markdown(name, rows) if rows else []


def _form(row):
    """insert / find / remove; bytes."""
    if "skipped" in row:
        return "skipped"
    times = " / ".join(f"{row[f'instructions_{p}_mean']:,.0f}"
                       for p in ("insert", "find", "remove"))
    return f"{times}; {show(row['bytes_per_sharer'])}"


def _forms_table(results, _, conditions):
    cells = {}
    for row in results.rows:
        if row["bench"] == "rmap" and _wanted(row, conditions):
            place = cells.setdefault(row["pattern"], {})
            place.setdefault(row["sharers"], {})[row["rmap"]] = _form(row)
    if not cells:
        return []
    return [f"| gfns | n | {' | '.join(FORMS)} |",
            "|---" * (2 + len(FORMS)) + "|"] + [
        f"| {pattern} | {n:,} | "
        + " | ".join(sizes[n].get(form, "-") for form in FORMS) + " |"
        for pattern, sizes in cells.items() for n in sorted(sizes)]


def _run_table(results, _, conditions):
    runs = [r for r in results.runs if _wanted(r, conditions)]
    if not runs:
        return []
    if bad := [r for r in runs if not r["ok"]]:
        raise UserError(f"{bad[0]['scenario']}: that run has failed")
    labels = list(dict.fromkeys(label for r in runs for label in r["figures"]))
    lines = [f"| | {' | '.join(r['boot'] or 'default' for r in runs)} |",
             "|---" * (1 + len(runs)) + "|"]
    lines += [f"| {label} | "
              + " | ".join(_number(r["figures"].get(label)) for r in runs)
              + " |" for label in labels]
    if any("seconds" in r for r in runs):
        lines.append("| wall time, s | " + " | ".join(
            _number(round(r["seconds"])) for r in runs) + " |")
    return lines


def _number(value):
    return f"{value:,}" if isinstance(value, int) else show(value)


def _made(results, _, conditions):
    documents = results.runs if conditions.get("of") == "run" \
        else results.benches
    made = {(d["compiler"], d["emulator"]) for d in documents
            if "compiler" in d}
    if len(made) > 1:
        raise UserError("these results are of more than one compiler or "
                        "emulator")
    return [f"{compiler}; {emulator}." for compiler, emulator in made]


MAKERS = {"forms": _forms_table, "run": _run_table, "made": _made}


def _is_of_runs(name, conditions):
    return name == "run" or (name == "made" and conditions.get("of") == "run")


def render(text, results):
    """The document with its tables made anew."""
    def table(found):
        head, name, words, tail = found.groups()
        conditions = dict(w.split("=", 1) for w in words.split())
        if not (results.runs if _is_of_runs(name, conditions)
                else results.benches):
            return found.group()
        lines = MAKERS.get(name, _rows_table)(results, name, conditions)
        if not lines:
            raise UserError(f"{head.strip()}: no such rows were measured")
        return head + "\n".join(lines) + "\n" + tail
    return BLOCK.sub(table, text)


def load(path):
    """A document of a bench or of a run."""
    document = compare.read(path)
    if isinstance(document, dict) and "scenario" in document:
        return document
    return compare.load(path)


def main(argv):
    documents = [a for a in argv[1:] if a.endswith(".md")]
    files = [a for a in argv[1:] if not a.endswith(".md")]
    if not documents or not files:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        results = Results([load(name) for name in files])
        new = {}
        for name in documents:
            path = pathlib.Path(name)
            new[path] = render(path.read_text(encoding="utf-8"), results)
        for path, text in new.items():
            path.write_text(text, encoding="utf-8")
    except (UserError, OSError) as err:
        print(f"performance: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
