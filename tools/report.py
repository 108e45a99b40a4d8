"""`quire report`: what was measured as one HTML page, from results that there
are (--from) or from benches that it runs first."""

import argparse
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys

import bench
import report_data
from bench_cell import Cell
from build import build, made_with
from errors import UserError
from qemu import ROOT
from report_contents import contents

FORMS = "adaptive,hash256,list,rbtree"
# Two minutes where nothing else runs, a third of it the list's kill at random;
# --full takes what `bench all` measures.
QUICK = [
    ("destroy", {"sharers": "1k,10k,100k", "pattern": "dense",
                 "rmap": FORMS}),
    ("destroy", {"sharers": "1k,10k,100k", "pattern": "random",
                 "rmap": FORMS}),
    ("destroy", {"sharers": "1k,10k,100k", "pattern": "stride256",
                 "rmap": "adaptive,list,rbtree"}),
    ("destroy", {"sharers": "1k,10k", "pattern": "stride256",
                 "rmap": "hash256"}),
    ("destroy", {"sharers": "1M"}),
    ("destroy", {"sharers": "10k", "frames": "pairs,private,superpages"}),
    ("destroy", {"frames": "holes"}),
    ("rmap", {"sharers": "1k,10k,100k", "pattern": "dense,random,stride256",
              "rmap": FORMS}),
    ("unshare", {"sharers": "1k"}), ("spte-rmap", {}), ("shadow", {}),
    ("latency", {}), ("wakeup", {"sharers": "10k,100k",
                                 "pattern": "dense,random"}),
]
# Kills that are traced: many gfns, and few, so that each slice can be seen. A
# guest that computes without end runs beside them.
TRACED = [(100_000, "dense"), (100_000, "random"), (300, "random")]
BESIDE = 'create name=g image=stress mem=4M cmdline="rounds=0 then=loop"'


def add_arguments(p):
    """To the parser of `quire report`."""
    p.add_argument("-o", dest="output", metavar="FILE", default="report.html",
                   help="the page; report.html")
    p.add_argument("--from", dest="results", metavar="FILE", nargs="+",
                   help="of bench --json, report --json or kill-trace, "
                   "instead of measuring")
    p.add_argument("--full", action="store_true",
                   help="all that `bench all' measures: half an hour")
    p.add_argument("--json", metavar="FILE", help="keep what was measured")
    p.add_argument("--timeout", type=float, default=bench.TIMEOUT,
                   help="seconds of wall time a cell may take; "
                   f"{bench.TIMEOUT:.0f}")
    p.add_argument("--no-build", action="store_true",
                   help="measure what has been built")


def _trace_cell(n, pattern):
    config = {"gfns": n, "pattern": pattern}
    add = f"add-random s 0 c {1 << 20} count={n} span={1 << 24}" \
        if pattern == "random" else f"add-physmap s 0 c {1 << 20} count={n}"
    cell = Cell("kill-trace", config, [
        BESIDE, "wait g verdict=1", "create name=s mem=4K paused=1",
        "create name=c mem=4K paused=1", add, "kill-trace reset=1",
        "destroy c", ("trace", "kill-trace")], None, weight=0.5 + n / 2e5)

    def rows(replies):
        where = "uniform over 64 GiB" if pattern == "random" else "in a row"
        what = f"{n:,} gfns {where}, all on one frame, beside a " \
            "guest that computes"
        return [{"bench": "kill-trace", "what": what} | kill
                for kill in replies["trace"]["kills"]]
    cell.rows = rows
    return cell


def commit():
    """Of the sources, where git knows."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=ROOT, text=True, capture_output=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def _machine():
    """The host, without its name."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines
                      if line.startswith("model name")), "")
    except OSError:
        model = ""
    return ", ".join(w for w in (model, platform.machine(),
                                 platform.system()) if w)


def _measure(args):
    """Results of benches run here and now."""
    args.bench = "all" if args.full else "quick"
    options = argparse.Namespace(**dict.fromkeys(bench.OPTIONS))
    if not args.no_build:
        build()
    version = bench.ask_version(args)
    options.known_commands = args.known_commands
    cells = bench.cells_of_groups(
        options, bench.EVERYTHING if args.full else QUICK)
    if "kill-trace" in args.known_commands:
        cells += [_trace_cell(*kill) for kill in TRACED]
    rows = bench.measure_all(cells, args.timeout)
    kills = [r for r in rows if r["bench"] == "kill-trace"]
    document = {"version": version, **made_with(), "machine": _machine(),
                "command": "./quire report" + " --full" * args.full,
                "rows": [r for r in rows if r["bench"] != "kill-trace"],
                "kills": [k for k in kills if "skipped" not in k]}
    if found := commit():
        document["commit"] = found
    results = report_data.Results()
    report_data.check("what was measured", document)
    results.add(document)
    return results


def check_writable(path):
    """Before the work: UserError if no file can be put there."""
    path = pathlib.Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder", status=2)
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder", status=2)
    if not os.access(path.parent, os.W_OK | os.X_OK) or \
            (path.exists() and not os.access(path, os.W_OK)):
        raise UserError(f"{path}: may not be written", status=2)


def write_whole(path, text):
    """All of it, or nothing: what was there stays until it is replaced."""
    path = pathlib.Path(path)
    if path.exists() and not path.is_file():        # a pipe, a terminal
        path.write_text(text, encoding="utf-8")
        return
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as err:
        raise UserError(f"{path}: {err.strerror}", status=2) from err
    finally:
        part.unlink(missing_ok=True)


def _shown(argv):
    """The command line, with the names of files but not their folders."""
    words = [pathlib.PurePath(w).name if "/" in w else w for w in argv]
    return "./quire " + shlex.join(words)


def report(args):
    """The exit status."""
    if args.timeout <= 0:
        raise UserError("--timeout: more than 0 seconds", status=2)
    if args.results and args.full:
        raise UserError("report: either --from or --full", status=2)
    for path in filter(None, (args.output, args.json)):
        check_writable(path)
    results = report_data.load(args.results) if args.results \
        else _measure(args)
    if args.json:
        write_whole(args.json,
                    json.dumps(results.document(), indent=1) + "\n")
    write_whole(args.output, contents(results, _shown(sys.argv[1:])))
    return 0
