/*
 * work.h - the budget of long work, in calibrated cost units.
 *
 * One unit is about one instruction on the reference machine. A Preemptible
 * function takes a struct work, charges what it does, and when work_spend()
 * says so returns -ERESTART with its cursor in the object it works on. The
 * decision depends on the units alone, so it is the same in every build;
 * every entry completes at least one item before it asks. NULL: no budget.
 *
 * What is dear and rare (a table, a slab, a split, a byte to a port) is
 * charged where it is done, by work_charge(), to the slice that this CPU runs:
 * so the units of an item are those of the usual one.
 */
#pragma once

#include <quire/types.h>

/*
 * Units a slice. With the dearest item after the last of them (two splits of a
 * reverse map's leaves: 12,800) either is under the 20,000 promised. What goes
 * through many small items has the longer one, for each slice costs 400.
 */
#define WORK_SLICE 3000
#define WORK_SLICE_BULK 6000

struct work {
    int64_t left;           /* units still in this slice */
    uint64_t checks;        /* preemption checks so far */
    uint64_t force_at;      /* tests: expire at this check; 0: never */
};

#define WORK_INIT { .left = WORK_SLICE }

/** work_begin() - @w is this CPU's slice, until work_end(). */
void work_begin(struct work *w);
void work_end(void);
/** work_charge() - @units more for this CPU's slice, if it runs one. */
void work_charge(int64_t units);

/** work_spend() - charge @units; true: stop at your next safe place. */
static inline bool must_check work_spend(struct work *w, int64_t units)
{
    if (w == NULL) {
        return false;
    }
    w->left -= units;
    w->checks++;
    return w->left <= 0 || w->checks == w->force_at;
}
