/*
 * batch.c - the frame of every change: lock, reserve, ... notify, flush,
 * free, unlock. The changes themselves are in set.c.
 */
#include "batch.h"

#include <quire/errno.h>
#include <quire/page_alloc.h>

void p2m_batch_begin(struct p2m_batch *b, struct p2m *p)
{
    b->p2m = p;
    b->first = b->last = GFN(0);
    b->need_flush = false;
    b->nr_put = 0;
    b->nr_reserved = 0;
    b->leaf = NULL;
    b->leaf_base = 0;
    list_init(&b->reserved);
    b->dead = NULL;
    list_init(&b->emptied);
    spin_lock(&p->lock);
}

/* How many tables of @level it takes to cover [@first, @last]. */
static uint64_t span(uint64_t first, uint64_t last, unsigned level)
{
    unsigned order = npt_order(level + 1);

    return (last >> order) - (first >> order) + 1;
}

/*
 * How many tables of @leaf_level and above lack below @t, for entries
 * anywhere in the inclusive range [@first, @last]. An existing superpage
 * lacks the same tables as a hole: a split makes only those on the way.
 */
static uint64_t count_missing(const struct p2m_table *t, uint64_t first,
                              uint64_t last, unsigned leaf_level)
{
    unsigned order = npt_order(t->level);
    uint64_t missing = 0;

    while (t->level > leaf_level && first <= last) {
        unsigned i = npt_index(first, t->level);
        npte_t e = p2m_table_read(t, i);
        /* A run of holes is one step. */
        unsigned next = npte_is_hole(e) ? p2m_table_next(t, i) : i + 1;
        uint64_t stop = ((first >> order) + (next - i)) << order;

        stop = MIN(last, stop - 1);
        if (npte_is_table(e, t->level)) {
            missing += count_missing(p2m_table_of(npte_mfn(e)), first, stop,
                                     leaf_level);
        } else {
            for (unsigned l = leaf_level; l < t->level; l++) {
                missing += span(first, stop, l);
            }
        }
        first = stop + 1;
    }
    return missing;
}

int p2m_batch_reserve(struct p2m_batch *b, gfn_t gfn, uint64_t nr,
                      unsigned order)
{
    uint64_t end = UINT64_C(1) << P2M_GFN_BITS;
    struct p2m_table *root = p2m_table_of(b->p2m->root), *t;
    uint64_t missing;
    struct list got;

    ASSERT(order == P2M_ORDER_4K || order == P2M_ORDER_2M ||
           order == P2M_ORDER_1G);
    if (gfn.n >= end || nr > end - gfn.n) {
        return -ERANGE;
    }
    if (nr == 0) {
        return 0;
    }
    if (b->p2m->no_users) {
        return -ESRCH;
    }
    if (order == P2M_ORDER_4K && npt_index(gfn.n, 1) + nr <= NPT_ENTRIES &&
        p2m_batch_has_leaf(b, gfn)) {
        return 0;           /* the usual: one table, and it is there */
    }
    missing = count_missing(root, gfn.n, gfn.n + nr - 1,
                            1 + order / NPT_BITS);
    if (missing > page_nr_free()) {
        return -ENOMEM;
    }
    list_init(&got);
    for (uint64_t i = 0; i < missing; i++) {
        t = p2m_table_alloc();
        if (t == NULL) {
            while (!list_is_empty(&got)) {
                p2m_table_free(table_pop(&got));
            }
            return -ENOMEM;
        }
        list_push(&got, &t->grace.link);
    }
    b->nr_reserved += missing;
    while (!list_is_empty(&got)) {
        list_push(&b->reserved, list_pop(&got));
    }
    return 0;
}

void p2m_batch_notify(struct p2m_batch *b)
{
    uint64_t nr = b->last.n - b->first.n;

    if (nr != 0) {
        list_for_each(n, &b->p2m->listeners) {
            struct p2m_listener *l = container_of(n, struct p2m_listener,
                                                  link);

            l->changed(l, b->p2m, b->first, nr);
        }
        b->last = b->first;
    }
}

/*
 * Make the changes so far final for every CPU; only then may what they took
 * out be used for anything else.
 */
static void settle(struct p2m_batch *b)
{
    p2m_batch_notify(b);
    if (b->need_flush) {
        p2m_flush(b->p2m);
        b->need_flush = false;
    }
    for (unsigned i = 0; i < b->nr_put; i++) {
        frame_put(b->put[i]);
    }
    b->nr_put = 0;
    p2m_tables_defer_free(b->dead);
    b->dead = NULL;
}

void p2m_batch_put_frame(struct p2m_batch *b, struct frame *f)
{
    if (b->nr_put == ARRAY_SIZE(b->put)) {
        settle(b);
    }
    b->put[b->nr_put++] = f;
}

void p2m_batch_flush(struct p2m_batch *b)
{
    settle(b);
}

/* Unlink the tables that are still empty, and those above that become so. */
static void prune(struct p2m_batch *b)
{
    while (!list_is_empty(&b->emptied)) {
        struct p2m_table *t = table_pop(&b->emptied);
        struct p2m_table *up = p2m_table_of(b->p2m->root);
        uint64_t base = p2m_table_base(t).n;

        while (up->level > t->level + 1) {
            npte_t e = p2m_table_read(up, npt_index(base, up->level));

            up = p2m_table_of(npte_mfn(e));
        }
        p2m_table_unlink(b, up, npt_index(base, up->level));
    }
    b->leaf = NULL;
}

void p2m_batch_end(struct p2m_batch *b)
{
    if (unlikely(!list_is_empty(&b->emptied))) {
        prune(b);
    }
    if (b->need_flush || b->last.n != b->first.n || b->nr_put != 0 ||
        b->dead != NULL) {
        settle(b);
    }
    while (!list_is_empty(&b->reserved)) {
        p2m_table_free(table_pop(&b->reserved));
    }
    spin_unlock(&b->p2m->lock);
}

