"""How far a run is: one line that moves on a terminal, plain lines else."""

import sys
import time


class Progress:
    def __init__(self, total, quiet=False, clock=True):
        self.total, self.quiet, self.clock = total, quiet, clock
        self.terminal = sys.stdout.isatty()
        self.said = None
        self.began = time.monotonic()

    def step(self, number, what):
        """The @number-th of all is about @what."""
        if self.quiet:
            return
        if self.terminal:
            clock = f"{time.monotonic() - self.began:5.1f} s  " \
                if self.clock else ""
            width = len(str(self.total))
            text = f"[{number:{width}}/{self.total}]  {clock}{what}"
            sys.stdout.write(f"\r\x1b[K{text[:100]}")
            sys.stdout.flush()
        elif what != self.said:
            print(f"  {what}", flush=True)
        self.said = what

    def end(self):
        if self.terminal and not self.quiet and self.said is not None:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
