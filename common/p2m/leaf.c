/*
 * leaf.c - a p2m by whole tables: one walk for up to 512 gfns.
 */
#include "batch.h"

#include <quire/p2m_leaf.h>

/* The first leaf entry at or after @gfn below @t: its table, and where. */
static struct p2m_table *find(struct p2m_table *t, uint64_t gfn,
                              unsigned *index)
{
    unsigned first = npt_index(gfn, t->level);

    for (unsigned i = p2m_table_next(t, first); i < NPT_ENTRIES;
         i = p2m_table_next(t, i + 1)) {
        npte_t e = p2m_table_read(t, i);
        struct p2m_table *found;

        if (!npte_is_table(e, t->level)) {
            *index = i;
            return t;
        }
        found = find(p2m_table_of(npte_mfn(e)), i == first ? gfn : 0, index);
        if (found != NULL) {
            return found;
        }
    }
    return NULL;
}

bool p2m_leaf_find(struct p2m *p, gfn_t gfn, struct p2m_leaf *l,
                   gfn_t *found)
{
    struct p2m_table *t = NULL;
    unsigned i = 0;

    ASSERT(is_lock_held(&p->lock));
    if (gfn.n >> P2M_GFN_BITS == 0) {
        t = find(p2m_table_of(p->root), gfn.n, &i);
    }
    if (t == NULL) {
        return false;
    }
    l->table = t;
    l->order = npt_order(t->level);
    l->first = GFN(p2m_table_base(t).n);
    if (l->order != P2M_ORDER_4K) {
        l->first.n += (uint64_t)i << l->order;
        l->whole = npte_decode(p2m_table_read(t, i), 0, t->level);
        *found = GFN(MAX(gfn.n, l->first.n));
    } else {
        l->entries = arch_map_frame(t->mfn);    /* the direct map */
        *found = gfn_add(l->first, i);
    }
    return true;
}

uint64_t p2m_leaf_map(const struct p2m_leaf *l, unsigned i)
{
    return atomic_load_explicit(&l->table->occupied[i],
                                memory_order_relaxed);
}

struct p2m_entry p2m_leaf_entry(const struct p2m_leaf *l, unsigned i)
{
    const _Atomic npte_t *entries = l->entries;

    return npte_decode(atomic_load_explicit(&entries[i],
                                            memory_order_relaxed), 0, 1);
}

uint64_t p2m_leaf_pages(const struct p2m_leaf *l, unsigned i, uint64_t map,
                        mfn_t *mfn, uint64_t *shared)
{
    const _Atomic npte_t *entries = (const _Atomic npte_t *)l->entries +
                                    i * 64;
    uint64_t is_shared = 0, is_private = 0;

    for (; map != 0; map &= map - 1) {
        unsigned k = (unsigned)__builtin_ctzll(map);
        npte_t e = atomic_load_explicit(&entries[k], memory_order_relaxed);
        enum p2m_type type;

        mfn[k] = npte_table_mfn(e);     /* of what is no page: nobody's */
        type = npte_type(e);
        if (type == p2m_ram_shared) {
            is_shared |= UINT64_C(1) << k;
        } else if (type == p2m_ram_rw) {
            is_private |= UINT64_C(1) << k;
        }
    }
    *shared = is_shared;
    return is_private;
}

/* What storing a run has done to its table so far. */
struct stores {
    struct p2m_batch *b;
    struct p2m_table *t;
    enum p2m_type was;          /* the last type replaced, and how often */
    unsigned nr_was, filled;
};

static void count_replaced(struct stores *s)
{
    counter_add(&s->b->p2m->count[s->was], -(uint64_t)s->nr_was);
    s->nr_was = 0;
}

/* A hole becomes an entry: its bit. */
static void occupy(struct stores *s, unsigned i)
{
    _Atomic uint64_t *word = &s->t->occupied[i / 64];

    atomic_store_explicit(word,
        atomic_load_explicit(word, memory_order_relaxed) |
        UINT64_C(1) << i % 64, memory_order_release);
    s->filled++;
}

/* Store one entry that is none of a superpage or a table. */
static inline void store(struct stores *s, _Atomic npte_t *entries, unsigned i,
                         npte_t e)
{
    npte_t old = atomic_load_explicit(&entries[i], memory_order_relaxed);

    npte_store(&entries[i], e);
    if (npte_is_hole(old)) {
        occupy(s, i);
        return;
    }
    if (unlikely(npte_type(old) != s->was)) {
        count_replaced(s);
        s->was = npte_type(old);
    }
    s->nr_was++;
    if (!s->b->need_flush) {
        s->b->need_flush = npte_falls(old, e);
    }
}

void p2m_set_run(struct p2m_batch *b, gfn_t first, const uint16_t *index,
                 const mfn_t *mfn, unsigned nr, enum p2m_type type)
{
    npte_t blank = npte_make(MFN(0), type, 0, 1);
    struct stores s = { .b = b, .was = type };
    unsigned low = NPT_ENTRIES, high = 0;
    _Atomic npte_t *entries;

    if (nr == 0) {
        return;
    }
    /* The first one grows the table if need be, and leaves it in the batch,
     * with an entry in use. */
    p2m_set(b, gfn_add(first, index[0]), mfn[0], P2M_ORDER_4K, type);
    s.t = b->leaf;
    BUG_ON(s.t == NULL || p2m_table_base(s.t).n != first.n);
    entries = npt_map(s.t->mfn);
    for (unsigned i = 1; i < nr; i++) {
        store(&s, entries, index[i], blank | mfn[i].n << PAGE_SHIFT);
        low = MIN(low, index[i]);
        high = MAX(high, index[i]);
    }
    npt_unmap(entries);
    count_replaced(&s);
    s.t->population += (uint16_t)s.filled;
    counter_add(&b->p2m->count[type], nr - 1);
    if (low <= high) {
        p2m_batch_note(b, first.n + low, high - low + 1);
    }
}
