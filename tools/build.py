"""The hypervisor and the stress domains, made when they are needed."""

import os
import shutil
import subprocess
import sys

from errors import UserError, missing
from qemu import ROOT, find_qemu


def _make(*options):
    return subprocess.run(["make", "-s", *options, "hv", "guests"], cwd=ROOT,
                          text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def build():
    """Run make; its complaints only when it fails. Says so if there is
    something to make, for the first time takes a while."""
    for program in ("make", "gcc", "ld", "objcopy"):
        if shutil.which(program) is None:
            raise missing(program)
    if _make("-q").returncode == 0:
        return
    print("quire: building ...", file=sys.stderr, flush=True)
    done = _make(f"-j{os.cpu_count() or 1}")
    if done.returncode != 0:
        raise UserError("the build failed:\n" + done.stdout[-4000:])


def _first_line(*argv):
    done = subprocess.run(argv, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.partition("\n")[0]


def made_with():
    """What figures depend on, in their own words: for documents."""
    return {"compiler": _first_line("gcc", "--version"),
            "emulator": _first_line(find_qemu(), "--version")}


def kernel(debug=False):
    """The hypervisor's image."""
    variant = "debug" if debug else "release"
    return ROOT / "build" / "hv" / variant / "quire"


def guests():
    """The stress domains' images; a module is named by its folder."""
    folder = ROOT / "build" / "guest"
    names = sorted(p.name for p in (ROOT / "test" / "guest").iterdir()
                   if p.is_dir() and p.name != "lib")
    return [(name, folder / f"{name}.elf") for name in names
            if (folder / f"{name}.elf").exists()]
