/*
 * test_scan.c - the scanner, step by step: what it merges and what it leaves
 * alone, how often it comes back, and that it lets go of everything.
 */
#include "test_share.h"

#include <quire/clone.h>
#include <quire/scan.h>

uint64_t scan_sum(const void *page);
bool scan_equal(const void *a, const void *b);
bool scan_is_zero(const void *page);

/* The two functions of the scanner that are tested by themselves; all else
 * by what include/quire/scan.h shows: passes, not visits, are what can be seen. */
static void pass(unsigned nr)
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

static struct p2m *domain(domid_t id)
{
    struct p2m *p = test_p2m_create(id);

    scan_domain_add(p);
    return p;
}

static void machine(void)
{
    test_share_machine(4096, 1);
    scan_knobs.run = SCAN_RUN;
}

static void stop(enum scan_mode mode)
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

static void end(struct p2m *p, struct p2m *q)
{
    stop(SCAN_STOP);
    test_share_kill(p);
    if (q != NULL) {
        test_share_kill(q);
    }
    test_share_all_gone();
}

static struct scan_stats stats(void)
{
    struct scan_stats t;

    scan_stats_get(&t);
    return t;
}

static enum p2m_type type(struct p2m *p, uint64_t gfn)
{
    return p2m_lookup(p, GFN(gfn)).type;
}

TEST(equal_pages_are_merged_in_the_second_pass)
{
    struct p2m *p, *q;
    struct scan_stats t;

    machine();
    p = domain(1);
    q = domain(2);
    test_share_populate(p, 5, 42);
    test_share_populate(p, 6, 43);
    test_share_populate(q, 900, 42);
    test_share_populate(q, 901, 42);
    pass(1);
    CHECK_EQ(stats().merged, 0);
    CHECK_EQ(stats().pages_unshared, 4);
    pass(1);
    CHECK_EQ(type(p, 5), p2m_ram_shared);
    CHECK_EQ(type(p, 6), p2m_ram_rw);
    CHECK_EQ(test_sharers(q, 901), 3);
    CHECK(test_gfn_is(p, 5, 42) && test_gfn_is(q, 900, 42));
    CHECK(test_gfn_is(q, 901, 42) && test_gfn_is(p, 6, 43));
    pass(1);
    t = stats();
    CHECK_EQ(t.merged, 2);
    CHECK_EQ(t.pages_shared, 1);
    /* Stopped, what was merged is so still. */
    stop(SCAN_STOP);
    CHECK_EQ(stats().pages_shared, 1);
    CHECK_EQ(stats().pages_sharing, t.pages_sharing);
    CHECK_EQ(t.pages_sharing, 2);
    CHECK_EQ(t.saved_within, 1);
    CHECK_EQ(t.saved_across, 1);
    CHECK_EQ(t.saved_zero, 0);
    CHECK_EQ(t.pages_unshared, 1);
    CHECK_EQ(owner_get(1)->pages + owner_get(2)->pages, 1);
    end(p, q);
}

TEST(a_page_like_a_shared_one_is_merged_at_first_sight)
{
    struct p2m *p, *q;

    machine();
    p = domain(1);
    q = domain(2);
    test_share_populate(p, 5, 42);
    test_share_populate(p, 6, 42);
    pass(2);
    CHECK_EQ(test_sharers(p, 5), 2);
    test_share_populate(q, 7, 42);
    pass(1);
    CHECK_EQ(test_sharers(p, 5), 3);
    end(p, q);
}

TEST(zeros_have_one_frame_and_a_count_of_their_own)
{
    struct p2m *p, *q;
    struct scan_stats t;

    machine();
    p = domain(1);
    q = domain(2);
    for (unsigned i = 0; i < 10; i++) {
        page_zero(arch_map_frame(test_p2m_populate(i % 3 ? p : q, 7 * i, 0)));
    }
    pass(3);
    t = stats();
    CHECK_EQ(t.zero_pages, 10);
    CHECK_EQ(t.saved_zero, 9);
    CHECK_EQ(t.pages_shared, 0);
    CHECK_EQ(t.pages_sharing, 0);
    CHECK_EQ(t.saved_within + t.saved_across, 0);
    CHECK_EQ(t.general_profit, 9 * 4096 - (int64_t)t.bytes);
    CHECK_EQ(test_sharers(p, 7), 10);
    end(p, q);
}

/* Each bit of a page counts, and so do two of neighbours. */
TEST(the_checksum_notices_every_change)
{
    static uint64_t page[PAGE_SIZE / 8];
    unsigned missed = 0;
    struct rng r;
    uint64_t sum;

    rng_seed(&r, test_seed);
    for (unsigned i = 0; i < PAGE_SIZE / 8; i++) {
        page[i] = i % 3 == 0 ? rng_next(&r) : 0;
    }
    sum = scan_sum(page);
    for (unsigned i = 0; i < PAGE_SIZE * 8; i++) {
        uint64_t bit = UINT64_C(1) << i % 64, other = rng_below(&r, 512 * 64);

        page[i / 64] ^= bit;
        CHECK(scan_sum(page) != sum);
        page[(i / 64 + 1) % 512] ^= bit;
        CHECK(scan_sum(page) != sum);
        page[(i / 64 + 1) % 512] ^= bit;
        page[other / 64] ^= UINT64_C(1) << other % 64;
        missed += other != i && scan_sum(page) == sum;
        page[other / 64] ^= UINT64_C(1) << other % 64;
        page[i / 64] ^= bit;
        CHECK_EQ(scan_sum(page), sum);
    }
    /* Within eight words the sum is linear: of 32,767 others 7 cancel. */
    CHECK(missed < 40);
}

TEST(equal_means_every_word)
{
    static uint64_t a[PAGE_SIZE / 8], b[PAGE_SIZE / 8];

    CHECK(scan_equal(a, b) && scan_is_zero(a));
    for (unsigned i = 0; i < PAGE_SIZE / 8; i++) {
        a[i] = 1;
        CHECK(!scan_equal(a, b) && !scan_equal(b, a) && !scan_is_zero(a));
        a[i] = 0;
    }
    CHECK(scan_equal(a, b) && scan_is_zero(a));
}

TEST(nothing_is_merged_across_trust_groups)
{
    struct p2m *p, *q;
    uint64_t done = 0;

    machine();
    p = domain(1);
    q = domain(2);
    q->trust_group = 7;
    for (unsigned i = 0; i < 4; i++) {
        test_share_populate(i % 2 ? p : q, i, 42);
        page_zero(arch_map_frame(test_p2m_populate(i % 2 ? p : q, 8 + i, 0)));
    }
    pass(3);
    CHECK_EQ(test_sharers(p, 1), 2);
    CHECK_EQ(test_sharers(q, 0), 2);
    CHECK_EQ(test_sharers(p, 9), 2);
    CHECK_EQ(stats().zero_pages, 4);
    CHECK_EQ(stats().saved_zero, 2);
    CHECK_EQ(test_share(p, 1, q, 0), -EPERM);
    CHECK_EQ(share_add_range(p, GFN(1), q, GFN(50), 1, &done, NULL), -EPERM);
    CHECK_EQ(share_add_physmap(p, GFN(1), test_nominate(p, 1), q, GFN(50)),
             -EPERM);
    end(p, q);
}

TEST(within_one_domain_only_if_so_wanted)
{
    struct p2m *p, *q;

    machine();
    scan_knobs.merge_across_domains = 0;
    p = domain(1);
    q = domain(2);
    for (unsigned i = 0; i < 5; i++) {
        test_share_populate(i < 2 ? p : q, i, 42);
    }
    pass(3);
    CHECK_EQ(test_sharers(p, 1), 2);
    CHECK_EQ(test_sharers(q, 3), 3);
    CHECK_EQ(stats().saved_within, 3);
    CHECK_EQ(stats().saved_across, 0);
    end(p, q);
}

TEST(only_who_has_opted_in)
{
    struct p2m *p, *q;

    machine();
    p = domain(1);
    q = test_p2m_create(2);
    test_share_populate(p, 1, 42);
    test_share_populate(q, 1, 42);
    pass(3);
    CHECK_EQ(type(p, 1), p2m_ram_rw);
    scan_domain_add(q);
    pass(2);
    CHECK_EQ(test_sharers(p, 1), 2);
    scan_domain_remove(q);
    test_share_populate(q, 2, 42);
    pass(3);
    CHECK_EQ(type(q, 2), p2m_ram_rw);
    CHECK_EQ(test_sharers(p, 1), 2);
    end(p, q);
}

/* What a domain merged within itself outlives it in a fork; who has its id next
 * may be of another trust group. */
TEST(an_id_used_again_shares_nothing_with_what_its_last_domain_left)
{
    struct share_clone c;
    struct p2m *p, *q;

    machine();
    scan_knobs.merge_across_domains = 0;
    p = domain(1);
    test_share_populate(p, 5, 42);
    test_share_populate(p, 6, 42);
    pass(2);
    CHECK_EQ(test_sharers(p, 5), 2);
    q = test_p2m_create(2);
    CHECK_EQ(share_clone_begin(&c, p, q), 0);
    CHECK_EQ(share_clone(&c, p, q, NULL), 0);
    CHECK_EQ(test_sharers(q, 5), 4);
    test_share_kill(p);
    p = domain(1);
    p->trust_group = 7;
    test_share_populate(p, 5, 42);
    pass(3);
    CHECK_EQ(type(p, 5), p2m_ram_rw);
    CHECK_EQ(test_sharers(q, 5), 2);
    test_share_populate(p, 6, 42);
    pass(2);
    CHECK_EQ(test_sharers(p, 5), 2);
    CHECK_EQ(test_sharers(q, 5), 2);
    stop(SCAN_STOP);
    test_share_kill(p);
    q->no_users = true;
    CHECK_EQ(share_base_drop(q, NULL), 0);
    share_base_free(q);
    test_share_kill(q);
    test_share_all_gone();
}

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

/* What changes is looked at after 1, 3, 7 ... passes of rest. */
TEST(volatile_pages_are_skipped_for_longer_and_longer)
{
    struct p2m *p;
    uint64_t looked = 0;

    machine();
    p = domain(1);
    test_share_populate(p, 1, 0);
    for (unsigned i = 1; i <= 600; i++) {
        test_share_write(p, 1, i);
        pass(1);
        CHECK_EQ(stats().pages_volatile, i != 1);
    }
    looked = stats().pages_scanned;
    CHECK_EQ(looked + stats().pages_skipped, 600);
    CHECK(looked >= 9 && looked <= 11);
    end(p, NULL);
}

/* A page table: unchanged, and written to as soon as it is shared. */
TEST(what_is_broken_at_once_is_left_alone)
{
    struct p2m *p;

    machine();
    p = domain(1);
    test_share_populate(p, 1, 42);
    test_share_populate(p, 2, 42);
    for (unsigned i = 1; i <= 1000; i++) {
        pass(1);
        CHECK_EQ(test_share_write_fault(p, 1), P2M_FAULT_RETRY);
        CHECK_EQ(type(p, 1), p2m_ram_rw);
    }
    CHECK(stats().merged >= 5 && stats().merged <= 12);
    /* Once it is written no more it stays. */
    pass(300);
    CHECK_EQ(test_sharers(p, 1), 2);
    end(p, NULL);
}

TEST(a_late_break_is_forgiven)
{
    struct p2m *p;

    machine();
    p = domain(1);
    test_share_populate(p, 1, 42);
    test_share_populate(p, 2, 42);
    pass(20);
    CHECK_EQ(test_sharers(p, 1), 2);
    test_share_write(p, 1, 42);
    pass(1);
    CHECK_EQ(stats().broken, 1);
    CHECK_EQ(test_sharers(p, 1), 2);
    end(p, NULL);
}

TEST(superpages_are_split_for_a_page_that_has_an_equal)
{
    struct p2m *p, *q;
    mfn_t m;

    machine();
    p = domain(1);
    q = domain(2);
    m = test_p2m_populate(p, 512, 9);
    for (unsigned i = 0; i < 512; i++) {
        test_fill(mfn_add(m, i), i);
    }
    test_share_populate(q, 3, 77);
    pass(3);
    CHECK_EQ(test_sharers(q, 3), 2);
    CHECK_EQ(type(p, 512 + 77), p2m_ram_shared);
    CHECK_EQ(p2m_lookup(p, GFN(512)).order, 0);
    CHECK_EQ(stats().pages_unshared, 511);
    end(p, q);
}

TEST(pages_that_others_refer_to_are_left)
{
    struct p2m *p, *q;
    struct frame *f;

    machine();
    p = domain(1);
    q = domain(2);
    test_share_populate(p, 1, 42);
    test_share_populate(q, 1, 42);
    test_share_populate(q, 2, 42);
    f = mfn_to_frame(p2m_lookup(p, GFN(1)).mfn);
    CHECK_EQ(frame_get(f, 1), 0);
    pass(4);
    CHECK_EQ(type(p, 1), p2m_ram_rw);
    CHECK_EQ(test_sharers(q, 2), 2);
    frame_put(f);
    pass(2);
    CHECK_EQ(test_sharers(q, 2), 3);
    end(p, q);
}

TEST(frames_shared_by_the_toolstack_take_in_equals)
{
    struct p2m *p, *q;

    machine();
    p = test_p2m_create(1);
    q = domain(2);
    test_share_populate(p, 1, 42);
    test_share_populate(q, 1, 42);
    CHECK_EQ(test_share(p, 1, q, 1), 0);
    test_share_populate(q, 9, 42);
    pass(1);
    CHECK_EQ(test_sharers(p, 1), 3);
    stop(SCAN_UNMERGE);
    /* Not the scanner's to undo. */
    CHECK_EQ(test_sharers(p, 1), 3);
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
