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
        raise UserError(f"{args.file}: {err.strerror}") from err


def execute(machine, commands, keep_going):
    """Live. 0 if every command succeeded; stops at the first that did not,
    unless told otherwise."""
    failed = False
    for command in commands:
        if not has_reply(command):
            continue
        reply = machine.request(command)
        print(json.dumps(reply), flush=True)
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
    replies = machine.replies.read_text().splitlines()[1:] \
        if machine.replies.exists() else []
    for reply in replies:
        print(reply)
    wanted = sum(has_reply(c) for c in commands)
    if status not in EXIT_WORDS or (len(replies) < wanted and
                                    "shutdown" not in commands):
        raise machine.died()
    return 0 if all(json.loads(r)["ok"] for r in replies) else 1
