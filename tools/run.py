"""`quire run`: a scenario on a machine, checked, and its table."""

import json
import os
import time

import expression
from build import build, guests, kernel, made_with
from channel import has_reply
from errors import UserError
from files import modules
from progress import Progress
from qemu import EXIT_SUCCESS, EXIT_WORDS, Machine, tail
from table import Table, Units

FIRST = "version"               # asked before anything else


def is_misspelt(error):
    """No such command, or not its arguments: a dash does not excuse it."""
    return error["code"] == "ENOSYS" or (
        error["code"] == "EINVAL" and "usage: " in error["message"])


class Judge:
    """Takes the replies in order; knows what held and what did not."""

    def __init__(self, scenario):
        self.names = dict(scenario.variables)
        self.table = Table()
        self.checks = []            # {"command", "expect", "held"}
        self.complaints = []
        self.exchanges = []         # {"command", "reply"}

    def reply(self, step, reply):
        """True if all is well with it."""
        self.exchanges.append({"command": step.command, "reply": reply})
        good = self._outcome(step, reply)
        if step.save:
            self.names[step.save] = reply
        if reply["ok"] and step.table and \
                not self.table.add(step.table, reply) and not step.may_fail:
            good = self._note(step, f"table {step.table}", False,
                              f"table: the reply has nothing for "
                              f"{step.table}")
        if reply["ok"]:
            for label, tree in step.figures:
                good = self._figure(step, label, tree, reply) and good
        # An error that nobody asked for has said enough.
        if reply["ok"] or step.fails or step.may_fail:
            for text, tree in step.expect:
                good = self._expect(step, text, tree, reply) and good
        return good

    def _note(self, step, what, held, why):
        self.checks.append({"command": step.command, "expect": what,
                            "held": held})
        if not held:
            self.complaints.append(f"{step.command}\n    {why}")
        return held

    def _outcome(self, step, reply):
        if step.fails:
            code = None if reply["ok"] else reply["error"]["code"]
            return self._note(step, f"fails with {step.fails}",
                              code == step.fails,
                              f"must fail with {step.fails}: "
                              + ("succeeded" if reply["ok"] else code))
        if reply["ok"]:
            return True
        error = reply["error"]
        if step.may_fail and not is_misspelt(error):
            return True
        return self._note(step, "ok", False,
                          f"{error['code']}: {error['message']}")

    def _figure(self, step, label, tree, reply):
        names = self.names | reply
        try:
            value = expression.evaluate(tree, names)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{value!r} is not a number")
        except (LookupError, TypeError, ValueError, ArithmeticError) as err:
            return self._note(step, f"figure {label}", False,
                              f"figure {label}: {type(err).__name__}: {err}; "
                              + expression.explain(tree, names))
        self.table.add_figure(label, value)
        return True

    def _expect(self, step, text, tree, reply):
        names = self.names | reply
        try:
            held = bool(expression.evaluate(tree, names))
        except ZeroDivisionError:
            return self._note(step, text, False, f"expected {text}; division "
                              "by zero; " + expression.explain(tree, names))
        except (LookupError, TypeError, ValueError, ArithmeticError):
            held = False
        return self._note(step, text, held, f"expected {text}; "
                          + expression.explain(tree, names))


def run_live(machine, scenario, judge, progress):
    """Command by command; the first failure ends it. Ticks a second."""
    version = machine.request(FIRST)
    for number, step in enumerate(scenario.steps, 1):
        progress.step(number, step.say)
        if has_reply(step.command) and \
                not judge.reply(step, machine.request(step.command)):
            return version["ticks_per_second"]
    status = machine.shutdown()
    if status != EXIT_SUCCESS:
        judge.complaints.append(
            f"the machine ended: {EXIT_WORDS.get(status, status)}")
    return version["ticks_per_second"]


def _read_replies(path):
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines[1:]]     # first the greeting


def run_batch(machine, scenario, judge, progress):
    """The whole list at once, judged afterwards. Ticks a second."""
    while machine.process.poll() is None:
        if progress.terminal and machine.replies.exists():
            done = machine.replies.read_bytes().count(b"\n") - 2
            if 0 <= done < len(scenario.steps):
                progress.step(done + 1, scenario.steps[done].say)
        if time.monotonic() > machine.deadline:
            raise machine.late("end")
        time.sleep(0.02)
    status = machine.wait()
    if status not in EXIT_WORDS or not machine.replies.exists():
        raise machine.died()
    replies = _read_replies(machine.replies)
    if not replies:
        raise machine.died()
    for number, (step, reply) in enumerate(zip(scenario.steps, replies[1:]),
                                           1):
        if not progress.terminal:
            progress.step(number, step.say)
        judge.reply(step, reply)
    if len(replies) - 1 < len(scenario.steps):
        missing = scenario.steps[len(replies) - 1].command
        judge.complaints.append(f"{missing}\n    no reply; the machine ended:"
                                f" {EXIT_WORDS[status]}")
    # A failure that a step asked for also shows in the status.
    if status != EXIT_SUCCESS and not any(s.fails or s.may_fail
                                          for s in scenario.steps):
        judge.complaints.append(f"the machine ended: {EXIT_WORDS[status]}")
    return replies[0]["ticks_per_second"]


def _json(scenario, judge, units, hz, args, seconds):
    document = {
        "scenario": scenario.name, "ok": not judge.complaints,
        "cpus": scenario.cpus, "memory_bytes": scenario.memory,
        "icount": args.icount, "unit": "instructions" if args.icount
        else "ticks", "ticks_per_second": hz,
        "variables": scenario.variables, "boot": scenario.append,
        **made_with(),
        "domains": [d.as_dict() for d in judge.table.domains.values()],
        "total": judge.table.totals() if judge.table.domains else {},
        "figures": {label: value for label, (value, _)
                    in judge.table.figures.items()},
        "checks": judge.checks, "complaints": judge.complaints,
        "exchanges": judge.exchanges,
    }
    if not args.icount:
        document["seconds"] = round(seconds, 3)
    return json.dumps(document, indent=1) + "\n"


def _report(scenario, judge, units, args, seconds):
    print()
    for line in judge.table.lines(units):
        print(line)
    figures = judge.table.figure_lines(units)
    if figures and judge.table.domains:
        print()
    for line in figures:
        print(line)
    if judge.table.domains or any(of_ticks for _, of_ticks
                                  in judge.table.figures.values()):
        print(f"(times in {units.name}"
              + ("" if args.icount else " of emulated time; --icount counts "
                 "instructions") + ")")
    held = sum(c["held"] for c in judge.checks)
    when = "" if args.icount else f", {seconds:.1f} s"
    for complaint in judge.complaints:
        print(f"FAILED: {complaint}")
    print(f"{scenario.name}: {held} of {len(judge.checks)} checks held, "
          f"{len(judge.exchanges)} commands{when}: "
          + ("FAILED" if judge.complaints else "ok"))


def run(scenario, args):
    """The whole of it; the exit status."""
    if not args.no_build:
        build()
    progress = Progress(len(scenario.steps), clock=not args.icount)
    judge = Judge(scenario)
    print(f"{scenario.title} ({scenario.cpus} "
          f"CPU{'s' if scenario.cpus > 1 else ''}, "
          f"{scenario.memory >> 20} MiB)", flush=True)
    commands = None
    if args.icount:
        commands = [FIRST] + [s.command for s in scenario.steps]
        scenario.steps = [s for s in scenario.steps if has_reply(s.command)]
    began = time.monotonic()
    with Machine(kernel(args.debug), guests() + modules(scenario.files),
                 cpus=scenario.cpus,
                 memory=scenario.memory, icount=args.icount,
                 append=scenario.append, commands=commands,
                 timeout=scenario.timeout) as machine:
        try:
            hz = (run_batch if args.icount else run_live)(
                machine, scenario, judge, progress)
        finally:
            progress.end()
            keep_log(machine, args)
        units = Units(args.icount, hz)
        seconds = time.monotonic() - began
        _report(scenario, judge, units, args, seconds)
        if judge.complaints:
            print(f"the machine's last lines:\n{tail(machine.log)}")
    if args.json:
        write(args.json, _json(scenario, judge, units, hz, args, seconds))
    return 1 if judge.complaints else 0


def keep_log(machine, args):
    if args.log:
        write(args.log, machine.log.read_text(errors="replace")
               if machine.log.exists() else "")


def check_writable(path):
    """Before the work, not after it. Leaves things as they were."""
    if path is None or (os.path.exists(path) and not os.path.isfile(path)
                        and not os.path.isdir(path)):
        return                  # a pipe, say: to open it is to use it
    there = os.path.exists(path)
    try:
        with open(path, "a", encoding="utf-8"):
            pass
    except OSError as err:
        raise UserError(f"{path}: {err.strerror}", status=2) from err
    if not there:
        os.unlink(path)


def write(path, text):
    try:
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
    except OSError as err:
        raise UserError(f"{path}: {err.strerror}") from err
