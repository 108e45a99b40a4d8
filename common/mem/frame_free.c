/*
 * frame_free.c - an owner lets go of many frames at once, as a dying domain
 * does: one charge and one count for them all, and a run of neighbours goes
 * to the buddy as the blocks that it is.
 *
 * A frame may go this way only if its owner's hold is the only one: the
 * reference count says so, and becomes 0 in the same step, so that nobody can
 * take a reference in between. The others are left to frame_put_allocated().
 */
#include "internal.h"

#include <quire/bitmap.h>
#include <quire/panic.h>

#define COST_FRAME 10           /* units: one of a block that is not whole */

/* True: the frame was held by nobody else, and is nobody's now. */
fast_path bool let_go(struct frame *f)
{
    uint64_t sole = FRAME_ALLOCATED | 1;

    if (unlikely(!atomic_compare_exchange_strong_explicit(
                     &f->refs, &sole, 0, memory_order_acq_rel,
                     memory_order_relaxed))) {
        return false;
    }
    ASSERT(f->type == 0);
    frame_set_use(f, FRAME_FREE);
    return true;
}

static void give(domid_t owner, const struct frame_run *r, unsigned nr_runs,
                 unsigned nr_frames)
{
    if (nr_frames != 0) {
        owner_uncharge(owner, nr_frames);
        count_use(owner == DOMID_COW ? FRAME_SHARED : FRAME_GUEST,
                  -(int64_t)nr_frames);
        page_give_runs(r, nr_runs);
        pressure_check(owner);
    }
}

uint64_t frame_free_group(domid_t owner, const mfn_t *mfn, uint64_t map)
{
    struct frame_run runs[64];
    uint32_t start = 0, end = 0;        /* mfn 0 is nobody's */
    uint64_t held = 0;
    unsigned n = 0;

    for (uint64_t todo = map; todo != 0; todo &= todo - 1) {
        mfn_t m = mfn[(uint64_t)__builtin_ctzll(todo)];
        struct frame *f = mfn_to_frame(m);

        BUG_ON(frame_owner(f) != owner);
        if (unlikely(!let_go(f))) {
            held |= todo & -todo;
            continue;
        }
        if (unlikely(m.n != end)) {
            runs[n] = (struct frame_run){ start, end - start };
            n += start != 0;
            start = (uint32_t)m.n;
        }
        end = (uint32_t)m.n + 1;
    }
    if (start != 0) {
        runs[n++] = (struct frame_run){ start, end - start };
    }
    give(owner, runs, n, bits_count(map & ~held));
    return held;
}

unsigned frame_free_run(domid_t owner, struct frame *f, unsigned nr)
{
    struct frame_run run = { (uint32_t)frame_to_mfn(f).n, 0 };
    unsigned n = 0;

    if (nr == 1u << PAGE_ORDER_2M) {
        BUG_ON(frame_owner(f) != owner);
        if (frame_free_whole(f)) {
            run.nr = nr;
            give(owner, &run, 1, nr);
            return nr;
        }
        work_charge(COST_FRAME * nr);
    }
    while (n < nr) {
        BUG_ON(frame_owner(f + n) != owner);
        if (!let_go(f + n)) {
            break;
        }
        n++;
    }
    run.nr = n;
    give(owner, &run, 1, n);
    return n;
}
