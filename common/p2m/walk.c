/*
 * walk.c - reading a p2m: one gfn, or the next that is not a hole. No lock:
 * entries are loaded whole, tables outlive the reader by a grace period.
 */
#include "table.h"

/*
 *      gfn bit  35      27 26      18 17       9 8        0
 *               level 4    level 3    level 2    level 1
 *               512G each  1G, or     2M, or     4K each
 *                          a table    a table
 */
struct p2m_entry p2m_lookup(const struct p2m *p, gfn_t gfn)
{
    mfn_t table = p->root;

    if (unlikely(gfn.n >> P2M_GFN_BITS != 0)) {
        return (struct p2m_entry){ MFN_INVALID, p2m_invalid, 0, 0 };
    }
    /* Unrolled: every fault comes by here, and each level is a constant. */
#pragma GCC unroll 4
    for (unsigned level = NPT_LEVELS; level > 1; level--) {
        npte_t e = npte_read(table, npt_index(gfn.n, level));

        if (unlikely(!npte_is_table(e, level))) {
            return npte_decode(e, gfn.n, level);
        }
        table = npte_table_mfn(e);
    }
    return npte_decode(npte_read(table, npt_index(gfn.n, 1)), gfn.n, 1);
}

struct p2m_entry p2m_lookup_locked(struct p2m *p, gfn_t gfn)
{
    ASSERT(is_lock_held(&p->lock));
    return p2m_lookup(p, gfn);
}

/* p2m_next() below one table; @gfn is inside it. Recursion is 4 deep. */
static bool next_below(const struct p2m_table *t, uint64_t gfn, uint64_t end,
                       gfn_t *found, struct p2m_entry *entry)
{
    unsigned order = npt_order(t->level);
    unsigned i = npt_index(gfn, t->level);

    for (;;) {
        unsigned j = p2m_table_next(t, i);
        npte_t e;

        if (j != i) {
            gfn = ((gfn >> order) + (j - i)) << order;
        }
        if (j == NPT_ENTRIES || gfn >= end) {
            return false;
        }
        e = p2m_table_read(t, j);
        if (npte_is_table(e, t->level)) {
            if (next_below(p2m_table_of(npte_mfn(e)), gfn, end, found,
                           entry)) {
                return true;
            }
        } else if (!npte_is_hole(e)) {  /* a hole: removed meanwhile */
            *found = GFN(gfn);
            *entry = npte_decode(e, gfn, t->level);
            return true;
        }
        if (j + 1 == NPT_ENTRIES) {
            return false;
        }
        gfn = ((gfn >> order) + 1) << order;
        i = j + 1;
    }
}

bool p2m_next(const struct p2m *p, gfn_t gfn, gfn_t end, gfn_t *found,
              struct p2m_entry *entry)
{
    if (gfn.n >> P2M_GFN_BITS != 0) {
        return false;
    }
    return next_below(p2m_table_of(p->root), gfn.n, end.n, found, entry);
}
