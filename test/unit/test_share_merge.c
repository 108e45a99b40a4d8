/*
 * test_share_merge.c - merging: results, errors, and everything that may
 * happen to the two frames between two slices of a merge.
 */
#include "test_share.h"

enum { DOMAINS = 3, GFNS = 4, EACH = 30 };

static struct p2m *d[DOMAINS];

/* Domain 0's gfn 0 is the source, its gfn 1 the client; with sharers of both
 * in every domain, from 100 and 1000 on. */
#define SOURCE 100u
#define CLIENT 1000u
#define LAST 1u             /* the client's gfn in the call moves last */

static struct { share_handle_t sh, ch; struct share_merge m; } x;

static void setup(unsigned sources, unsigned clients)
{
    test_share_machine(1 << 13, 2);
    for (unsigned i = 0; i < DOMAINS; i++) {
        d[i] = test_p2m_create((domid_t)(i + 1));
        for (unsigned g = 0; g < GFNS; g++) {
            test_share_populate(d[i], g, 10 * i + g);
        }
    }
    x.m = (struct share_merge){ 0 };
    x.sh = test_nominate(d[0], 0);
    x.ch = test_nominate(d[0], 1);
    for (unsigned i = 0; i < sources; i++) {
        CHECK_EQ(share_add_physmap(d[0], GFN(0), x.sh, d[i % DOMAINS],
                                   GFN(SOURCE + i)), 0);
    }
    for (unsigned i = 0; i < clients; i++) {
        CHECK_EQ(share_add_physmap(d[0], GFN(1), x.ch, d[i * 5 / 7 % DOMAINS],
                                   GFN(CLIENT + i)), 0);
    }
}

static void teardown(void)
{
    test_share_audit_all();
    for (unsigned i = 0; i < DOMAINS; i++) {
        if (d[i] != NULL) {
            test_share_kill(d[i]);
            test_share_audit_all();
        }
    }
    test_share_all_gone();
}

static int merge(struct work *w)
{
    int err = share_frames(d[0], GFN(0), x.sh, d[0], GFN(1), x.ch, &x.m, w);

    CHECK_EQ(nr_locks_held(), 0);
    return err;
}

static struct share_stats stats(void)
{
    struct share_stats s;

    share_stats_get(&s);
    return s;
}

/* A few sharers of the client have moved, the others not. */
static void merge_halfway(unsigned moved)
{
    while (x.m.moved < moved) {
        struct work w = { .left = 1 };

        CHECK_EQ(merge(&w), -ERESTART);
    }
    CHECK_EQ(x.m.moved, moved);
}

TEST(all_sharers_of_the_client_move)
{
    mfn_t source, client;

    for (unsigned n = 0; n < 200; n = n * 2 + 1) {
        setup(n / 3, n);
        source = p2m_lookup(d[0], GFN(0)).mfn;
        client = p2m_lookup(d[0], GFN(1)).mfn;
        CHECK_EQ(merge(NULL), 0);
        CHECK_EQ(x.m.moved, n + 1);
        CHECK(mfn_eq(p2m_lookup(d[0], GFN(1)).mfn, source));
        for (unsigned i = 0; i < n; i++) {
            CHECK(mfn_eq(p2m_lookup(d[i * 5 / 7 % DOMAINS],
                                    GFN(CLIENT + i)).mfn, source));
        }
        CHECK_EQ(frame_refs(mfn_to_frame(client)), 0);
        CHECK_EQ(mfn_to_frame(client)->use, FRAME_FREE);
        CHECK_EQ(test_sharers(d[0], 0), n + 2 + n / 3);
        CHECK_EQ(stats().shared_frames, 1);
        CHECK_EQ(stats().saved_frames, n + 1 + n / 3);
        CHECK_EQ(stats().shares, 1);
        CHECK(test_gfn_is(d[0], 1, 0));
        teardown();
    }
}

TEST(merge_refuses)
{
    share_handle_t other;

    setup(0, 0);
    other = test_nominate(d[1], 0);
#define SHARE(sd, sg, sh, cd, cg, ch) \
    share_frames(d[sd], GFN(sg), sh, d[cd], GFN(cg), ch, &x.m, NULL)
    CHECK_EQ(SHARE(0, 0, x.sh + 99, 0, 1, x.ch), -ENOEXEC);
    CHECK_EQ(SHARE(0, 0, 0, 0, 1, x.ch), -ENOEXEC);
    CHECK_EQ(SHARE(0, 0, x.ch, 0, 1, x.ch), -ENOEXEC);
    CHECK_EQ(SHARE(0, 2, x.sh, 0, 1, x.ch), -ENOEXEC);      /* private */
    CHECK_EQ(SHARE(0, 77, x.sh, 0, 1, x.ch), -ENOEXEC);     /* a hole */
    CHECK_EQ(SHARE(1, 0, x.sh, 0, 1, x.ch), -ENOEXEC);      /* other domain */
    CHECK_EQ(SHARE(0, 0, x.sh, 0, 1, x.sh), -EBADF);
    CHECK_EQ(SHARE(0, 0, x.sh, 0, 1, 0), -EBADF);
    CHECK_EQ(SHARE(0, 0, x.sh, 0, 2, x.ch), -EBADF);
    CHECK_EQ(SHARE(0, 0, x.sh, 0, UINT64_MAX, x.ch), -EBADF);
    CHECK_EQ(SHARE(0, 0, x.sh, 1, 0, x.ch), -EBADF);
    CHECK_EQ(SHARE(0, 0, x.sh, 0, 0, x.sh), -EEXIST);
    CHECK_EQ(share_add_physmap(d[0], GFN(0), x.sh, d[2], GFN(50)), 0);
    CHECK_EQ(SHARE(0, 0, x.sh, 2, 50, x.sh), -EEXIST);
    CHECK_EQ(stats().shares, 0);
    test_share_audit_all();
    CHECK_EQ(SHARE(2, 50, x.sh, 1, 0, other), 0);
    CHECK_EQ(SHARE(0, 1, x.ch, 1, 0, other), -EBADF);       /* gone by now */
    CHECK_EQ(SHARE(0, 1, x.ch, 1, 0, x.sh), 0);             /* any sharer's */
    CHECK_EQ(test_sharers(d[0], 1), 4);
    teardown();
}

/* What the world looks like, whatever the frames' numbers. */
static uint64_t digest(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < DOMAINS; i++) {
        gfn_t g = GFN(0);
        struct p2m_entry e;

        while (p2m_next(d[i], g, GFN(1 << 20), &g, &e)) {
            sum = mix64(sum + i + (g.n << 8)) + e.type +
                  test_sharers(d[i], g.n) * 77 +
                  page_hash(arch_map_frame(e.mfn));
            g = gfn_add(g, 1);
        }
    }
    return sum + stats().saved_frames;
}

TEST(preempted_at_any_check_it_ends_the_same)
{
    uint64_t expected, checks;
    struct work w = { .left = 1 << 30 };

    setup(EACH, EACH * 3);
    CHECK_EQ(merge(&w), 0);
    checks = w.checks;
    expected = digest();
    teardown();
    CHECK(checks > EACH * 3);
    for (uint64_t at = 1; at <= checks + 1; at++) {
        unsigned slices = 0;
        int err;

        setup(EACH, EACH * 3);
        w = (struct work){ .left = 1 << 30, .force_at = at };
        do {
            err = merge(&w);
            CHECK(err == 0 || err == -ERESTART);
            CHECK_EQ(test_share_audit(), 0);
            slices++;
        } while (err == -ERESTART);
        CHECK_EQ(slices, at <= checks ? 2 : 1);
        CHECK_EQ(digest(), expected);
        CHECK_EQ(x.m.moved, EACH * 3 + 1);
        teardown();
    }
}

/* A budget that is overdrawn stays overdrawn: no check may be missed. */
TEST(no_budget_still_makes_progress_and_nothing_more)
{
    unsigned takes = 0;

    setup(EACH, EACH);
    while (x.m.moved <= EACH) {
        struct work w = { .left = -1000 };
        uint64_t before = x.m.moved;

        CHECK_EQ(merge(&w), -ERESTART);
        CHECK_EQ(w.checks, 1);
        /* One moved, or a group of them is known by now. */
        CHECK(x.m.moved <= before + 1);
        takes += x.m.moved == before;
        CHECK(takes <= x.m.moved / SHARE_MERGE_GROUP + 2);
        test_share_audit_all();
    }
    CHECK_EQ(merge(NULL), 0);
    teardown();
}

TEST(a_frame_in_a_merge_is_in_no_other)
{
    struct share_merge other = { 0 };
    share_handle_t h;

    setup(3, 10);
    h = test_nominate(d[1], 2);
    merge_halfway(4);
#define OTHER(sg, sh, cg, ch, sd, cd) \
    share_frames(d[sd], GFN(sg), sh, d[cd], GFN(cg), ch, &other, NULL)
    CHECK_EQ(OTHER(2, h, 0, x.sh, 1, 0), -EAGAIN);
    CHECK_EQ(OTHER(0, x.sh, 2, h, 0, 1), -EAGAIN);
    CHECK_EQ(OTHER(2, h, LAST, x.ch, 1, 0), -EAGAIN);
    CHECK_EQ(OTHER(LAST, x.ch, 2, h, 0, 1), -EAGAIN);
    CHECK_EQ(OTHER(LAST, x.ch, 0, x.sh, 0, 0), -EAGAIN);  /* the reverse */
    CHECK_EQ(OTHER(0, x.sh, LAST, x.ch, 0, 0), -EAGAIN);  /* the same */
    CHECK(!other.started);
    test_share_audit_all();
    CHECK_EQ(merge(NULL), 0);
    CHECK_EQ(OTHER(0, x.sh, 2, h, 0, 1), 0);
    teardown();
}

TEST(new_sharers_go_to_the_source_only)
{
    setup(3, 10);
    merge_halfway(4);
    CHECK_EQ(share_add_physmap(d[0], GFN(LAST), x.ch, d[1], GFN(77)),
             -EAGAIN);
    CHECK_EQ(share_add_physmap(d[0], GFN(0), x.sh, d[1], GFN(77)), 0);
    test_share_audit_all();
    CHECK_EQ(merge(NULL), 0);
    CHECK_EQ(test_sharers(d[1], 77), 3 + 11 + 2);
    teardown();
}

/* Nobody may become the owner of a frame that a merge still moves to or
 * from: its last sharer copies like any other. */
TEST(unshares_during_a_merge)
{
    setup(0, 12);
    merge_halfway(5);
    for (unsigned i = 0; i < 12; i++) {
        struct p2m *p = d[i * 5 / 7 % DOMAINS];

        test_share_write(p, CLIENT + i, 700 + i);
        test_share_audit_all();
    }
    test_share_write(d[0], 0, 800);
    test_share_write(d[0], 1, 801);
    CHECK_EQ(stats().sharers, 0);
    CHECK_EQ(stats().shared_frames, 2);     /* the merge's own hold */
    CHECK_EQ(stats().saved_frames, 0);
    CHECK_EQ(stats().unshares_last, 0);
    test_share_audit_all();
    CHECK_EQ(merge(NULL), 0);
    CHECK_EQ(stats().shared_frames, 0);
    for (unsigned i = 0; i < 12; i++) {
        CHECK(test_gfn_is(d[i * 5 / 7 % DOMAINS], CLIENT + i, 700 + i));
    }
    CHECK(test_gfn_is(d[0], 0, 800) && test_gfn_is(d[0], 1, 801));
    teardown();
}

/* ... and afterwards the last one keeps it, as ever. */
TEST(the_source_is_an_ordinary_frame_afterwards)
{
    mfn_t m;

    setup(0, 0);
    m = p2m_lookup(d[0], GFN(0)).mfn;
    CHECK_EQ(merge(NULL), 0);
    test_share_write(d[0], 0, 5);
    test_share_write(d[0], 1, 6);
    CHECK(mfn_eq(p2m_lookup(d[0], GFN(1)).mfn, m));
    CHECK(test_gfn_is(d[0], 0, 5) && test_gfn_is(d[0], 1, 6));
    teardown();
}

TEST(a_domain_dies_during_a_merge)
{
    for (unsigned dead = 0; dead < DOMAINS; dead++) {
        setup(9, 20);
        merge_halfway(7);
        if (dead == 0) {
            p2m_get(d[0]);          /* as the caller of the merge would */
            d[0]->no_users = true;
            gfn_t cursor = GFN(0);

            CHECK_EQ(p2m_relinquish(d[0], &cursor, test_share_drop_group, NULL),
                     0);
            test_share_audit_all();
            CHECK_EQ(merge(NULL), 0);
            p2m_put(d[0]);
            p2m_put(d[0]);
            test_drain_grace();
            CHECK_EQ(owner_release(1), 0);
        } else {
            test_share_kill(d[dead]);
            test_share_audit_all();
            CHECK_EQ(merge(NULL), 0);
        }
        d[dead] = NULL;
        CHECK_EQ(stats().shared_frames, 1);
        teardown();
    }
}

TEST(an_aborted_merge_leaves_both_whole)
{
    setup(5, 20);
    merge_halfway(8);
    share_merge_abort(&x.m);
    share_merge_abort(&x.m);        /* harmless */
    test_share_audit_all();
    CHECK_EQ(stats().shared_frames, 2);
    CHECK_EQ(stats().sharers, 5 + 20 + 2);
    CHECK_EQ(stats().shares, 0);
    x.m = (struct share_merge){ 0 };
    CHECK_EQ(merge(NULL), 0);       /* what it names did not move */
    CHECK_EQ(stats().shared_frames, 1);
    teardown();
}

/* ---- the client has more sharers: its frame stays ------------------------ */

/* As setup(), but both pages are alike. */
static void setup_alike(unsigned sources, unsigned clients)
{
    setup(sources, clients);
    test_fill(p2m_lookup(d[0], GFN(1)).mfn, 0);
}

TEST(the_smaller_map_moves)
{
    for (unsigned more = 7; more < 10; more++) {
        mfn_t source, client;

        setup_alike(5, 5 + more);
        source = p2m_lookup(d[0], GFN(0)).mfn;
        client = p2m_lookup(d[0], GFN(1)).mfn;
        CHECK_EQ(merge(NULL), 0);
        CHECK_EQ(x.m.moved, more >= 8 ? 6 : 6 + more);
        CHECK(mfn_eq(p2m_lookup(d[0], GFN(0)).mfn,
                     more >= 8 ? client : source));
        CHECK_EQ(test_nominate(d[0], 0), x.sh);
        CHECK_EQ(test_nominate(d[0], 1), x.sh);
        CHECK_EQ(test_sharers(d[0], 1), 12 + more);
        CHECK_EQ(share_add_physmap(d[0], GFN(1), x.ch, d[1], GFN(77)),
                 -ENOEXEC);
        CHECK_EQ(share_add_physmap(d[0], GFN(0), x.sh, d[1], GFN(77)), 0);
        CHECK_EQ(stats().shared_frames, 1);
        teardown();
    }
}

/* Then it would be seen whose contents survive. */
TEST(the_source_stays_if_the_pages_differ)
{
    mfn_t source;

    setup(0, 30);
    source = p2m_lookup(d[0], GFN(0)).mfn;
    CHECK_EQ(merge(NULL), 0);
    CHECK(mfn_eq(p2m_lookup(d[0], GFN(1)).mfn, source));
    CHECK(test_gfn_is(d[0], 1, 0));
    teardown();
}

TEST(half_way_both_handles_are_as_they_were)
{
    setup_alike(9, 40);
    merge_halfway(4);
    CHECK_EQ(test_nominate(d[0], 0), x.sh);
    CHECK_EQ(test_nominate(d[0], 1), x.ch);
    CHECK_EQ(share_add_physmap(d[0], GFN(0), x.sh, d[1], GFN(77)), -EAGAIN);
    CHECK_EQ(share_add_physmap(d[0], GFN(1), x.ch, d[1], GFN(77)), 0);
    test_share_audit_all();
    share_merge_abort(&x.m);
    test_share_audit_all();
    x.m = (struct share_merge){ 0 };
    CHECK_EQ(merge(NULL), 0);               /* the very same call */
    CHECK_EQ(x.m.moved, 6);
    CHECK_EQ(test_sharers(d[1], 77), 9 + 40 + 2 + 1);
    CHECK_EQ(test_nominate(d[1], 77), x.sh);
    teardown();
}

TEST(the_last_to_move_leaves_by_itself)
{
    setup_alike(0, 20);
    x.m = (struct share_merge){ 0 };
    CHECK_EQ(share_add_physmap(d[0], GFN(0), x.sh, d[1], GFN(78)), 0);
    merge_halfway(1);
    test_share_write(d[0], 0, 800);
    CHECK_EQ(test_nominate(d[0], 1), x.ch);
    CHECK_EQ(merge(NULL), 0);
    CHECK_EQ(test_nominate(d[0], 1), x.sh);
    CHECK_EQ(test_nominate(d[1], 78), x.sh);
    CHECK(test_gfn_is(d[0], 0, 800) && test_gfn_is(d[1], 78, 0));
    teardown();
}

TEST(no_memory_half_way_and_the_same_call_again)
{
    for (unsigned alike = 0; alike < 2; alike++) {
        for (unsigned at = 1;; at++) {
            bool hit;
            int err;

            setup(30 * alike, 60);
            if (alike != 0) {
                test_fill(p2m_lookup(d[0], GFN(1)).mfn, 0);
            }
            host_fail_alloc_at(at);
            err = merge(NULL);
            hit = host_alloc_failed();
            host_fail_alloc_at(0);
            CHECK(err == 0 || (hit && err == -ENOMEM));
            test_share_audit_all();
            if (err != 0) {
                CHECK_EQ(stats().shared_frames, 2);
                x.m = (struct share_merge){ 0 };
                CHECK_EQ(merge(NULL), 0);
            }
            CHECK_EQ(stats().shared_frames, 1);
            CHECK_EQ(test_sharers(d[0], 1), 62 + 30 * alike);
            CHECK_EQ(test_nominate(d[0], 1), x.sh);
            teardown();
            if (!hit) {
                break;
            }
        }
    }
}

/* The source is full to the last reference. */
TEST(a_full_count_ends_a_merge_in_good_order)
{
    uint64_t many = UINT32_MAX - 3 - 64;
    struct frame *f;
    int err;

    setup(0, 200);
    f = mfn_to_frame(p2m_lookup(d[0], GFN(0)).mfn);
    atomic_fetch_add(&f->refs, many);
    err = merge(NULL);
    atomic_fetch_sub(&f->refs, many);
    CHECK_EQ(err, -EOVERFLOW);
    CHECK(x.m.moved > 0 && x.m.moved < 200);
    CHECK(!x.m.started);
    CHECK_EQ(test_sharers(d[0], 0), 1 + x.m.moved);
    test_share_audit_all();
    teardown();
}
