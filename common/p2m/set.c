/*
 * set.c - p2m_set(), the only place where a leaf of a living p2m is written,
 * and what it needs: tables grown on the way down, superpages split.
 */
#include "batch.h"

/* Store an entry, and keep the list of tables that have none left. */
static inline __attribute__((always_inline)) npte_t
write_entry(struct p2m_batch *b, struct p2m_table *t, unsigned i, npte_t e)
{
    npte_t old = p2m_table_write(t, i, e);

    if (unlikely(t->population <= 1) && t->level < NPT_LEVELS) {
        list_remove(&t->grace.link);
        if (t->population == 0) {
            list_append(&b->emptied, &t->grace.link);
        }
    }
    return old;
}

/* A table that is out of the tree but may still be cached by a processor. */
static void bury(struct p2m_batch *b, struct p2m_table *t)
{
    BUG_ON(t->population != 0);
    list_remove(&t->grace.link);
    p2m_batch_bury(b, t);
    /* Even with no entry left the table itself may be cached by walkers. */
    b->need_flush = true;
}

void p2m_table_unlink(struct p2m_batch *b, struct p2m_table *up, unsigned i)
{
    npte_t old = write_entry(b, up, i, 0);

    BUG_ON(!npte_is_table(old, up->level));
    bury(b, p2m_table_of(npte_mfn(old)));
}

/* Fill a new table with the 512 parts of the superpage @whole. */
static void split(struct p2m_table *t, npte_t whole)
{
    mfn_t mfn = npte_mfn(whole);
    npte_t e = npte_make(mfn, npte_type(whole), npte_tracking(whole),
                         t->level);
    uint64_t step = mfn_eq(mfn, MFN_INVALID)
                        ? 0 : PAGE_SIZE << npt_order(t->level);
    _Atomic npte_t *entries = npt_map(t->mfn);

#pragma GCC unroll 8
    for (unsigned i = 0; i < NPT_ENTRIES; i++) {
        atomic_store_explicit(&entries[i], e + i * step,
                              memory_order_relaxed);
    }
    npt_unmap(entries);
    for (unsigned i = 0; i < OCCUPIED_WORDS; i++) {
        atomic_store_explicit(&t->occupied[i], UINT64_MAX,
                              memory_order_relaxed);
    }
    t->population = NPT_ENTRIES;
}

/*
 * Put a reserved table where entry @i of @up is a hole or a superpage. The
 * translations stay as they were, so that this alone needs no flush.
 */
static struct p2m_table *grow(struct p2m_batch *b, struct p2m_table *up,
                              unsigned i, npte_t whole, uint64_t gfn)
{
    unsigned order = npt_order(up->level);
    struct p2m_table *t;

    BUG_ON(list_is_empty(&b->reserved));
    t = table_pop(&b->reserved);
    b->nr_reserved--;
    t->level = up->level - 1;
    t->base = (uint32_t)(gfn >> order << (order - NPT_BITS));
    if (!npte_is_hole(whole)) {
        split(t, whole);
    }
    write_entry(b, up, i, npte_make_table(t->mfn));
    counter_add(&b->p2m->nr_tables, 1);
    return t;
}

/* The table of @level for @gfn. NULL: a hole above it and @grow_holes not
 * given, that is, nothing there to remove. */
static struct p2m_table *descend(struct p2m_batch *b, uint64_t gfn,
                                 unsigned level, bool grow_holes)
{
    struct p2m_table *t =
        p2m_table_make_writable(p2m_table_of(b->p2m->root));

    while (t->level > level) {
        unsigned i = npt_index(gfn, t->level);
        npte_t e = p2m_table_read(t, i);

        if (npte_is_table(e, t->level)) {
            t = p2m_table_make_writable(p2m_table_of(npte_mfn(e)));
        } else if (npte_is_hole(e) && !grow_holes) {
            return NULL;
        } else {
            t = grow(b, t, i, e, gfn);
        }
    }
    return t;
}

/* As descend(), to level 1, remembering the table for the next gfn. */
static inline struct p2m_table *leaf_table(struct p2m_batch *b, uint64_t gfn,
                                           bool grow_holes)
{
    if (unlikely(b->leaf == NULL || b->leaf_base != gfn >> NPT_BITS)) {
        b->leaf = descend(b, gfn, 1, grow_holes);
        b->leaf_base = gfn >> NPT_BITS;
    }
    return b->leaf;
}

/* The level 1 table of @gfn as it is, or NULL: none, or a superpage. Kept for
 * the next who asks, and for who sets the entry. */
static struct p2m_table *find_leaf(struct p2m_batch *b, uint64_t gfn)
{
    mfn_t table = b->p2m->root;

    if (b->leaf != NULL && b->leaf_base == gfn >> NPT_BITS) {
        return b->leaf;
    }
    if (unlikely(gfn >> P2M_GFN_BITS != 0)) {
        return NULL;
    }
#pragma GCC unroll 4
    for (unsigned level = NPT_LEVELS; level > 1; level--) {
        npte_t e = npte_read(table, npt_index(gfn, level));

        if (!npte_is_table(e, level)) {
            return NULL;
        }
        table = npte_table_mfn(e);
    }
    b->leaf = p2m_table_make_writable(p2m_table_of(table));
    b->leaf_base = gfn >> NPT_BITS;
    return b->leaf;
}

bool p2m_batch_has_leaf(struct p2m_batch *b, gfn_t gfn)
{
    return find_leaf(b, gfn.n) != NULL;
}

struct p2m_entry p2m_batch_lookup(struct p2m_batch *b, gfn_t gfn)
{
    const struct p2m_table *t = find_leaf(b, gfn.n);

    return likely(t != NULL)
               ? npte_decode(p2m_table_read(t, npt_index(gfn.n, 1)), 0, 1)
               : p2m_lookup(b->p2m, gfn);
}

/* Bury a table and those below it: they hold nothing but empty tables. */
static void bury_subtree(struct p2m_batch *b, struct p2m_table *t)
{
    for (unsigned i = p2m_table_next(t, 0); i < NPT_ENTRIES;
         i = p2m_table_next(t, i)) {
        npte_t e = write_entry(b, t, i, 0);

        BUG_ON(!npte_is_table(e, t->level));
        bury_subtree(b, p2m_table_of(npte_mfn(e)));
    }
    bury(b, t);
}

static inline void count_type(struct p2m *p, npte_t e, uint64_t delta)
{
    if (!npte_is_hole(e)) {
        counter_add(&p->count[npte_type(e)], delta);
    }
}

/* @level is @t's; where it is a constant much of this goes away. */
static inline __attribute__((always_inline)) void
replace(struct p2m_batch *b, struct p2m_table *t, unsigned level,
        uint64_t gfn, npte_t e)
{
    uint64_t nr = UINT64_C(1) << npt_order(level);
    npte_t old = write_entry(b, t, npt_index(gfn, level), e);

    if (unlikely(npte_is_table(old, level))) {
        bury_subtree(b, p2m_table_of(npte_mfn(old)));
        old = 0;
    }
    if (old == e) {
        return;
    }
    count_type(b->p2m, old, -nr);
    count_type(b->p2m, e, nr);
    b->need_flush |= npte_falls(old, e);
    p2m_batch_note(b, gfn, nr);
}

static __attribute__((noinline)) void
set_superpage(struct p2m_batch *b, gfn_t gfn, mfn_t mfn, unsigned order,
              enum p2m_type type)
{
    unsigned level = 1 + order / NPT_BITS;
    struct p2m_table *t;

    ASSERT(order == P2M_ORDER_2M || order == P2M_ORDER_1G);
    ASSERT((gfn.n & ((UINT64_C(1) << order) - 1)) == 0);
    ASSERT(mfn_eq(mfn, MFN_INVALID) ||
           (mfn.n & ((UINT64_C(1) << order) - 1)) == 0);
    t = descend(b, gfn.n, level, type != p2m_invalid);
    if (t != NULL) {
        replace(b, t, level, gfn.n, npte_make(mfn, type, 0, level));
    }
}

void p2m_set(struct p2m_batch *b, gfn_t gfn, mfn_t mfn, unsigned order,
             enum p2m_type type)
{
    struct p2m_table *t;

    BUG_ON(gfn.n >> P2M_GFN_BITS != 0);
    if (unlikely(order != P2M_ORDER_4K)) {
        set_superpage(b, gfn, mfn, order, type);
        return;
    }
    t = leaf_table(b, gfn.n, type != p2m_invalid);
    if (t != NULL) {
        replace(b, t, 1, gfn.n, npte_make(mfn, type, 0, 1));
    }
}

/*
 * Neighbours cost a quarter of single ones: one table, one notification, and
 * counters touched only where the old type changes.
 */
void p2m_set_neighbours(struct p2m_batch *b, gfn_t gfn, unsigned nr,
                 enum p2m_type type, const mfn_t *mfn, unsigned step)
{
    unsigned first = npt_index(gfn.n, 1), was_nr = 0, holes = 0;
    npte_t like = npte_make(MFN(0), type, 0, 1);
    enum p2m_type was = p2m_invalid;
    struct p2m_table *t;
    _Atomic npte_t *e;

    BUG_ON(gfn.n >> P2M_GFN_BITS != 0 || first + nr > NPT_ENTRIES ||
           type == p2m_invalid);
    t = leaf_table(b, gfn.n, true);
    e = npt_map(t->mfn);
    for (unsigned i = first; i < first + nr; i++, mfn += step) {
        npte_t old = atomic_load_explicit(&e[i], memory_order_relaxed);
        npte_t new = like | mfn->n << PAGE_SHIFT;

        npte_store(&e[i], new);
        if (npte_is_hole(old)) {
            p2m_table_occupy(t, i);
            holes++;
            continue;
        }
        if (npte_type(old) != was) {
            counter_add(&b->p2m->count[was], -(uint64_t)was_nr);
            was = npte_type(old);
            was_nr = 0;
        }
        was_nr++;
        b->need_flush = b->need_flush || npte_falls(old, new);
    }
    npt_unmap(e);
    counter_add(&b->p2m->count[was], -(uint64_t)was_nr);
    counter_add(&b->p2m->count[type], nr);
    t->population += (uint16_t)holes;
    list_remove(&t->grace.link);    /* if it was about to go, empty */
    p2m_batch_note(b, gfn.n, nr);
}

unsigned p2m_read_neighbours(struct p2m_batch *b, gfn_t gfn, unsigned nr,
                      struct p2m_entry *out)
{
    unsigned first = npt_index(gfn.n, 1);
    struct p2m_table *t = find_leaf(b, gfn.n);
    _Atomic npte_t *e;

    if (t == NULL) {
        return 0;
    }
    nr = MIN(nr, NPT_ENTRIES - first);
    e = npt_map(t->mfn);
    for (unsigned i = 0; i < nr; i++) {
        out[i] = npte_decode(npte_load(&e[first + i]), 0, 1);
    }
    npt_unmap(e);
    return nr;
}

void p2m_set_tracking(struct p2m_batch *b, gfn_t gfn, unsigned tracking)
{
    struct p2m_table *t;
    npte_t e;

    BUG_ON(gfn.n >> P2M_GFN_BITS != 0);
    t = leaf_table(b, gfn.n, false);
    BUG_ON(t == NULL);
    e = p2m_table_read(t, npt_index(gfn.n, 1));
    BUG_ON(npte_is_hole(e));
    replace(b, t, 1, gfn.n, npte_make(npte_mfn(e), npte_type(e), tracking, 1));
}
