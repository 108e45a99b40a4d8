"""`quire exec`: commands without a terminal, a line of JSON out for each."""

import json
import sys

from channel import has_reply
from errors import UserError
from qemu import EXIT_WORDS


def read_commands(args):
    """From -f, or the arguments: one command each."""
    if args.file is None:
        return args.command
    if args.command:
        raise UserError("give -f or commands, not both", status=2)
    if args.file == "-":
        return sys.stdin.read().splitlines()
    try:
        with open(args.file, encoding="utf-8") as lines:
            return lines.read().splitlines()
    except OSError as err:
        raise UserError(f"{args.file}: {err.strerror}", status=2) from err


def check_shutdown(commands):
    """What stands after a shutdown would be dropped in silence."""
    commands = [c for c in commands if has_reply(c)]
    for command, after in zip(commands, commands[1:]):
        if command.split()[0] == "shutdown":
            raise UserError(f"exec: `{after}' would never run: it is after "
                            "shutdown", status=2)


def _show(reply):
    print(json.dumps(reply, separators=(",", ":")), flush=True)


def execute(machine, commands, keep_going):
    """Live. 0 if every command succeeded; stops at the first that did not,
    unless told otherwise."""
    failed = False
    for command in commands:
        if not has_reply(command):
            continue
        reply = machine.request(command)
        _show(reply)
        if reply["ok"] and command.split()[0] == "shutdown":
            machine.wait()
            return 1 if failed else 0
        if not reply["ok"]:
            failed = True
            if not keep_going:
                break
    machine.shutdown()
    return 1 if failed else 0


def execute_batch(machine, commands):
    """As one list that travels in with the machine (icount): the machine runs
    all of it, whatever fails."""
    status = machine.wait()
    lines = machine.replies.read_text().splitlines()[1:] \
        if machine.replies.exists() else []
    replies = [json.loads(line) for line in lines]
    for reply in replies:
        _show(reply)
    wanted = sum(has_reply(c) for c in commands)
    if status not in EXIT_WORDS or len(replies) < wanted:
        raise machine.died()
    return 0 if all(r["ok"] for r in replies) else 1
