/*
 * sweep.h - what the files of p2m_relinquish() say to each other.
 *
 *     relinquish.c   the tree, superpages, tables of many entries
 *     sparse.c       tables of few entries
 */
#pragma once

#include "batch.h"

/* A call of p2m_relinquish(). Under the p2m lock. */
struct sweep {
    struct p2m_batch b;
    gfn_t *cursor;
    p2m_drop_fn *drop;
    struct work *w;
    struct p2m_group g;         /* the one in hand */
    unsigned nr_gathered;       /* entries in it that wait to be dropped */
    npte_t like;                /* the first of them; 0: none */
};

/* A leaf entry: its table, the table above that (NULL: it is the root), and
 * where. */
struct sweep_place {
    struct p2m_table *table, *up;
    unsigned index;
};

#define SPARSE_MAX 16           /* entries of a table that are gathered */

static inline bool is_table_sparse(const struct p2m_table *t)
{
    return t->population <= SPARSE_MAX;
}

static inline bool sweep_is_own(npte_t e)
{
    return npte_type(e) == p2m_ram_rw || npte_type(e) == p2m_ram_ro;
}

/** sweep_mend_mfns() - MFN_INVALID is a field of ones in an entry; only types
 *  without memory of their own can have it. */
void sweep_mend_mfns(struct p2m_group *g);
/** sweep_drop_gathered() - hand over what waits. */
void sweep_drop_gathered(struct sweep *s);
/**
 * sweep_take_thin() - take entries of @t from @i on, which is no hole, that are
 * like each other but for their frames, wherever they are, as one scattered
 * group: as many as the slice allows, but one at least. Returns their cost;
 * *@end is where to go on.
 */
int64_t sweep_take_thin(struct sweep *s, struct p2m_table *t,
                        _Atomic npte_t *entries, unsigned i, unsigned *end);
/** sweep_sparse_tables() - empty the level 1 table at @at, which is sparse and
 *  begins after the cursor, and those after it that are sparse, too. True: the
 *  slice is over; then nothing waits. */
bool sweep_sparse_tables(struct sweep *s, const struct sweep_place *at);
