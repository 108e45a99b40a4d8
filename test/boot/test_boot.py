#!/usr/bin/env python3
"""The machine comes up, and goes down, in every size and for every reason.

Each boot has a time limit and is judged by QEMU's exit status, by what the
log says and by the replies to a command list; a machine that says nothing has
failed, and one case hangs it on purpose to see that this is noticed.
"""

import json
import pathlib
import re
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "test" / "tools"))

import cases                                                    # noqa: E402
from cases import case, check, check_in                         # noqa: E402
from qemu import (EXIT_FAILURE, EXIT_PANIC, EXIT_SUCCESS,       # noqa: E402
                  Machine, find_qemu)

MIB = 1 << 20
BANNER = re.compile(r"\(I\) Quire \S+: (\d+) CPUs, (\d+) MiB of RAM, "
                    r"(\d+) MiB free, (\d+) MHz, up after (\d+) us")
COMMANDS = ["version", "memory", "audit"]


class Boot:
    """One run to its end: status (None: the time limit), log, replies."""

    def __init__(self, *, build="debug", cpus=1, mib=256, icount=False,
                 append="", cpu="max", control=True, exit_device=True,
                 modules=(), seconds=40):
        self.cpus, self.mib, self.icount = cpus, mib, icount
        accel = "tcg" if icount or cpus == 1 else "tcg,thread=multi"
        args = [find_qemu(), "-accel", accel, "-cpu", cpu,
                "-smp", str(cpus), "-m", f"{mib}M",
                "-nodefaults", "-no-user-config", "-display", "none",
                "-no-reboot",
                "-serial", "file:log", "-kernel", "quire",
                "-initrd", ",".join(["commands", *modules]),
                "-append", f"batch {append}".strip()]
        if exit_device:
            args += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        if control:
            args += ["-serial", "file:replies"]
        if icount:
            args += ["-icount", "shift=0,sleep=off", "-seed", "1",
                     "-rtc", "base=2000-01-01T00:00:00,clock=vm"]
        with cases.folder() as name:
            folder = pathlib.Path(name)
            (folder / "quire").symlink_to(ROOT / f"build/hv/{build}/quire")
            (folder / "commands").write_text("\n".join(COMMANDS) + "\n")
            try:
                self.status = subprocess.run(
                    args, cwd=folder, timeout=seconds,
                    stdin=subprocess.DEVNULL,
                    capture_output=True).returncode
            except subprocess.TimeoutExpired:
                self.status = None
            self.log, self.replies = (
                (folder / name).read_text(errors="replace").replace("\r", "")
                if (folder / name).exists() else ""
                for name in ("log", "replies"))

    def ended(self, status):
        what = "the time limit" if self.status is None else self.status
        check(self.status == status,
              f"ended with {what}, not {status}: {self.log[-500:]}")
        return self

    def came_up(self, cpus=None, control=True):
        """All is as asked for, and nothing complains."""
        self.ended(EXIT_SUCCESS)
        cpus = cpus or self.cpus
        found = BANNER.search(self.log)
        check(found is not None, f"no banner: {self.log[-500:]}")
        online, total, free, mhz, self.up_us = map(int, found.groups())
        check(online == cpus, f"{online} CPUs, not {cpus}")
        # Firmware keeps a little; Quire 1 % and its image, and, where there
        # is memory above 4 GiB, tops of shadows below it (8 MiB).
        check(self.mib - 4 <= total < self.mib, f"{total} of {self.mib} MiB")
        tops = 8 if self.mib >= 3584 else 0
        check(free >= total - total // 100 - 5 - tops,
              f"{free} of {total} MiB free")
        check(not self.icount or mhz == 1000, f"{mhz} MHz: a tick is one ns")
        check(re.search(r"^\([EW]\)", self.log, re.M) is None, self.log)
        return self.answered(cpus) if control else self

    def answered(self, cpus=1):
        """Every command of the list."""
        replies = [json.loads(line) for line in self.replies.splitlines()]
        check(len(replies) == len(COMMANDS) + 1, self.replies)
        for reply in replies:
            check(reply["ok"] and not reply.get("violations"), reply)
        check(any(reply.get("cpus") == cpus for reply in replies), replies)
        return self


def dies(name, *texts, frames=2, trap=True):
    """`selftest=@name` is reported, in full, and ends the machine."""
    log = Boot(append=f"selftest={name}").ended(EXIT_PANIC).log
    for text in texts:
        check_in(text, log)
    check(not trap or re.search(r"rip [0-9a-f]{16} rsp [0-9a-f]{16}", log),
          f"no registers: {log}")
    trace = re.search(r"backtrace: (.*)", log)
    check(trace is not None, f"no backtrace: {log}")
    # The image starts at 1 MiB.
    found = re.findall(r"\b0x1[0-9a-f]{5}\b", trace[1])
    check(len(found) >= frames, f"{frames} frames expected: {trace[1]}")


@case
def a_wild_pointer_is_a_page_fault():
    dies("pf", "TRAP 14 (#PF page fault) on CPU 0, error 0x2, "
               "cr2 0x4000000000")


@case
def an_invalid_opcode_is_reported():
    # From the test, by boot_main(), to start.S.
    dies("ud", "TRAP 6 (#UD invalid opcode) on CPU 0", frames=3)


@case
def a_null_pointer_faults():
    dies("null", "TRAP 14", "error 0x2, cr2 0x8\n")


@case
def a_panic_says_why():
    dies("panic", "*** panic on CPU 0: selftest", trap=False)


@case
def a_stack_overflow_meets_the_guard_page():
    dies("stackoverflow", "TRAP 8 (#DF", "the stack of CPU 0 has overflowed",
         frames=20)


@case
def a_double_fault_has_a_stack_of_its_own():
    dies("df", "TRAP 8 (#DF")


@case
def code_and_constants_cannot_be_written():
    dies("code", "TRAP 14", "error 0x3")
    dies("rodata", "TRAP 14", "error 0x3")


@case
def nor_can_they_through_the_direct_map():
    dies("alias", "TRAP 14", "error 0x3, cr2 0xffff8000001")


@case
def data_cannot_be_executed():
    dies("data", "TRAP 14", "error 0x11", frames=1)


@case
def a_trap_with_a_guests_gs_is_reported():
    dies("gs", "TRAP 6 (#UD invalid opcode) on CPU 0")


@case
def a_trap_in_a_trap_ends_the_machine():
    log = Boot(append="selftest=nested").ended(EXIT_PANIC).log
    check_in("TRAP 6", log)
    check(log.count("TRAP") == 1, f"it goes on talking: {log}")


@case
def a_machine_that_cannot_exit_stops():
    """All its CPUs; a reset would end QEMU with success."""
    for cpus, append in ((1, ""), (4, ""), (4, "cpus=2")):
        log = Boot(cpus=cpus, append=f"selftest=ud {append}", seconds=3,
                   exit_device=False).ended(None).log
        check(log.count("TRAP") == 1, log)


@case
def a_hang_meets_the_time_limit():
    Boot(append="selftest=hang", seconds=3).ended(None)


@case
def a_processor_that_will_not_do_is_said_and_fails():
    for cpu, text in (("max,svm=off", "needs AMD SVM"),
                      ("max,-pdpe1gb", "no long mode with 1G pages")):
        run = Boot(cpu=cpu, build="release").ended(EXIT_FAILURE)
        check_in(text, run.log)


@case
def every_cpu_comes_up():
    for build in ("debug", "release"):
        for cpus in (1, 2, 4, 16):
            Boot(build=build, cpus=cpus).came_up()
    for cpus in (3, 16):
        Boot(cpus=cpus, icount=True).came_up()


@case
def no_more_cpus_than_asked_for():
    Boot(cpus=4, append="cpus=2").came_up(cpus=2)
    Boot(cpus=2, append="cpus=0").came_up(cpus=1)


@case
def ram_of_any_size_is_all_there():
    for mib in (64, 128, 3000, 3584, 5000, 9000):
        Boot(build="release", mib=mib).came_up()


@case
def it_comes_up_in_well_under_a_second():
    """In instructions, which no load on this machine can stretch."""
    for how in ({"mib": 8192}, {"cpus": 16}):
        run = Boot(build="release", icount=True, **how).came_up()
        check(run.up_us < 100_000, f"{how}: {run.up_us} us, one insn a ns")


@case
def two_boots_are_identical_under_icount():
    for cpus in (1, 4, 16):
        first, second = (Boot(cpus=cpus, icount=True, append="seed=1")
                         for _ in range(2))
        first.came_up()
        check(first.log == second.log, f"{first.log}{second.log}")
        check(first.replies == second.replies, first.replies)


@case
def what_the_loader_gives_and_is_odd_is_warned_of():
    for text, how in (
            ("cpus=many is not a number", {"append": "cpus=many"}),
            ("no such test", {"append": "selftest=none"}),
            ("only in debug builds",
             {"append": "selftest=pf", "build": "release"}),
            ("command line cut", {"append": "seed=1 " * 500}),
            ("module string cut", {"modules": ["commands " + "x" * 2000]}),
            ("70 boot modules", {"modules": ["commands"] * 69})):
        run = Boot(**how).ended(EXIT_SUCCESS).answered()
        check(re.search(rf"^\(W\) .*{text}", run.log, re.M),
              f"no warning of {text!r}: {run.log}")


@case
def an_option_that_is_none_ends_the_boot_with_a_reason():
    for text, append in (('unknown option "nonsense"; there are: seed',
                          "nonsense=1"),
                         ("rmap= must be one of: adaptive", "rmap=bogus")):
        log = Boot(append=append).ended(EXIT_FAILURE).log
        check(re.search(rf"^\(E\) .*{re.escape(text)}", log, re.M), log)
        check("panic" not in log, log)


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
    Boot(control=False).came_up(control=False)


@case
def a_command_wakes_a_machine_that_sleeps():
    for cpus in (1, 4):
        with Machine(ROOT / "build/hv/debug/quire", cpus=cpus,
                     memory=256 * MIB, timeout=40) as machine:
            for _ in range(100):
                check(machine.request("version", timeout=5)["ok"], "version")
            check(machine.shutdown() == EXIT_SUCCESS, "shutdown")


@case
def no_byte_is_lost_of_more_than_it_can_hold():
    count = 5000            # lines; ten times the receive ring
    for cpus in (1, 4):
        with Machine(ROOT / "build/hv/debug/quire", cpus=cpus,
                     memory=256 * MIB, timeout=40) as machine:
            sender = threading.Thread(
                target=machine.channel.connection.sendall,
                args=(b"version\n" * count,), daemon=True)
            sender.start()
            for i in range(count):
                check(machine.channel.read(10)["ok"], f"reply {i}")
            check(machine.shutdown() == EXIT_SUCCESS, "shutdown")


if __name__ == "__main__":
    sys.exit(cases.main())
