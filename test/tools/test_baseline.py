#!/usr/bin/env python3
"""bench on a machine: two runs are equal to the byte, and nothing got worse
than the committed baseline."""

import json
import os
import pathlib

from cases import ROOT, case, check, check_in, folder, main, quire

from bench_cell import configuration

BASELINE = ROOT / "test" / "bench" / "baseline.json"
THRESHOLD = os.environ.get("QUIRE_BENCH_THRESHOLD", "2%")


@case
def a_run_is_the_same_to_the_byte():
    with folder() as name:
        texts = []
        for i in range(2):
            path = pathlib.Path(name) / f"{i}.json"
            status, out, err = quire("bench", "unshare", "--no-build",
                                     "--sharers", "1k", "--json", path)
            check(status == 0, err)
            texts.append(path.read_bytes())
        check(texts[0] == texts[1], "two runs differ")
    document = json.loads(texts[0])
    check(set(document) == {"bench", "version", "compiler", "emulator",
                            "unit", "rows"})
    check(document["bench"] == "unshare")
    check(document["unit"] == "instructions")
    check(len(document["rows"]) == 4)
    for row in document["rows"]:
        check("skipped" not in row and row["instructions_mean"] > 100, row)
        check(row["instructions_least"] <= row["instructions_mean"]
              <= row["instructions_most"], row)
    check(len({configuration(r) for r in document["rows"]}) == 4)
    check_in("with copy, 1,000 sharers", out)


@case
def nothing_is_worse_than_the_baseline():
    with folder() as name:
        path = pathlib.Path(name) / "now.json"
        status, _, err = quire("bench", "small", "--no-build", "--json", path,
                               seconds=170)
        check(status == 0, err)
        status, out, err = quire("compare", BASELINE, path, "--threshold",
                                 THRESHOLD, "--ignore", "longest,most")
        check(status == 0, f"{out}{err}\nif it has to be: make baseline")


main()
