#!/usr/bin/env python3
"""Quire's instruction decoder against binutils.

The decoder is compiled into a shared object and called from here. Its lengths
are compared with objdump's over the hypervisor, the stress domains and the C
library (which has every vector extension), and over the hypervisor's bytes
read as 32- and 16-bit code, where they make all sorts of instructions.
"""

import ctypes
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LINE = re.compile(r"^\s*[0-9a-f]+:\t((?:[0-9a-f]{2} )+)\s*\t?(.*)$")
LIMIT = 400_000         # instructions of one file
SHOWN = 5

# What objdump shows although a processor refuses or splits it: FWAIT stuck to
# the x87 instruction after it, and encodings it only marks as bad.
SKIP = re.compile(r"\(bad\)|^\.byte|^fwait|^f(clex|init|save|stcw|stenv|stsw)"
                  r"|^f(ni|ne|nd|disi|eni|setpm)")
# Prefixes that stand alone in objdump's text: no instruction is complete.
LONE = re.compile(r"^((rex[.A-Z]*|data16|addr16|addr32|lock|repz|repnz|rep"
                  r"|cs|ds|es|fs|gs|ss|xacquire|xrelease|bnd|notrack)\s*)+$")


def load_decoder(folder):
    """insn_decode() as a ctypes function."""
    target = pathlib.Path(folder) / "decode.so"
    subprocess.run(["gcc", "-std=gnu11", "-O2", "-fPIC", "-shared",
                    f"-I{ROOT}/include", f"-I{ROOT}/arch/host/include",
                    f"{ROOT}/common/emul/decode.c",
                    f"{ROOT}/common/emul/tables.c", "-o", str(target)],
                   check=True)
    decode = ctypes.CDLL(str(target)).insn_decode
    decode.restype = ctypes.c_int
    return decode


def disassemble(path, machine, raw):
    """(bytes, text) of each instruction."""
    argv = ["objdump", "-w", "--insn-width=16", "-D" if raw else "-d",
            "-M", machine]
    argv += ["-b", "binary", "-m", "i386"] if raw else ["-j", ".text"]
    with subprocess.Popen([*argv, str(path)], stdout=subprocess.PIPE,
                          text=True, errors="replace") as process:
        for line in process.stdout:
            match = LINE.match(line)
            if match:
                yield bytes.fromhex(match[1]), match[2].strip()
        process.stdout.close()
        process.terminate()


def compare(decode, path, mode, machine, raw):
    """(instructions compared, complaints)."""
    room = ctypes.create_string_buffer(128)
    seen, wrong = 0, []
    for code, text in disassemble(path, machine, raw):
        if SKIP.search(text) or LONE.match(text) or "(bad)" in text:
            continue
        got = decode(room, code.ljust(15, b"\0")[:15], 15, mode)
        seen += 1
        if got != len(code):
            wrong.append(f"{code.hex(' ')}: {got}, objdump {len(code)}: "
                         f"{text}")
        if seen == LIMIT:
            break
    return seen, wrong


def find_libc():
    """The C library this Python runs on."""
    for line in pathlib.Path("/proc/self/maps").read_text().splitlines():
        if re.search(r"/libc[.-][^/]*so", line):
            return line.split()[-1]
    return None


def main():
    passed = failed = 0
    elf = ROOT / "build/hv/release/quire.elf"
    guests = sorted((ROOT / "build/guest").glob("*.elf"))
    libc = find_libc()
    cases = [(p.name, p, 64, "x86-64", False)
             for p in [elf, *guests] if p.exists()]
    if libc is not None:
        cases.append(("libc", libc, 64, "x86-64", False))
    with tempfile.TemporaryDirectory() as folder:
        decode = load_decoder(folder)
        if elf.exists():
            text = pathlib.Path(folder) / "text"
            subprocess.run(["objcopy", "-O", "binary", "-j", ".text",
                            str(elf), str(text)], check=True)
            cases.append(("bytes as 32-bit code", text, 32, "i386", True))
            cases.append(("bytes as 16-bit code", text, 16, "i8086", True))
        for name, path, mode, machine, raw in cases:
            seen, wrong = compare(decode, path, mode, machine, raw)
            if seen < 100:
                wrong.append(f"only {seen} instructions were compared")
            if wrong:
                failed += 1
                more = f" (and {len(wrong) - 1} more)" if wrong[1:] else ""
                print(f"FAIL lengths of {name}: {wrong[0]}{more}")
                for line in wrong[1:SHOWN]:
                    print(f"     {line}")
            else:
                passed += 1
                print(f"PASS lengths of {name}, {seen}")
    if not cases:
        failed += 1
        print("FAIL lengths: nothing to compare; make all first")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
