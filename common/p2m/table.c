/* table.c - table pages: allocation, occupancy, deferred free. */
#include "table.h"

#include <quire/heap.h>
#include <quire/page_alloc.h>
#include <quire/string.h>
#include <quire/work.h>

#define COST_TABLE 750      /* units: a page of zeroes and its record */

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

static void free_after_grace(struct grace_head *h)
{
    p2m_table_free(container_of(h, struct p2m_table, grace));
}

void p2m_table_defer_free(struct p2m_table *t)
{
    list_remove(&t->grace.link);
    grace_defer(&t->grace, free_after_grace);
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
