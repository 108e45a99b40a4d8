/*
 * test_sharing.h - the usual scene of XENMEM_sharing_op's tests: a privileged
 * caller and two domains, a and b, whose pages it works on.
 */
#pragma once

#include "test_caller.h"

#include "../../common/domain/sharing_op.h"

static struct domain *a, *b;
static uint64_t nr_free;

static inline void begin_mode(bool compat)
{
    test_machine(8192, 2);
    test_settle();
    nr_free = page_nr_free();
    a = make_target("a");
    b = make_target("b");
    make_caller(true, compat);
    for (unsigned g = 0; g < TARGET_PAGES; g++) {
        write_word(a, g, 1000 + g);
        write_word(b, g, 2000 + g);
    }
}

static inline void begin(void)
{
    begin_mode(false);
}

static inline void end_domain(struct domain **d)
{
    if (*d != NULL) {
        test_kill(*d);
        *d = NULL;
    }
}

static inline void end(void)
{
    struct share_stats s;

    audit_all();
    end_domain(&a);
    end_domain(&b);
    end_domain(&caller);
    test_settle();
    CHECK_EQ(domain_nr_unfreed(), 0);
    CHECK_EQ(page_nr_free(), nr_free);
    share_stats_get(&s);
    CHECK_EQ(s.shared_frames, 0);
}

static inline uint64_t nominated(const struct domain *d, uint64_t gfn)
{
    uint64_t h = 0;

    CHECK_EQ(op_nominate(d, gfn, &h), 0);
    CHECK(h != 0);
    return h;
}

/* One frame with @nr + 1 sharers: b's @gfn, and a's from @first on. */
static inline uint64_t many_sharers_at(uint64_t gfn, uint64_t first,
                                       uint64_t nr)
{
    uint64_t h = nominated(b, gfn), done = 0;

    CHECK_EQ(share_add_physmap_range(b->p2m, GFN(gfn), h, a->p2m, GFN(first),
                                     nr, 1, &done, NULL), 0);
    return h;
}

static inline uint64_t many_sharers(uint64_t nr)
{
    return many_sharers_at(0, 1000, nr);
}

/* A merge of 101 that has stopped on its way. */
static inline struct xen_mem_sharing_op half_a_merge(uint64_t *sh,
                                                     uint64_t *ch)
{
    struct work w = { .left = 1 };
    struct xen_mem_sharing_op op;

    *ch = many_sharers(100);
    *sh = nominated(a, 3);
    op = pair_op(XENMEM_sharing_op_share, a, 3, *sh, b, 0, *ch);
    CHECK_EQ(sharing_op_run(caller_vcpu, &op, &w), -ERESTART);
    CHECK(caller_vcpu->sharing != NULL);
    return op;
}

/* What has been moved has a new handle, the rest the old one. No role of the
 * first merge may be in the way. */
static inline void merge_the_rest(void)
{
    for (uint64_t g = 1000; g < 1100; g++) {
        CHECK_EQ(op_share(a, 3, nominated(a, 3), a, g, nominated(a, g)), 0);
    }
    CHECK_EQ(op_share(a, 3, nominated(a, 3), b, 0, nominated(b, 0)), 0);
    CHECK_EQ(op_debug_gfn(a, 3), 102);
}
