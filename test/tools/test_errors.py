#!/usr/bin/env python3
"""Errors a user can act on: each says what is wrong and what to do, without a
traceback, and leaves no file and no process behind."""

import os
import pathlib
import shutil
import socket
import tempfile

from cases import ROOT, case, check, check_in, folder, main, quire, run

# All that the commands create goes here, so that leftovers show.
own = tempfile.TemporaryDirectory(prefix="quire-test-", dir="/dev/shm")
os.environ["QUIRE_SHM"] = os.environ["TMPDIR"] = tempfile.tempdir = own.name


def refused(part, *argv, status=1, **options):
    """It ends with @status, and says @part on its standard error."""
    code, out, err = quire(*argv, **options)
    check(code == status, f"status {code}: {err or out}")
    check_in(part, err)
    check("Traceback" not in err, err)
    return err


def fake_qemu(name, script):
    """A program to be run instead of QEMU."""
    path = pathlib.Path(name) / "qemu"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return {"QUIRE_QEMU": str(path)}


@case
def qemu_missing():
    err = refused("no-such-qemu is not installed", "exec", "--no-build",
                  "version", env={"QUIRE_QEMU": "no-such-qemu"})
    check_in("apt-get install -y gcc make binutils python3 qemu-system-x86",
             err)


@case
def make_missing():
    with folder() as name:
        os.symlink("/usr/bin/env", f"{name}/env")
        os.symlink(os.path.realpath("/usr/bin/python3"), f"{name}/python3")
        err = refused("make is not installed", "build", env={"PATH": name})
    check_in("apt-get install", err)


@case
def shm_full():
    err = refused("MiB free, the machine needs", "exec", "--no-build",
                  "--mem", "900000G", "version")
    check_in("QUIRE_SHM", err)


@case
def shm_missing():
    refused("No such file", "exec", "--no-build", "version",
            env={"QUIRE_SHM": "/nonexistent"})


@case
def socket_in_use():
    with folder() as name, socket.socket(socket.AF_UNIX) as other:
        other.bind(f"{name}/s")
        err = refused("Address already in use", "exec", "--no-build",
                      "--socket", f"{name}/s", "version")
        check_in("another --socket", err)
        check(os.path.exists(f"{name}/s"), "somebody else's socket is gone")
        other.close()
        err = refused("nobody uses it", "exec", "--no-build", "--socket",
                      f"{name}/s", "version")
        check_in(f"rm {name}/s", err)
        refused("at most 107 bytes", "exec", "--no-build", "--socket",
                f"{name}/{'s' * 100}", "version")


@case
def not_built():
    with folder() as name:
        os.makedirs(f"{name}/test/guest")
        shutil.copytree(ROOT / "tools", f"{name}/tools")
        shutil.copy(ROOT / "quire", f"{name}/quire")
        code, _, err = run("python3", f"{name}/quire", "exec", "--no-build",
                           "version")
    check(code == 1, err)
    check_in("./quire build", err)


@case
def the_build_fails():
    with folder() as name:
        make = pathlib.Path(name) / "make"
        make.write_text("#!/bin/sh\necho broken.c: oh no; exit 2\n")
        make.chmod(0o755)
        err = refused("the build failed", "build", env={
            "PATH": f"{name}:{os.environ['PATH']}"})
    check_in("oh no", err)


@case
def qemu_ends_at_once():
    with folder() as name:
        err = refused("QEMU ended with status 7", "exec", "--no-build",
                      "version", env=fake_qemu(
                          name, "echo cannot do that >&2; exit 7"))
    check_in("cannot do that", err)


@case
def the_machine_panics():
    with folder() as name:
        err = refused("the machine ended: panic", "exec", "--no-build",
                      "version", env=fake_qemu(
                          name, "echo PANIC: because > log; exit 37"))
    check_in("PANIC: because", err)


@case
def the_machine_never_starts():
    with folder() as name:
        err = refused("did not start in time (limit 1 s", "exec",
                      "--no-build", "--timeout", "1", "version",
                      env=fake_qemu(name, "echo the log > log; sleep 60"))
    check_in("the log", err)
    check_in("--timeout", err)


@case
def a_command_takes_too_long():
    err = refused("did not answer `sleep ms=60000' in time", "exec",
                  "--timeout", "4", "sleep ms=60000")
    check_in("Quire", err)          # the last lines of the log


@case
def under_icount_too():
    # Its clock is its own: an hour there is a moment here, so hang it.
    with folder() as name:
        err = refused("did not end in time", "exec", "--no-build",
                      "--icount", "--timeout", "1", "version",
                      env=fake_qemu(name, "echo stuck > log; sleep 60"))
    check_in("stuck", err)


@case
def unknown_words():
    refused("invalid choice", "frobnicate", status=2)
    refused("no scenario is named nobody", "run", "--no-build", "nobody",
            status=2)
    refused("1 to 16", "run", "--cpus", "17", status=2)
    refused("--mem 1M: whole MiB", "run", "--mem", "1M", status=2)
    refused("--mem 5Q", "run", "--mem", "5Q", status=2)
    refused("not a size", "run", "--mem", "lots", status=2)
    refused("no command", "exec", status=2)
    refused("no command", "exec", "", " # x", status=2)
    refused("usage: quire exec", "exec", "--bogus", "list", status=2)
    refused("forks=0: a number", "run", "forks", "--set", "forks=0",
            status=2)
    refused("forks=100000: a number", "run", "forks", "--set",
            "forks=100000", status=2)
    refused("mem=abc: a size", "run", "forks", "--set", "mem=abc", status=2)
    refused("the names are", "run", "--set", "x", status=2)
    refused("`list' would never run", "exec", "shutdown", "list", status=2)
    refused("not both", "exec", "-f", "x", "list", status=2)
    refused("No such file", "exec", "-f", "/nonexistent/x", status=2)
    refused("/nonexistent/x: No", "run", "--json", "/nonexistent/x",
            status=2)
    refused("/nonexistent/x: No", "exec", "--log", "/nonexistent/x", "list",
            status=2)
    refused("no --icount", "shell", "--icount", status=2)
    refused("--timeout", "exec", "--timeout", "0", "list", status=2)


@case
def nothing_is_left():
    left = os.listdir(own.name)
    check(not left, f"left behind: {left}")


main()
