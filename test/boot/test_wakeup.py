#!/usr/bin/env python3
"""A kill disturbs nobody: a guest that sleeps is woken in time beside it.

The guest's worst wake-up beside each kind of kill is compared with its worst
while nothing happens, in the release build under -icount: on the CPU of the
kill, and on another. `./quire bench wakeup` has all sizes.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
sys.path.insert(0, str(ROOT / "test" / "tools"))

import argparse                                                 # noqa: E402

import bench_wakeup                                             # noqa: E402
import cases                                                    # noqa: E402
from bench_cell import measure                                  # noqa: E402
from cases import case, check                                   # noqa: E402

LIMIT = 50_000                  # instructions beyond the idle figure
SECONDS = 100.0                 # a cell, on a busy host


def late(**options):
    """What is wrong with the wake-ups beside these kills, on either CPU."""
    args = argparse.Namespace(**{
        "pattern": ["dense"], "rmap": ["adaptive"], "cpus": 1,
        "given": True} | options)
    wrong = []
    for cell in bench_wakeup.cells(args):
        for row in measure(cell, SECONDS):
            what = f"{cell.label()} {row.get('who', '')}"
            if row["instructions_beyond_idle"] > LIMIT:
                wrong.append(f"{what}: {row['instructions_worst']}, idle "
                             f"{row['instructions_worst_idle']}")
            check(row["count_wakeups_idle"] > 100, f"{what}: not idle long")
            total = sum(n for _, n in row["count_delays"])
            check(total == row["count_wakeups"] > 0, f"{what}: {total}")
    return "; ".join(wrong)


def judge(**options):
    wrong = late(**options)
    check(not wrong, wrong)


@case
def one_frame():
    judge(frames=["one"], sharers=[100_000])


@case
def one_frame_far_apart():
    judge(frames=["one"], sharers=[20_000], pattern=["random", "stride256"])


@case
def two_sharers_a_frame():
    judge(frames=["pairs"], sharers=[10_000])


@case
def nothing_shared():
    judge(frames=["private", "superpages", "holes"], sharers=[16_384])


@case
def the_histogram_is_right():
    """Edges of the buckets as test/guest/latency has them."""
    figures = [6, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1] + [0] * 19 + [2]
    table = bench_wakeup.histogram(figures)
    check(table == [[1024, 1], [1536, 1], [2048, 1], [3072, 1], [None, 2]],
          str(table))


if __name__ == "__main__":
    cases.main()
