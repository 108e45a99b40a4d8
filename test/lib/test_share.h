/*
 * test_share.h - what tests of sharing begin and end with: a machine, domains
 * that are only an owner and a p2m, pages whose contents name them, and the
 * audits after every step.
 */
#pragma once

#include "test_p2m.h"

#include <quire/share.h>
#include <quire/string.h>

/* Contents: every word of a page is its value, turned by its place. */
static inline void test_fill(mfn_t m, uint64_t value)
{
    uint64_t *w = arch_map_frame(m);

    for (unsigned i = 0; i < PAGE_SIZE / 8; i++) {
        w[i] = value + i * UINT64_C(0x9e3779b97f4a7c15);
    }
}

static inline bool test_page_is(mfn_t m, uint64_t value)
{
    const uint64_t *w = arch_map_frame(m);

    for (unsigned i = 0; i < PAGE_SIZE / 8; i++) {
        if (w[i] != value + i * UINT64_C(0x9e3779b97f4a7c15)) {
            return false;
        }
    }
    return true;
}

static enum rmap_form test_share_form;  /* of the reverse maps */
static uint64_t test_share_objects;    /* on the heap before any domain */

static inline uint64_t test_heap_objects(void)
{
    struct heap_stats s;

    heap_stats_get(&s);
    return s.objects;
}

static inline void test_share_machine(uint64_t frames, unsigned cpus)
{
    host_machine_init(frames, cpus);
    test_share_objects = test_heap_objects();
    share_init(test_seed, test_share_form);
}

static inline void test_share_populate(struct p2m *p, uint64_t gfn,
                                       uint64_t value)
{
    test_fill(test_p2m_populate(p, gfn, 0), value);
}

/* A domain's last drop of one gfn. */
static inline void test_share_drop(struct p2m *p, gfn_t gfn,
                                   const struct p2m_entry *e)
{
    if (e->type == p2m_ram_shared) {
        share_drop(p, gfn, e);
    } else {
        test_drop(p, gfn, e);
    }
}

/* And of what p2m_relinquish() took out. */
static inline void test_share_drop_group(struct p2m *p,
                                         const struct p2m_group *g)
{
    if (g->type == p2m_ram_shared) {
        share_drop_group(p, g);
    } else {
        test_drop_group(p, g);
    }
}

static inline void test_share_kill(struct p2m *p)
{
    domid_t id = p->owner;
    gfn_t cursor = GFN(0);

    p2m_flush(p);
    p->no_users = true;
    CHECK_EQ(p2m_relinquish(p, &cursor, test_share_drop_group, NULL), 0);
    CHECK_EQ(p2m_audit(p), 0);
    p2m_put(p);
    test_drain_grace();
    CHECK_EQ(owner_release(id), 0);
}

static inline unsigned test_share_audit(void)
{
    struct share_audit a = { 0 };

    if (share_audit(&a, NULL) != 0 || a.changed) {
        return 1000;
    }
    return a.bad;
}

static inline void test_share_audit_all(void)
{
    CHECK_EQ(test_share_audit(), 0);
    for (domid_t id = 0; id < 64; id++) {
        struct p2m *p = p2m_get_by_owner(id);

        if (p != NULL) {
            CHECK_EQ(p2m_audit(p), 0);
            p2m_put(p);
        }
    }
    CHECK_EQ(mem_audit(), 0);
    CHECK_EQ(heap_audit(), 0);
}

/* No frame is shared and no memory of sharing's is left. */
static inline void test_share_all_gone(void)
{
    struct share_stats s;
    struct mem_totals t;

    share_stats_get(&s);
    CHECK_EQ(s.shared_frames, 0);
    CHECK_EQ(s.sharers, 0);
    CHECK_EQ(s.rmap_bytes, 0);
    CHECK_EQ(test_heap_objects(), test_share_objects);
    mem_totals_get(&t);
    CHECK_EQ(t.frames[FRAME_SHARED], 0);
    test_p2m_all_gone();
    test_share_audit_all();
}

/* A guest's write to @gfn that faults, as the exit handler would see it. */
static inline enum p2m_fault_result test_share_write_fault(struct p2m *p,
                                                           uint64_t gfn)
{
    struct npf f = { .gpa = gfn << PAGE_SHIFT, .access = P2M_W,
                     .present = true };

    return p2m_fault(p, &f);
}

/* Write @value to all of @gfn, faulting if it has to. */
static inline void test_share_write(struct p2m *p, uint64_t gfn,
                                    uint64_t value)
{
    CHECK_EQ(test_share_write_fault(p, gfn), P2M_FAULT_RETRY);
    CHECK_EQ(p2m_lookup(p, GFN(gfn)).type, p2m_ram_rw);
    test_fill(p2m_lookup(p, GFN(gfn)).mfn, value);
}

static inline bool test_gfn_is(struct p2m *p, uint64_t gfn, uint64_t value)
{
    return test_page_is(p2m_lookup(p, GFN(gfn)).mfn, value);
}

static inline share_handle_t test_nominate(struct p2m *p, uint64_t gfn)
{
    share_handle_t h = 0;

    CHECK_EQ(share_nominate(p, GFN(gfn), &h), 0);
    CHECK(h != 0);
    return h;
}

/* Nominate both, and merge without a budget. */
static inline int test_share(struct p2m *sp, uint64_t sgfn, struct p2m *cp,
                             uint64_t cgfn)
{
    share_handle_t sh = test_nominate(sp, sgfn);
    share_handle_t ch = test_nominate(cp, cgfn);
    struct share_merge m = { 0 };

    return share_frames(sp, GFN(sgfn), sh, cp, GFN(cgfn), ch, &m, NULL);
}
static inline uint64_t test_sharers(struct p2m *p, uint64_t gfn)
{
    struct share_info info = { .sharers = 0 };

    return share_debug_gfn(p, GFN(gfn), &info) == 0 ? info.sharers : 0;
}
