"""One cell of a bench: a configuration, the commands that measure it on a
machine of its own, and how their replies become rows.

A row is a flat dictionary. What was measured is in the fields whose names
begin with their unit (MEASURED), and `where` is the place it was measured at;
all others say what was run, and two rows are the same configuration if those
are equal. A cell that was not run has one row
with `skipped` in it, and why; never a figure.
"""

import dataclasses
import json
import time

from build import guests, kernel
from channel import has_reply
from errors import UserError
from qemu import EXIT_WORDS, Machine, tail

MEASURED = ("instructions_", "nanoseconds_", "bytes_", "count_")
LIMIT = 20_000_000_000          # instructions a cell may take
POLL_SECONDS = 0.02
NO_SUCH_FORM = "rmap= must be one of"   # arch/x86/boot.c


class Skip(Exception):
    """The cell cannot be measured; the text says why."""


@dataclasses.dataclass
class Cell:
    """@commands: lines, or (name, line) where the reply is wanted; @rows is
    called with {name: reply} and gives a list of rows. @weight: how long it
    takes beside others, for the estimate on a terminal."""
    bench: str
    config: dict
    commands: list
    rows: object
    memory: int = 1 << 30
    cpus: int = 1
    append: str = ""
    weight: float = 1.0
    estimate: object = None     # earlier rows -> instructions, or None
    reference: object = None    # a cell run before it; its replies come too

    def label(self):
        """The configuration in words."""
        return ", ".join(describe(self.config))

    def row(self, measured, **more):
        return {"bench": self.bench} | self.config | more | measured

    def skipped(self, why):
        return self.row({"skipped": str(why)})


def is_measured(field):
    return field.startswith(MEASURED)


def configuration(row):
    """What makes two rows comparable: what was run, not where its time went
    (`where`: the place of the longest stretch)."""
    return tuple(sorted((k, str(v)) for k, v in row.items()
                        if not is_measured(k)
                        and k not in ("skipped", "where")))


FRAMES = {"one": "on one frame", "pairs": "two sharers a frame",
          "seed": "a hundred sharers a frame", "private": "private pages",
          "superpages": "2M pages", "holes": "holes below one gfn"}


def describe(config):
    """The words of a configuration, in its order."""
    words = []
    for key, value in config.items():
        if key == "operation":
            words.append(str(value).replace("_", " "))
        elif key == "frames":
            words.append(FRAMES.get(value, str(value)))
        elif isinstance(value, int) and not isinstance(value, bool):
            unit = key.replace("_", " ")
            words.append(f"{value:,} "
                         + (unit.removesuffix("s") if value == 1 else unit))
        else:
            words.append(str(value))
    return words


def _await(machine, on_reply):
    """Until it has ended; @on_reply hears how many replies there are."""
    while machine.process.poll() is None:
        if machine.replies.exists():
            on_reply(machine.replies.read_bytes().count(b"\n"))
        if time.monotonic() > machine.deadline:
            raise Skip(f"more than {machine.timeout:.0f} s of wall time "
                       "(--timeout)")
        time.sleep(POLL_SECONDS)
    return machine.wait()


def _replies(machine, commands, status):
    lines = machine.replies.read_text().splitlines()[1:] \
        if machine.replies.exists() else []
    replies = [json.loads(line) for line in lines]
    if status not in EXIT_WORDS or len(replies) < len(commands):
        if NO_SUCH_FORM in tail(machine.log):
            raise Skip(f"this build has no {machine.append}")
        raise UserError(f"the machine ended early (status {status}, "
                        f"{len(replies)} of {len(commands)} replies)\n"
                        f"its last lines:\n{tail(machine.log)}")
    return replies


def _named(commands, replies):
    """{name: reply}; a command that failed is the end of the cell."""
    named = {}
    for (name, line), reply in zip(commands, replies):
        if not reply["ok"]:
            error = reply["error"]
            if error["code"] == "ENOSYS":
                raise Skip(f"this build has no `{line.split()[0]}'")
            if error["code"] == "ENOMEM":
                raise Skip(f"`{line}': {error['message']}")
            raise UserError(f"`{line}': {error['code']}: {error['message']}")
        if reply.get("violations"):
            raise UserError(f"`{line}': {reply['violations']} violations: "
                            "what was measured is wrong")
        if name is not None:
            named[name] = reply
    return named


def _run(cell, timeout, on_reply, debug):
    """Run it under icount; {name: reply}."""
    commands = [c if isinstance(c, tuple) else (None, c)
                for c in cell.commands]
    lines = [line for _, line in commands]
    assert all(has_reply(line) for line in lines)
    with Machine(kernel(debug), guests(), cpus=cell.cpus, icount=True,
                 memory=cell.memory, append=cell.append, commands=lines,
                 timeout=timeout) as machine:
        status = _await(machine, on_reply)
        replies = _replies(machine, commands, status)
    return _named(commands, replies)


def measure(cell, timeout, on_reply=lambda n: None, debug=False):
    """Its rows."""
    named = {}
    if cell.reference is not None:
        named = _run(cell.reference, timeout, lambda n: None, debug)
    return cell.rows(named | _run(cell, timeout, on_reply, debug))
