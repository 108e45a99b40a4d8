"""Batches of commands under QEMU, and what is always judged: that every
command was answered, that none failed but those that may, that no guest and no
audit complains, and that the exit status says the same."""

import json

from cases import ROOT, check
from qemu import EXIT_FAILURE, EXIT_SUCCESS, Machine

MIB = 1 << 20


def complaints(log):
    """Of the log, what helps."""
    return [line for line in log.splitlines()
            if "FAIL" in line or "(E)" in line][:4]


def answers(images, commands, *, modules=(), cpus=1, memory=256 * MIB,
            timeout=120.0, build="debug", icount=False):
    """([reply], log, exit status), unjudged. @images: of build/guest;
    @modules: further ones, as Machine takes them."""
    files = [ROOT / f"build/guest/{name}.elf" for name in images]
    with Machine(ROOT / f"build/hv/{build}/quire", [*files, *modules],
                 cpus=cpus, memory=memory, commands=commands, icount=icount,
                 timeout=timeout) as machine:
        status = machine.wait()
        replies = [json.loads(line) for line in
                   machine.replies.read_text().splitlines()][1:]
        log = machine.log.read_text(errors="replace")
    check(len(replies) == len(commands),
          f"{len(replies)} replies to {len(commands)} commands")
    failed = not all(reply["ok"] for reply in replies)
    check(status == (EXIT_FAILURE if failed else EXIT_SUCCESS),
          f"exit status {status}: {log.splitlines()[-1:]}")
    return replies, log, status


def batch(images, commands, *, may_fail=(), must_fail=(), **options):
    """([reply], log) of @commands, judged. Options: answers()."""
    replies, log, _ = answers(images, commands, **options)
    for command, reply in zip(commands, replies):
        is_good = (command not in must_fail if reply["ok"] else
                   command in may_fail or command in must_fail)
        check(is_good and not reply.get("failed") and
              not reply.get("violations"),
              f"{command}: {json.dumps(reply)[:300]} {complaints(log)}")
    return replies, log


def check_same(before, after, *keys):
    """Two replies to `memory`."""
    for key in keys:
        check(before[key] == after[key],
              f"{key}: {before[key]} before, {after[key]} after")


def all_back(images, commands, **options):
    """The replies to @commands, run between two counts of the memory, which
    must agree when all is destroyed."""
    replies, _ = batch(images, ["memory", *commands, "destroy all", "audit",
                                "memory"], **options)
    check_same(replies[0], replies[-1], "free_frames", "heap_objects")
    return replies[1:-3]
