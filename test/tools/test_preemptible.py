#!/usr/bin/env python3
"""Every Preemptible function is in docs/design/preemption.md: with the cases
of the preemption matrix that drive it, or with the reason why none does. The
same for the commands of the control channel."""

import pathlib
import re

from cases import ROOT, case, check, folder, main

LIST = ROOT / "docs" / "design" / "preemption.md"
FUNCTION = re.compile(r"^[a-z][\w \*]*?[ \*](\w+)\(([^;{}]*?)\)\s*\n\{", re.M)


def functions(tree):
    """{(file, name)} of those that take a slice; commands are apart."""
    found = set()
    for path in sorted((tree / "common").rglob("*.c")):
        file = str(path.relative_to(tree / "common"))
        if file.startswith("control/"):
            continue
        for match in FUNCTION.finditer(path.read_text()):
            if "struct work *" in match[2]:
                found.add((file, match[1]))
    return found


def table(text, title):
    """The rows of the first table below @title."""
    rows = []
    for line in text.split(f"## {title}\n", 1)[1].splitlines():
        if line.startswith("## "):
            break
        if line.startswith("| ") and not line.startswith("| file"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def listed(text):
    """{(file, name)} in the list, in the exceptions; [(row, case)]."""
    driven, excepted, used = set(), set(), []
    for file, names, names_of_cases in table(text, "The list"):
        driven |= {(file, name) for name in names.split(", ")}
        used += [(file, name) for name in names_of_cases.split(", ")]
    for file, names, why in table(text, "Not in the matrix"):
        check(len(why) > 10, f"{names}: no reason")
        excepted |= {(file, name) for name in names.split(", ")}
    return driven, excepted, used


def faults(found, text, cases):
    driven, excepted, used = listed(text)
    commands = {item for item in excepted if item[0] == "command"}
    excepted -= commands
    result = [f"{f}: {n} is not in the list" for f, n in
              sorted(found - driven - excepted)]
    result += [f"{f}: {n} is listed and not there" for f, n in
               sorted((driven | excepted) - found)]
    result += [f"{f}: {n} is in both tables" for f, n in
               sorted(driven & excepted)]
    result += [f"{f}: there is no case {n}" for f, n in used
               if n not in cases]
    return result


def matrix():
    """The text of the matrix's programs; the names of their cases."""
    text = "".join(path.read_text() for path in
                   sorted((ROOT / "test/model").glob("test_preempt*.c")))
    return text, set(re.findall(r"^TEST\(each_check_of_(\w+)\)", text, re.M))


@case
def every_function_is_listed():
    found = functions(ROOT)
    check(len(found) > 100, f"only {len(found)} found")
    result = faults(found, LIST.read_text(), matrix()[1])
    check(not result, "; ".join(result))


@case
def every_command_is_driven():
    text = matrix()[0]
    excepted = {n for f, names, _ in
                table(LIST.read_text(), "Not in the matrix")
                if f == "command" for n in names.split(", ")}
    commands = set()
    for path in (ROOT / "common/control").glob("*.c"):
        commands |= set(re.findall(r'\{ \.name = "([a-z-]+)"',
                                   path.read_text()))
    check(len(commands) > 40, f"only {len(commands)} found")
    driven = {n for n in commands if re.search(rf'"{n}[ "]', text)}
    check(commands == driven | excepted,
          f"{sorted(commands ^ (driven | excepted))}")
    check(not driven & excepted, f"{sorted(driven & excepted)}")


@case
def what_is_missing_is_found():
    text = LIST.read_text()
    found, cases = functions(ROOT), matrix()[1]
    one = sorted(found)[20]
    check(faults(found - {one}, text, cases), "a function that has gone")
    check(faults(found | {("share/new.c", "f")}, text, cases), "a new one")
    check(faults(found, text, cases - {"domain_kill"}), "a case")


@case
def functions_are_found_in_any_shape():
    with folder() as name:
        tree = pathlib.Path(name)
        (tree / "common/share").mkdir(parents=True)
        (tree / "common/share/x.c").write_text(
            "static int one(struct p2m *p, struct work *w)\n{\n}\n"
            "int two(struct p2m *p,\n        int (*fn)(void *arg),\n"
            "        struct work *w)\n{\n}\n"
            "int not_this(struct p2m *p)\n{\n    f(&(struct work *){ 0 });\n"
            "}\nint nor_this(struct work *w);\n")
        check(functions(tree) == {("share/x.c", "one"), ("share/x.c", "two")},
              functions(tree))


if __name__ == "__main__":
    main()
