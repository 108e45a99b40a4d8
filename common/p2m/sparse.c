/*
 * sparse.c - tables of few entries, of a p2m that is taken apart.
 *
 *     level 2   | t | t | . | t |        out of the tree, all in a row
 *                 |   |       |
 *               |x..|.x.|   |x.x|        read, and never written again
 *                 \____\_____/_/
 *          one group of up to 16, scattered: one drop for them all
 *
 * Those of a table with some more entries, a thin one, are taken out word by
 * word, but handed over together all the same.
 *
 * A sparse table is out of the tree before it is read: what lockless readers
 * still find in it is a hint like any other. So a gfn far from all others
 * costs little more than its table.
 */
#include "sweep.h"

/* Units, measured with all that the drop does: an entry, a table. */
#define COST_ENTRY 215
#define COST_TABLE 160

#define COST_THIN 180           /* an entry of a table that is only thin */
#define COST_THIN_GROUP 200

#define GATHERED_MAX SPARSE_MAX /* entries for one drop */
#define THIN_GROUP 32

void sweep_mend_mfns(struct p2m_group *g)
{
    for (uint64_t todo = g->map; todo != 0; todo &= todo - 1) {
        mfn_t *mfn = &g->mfn[__builtin_ctzll(todo)];

        if (mfn->n == NPTE_MFN >> PAGE_SHIFT) {
            *mfn = MFN_INVALID;
        }
    }
}

/* The group's form and kind, once its @n entries are in it. */
static void close_group(struct p2m_group *g, unsigned n, npte_t like)
{
    g->order = P2M_ORDER_4K;
    g->form = P2M_SCATTERED;
    g->type = npte_type(like);
    g->map = UINT64_MAX >> (64 - n);
    if (g->type != p2m_ram_shared && !sweep_is_own(like)) {
        sweep_mend_mfns(g);
    }
}

void sweep_drop_gathered(struct sweep *s)
{
    struct p2m *p = s->b.p2m;
    unsigned n = s->nr_gathered;

    if (n == 0) {
        return;
    }
    close_group(&s->g, n, s->like);
    s->nr_gathered = 0;
    s->like = 0;
    counter_add(&p->count[s->g.type], -(uint64_t)n);
    s->drop(p, &s->g);
}

/* Take those of @todo, of a word of entries, that are like @like, until there
 * are @max in @g, *@nr so far. Returns the map of what is left. */
static uint64_t take_word(struct p2m_group *g, _Atomic npte_t *entries,
                          uint64_t gfn, uint64_t todo, npte_t like,
                          unsigned *nr, unsigned max)
{
    unsigned n = *nr;

    while (todo != 0 && n < max) {
        uint64_t k = (uint64_t)__builtin_ctzll(todo);
        npte_t e = atomic_load_explicit(&entries[k], memory_order_relaxed);

        if (((e ^ like) & ~NPTE_MFN) != 0) {
            break;
        }
        npte_store(&entries[k], 0);
        g->gfn[n] = GFN(gfn + k);
        g->mfn[n++] = npte_table_mfn(e);
        todo &= todo - 1;
    }
    *nr = n;
    return todo;
}

int64_t sweep_take_thin(struct sweep *s, struct p2m_table *t,
                        _Atomic npte_t *entries, unsigned i, unsigned *end)
{
    npte_t like = atomic_load_explicit(&entries[i], memory_order_relaxed);
    int64_t fits = s->w != NULL ? s->w->left / COST_THIN : THIN_GROUP;
    unsigned max = (unsigned)MIN(MAX(fits, 1), THIN_GROUP), n = 0;
    uint64_t left = 0, from = ~UINT64_C(0) << i % 64;

    for (i &= ~63u; i < NPT_ENTRIES && left == 0 && n < max; i += 64) {
        _Atomic uint64_t *word = &t->occupied[i / 64];
        uint64_t all = atomic_load_explicit(word, memory_order_relaxed);

        if (all != 0) {
            left = take_word(&s->g, entries + i, p2m_table_base(t).n + i,
                             all & from, like, &n, max);
            atomic_store_explicit(word, left | (all & ~from),
                                  memory_order_release);
        }
        from = ~UINT64_C(0);
    }
    close_group(&s->g, n, like);
    t->population -= (uint16_t)n;
    counter_add(&s->b.p2m->count[s->g.type], -(uint64_t)n);
    *end = npt_index(s->g.gfn[n - 1].n, 1) + 1;
    return COST_THIN_GROUP + n * COST_THIN;
}

/* The entries of @t, which has left the tree, wait from now on. */
static void gather_table(struct sweep *s, struct p2m_table *t)
{
    const _Atomic npte_t *entries = npt_map(t->mfn), *first = entries;
    const _Atomic uint64_t *word = t->occupied;
    uint64_t gfn = p2m_table_base(t).n;
    unsigned left = t->population;

    if (s->nr_gathered + left > GATHERED_MAX) {
        sweep_drop_gathered(s);
    }
    for (; left != 0; word++, entries += 64, gfn += 64) {
        uint64_t todo = atomic_load_explicit(word, memory_order_relaxed);

        for (; todo != 0; todo &= todo - 1, left--) {
            uint64_t k = (uint64_t)__builtin_ctzll(todo);
            npte_t e = atomic_load_explicit(&entries[k],
                                            memory_order_relaxed);
            unsigned n = s->nr_gathered;

            if (unlikely(((e ^ s->like) & ~NPTE_MFN) != 0)) {
                sweep_drop_gathered(s);
                s->like = e;
                n = 0;
            }
            s->g.gfn[n] = GFN(gfn + k);
            s->g.mfn[n] = npte_table_mfn(e);
            s->nr_gathered = n + 1;
        }
    }
    npt_unmap(first);
    t->population = 0;
}

static void note_table(struct p2m_batch *b, const struct p2m_table *t)
{
    for (unsigned i = p2m_table_next(t, 0); i < NPT_ENTRIES;
         i = p2m_table_next(t, i + 1)) {
        p2m_batch_note(b, p2m_table_base(t).n + i, 1);
    }
}

/* Entry @i of @up, a table, becomes a hole. */
static void detach(struct p2m_batch *b, struct p2m_table *up,
                   _Atomic npte_t *entries, unsigned i, struct p2m_table *t)
{
    _Atomic uint64_t *word = &up->occupied[i / 64];

    npte_store(&entries[i], 0);
    atomic_store_explicit(word,
        atomic_load_explicit(word, memory_order_relaxed) &
        ~(UINT64_C(1) << i % 64), memory_order_release);
    up->population--;
    p2m_batch_bury(b, t);
}

/* The next table below @up from entry *@i on, if it is sparse; or NULL. */
static struct p2m_table *next_sparse(const struct p2m_table *up,
                                     const _Atomic npte_t *entries,
                                     unsigned *i)
{
    struct p2m_table *t;
    npte_t e;

    *i = p2m_table_next(up, *i);
    if (*i == NPT_ENTRIES) {
        return NULL;
    }
    e = atomic_load_explicit(&entries[*i], memory_order_relaxed);
    if (!npte_is_table(e, 2)) {
        return NULL;
    }
    t = p2m_table_of(npte_table_mfn(e));
    return is_table_sparse(t) ? t : NULL;
}

bool sweep_sparse_tables(struct sweep *s, const struct sweep_place *at)
{
    struct p2m_table *up = at->up, *t = at->table;
    _Atomic npte_t *entries = npt_map(up->mfn);
    unsigned i = npt_index(p2m_table_base(t).n, 2);
    bool over;

    do {
        int64_t cost = COST_TABLE + (int64_t)t->population * COST_ENTRY;

        if (!list_is_empty(&s->b.p2m->listeners)) {
            note_table(&s->b, t);
        }
        detach(&s->b, up, entries, i, t);
        gather_table(s, t);
        i++;
        over = work_spend(s->w, cost);
        t = over ? NULL : next_sparse(up, entries, &i);
    } while (t != NULL);
    npt_unmap(entries);
    *s->cursor = gfn_add(p2m_table_base(up), (uint64_t)i << NPT_BITS);
    if (up->population == 0) {
        list_remove(&up->grace.link);
        list_append(&s->b.emptied, &up->grace.link);
    }
    if (over) {
        sweep_drop_gathered(s);
    }
    return over;
}
