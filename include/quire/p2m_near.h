/*
 * p2m_near.h - reading many neighbours of a p2m without a lock.
 *
 * As p2m_next() and p2m_lookup(), but the level 1 table used last is kept in a
 * hint, so that the next gfn of it takes no walk. A hint is good within one
 * slice of a task (tables go after a grace period); zero it to begin. A table
 * that is taken out of the tree meanwhile has only holes: what is read by way
 * of it is never another's.
 */
#pragma once

#include <quire/p2m.h>

struct p2m_hint {
    struct p2m_table *leaf;     /* NULL: none */
    uint64_t base;              /* its first gfn >> 9 */
};

/** p2m_near_next() - p2m_next() with no end. */
bool p2m_near_next(const struct p2m *p, struct p2m_hint *h, gfn_t gfn,
                   gfn_t *found, struct p2m_entry *entry);
/** p2m_near_begin() - a batch of the same map begins: spare it the first walk;
 *  the hint is good for exact lookups while the batch lasts. */
void p2m_near_begin(struct p2m_batch *b, struct p2m_hint *h);
/** p2m_near_lookup() - p2m_lookup(). */
struct p2m_entry p2m_near_lookup(const struct p2m *p,
                                 const struct p2m_hint *h, gfn_t gfn);
