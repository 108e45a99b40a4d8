"""Real files that any machine has, for guests' memory to hold."""

import glob
import os
import pathlib
import sys

from build import kernel
from errors import UserError

FILES_MAX = 16 << 20            # bytes: a longer one only if there is no other
# Each kind: the first pattern with a match that can be read.
KINDS = {
    "shell": ["/bin/bash", "/bin/busybox", "/bin/sh"],
    "libc": ["/usr/lib/*/libc.so.6", "/lib/*/libc.so.6", "/lib64/libc.so.6",
             "/lib/libc.so.6", "/lib/ld-musl-*.so.1"],
    "python": [f"{sys.base_prefix}/lib/libpython3.?*.so*",
               os.path.realpath(sys.executable)],
    "hypervisor": [],           # its own image
    "archive": ["/usr/share/doc/*/changelog.gz", "/usr/share/man/man?/*.gz",
                "/usr/lib/python3*/**/*.whl", "/usr/share/**/*.gz"],
    "source": [],               # a text: the longest of its own
}


def _candidates(kind):
    if kind == "hypervisor":
        yield kernel()
        return
    if kind == "source":
        root = pathlib.Path(__file__).resolve().parent.parent
        yield max(root.glob("common/*/*.c"), key=lambda p: p.stat().st_size)
        return
    for pattern in KINDS[kind]:
        found = [p for p in glob.iglob(pattern, recursive=True)
                 if os.path.isfile(p) and os.access(p, os.R_OK)]
        yield from sorted(found, key=os.path.getsize, reverse=True)


def find(kind):
    """The path of a file of this kind."""
    if kind not in KINDS:
        raise UserError(f"no kind of file is named {kind}; there are: "
                        f"{', '.join(KINDS)}")
    for path in _candidates(kind):
        if 0 < os.path.getsize(path) <= FILES_MAX:
            return pathlib.Path(path)
    for path in _candidates(kind):
        if os.path.getsize(path):
            return pathlib.Path(path)
    raise UserError(f"this machine has no {kind} file: looked for "
                    f"{', '.join(KINDS[kind])}")


def modules(kinds):
    """As Machine takes them: the kind is the module's name."""
    return [(kind, find(kind)) for kind in kinds]
