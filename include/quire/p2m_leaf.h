/*
 * p2m_leaf.h - a p2m read and written a run of neighbours at a time, for bulk
 * work: fork and its reset.
 *
 * A view is of one level 1 table, or of one superpage, and holds as long as
 * the p2m lock is held and no entry is changed but through the functions here
 * or p2m_set() of gfns that are in the table already.
 */
#pragma once

#include <quire/p2m.h>

#define P2M_LEAF_GFNS 512u

struct p2m_leaf {
    gfn_t first;                    /* of the table: a multiple of 512; of a
                                     * superpage: its first gfn */
    unsigned order;                 /* 0: a table; else the superpage's */
    struct p2m_entry whole;         /* of a superpage: its first gfn's */
    struct p2m_table *table;        /* private to leaf.c */
    const void *entries;            /* mapped; private to leaf.c */
};

/** p2m_leaf_find() - the table or superpage that holds the first entry at or
 *  after @gfn, which is put in *@found. False: there is none. */
bool must_check p2m_leaf_find(struct p2m *p, gfn_t gfn, struct p2m_leaf *l,
                              gfn_t *found);
/** p2m_leaf_map() - word @i of 8: which of its gfns are no holes. */
uint64_t p2m_leaf_map(const struct p2m_leaf *l, unsigned i);
/** p2m_leaf_entry() - of gfn first + @i of a table. */
struct p2m_entry p2m_leaf_entry(const struct p2m_leaf *l, unsigned i);

/** p2m_leaf_pages() - of the gfns @map of a table's word @i: which are ram_rw,
 *  and in *@shared which are ram_shared; mfn[k] is what bit k's maps. */
uint64_t p2m_leaf_pages(const struct p2m_leaf *l, unsigned i, uint64_t map,
                        mfn_t *mfn, uint64_t *shared);

/**
 * p2m_set_run() - as p2m_set() for @nr 4K gfns of one table: first + @index[i]
 * to @mfn[i], all as @type (not p2m_invalid), no tracking. Reserved before.
 * Notifies from the lowest to the highest of them as one stretch.
 */
void p2m_set_run(struct p2m_batch *b, gfn_t first, const uint16_t *index,
                 const mfn_t *mfn, unsigned nr, enum p2m_type type);
