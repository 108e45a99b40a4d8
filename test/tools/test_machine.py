#!/usr/bin/env python3
"""The command on real machines: run, exec and shell, live and under icount."""

import json
import pathlib

from cases import case, check, check_in, folder, main, quire

SMALL = ["--mem", "128M"]


def replies(out):
    return [json.loads(line) for line in out.splitlines()]


@case
def exec_prints_a_line_for_each():
    status, out, err = quire("exec", *SMALL, "version", "# nothing",
                             "create name=a mem=1M paused=1",
                             "hash a gfn=0 count=256 each=1", "destroy a")
    check(status == 0, err)
    got = replies(out)
    check(len(got) == 4 and all(r["ok"] for r in got), out)
    check(len(got[2]["hashes"]) == 256)
    check(got[3]["destroyed"][0]["gfns"] == 256, got[3])


@case
def exec_stops_at_a_failure():
    status, out, _ = quire("exec", *SMALL, "version", "frobnicate", "list")
    check(status == 1)
    check([r["ok"] for r in replies(out)] == [True, False], out)
    check_in("try help", out)


@case
def exec_keeps_going():
    status, out, _ = quire("exec", *SMALL, "--keep-going", "-f", "-",
                           text="info 3\n\n# comment\nlist\n")
    check(status == 1)
    check([r["ok"] for r in replies(out)] == [False, True], out)


@case
def exec_under_icount_is_identical():
    argv = ["exec", *SMALL, "--icount", "version",
            "create image=hello mem=8M", "wait all verdict=1", "destroy all",
            "info 5"]
    status, first, err = quire(*argv)
    check(status == 1, err)
    check([r["ok"] for r in replies(first)] == [True] * 4 + [False], first)
    check(quire(*argv)[1] == first, "two runs differ")


@case
def the_log_is_kept():
    with folder() as name:
        status, _, err = quire("exec", *SMALL, "--debug", "--log",
                               f"{name}/log", "list")
        check(status == 0, err)
        check_in("Quire", pathlib.Path(f"{name}/log").read_text())


@case
def shell_by_a_pipe():
    status, out, err = quire("shell", *SMALL, text=(
        "create name=a mem=1M paused=1\nlist\nnonsense\n!log 3\n!help\n"
        "help join\n"))
    check(status == 0, err)
    check_in("domain 0", out)
    check_in("domain  name  state", out)
    check_in("ENOSYS: there is no command nonsense", out)
    check_in("exit, quit", out)
    check_in("join JOB", out)


@case
def shell_is_left_by_a_word():
    for word in ("exit", " quit ", "!quit"):
        status, out, err = quire("shell", *SMALL, "--no-build",
                                 text=f"version\n{word}\nlist\n")
        check(status == 0 and "version" in out, err)
        check("domains" not in out and "ENOSYS" not in out, out)


@case
def shell_shows_tables():
    from shell import show
    text = show({"ok": True, "free_frames": 7, "cpus": [
        {"cpu": 0, "longest_ticks": 12345, "what": "create"},
        {"cpu": 11, "what": ""}], "gfns": {"ram_rw": 2}, "list": [1, 2]})
    check(text.splitlines() == [
        "free_frames 7, gfns ram_rw=2, list 1 2", "cpus:",
        "cpu  longest_ticks  what", "  0          12345  create",
        " 11              -  -"], text)
    check(show({"ok": True, "domains": []}) == "domains -")
    check(show({"ok": True}) == "ok")
    long = show({"ok": True, "a": "x" * 100, "bc": 1})
    check(long == "a   " + "x" * 100 + "\nbc  1", long)
    check(show({"ok": False, "error": {"code": "EINVAL", "message": "no",
                                       "done": 3}}) == "EINVAL: no (3 done)")
    text = show({"ok": True, "commands": [
        {"name": "b", "arguments": "", "help": "x"},
        {"name": "a", "arguments": "N", "help": "y"}]})
    check(text == "a N\n    y\nb\n    x", text)


@case
def help_tells_the_defaults():
    for what, words in (("run", "the scenario's, or 1G"), ("exec", "120"),
                        ("shell", "86400")):
        status, out, _ = quire(what, "--help")
        check(status == 0)
        check_in(words, " ".join(out.split()))


@case
def shell_completes():
    from shell import Completer
    c = Completer([{"name": "hash", "arguments":
                    "DOMAIN gfn=N [count=1] [stride=1]"},
                   {"name": "help", "arguments": "[COMMAND]"}])
    check(c.candidates("h", "h") == ["hash", "help"])
    check(c.candidates("help ha", "ha") == ["hash"])
    check(c.candidates("bg ha", "ha") == ["hash"])
    check(c.candidates("hash a gfn=1 ", "") == ["count=", "stride="])
    check(c.candidates("!l", "!l") == ["!log"])


@case
def the_demo_runs():
    with folder() as name:
        status, out, err = quire("run", "--set", "domains=3", "--set",
                                 "mem=6M", "--json", f"{name}/j")
        check(status == 0, out + err)
        document = json.loads(pathlib.Path(f"{name}/j").read_text())
    check_in("checks held", out)
    check_in("stress2", out)
    check_in("total", out)
    check(document["ok"] and len(document["domains"]) == 3)
    total = document["total"]
    check(total["saved_frames"] > 0 and total["cow_faults"] > 0, total)
    check(total["destroy"]["gfns"] == total["pages"], total)


@case
def the_demo_is_identical_under_icount():
    with folder() as name:
        got = []
        for i in range(2):
            status, out, err = quire(
                "run", "--icount", "--set", "domains=2", "--set", "mem=4M",
                "--json", f"{name}/{i}", "--log",
                f"{name}/log{i}")
            check(status == 0, out + err)
            got.append((out, pathlib.Path(f"{name}/{i}").read_text(),
                        pathlib.Path(f"{name}/log{i}").read_text()))
    check(got[0] == got[1], "two runs differ")
    check_in("instructions", got[0][0])


FAILING = """
[machine]
mem = "128M"
[[step]]
run = "create name=a mem=1M paused=1"
[[step]]
run = "info a"
expect = "vcpus == 2"
[[step]]
run = "destroy a"
"""


@case
def a_check_that_does_not_hold():
    with folder() as name:
        path = pathlib.Path(name) / "f.toml"
        path.write_text(FAILING)
        for extra in ([], ["--icount"]):
            status, out, err = quire("run", path, *extra)
            check(status == 1, out + err)
            check_in("FAILED: info a", out)
            check_in("expected vcpus == 2; vcpus = 1", out)
            check_in("the machine's last lines", out)


@case
def a_dash_hides_no_condition():
    with folder() as name:
        path = pathlib.Path(name) / "f.toml"

        def outcome(step, good, part=""):
            path.write_text('[machine]\nmem = "128M"\n[[step]]\n' + step)
            for extra in ([], ["--icount"]):
                status, out, err = quire("run", path, *extra)
                check(status == (0 if good else 1), out + err)
                check_in(part, out)

        outcome('run = "-info 4"\nexpect = "vcpus == 1"', False,
                "vcpus = not there")
        outcome('run = "-info 4"\nexpect = \'error.code == "ESRCH"\'', True)
        outcome('run = "-inof 4"', False, "ENOSYS")
        outcome('run = "-info"', False, "usage: info")
        outcome('run = "version"\nexpect = "1 // (cpus - 1) == 0"', False,
                "division by zero")


@case
def a_command_that_must_fail():
    with folder() as name:
        path = pathlib.Path(name) / "f.toml"
        path.write_text('[machine]\nmem = "128M"\n[[step]]\nrun = "info 3"\n'
                        'fails = "ESRCH"\n[[step]]\nrun = "-info 4"\n')
        for extra in ([], ["--icount"]):
            status, out, err = quire("run", path, *extra)
            check(status == 0, out + err)
        path.write_text(path.read_text().replace("ESRCH", "EINVAL"))
        status, out, _ = quire("run", path)
        check(status == 1)
        check_in("must fail with EINVAL: ESRCH", out)


main()
