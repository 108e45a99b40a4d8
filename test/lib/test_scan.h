/*
 * test_scan.h - the scanner in a machine of its own, pass by pass.
 */
#pragma once

#include "test_share.h"

#include <quire/clone.h>
#include <quire/scan.h>

/* @nr passes more: what include/quire/scan.h shows is passes, not visits. */
static inline void pass(unsigned nr)
{
    struct scan_stats t;
    uint64_t until;

    scan_stats_get(&t);
    until = t.full_scans + nr;
    while (t.full_scans < until) {
        struct work w = WORK_INIT;

        (void)!scan_run(&w);
        scan_stats_get(&t);
        CHECK_EQ(nr_locks_held(), 0);
    }
    test_share_audit_all();
}

static inline struct p2m *domain(domid_t id)
{
    struct p2m *p = test_p2m_create(id);

    scan_domain_add(p);
    return p;
}

static inline void machine(void)
{
    test_share_machine(4096, 1);
    scan_knobs.run = SCAN_RUN;
}

static inline void stop(enum scan_mode mode)
{
    struct scan_stats t;

    scan_knobs.run = mode;
    while (scan_has_work()) {
        struct work w = WORK_INIT;

        (void)!scan_run(&w);
    }
    scan_stats_get(&t);
    CHECK_EQ(t.bytes, 0);
    CHECK(t.is_idle);
    test_share_audit_all();
}

static inline void end(struct p2m *p, struct p2m *q)
{
    stop(SCAN_STOP);
    test_share_kill(p);
    if (q != NULL) {
        test_share_kill(q);
    }
    test_share_all_gone();
}

static inline struct scan_stats stats(void)
{
    struct scan_stats t;

    scan_stats_get(&t);
    return t;
}

static inline enum p2m_type type(struct p2m *p, uint64_t gfn)
{
    return p2m_lookup(p, GFN(gfn)).type;
}
