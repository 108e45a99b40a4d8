/* test_share_add.c - mapping a shared frame at holes: one gfn and ranges,
 * every error, and preemption at every check. */
#include "test_share.h"

#include "../../common/share/shared_frame.h"

static struct p2m *a, *b;

static void setup(void)
{
    test_share_machine(1 << 13, 2);
    a = test_p2m_create(1);
    b = test_p2m_create(2);
    for (unsigned g = 0; g < 8; g++) {
        test_share_populate(a, g, 100 + g);
        test_share_populate(b, g, 200 + g);
    }
}

static void teardown(void)
{
    test_share_audit_all();
    test_share_kill(a);
    test_share_audit_all();
    test_share_kill(b);
    test_share_all_gone();
}

static struct share_stats stats(void)
{
    struct share_stats s;

    share_stats_get(&s);
    return s;
}

TEST(add_physmap_maps_it_at_a_hole)
{
    share_handle_t h;
    struct frame *f;
    uint64_t pages;

    setup();
    h = test_nominate(a, 0);
    f = mfn_to_frame(p2m_lookup(a, GFN(0)).mfn);
    pages = owner_get(2)->pages;
    CHECK_EQ(share_add_physmap(a, GFN(0), h, b, GFN(1000)), 0);
    CHECK_EQ(share_add_physmap(b, GFN(1000), h, a, GFN(2000)), 0);
    CHECK_EQ(share_add_physmap(a, GFN(0), h, b,
                               GFN((UINT64_C(1) << 36) - 1)), 0);
    CHECK_EQ(frame_refs(f), 4);
    CHECK_EQ(frame_type_count(f), 4);
    CHECK_EQ(test_sharers(a, 0), 4);
    CHECK_EQ(owner_get(2)->pages, pages);
    CHECK(test_gfn_is(b, 1000, 100) && test_gfn_is(a, 2000, 100));
    CHECK_EQ(stats().saved_frames, 3);
    CHECK_EQ(stats().add_physmaps, 3);
    CHECK_EQ(a->count[p2m_ram_shared], 2);
    CHECK_EQ(b->count[p2m_ram_shared], 2);
    teardown();
}

TEST(add_physmap_refuses)
{
    share_handle_t h, stale;

    setup();
    stale = test_nominate(a, 0);
    CHECK_EQ(share_unshare(a, GFN(0)), 0);
    CHECK_EQ(share_add_physmap(a, GFN(0), stale, b, GFN(99)), -ENOEXEC);
    h = test_nominate(a, 0);
    CHECK_EQ(share_add_physmap(a, GFN(0), stale, b, GFN(99)), -ENOEXEC);
    CHECK_EQ(share_add_physmap(a, GFN(0), 0, b, GFN(99)), -ENOEXEC);
    CHECK_EQ(share_add_physmap(a, GFN(1), h, b, GFN(99)), -ENOEXEC);
    CHECK_EQ(share_add_physmap(a, GFN(70), h, b, GFN(99)), -ENOEXEC);
    CHECK_EQ(share_add_physmap(b, GFN(0), h, b, GFN(99)), -ENOEXEC);
    CHECK_EQ(share_add_physmap(a, GFN(0), h, b, GFN(0)), -EBUSY);
    CHECK_EQ(share_add_physmap(a, GFN(0), h, a, GFN(0)), -EBUSY);
    CHECK_EQ(share_add_physmap(a, GFN(0), h, b, GFN(UINT64_C(1) << 36)),
             -ERANGE);
    CHECK_EQ(share_add_physmap(a, GFN(0), h, b, GFN(UINT64_MAX)), -ERANGE);
    b->no_users = true;
    CHECK_EQ(share_add_physmap(a, GFN(0), h, b, GFN(99)), -ESRCH);
    CHECK_EQ(share_nominate(b, GFN(0), &h), -ESRCH);
    b->no_users = false;
    CHECK_EQ(stats().sharers, 1);
    CHECK_EQ(stats().add_physmaps, 0);
    CHECK_EQ(test_sharers(a, 0), 1);
    teardown();
}

TEST(add_physmap_range)
{
    static const uint64_t strides[] = { 1, 3, 512, 100000 };
    share_handle_t h;

    setup();
    h = test_nominate(a, 0);
    for (unsigned s = 0; s < ARRAY_SIZE(strides); s++) {
        uint64_t first = UINT64_C(0x1000000) * (s + 1), done = 0;

        CHECK_EQ(share_add_physmap_range(a, GFN(0), h, b, GFN(first), 150,
                                         strides[s], &done, NULL), 0);
        CHECK_EQ(done, 150);
        for (unsigned i = 0; i < 150; i++) {
            CHECK(mfn_eq(p2m_lookup(b, GFN(first + i * strides[s])).mfn,
                         p2m_lookup(a, GFN(0)).mfn));
        }
    }
    CHECK_EQ(b->count[p2m_ram_shared], 600);
    CHECK_EQ(test_sharers(a, 0), 601);
    teardown();
}

TEST(add_physmap_range_stops_where_it_cannot_go_on)
{
    uint64_t done = 0, last = (UINT64_C(1) << 36) - 1;
    share_handle_t h;

    setup();
    h = test_nominate(a, 0);
    test_share_populate(b, 600, 1);
    CHECK_EQ(share_add_physmap_range(a, GFN(0), h, b, GFN(530), 100, 1,
                                     &done, NULL), -EBUSY);
    CHECK_EQ(done, 70);
    CHECK_EQ(b->count[p2m_ram_shared], 70);
    done = 0;
    CHECK_EQ(share_add_physmap_range(a, GFN(0), h, b, GFN(1000), 2, 0,
                                     &done, NULL), -EINVAL);
    CHECK_EQ(share_add_physmap_range(a, GFN(0), h, b, GFN(last), 2, 1,
                                     &done, NULL), -ERANGE);
    CHECK_EQ(share_add_physmap_range(a, GFN(0), h, b, GFN(1000), 3,
                                     UINT64_MAX / 2, &done, NULL), -ERANGE);
    CHECK_EQ(share_add_physmap_range(a, GFN(0), h, b, GFN(1000), 0, 1,
                                     &done, NULL), 0);
    CHECK_EQ(done, 0);
    CHECK_EQ(share_add_physmap_range(a, GFN(0), h, b, GFN(last), 1, 0,
                                     &done, NULL), 0);
    CHECK_EQ(done, 1);
    teardown();
}

/* A range cut short at each of its checks in turn is the same range. There is
 * a check for each gfn, or of neighbours for each group that they are in. */
static void preempted_anywhere(uint64_t stride, uint64_t checks)
{
    enum { NR = 140 };

    for (uint64_t at = 0; at <= NR + 3; at++) {
        struct work w = { .left = 1 << 30, .force_at = at };
        uint64_t done = 0, slices = 0;
        share_handle_t h;
        int err;

        setup();
        h = test_nominate(a, 0);
        do {
            uint64_t before = done;

            if (at == NR + 3) {
                w.left = 1;         /* at every one of them */
            }
            err = share_add_physmap_range(a, GFN(0), h, b, GFN(500), NR,
                                          stride, &done, &w);
            CHECK_EQ(nr_locks_held(), 0);
            CHECK(done > before);
            slices++;
        } while (err == -ERESTART);
        CHECK_EQ(err, 0);
        CHECK_EQ(slices, at == NR + 3 ? NR : at > 0 && at < checks ? 2 : 1);
        CHECK_EQ(done, NR);
        CHECK_EQ(b->count[p2m_ram_shared], NR);
        CHECK_EQ(stats().sharers, NR + 1);
        CHECK_EQ(test_share_audit(), 0);
        test_share_kill(a);
        test_share_kill(b);
    }
}

TEST(add_physmap_range_preempted_anywhere)
{
    preempted_anywhere(1, 3);       /* 500 .. 511, .. 575, .. 639 */
    preempted_anywhere(3, 140);
}

/* No memory for a group, a used gfn in it, a count that is full: what goes
 * before it is added, and nothing else. */
TEST(a_group_that_does_not_fit)
{
    uint64_t done = 0, most = UINT32_MAX - 3 - 64;
    share_handle_t h;
    struct frame *f;
    bool hit = true;

    setup();
    h = test_nominate(a, 0);
    f = mfn_to_frame(p2m_lookup(a, GFN(0)).mfn);
    test_share_populate(b, 640 + 20, 7);
    CHECK_EQ(share_add_physmap_range(a, GFN(0), h, b, GFN(640), 64, 1, &done,
                                     NULL), -EBUSY);
    CHECK_EQ(done, 20);
    CHECK_EQ(test_sharers(a, 0), 21);
    test_share_audit_all();
    done = 0;
    atomic_fetch_add(&f->refs, most);
    CHECK_EQ(share_add_physmap_range(a, GFN(0), h, b, GFN(704), 64, 1, &done,
                                     NULL), -EOVERFLOW);
    atomic_fetch_sub(&f->refs, most);
    CHECK(done < 64);
    CHECK_EQ(test_sharers(a, 0), 21 + done);
    test_share_audit_all();
    for (unsigned at = 1; hit; at++) {
        uint64_t first = 100000 + at * 64, sharers = test_sharers(a, 0);
        int err;

        done = 0;
        host_fail_alloc_at(at);
        err = share_add_physmap_range(a, GFN(0), h, b, GFN(first), 64, 1,
                                      &done, NULL);
        hit = host_alloc_failed();
        host_fail_alloc_at(0);
        CHECK(err == 0 || (hit && err == -ENOMEM));
        CHECK_EQ(test_sharers(a, 0), sharers + done);
        test_share_audit_all();
    }
    teardown();
}

/* The source may lose its handle between two slices. */
TEST(add_physmap_range_finds_its_source_gone)
{
    struct work w = { .left = 1 };
    uint64_t done = 0;
    share_handle_t h;

    setup();
    h = test_nominate(a, 0);
    CHECK_EQ(share_add_physmap_range(a, GFN(0), h, b, GFN(500), 9, 1, &done,
                                     &w), -ERESTART);
    CHECK_EQ(share_unshare(a, GFN(0)), 0);
    CHECK_EQ(share_add_physmap_range(a, GFN(0), h, b, GFN(500), 9, 1, &done,
                                     NULL), -ENOEXEC);
    CHECK_EQ(done, 1);
    CHECK(test_gfn_is(b, 500, 100));
    teardown();
}

/*
 * ... or between its two locks: CPU 0 has found the source and waits for the
 * client's p2m, which CPU 1 holds until the source is private (and, the second
 * time, nominated anew: another record of the same frame).
 */
static struct shared_frame *record;
static share_handle_t handle;
static bool anew;
static _Atomic bool ready;

static void race(void *arg)
{
    (void)arg;
    if (arch_cpu() == 0) {
        while (!ready) {
            arch_relax();
        }
        BUG_ON(share_add_physmap(b, GFN(0), handle, a, GFN(99)) != -ENOEXEC);
        return;
    }
    spin_lock(&a->lock);
    ready = true;
    while (record->refs == 1) {
        arch_relax();
    }
    BUG_ON(share_unshare(b, GFN(0)) != 0);
    if (anew) {
        BUG_ON(share_nominate(b, GFN(0), &handle) != 0);
    }
    spin_unlock(&a->lock);
}

TEST(the_handle_is_checked_again_under_the_page_lock)
{
    for (unsigned i = 0; i < 2; i++) {
        setup();
        handle = test_nominate(b, 0);
        record = mfn_to_frame(p2m_lookup(b, GFN(0)).mfn)->user;
        anew = i == 1;
        ready = false;
        host_run_on_cpus(2, race, NULL);
        CHECK_EQ(p2m_lookup(a, GFN(99)).type, p2m_invalid);
        teardown();
    }
}
