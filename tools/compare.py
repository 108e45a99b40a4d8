"""`quire compare A.json B.json`: what B does better or worse than A.

Rows are matched by their configuration; of what was measured, instructions,
nanoseconds and bytes are compared, and less is better. The place of a longest
stretch is shown, not compared. The status is 0 if nothing is worse by more than
the threshold and nothing has gone, 1 otherwise.
"""

import json

from bench_cell import configuration, describe, is_measured
from bench_numbers import parse_percent, show
from errors import UserError

JUDGED = ("instructions_", "nanoseconds_", "bytes_")


def add_arguments(p):
    """To the parser of `quire compare`."""
    p.add_argument("before", metavar="A.json")
    p.add_argument("after", metavar="B.json")
    p.add_argument("--threshold", default="2%", metavar="PERCENT",
                   help="what counts as a change; 2%%")
    p.add_argument("--ignore", default="", metavar="LIST",
                   help="no fields with one of these words in their names")
    p.add_argument("--exact", action="store_true",
                   help="fail on any difference, better ones too")


def read(path):
    """The JSON in a file, whatever it says."""
    try:
        with open(path, encoding="utf-8") as text:
            return json.load(text)
    except OSError as err:
        raise UserError(f"{path}: {err.strerror}", status=2) from err
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        raise UserError(f"{path}: no JSON: {err}", status=2) from err


def load(path):
    """A document of `quire bench --json`; UserError if it is none."""
    document = read(path)
    rows = document.get("rows") if isinstance(document, dict) else None
    if not isinstance(rows, list) or \
            not all(isinstance(r, dict) for r in rows):
        raise UserError(f"{path}: no rows: is it from `quire bench --json'?",
                        status=2)
    return document


def _index(path, rows):
    table = {}
    for row in rows:
        key = configuration(row)
        if key in table:
            raise UserError(f"{path}: two rows of one configuration: "
                            f"{_name(row)}", status=2)
        table[key] = row
    return table


def _name(row):
    return ", ".join(describe({k: v for k, v in row.items()
                               if not is_measured(k)
                               and k not in ("skipped", "where")}))


def _place(old, new):
    """Where it was measured, and where before if that was elsewhere."""
    a, b = old.get("where"), new.get("where")
    if not b:
        return ""
    return f", in {b}" + (f", before in {a}" if a and a != b else "")


def _pair(old, new, threshold, ignored):
    """(what, field, from, to, place) of one configuration in both."""
    if "skipped" in new and "skipped" not in old:
        yield "gone", "skipped: " + new["skipped"], None, None, ""
        return
    if "skipped" in old:
        if "skipped" not in new:
            yield "new", "skipped before", None, None, ""
        return
    for field, value in old.items():
        if not field.startswith(JUDGED) or field not in new or \
                any(word in field for word in ignored):
            continue
        difference = new[field] - value
        if abs(difference) > threshold * abs(value):
            yield ("worse" if difference > 0 else "better", field, value,
                   new[field], _place(old, new))


def differences(before, after, threshold, ignored=()):
    """Lists of (what, row name, field, from, to, place): worse, better,
    gone, new, in the order of the rows."""
    old = _index("the first file", before["rows"])
    new = _index("the second file", after["rows"])
    found = []
    for key, row in old.items():
        if key not in new:
            found.append(("gone", _name(row), "the row", None, None, ""))
            continue
        found += [(what, _name(row), *rest)
                  for what, *rest in _pair(row, new[key], threshold,
                                           ignored)]
    found += [("new", _name(row), "the row", None, None, "")
              for key, row in new.items() if key not in old]
    return found


def _line(what, name, field, a, b, place):
    if a is None:
        return f"{what:6}  {name}: {field}"
    change = f"{(b - a) / a:+.1%}" if a else "from 0"
    return f"{what:6}  {name}: {field} {show(a)} -> {show(b)} ({change})" \
        + place


def compare(args):
    """The exit status."""
    before, after = load(args.before), load(args.after)
    if before.get("unit") != after.get("unit"):
        raise UserError(f"units differ: {before.get('unit')} and "
                        f"{after.get('unit')}", status=2)
    for what in ("compiler", "emulator"):
        a, b = before.get(what), after.get(what)
        if a != b and a and b:
            print(f"another {what}: {a} -> {b}")
    threshold = 0.0 if args.exact else parse_percent(args.threshold)
    found = differences(before, after, threshold,
                        [word for word in args.ignore.split(",") if word])
    for entry in found:
        print(_line(*entry))
    counts = {what: sum(f[0] == what for f in found)
              for what in ("worse", "better", "gone", "new")}
    print(", ".join(f"{n} {what}" for what, n in counts.items())
          + f" of {len(before['rows'])} rows, threshold {threshold:.1%}")
    bad = counts["worse"] + counts["gone"]
    if args.exact:
        bad += counts["better"] + counts["new"]
    return 1 if bad else 0
