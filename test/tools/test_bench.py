#!/usr/bin/env python3
"""bench and compare without a machine: options, what is skipped, tables,
documents, and what compare says of them."""

import argparse
import contextlib
import io
import json
import pathlib

from cases import case, check, check_in, folder, main, quire, raises

import bench
import bench_destroy
import bench_numbers as numbers
import bench_shadow_cost
import bench_tables
import compare
import performance
from bench_cell import Skip, configuration
from errors import UserError


@case
def counts_are_decimal():
    check(numbers.parse_counts("1M,1k,10k,1000") == [1000, 10_000, 1_000_000])
    for bad in ("", "0", "1x", "k", "-5", "1.5k"):
        raises(UserError, "not a count", numbers.parse_counts, bad)
    check(numbers.show(12345.6) == "12,346" and numbers.show(9.25) == "9.25")
    check(numbers.show(None) == "-" and numbers.show(7.0) == "7")


def refused(part, *words):
    status, out, err = quire(*words)
    check(status == 2 and not out, f"{status} {out}")
    check_in(part, err)


@case
def options_that_make_no_sense():
    refused("there are share", "bench", "nonsense")
    refused("takes no --rmap", "bench", "share", "--rmap", "list")
    refused("takes no --cpus: destroy does", "bench", "share", "--cpus", "2")
    refused("destroy, unshare, rmap and wakeup do", "bench", "scan",
            "--sharers", "2")
    refused("there are dense, random", "bench", "destroy", "--pattern", "x")
    refused("1x is not a count", "bench", "destroy", "--sharers", "1x")
    refused("--cpus 99: 1 to 15", "bench", "destroy", "--cpus", "99")
    refused("more than 0", "bench", "share", "--timeout", "0")
    status, _, err = quire("bench", "share", "--json", "/nonexistent/x")
    check(status == 2 and "/nonexistent/x" in err, err)
    refused("a smaller --sharers", "bench", "destroy", "--no-build",
            "--sharers", "1000000M")
    err = quire("bench", "share", "--no-build", "--bogus")[2]
    check_in("usage: quire bench", err)


@case
def help_tells_defaults_from_what_is_allowed():
    text = " ".join(quire("bench", "--help")[1].split())
    for part in ("default: 1k,10k,100k,1M", "1 to 15; default: 1",
                 "any of dense,random,stride256; default: dense",
                 "default: adaptive", "default: one", "default: 900"):
        check_in(part, text)


def fake(gfns, busy, **more):
    return {"bench": "destroy", "frames": "one", "pattern": "random",
            "rmap": "list", "cpus": 1, "gfns": gfns,
            "instructions_busy": busy} | more


@case
def what_would_take_too_long_is_skipped():
    cell = bench_destroy.one_cell(1_000_000, "random", "list")
    bench_destroy.check_limit(cell, [])         # nothing known: it runs
    bench_destroy.check_limit(cell, [fake(1000, 10**6), fake(10_000, 10**7)])
    bench_destroy.check_limit(cell, [fake(1000, 10**6)])    # linear, it seems
    quadratic = [fake(1000, 10**6), fake(10_000, 10**8)]
    raises(Skip, "1.0e+12", bench_destroy.check_limit, cell, quadratic)
    # Other configurations and skipped cells say nothing about this one.
    others = [fake(10_000, 10**12, rmap="hash256"),
              fake(100_000, 10**12, skipped="so")]
    bench_destroy.check_limit(cell, others)


@case
def slow_forms_are_probed_with_less_first():
    args = argparse.Namespace(sharers=[1_000_000], pattern=["random"],
                              rmap=["list", "adaptive"], frames=["one"],
                              cpus=1)
    asked = [(c.config["rmap"], c.config["gfns"])
             for c in bench_destroy.cells(args)]
    check(asked == [("list", 1000), ("list", 10_000), ("list", 1_000_000),
                    ("adaptive", 1_000_000)], asked)


@case
def tables_mark_what_is_missed():
    rows = [fake(10_000, 1, rmap="adaptive", pattern="dense",
                 instructions_per_gfn=61.0),
            fake(10_000, 1, rmap="adaptive", pattern="dense",
                 instructions_per_gfn=59.5, cpus=2),
            {**fake(1000, 1), "skipped": "too slow"}]
    for row in rows[2:]:
        del row["instructions_busy"]
    text = bench_tables.text("destroy", rows)
    check_in("61!", text[3])
    check_in("2,810", text[3])
    check("!" not in text[4] and "2 CPUs" in text[4], text[4])
    check_in("skipped: too slow", text[5])
    check_in("**61**", bench_tables.markdown("destroy", rows)[2])


def exit_ticks(**kinds):
    """A reply of `shadow`: kind=(count, sum)."""
    return {"exit_ticks": {k: {"count": n, "sum": ticks} if n else
                           {"count": 0} for k, (n, ticks) in kinds.items()}}


@case
def exits_are_the_difference_of_two_readings():
    before = exit_ticks(invlpg=(2, 5000), cr3_load=(0, 0))
    after = exit_ticks(invlpg=(6, 9000), cr3_load=(3, 600))
    check(bench_shadow_cost.spent(before, after, "invlpg") == (4, 4000))
    check(bench_shadow_cost.spent(before, after, "cr3_load") == (3, 600))
    check(bench_shadow_cost.spent(before, before, "cr3_load") == (0, 0))


@case
def costs_of_mappings():
    """Of 16 mappings, and the marks of what misses its goal."""
    cell = next(c for c in bench_shadow_cost.cells()
                if "alias=16 " in c.commands[1])
    longest = {"cpus": [{"longest_ticks": 20_001, "what": "npf"},
                        {"longest_ticks": 4, "what": "x"}]}
    replies = {"verdict": {"passed": 1}, "latency": longest,
               "none": {"busy_ticks": 1000}, "all": {"busy_ticks": 1960},
               "before": exit_ticks(p2m_fault=(1, 7000)),
               "after": exit_ticks(p2m_fault=(3, 9761))}
    rows = cell.rows(replies)
    check([r.get("instructions_per_mapping") for r in rows]
          == [60, None, None], rows)
    check(rows[1]["instructions_total"] == 2761
          and rows[1]["count_exits"] == 2, rows[1])
    marked = ["!" in line for line in bench_tables.text("shadow-cost",
                                                        rows)[3:]]
    check(marked == [False, True, True], marked)
    rows[1]["instructions_total"] = 2760
    check("!" not in bench_tables.text("shadow-cost", rows)[4])
    lines = performance.render("<!-- shadow-cost -->\n<!-- /shadow-cost -->",
                               results(rows)).splitlines()
    check(len(lines) == 7 and "write-protect, 16 mappings | 60 |" in lines[3],
          lines)


@case
def the_dearest_of_all_links():
    cell = bench_shadow_cost.cells()[-1]
    cheap = {p: {"ticks": 30, "ops": 2} for p in ("add", "step", "remove")}
    replies = {name: cheap for name, _ in cell.commands}
    replies["1000 random"] = cheap | {"add": {"ticks": 90, "ops": 2}}
    add, step, _ = cell.rows(replies)
    check(add["instructions_mean"] == 45 and add["where"] == "1,000, random",
          add)
    check(step["instructions_mean"] == 15, step)


def compared(before, after, **options):
    args = argparse.Namespace(threshold="2%", exact=False, ignore="")
    vars(args).update(options)
    with folder() as name:
        for which, rows in (("before", before), ("after", after)):
            path = pathlib.Path(name) / which
            path.write_text(json.dumps({"unit": "instructions",
                                        "rows": rows}))
            setattr(args, which, path)
        with contextlib.redirect_stdout(io.StringIO()):
            return compare.compare(args)


@case
def compare_judges():
    a = [fake(1000, 100), fake(2000, 200)]
    check(compared(a, a) == 0)
    check(compared(a, a[::-1]) == 0)                    # order is nothing
    check(compared(a, [fake(1000, 102), a[1]]) == 0)    # within
    check(compared(a, [fake(1000, 103), a[1]]) == 1)    # worse
    check(compared(a, [fake(1000, 50), a[1]]) == 0)     # better
    check(compared(a, [fake(1000, 50), a[1]], exact=True) == 1)
    check(compared(a, [fake(1000, 101), a[1]], exact=True) == 1)
    check(compared(a, a, exact=True) == 0)
    check(compared(a, [fake(1000, 104), a[1]], threshold="5%") == 0)
    check(compared(a, [fake(1000, 104), a[1]], ignore="x,busy") == 0)
    check(compared(a, a[:1]) == 1)                      # a row has gone
    check(compared(a[:1], a) == 0)
    skipped = {**fake(2000, 0), "skipped": "late"}
    check(compared(a, [a[0], skipped]) == 1)
    check(compared([a[0], skipped], a) == 0)
    # Counts are no costs.
    check(compared([fake(1, 5, count_preemptions=1)],
                   [fake(1, 5, count_preemptions=9)]) == 0)


@case
def compare_looks_past_the_place():
    """The longest stretch of an operation may be elsewhere the next time."""
    def rows(longest, where):
        return [{"bench": "latency", "operation": "destroy_fork",
                 "where": where, "instructions_longest": longest}]
    check(compared(rows(100, "npf"), rows(100, "destroy")) == 0)
    with folder() as name:
        paths = [pathlib.Path(name) / str(i) for i in range(2)]
        for path, of in zip(paths, (rows(100, "npf"), rows(200, "kick"))):
            path.write_text(json.dumps({"unit": "instructions", "rows": of}))
        status, out, _ = quire("compare", *paths)
    check(status == 1, out)
    check_in("1 worse, 0 better, 0 gone, 0 new", out)
    check_in("100 -> 200 (+100.0%), in kick, before in npf", out)


@case
def compare_names_another_compiler():
    with folder() as name:
        paths = [pathlib.Path(name) / str(i) for i in range(2)]
        for i, path in enumerate(paths):
            path.write_text(json.dumps({"unit": "instructions", "rows": [],
                                        "compiler": f"gcc {i}"}))
        status, out, _ = quire("compare", *paths)
        check(status == 0, out)
        check_in("another compiler: gcc 0 -> gcc 1", out)
        check("compiler" not in quire("compare", paths[0], paths[0])[1])


@case
def compare_refuses():
    with folder() as name:
        good = pathlib.Path(name) / "good"
        good.write_text('{"unit": "instructions", "rows": []}')
        bad = pathlib.Path(name) / "bad"
        bad.write_text("{")
        refused("no JSON", "compare", good, bad)
        bad.write_text("[]")
        refused("no rows", "compare", good, bad)
        bad.write_text('{"unit": "nanoseconds", "rows": []}')
        refused("units differ", "compare", good, bad)
        row = json.dumps(fake(1, 1))
        bad.write_text('{"unit": "instructions", "rows": [%s, %s]}'
                       % (row, row))
        refused("two rows of one", "compare", good, bad)
        refused("No such file", "compare", good, f"{name}/nobody")
        refused("--threshold", "compare", good, good, "--threshold", "x")


def results(rows, **more):
    return performance.Results([{"bench": "all", "rows": rows} | more])


@case
def a_document_keeps_nothing_unmeasured():
    text = ("a\n<!-- destroy rmap=list,x pattern=random -->\nold\n"
            "<!-- /destroy -->\nz\n")
    rows = [fake(1000, 1, instructions_per_gfn=77.0),
            fake(2000, 1, instructions_per_gfn=88.0, rmap="rbtree")]
    new = performance.render(text, results(rows))
    check_in("| 77 |", new)
    check("old" not in new and "88" not in new, new)
    check(new.startswith("a\n<!-- destroy") and new.endswith("-->\nz\n"))
    check(performance.render(new, results(rows)) == new)
    raises(UserError, "no such rows", performance.render, text,
           results(rows[1:]))


@case
def forms_side_by_side():
    text = "<!-- forms -->\n<!-- /forms -->"
    rows = [{"bench": "rmap", "pattern": "random", "rmap": form, "sharers": n,
             "instructions_insert_mean": 1000.4, "bytes_per_sharer": 1.5,
             "instructions_find_mean": n, "instructions_remove_mean": 3}
            for form, n in (("list", 20), ("adaptive", 20), ("list", 3))]
    rows.append({"bench": "rmap", "pattern": "dense", "rmap": "list",
                 "sharers": 7, "skipped": "why"})
    lines = performance.render(text, results(rows)).splitlines()
    check(lines[3:6] == [
        "| random | 3 | - | - | - | 1,000 / 3 / 3; 1.50 |",
        "| random | 20 | 1,000 / 20 / 3; 1.50 | - | - | 1,000 / 20 / 3; 1.50 |",
        "| dense | 7 | - | - | - | skipped |"], lines)


@case
def runs_and_what_made_them():
    text = ("<!-- run scenario=x -->\nold\n<!-- /run -->\n"
            "<!-- made of=run -->\nold\n<!-- /made -->\n"
            "<!-- made of=bench -->\nolder\n<!-- /made -->\n")
    run = {"scenario": "x", "ok": True, "boot": "", "compiler": "gcc 1",
           "emulator": "QEMU 2", "figures": {"a": 1234, "b": 0.5}}
    other = run | {"boot": "rmap=list", "figures": {"a": 5}}
    new = performance.render(text, performance.Results([run, other]))
    check_in("| | default | rmap=list |", new)
    check_in("| a | 1,234 | 5 |\n| b | 0.50 | - |\n", new)
    check_in("gcc 1; QEMU 2.\n", new)
    check_in("older", new)          # no bench was given
    bench_only = results([fake(1, 1)], compiler="gcc 1", emulator="QEMU 2")
    new = performance.render(text, bench_only)
    check(new.count("old\n") == 2 and "older" not in new, new)
    for wrong, why in (({"ok": False}, "has failed"),
                       ({"scenario": "y"}, "no such rows"),
                       ({"compiler": "gcc 2"}, "more than one")):
        raises(UserError, why, performance.render, text,
               performance.Results([run | wrong] if why != "more than one"
                                   else [run, run | wrong]))


@case
def nothing_is_written_if_one_document_fails():
    with folder() as name:
        result, good, bad = (pathlib.Path(name) / n
                             for n in ("r.json", "a.md", "b.md"))
        result.write_text(json.dumps({"bench": "all", "rows": [
            fake(1, 1, instructions_per_gfn=3.0)]}))
        good.write_text("<!-- destroy -->\n<!-- /destroy -->\n")
        bad.write_text("<!-- scan -->\n<!-- /scan -->\n")
        with contextlib.redirect_stderr(io.StringIO()) as err:
            check(performance.main(["", str(good), str(bad),
                                    str(result)]) == 1)
        check_in("<!-- scan -->", err.getvalue())
        check("| 3 |" not in good.read_text())
        check(performance.main(["", str(good), str(result)]) == 0)
        check_in("| 3 |", good.read_text())


@case
def every_group_expands():
    args = argparse.Namespace(known_commands=set(), sharers=None, cpus=None,
                              pattern=None, rmap=None, frames=None)
    for what in bench.GROUPS:
        args.bench = what
        cells = bench.cells_of(args)
        check(len(cells) > 5 and all(c.commands for c in cells), what)
        names = [(c.bench, configuration(c.config)) for c in cells]
        check(len(set(names)) == len(names),
              [n for n in names if names.count(n) > 1])


if __name__ == "__main__":
    main()
