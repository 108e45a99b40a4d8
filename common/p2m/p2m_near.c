/* p2m_near.c - reading neighbours of a p2m, one walk for up to 512 of them. */
#include "table.h"

#include <quire/p2m_near.h>

/* The first entry at or after @gfn below @t that is no hole: its table. */
static struct p2m_table *find(struct p2m_table *t, uint64_t gfn,
                              unsigned *index, npte_t *entry)
{
    unsigned first = npt_index(gfn, t->level);

    for (unsigned i = p2m_table_next(t, first); i < NPT_ENTRIES;
         i = p2m_table_next(t, i + 1)) {
        npte_t e = p2m_table_read(t, i);

        if (npte_is_table(e, t->level)) {
            struct p2m_table *found = find(p2m_table_of(npte_mfn(e)),
                                           i == first ? gfn : 0, index,
                                           entry);

            if (found != NULL) {
                return found;
            }
        } else if (!npte_is_hole(e)) {  /* a hole: removed meanwhile */
            *index = i;
            *entry = e;
            return t;
        }
    }
    return NULL;
}

static slow_path bool walk(const struct p2m *p, struct p2m_hint *h,
                           gfn_t gfn, gfn_t *found, struct p2m_entry *entry)
{
    struct p2m_table *t = NULL;
    unsigned i = 0, order;
    npte_t e = 0;

    h->leaf = NULL;
    if (gfn.n >> P2M_GFN_BITS == 0) {
        t = find(p2m_table_of(p->root), gfn.n, &i, &e);
    }
    if (t == NULL) {
        return false;
    }
    order = npt_order(t->level);
    *found = gfn_add(p2m_table_base(t), (uint64_t)i << order);
    if (found->n < gfn.n) {     /* inside a superpage */
        *found = gfn;
    }
    *entry = npte_decode(e, found->n, t->level);
    if (order == P2M_ORDER_4K) {
        h->leaf = t;
        h->base = found->n >> NPT_BITS;
    }
    return true;
}

bool p2m_near_next(const struct p2m *p, struct p2m_hint *h, gfn_t gfn,
                   gfn_t *found, struct p2m_entry *entry)
{
    if (likely(h->leaf != NULL && h->base == gfn.n >> NPT_BITS)) {
        npte_t e = p2m_table_read(h->leaf, npt_index(gfn.n, 1));

        if (likely(!npte_is_hole(e))) {
            *found = gfn;
            *entry = npte_decode(e, gfn.n, 1);
            return true;
        }
    }
    return walk(p, h, gfn, found, entry);
}

struct p2m_entry p2m_near_lookup(const struct p2m *p,
                                 const struct p2m_hint *h, gfn_t gfn)
{
    if (likely(h->leaf != NULL && h->base == gfn.n >> NPT_BITS)) {
        return npte_decode(p2m_table_read(h->leaf, npt_index(gfn.n, 1)),
                           gfn.n, 1);
    }
    return p2m_lookup(p, gfn);
}

/* A table without an entry may be out of the tree, for good if so. */
void p2m_near_begin(struct p2m_batch *b, struct p2m_hint *h)
{
    ASSERT(is_lock_held(&b->p2m->lock));
    if (h->leaf != NULL && h->leaf->population == 0) {
        h->leaf = NULL;
    }
    b->leaf = h->leaf;
    b->leaf_base = h->base;
}
