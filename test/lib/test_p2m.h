/*
 * test_p2m.h - what tests of the p2m begin and end with: an owner with its
 * map, frames put into it, all of it taken down and accounted for.
 */
#pragma once

#include "../../arch/host/host.h"
#include "../../arch/host/script.h"
#include "../../arch/host/tlb.h"
#include "test.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/grace.h>
#include <quire/heap.h>
#include <quire/owner.h>
#include <quire/p2m.h>
#include <quire/page_alloc.h>
#include <quire/rng.h>

static inline void test_drain_grace(void)
{
    for (unsigned i = 0; grace_nr_pending() != 0; i++) {
        CHECK(i < 1000000);
        grace_quiesce();
    }
}

static inline struct p2m *test_p2m_create(domid_t id)
{
    struct p2m *p;

    CHECK_EQ(owner_claim(id, NULL, 1 << 20), id);
    p = p2m_create(id);
    CHECK(p != NULL);
    return p;
}

/* The owner's hold on frames mapped as RAM ends here. */
static inline void test_drop(struct p2m *p, gfn_t gfn,
                             const struct p2m_entry *e)
{
    (void)gfn;
    if (e->type == p2m_ram_rw || e->type == p2m_ram_ro) {
        CHECK_EQ(frame_owner(mfn_to_frame(e->mfn)), p->owner);
        frame_put_allocated(mfn_to_frame(e->mfn));
    }
}

typedef void test_drop_fn(struct p2m *p, gfn_t gfn,
                          const struct p2m_entry *e);

/* A group gfn by gfn. */
static inline void test_drop_each(struct p2m *p, const struct p2m_group *g,
                                  test_drop_fn *drop)
{
    for (uint64_t todo = g->map; todo != 0; todo &= todo - 1) {
        unsigned i = (unsigned)__builtin_ctzll(todo);
        struct p2m_entry e = { .type = g->type };

        for (uint64_t k = 0; k < UINT64_C(1) << g->order; k++) {
            mfn_t mfn = p2m_group_mfn(g, i);

            e.mfn = mfn_eq(mfn, MFN_INVALID) ? MFN_INVALID : mfn_add(mfn, k);
            drop(p, gfn_add(p2m_group_gfn(g, i), k), &e);
        }
    }
}

static inline void test_drop_group(struct p2m *p, const struct p2m_group *g)
{
    test_drop_each(p, g, test_drop);
}

static inline void test_p2m_destroy(struct p2m *p)
{
    domid_t id = p->owner;
    gfn_t cursor = GFN(0);

    p2m_flush(p);
    p->no_users = true;
    CHECK_EQ(p2m_relinquish(p, &cursor, test_drop_group, NULL), 0);
    CHECK_EQ(p2m_audit(p), 0);
    CHECK_EQ(p->nr_tables, 1);
    p2m_put(p);
    CHECK(p2m_get_by_owner(id) == NULL);
    test_drain_grace();
    CHECK_EQ(owner_release(id), 0);
}

/* Nothing of any p2m is left, and the heap has no object at all. */
static inline void test_p2m_all_gone(void)
{
    struct heap_stats h;
    struct mem_totals t;

    heap_stats_get(&h);
    CHECK_EQ(h.objects, 0);
    mem_totals_get(&t);
    CHECK_EQ(t.frames[FRAME_TABLE], 0);
    CHECK_EQ(t.frames[FRAME_GUEST], 0);
    CHECK_EQ(mem_audit(), 0);
    CHECK_EQ(heap_audit(), 0);
}

/* One change in a batch of its own. */
static inline int test_p2m_set(struct p2m *p, uint64_t gfn, mfn_t mfn,
                               unsigned order, enum p2m_type type)
{
    struct p2m_batch b;
    int err;

    p2m_batch_begin(&b, p);
    err = p2m_batch_reserve(&b, GFN(gfn), UINT64_C(1) << order, order);
    if (err == 0) {
        p2m_set(&b, GFN(gfn), mfn, order, type);
    }
    p2m_batch_end(&b);
    return err;
}

/* New memory of the owner's at @gfn. */
static inline mfn_t test_p2m_populate(struct p2m *p, uint64_t gfn,
                                      unsigned order)
{
    struct frame *f = page_alloc_owned(p->owner, order);

    CHECK(f != NULL);
    CHECK_EQ(test_p2m_set(p, gfn, frame_to_mfn(f), order, p2m_ram_rw), 0);
    return frame_to_mfn(f);
}
