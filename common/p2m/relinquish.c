/*
 * relinquish.c - emptying a dying p2m: by tree and by groups, a slice at a
 * time.
 *
 *     level 1 table   |....xx.x|xxxxxxxx|........|  8 words of 64 entries
 *                            \______/
 *                     one group: neighbours of one kind, taken out together
 *                     and handed to the drop in one call
 *
 *     few entries     |...x....|..x.....| |.x......|   the tables leave the
 *                         \________\________/          tree first, and what
 *                     one group, too: scattered        they held is gathered
 *
 * Occupied entries are found by the maps, so a hole costs nothing whatever
 * its size. No flush: the vCPUs are descheduled for good (no_users). A
 * superpage leaves the tree whole and is then dropped 2M at a time from
 * p->dropping, since a gigabyte may well be larger than a slice.
 *
 * How long a group's drop takes is known before it is taken: a group ends
 * where the slice would, so that no drop needs a check of its own. But a run
 * of the domain's own frames ends where its last frame ends an aligned block,
 * at 64 at most: then the buddy has one block to take instead of a dozen.
 */
#include "sweep.h"

#include <quire/bitmap.h>
#include <quire/errno.h>

/*
 * Units, measured (`./quire exec --icount`, destroy) with everything that the
 * drop does: one entry of our own, in a run, not in one; one more share of the
 * frame before it, a share of another frame; 2M at once; a group and a table.
 * Long lists of sharers cost more than this.
 */
#define COST_RUN 32
#define COST_OWN 55
#define COST_SAME_FRAME 25
#define COST_SHARED 200     /* 530 at worst: an array of a few sharers */
#define COST_SUPERPAGE 600
#define COST_GROUP 150
#define COST_TABLE 250

#define RUN_MAX 64u         /* frames; a power of two */
#define THIN_MAX 96         /* entries of a table, and of its word, */
#define THIN_WORD 12        /* ... that do not go by words any more */

/* The first leaf at or after @gfn in @t, which @up holds, or below. */
static bool find_leaf(struct p2m_table *t, struct p2m_table *up, uint64_t gfn,
                      struct sweep_place *at)
{
    unsigned first = npt_index(gfn, t->level);

    for (unsigned i = p2m_table_next(t, first); i < NPT_ENTRIES;
         i = p2m_table_next(t, i + 1)) {
        npte_t e = p2m_table_read(t, i);

        if (!npte_is_table(e, t->level)) {
            *at = (struct sweep_place){ t, up, i };
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
static bool find_next(struct p2m_table *root, uint64_t gfn,
                      struct sweep_place *at)
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

static void take_superpage(struct sweep *s, struct p2m_table *t, unsigned i)
{
    uint64_t nr = UINT64_C(1) << npt_order(t->level);
    uint64_t first = p2m_table_base(t).n + i * nr;
    npte_t e = p2m_table_write(t, i, 0);
    struct p2m *p = s->b.p2m;

    counter_add(&p->count[npte_type(e)], -nr);
    p2m_batch_note(&s->b, first, nr);
    p->dropping.entry = e;
    p->dropping.first = GFN(first);
    p->dropping.end = GFN(first + nr);
    *s->cursor = GFN(first);
}

/* Drop what is left of the superpage taken out. True: the slice is over. */
static bool drop_superpage(struct sweep *s)
{
    struct p2m *p = s->b.p2m;
    struct p2m_group *g = &s->g;
    mfn_t first = npte_mfn(p->dropping.entry);
    bool over = false;

    g->order = P2M_ORDER_2M;
    g->form = P2M_NEIGHBOURS;
    g->map = 1;
    g->type = npte_type(p->dropping.entry);
    while (!over && s->cursor->n < p->dropping.end.n) {
        g->first = *s->cursor;
        g->mfn[0] = mfn_eq(first, MFN_INVALID) ? MFN_INVALID :
                    mfn_add(first, s->cursor->n - p->dropping.first.n);
        s->cursor->n += UINT64_C(1) << P2M_ORDER_2M;
        s->drop(p, g);
        over = work_spend(s->w, mfn_eq(first, MFN_INVALID) ? COST_GROUP
                                                           : COST_SUPERPAGE);
    }
    if (s->cursor->n >= p->dropping.end.n) {
        p->dropping.entry = 0;
    }
    return over;
}

/*
 * Take the entries from @i on as long as each is like the one before and on
 * the frame after it. Returns how many: of one there is no run, nor of what is
 * not the domain's own, and nothing was taken.
 */
static unsigned take_run(_Atomic npte_t *entries, unsigned i,
                         struct p2m_group *g)
{
    npte_t first = atomic_load_explicit(&entries[i], memory_order_relaxed);
    uint64_t mfn = npte_table_mfn(first).n;
    unsigned max = MIN(RUN_MAX - (unsigned)mfn % RUN_MAX, NPT_ENTRIES - i);
    npte_t e = first;
    unsigned n = 0;

    if (max == 1 || !sweep_is_own(first) ||
        atomic_load_explicit(&entries[i + 1], memory_order_relaxed) !=
            first + PAGE_SIZE) {
        return 0;
    }
    do {
        npte_store(&entries[i + n], 0);
        n++;
        e += PAGE_SIZE;
    } while (n < max && atomic_load_explicit(&entries[i + n],
                                             memory_order_relaxed) == e);
    g->form = P2M_RUN;
    g->type = npte_type(first);
    g->mfn[0] = MFN(mfn);
    g->map = UINT64_MAX >> (64 - n);
    return n;
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
        g->mfn[i] = npte_table_mfn(e);
        todo &= todo - 1;
        cost += step;
    } while (todo != 0 && cost < budget);
    g->form = P2M_NEIGHBOURS;
    g->type = npte_type(first);
    g->map = all ^ todo;
    if (!is_shared && !sweep_is_own(first)) {
        sweep_mend_mfns(g);
    }
    return cost;
}

static void note_group(struct p2m_batch *b, const struct p2m_group *g)
{
    for (uint64_t todo = g->map; todo != 0; todo &= todo - 1) {
        unsigned i = (unsigned)__builtin_ctzll(todo);

        p2m_batch_note(b, p2m_group_gfn(g, i).n, 1);
    }
}

/* @nr entries from @i on are holes now. */
static void clear_occupied(struct p2m_table *t, unsigned i, unsigned nr)
{
    unsigned n;

    for (; nr != 0; i += n, nr -= n) {
        _Atomic uint64_t *word = &t->occupied[i / 64];

        n = MIN(nr, 64 - i % 64);
        atomic_store_explicit(word,
            atomic_load_explicit(word, memory_order_relaxed) &
            ~(UINT64_MAX >> (64 - n) << i % 64), memory_order_release);
    }
}

/*
 * Take what begins with entry @i of @t, which is no hole: a run, or what its
 * word has like it, or what the table has if both are thin. A word of the
 * occupancy map is written after its entries; meanwhile lockless readers find
 * holes where it promised entries, which they must expect anyway. Returns the
 * cost; @end is where to go on.
 */
static int64_t take_at(struct sweep *s, struct p2m_table *t,
                       _Atomic npte_t *entries, unsigned i, unsigned *end)
{
    struct p2m_group *g = &s->g;
    unsigned n = take_run(entries, i, g), first = i & ~63u;
    _Atomic uint64_t *word = &t->occupied[i / 64];
    uint64_t all;
    int64_t cost;

    if (n != 0) {
        g->first = gfn_add(p2m_table_base(t), i);
        clear_occupied(t, i, n);
        t->population -= (uint16_t)n;
        counter_add(&s->b.p2m->count[g->type], -(uint64_t)n);
        *end = i + n;
        return COST_GROUP + n * COST_RUN;
    }
    all = atomic_load_explicit(word, memory_order_relaxed);
    if (t->population <= THIN_MAX &&
        bits_count(all & ~UINT64_C(0) << i % 64) <= THIN_WORD) {
        return sweep_take_thin(s, t, entries, i, end);
    }
    g->first = gfn_add(p2m_table_base(t), first);
    cost = take_group(&entries[first], all & ~UINT64_C(0) << i % 64,
                      s->w != NULL ? s->w->left : INT64_MAX, g);
    n = bits_count(g->map);
    atomic_store_explicit(word, all & ~g->map, memory_order_release);
    t->population -= (uint16_t)n;
    counter_add(&s->b.p2m->count[g->type], -(uint64_t)n);
    *end = first + 64 - (unsigned)__builtin_clzll(g->map);
    return cost;
}

/* Drop a level 1 table from entry @i on. True: the slice is over. */
static bool drop_leaf(struct sweep *s, struct p2m_table *t, unsigned i)
{
    _Atomic npte_t *entries = npt_map(t->mfn);
    bool over = false;

    s->g.order = P2M_ORDER_4K;
    while (!over && t->population != 0 &&
           (i = p2m_table_next(t, i)) < NPT_ENTRIES) {
        int64_t cost = take_at(s, t, entries, i, &i);

        if (!list_is_empty(&s->b.p2m->listeners)) {
            note_group(&s->b, &s->g);
        }
        *s->cursor = gfn_add(p2m_table_base(t), i);
        s->drop(s->b.p2m, &s->g);
        over = work_spend(s->w, cost);
    }
    npt_unmap(entries);
    return over;
}

/* Drop what is at @at; a table left empty leaves the tree at once. True: the
 * slice is over. */
static bool drop_at(struct sweep *s, const struct sweep_place *at)
{
    struct p2m_table *t = at->table;
    uint64_t base = p2m_table_base(t).n;
    bool over;

    if (t->level == 1 && is_table_sparse(t) && s->cursor->n <= base) {
        return sweep_sparse_tables(s, at);
    }
    sweep_drop_gathered(s);
    if (t->level == 1) {
        over = drop_leaf(s, t, at->index);
    } else {
        take_superpage(s, t, at->index);
        over = drop_superpage(s);
    }
    if (t->population == 0 && at->up != NULL) {
        if (t->level == 1) {
            s->cursor->n = base + NPT_ENTRIES;
        }
        p2m_table_unlink(&s->b, at->up, npt_index(base, at->up->level));
    }
    return over | work_spend(s->w, COST_TABLE);
}

int p2m_relinquish(struct p2m *p, gfn_t *cursor, p2m_drop_fn *drop,
                   struct work *w)
{
    struct p2m_table *root = p2m_table_of(p->root);
    struct sweep s;
    struct sweep_place at;
    bool over = false, more;

    BUG_ON(!p->no_users);
    p2m_batch_begin(&s.b, p);
    s.cursor = cursor;
    s.drop = drop;
    s.w = w;
    s.nr_gathered = 0;
    s.like = 0;
    if (p->dropping.entry != 0) {
        over = drop_superpage(&s);
    }
    more = !over && cursor->n >> P2M_GFN_BITS == 0 &&
           find_leaf(root, NULL, cursor->n, &at);
    while (more && !over) {
        over = drop_at(&s, &at);
        if (!over && at.table->level == 1) {
            more = find_next(root, cursor->n, &at);
        } else if (!over) {
            more = cursor->n >> P2M_GFN_BITS == 0 &&
                   find_leaf(root, NULL, cursor->n, &at);
        }
    }
    sweep_drop_gathered(&s);
    p2m_batch_end(&s.b);
    return over ? -ERESTART : 0;
}
