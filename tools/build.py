"""The hypervisor and the stress domains, made when they are needed."""

import os
import shutil
import subprocess

from errors import UserError, missing
from qemu import ROOT


def build():
    """Run make; its complaints only when it fails."""
    for program in ("make", "gcc", "ld", "objcopy"):
        if shutil.which(program) is None:
            raise missing(program)
    done = subprocess.run(["make", "-s", f"-j{os.cpu_count() or 1}", "hv",
                           "guests"], cwd=ROOT, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise UserError("the build failed:\n" + done.stdout[-4000:])


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
