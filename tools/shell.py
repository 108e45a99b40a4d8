"""`quire shell`: the control channel by hand, with history, completion and
help. Lines that begin with ! are the shell's own: !log [N], !quit."""

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
       "!quit": "!quit (or end of file): shut the machine down"}
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


def show(reply):
    """A reply as people read it."""
    if not reply["ok"]:
        error = reply["error"]
        done = f" ({error['done']} done)" if "done" in error else ""
        return f"{error['code']}: {error['message']}{done}"
    rest = {k: v for k, v in reply.items() if k != "ok"}
    if "commands" in rest:
        return "\n".join(f"{c['name']} {c['arguments']}\n    {c['help']}"
                         for c in rest["commands"])
    if not rest:
        return "ok"
    flat = ", ".join(f"{k} {json.dumps(v)}" for k, v in rest.items())
    if len(flat) < WIDE:
        return flat
    lists = [k for k, v in rest.items() if isinstance(v, list) and v]
    lines = [f"{k:20} {json.dumps(v)}" for k, v in rest.items()
             if k not in lists]
    for key in lists:
        lines.append(f"{key}:")
        lines += [f"    {json.dumps(member)}" for member in rest[key]]
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
    if words[0] == "!quit":
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
          "end of file ends it.")
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
            if line.startswith("!"):
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
