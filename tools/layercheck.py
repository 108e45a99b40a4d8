#!/usr/bin/env python3
"""Check the direction of includes: the right may include the left.

    core -> mem -> {p2m, rmap} -> {share, shadow, topo, track, emul, event}
         -> {domain, dump} -> control -> arch

Siblings (the folders inside braces) do not include one another. A header of
include/quire belongs to the folder whose .c file has its name, or to the one
that HEADERS names. common/ includes no libc header, knows no host from a real
machine, and reaches into no other folder's private headers.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LEVELS = [
    ["core"], ["mem"], ["p2m", "rmap"],
    ["share", "shadow", "topo", "track", "emul", "event", "dev"],
    ["domain", "dump"], ["control"], ["arch"],
]
RANK = {name: rank for rank, names in enumerate(LEVELS) for name in names}
# The headers whose layer does not follow from a .c file of their name.
HEADERS = {
    "types": "core", "list": "core", "work": "core", "errno": "core",
    "lock_order": "core", "arch": "core", "string": "core", "page": "core",
    "print": "core", "cmdline": "core", "lock": "core", "log": "core",
    "rng": "core", "histogram": "core", "grace": "core", "task": "core",
    "panic": "core", "bitmap": "core",
    "frame_table": "mem", "page_alloc": "mem", "heap": "mem", "owner": "mem",
    # What a vCPU is made of, and how to wake it: contracts that the
    # siblings of the p2m need; the scheduler behind them is in domain/.
    "p2m": "p2m", "vcpu": "p2m", "sched": "p2m",
    "rmap": "rmap", "rmap_trace": "rmap",
    "share": "share", "scan": "share", "emul": "emul",
    "event": "event", "domain": "domain", "control": "control",
    "fork": "domain", "event_image": "event", "clone": "share", "p2m_leaf": "p2m",
    "p2m_slot": "p2m",
}
FREESTANDING = {"stdalign.h", "stdarg.h", "stdatomic.h", "stdbool.h",
                "stddef.h", "stdint.h", "limits.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
CONDITION = re.compile(r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*"
                       r"\b(HOST|QUIRE_HOST|__linux__|__STDC_HOSTED__)\b")


def header_layers(root):
    """The layer of each header of include/quire, by its stem."""
    layers = {}
    for source in sorted((root / "common").glob("*/*.c")):
        layers.setdefault(source.stem, source.parent.name)
    layers.update(HEADERS)
    return layers


def layer_of(path, root, layers):
    """The layer a file belongs to; None: it may include anything."""
    parts = path.relative_to(root).parts
    if parts[0] == "common":
        return parts[1]
    if parts[:2] == ("include", "quire"):
        return layers.get(path.stem)
    return None


def judge(layer, quote, name, layers):
    """What is wrong with one include from a file of @layer, or None."""
    if quote == '"':
        return "reaches into another folder" if "/" in name else None
    first, _, rest = name.partition("/")
    if first == "public" or name in FREESTANDING:
        return None
    if first == "arch":
        return None if rest == "inline.h" else "is private to arch/"
    if first != "quire":
        return "is not a freestanding header"
    target = layers.get(pathlib.PurePosixPath(rest).stem)
    if target is None:
        return "belongs to no layer: name it in tools/layercheck.py"
    if target == layer or RANK[target] < RANK[layer]:
        return None
    side = "beside" if RANK[target] == RANK[layer] else "to the right of"
    return f"is of {target}, {side} {layer}"


def check(root):
    """All violations under @root, as `file:line: what`."""
    layers = header_layers(root)
    bad = []
    files = [f for folder in ("common", "include/quire")
             for f in sorted((root / folder).rglob("*.[chS]"))]
    for path in files:
        where = path.relative_to(root)
        layer = layer_of(path, root, layers)
        if layer not in RANK:
            bad.append(f"{where}:1: belongs to no layer")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = INCLUDE.match(line)
            what = found and judge(layer, *found.groups(), layers)
            if what:
                bad.append(f"{where}:{number}: {found.group(2)} {what}")
            if where.parts[0] == "common" and CONDITION.match(line):
                bad.append(f"{where}:{number}: common/ may not ask where it "
                           "runs")
    return bad, len(files)


def main():
    root = pathlib.Path(sys.argv[1]).resolve() if sys.argv[1:] else ROOT
    bad, files = check(root)
    for line in bad:
        print(line)
    print(f"layercheck: {files} files, {len(bad)} violations")
    return 1 if bad or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
