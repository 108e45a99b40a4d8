/*
 * drop.c - what a dying domain shared: its pairs leave the reverse maps, and
 * its references go, as many at once as hang off one frame.
 *
 *     group of 64 gfns:   a a a a a b c c . . d e
 *                         \_______/ | \_/     | |   one step each: the page
 *                                             | |   lock, one rmap operation,
 *                                             | |   one subtraction
 *                         the last of d, of e:\_/   retired together: the list
 *                                                   lock once, frames as runs
 *
 * Each page lock is let go for the next, with one look at the order of both.
 */
#include "shared_frame.h"

#include <quire/bitmap.h>

/* The lowest bit of @map; of none the highest there is. */
static uint64_t first_of(uint64_t map)
{
    return (uint64_t)__builtin_ctzll(map | UINT64_C(1) << 63);
}

/* Those of @todo, from the lowest bit on, that are on the same frame. */
static uint64_t run_of(const struct p2m_group *g, uint64_t todo)
{
    mfn_t mfn = g->mfn[first_of(todo)];
    uint64_t left = todo;

    do {
        left &= left - 1;
    } while (left != 0 && mfn_eq(g->mfn[first_of(left)], mfn));
    return todo ^ left;
}

/* Whether the first two of @run, gfns far apart, are in one stretch of 64. */
fast_path bool is_stretch(const struct p2m_group *g, uint64_t run)
{
    uint64_t rest = run & (run - 1);

    return rest != 0 && g->gfn[first_of(run)].n / 64 ==
                        g->gfn[first_of(rest)].n / 64;
}

/* Those of @run in the first one's stretch of 64 leave @r together; they
 * ascend. Returns the others. */
static uint64_t remove_stretch(struct p2m *p, const struct p2m_group *g,
                               uint64_t run, struct rmap *r)
{
    uint64_t stretch = g->gfn[first_of(run)].n / 64, map = 0;
    gfn_t gfn = g->gfn[first_of(run)];

    do {
        map |= UINT64_C(1) << gfn.n % 64;
        run &= run - 1;
        gfn = g->gfn[first_of(run)];
    } while (run != 0 && gfn.n / 64 == stretch);
    rmap_remove_group(r, p->owner, stretch, map);
    return run;
}

static void remove_scattered(struct p2m *p, const struct p2m_group *g,
                             uint64_t run, struct rmap *r)
{
    while (run != 0) {
        if (is_stretch(g, run)) {
            run = remove_stretch(p, g, run, r);
        } else {
            rmap_remove(r, (struct rmap_pair){ p->owner,
                                               g->gfn[first_of(run)] });
            run &= run - 1;
        }
    }
}

/* @run: two gfns or more of the group, on @sf, locked. True: the last sharer
 * was among them. */
static bool drop_run(struct p2m *p, const struct p2m_group *g, uint64_t run,
                     struct shared_frame *sf, struct frame *f)
{
    uint32_t nr = bits_count(run);

    if (g->form == P2M_SCATTERED) {
        remove_scattered(p, g, run, &sf->rmap);
    } else {
        rmap_remove_group(&sf->rmap, p->owner, g->first.n / 64, run);
    }
    return shared_frame_leave(sf, f, nr);
}

/* One gfn: the same. */
fast_path bool drop_one(struct p2m *p, gfn_t gfn, struct shared_frame *sf,
                        struct frame *f)
{
    rmap_remove(&sf->rmap, (struct rmap_pair){ p->owner, gfn });
    return shared_frame_leave(sf, f, 1);
}

/* Returns the map of the frames whose last sharer has gone: one of the gfns
 * each. @is_scattered is known where this is inlined. */
fast_path uint64_t drop_all(struct p2m *p, const struct p2m_group *g,
                            bool is_scattered)
{
    uint64_t todo = g->map, last = 0;
    uint64_t i = first_of(todo);
    struct frame *f = mfn_to_frame(g->mfn[i]);
    struct shared_frame *sf = f->user;

    spin_lock(&sf->lock);
    for (;;) {
        uint64_t next = first_of(todo &= todo - 1);
        bool is_last;

        if (todo != 0 && mfn_eq(g->mfn[next], g->mfn[i])) {
            uint64_t run = run_of(g, todo | UINT64_C(1) << i);

            is_last = drop_run(p, g, run, sf, f);
            todo &= ~run;
            next = first_of(todo);
        } else {
            is_last = drop_one(p, is_scattered ? g->gfn[i]
                                               : gfn_add(g->first, i), sf, f);
        }
        if (is_last) {
            last |= UINT64_C(1) << i;
        }
        if (todo == 0) {
            break;
        }
        i = next;
        f = mfn_to_frame(g->mfn[i]);
        spin_lock_next(&sf->lock, &((struct shared_frame *)f->user)->lock);
        sf = f->user;
    }
    spin_unlock(&sf->lock);
    return last;
}

void share_drop_group(struct p2m *p, const struct p2m_group *g)
{
    uint64_t last;

    ASSERT(g->type == p2m_ram_shared && g->order == P2M_ORDER_4K &&
           g->form != P2M_RUN);
    last = g->form == P2M_SCATTERED ? drop_all(p, g, true)
                                    : drop_all(p, g, false);
    if (last != 0) {
        shared_frames_retire(g->mfn, last);
    }
    share_count(&share_totals.removed, bits_count(g->map));
    share_count(&p->share.saved_by_drop, bits_count(g->map & ~last));
}
