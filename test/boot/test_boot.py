#!/usr/bin/env python3
"""The machine comes up, and goes down, in every size and for every reason.

Each boot has a time limit and is judged by QEMU's exit status and by what the
log says; a machine that says nothing has failed.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "test" / "tools"))

import cases                                                    # noqa: E402
from cases import case, check, check_in                         # noqa: E402
from qemu import Machine, find_qemu                             # noqa: E402

SUCCESS, FAILURE, PANIC = 33, 35, 37        # include/public/exit.h
BANNER = re.compile(r"Quire \S+: (\d+) CPUs, (\d+) MiB of RAM, (\d+) MiB free,"
                    r" (\d+) MHz, up after (\d+) us")


def boot(build="debug", memory="256M", cpus=1, append="", extra=(),
         kernel=None, cpu="max", seconds=30):
    """(exit status, log) of one boot on bare QEMU."""
    argv = [find_qemu(), "-accel", "tcg", "-cpu", cpu, "-m", memory,
            "-smp", str(cpus), "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-serial", "stdio",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
            "-kernel", str(kernel or ROOT / f"build/hv/{build}/quire"),
            *extra]
    if append:
        argv += ["-append", append]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=seconds)
    return done.returncode, done.stdout


def dies(number, *texts):
    """The selftest of that number is reported and ends the machine."""
    status, log = boot(append=f"selftest={number}")
    check(status == PANIC, f"status {status}: {log[-500:]}")
    for text in texts:
        check_in(text, log)
    check_in("backtrace: 0x", log)


@case
def a_wild_pointer_is_a_page_fault():
    dies(1, "#PF", "cr2 0x4000000000", "error 0x2")


@case
def an_invalid_opcode_is_reported():
    dies(2, "TRAP 6", "#UD")


@case
def a_null_pointer_faults():
    dies(3, "#PF", "cr2 0x8")


@case
def a_panic_says_why():
    dies(4, "panic on CPU 0: selftest")


@case
def a_stack_overflow_meets_the_guard_page():
    dies(5, "#DF")


@case
def code_cannot_be_written():
    dies(6, "#PF", "error 0x3")


@case
def data_cannot_be_executed():
    dies(7, "#PF", "error 0x11")


@case
def no_svm_is_said_and_fails():
    status, log = boot(cpu="max,svm=off")
    check(status == FAILURE, f"status {status}")
    check_in("AMD SVM", log)


@case
def every_cpu_comes_up():
    for cpus, limit, expected in ((1, 16, 1), (4, 16, 4), (16, 16, 16),
                                  (4, 2, 2)):
        with Machine(ROOT / "build/hv/debug/quire", cpus=cpus,
                     memory=256 << 20, append=f"cpus={limit}",
                     timeout=60) as machine:
            reply = machine.request("latency")
            log = machine.log.read_text()
            check(len(reply["cpus"]) == expected, reply)
            check(int(BANNER.search(log).group(1)) == expected, log)
            check(machine.shutdown() == SUCCESS, "shutdown")


@case
def ram_of_any_size_is_all_there():
    for mib in (64, 128, 3000, 5000, 9000):
        with Machine(ROOT / "build/hv/release/quire", memory=mib << 20,
                     timeout=60) as machine:
            totals = machine.request("memory")
            log = machine.log.read_text()
            total, free = (int(BANNER.search(log).group(i)) for i in (2, 3))
            # Firmware keeps a little; Quire 1 % and its image.
            check(mib - 4 <= total <= mib, f"{total} of {mib} MiB")
            check(free >= total - total // 100 - 4, f"{free} of {total} MiB")
            check(totals["ok"], totals)
            audit = machine.request("audit")
            check(audit["violations"] == 0, audit)


@case
def several_gib_come_up_in_well_under_a_second():
    """In instructions, which no load on this machine can stretch."""
    with Machine(ROOT / "build/hv/release/quire", memory=8 << 30, icount=True,
                 commands=["memory"], timeout=60) as machine:
        check(machine.wait() == SUCCESS, "status")
        up = int(BANNER.search(machine.log.read_text()).group(5))
        check(up < 100_000, f"{up} us at one instruction a ns")


@case
def a_boot_module_that_is_no_elf_is_refused_with_a_reason():
    with Machine(ROOT / "build/hv/debug/quire",
                 [("text", ROOT / "Makefile")], timeout=30) as machine:
        reply = machine.request("create image=text mem=16M")
        check(not reply["ok"], reply)
        check_in("ELF", reply["error"]["message"])
        reply = machine.request("audit")
        check(reply["violations"] == 0, reply)


@case
def a_machine_without_the_control_port_still_boots():
    """Nobody can ask it anything, so its end is the time limit."""
    try:
        boot(memory="128M", seconds=3)
    except subprocess.TimeoutExpired as late:
        check_in("Quire ", (late.stdout or b"").decode())
        return
    check(False, "it ended by itself")


if __name__ == "__main__":
    sys.exit(cases.main())
