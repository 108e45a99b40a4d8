#!/usr/bin/env python3
"""Bring the tables of a document up to date.

    python3 tools/performance.py docs/performance.md BENCH.json ...

Each file is one that `quire bench --json` or a program of test/bench wrote.
The lines between `<!-- NAME -->` and `<!-- /NAME -->` become the table of the
rows whose bench is NAME; `<!-- NAME key=value ... -->` takes only rows that
have those. A marker without rows is an error: a document never keeps figures
that nothing has measured.
"""

import pathlib
import re
import sys

import compare
from bench_tables import markdown
from errors import UserError

BLOCK = re.compile(r"(<!-- (\w+)((?: [\w-]+=[^ ]+)*) -->\n).*?(<!-- /\2 -->)",
                   re.DOTALL)


def _wanted(row, conditions):
    return all(str(row.get(key)) in value.split(",")
               for key, value in conditions)


def render(text, rows):
    """The document with its tables made anew."""
    def table(found):
        head, name, words, tail = found.groups()
        conditions = [w.split("=", 1) for w in words.split()]
        chosen = [r for r in rows if r["bench"] == name
                  and _wanted(r, conditions)]
        if not chosen:
            raise UserError(f"{head.strip()}: no such rows were measured")
        return head + "\n".join(markdown(name, chosen)) + "\n" + tail
    return BLOCK.sub(table, text)


def main(argv):
    if len(argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    path = pathlib.Path(argv[1])
    try:
        documents = [compare.load(name) for name in argv[2:]]
        rows = [{"bench": d.get("bench")} | row for d in documents
                for row in d["rows"]]
        text = path.read_text(encoding="utf-8")
        path.write_text(render(text, rows), encoding="utf-8")
    except (UserError, OSError) as err:
        print(f"performance: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
