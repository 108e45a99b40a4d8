"""bench destroy --cpus N: as many kills at once as there are CPUs, one on
each, against one alone on a machine with one CPU.

Under icount the CPUs take turns, so the time from the first kill accepted to
the last one dead is the instructions of all, whatever they did; the time that
the one alone took is the same of it. And the sum of what each kill measured
inside its slices is too much, if anything: it has the others' turns in it where
it waited for a lock. Kills that wait for one another show in both, so the
lesser of the two is taken, and the lesser of the two ratios.
"""

from bench_cell import Cell

BASE = 1 << 20                  # the client's first shared gfn: 4 GiB
SEED_DOMAINS = 100
HOLE_GFNS = 1 << 28             # 1 TiB
LONGEST_GFN = 2000              # instructions, far apart
PER = {"holes": 512}            # gfns that the figure is for


def _one_frame(n, every, add):
    return ["create name=s mem=4K paused=1",
            *[f"create name={v} mem=4K paused=1" for v in every],
            *[add(v, n) for v in every]]


def _pairs(n, every):
    lines = []
    for v in every:
        lines += [f"create name=s{v} mem={4 * n}K paused=1",
                  f"create name={v} mem=4K paused=1",
                  f"nominate s{v} gfn=0 count={n}",
                  f"add-range s{v} 0 {v} {BASE} count={n}"]
    return lines


def _seed(n, every):
    others = [f"o{i}" for i in range(SEED_DOMAINS - 1 - len(every))]
    return [f"create name=s mem={4 * n}K paused=1",
            *[f"create name={v} mem=4K paused=1" for v in every + others],
            f"nominate s gfn=0 count={n}",
            *[f"add-range s 0 {v} {BASE} count={n}" for v in every + others]]


def _unshared(n, every, more=""):
    return [f"create name={v} mem={4 * n}K paused=1{more}" for v in every]


def _holes(every):
    return _one_frame(1, every, lambda v, _: f"add-physmap s 0 {v} "
                      f"{HOLE_GFNS}")


def _setup(frames, n, every, add):
    if frames == "one":
        return _one_frame(n, every, add)
    if frames == "pairs":
        return _pairs(n, every)
    if frames == "seed":
        return _seed(n, every)
    if frames == "holes":
        return _holes(every)
    return _unshared(n, every,
                     " superpages=1" if frames == "superpages" else "")


def _kill(victims, n):
    """At once: in the background, one on each CPU. Whoever joins them looks
    often, and would hold the one on its own CPU back: it sleeps first, for as
    long as they may take."""
    if len(victims) == 1:
        return [(victims[0], f"destroy {victims[0]}")]
    ms = 10 + len(victims) * min(n, 1 << 20) * LONGEST_GFN // 1_000_000
    return [*[f"bg destroy {v}" for v in victims], f"sleep ms={ms}",
            *[(v, f"join {i}") for i, v in enumerate(victims, 1)]]


def _figures(replies, alone, victims, n):
    one, = replies[alone]["destroyed"]
    kills = [replies[v]["destroyed"][0] for v in victims]
    took = max(k["accepted_ticks"] + k["total_ticks"] for k in kills) - \
        min(k["accepted_ticks"] for k in kills)
    inside = sum(k["busy_ticks"] for k in kills)
    return {"instructions_per_gfn": min(took, inside) / (n * len(kills)),
            "instructions_per_gfn_alone": one["busy_ticks"] / n,
            "instructions_ratio_to_alone":
                min(took / one["total_ticks"], inside / one["busy_ticks"])
                / len(kills),
            "instructions_total": took,
            "count_preemptions": sum(k["preemptions"] for k in kills)}


def together(config, n, add, memory, estimate):
    """The cell of @config: `frames`, `rmap`, `cpus` and the like. @add: the
    command that makes a domain share n gfns of one frame."""
    frames, cpus = config["frames"], config["cpus"]

    def cell_of(victims, nr_cpus):
        groups = [victims]
        if frames == "pairs":
            groups.append([f"s{v}" for v in victims])
        lines = _setup(frames, n, victims, add)
        for group in groups:
            lines += _kill(group, n)
        return groups, Cell("destroy", config, lines, None, cpus=nr_cpus,
                            memory=memory, append=f"rmap={config['rmap']}",
                            estimate=estimate,
                            weight=0.5 + (cpus + 1) * n / 2e5)

    alone, reference = cell_of(["alone"], 1)
    groups, cell = cell_of([f"c{i}" for i in range(cpus)], cpus)
    cell.reference = reference
    whose = [{"who": "client"}, {"who": "last holder"}] \
        if frames == "pairs" else [{}]

    def rows(replies):
        return [cell.row(_figures(replies, one, group,
                                  n // PER.get(frames, 1)), **who)
                for (one,), group, who in zip(alone, groups, whose)]
    cell.rows = rows
    return cell
