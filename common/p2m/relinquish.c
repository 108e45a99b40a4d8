/*
 * relinquish.c - emptying a dying p2m: by tree and by groups, a slice at a
 * time.
 *
 *     level 1 table   |....xx.x|xxxxxxxx|........|  8 words of 64 entries
 *                            \______/
 *                     one group: neighbours of one kind, taken out together
 *                     and handed to the drop in one call
 *
 * Occupied entries are found by the maps, so a hole costs nothing whatever
 * its size. No flush: the vCPUs are descheduled for good (no_users). A
 * superpage leaves the tree whole and is then dropped 2M at a time from
 * p->dropping, since a gigabyte may well be larger than a slice.
 *
 * How long a group's drop takes is known before it is taken: a group ends
 * where the slice would, so that no drop needs a check of its own.
 */
#include "batch.h"

#include <quire/bitmap.h>
#include <quire/errno.h>

/*
 * Units, measured (`./quire exec --icount`, destroy) with everything that the
 * drop does: one entry of our own, one more share of the frame before it, a
 * share of another frame; 2M at once; a group and a table. Long lists of
 * sharers cost more than this.
 */
#define COST_OWN 85
#define COST_SAME_FRAME 25
#define COST_SHARED 180
#define COST_SUPERPAGE 5000
#define COST_GROUP 150
#define COST_TABLE 700

/* A leaf entry: its table, the table above that (NULL: it is the root), and
 * where. */
struct place {
    struct p2m_table *table, *up;
    unsigned index;
};

/* The first leaf at or after @gfn in @t, which @up holds, or below. */
static bool find_leaf(struct p2m_table *t, struct p2m_table *up, uint64_t gfn,
                      struct place *at)
{
    unsigned first = npt_index(gfn, t->level);

    for (unsigned i = p2m_table_next(t, first); i < NPT_ENTRIES;
         i = p2m_table_next(t, i + 1)) {
        npte_t e = p2m_table_read(t, i);

        if (!npte_is_table(e, t->level)) {
            *at = (struct place){ t, up, i };
            return true;
        }
        if (find_leaf(p2m_table_of(npte_mfn(e)), t, i == first ? gfn : 0,
                      at)) {
            return true;
        }
    }
    return false;
}

/* The first leaf after the level 1 table at @at, which is done with: mostly
 * in the next table of the same one above. */
static bool find_next(struct p2m_table *root, uint64_t gfn, struct place *at)
{
    unsigned i = npt_index(gfn, 2);
    npte_t e;

    if (i != 0) {
        i = p2m_table_next(at->up, i);
        e = i < NPT_ENTRIES ? p2m_table_read(at->up, i) : 0;
        if (npte_is_table(e, 2)) {
            at->table = p2m_table_of(npte_mfn(e));
            at->index = p2m_table_next(at->table, 0);
            if (at->index < NPT_ENTRIES) {
                return true;
            }
        }
    }
    return gfn >> P2M_GFN_BITS == 0 && find_leaf(root, NULL, gfn, at);
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
static bool drop_superpage(struct p2m *p, gfn_t *cursor, p2m_drop_fn *drop,
                           struct work *w)
{
    struct p2m_group g;
    mfn_t first = npte_mfn(p->dropping.entry);
    bool over = false;

    g.order = P2M_ORDER_2M;
    g.map = 1;
    g.type = npte_type(p->dropping.entry);
    while (!over && cursor->n < p->dropping.end.n) {
        g.first = *cursor;
        g.mfn[0] = mfn_eq(first, MFN_INVALID) ? MFN_INVALID :
                   mfn_add(first, cursor->n - p->dropping.first.n);
        cursor->n += UINT64_C(1) << P2M_ORDER_2M;
        drop(p, &g);
        over = work_spend(w, mfn_eq(first, MFN_INVALID) ? COST_GROUP
                                                        : COST_SUPERPAGE);
    }
    if (cursor->n >= p->dropping.end.n) {
        p->dropping.entry = 0;
    }
    return over;
}

/* MFN_INVALID is a field of ones in an entry; only types without memory of
 * their own can have it. */
static void mend_mfns(struct p2m_group *g)
{
    for (uint64_t todo = g->map; todo != 0; todo &= todo - 1) {
        mfn_t *mfn = &g->mfn[__builtin_ctzll(todo)];

        if (mfn->n == NPTE_MFN >> PAGE_SHIFT) {
            *mfn = MFN_INVALID;
        }
    }
}

/*
 * Take entries that are alike but for their frames out of a word of a level 1
 * table, the first of @all on, as many as @budget allows but one at least.
 * Returns their cost.
 */
static int64_t take_group(_Atomic npte_t *entries, uint64_t all,
                          int64_t budget, struct p2m_group *g)
{
    npte_t first = atomic_load_explicit(&entries[__builtin_ctzll(all)],
                                        memory_order_relaxed);
    bool is_shared = npte_type(first) == p2m_ram_shared;
    int64_t cost = COST_GROUP + is_shared * (COST_SHARED - COST_SAME_FRAME);
    int64_t step = is_shared ? COST_SAME_FRAME : COST_OWN;
    npte_t last = first;
    uint64_t todo = all;

    do {
        uint64_t i = (uint64_t)__builtin_ctzll(todo);
        npte_t e = atomic_load_explicit(&entries[i], memory_order_relaxed);

        if (((e ^ first) & ~NPTE_MFN) != 0) {
            break;
        }
        if (e != last && is_shared) {
            cost += COST_SHARED - COST_SAME_FRAME;
        }
        last = e;
        npte_store(&entries[i], 0);
        g->mfn[i] = MFN((e & NPTE_MFN) >> PAGE_SHIFT);
        todo &= todo - 1;
        cost += step;
    } while (todo != 0 && cost < budget);
    g->type = npte_type(first);
    g->map = all ^ todo;
    if (!is_shared && g->type != p2m_ram_rw) {
        mend_mfns(g);
    }
    return cost;
}

static void note_group(struct p2m_batch *b, const struct p2m_group *g)
{
    for (uint64_t todo = g->map; todo != 0; todo &= todo - 1) {
        p2m_batch_note(b, g->first.n + (unsigned)__builtin_ctzll(todo), 1);
    }
}

/*
 * Drop a level 1 table from entry @i on. A word of the occupancy map is
 * written after its entries; meanwhile lockless readers find holes where it
 * promised entries, which they must expect anyway. True: the slice is over.
 */
static bool drop_leaf(struct p2m_batch *b, struct p2m_table *t, unsigned i,
                      gfn_t *cursor, p2m_drop_fn *drop, struct work *w)
{
    struct p2m_group g;
    struct p2m *p = b->p2m;
    uint64_t base = p2m_table_base(t).n;
    _Atomic npte_t *entries = npt_map(t->mfn);
    bool over = false;

    g.order = P2M_ORDER_4K;
    while (i < NPT_ENTRIES && !over) {
        _Atomic uint64_t *word = &t->occupied[i / 64];
        uint64_t all = atomic_load_explicit(word, memory_order_relaxed);
        uint64_t todo = all & ~UINT64_C(0) << i % 64;
        unsigned first = i & ~63u, nr;
        int64_t cost;

        if (todo == 0) {
            i = first + 64;
            continue;
        }
        g.first = GFN(base + first);
        cost = take_group(&entries[first], todo,
                          w != NULL ? w->left : INT64_MAX, &g);
        nr = bits_count(g.map);
        atomic_store_explicit(word, all & ~g.map, memory_order_release);
        t->population -= (uint16_t)nr;
        counter_add(&p->count[g.type], -(uint64_t)nr);
        if (!list_is_empty(&p->listeners)) {
            note_group(b, &g);
        }
        i = first + 64 - (unsigned)__builtin_clzll(g.map);
        cursor->n = base + i;
        drop(p, &g);
        over = work_spend(w, cost);
    }
    npt_unmap(entries);
    return over;
}

/* Drop what is at @at; a table left empty leaves the tree at once. True: the
 * slice is over. */
static bool drop_at(struct p2m_batch *b, const struct place *at,
                    gfn_t *cursor, p2m_drop_fn *drop, struct work *w)
{
    struct p2m_table *t = at->table;
    uint64_t base = p2m_table_base(t).n;
    bool over;

    if (t->level == 1) {
        over = drop_leaf(b, t, at->index, cursor, drop, w);
    } else {
        take_superpage(b, t, at->index, cursor);
        over = drop_superpage(b->p2m, cursor, drop, w);
    }
    if (t->population == 0 && at->up != NULL) {
        if (t->level == 1) {
            cursor->n = base + NPT_ENTRIES;
        }
        p2m_table_unlink(b, at->up, npt_index(base, at->up->level));
    }
    return over | work_spend(w, COST_TABLE);
}

int p2m_relinquish(struct p2m *p, gfn_t *cursor, p2m_drop_fn *drop,
                   struct work *w)
{
    struct p2m_table *root = p2m_table_of(p->root);
    struct place at;
    struct p2m_batch b;
    bool over = false, more;

    BUG_ON(!p->no_users);
    p2m_batch_begin(&b, p);
    if (p->dropping.entry != 0) {
        over = drop_superpage(p, cursor, drop, w);
    }
    more = !over && cursor->n >> P2M_GFN_BITS == 0 &&
           find_leaf(root, NULL, cursor->n, &at);
    while (more && !over) {
        over = drop_at(&b, &at, cursor, drop, w);
        if (!over && at.table->level == 1) {
            more = find_next(root, cursor->n, &at);
        } else if (!over) {
            more = cursor->n >> P2M_GFN_BITS == 0 &&
                   find_leaf(root, NULL, cursor->n, &at);
        }
    }
    p2m_batch_end(&b);
    return over ? -ERESTART : 0;
}
