"""What each figure is to be at most, and what Xen needed.

Xen is 4.17.7 with mem_sharing opened for SVM, on the same emulator, counted
the same way (QEMU 7.2 TCG, -icount shift=0,sleep=off). A goal applies to a row
if the row has all of its fields; the first that applies counts.
"""

from bench_numbers import show
from bench_spte import MAPPINGS


def goal(field, at_most, xen, **match):
    return {"field": field, "at_most": at_most, "xen": xen, "match": match}


PER_GFN, MEAN = "instructions_per_gfn", "instructions_mean"
LONGEST = "instructions_longest"


def _share(operation, at_most, xen):
    return goal(PER_GFN, at_most, xen, bench="share", operation=operation)


def _destroy(at_most, xen, **match):
    return goal(PER_GFN, at_most, xen, bench="destroy", rmap="adaptive",
                cpus=1, **match)


def _beside_others(one, cpus):
    """The goal of @cpus kills at once: 1.15 times that of @one."""
    return goal(PER_GFN, 1.15 * one["at_most"], None,
                **one["match"] | {"cpus": cpus})


def _links(phase, at_most):
    return goal(f"instructions_{phase}_mean", at_most, None,
                bench="spte-rmap", form="sibling")


def _shadow(operation, at_most, field=MEAN, **match):
    return goal(field, at_most, None, bench="shadow-cost",
                operation=operation, **match)


def _rmap(phase):
    return goal(f"instructions_{phase}_mean", 120, None, bench="rmap",
                rmap="adaptive")


XEN_DENSE = {10_000: 2810, 100_000: 3650, 500_000: 7560, 1_000_000: 12_450}

DESTROY = [
    *[_destroy(60, xen, frames="one", pattern="dense", gfns=n)
      for n, xen in XEN_DENSE.items()],
    _destroy(60, None, frames="one", pattern="dense"),
    _destroy(250, None, frames="one", pattern="random"),
    _destroy(120, 115_000, frames="one", pattern="stride256", gfns=10_000),
    _destroy(120, 140_000, frames="one", pattern="stride256", gfns=20_000),
    _destroy(120, None, frames="one", pattern="stride256"),
    _destroy(200, 2650, frames="pairs", who="client"),
    _destroy(250, 3340, frames="pairs", who="last holder"),
    _destroy(250, None, frames="seed"),
    _destroy(80, 669, frames="private"),
    _destroy(2, None, frames="superpages"),
    _destroy(1, 98_800, frames="holes"),
]

SHADOW = [
    _shadow("hidden fault", 900), _shadow("the guest's own page fault", 700),
    _shadow("load of a CR3 seen before", 600),
    _shadow("write-protect", 60, "instructions_per_mapping"),
    *[_shadow("unshare", 1800 + 60 * n, "instructions_total", mappings=n)
      for n in MAPPINGS],
    *[_shadow(f"reverse map {phase}, the dearest", at_most)
      for phase, at_most in (("add", 40), ("step", 20), ("remove", 60))],
    goal(LONGEST, 20_000, None, bench="shadow-cost"),
]

GOALS = [
    _share("add_physmap_bulk", 200, 3470),
    _share("add_physmap_single", 600, 3470),
    _share("nominate", None, 3910),
    _share("share_pair", None, 5000),
    _share("nominate_and_share_pair", None, 8910),
    _share("range_share", 400, 11_030),
    goal("instructions_total", None, 214_000_000, bench="share",
         operation="share_heavy_client", sharers=100_000),
    _share("unshare_by_toolstack_copy", None, 9800),
    goal(MEAN, 1800, 19_500, bench="unshare", copy="with copy",
         sharers=1_000_000),
    goal(MEAN, 1800, 9800, bench="unshare", copy="with copy"),
    goal(MEAN, 600, None, bench="unshare"),
    _rmap("insert"), _rmap("find"), _rmap("remove"),
    _links("add", 40), _links("step", 20), _links("remove", 60),
    *SHADOW, *DESTROY, *[_beside_others(one, cpus) for cpus in range(2, 16)
                for one in DESTROY],
    goal("instructions_ratio_to_alone", 1.15, None, bench="destroy"),
    # 20,000 for the domain, and 400 or 200 for each of its 16,384 gfns.
    goal(PER_GFN, 401.2, None, bench="fork", operation="first_fork"),
    goal(PER_GFN, 201.2, None, bench="fork", operation="later_fork"),
    goal(PER_GFN, 20_400, 61_000, bench="fork", operation="fork"),
    goal("instructions_per_dirty_page", 300, 3000, bench="fork",
         operation="fork_reset"),
    goal("instructions_per_page", 4000, "18,000 (KSM)", bench="scan",
         operation="merge"),
    goal("instructions_per_page", 300, "920 (KSM)", bench="scan",
         operation="rescan_merged"),
    goal("instructions_per_page", 1800, None, bench="scan",
         operation="rescan_unchanged"),
    goal(LONGEST, 20_000, None, bench="latency"),
    goal("instructions_beyond_idle", 50_000, None, bench="wakeup"),
]


def goals_of(row):
    """{field: goal} of one row."""
    found = {}
    for g in GOALS:
        if g["field"] in row and g["field"] not in found and \
                all(row.get(k) == v for k, v in g["match"].items()):
            found[g["field"]] = g
    return found


def at_most(row, field):
    g = goals_of(row).get(field)
    return show(g["at_most"]) if g else "-"


def xen(row, field):
    g = goals_of(row).get(field)
    return show(g["xen"]) if g else "-"


def is_missed(row, field):
    g = goals_of(row).get(field)
    return bool(g and g["at_most"] is not None
                and row[field] > g["at_most"])
