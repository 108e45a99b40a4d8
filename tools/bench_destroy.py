"""bench destroy: what killing a domain costs, over the number of its gfns,
their pattern, the reverse map, and how many hang off one frame."""

import math

from bench_cell import LIMIT, Cell, Skip
from bench_together import BASE, HOLE_GFNS, SEED_DOMAINS, together

PATTERNS = ["dense", "random", "stride256"]
FORMS = ["adaptive", "hash256", "list", "rbtree"]
FRAMES = ["one", "pairs", "seed", "private", "superpages", "holes"]
SPAN = 1 << 24                  # random gfns lie in 64 GiB
QUADRATIC = ("list", "hash256")     # removal walks: estimate before running
PROBES = (1000, 10_000)
GIB = 1 << 30


def _memory(shared_gfns, pattern, private_frames):
    """The machine's RAM: a rough upper bound of what the cell needs."""
    tables = {"dense": shared_gfns // 512, "stride256": shared_gfns // 2,
              "random": min(shared_gfns, SPAN // 512)}[pattern] + 1000
    frames = private_frames + tables * 1.15 + shared_gfns * 56 / 4096
    need = frames * 4096 * 1.1 + (128 << 20)
    return max(1, -(-int(need) // GIB)) * GIB


def _add(pattern, client, n):
    if pattern == "random":
        return f"add-random s 0 {client} {BASE} count={n} span={SPAN}"
    stride = 256 if pattern == "stride256" else 1
    return f"add-physmap s 0 {client} {BASE} count={n} stride={stride}"


def _kill_row(cell, kill, n, **more):
    return cell.row({
        "instructions_per_gfn": kill["busy_ticks"] / n,
        "instructions_busy": kill["busy_ticks"],
        "instructions_total": kill["total_ticks"],
        "instructions_longest": kill["longest_ticks"],
        "count_preemptions": kill["preemptions"],
    }, **more)


def _one_kill(cell, n, bytes_too=False):
    def rows(replies):
        kill, = replies["kill"]["destroyed"]
        row = _kill_row(cell, kill, n)
        if bytes_too:
            row["bytes_reverse_map"] = replies["stats"]["share"]["rmap_bytes"]
        return [row]
    return rows


def growth(bench, config, size, cost):
    """A cell's estimate: from the two next smaller cells of the same kind, at
    the growth that they show; alike in all but @size."""
    def estimate(done):
        alike = sorted((r[size], r[cost]) for r in done
                       if "skipped" not in r and r["bench"] == bench
                       and all(r.get(k) == v for k, v in config.items()
                               if k != size)
                       and r[size] < config[size])
        if not alike:
            return None
        n1, t1 = alike[-1]
        power = 1.0
        if len(alike) > 1:
            n0, t0 = alike[-2]
            power = max(1.0, math.log(t1 / t0) / math.log(n1 / n0))
        return t1 * (config[size] / n1) ** power
    return estimate


def _estimate(config):
    return growth("destroy", config, "gfns", "instructions_busy")


def one_cell(n, pattern, form):
    """N gfns of one domain on one frame."""
    config = {"frames": "one", "pattern": pattern, "rmap": form, "cpus": 1,
              "gfns": n}
    cell = Cell("destroy", config, [
        "create name=s mem=4K paused=1", "create name=c mem=4K paused=1",
        _add(pattern, "c", n), ("stats", "stats s"), ("kill", "destroy c")],
        None, memory=_memory(n, pattern, 0), append=f"rmap={form}",
        weight=0.5 + n / 2e5, estimate=_estimate(config))
    cell.rows = _one_kill(cell, n, bytes_too=True)
    return cell


def side_by_side(n, frames, form, cpus, pattern="dense"):
    """As many kills at once as there are CPUs; each of N gfns of its kind."""
    config = {"frames": frames, "rmap": form, "cpus": cpus, "gfns": n}
    domains = cpus + 1
    if frames == "one":
        config = {"frames": frames, "pattern": pattern} | config
        memory = _memory(n * domains, pattern, 0)
    elif frames == "seed":
        config["domains"] = SEED_DOMAINS
        memory = _memory(n * SEED_DOMAINS, "dense", n)
    else:
        private = 0 if frames == "holes" else n * domains
        memory = _memory(private or 1, "dense", private)
    return together(config, n, lambda client, count: _add(
        pattern, client, count), memory, _estimate(config))


def pairs_cell(n, form):
    """N frames with two sharers each: the client goes, then the source, which
    holds the last."""
    config = {"frames": "pairs", "rmap": form, "cpus": 1, "gfns": n}
    cell = Cell("destroy", config, [
        f"create name=s mem={4 * n}K paused=1",
        "create name=c mem=4K paused=1", f"nominate s gfn=0 count={n}",
        f"add-range s 0 c {BASE} count={n}", ("client", "destroy c"),
        ("last", "destroy s")], None, memory=_memory(n, "dense", n),
        append=f"rmap={form}", weight=1 + n / 5e4)

    def rows(replies):
        return [_kill_row(cell, replies[name]["destroyed"][0], n, who=who)
                for name, who in (("client", "client"),
                                  ("last", "last holder"))]
    cell.rows = rows
    return cell


def seed_cell(n, form):
    """N frames, each shared by 100 domains; one of the domains goes."""
    config = {"frames": "seed", "rmap": form, "cpus": 1, "gfns": n,
              "domains": SEED_DOMAINS}
    lines = [f"create name=s mem={4 * n}K paused=1",
             f"create name=c{{i}} mem=4K paused=1 count={SEED_DOMAINS - 1}",
             f"nominate s gfn=0 count={n}"]
    lines += [f"add-range s 0 c{i} {BASE} count={n}"
              for i in range(SEED_DOMAINS - 1)]
    lines += [("stats", "stats c0"), ("kill", f"destroy c{SEED_DOMAINS // 2}")]
    cell = Cell("destroy", config, lines, None, append=f"rmap={form}",
                memory=_memory(n * SEED_DOMAINS, "dense", n),
                weight=1 + SEED_DOMAINS * n / 1e6)
    cell.rows = _one_kill(cell, n, bytes_too=True)
    return cell


def unshared_cell(n, kind):
    """A domain that shares nothing: small pages, superpages, or a terabyte of
    holes below one gfn."""
    config = {"frames": kind, "rmap": "adaptive", "cpus": 1, "gfns": n}
    superpages = " superpages=1" if kind == "superpages" else ""
    lines = [f"create name=c mem={4 * n}K paused=1{superpages}"]
    if kind == "holes":
        lines = ["create name=s mem=4K paused=1",
                 "create name=c mem=4K paused=1",
                 f"add-physmap s 0 c {HOLE_GFNS}"]
    cell = Cell("destroy", config, [*lines, ("kill", "destroy c")], None,
                memory=_memory(1, "dense", 0 if kind == "holes" else n),
                weight=0.5 + n / 2e5)
    cell.rows = _one_kill(cell, n // 512 if kind == "holes" else n)
    return cell


def probed(form, sizes):
    """@sizes, and smaller ones before them where walks may take too long."""
    slow = form in QUADRATIC and max(sizes) > max(PROBES)
    return sorted({*sizes, *PROBES}) if slow else sizes


def _sharing_cells(args, frames):
    cells = []
    for form in args.rmap:
        if args.cpus > 1:
            cells += [side_by_side(n, frames, form, args.cpus, pattern)
                      for pattern in (args.pattern if frames == "one"
                                      else ["dense"])
                      for n in args.sharers]
        elif frames == "one":
            for pattern in args.pattern:
                cells += [one_cell(n, pattern, form)
                          for n in probed(form, args.sharers)]
        else:
            make = pairs_cell if frames == "pairs" else seed_cell
            cells += [make(n, form) for n in args.sharers]
    return cells


def _unshared_cells(args, frames):
    sizes = [HOLE_GFNS] if frames == "holes" else \
        sorted({max(512, n // 512 * 512) for n in args.sharers})
    return [unshared_cell(n, frames) if args.cpus == 1 else
            side_by_side(n, frames, "adaptive", args.cpus) for n in sizes]


def cells(args):
    """What the options ask for. @args: sharers, pattern, rmap, cpus, frames;
    lists all but cpus."""
    result = []
    for frames in args.frames:
        if frames in ("one", "pairs", "seed"):
            result += _sharing_cells(args, frames)
        else:
            result += _unshared_cells(args, frames)
    return result


def check_limit(cell, done):
    """Skip, and say so, what would take more than LIMIT instructions."""
    expected = cell.estimate(done) if cell.estimate else None
    if expected is not None and expected > LIMIT:
        raise Skip(f"would take about {expected:.1e} instructions; the limit "
                   f"is {LIMIT:.0e}")
