#!/usr/bin/env python3
"""Scenarios: what is read, how it expands, what is refused; conditions and
the table."""

import pathlib

from cases import case, check, check_in, folder, main, raises

import expression
import scenario
from errors import UserError
from run import Judge
from table import Table, Units, share_rest


def load(text, overrides=()):
    with folder() as name:
        path = pathlib.Path(name) / "x.toml"
        path.write_text(text)
        return scenario.load(str(path), overrides)


def refused(text, part, overrides=()):
    raises(UserError, part, load, text, overrides)


@case
def ours_all_load():
    names = [name for name, _ in scenario.every()]
    check("demo" in names and len(names) >= 4, names)


@case
def values_out_of_range_are_refused():
    text = ('[vars]\nn = 2\n[ranges]\nn = [1, 5]\n'
            '[[step]]\nrun = "a $n"\n')
    check(load(text, ["n=5"]).steps[0].command == "a 5", "n=5")
    for value in ("0", "6", "-1"):
        refused(text, "a number from 1 to 5", [f"n={value}"])
    refused(text, "n=x: a number", ["n=x"])
    text = ('[vars]\nm = "2M"\nw = "a"\n[ranges]\nm = ["1M", "4M"]\n'
            'w = ["a", "b"]\n[[step]]\nrun = "a $m $w"\n')
    check(load(text, ["m=1024K", "w=b"]).steps[0].command == "a 1024K b")
    for value in ("0", "8M", "4K"):
        refused(text, "a size", [f"m={value}"])
    for value in ("abc", "4097", ""):
        refused(text, "a size of whole pages", [f"m={value}"])
    refused(text, "w=c: one of a, b", ["w=c"])


@case
def loops_and_variables():
    s = load('title = "t"\n[machine]\nmem = "2G"\ncpus = 3\n'
             '[vars]\nn = 2\nm = "16M"\n'
             '[[step]]\neach = "i = 1..$n*2-2"\nsay = "s$i"\n'
             'run = ["a $i $m {i}", "-b $$"]\nexpect = "x == $i"\n'
             'save = "kept"\n')
    check([x.command for x in s.steps] ==
          ["a 1 16M {i}", "b $", "a 2 16M {i}", "b $"])
    check([x.may_fail for x in s.steps] == [False, True] * 2)
    check([x.say for x in s.steps] == ["s1", "s1", "s2", "s2"])
    check([[e for e, _ in x.expect] for x in s.steps] ==
          [[], ["x == 1"], [], ["x == 2"]])
    check([x.save for x in s.steps] == [None, "kept"] * 2)
    check((s.memory, s.cpus, s.title) == (2 << 30, 3, "t"))


@case
def overrides():
    text = '[vars]\nn = 2\n[[step]]\nrun = "a $n"\n'
    check(load(text, ["n=7"]).steps[0].command == "a 7")
    refused(text, "the names are: n", ["m=1"])
    refused(text, "NAME=VALUE", ["n"])


@case
def paging_of_all_domains():
    text = '[[step]]\nrun = ["create a", "create b paging=nested", "info a"]\n'
    check([x.command for x in load(text, ["paging=shadow"]).steps] ==
          ["create a paging=shadow", "create b paging=nested", "info a"])
    check(load(text).steps[0].command == "create a")
    refused(text, "one of nested, shadow", ["paging=none"])


@case
def refused_files():
    refused("nonsense", "x.toml")
    refused('title = "t"', "no [[step]]")
    refused('colour = 1\n[[step]]\nrun = "a"', "no `colour'")
    refused('[[step]]\nrum = "a"', "no `rum'")
    refused('[[step]]\nsay = "a"', "step 1: `run' is missing")
    refused('[[step]]\nrun = 7', "string")
    refused('[[step]]\nrun = "a $b"', "$b is not a variable")
    refused('[[step]]\nrun = "a $"', "$$")
    refused('[[step]]\nrun = "a"\neach = "1..2"', "NAME = A..B")
    refused('[[step]]\nrun = "a"\neach = "i = 1..9999999"', "rounds")
    refused('[[step]]\nrun = "a"\neach = "i = 1..x"', "x is not a whole")
    refused('[[step]]\nrun = "a"\neach = "i = 1..2/2"', "not a whole")
    refused('[[step]]\nrun = "a"\ntable = "x"', "table: one of")
    refused('[[step]]\nrun = "list"\ntable = "shared"', "a reply of stats")
    refused('[[step]]\nrun = "a"\nexpect = "x =="', "expect")
    refused('[[step]]\nrun = "a"\nfigures = "x"', "LABEL: EXPRESSION")
    refused('[[step]]\nrun = "a"\nfigures = "x: 1 +"', "1 +")
    refused('[[step]]\nrun = "a"\nexpect = "[i for i in x]"',
            "not for scenarios")
    refused('[machine]\nmem = "much"\n[[step]]\nrun = "a"', "not a size")
    raises(UserError, "there are: ", scenario.load, "nobody")
    raises(UserError, "no such file", scenario.load, "/nonexistent/a.toml")


def value(text, **names):
    return expression.evaluate(expression.parse(text), names)


@case
def conditions():
    check(value("a == 1 and not b", a=1, b=0))
    check(value("1 < a <= 3", a=3) and not value("1 < a <= 3", a=4))
    check(value("sum(d.x) == 5", d=[{"x": 2}, {"x": 3}]))
    check(value("before.free - 1 == 4", before={"free": 5}))
    check(value("d[1].x + len(d)", d=[{}, {"x": 3}]) == 5)
    check(value('s in "abc" or ok == false', s="z", ok=False))
    check(value("abs(-a) // 2 * 3 % 4", a=5) == 2)
    raises(KeyError, "a", value, "a.b")
    raises(UserError, "not for scenarios", value, "lambda: 1")
    raises(ValueError, "", value, '__import__("os")')


@case
def a_failed_condition_says_why():
    tree = expression.parse("sum(d.x) == before.n + zz")
    text = expression.explain(tree, {"d": [{"x": 2}], "before": {"n": 4}})
    check_in("d.x = [2]", text)
    check_in("before.n = 4", text)
    check_in("zz = not there", text)


def stats(shared, faults, unshare):
    return {"share": {"saved_frames": shared, "shared_frames": shared},
            "unshare_ticks": unshare, "domains": [
                {"domain": 3, "name": "a", "pages": 4096,
                 "shared_gfns": 2 * shared, "saved_frames": shared,
                 "cow_faults": faults, "unshare_ticks": unshare}]}


def row_of(lines, name):
    return [line for line in lines if line.startswith(name + " ")][0].split()


@case
def a_reply_without_the_columns():
    table = Table()
    check(not table.add("shared", {"domains": 3}))
    check(not table.add("destroyed", {"domains": []}))
    check(table.lines(Units(True, 1e9)) == [])


@case
def parts_add_up():
    check(share_rest([5, 5, 5], 17) == [6, 6, 5])
    check(share_rest([5, 5, 5], 15) == [5, 5, 5])
    check(share_rest([5, 5], 100) == [5, 5])    # of more domains than these
    check(share_rest([5, 5], 9) == [5, 5])
    check(share_rest([5], 6) == [5] and share_rest([], 0) == [])
    table = Table()
    reply = stats(100, 0, {"count": 0})
    reply["domains"] = [reply["domains"][0] | {"domain": i, "name": f"d{i}",
                                               "saved_frames": 33}
                        for i in range(3)]
    table.add("shared", reply)
    check([row_of(table.lines(Units(True, 1e9)), f"d{i}")[3]
           for i in range(3)] == ["34", "33", "33"])


@case
def figures_of_a_scenario():
    step, = load('[vars]\nn = 4\n[[step]]\nrun = "a"\n'
                 'figures = ["a gfn [ticks]: busy / $n", "all: n * 2"]').steps
    judge = Judge(load('[vars]\nn = 4\n[[step]]\nrun = "a"\n'))
    check(judge.reply(step, {"ok": True, "busy": 1000}))
    lines = judge.table.figure_lines(Units(True, 1e9))
    check(lines == ["a gfn  250.0 instructions", "all        8"], lines)
    lines = judge.table.figure_lines(Units(False, 1e9))
    check(lines[0].split() == ["a", "gfn", "0.250", "us"], lines)
    check(not judge.reply(step, {"ok": True, "other": 1}))
    check_in("figure a gfn", judge.complaints[0])
    check(not judge.reply(step, {"ok": True, "busy": "much"}))


@case
def a_column_that_may_be_missing():
    for dash, held in (("", False), ("-", True)):
        step, = load(f'[[step]]\nrun = "{dash}join 1"\n'
                     'table = "destroyed"').steps
        judge = Judge(load('[[step]]\nrun = "a"'))
        check(judge.reply(step, {"ok": True, "shared": 3}) == held)


@case
def the_table():
    table = Table()
    check(table.lines(Units(True, 1e9)) == [])
    table.add("shared", stats(100, 0, {"count": 0}))
    table.add("written", stats(50, 50, {"count": 50, "min": 600, "max": 1800,
                                        "median": 700, "sum": 40000}))
    table.add("destroyed", {"destroyed": [
        {"domain": 3, "name": "a", "total_ticks": 5000000,
         "busy_ticks": 4096 * 60, "gfns": 4096, "longest_ticks": 8000,
         "preemptions": 31}]})
    lines = table.lines(Units(True, 1e9))
    row = row_of(lines, "a")
    check(row == ["a", "4,096", "200", "100", "50", "600", "800", "1,800",
                  "5,000,000", "60.0", "8,000"], row)
    check(lines[-1].split()[1:] == row[1:], lines[-1])
    row = row_of(table.lines(Units(False, 2e9)), "a")
    check(row[5:] == ["0.3", "0.4", "0.9", "2,500", "0.030", "4.0"], row)


main()
