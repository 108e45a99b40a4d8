"""What a user types: run, scenarios, shell, exec, bench, compare, report and
build."""

import argparse
import signal
import sys

import bench as bench_command
import compare as compare_command
import exec as exec_command
import report as report_command
import run as run_command
import scenario
import shell as shell_command
from build import build, guests, kernel
from channel import has_reply
from errors import UserError
from qemu import Machine

MAX_CPUS = 16
MIN_MEMORY = 64 << 20


def _machine_options(parser, cpus="1", memory="1G", timeout="120"):
    """@cpus ...: the defaults, in words."""
    parser.add_argument("--cpus", type=int,
                        help=f"1 to 16; default: {cpus}")
    parser.add_argument("--mem", metavar="SIZE", help="the machine's RAM: "
                        f"512M, 8G; default: {memory}")
    parser.add_argument("--icount", action="store_true",
                        help="count instructions: every run is identical")
    parser.add_argument("--debug", action="store_true",
                        help="the debug build: assertions, poisoned frames")
    parser.add_argument("--timeout", type=float, metavar="SECONDS",
                        help=f"of wall time; default: {timeout}")
    parser.add_argument("--log", metavar="FILE", help="keep the log there")
    parser.add_argument("--no-build", action="store_true",
                        help="run what has been built")
    parser.add_argument("--boot", default="", metavar="TEXT",
                        help="more of the hypervisor's command line, such as "
                        "rmap=list")


def parser():
    top = argparse.ArgumentParser(prog="quire", description=
                                  "Quire, a hypervisor for memory sharing")
    commands = top.add_subparsers(dest="what", required=True)
    p = commands.add_parser("run", help="run a scenario and print its table")
    p.add_argument("scenario", nargs="?", default="demo",
                   help="a name, or a .toml file; demo")
    p.add_argument("--json", metavar="FILE", help="everything, for machines")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                   help="change a variable of the scenario")
    _machine_options(p, "the scenario's, or 1", "the scenario's, or 1G",
                     "the scenario's, or 60")
    commands.add_parser("scenarios", help="list the scenarios")
    p = commands.add_parser("shell", help="talk to a machine")
    p.add_argument("--socket", help="where the control channel listens")
    _machine_options(p, timeout="86400, a day")
    p = commands.add_parser("exec", help="commands in, JSON lines out")
    p.add_argument("command", nargs="*", help="one command each, quoted")
    p.add_argument("-f", dest="file", metavar="FILE",
                   help="commands from a file, one a line; - is stdin")
    p.add_argument("--keep-going", action="store_true",
                   help="go on after a command that fails")
    p.add_argument("--socket", help="where the control channel listens")
    _machine_options(p)
    bench_command.add_arguments(commands.add_parser(
        "bench", help="measure, in instructions, and print the table"))
    compare_command.add_arguments(commands.add_parser(
        "compare", help="two files of bench --json: what got worse"))
    report_command.add_arguments(commands.add_parser(
        "report", help="what was measured, as one HTML page"))
    commands.add_parser("build", help="make the hypervisor and the guests")
    return top, commands.choices


def parse(argv=None):
    """The options; what a command has not, its own usage tells."""
    top, commands = parser()
    args, unknown = top.parse_known_args(argv)
    if unknown:
        commands[args.what].error("unrecognized arguments: "
                                  + " ".join(unknown))
    return args


def _settle(args, cpus, memory, timeout):
    """Options over the defaults, checked."""
    cpus = args.cpus if args.cpus is not None else cpus
    try:
        memory = scenario.parse_size(args.mem) if args.mem else memory
    except UserError as err:
        raise UserError(f"--mem {args.mem}: {err}", status=2) from None
    timeout = args.timeout if args.timeout is not None else timeout
    if not 1 <= cpus <= MAX_CPUS:
        raise UserError(f"--cpus {cpus}: 1 to {MAX_CPUS}", status=2)
    if memory < MIN_MEMORY or memory % (1 << 20):
        raise UserError(f"--mem {args.mem or f'{memory >> 10}K'}: whole MiB, "
                        "and at least 64", status=2)
    if timeout <= 0:
        raise UserError(f"--timeout {timeout:g}: more than 0 seconds",
                        status=2)
    return cpus, memory, timeout


def do_run(args):
    run_command.check_writable(args.json)
    run_command.check_writable(args.log)
    plan = scenario.load(args.scenario, args.set)
    plan.cpus, plan.memory, plan.timeout = _settle(
        args, plan.cpus, plan.memory, plan.timeout)
    plan.append = f"{plan.append} {args.boot}".strip()
    return run_command.run(plan, args)


def do_scenarios(_):
    for name, title in scenario.every():
        print(f"{name:16} {title}")
    return 0


def _machine(args, commands=None, timeout=120.0):
    cpus, memory, timeout = _settle(args, 1, 1 << 30, timeout)
    run_command.check_writable(args.log)
    if not args.no_build:
        build()
    return Machine(kernel(args.debug), guests(), cpus=cpus, memory=memory,
                   icount=args.icount, append=args.boot, commands=commands,
                   socket_path=args.socket, timeout=timeout)


def do_shell(args):
    if args.icount:
        raise UserError("shell: what you type is not reproducible, so there "
                        "is no --icount", status=2)
    with _machine(args, timeout=24 * 3600.0) as machine:
        try:
            return shell_command.shell(machine)
        finally:
            run_command.keep_log(machine, args)


def do_exec(args):
    commands = exec_command.read_commands(args)
    if not any(has_reply(c) for c in commands):
        raise UserError("exec: no command; `quire exec list' or -f FILE",
                        status=2)
    exec_command.check_shutdown(commands)
    with _machine(args, commands if args.icount else None) as machine:
        try:
            if args.icount:
                return exec_command.execute_batch(machine, commands)
            return exec_command.execute(machine, commands, args.keep_going)
        finally:
            run_command.keep_log(machine, args)


def do_build(_):
    build()
    return 0


def _terminate(number, _):
    """Unwind as Ctrl-C does: the machine and its files go."""
    signal.signal(number, signal.SIG_IGN)
    print(f"quire: ended by {signal.Signals(number).name}", file=sys.stderr)
    raise SystemExit(128 + number)


def _catch_signals():
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:      # nohup
            signal.signal(number, _terminate)


def main():
    _catch_signals()
    args = parse()
    try:
        return {"run": do_run, "scenarios": do_scenarios, "shell": do_shell,
                "exec": do_exec, "bench": bench_command.bench,
                "compare": compare_command.compare,
                "report": report_command.report,
                "build": do_build}[args.what](args)
    except UserError as err:
        print(f"quire: {err}", file=sys.stderr)
        return err.status
    except KeyboardInterrupt:
        print("\nquire: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
