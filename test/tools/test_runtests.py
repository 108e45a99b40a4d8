#!/usr/bin/env python3
"""The test runner: silence, lies and hangs count as failures."""

import pathlib

from cases import ROOT, case, check, check_in, folder, main, run

RUNNER = ROOT / "tools" / "runtests.py"


def judge(script, *options, count=1):
    """Status and output of the runner over programs of this shell text."""
    with folder() as name:
        programs = []
        for i in range(count):
            program = pathlib.Path(name) / f"program{i}"
            program.write_text("#!/bin/sh\n" + script)
            program.chmod(0o755)
            programs.append(program)
        status, out, err = run("python3", RUNNER, *options, *programs)
        check(not err, err)
        return status, out


def fails(script, part, *options):
    status, out = judge(script, *options)
    check(status == 1, out)
    check_in(part, out)
    check_in(" 1 failed", out.splitlines()[-1])


@case
def a_good_one_passes():
    status, out = judge("echo PASS a; echo '3 passed, 0 failed'", count=3)
    check(status == 0, out)
    check(out.splitlines()[-1] == "9 passed, 0 failed", out)


@case
def what_was_skipped_is_told():
    status, out = judge("echo 'SKIP a: no browser'; "
                        "echo '3 passed, 0 failed'")
    check(status == 0, out)
    check_in("SKIP a: no browser", out)
    check(out.splitlines()[-1] == "3 passed, 0 failed", out)


@case
def a_failure_is_shown():
    fails("echo 'FAIL b: why'; echo '1 passed, 1 failed'; exit 1",
          "FAIL b: why")


@case
def silence_is_a_failure():
    fails("exit 0", "printed nothing")


@case
def no_closing_line_is_a_failure():
    fails("echo PASS a; exit 0", "no closing line")


@case
def a_crash_after_the_closing_line_is_a_failure():
    fails("echo '1 passed, 0 failed'; kill -SEGV $$", "status -11")


@case
def words_after_the_closing_line_are_a_failure():
    fails("echo '1 passed, 0 failed'; echo more", "no closing line")


@case
def running_no_test_is_a_failure():
    fails("echo '0 passed, 0 failed'", "ran no test")


@case
def a_hang_is_a_failure():
    fails("echo PASS a; sleep 60", "time limit of 1 s", "--timeout", "1")


@case
def a_missing_program_is_a_failure():
    status, out, _ = run("python3", RUNNER, "/nonexistent/program")
    check(status == 1)
    check_in("cannot be run", out)


@case
def nothing_to_run_is_a_failure():
    status, out, _ = run("python3", RUNNER)
    check(status == 1, out)


main()
