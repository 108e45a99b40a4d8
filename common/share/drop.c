/*
 * drop.c - what a dying domain shared: its pairs leave the reverse maps, and
 * its references go, as many at once as hang off one frame.
 *
 *     group of 64 gfns:   a a a a a b c c . . a a
 *                         \_______/ | \_/     \_/   one step each: one page
 *                                                   lock, one rmap operation,
 *                                                   one subtraction
 */
#include "shared_frame.h"

#include <quire/bitmap.h>

/* @map: gfns of one group of 64, all on @sf. Returns how many of them did not
 * cost a frame: all, unless the last sharer was among them. */
static uint64_t drop_run(struct p2m *p, gfn_t first, uint64_t map,
                         struct shared_frame *sf)
{
    unsigned nr = bits_count(map);
    bool last;

    spin_lock(&sf->lock);
    rmap_remove_group(&sf->rmap, p->owner, first.n / 64, map);
    last = shared_frame_release_many(sf, nr);
    spin_unlock(&sf->lock);
    if (last) {
        shared_frame_put(sf);
    }
    return nr - last;
}

void share_drop_group(struct p2m *p, const struct p2m_group *g)
{
    uint64_t todo = g->map, saved = 0;

    ASSERT(g->type == p2m_ram_shared && g->order == P2M_ORDER_4K);
    while (todo != 0) {
        mfn_t mfn = g->mfn[__builtin_ctzll(todo)];
        uint64_t map = 0;

        do {
            map |= todo & -todo;
            todo &= todo - 1;
        } while (todo != 0 && mfn_eq(g->mfn[__builtin_ctzll(todo)], mfn));
        saved += drop_run(p, g->first, map, mfn_to_frame(mfn)->user);
    }
    share_count(&share_totals.removed, bits_count(g->map));
    share_count(&p->share.saved_by_drop, saved);
}
