"""The smallest test runner: @case functions, PASS, SKIP and FAIL lines, a
closing line. `test_x.py NAME` runs one."""

import os
import pathlib
import subprocess
import sys
import tempfile
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tools"))
_cases = []


def case(function):
    _cases.append(function)
    return function


def on_cpus(*counts):
    """A case for each number of CPUs, which the function is given."""
    def register(function):
        for cpus in counts:
            def one(cpus=cpus):
                function(cpus)
            one.__name__ = f"{function.__name__}_{cpus}_cpus"
            case(one)
        return function
    return register


def check(condition, what=""):
    if not condition:
        raise AssertionError(what)


def check_in(part, text):
    if part not in text:
        raise AssertionError(f"no {part!r} in {text[-1500:]!r}")


class Skip(Exception):
    """A case cannot be run here; the text says why. It is not counted."""


def run(*argv, seconds=60, env=None, text="", cwd=ROOT):
    """(status, standard output, standard error) of a command."""
    done = subprocess.run([str(a) for a in argv], input=text, text=True,
                          cwd=cwd, capture_output=True, timeout=seconds,
                          env=os.environ | (env or {}))
    return done.returncode, done.stdout, done.stderr


def quire(*argv, **options):
    return run(ROOT / "quire", *argv, **options)


def folder():
    """A temporary directory, for `with`."""
    return tempfile.TemporaryDirectory(prefix="quire-test-")


def raises(kind, part, function, *arguments):
    """Calls it; the exception must be @kind and say @part."""
    try:
        function(*arguments)
    except kind as err:
        check_in(part, str(err))
        return err
    raise AssertionError(f"no {kind.__name__} about {part!r}")


def main():
    chosen = [c for c in _cases
              if not sys.argv[1:] or c.__name__ in sys.argv[1:]]
    failed = skipped = 0
    for function in chosen:
        try:
            function()
            print(f"PASS {function.__name__}", flush=True)
        except Skip as why:
            skipped += 1
            print(f"SKIP {function.__name__}: {why}", flush=True)
        except Exception as err:        # a test may fail in any way
            failed += 1
            where = traceback.extract_tb(err.__traceback__)[-1]
            reason = str(err) or type(err).__name__
            print(f"FAIL {function.__name__}: {where.name}:{where.lineno}: "
                  f"{type(err).__name__}: {reason}", flush=True)
    print(f"{len(chosen) - failed - skipped} passed, {failed} failed")
    sys.exit(1 if failed or not chosen else 0)
