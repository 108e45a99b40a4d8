#!/usr/bin/env python3
"""Ctrl-C and SIGTERM: who hears them, and that nothing is left behind."""

import os
import pathlib
import pty
import select
import signal
import subprocess
import tempfile
import time

from cases import ROOT, case, check, check_in, main

# A machine that is stuck says so itself, well before we stop waiting for it.
SHELL = [str(ROOT / "quire"), "shell", "--mem", "128M", "--timeout", "30"]


class Own:
    """A folder for all that a command creates, so that leftovers show."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="quire-test-",
                                                  dir="/dev/shm")
        self.name = self.folder.name
        self.env = os.environ | {"QUIRE_SHM": self.name, "TMPDIR": self.name,
                                 "QUIRE_HISTORY": f"{self.name}/history",
                                 "TERM": "dumb"}

    def nothing_left(self):
        left = [n for n in os.listdir(self.name) if n != "history"]
        check(not left, f"left behind: {left}")

    def logs(self):
        """What the machine has said, for a complaint."""
        return [path.read_text(errors="replace")[-1000:]
                for path in pathlib.Path(self.name).glob("quire-*/log")]


class Terminal:
    """`quire shell` on a terminal of its own, of which it is the leader."""

    def __init__(self):
        self.own = Own()
        self.pid, self.handle = pty.fork()
        if self.pid == 0:
            os.execve(SHELL[0], SHELL, self.own.env)
        self.seen = ""

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        """A test that failed leaves no process either."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.handle)

    def type(self, text):
        os.write(self.handle, text.encode())

    def interrupt(self):
        """Ctrl-C, when the reader of the line has gone to sleep: one that
        comes between its look for signals and its wait for input is seen
        with the next key only (CPython's readline)."""
        time.sleep(0.5)
        self.type("\x03")

    def until(self, part, seconds=60):
        """What has come since the last call, up to and with @part."""
        limit = time.monotonic() + seconds
        while part not in self.seen:
            left = limit - time.monotonic()
            ready, _, _ = select.select([self.handle], [], [], max(0, left))
            check(ready, f"no {part!r} in {self.seen[-500:]!r}; the machine: "
                         f"{self.own.logs()}")
            try:
                more = os.read(self.handle, 4096)
            except OSError:             # the terminal's end
                more = b""
            check(more, f"ended without {part!r}: {self.seen[-500:]!r}")
            self.seen += more.decode(errors="replace")
        before, _, self.seen = self.seen.partition(part)
        return before + part

    def status(self):
        """It ends by itself: its exit status."""
        try:
            while os.read(self.handle, 4096):
                pass
        except OSError:
            pass
        _, status = os.waitpid(self.pid, 0)
        self.pid = None
        os.close(self.handle)
        return os.waitstatus_to_exitcode(status)


@case
def ctrl_c_at_the_prompt_drops_the_line():
    with Terminal() as t:
        t.until("quire> ")
        t.type("nonsense")
        t.until("nonsense")
        t.interrupt()
        t.until("quire> ")
        t.type("loglevel\n")
        check_in("level", t.until("level 2"))
        t.until("quire> ")
        t.type("\x04")
        check(t.status() == 0)
        t.own.nothing_left()


@case
def ctrl_c_during_a_command_ends_the_session():
    with Terminal() as t:
        t.until("quire> ")
        t.type("sleep ms=60000\n")
        t.until("ms=60000")
        t.interrupt()
        t.until("interrupted during `sleep ms=60000'")
        check(t.status() == 130)
        t.own.nothing_left()


@case
def sigterm_leaves_nothing():
    for argv in (SHELL, [*SHELL[:1], "exec", *SHELL[2:], "sleep ms=60000"]):
        own = Own()
        process = subprocess.Popen(argv, env=own.env, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        limit = time.monotonic() + 60
        while not list(pathlib.Path(own.name).glob("quire-*/log")):
            check(time.monotonic() < limit, "no machine")
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        check(process.returncode == 128 + signal.SIGTERM, process.returncode)
        check_in("ended by SIGTERM", err)
        own.nothing_left()


main()
