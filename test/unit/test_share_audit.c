/*
 * test_share_audit.c - each invariant broken by hand, so that the audit's
 * silence elsewhere means something; and the audit preempted while what it
 * walks is changed under it.
 */
#include "test_share.h"

#include "../../common/share/shared_frame.h"

#include <quire/panic.h>
#include <quire/rng.h>

#include <string.h>

static struct p2m *a, *b;
static share_handle_t h0, h1;

static void setup(void)
{
    test_share_machine(1 << 13, 2);
    a = test_p2m_create(1);
    b = test_p2m_create(2);
    for (unsigned g = 0; g < 6; g++) {
        test_share_populate(a, g, 100 + g);
        test_share_populate(b, g, 200 + g);
    }
    h0 = test_nominate(a, 0);
    h1 = test_nominate(b, 1);
    for (unsigned g = 100; g < 110; g++) {
        CHECK_EQ(share_add_physmap(a, GFN(0), h0, b, GFN(g)), 0);
        CHECK_EQ(share_add_physmap(b, GFN(1), h1, a, GFN(g)), 0);
    }
}

static void teardown(void)
{
    test_share_audit_all();
    test_share_kill(a);
    test_share_kill(b);
    test_share_all_gone();
}

/* The audit finds @nr violations, and names @what. */
static void expect(unsigned nr, const char *what)
{
    host_console_clear();
    CHECK_EQ(test_share_audit(), nr);
    CHECK(strstr(host_console_text(), what) != NULL);
    host_console_clear();
}

static struct frame *frame0(void)
{
    return mfn_to_frame(p2m_lookup(a, GFN(0)).mfn);
}

static struct shared_frame *record0(void)
{
    return frame0()->user;
}

TEST(s1_type)
{
    uint64_t type;

    setup();
    type = frame0()->type;
    frame0()->type = (type & ~(UINT64_C(0xff) << 56)) |
                     (uint64_t)FRAME_TYPE_WRITABLE << 56;
    expect(1, "S1");
    frame0()->type = type;
    teardown();
}

TEST(s2_owner)
{
    struct shared_frame *sf;

    setup();
    frame0()->owner = 1;
    host_console_clear();
    CHECK(test_share_audit() > 1);      /* by the record and each entry */
    CHECK(strstr(host_console_text(), "S2") != NULL);
    frame0()->owner = DOMID_COW;
    sf = frame0()->user;
    frame0()->user = NULL;
    expect(1, "S2");
    frame0()->user = sf;
    teardown();
}

TEST(s3_references)
{
    setup();
    CHECK_EQ(frame_get(frame0(), DOMID_COW), 0);
    expect(1, "S3");
    frame_put(frame0());
    atomic_fetch_sub(&frame0()->refs, 1);
    expect(1, "S3");
    atomic_fetch_add(&frame0()->refs, 1);
    CHECK_EQ(frame_get_type(frame0(), FRAME_TYPE_SHARED), 0);
    expect(1, "S3");
    frame_put_type(frame0());
    record0()->role = SHARED_SOURCE;    /* a merge without its hold */
    expect(1, "S3");
    record0()->role = SHARED_IDLE;
    teardown();
}

TEST(s3_a_pair_twice)
{
    struct rmap_pair p = { 2, GFN(105) };

    test_share_form = RMAP_LIST;    /* which takes a pair without a look */
    setup();
    CHECK_EQ(rmap_insert(&record0()->rmap, p), 0);
    host_console_clear();
    CHECK(test_share_audit() >= 2);
    CHECK(strstr(host_console_text(), "twice") != NULL);
    rmap_remove(&record0()->rmap, p);
    teardown();
    test_share_form = RMAP_ADAPTIVE;
}

TEST(s4_a_pair_that_maps_something_else)
{
    struct p2m_entry e;

    setup();
    e = p2m_lookup(b, GFN(105));
    CHECK_EQ(test_p2m_set(b, 105, MFN_INVALID, 0, p2m_invalid), 0);
    host_console_clear();
    CHECK(test_share_audit() >= 2);     /* S4; and the sums */
    CHECK(strstr(host_console_text(), "S4") != NULL);
    CHECK_EQ(test_p2m_set(b, 105, e.mfn, 0, p2m_ram_shared), 0);
    teardown();
}

/* Two entries exchanged: every sum is right but the fingerprint. */
TEST(s4_an_entry_that_no_rmap_has)
{
    struct rmap_pair p = { 2, GFN(105) }, q = { 2, GFN(999) };
    struct p2m_entry e;

    setup();
    e = p2m_lookup(b, GFN(105));
    rmap_remove(&record0()->rmap, p);
    CHECK_EQ(rmap_insert(&record0()->rmap, q), 0);
    host_console_clear();
    CHECK(test_share_audit() >= 2);
    CHECK(strstr(host_console_text(), "are not the p2ms' entries") != NULL);
    rmap_remove(&record0()->rmap, q);
    CHECK_EQ(rmap_insert(&record0()->rmap, p), 0);

    /* An entry too many, with everything else made to fit. */
    CHECK_EQ(test_p2m_set(a, 500, e.mfn, 0, p2m_ram_shared), 0);
    expect(1, "S4");
    CHECK_EQ(test_p2m_set(a, 500, MFN_INVALID, 0, p2m_invalid), 0);
    teardown();
}

TEST(s5_a_writable_mapping)
{
    setup();
    CHECK_EQ(test_p2m_set(a, 500, p2m_lookup(a, GFN(0)).mfn, 0, p2m_ram_rw),
             0);
    expect(1, "S5");
    CHECK_EQ(test_p2m_set(a, 500, MFN_INVALID, 0, p2m_invalid), 0);
    teardown();
}

TEST(s6_sums)
{
    setup();
    share_totals.frames++;
    host_console_clear();
    CHECK_EQ(test_share_audit(), 2);
    CHECK(strstr(host_console_text(), "S6") != NULL);
    share_totals.frames--;
    share_totals.removed++;
    expect(1, "S6");
    share_totals.removed--;
    a->count[p2m_ram_shared]++;
    expect(1, "S6");
    a->count[p2m_ram_shared]--;
    teardown();
}

/* In slices of one check each, nothing changing: the same verdict. */
TEST(preempted_at_every_check)
{
    struct share_audit s = { 0 };
    unsigned slices = 0;
    int err;

    setup();
    do {
        struct work w = { .left = 1 };

        err = share_audit(&s, &w);
        CHECK_EQ(nr_locks_held(), 0);
        slices++;
    } while (err == -ERESTART);
    CHECK_EQ(err, 0);
    CHECK_EQ(s.bad, 0);
    CHECK(!s.changed);
    CHECK_EQ(s.frames, 2);
    CHECK_EQ(s.sharers, 22);
    CHECK(slices > 20);
    teardown();
}

/* Two at a time, as several guests may: what one has looked at, the other has
 * not. Nothing is wrong. */
TEST(two_audits_take_turns)
{
    struct rng r;

    setup();
    for (unsigned g = 200; g < 300; g++) {
        CHECK_EQ(share_add_physmap(a, GFN(0), h0, b, GFN(g)), 0);
    }
    rng_seed(&r, test_seed);
    for (unsigned round = 0; round < 50; round++) {
        struct share_audit audit[2] = { 0 };
        bool done[2] = { false, false };

        while (!done[0] || !done[1]) {
            unsigned i = (unsigned)rng_below(&r, 2);
            struct work w = { .left = 1 };

            if (!done[i]) {
                done[i] = share_audit(&audit[i], &w) == 0;
            }
        }
        CHECK_EQ(audit[0].bad, 0);
        CHECK_EQ(audit[1].bad, 0);
    }
    teardown();
}

/* Between any two slices the frame just walked, the next and others go, and
 * new ones come. The cursor holds, and nothing is called a violation. */
TEST(the_cursor_survives_what_is_retired)
{
    for (unsigned seed = 0; seed < 40; seed++) {
        struct share_audit s[2] = { { 0 }, { 0 } };
        bool done[2] = { false, false };
        struct rng r;

        setup();
        rng_seed(&r, test_seed * 100 + seed);
        while (!done[0] || !done[1]) {
            unsigned k = rng_below(&r, 2) == 0;
            struct p2m *p = rng_below(&r, 2) == 0 ? a : b;
            uint64_t g = rng_below(&r, 2) * 100 + rng_below(&r, 6);
            struct work w = { .left = 1 };
            share_handle_t h;

            if (!done[k]) {
                int err = share_audit(&s[k], &w);

                CHECK(err == 0 || err == -ERESTART);
                done[k] = err == 0;
            }
            if (rng_below(&r, 2) == 0) {
                CHECK_EQ(share_unshare(p, GFN(g)), 0);
            } else {
                CHECK_EQ(share_nominate(p, GFN(g), &h), 0);
            }
        }
        CHECK_EQ(s[0].bad + s[1].bad, 0);
        CHECK(s[0].changed || s[1].changed);
        teardown();
    }
}

/* Preempted in the middle of a long rmap whose frame then goes. */
TEST(the_frame_being_walked_is_retired)
{
    struct share_audit s = { 0 };
    struct work w = { .left = 1 };
    uint64_t done = 0;

    setup();
    CHECK_EQ(share_add_physmap_range(a, GFN(0), h0, b, GFN(1000), 300, 1,
                                     &done, NULL), 0);
    while (s.sharers == 0) {
        CHECK_EQ(share_audit(&s, &w), -ERESTART);
    }
    for (unsigned g = 0; g < 300; g++) {
        CHECK_EQ(share_unshare(b, GFN(1000 + g)), 0);
    }
    for (unsigned g = 100; g < 110; g++) {
        CHECK_EQ(share_unshare(b, GFN(g)), 0);
    }
    CHECK_EQ(share_unshare(a, GFN(0)), 0);
    CHECK_EQ(share_audit(&s, NULL), 0);
    CHECK_EQ(s.bad, 0);
    CHECK(s.changed);
    teardown();
}

/* A sharer's p2m is gone while its pair is still in an rmap. */
TEST(s4_no_p2m)
{
    struct rmap_pair p = { 9, GFN(1) };

    setup();
    CHECK_EQ(rmap_insert(&record0()->rmap, p), 0);
    host_console_clear();
    CHECK(test_share_audit() >= 1);
    CHECK(strstr(host_console_text(), "S4") != NULL);
    rmap_remove(&record0()->rmap, p);
    teardown();
}
