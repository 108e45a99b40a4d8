/*
 * batch.h - what the writers of a p2m (batch.c, set.c, relinquish.c) share.
 * All of it is under the p2m lock, inside a batch.
 */
#pragma once

#include "table.h"

static inline struct p2m_table *table_of_link(struct list *link)
{
    return container_of(link, struct p2m_table, grace.link);
}

static inline struct p2m_table *table_pop(struct list *head)
{
    return table_of_link(list_pop(head));
}

/* Counters that only the lock's holder writes. */
static inline void counter_add(_Atomic uint64_t *c, uint64_t delta)
{
    uint64_t now = atomic_load_explicit(c, memory_order_relaxed);

    atomic_store_explicit(c, now + delta, memory_order_relaxed);
}

/** p2m_batch_has_leaf() - whether @gfn has a level 1 table; it is remembered
 *  for what comes next. */
bool p2m_batch_has_leaf(struct p2m_batch *b, gfn_t gfn);
/** p2m_batch_notify() - tell the listeners of the stretch changed so far. */
void p2m_batch_notify(struct p2m_batch *b);

/** p2m_batch_note() - [@gfn, @gfn + @nr) has changed. */
static inline void p2m_batch_note(struct p2m_batch *b, uint64_t gfn,
                                  uint64_t nr)
{
    if (b->last.n == gfn && b->first.n != gfn) {
        b->last.n += nr;
        return;
    }
    if (b->first.n <= gfn && gfn + nr <= b->last.n) {
        return;
    }
    if (b->first.n != b->last.n) {
        p2m_batch_notify(b);
    }
    b->first.n = gfn;
    b->last.n = gfn + nr;
}

/** p2m_batch_bury() - @t is out of the tree. */
static inline void p2m_batch_bury(struct p2m_batch *b, struct p2m_table *t)
{
    t->chain = b->dead;
    b->dead = t;
    counter_add(&b->p2m->nr_tables, -UINT64_C(1));
    b->leaf = NULL;
}

/** p2m_table_unlink() - take the empty table at entry @i of @up out of the
 *  tree; @up may become empty by it. */
void p2m_table_unlink(struct p2m_batch *b, struct p2m_table *up, unsigned i);
