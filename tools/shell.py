"""`quire shell`: the control channel by hand, with history, completion and
help. exit, quit and lines that begin with ! are the shell's own."""

import json
import os
import pathlib
import readline
import sys

from channel import has_reply
from errors import UserError
from qemu import tail

HISTORY = pathlib.Path(os.environ.get("QUIRE_HISTORY", "~/.quire_history"))
OWN = {"!log": "!log [N]: the machine's last lines",
       "exit": "exit, quit (or end of file): shut the machine down"}
LEAVE = ("exit", "quit", "!quit")
WIDE = 100                      # a reply shorter than this stays on a line


class Completer:
    """Command names first, then the arguments that help knows."""

    def __init__(self, commands):
        self.commands = {c["name"]: c["arguments"] for c in commands}

    def candidates(self, line, word):
        """What may stand where @word is, in @line so far."""
        before = line[:len(line) - len(word)].split()
        if before[:1] == ["bg"]:
            before = before[1:]
        if not before or before == ["help"]:
            names = list(self.commands) + ([] if before else list(OWN))
            return sorted(n for n in names if n.startswith(word))
        arguments = self.commands.get(before[0], "")
        for mark in "[]|,":
            arguments = arguments.replace(mark, " ")
        keys = {a.split("=")[0] + "=" for a in arguments.split() if "=" in a}
        used = {b.split("=")[0] + "=" for b in before if "=" in b}
        return sorted(k for k in keys - used if k.startswith(word))

    def __call__(self, word, state):
        line = readline.get_line_buffer()[:readline.get_endidx()]
        found = self.candidates(line, word)
        return found[state] if state < len(found) else None


def _word(value):
    """A field's value in a line or a cell: no quotes, no braces."""
    if isinstance(value, str):
        return value or "-"
    if isinstance(value, dict):
        return " ".join(f"{k}={_word(v)}" for k, v in value.items()) or "-"
    if isinstance(value, list):
        return " ".join(_word(v) for v in value) or "-"
    return json.dumps(value)


def _table(objects):
    """A list of objects as lines under headings, numbers to the right."""
    heads = list(dict.fromkeys(key for o in objects for key in o))
    rows = [[_word(o[h]) if h in o else "-" for h in heads] for o in objects]
    right = [all(isinstance(o.get(h, 0), int) for o in objects)
             for h in heads]
    widths = [max(len(row[i]) for row in [heads, *rows])
              for i in range(len(heads))]
    return ["  ".join(cell.rjust(w) if to_right else cell.ljust(w)
                      for cell, w, to_right in zip(row, widths, right)
                      ).rstrip() for row in [heads, *rows]]


def _help(commands):
    return "\n".join(f"{c['name']} {c['arguments']}".rstrip()
                     + f"\n    {c['help']}"
                     for c in sorted(commands, key=lambda c: c["name"]))


def show(reply):
    """A reply as people read it."""
    if not reply["ok"]:
        error = reply["error"]
        done = f" ({error['done']} done)" if "done" in error else ""
        return f"{error['code']}: {error['message']}{done}"
    rest = {k: v for k, v in reply.items() if k != "ok"}
    if "commands" in rest:
        return _help(rest["commands"])
    if not rest:
        return "ok"
    tables = {k: v for k, v in rest.items() if isinstance(v, list) and v
              and all(isinstance(member, dict) for member in v)}
    plain = {k: v for k, v in rest.items() if k not in tables}
    flat = ", ".join(f"{k} {_word(v)}" for k, v in plain.items())
    wide = max((len(k) for k in plain), default=0)
    lines = [flat] if plain and len(flat) < WIDE else \
        [f"{k.ljust(wide)}  {_word(v)}" for k, v in plain.items()]
    for key, objects in tables.items():
        lines += ([f"{key}:"] if plain or len(tables) > 1 else []) \
            + _table(objects)
    return "\n".join(lines)


def _setup(machine):
    if not sys.stdin.isatty():
        return
    reply = machine.request("help")
    readline.set_completer(Completer(reply["commands"]))
    readline.set_completer_delims(" ")
    readline.parse_and_bind("tab: complete")
    try:
        readline.read_history_file(HISTORY.expanduser())
    except OSError:
        pass                    # the first time there is none


def _save_history():
    if sys.stdin.isatty():
        try:
            readline.write_history_file(HISTORY.expanduser())
        except OSError:
            pass                # a home that cannot be written to is fine


def own_command(machine, line):
    """One of the shell's own; False: it is time to go."""
    words = line.split()
    if words[0] in LEAVE:
        return False
    if words[0] == "!log":
        lines = int(words[1]) if words[1:] and words[1].isdigit() else 20
        print(tail(machine.log, lines))
    else:
        print("\n".join(OWN.values()))
    return True


def ask(machine, line):
    """One command. An answer that nobody waited for would be taken for the
    next one's, so Ctrl-C here ends the session."""
    try:
        return machine.request(line)
    except KeyboardInterrupt:
        raise UserError(f"interrupted during `{line.strip()}': the machine "
                        "has been ended", status=130) from None


def shell(machine):
    """Until end of file; the exit status."""
    _setup(machine)
    print("Quire is up. help lists the commands, Tab completes, "
          "exit ends it.")
    prompt = "quire> " if sys.stdin.isatty() else ""
    try:
        while True:
            try:
                line = input(prompt)
            except EOFError:
                break
            except KeyboardInterrupt:
                print()         # the line is dropped, the session goes on
                continue
            if line.startswith("!") or line.strip() in LEAVE:
                if not own_command(machine, line):
                    break
            elif has_reply(line):
                print(show(ask(machine, line)))
                if line.split()[0] == "shutdown":
                    machine.wait()
                    return 0
    finally:
        _save_history()
    machine.shutdown()
    return 0
