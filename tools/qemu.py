"""One machine under QEMU: its command line, its files, its life and its end.

    with Machine(kernel, modules, cpus=2, memory=1 << 30) as m:
        m.channel.request("version")

All its files are in a directory of its own, which is also its working
directory, so that the paths QEMU hands to the hypervisor are the same in
every run. RAM is a file in /dev/shm, unlinked as soon as QEMU has it. COM1 is
the log; COM2 is the control channel, a socket, or under icount two files: the
command list goes in as the boot module `commands`, the replies come out.
"""

import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from channel import Channel, ChannelClosed
from errors import UserError, missing

ROOT = pathlib.Path(__file__).resolve().parent.parent
BOOT_SECONDS = 20
SOCKET_PATH_MAX = 107           # sun_path, less its end

# include/public/exit.h, as isa-debug-exit reports it.
EXIT_SUCCESS, EXIT_FAILURE, EXIT_PANIC = 33, 35, 37
EXIT_WORDS = {EXIT_SUCCESS: "success", EXIT_FAILURE: "failure",
              EXIT_PANIC: "panic"}


def find_qemu():
    """The QEMU to run: $QUIRE_QEMU or qemu-system-x86_64."""
    name = os.environ.get("QUIRE_QEMU", "qemu-system-x86_64")
    path = shutil.which(name)
    if path is None:
        raise missing(name)
    return path


def memory_folder():
    """Where RAM files go; $QUIRE_SHM for tests and odd machines."""
    return os.environ.get("QUIRE_SHM", "/dev/shm")


def check_room(folder, size):
    """A RAM file that does not fit ends QEMU by SIGBUS: ask first."""
    try:
        room = os.statvfs(folder)
    except OSError as err:
        raise UserError(f"{folder}: {err.strerror}; set QUIRE_SHM to a folder "
                        "for the machine's RAM") from err
    free = room.f_bavail * room.f_frsize
    if free < size:
        raise UserError(f"{folder} has {free >> 20} MiB free, the machine "
                        f"needs {size >> 20} MiB: free some, or use a smaller "
                        "--mem, or set QUIRE_SHM to another folder")


def tail(path, lines=15):
    """The last lines of a file, indented; a word if there are none."""
    try:
        text = path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        text = []
    return "\n".join(f"    {line}" for line in text) or "    (no output)"


def in_use(path):
    """Whether a process has this socket. To connect would disturb it."""
    try:
        rows = pathlib.Path("/proc/net/unix").read_text(errors="replace")
    except OSError:
        return True
    return any(row.endswith(f" {path}") for row in rows.splitlines())


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)      # PR_SET_PDEATHSIG


class Machine:
    """See above. @modules: paths, or (name, path); @commands: the list that
    makes it a batch run; @append: more hypervisor command line."""

    def __init__(self, kernel, modules=(), *, cpus=1, memory=1 << 30,
                 icount=False, append="", commands=None, socket_path=None,
                 timeout=120.0):
        self.kernel = pathlib.Path(kernel)
        self.modules = [m if isinstance(m, tuple) else
                        (pathlib.Path(m).stem, m) for m in modules]
        self.cpus, self.memory, self.icount = cpus, memory, icount
        self.append, self.commands = append, commands
        self.socket_path = socket_path
        self.deadline = time.monotonic() + timeout
        self.timeout = timeout
        self.folder = self.channel = self.process = self.listener = None
        self.ram = self.bound = None

    # ---- files -----------------------------------------------------------
    @property
    def log(self):
        return self.folder / "log"

    @property
    def replies(self):
        return self.folder / "replies"

    def _link(self, name, target):
        target = pathlib.Path(target).resolve()
        if not target.exists():
            raise UserError(f"{target} is missing: ./quire build")
        if any(c in name for c in " ,"):
            raise UserError(f"{name}: a module's name has no blank or comma")
        (self.folder / name).symlink_to(target)

    def _prepare(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="quire-"))
        self._link("quire", self.kernel)
        for name, path in self.modules:
            self._link(name, path)
        if self.commands is not None:
            text = "".join(f"{line}\n" for line in self.commands)
            (self.folder / "commands").write_text(text)
        check_room(memory_folder(), self.memory)
        handle, path = tempfile.mkstemp(prefix="quire-", suffix=".ram",
                                        dir=memory_folder())
        os.ftruncate(handle, self.memory)
        os.close(handle)
        self.ram = pathlib.Path(path)

    def _listen(self):
        path = pathlib.Path(self.socket_path or
                            self.folder / "control").absolute()
        if len(os.fsencode(path)) > SOCKET_PATH_MAX:
            raise UserError(f"{path}: a socket's path has at most "
                            f"{SOCKET_PATH_MAX} bytes: give a shorter one "
                            "with --socket")
        self.listener = socket.socket(socket.AF_UNIX)
        try:
            self.listener.bind(str(path))
        except OSError as err:
            advice = "give another --socket"
            if path.is_socket():
                advice = ("another machine uses it: end that one, or "
                          if in_use(path) else "it is left over and nobody "
                          f"uses it: rm {path}, or ") + advice
            raise UserError(f"{path}: {err.strerror}; {advice}") from err
        self.socket_path = self.bound = path
        self.listener.listen(1)

    # ---- the command line ------------------------------------------------
    def argv(self):
        """QEMU's command line, complete."""
        accel = "tcg"
        if self.cpus > 1 and not self.icount:
            accel += ",thread=multi"
        args = [
            find_qemu(), "-accel", accel, "-cpu", "max",
            "-machine", "pc,memory-backend=m0", "-smp", str(self.cpus),
            "-m", f"{self.memory >> 20}M",
            "-object", f"memory-backend-file,id=m0,size={self.memory},"
                       f"share=on,mem-path={self.ram}",
            "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
            "-chardev", "file,id=log,path=log", "-serial", "chardev:log",
        ]
        if self.commands is not None:
            args += ["-chardev", "file,id=control,path=replies"]
        else:
            args += ["-chardev", f"socket,id=control,path={self.socket_path}"]
        args += ["-serial", "chardev:control", "-kernel", "quire"]
        if self.icount:
            args += ["-icount", "shift=0,sleep=off", "-seed", "1",
                     "-rtc", "base=2000-01-01T00:00:00,clock=vm"]
        names = [name for name, _ in self.modules]
        if self.commands is not None:
            names.append("commands")
        if names:
            args += ["-initrd", ",".join(names)]
        append = self.append
        if self.icount:
            append += " seed=1"
        if self.commands is not None:
            append += " batch"
        if append.strip():
            args += ["-append", append.strip()]
        return args

    # ---- life ------------------------------------------------------------
    def __enter__(self):
        try:
            self._prepare()
            if self.commands is None:
                self._listen()
            # Its own complaints go to a file of their own.
            with open(self.folder / "qemu", "wb") as errors:
                self.process = subprocess.Popen(
                    self.argv(), cwd=self.folder, stdin=subprocess.DEVNULL,
                    stdout=errors, stderr=errors,
                    start_new_session=True,     # Ctrl-C is not for it
                    preexec_fn=_die_with_parent)
            if self.commands is None:
                self._connect()
            return self
        except BaseException:
            self.close()
            raise

    def _connect(self):
        """Until the hypervisor says that it is ready."""
        limit = min(self.deadline, time.monotonic() + BOOT_SECONDS)
        self.listener.settimeout(0.1)
        while self.channel is None:
            try:
                connection, _ = self.listener.accept()
                self.channel = Channel(connection)
            except TimeoutError:
                if self.process.poll() is not None:
                    raise self.died() from None
                if time.monotonic() > limit:
                    raise self.late("start") from None
        try:
            greeting = self.channel.read(limit - time.monotonic())
        except TimeoutError:
            raise self.late("boot") from None
        except ChannelClosed:
            raise self.died() from None
        if greeting.get("ready") != "quire":
            raise UserError(f"the machine greets with {greeting}")
        self.ram.unlink(missing_ok=True)

    def request(self, line, timeout=None):
        """One command, its reply. The machine's end is a UserError."""
        limit = self.deadline
        if timeout is not None:
            limit = min(limit, time.monotonic() + timeout)
        try:
            return self.channel.request(line, limit - time.monotonic())
        except TimeoutError:
            raise self.late(f"answer `{line}'") from None
        except ChannelClosed:
            raise self.died() from None

    def wait(self):
        """Until it has ended by itself: its exit status."""
        try:
            return self.process.wait(max(0.0,
                                         self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self.late("end") from None

    def shutdown(self):
        """Ask it to end; its exit status."""
        reply = self.request("shutdown")
        if not reply["ok"]:
            raise UserError(f"shutdown: {reply['error']['message']}")
        return self.wait()

    # ---- what went wrong -------------------------------------------------
    def died(self):
        """The error for a machine that has ended unasked."""
        try:
            status = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return UserError("the machine closed its control channel\n"
                             f"its last lines:\n{tail(self.log)}")
        if status not in EXIT_WORDS:
            said = tail(self.folder / "qemu")
            return UserError(f"QEMU ended with status {status}:\n{said}\n"
                             f"the machine's last lines:\n{tail(self.log)}")
        return UserError(f"the machine ended: {EXIT_WORDS[status]}\n"
                         f"its last lines:\n{tail(self.log)}")

    def late(self, what):
        """The error for a machine that did not do @what in time."""
        return UserError(f"the machine did not {what} in time (limit "
                         f"{self.timeout:.0f} s, see --timeout)\n"
                         f"its last lines:\n{tail(self.log)}")

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for thing in (self.channel, self.listener):
            if thing is not None:
                thing.close()
        if self.bound is not None:
            self.bound.unlink(missing_ok=True)
        if self.ram is not None:
            self.ram.unlink(missing_ok=True)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(self, *_):
        self.close()
