"""Scenarios: TOML files that list commands, loops and what must hold.

docs/scenarios.md is the manual. A scenario is expanded, before anything runs,
into a flat list of steps of one command each; under icount that list is all
the machine ever hears.
"""

import dataclasses
import pathlib
import re
import string
import tomllib

import expression
from errors import UserError
from qemu import ROOT

FOLDER = ROOT / "tools" / "scenarios"
SIZE = re.compile(r"^(\d+)([KMG]?)$", re.IGNORECASE)
EACH = re.compile(r"^\s*([a-z]\w*)\s*=(.+?)\.\.(.+)$")
KEYS = {"title", "about", "machine", "vars", "ranges", "step"}
MACHINE_KEYS = {"mem", "cpus", "timeout_s", "append", "files"}
STEP_KEYS = {"say", "run", "each", "expect", "save", "table", "fails",
             "figures"}
# The commands whose replies have the columns.
TABLES = {"shared": ("stats", "join"), "written": ("stats", "join"),
          "destroyed": ("destroy", "join")}
EXPANDED_MAX = 100_000
# The variable that every scenario has: what its domains run on.
PAGING = ("nested", "shadow")


@dataclasses.dataclass
class Step:
    """One command and what its reply is for."""
    command: str
    say: str                    # what it is about, for people
    expect: list                # (text, tree) that must be true of it
    save: str | None            # the name under which others refer to it
    table: str | None           # which columns of the table it fills
    fails: str | None           # the error it must end in
    may_fail: bool              # it began with a dash: an error is fine
    figures: list               # (label, tree): what it adds to the end


@dataclasses.dataclass
class Scenario:
    name: str
    title: str
    about: str
    memory: int                 # bytes
    cpus: int
    timeout: float              # seconds
    append: str                 # for the hypervisor's command line
    files: list                 # kinds of real files (files.py), as modules
    variables: dict
    steps: list


def parse_size(text):
    """512M, 2G, 65536: bytes."""
    found = SIZE.match(str(text).strip())
    if not found:
        raise UserError(f"{text} is not a size: a number with K, M or G")
    shift = {"": 0, "K": 10, "M": 20, "G": 30}[found.group(2).upper()]
    return int(found.group(1)) << shift


def find(name):
    """A scenario's file: one of ours by name, or any path."""
    path = pathlib.Path(name)
    if path.suffix == ".toml":
        if not path.exists():
            raise UserError(f"{path}: no such file", status=2)
        return path
    path = FOLDER / f"{name}.toml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise UserError(f"no scenario is named {name}; there are: {known}; "
                        "or give the path of a .toml file", status=2)
    return path


def _strings(where, value):
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or \
            not all(isinstance(v, str) for v in values):
        raise UserError(f"{where}: a string or a list of strings")
    return values


def _check_keys(where, table, allowed):
    for key in table:
        if key not in allowed:
            raise UserError(f"{where}: there is no `{key}'; allowed: "
                            f"{', '.join(sorted(allowed))}")


def _fill(where, text, variables):
    try:
        return string.Template(text).substitute(variables)
    except KeyError as err:
        raise UserError(f"{where}: ${err.args[0]} is not a variable; there "
                        f"are: {', '.join(sorted(variables))}") from err
    except ValueError as err:
        raise UserError(f"{where}: {err}; a dollar sign is $$") from err


def _bound(where, each, text):
    """A number, or arithmetic with numbers: `7-1`."""
    try:
        bound = expression.evaluate(expression.parse(text.strip()), {})
    except (UserError, LookupError, TypeError, ValueError, ArithmeticError):
        bound = None
    if type(bound) is not int:
        raise UserError(f"{where}: each: in `{each}', {text.strip()} is not a "
                        "whole number")
    return bound


def _rounds(where, each, variables):
    """The values of an `each = "i = 1..$n"`, or one round without it."""
    if each is None:
        return [{}]
    found = EACH.match(_fill(where, each, variables))
    if not found:
        raise UserError(f"{where}: each: `{each}' is not `NAME = A..B'")
    name = found.group(1)
    first, last = (_bound(where, each, b) for b in found.groups()[1:])
    if last - first >= EXPANDED_MAX:
        raise UserError(f"{where}: each: more than {EXPANDED_MAX} rounds")
    return [{name: n} for n in range(first, last + 1)]


def _word(command):
    """What the command is, without its dash and its arguments."""
    return command.removeprefix("-").split()[:1]


def _with_paging(command, paging):
    """Domains are created with the scenario's kind of paging, unless the
    command says another."""
    if _word(command) != ["create"] or paging == PAGING[0] or \
            " paging=" in command:
        return command
    return f"{command} paging={paging}"


def _check_table(where, kind, commands):
    if kind not in TABLES:
        raise UserError(f"{where}: table: one of {', '.join(sorted(TABLES))}")
    if not any(_word(c) == [t] for c in commands for t in TABLES[kind]):
        raise UserError(f"{where}: table: {kind} is of a reply of "
                        f"{' or '.join(TABLES[kind])}, and run has none")


def _figures(where, texts, names):
    """(label, tree) of each LABEL: EXPRESSION."""
    found = []
    for text in texts:
        label, colon, formula = _fill(where, text, names).partition(":")
        if not colon or not label.strip() or not formula.strip():
            raise UserError(f"{where}: figures: `{text}' is not "
                            "`LABEL: EXPRESSION'")
        found.append((label.strip(), expression.parse(formula.strip())))
    return found


def _expand(number, table, variables):
    where = f"step {number}"
    _check_keys(where, table, STEP_KEYS)
    if "run" not in table:
        raise UserError(f"{where}: `run' is missing: the command")
    commands = _strings(f"{where}: run", table["run"])
    kind = table.get("table")
    if kind is not None:
        _check_table(where, kind, commands)
    expect = _strings(f"{where}: expect", table.get("expect", []))
    figures = _strings(f"{where}: figures", table.get("figures", []))
    steps = []
    for round_ in _rounds(where, table.get("each"), variables):
        names = variables | round_
        for command in commands:
            last = command is commands[-1]
            conditions = [_fill(where, e, names) for e in expect] \
                if last else []
            text = _with_paging(_fill(where, command, names),
                                names["paging"])
            steps.append(Step(
                command=text.removeprefix("-"),
                may_fail=text.startswith("-"),
                say=_fill(where, table.get("say", text), names),
                expect=[(e, expression.parse(e)) for e in conditions],
                save=table.get("save") if last else None,
                table=kind if kind and _word(command) and
                _word(command)[0] in TABLES[kind] else None,
                fails=table.get("fails"),
                figures=_figures(where, figures, names) if last else []))
    return steps


def load(name, overrides=()):
    """Read, check and expand. @overrides: NAME=VALUE for its variables."""
    path = find(name)
    try:
        table = tomllib.loads(path.read_text())
    except OSError as err:
        raise UserError(f"{path}: {err.strerror}", status=2) from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise UserError(f"{path}: {err}", status=2) from err
    try:
        return _build(path.stem, table, overrides)
    except UserError as err:
        raise UserError(f"{path}: {err}", status=2) from None


def _override(key, value, default):
    """What --set gives a variable: of the same kind as its default."""
    if isinstance(default, int):
        if not re.fullmatch(r"-?[0-9]+", value):
            raise UserError(f"{key}={value}: a number, such as {default}")
        return int(value)
    if SIZE.match(str(default)) and (not SIZE.match(value) or not (
            size := parse_size(value)) or size % 4096):
        raise UserError(f"{key}={value}: a size of whole pages, such as "
                        f"{default}")
    return value


def _check_range(key, value, allowed):
    """@allowed: [from, to], of numbers or of sizes, or a list of words."""
    words = [v for v in allowed if isinstance(v, str)]
    if words and not all(SIZE.match(w) for w in words):
        if value not in allowed:
            raise UserError(f"{key}={value}: one of {', '.join(allowed)}")
        return
    low, high = allowed
    if words:
        if not parse_size(low) <= parse_size(value) <= parse_size(high):
            raise UserError(f"{key}={value}: a size from {low} to {high}")
    elif not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"{key}={value}: a number from {low} to {high}")


def _build(name, table, overrides):
    _check_keys("the file", table, KEYS)
    machine = table.get("machine", {})
    _check_keys("[machine]", machine, MACHINE_KEYS)
    variables = {"paging": PAGING[0]} | table.get("vars", {})
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or key not in variables:
            raise UserError(f"--set {override}: NAME=VALUE, and the names "
                            f"are: {', '.join(sorted(variables)) or 'none'}")
        variables[key] = _override(key, value, variables[key])
    for key, allowed in table.get("ranges", {}).items():
        _check_range(key, variables.get(key), allowed)
    if variables["paging"] not in PAGING:
        raise UserError(f"paging={variables['paging']}: one of "
                        f"{', '.join(PAGING)}")
    steps = []
    for number, step in enumerate(table.get("step", []), 1):
        steps += _expand(number, step, variables)
        if len(steps) > EXPANDED_MAX:
            raise UserError(f"more than {EXPANDED_MAX} commands")
    if not steps:
        raise UserError("there is no [[step]]")
    return Scenario(
        name=name, title=table.get("title", name),
        about=table.get("about", "").strip(),
        memory=parse_size(machine.get("mem", "1G")),
        cpus=int(machine.get("cpus", 1)),
        timeout=float(machine.get("timeout_s", 60)),
        append=str(machine.get("append", "")),
        files=_strings("[machine]: files", machine.get("files", [])),
        variables=variables, steps=steps)


def every():
    """(name, title) of each scenario of the tree."""
    result = []
    for path in sorted(FOLDER.glob("*.toml")):
        scenario = load(path.stem)
        result.append((scenario.name, scenario.title))
    return result
