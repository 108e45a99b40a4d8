/*
 * relinquish.c - emptying a dying p2m: by tree, a slice at a time.
 *
 * Occupied entries are found by the maps, so a hole costs nothing whatever
 * its size. No flush: the vCPUs are descheduled for good (no_users). A
 * superpage leaves the tree whole and is then dropped gfn by gfn from
 * p->dropping, since it may well be larger than a slice.
 */
#include "batch.h"

#include <quire/errno.h>

/*
 * Units: what one gfn costs here and in its drop, measured (`./quire exec
 * --icount`, destroy: 219 and 574 instructions with everything around), and
 * one table. Long lists of sharers cost more than this.
 */
#define COST_PRIVATE 220
#define COST_SHARED 580
#define COST_TABLE 600

static int64_t cost_of(const struct p2m_entry *e)
{
    return e->type == p2m_ram_shared ? COST_SHARED : COST_PRIVATE;
}

typedef void drop_fn(struct p2m *p, gfn_t gfn, const struct p2m_entry *e);

/* First leaf at or after @gfn below @t: the table that holds it, and where. */
static struct p2m_table *find_leaf(struct p2m_table *t, uint64_t gfn,
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
        found = find_leaf(p2m_table_of(npte_mfn(e)), i == first ? gfn : 0,
                          index);
        if (found != NULL) {
            return found;
        }
    }
    return NULL;
}

static void take_superpage(struct p2m_batch *b, struct p2m_table *t,
                           unsigned i, gfn_t *cursor)
{
    uint64_t nr = UINT64_C(1) << npt_order(t->level);
    uint64_t first = p2m_table_base(t).n + i * nr;
    npte_t e = p2m_table_write(t, i, 0);

    counter_add(&b->p2m->count[npte_type(e)], -nr);
    p2m_batch_note(b, first, nr);
    b->p2m->dropping.entry = e;
    b->p2m->dropping.first = GFN(first);
    b->p2m->dropping.end = GFN(first + nr);
    *cursor = GFN(first);
}

/* Drop what is left of the superpage taken out. True: the slice is over. */
static bool drop_superpage(struct p2m *p, gfn_t *cursor, drop_fn *drop,
                           struct work *w)
{
    struct p2m_entry e = npte_decode(p->dropping.entry, 0, 1);
    mfn_t first = e.mfn;
    bool over = false;

    while (!over && cursor->n < p->dropping.end.n) {
        gfn_t gfn = *cursor;

        if (!mfn_eq(first, MFN_INVALID)) {
            e.mfn = mfn_add(first, gfn.n - p->dropping.first.n);
        }
        cursor->n++;
        drop(p, gfn, &e);
        over = work_spend(w, cost_of(&e));
    }
    if (cursor->n >= p->dropping.end.n) {
        p->dropping.entry = 0;
    }
    return over;
}

/*
 * Drop a level 1 table from entry @i on. A word of the occupancy map is
 * written back once; meanwhile lockless readers find holes where it promised
 * entries, which they must expect anyway. True: the slice is over.
 */
static bool drop_leaf(struct p2m_batch *b, struct p2m_table *t, unsigned i,
                      gfn_t *cursor, drop_fn *drop, struct work *w)
{
    struct p2m *p = b->p2m;
    uint64_t base = p2m_table_base(t).n;
    _Atomic npte_t *entries = npt_map(t->mfn);
    bool over = false;

    for (; i < NPT_ENTRIES && !over; i = (i | 63) + 1) {
        _Atomic uint64_t *word = &t->occupied[i / 64];
        uint64_t all = atomic_load_explicit(word, memory_order_relaxed);
        uint64_t below = all & ((UINT64_C(1) << i % 64) - 1);
        uint64_t todo = all ^ below;

        while (todo != 0 && !over) {
            unsigned j = (i & ~63u) + (unsigned)__builtin_ctzll(todo);
            npte_t raw = atomic_load_explicit(&entries[j],
                                              memory_order_relaxed);
            struct p2m_entry e = npte_decode(raw, 0, 1);

            npte_store(&entries[j], 0);
            todo &= todo - 1;
            t->population--;
            counter_add(&p->count[e.type], -UINT64_C(1));
            p2m_batch_note(b, base + j, 1);
            cursor->n = base + j + 1;
            drop(p, GFN(base + j), &e);
            over = work_spend(w, cost_of(&e));
        }
        atomic_store_explicit(word, below | todo, memory_order_release);
    }
    npt_unmap(entries);
    return over;
}

int p2m_relinquish(struct p2m *p, gfn_t *cursor, drop_fn *drop,
                   struct work *w)
{
    struct p2m_table *root = p2m_table_of(p->root), *t;
    struct p2m_batch b;
    unsigned i;
    bool over = false;

    BUG_ON(!p->no_users);
    p2m_batch_begin(&b, p);
    if (p->dropping.entry != 0) {
        over = drop_superpage(p, cursor, drop, w);
    }
    while (!over && cursor->n >> P2M_GFN_BITS == 0 &&
           (t = find_leaf(root, cursor->n, &i)) != NULL) {
        if (t->level == 1) {
            over = drop_leaf(&b, t, i, cursor, drop, w);
        } else {
            take_superpage(&b, t, i, cursor);
            over = drop_superpage(p, cursor, drop, w);
        }
        if (t->population == 0 && t != root) {    /* unlinked at the end */
            list_append(&b.emptied, &t->grace.link);
        }
        over |= work_spend(w, COST_TABLE);
    }
    p2m_batch_end(&b);
    return over ? -ERESTART : 0;
}
