/*
 * test_scan.c - the scanner, step by step: what it merges and what it leaves
 * alone, and how often it comes back. How it ends is in test_scan_stop.c.
 */
#include "test_scan.h"

/* What of the scanner is tested by itself; all else by what
 * include/quire/scan.h shows. */
uint64_t scan_sum(const void *page);
bool scan_equal(const void *a, const void *b);
bool scan_is_zero(const void *page);

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
