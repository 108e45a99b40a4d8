"""bench wakeup: how late a sleeping guest is woken, idle and beside each kill
of bench destroy: on the CPU that does the kill, and on another.

The guest (test/guest/latency) sleeps 20 to 60 microseconds at a time and
measures how late each wake-up is; a round of it lasts as long as the kill.
"""

import argparse

import bench_destroy
from bench_cell import Cell, Skip

GUEST = "watch"
GAP_US = 40
IDLE_MS = 20
MAX_COUNT = 20_000              # test/guest/latency/latency.c
FIRST_BUCKET, FIRST_EDGE = 8, 1024
STOP = f"write {GUEST} gpa=@6 data=0100000000000000"

# What is killed if no option says otherwise: every kind of kill there is.
KILLS = [
    {"frames": ["one"], "sharers": [10_000, 100_000, 1_000_000]},
    {"frames": ["one"], "sharers": [100_000], "pattern": ["random"]},
    {"frames": ["one"], "sharers": [20_000], "pattern": ["stride256"]},
    {"frames": ["pairs", "seed"], "sharers": [10_000]},
    {"frames": ["private", "superpages"], "sharers": [16_384, 131_072]},
    {"frames": ["holes"], "sharers": [1]},
]


def _watch(name, phase, commands):
    """@commands in a round of the guest's, the figures of which are @name."""
    return [f"allow {GUEST} phase={phase}", *commands, STOP,
            f"wait {GUEST} phase={phase} timeout_ms=60000",
            (name, f"info {GUEST}")]


def _is_kill(command):
    line = command[1] if isinstance(command, tuple) else command
    return line.startswith("destroy ")


def _commands(kill):
    """The commands of a cell of bench destroy, its kills watched."""
    first, *rest = kill.commands
    kills = sum(map(_is_kill, rest))
    lines = [first, f"create name={GUEST} image=latency mem=4M "
             f'cmdline="watch={1 + kills} gap_us={GAP_US}"',
             f"wait {GUEST} phase=1"]
    done = 0
    for command in rest:
        if not _is_kill(command):
            lines.append(command)
            continue
        if done == 0:
            lines += _watch("idle", 2, [f"sleep ms={IDLE_MS}"])
        done += 1
        lines += _watch(f"kill{done}", 2 + done, [command])
    return lines


def histogram(figures):
    """[[delays below, how many], ...] without what is empty; None: above."""
    table = []
    edge, buckets = FIRST_EDGE, figures[FIRST_BUCKET:]
    for i, n in enumerate(buckets):
        last = i == 31 - FIRST_BUCKET
        if n:
            table.append([None if last else edge, n])
        edge = edge * 3 // 2 if i % 2 == 0 else edge * 4 // 3
    return table


def _figures(reply):
    figures = reply["figures"]
    if figures[0] >= MAX_COUNT:
        raise Skip(f"longer than the {MAX_COUNT:,} wake-ups that are kept")
    return figures


def watched(kill, cpus):
    """@kill, a cell of bench destroy on one CPU, beside the guest; @cpus 2: the
    kill is on the CPU that is not the guest's."""
    lines = _commands(kill)
    config = kill.config | {
        "cpus": cpus, "kill": ["on its CPU", "on another CPU"][cpus - 1]}
    cell = Cell("wakeup", config, lines, None, cpus=cpus,
                memory=kill.memory + (64 << 20), append=kill.append,
                weight=kill.weight + 0.5)

    def rows(replies):
        idle = _figures(replies["idle"])
        table = []
        for i, row in enumerate(kill.rows(replies), 1):
            busy = _figures(replies[f"kill{i}"])
            more = {"who": row["who"]} if "who" in row else {}
            table.append(cell.row({
                "instructions_beyond_idle": max(0, busy[4] - idle[4]),
                "instructions_worst": busy[4],
                "instructions_median": busy[2],
                "instructions_worst_idle": idle[4],
                "instructions_median_idle": idle[2],
                "count_wakeups": busy[0], "count_wakeups_idle": idle[0],
                "count_delays": histogram(busy),
                "count_delays_idle": histogram(idle)}, **more))
        return table
    cell.rows = rows
    return cell


def _options(args, **changed):
    chosen = {"sharers": args.sharers, "pattern": ["dense"],
              "rmap": ["adaptive"], "frames": ["one"], "cpus": 1} | changed
    return argparse.Namespace(**chosen)


def cells(args):
    """What the options ask for; without any, every kind of kill. @args as
    those of bench destroy, and `given`: which of them the user has."""
    if args.given:
        kills = bench_destroy.cells(args)
    else:
        kills = [cell for kill in KILLS
                 for cell in bench_destroy.cells(_options(args, **kill))]
    assert all(kill.cpus == 1 for kill in kills)
    return [watched(kill, cpus) for cpus in (1, 2) for kill in kills]
