#!/usr/bin/env python3
"""The layer check: our tree passes, each kind of violation is found."""

import pathlib

from cases import ROOT, case, check, check_in, folder, main, run

CHECK = ROOT / "tools" / "layercheck.py"


def judge(files):
    """Status and output for a tree of these files."""
    with folder() as name:
        for path, text in files.items():
            file = pathlib.Path(name) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        status, out, _ = run("python3", CHECK, name)
        return status, out


def refused(files, part):
    status, out = judge(files)
    check(status == 1, out)
    check_in(part, out)


@case
def our_tree_passes():
    status, out, _ = run("python3", CHECK)
    check(status == 0, out)


@case
def left_of_it_is_fine():
    status, out = judge({
        "common/p2m/p2m.c": '#include <quire/p2m.h>\n#include "own.h"\n'
                            "#include <quire/heap.h>\n#include <stdint.h>\n",
        "common/p2m/own.h": "", "include/quire/p2m.h": "",
        "include/quire/heap.h": ""})
    check(status == 0, out)


@case
def right_of_it_is_found():
    refused({"common/mem/heap.c": "#include <quire/p2m.h>\n"},
            "common/mem/heap.c:1: quire/p2m.h is of p2m, to the right of mem")


@case
def beside_it_is_found():
    refused({"common/share/share.c": "#include <quire/event.h>\n"},
            "beside share")


@case
def a_header_counts_too():
    refused({"include/quire/heap.h": "\n# include <quire/share.h>\n"},
            "include/quire/heap.h:2")


@case
def libc_is_found():
    refused({"common/core/log.c": "#include <stdio.h>\n"},
            "stdio.h is not a freestanding header")


@case
def another_folder_is_found():
    refused({"common/share/x.c": '#include "../p2m/table.h"\n'},
            "reaches into another folder")


@case
def asking_for_the_host_is_found():
    refused({"common/core/log.c": "#if defined(HOST)\n#endif\n"},
            "may not ask where it runs")


@case
def unknown_headers_are_found():
    refused({"common/core/log.c": "#include <quire/nobody.h>\n"},
            "belongs to no layer")
    refused({"common/nowhere/x.c": ""}, "belongs to no layer")


@case
def an_empty_tree_fails():
    status, _ = judge({"README.md": ""})
    check(status == 1)


main()
