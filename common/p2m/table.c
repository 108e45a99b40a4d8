/* table.c - table pages: allocation, occupancy, deferred free. */
#include "table.h"

#include <quire/heap.h>
#include <quire/page_alloc.h>
#include <quire/string.h>
#include <quire/work.h>

/* Units: a page of zeroes and its record; freeing one of many. */
#define COST_TABLE 750
#define COST_FREE 90

#define CHAIN_MAX 16        /* tables freed in one go */

struct p2m_table *p2m_table_alloc(void)
{
    struct p2m_table *t = heap_zalloc(sizeof(*t));
    struct frame *f;
    _Atomic npte_t *entries;

    if (t == NULL) {
        return NULL;
    }
    f = page_alloc(0, FRAME_TABLE);
    if (f == NULL) {
        heap_free(t);
        return NULL;
    }
    work_charge(COST_TABLE);
    list_init(&t->grace.link);
    t->mfn = frame_to_mfn(f);
    entries = npt_map(t->mfn);
    page_zero((void *)entries);
    npt_unmap(entries);
    f->user = t;
    return t;
}

void p2m_table_free(struct p2m_table *t)
{
    struct frame *f = mfn_to_frame(t->mfn);

    BUG_ON(frame_refs(f) != 1);
    f->user = NULL;
    page_free(f, 0);
    heap_free(t);
}

/* The chain that hangs from the first: one grace period, one taking of each
 * lock. */
static void free_after_grace(struct grace_head *h)
{
    struct p2m_table *t = container_of(h, struct p2m_table, grace);
    struct frame *frame[CHAIN_MAX];
    void *record[CHAIN_MAX];
    unsigned n = 0;

    for (; t != NULL; t = t->chain) {
        frame[n] = mfn_to_frame(t->mfn);
        frame[n]->user = NULL;
        record[n++] = t;
    }
    work_charge(n * COST_FREE);
    page_free_many(frame, n);
    heap_free_many(record, n);
}

void p2m_tables_defer_free(struct p2m_table *chain)
{
    while (chain != NULL) {
        struct p2m_table *first = chain, *last = chain;

        for (unsigned n = 1; n < CHAIN_MAX && last->chain != NULL; n++) {
            last = last->chain;
        }
        chain = last->chain;
        last->chain = NULL;
        list_remove(&first->grace.link);
        grace_defer(&first->grace, free_after_grace);
    }
}

unsigned p2m_table_next(const struct p2m_table *t, unsigned i)
{
    while (i < NPT_ENTRIES) {
        uint64_t word = atomic_load_explicit(&t->occupied[i / 64],
                                             memory_order_acquire) >> i % 64;

        if (word != 0) {
            return i + (unsigned)__builtin_ctzll(word);
        }
        i = (i | 63) + 1;
    }
    return NPT_ENTRIES;
}
