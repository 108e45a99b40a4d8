/*
 * test_scan_stop.c - the scanner gives up: unmerging, no memory, a domain that
 * goes, and a slice that ends at any check.
 */
#include "test_scan.h"

/* Without memory some stay merged; asked again, with memory, they do not. */
TEST(an_unmerge_that_failed_is_made_again)
{
    struct p2m *p, *q;

    machine();
    p = domain(1);
    q = domain(2);
    test_share_populate(p, 5, 42);
    test_share_populate(q, 6, 42);
    pass(2);
    CHECK_EQ(owner_set_max(1, 0), 0);
    CHECK_EQ(owner_set_max(2, 0), 0);
    scan_set_run(SCAN_UNMERGE);
    while (scan_has_work()) {
        (void)!scan_run(NULL);
    }
    CHECK(stats().unmerge_failed);
    CHECK_EQ(type(p, 5), p2m_ram_shared);
    CHECK_EQ(owner_set_max(1, 100), 0);
    CHECK_EQ(owner_set_max(2, 100), 0);
    scan_set_run(SCAN_UNMERGE);
    CHECK(!stats().is_idle);
    while (scan_has_work()) {
        (void)!scan_run(NULL);
    }
    CHECK(!stats().unmerge_failed);
    CHECK_EQ(type(p, 5), p2m_ram_rw);
    CHECK_EQ(type(q, 6), p2m_ram_rw);
    end(p, q);
}

TEST(unmerge_makes_all_private_again)
{
    struct p2m *p, *q;

    machine();
    p = domain(1);
    q = domain(2);
    for (unsigned i = 0; i < 300; i++) {
        test_share_populate(i % 2 ? p : q, i, i % 3);
    }
    pass(2);
    CHECK_EQ(stats().merged, 297);
    stop(SCAN_UNMERGE);
    CHECK_EQ(owner_get(1)->pages, 150);
    CHECK_EQ(owner_get(2)->pages, 150);
    CHECK_EQ(owner_get(DOMID_COW)->pages, 0);
    CHECK_EQ(stats().pages_sharing, 0);
    for (unsigned i = 0; i < 300; i++) {
        CHECK(test_gfn_is(i % 2 ? p : q, i, i % 3));
    }
    scan_knobs.run = SCAN_RUN;
    pass(2);
    CHECK_EQ(stats().merged, 594);
    end(p, q);
}

TEST(unmerge_without_memory_loses_nothing)
{
    struct p2m *p;

    machine();
    p = domain(1);
    for (unsigned i = 0; i < 20; i++) {
        test_share_populate(p, i, 1);
    }
    pass(2);
    owner_get(1)->max_pages = 10;
    stop(SCAN_UNMERGE);
    CHECK(stats().unmerge_failed);
    CHECK_EQ(owner_get(1)->pages, 10);
    CHECK_EQ(test_sharers(p, 19), 10);
    for (unsigned i = 0; i < 20; i++) {
        CHECK(test_gfn_is(p, i, 1));
    }
    owner_get(1)->max_pages = 100;
    scan_knobs.run = SCAN_RUN;
    pass(1);
    stop(SCAN_UNMERGE);
    CHECK(!stats().unmerge_failed);
    CHECK_EQ(owner_get(1)->pages, 20);
    end(p, NULL);
}

/* Its id may be another's in the next slice. */
TEST(a_domain_may_go_between_two_slices)
{
    struct p2m *p, *q;

    machine();
    q = domain(9);
    for (unsigned i = 0; i < 40; i++) {
        test_share_populate(q, i, i);
    }
    for (unsigned n = 0; n < 60; n++) {
        p = domain(3);
        for (unsigned i = 0; i < 400; i++) {
            test_share_populate(p, i * 50, i % 50 + n % 2);
        }
        for (unsigned i = 0; i < 2 + n; i++) {
            struct work w = { .left = 1 };

            (void)!scan_run(&w);
        }
        if (n % 3 == 0) {
            pass(2);
        }
        test_share_kill(p);
        test_share_audit_all();
    }
    pass(1);
    end(q, NULL);
}

/* Whatever allocation fails: nothing breaks, and the next pass makes up. */
TEST(each_allocation_may_fail)
{
    for (unsigned n = 1; n < 60; n++) {
        struct p2m *p, *q;

        machine();
        p = domain(1);
        q = domain(2);
        for (unsigned i = 0; i < 12; i++) {
            test_share_populate(i % 2 ? p : q, i * 100, i / 2);
        }
        test_fill(test_p2m_populate(p, 1 << 18, 9), 1);
        host_fail_alloc_at(n);
        for (unsigned i = 0; i < 40; i++) {
            struct work w = WORK_INIT;

            (void)!scan_run(&w);
            test_share_audit_all();
        }
        host_fail_alloc_at(0);
        pass(4);
        CHECK(stats().merged >= 7);
        for (unsigned i = 0; i < 12; i++) {
            CHECK_EQ(type(i % 2 ? p : q, i * 100), p2m_ram_shared);
            CHECK(test_gfn_is(i % 2 ? p : q, i * 100, i / 2));
        }
        end(p, q);
    }
}

/* Preempted at the n-th check, for every n. */
TEST(each_check_may_preempt)
{
    for (unsigned n = 1; n < 200; n++) {
        struct p2m *p, *q;
        uint64_t checks = 0;

        machine();
        p = domain(1);
        q = domain(2);
        for (unsigned i = 0; i < 30; i++) {
            test_share_populate(i % 2 ? p : q, i * 100, i % 7);
        }
        while (stats().full_scans < 3) {
            struct work w = { .left = INT64_MAX, .force_at = 0 };

            w.force_at = n > checks ? n - checks : 0;
            (void)!scan_run(&w);
            checks += w.checks;
        }
        CHECK_EQ(stats().merged, 23);
        for (unsigned i = 0; i < 30; i++) {
            CHECK(test_gfn_is(i % 2 ? p : q, i * 100, i % 7));
        }
        test_share_audit_all();
        end(p, q);
    }
}
