"""`quire bench`: every figure, measured on a machine of its own under icount.

A bench is a list of cells (bench_cell.py); each gives rows. The document is
{"bench", "version", "unit", "rows"}: one flat row per configuration, numbers
unrounded, fields named in full.
"""

import argparse
import json
import os
import sys
import time

import bench_clones
import bench_destroy
import bench_latency
import bench_numbers as numbers
import bench_rmap
import bench_shadow
import bench_share
import bench_spte
import bench_wakeup
import report_charts
import report_data
import run as run_command
from bench_cell import Cell, Skip, measure
from bench_tables import by_bench, text
from build import build, made_with
from errors import UserError
from qemu import memory_folder

SUITES = {
    "share": bench_share.share_cells,
    "unshare": bench_share.unshare_cells,
    "destroy": bench_destroy.cells,
    "rmap": bench_rmap.rmap_cells,
    "spte-rmap": bench_spte.spte_cells, "shadow": bench_shadow.cells,
    "scan": bench_clones.scan_cells,
    "fork": bench_clones.fork_cells,
    "latency": bench_latency.latency_cells,
    "wakeup": bench_wakeup.cells,
}
OPTIONS = {                     # who takes which
    "sharers": ("destroy", "unshare", "rmap", "wakeup"),
    "pattern": ("destroy", "rmap", "wakeup"),
    "rmap": ("destroy", "rmap", "wakeup"), "cpus": ("destroy",),
    "frames": ("destroy", "wakeup"),
}
DEFAULTS = {"sharers": "1k,10k,100k,1M", "pattern": "dense",
            "rmap": "adaptive", "frames": "one"}
TIMEOUT = 900.0                 # seconds of wall time a cell may take


def _choices(option, allowed):
    return f"any of {','.join(allowed)}; default: {DEFAULTS[option]}"


def add_arguments(p):
    """To the parser of `quire bench`."""
    p.add_argument("bench", metavar="WHAT",
                   help=", ".join([*SUITES, *GROUPS]))
    p.add_argument("--json", metavar="FILE", help="the rows, for machines")
    p.add_argument("--svg", metavar="FILE", help="of destroy: the chart")
    p.add_argument("--sharers", metavar="LIST",
                   help="counts, such as 1k,2M; default: "
                   f"{DEFAULTS['sharers']}")
    p.add_argument("--pattern", metavar="LIST",
                   help=_choices("pattern", bench_destroy.PATTERNS)
                   + "; rmap has runs64 too")
    p.add_argument("--rmap", metavar="LIST",
                   help=_choices("rmap", bench_destroy.FORMS))
    p.add_argument("--cpus", type=int, metavar="N",
                   help="N kills at once on N CPUs, 1 to 15; default: 1")
    p.add_argument("--frames", metavar="LIST",
                   help=_choices("frames", bench_destroy.FRAMES))
    p.add_argument("--timeout", type=float, default=TIMEOUT,
                   help="seconds of wall time a cell may take; "
                   f"default: {TIMEOUT:.0f}")
    p.add_argument("--no-build", action="store_true",
                   help="measure what has been built")


def _check(args):
    known = [*SUITES, *GROUPS]
    if args.bench not in known:
        raise UserError(f"bench {args.bench}: there are {', '.join(known)}",
                        status=2)
    for option, takers in OPTIONS.items():
        if getattr(args, option) is not None and args.bench not in takers:
            who = f"{numbers.join_words(takers)} " \
                + ("do" if len(takers) > 1 else "does")
            raise UserError(f"bench {args.bench} takes no --{option}: {who}",
                            status=2)
    if args.cpus is not None and not 1 <= args.cpus <= 15:
        raise UserError(f"--cpus {args.cpus}: 1 to 15", status=2)
    if args.svg and (args.bench != "destroy" or args.cpus not in (None, 1)
                     or "one" not in (args.frames or "one").split(",")):
        raise UserError("--svg: the chart is of bench destroy with gfns on "
                        "one frame, on one CPU", status=2)
    if args.timeout <= 0:
        raise UserError("--timeout: more than 0 seconds", status=2)


def _options(args, what, **fixed):
    """The options as the suites take them: parsed, with their defaults."""
    given = {name: getattr(args, name) for name in OPTIONS}
    given = {k: v for k, v in given.items() if v is not None}
    chosen = DEFAULTS | given | fixed
    return argparse.Namespace(
        sharers=numbers.parse_counts(chosen["sharers"]),
        pattern=numbers.parse_choices(
            "--pattern", chosen["pattern"], bench_rmap.PATTERNS
            if what == "rmap" else bench_destroy.PATTERNS),
        rmap=numbers.parse_choices("--rmap", chosen["rmap"],
                                   bench_destroy.FORMS),
        frames=numbers.parse_choices("--frames", chosen["frames"],
                                     bench_destroy.FRAMES),
        cpus=int(chosen.get("cpus", 1)), given=given | fixed,
        known_commands=args.known_commands)


def _check_room(args, cells):
    """What this host's memory cannot hold is told before work."""
    folder = memory_folder()
    try:
        found = os.statvfs(folder)
    except OSError:
        return                      # the machine's start says what to do
    free = found.f_bavail * found.f_frsize
    big = max(cells, key=lambda cell: cell.memory)
    if big.memory > free:
        hint = "a smaller --sharers, or " \
            if args.bench in OPTIONS["sharers"] else ""
        raise UserError(f"bench {args.bench}: {big.label()}: needs "
                        f"{big.memory >> 20} MiB, and {folder} has "
                        f"{free >> 20}: {hint}QUIRE_SHM=FOLDER", status=2)


# `all`: what docs/performance.md shows, in (bench, options) groups.
EVERYTHING = [
    ("share", {}), ("scan", {}), ("fork", {}), ("unshare", {}),
    ("rmap", {"pattern": "random", "sharers": "1,10,100",
              "rmap": "adaptive,hash256,list,rbtree"}),
    ("rmap", {"pattern": "dense,random,stride256,runs64"}),
    ("rmap", {"pattern": "dense,random,stride256", "sharers": "1k,10k,100k",
              "rmap": "hash256,list,rbtree"}),
    ("destroy", {}), ("destroy", {"pattern": "random"}),
    ("destroy", {"sharers": "1k,10k,20k,100k", "pattern": "stride256"}),
    ("destroy", {"sharers": "1k,10k,100k", "rmap": "hash256,list,rbtree",
                 "pattern": "dense,random,stride256"}),
    ("destroy", {"frames": "pairs", "sharers": "10k,100k"}),
    ("destroy", {"frames": "seed", "sharers": "10k,400k"}),
    ("destroy", {"frames": "private,superpages", "sharers": "16k,131k"}),
    ("destroy", {"frames": "holes"}),
    ("destroy", {"sharers": "100k", "cpus": "4",
                 "frames": "one,pairs,private,superpages"}),
    ("destroy", {"sharers": "10k", "cpus": "4", "frames": "seed"}),
    ("destroy", {"sharers": "20k", "cpus": "4",
                 "pattern": "random,stride256"}),
    ("spte-rmap", {}), ("shadow", {}), ("latency", {}), ("wakeup", {}),
]

# `small`: seconds, for test/bench/baseline.json.
SMALL = [
    ("unshare", {"sharers": "1k"}),
    ("destroy", {"sharers": "1k,10k", "pattern": "dense,random"}),
    ("destroy", {"sharers": "1k", "frames": "pairs,private,holes"}),
]
GROUPS = {"all": EVERYTHING, "small": SMALL}


def cells_of(args):
    if args.bench in SUITES:
        return SUITES[args.bench](_options(args, args.bench))
    return cells_of_groups(args, GROUPS[args.bench])


def cells_of_groups(args, groups):
    """The cells of [(bench, options)]."""
    result = []
    for name, fixed in groups:
        result += SUITES[name](_options(args, name, **fixed))
    return result


class Ticker:
    """One line that moves, with an estimate, on a terminal; else a line per
    cell. On stderr, so that the table can be piped."""

    def __init__(self, cells):
        self.cells = cells
        self.total = sum(c.weight for c in cells)
        self.done = 0.0
        self.began = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def show(self, number, fraction):
        cell = self.cells[number]
        what = f"{cell.bench}: {cell.label()}".rstrip(": ")
        if not self.terminal:
            if fraction == 0:
                print(f"[{number + 1}/{len(self.cells)}] {what}",
                      file=sys.stderr, flush=True)
            return
        gone = time.monotonic() - self.began
        done = self.done + fraction * cell.weight
        left = ""
        if done > 0 and gone > 1:
            rest = gone * (self.total - done) / done
            left = f", about {numbers.show_seconds(rest)} left"
        print(f"\r\x1b[K[{number + 1}/{len(self.cells)}] {what}: "
              f"{numbers.show_seconds(gone)} gone{left}"[:110], end="",
              file=sys.stderr, flush=True)

    def finish(self, number):
        self.done += self.cells[number].weight

    def end(self):
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def ask_version(args):
    """What the machine says of itself; its commands."""
    cell = Cell("version", {}, [("version", "version"), ("help", "help")],
                lambda replies: [replies], memory=64 << 20)
    replies, = measure(cell, args.timeout)
    args.known_commands = {c["name"] for c in replies["help"]["commands"]}
    return replies["version"]["version"]


def measure_all(cells, timeout):
    """The rows of all, in order."""
    rows = []
    ticker = Ticker(cells)
    try:
        for number, cell in enumerate(cells):
            ticker.show(number, 0)
            wanted = len(cell.commands)
            try:
                bench_destroy.check_limit(cell, rows)
                rows += measure(cell, timeout, lambda n: ticker.show(
                    number, min(1.0, max(0.01, (n - 1) / wanted))))
            except Skip as why:
                rows.append(cell.skipped(why))
            ticker.finish(number)
    finally:
        ticker.end()
    return rows


def document(bench, version, rows):
    return {"bench": bench, "version": version, **made_with(),
            "unit": "instructions", "rows": rows}


def bench(args):
    """The whole of it; the exit status."""
    _check(args)
    args.known_commands = set()
    _check_room(args, cells_of(args))   # misspelt words are told here too
    for path in (args.json, args.svg):
        run_command.check_writable(path)
    if not args.no_build:
        build()
    version = ask_version(args)
    rows = measure_all(cells_of(args), args.timeout)
    for name, part in by_bench(rows).items():
        print("\n".join(text(name, part)), end="\n\n")
    if any(c.endswith("!") for name, part in by_bench(rows).items()
           for line in text(name, part) for c in line.split()):
        print("! above what it is to be at most")
    if args.json:
        run_command.write(args.json, json.dumps(
            document(args.bench, version, rows), indent=1) + "\n")
    if args.svg:
        results = report_data.Results()
        results.add({"rows": rows})
        run_command.write(args.svg, report_charts.destroy_svg(results))
    return 0
