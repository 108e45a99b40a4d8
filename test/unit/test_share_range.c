/* test_share_range.c - range_share: pairs of every kind, what is refused,
 * preemption at every check, no memory at every allocation. */
#include "test_share.h"

enum { GFNS = 64, DOMAINS = 3 };

static struct p2m *d[DOMAINS];
static struct share_range r;

static void setup(void)
{
    test_share_machine(1 << 13, 2);
    for (unsigned i = 0; i < DOMAINS; i++) {
        d[i] = test_p2m_create((domid_t)(i + 1));
        for (unsigned g = 0; g < GFNS; g++) {
            test_share_populate(d[i], g, g);    /* alike in all of them */
        }
    }
    r = (struct share_range){ 0 };
}

static void teardown(void)
{
    test_share_audit_all();
    for (unsigned i = 0; i < DOMAINS; i++) {
        test_share_kill(d[i]);
        test_share_audit_all();
    }
    test_share_all_gone();
}

static struct share_stats stats(void)
{
    struct share_stats s;

    share_stats_get(&s);
    return s;
}

static int range(unsigned s, uint64_t sg, unsigned c, uint64_t cg,
                 uint64_t nr, struct work *w)
{
    int err = share_range(d[s], GFN(sg), d[c], GFN(cg), nr, &r, w);

    CHECK_EQ(nr_locks_held(), 0);
    return err;
}

/* The same, from the beginning and to the end. */
static int whole(unsigned s, uint64_t sg, unsigned c, uint64_t cg, uint64_t nr)
{
    r = (struct share_range){ 0 };
    return range(s, sg, c, cg, nr, NULL);
}

static bool same_frame(unsigned s, uint64_t sg, unsigned c, uint64_t cg)
{
    return mfn_eq(p2m_lookup(d[s], GFN(sg)).mfn, p2m_lookup(d[c],
                                                            GFN(cg)).mfn);
}

TEST(private_pages_pair_by_pair)
{
    mfn_t source, client;

    setup();
    source = p2m_lookup(d[0], GFN(7)).mfn;
    client = p2m_lookup(d[1], GFN(7)).mfn;
    CHECK_EQ(whole(0, 0, 1, 0, GFNS), 0);
    CHECK_EQ(r.done, GFNS);
    CHECK_EQ(r.shared, GFNS);
    CHECK_EQ(r.refused + r.already, 0);
    for (unsigned g = 0; g < GFNS; g++) {
        CHECK(same_frame(0, g, 1, g));
        CHECK_EQ(test_sharers(d[0], g), 2);
        CHECK(test_gfn_is(d[1], g, g));
    }
    CHECK(mfn_eq(p2m_lookup(d[1], GFN(7)).mfn, source));
    CHECK_EQ(mfn_to_frame(client)->use, FRAME_FREE);
    CHECK_EQ(stats().shared_frames, GFNS);
    CHECK_EQ(stats().saved_frames, GFNS);
    CHECK_EQ(stats().nominates, 2 * GFNS);
    CHECK_EQ(stats().shares, GFNS);
    CHECK_EQ(owner_get(1)->pages, 0);
    CHECK_EQ(owner_get(2)->pages, 0);
    test_share_write(d[0], 7, 100);
    test_share_write(d[1], 7, 101);
    CHECK(test_gfn_is(d[0], 7, 100) && test_gfn_is(d[1], 7, 101));
    teardown();
}

/* In Xen 4.17 the second of two range_shares stops the machine. */
TEST(a_third_domain_joins)
{
    setup();
    CHECK_EQ(whole(0, 0, 1, 0, GFNS), 0);
    CHECK_EQ(whole(0, 0, 2, 0, GFNS), 0);
    CHECK_EQ(r.shared, GFNS);
    CHECK_EQ(stats().shared_frames, GFNS);
    CHECK_EQ(test_sharers(d[2], 5), 3);
    CHECK_EQ(whole(1, 0, 2, 0, GFNS), 0);
    CHECK_EQ(r.already, GFNS);
    CHECK_EQ(r.shared, 0);
    teardown();
}

/* The client has sharers of its own: they come along. */
TEST(a_client_that_is_shared)
{
    setup();
    CHECK_EQ(whole(1, 0, 2, 0, GFNS), 0);
    CHECK_EQ(whole(0, 0, 1, 0, GFNS), 0);
    CHECK_EQ(r.shared, GFNS);
    CHECK_EQ(stats().shared_frames, GFNS);
    for (unsigned g = 0; g < GFNS; g++) {
        CHECK(same_frame(0, g, 2, g));
        CHECK_EQ(test_sharers(d[1], g), 3);
    }
    teardown();
}

TEST(within_one_domain)
{
    setup();
    CHECK_EQ(whole(0, 0, 0, 32, 32), 0);
    CHECK_EQ(r.shared, 32);
    CHECK_EQ(stats().shared_frames, 32);
    CHECK(same_frame(0, 3, 0, 35));
    test_share_audit_all();
    CHECK_EQ(whole(1, 0, 1, 1, GFNS - 1), 0);   /* a chain: all one frame */
    CHECK_EQ(r.shared, GFNS - 1);
    CHECK_EQ(test_sharers(d[1], 0), GFNS);
    CHECK_EQ(whole(2, 1, 2, 0, GFNS - 1), 0);   /* and downwards */
    CHECK_EQ(r.shared, GFNS - 1);
    CHECK_EQ(test_sharers(d[2], 63), GFNS);
    CHECK_EQ(whole(2, 0, 2, 0, GFNS), 0);
    CHECK_EQ(r.already, GFNS);
    teardown();
}

/* Holes, a page that somebody has, read-only memory, a superpage. */
TEST(what_cannot_be_shared_is_skipped)
{
    struct frame *f, *g, *h;

    setup();
    (void)test_p2m_populate(d[0], 512, PAGE_ORDER_2M);
    f = mfn_to_frame(p2m_lookup(d[1], GFN(9)).mfn);
    g = mfn_to_frame(p2m_lookup(d[0], GFN(11)).mfn);
    CHECK_EQ(frame_get(f, 2), 0);
    h = mfn_to_frame(p2m_lookup(d[1], GFN(13)).mfn);
    CHECK_EQ(frame_get_type(g, FRAME_TYPE_WRITABLE), 0);
    CHECK_EQ(frame_get_type(h, FRAME_TYPE_WRITABLE), 0);
    CHECK_EQ(whole(0, 0, 1, 0, GFNS + 8), 0);
    CHECK_EQ(r.done, GFNS + 8);
    CHECK_EQ(r.refused, 3 + 8);
    CHECK_EQ(r.shared, GFNS - 3);
    CHECK_EQ(p2m_lookup(d[1], GFN(9)).type, p2m_ram_rw);
    CHECK_EQ(p2m_lookup(d[1], GFN(13)).type, p2m_ram_rw);
    CHECK_EQ(p2m_lookup(d[0], GFN(11)).type, p2m_ram_rw);
    frame_put(f);
    frame_put_type(g);
    frame_put_type(h);
    test_share_audit_all();
    CHECK_EQ(whole(0, 0, 1, 0, GFNS), 0);
    CHECK_EQ(r.shared, 3);
    CHECK_EQ(r.already, GFNS - 3);
    CHECK_EQ(whole(0, 512, 2, 0, 16), 0);
    CHECK_EQ(r.shared, 16);
    CHECK_EQ(p2m_lookup(d[0], GFN(600)).order, P2M_ORDER_4K);
    teardown();
}

TEST(range_refuses)
{
    uint64_t end = UINT64_C(1) << P2M_GFN_BITS;

    setup();
    CHECK_EQ(whole(0, end, 1, 0, 1), -ERANGE);
    CHECK_EQ(whole(0, 0, 1, end - 1, 2), -ERANGE);
    CHECK_EQ(whole(0, 1, 1, 0, UINT64_MAX), -ERANGE);
    CHECK_EQ(whole(0, 0, 1, 0, 0), 0);
    d[1]->trust_group = 5;
    CHECK_EQ(whole(0, 0, 1, 0, GFNS), -EPERM);
    d[1]->trust_group = d[0]->trust_group;
    d[1]->no_users = true;
    CHECK_EQ(whole(0, 0, 1, 0, GFNS), -ESRCH);
    CHECK_EQ(whole(1, 0, 0, 0, GFNS), -ESRCH);
    d[1]->no_users = false;
    CHECK_EQ(stats().sharers, 0);
    teardown();
}

/* Somebody who looked the page up without a lock has it when it is counted:
 * after the freeze, not before. */
struct holder { struct p2m_listener l; struct frame *f; domid_t owner; };

static void take_a_reference(struct p2m_listener *l, struct p2m *p, gfn_t gfn,
                             uint64_t nr)
{
    struct holder *h = container_of(l, struct holder, l);

    (void)p, (void)gfn, (void)nr;
    if (h->f != NULL) {
        CHECK_EQ(frame_get(h->f, h->owner), 0);
        h->f = NULL;
    }
}

TEST(references_count_after_the_flush)
{
    /* The source's page; the client's; that, the source being shared. */
    for (unsigned i = 0; i < 3; i++) {
        unsigned side = i == 0 ? 0 : 1;
        struct holder h = { .l.changed = take_a_reference,
                            .owner = (domid_t)(side + 1) };
        struct frame *f;

        setup();
        CHECK_EQ(whole(0, 0, 2, 0, i == 2 ? 16 : 0), 0);
        f = h.f = mfn_to_frame(p2m_lookup(d[side], GFN(5)).mfn);
        p2m_add_listener(d[side], &h.l);
        CHECK_EQ(whole(0, 0, 1, 0, 16), 0);
        p2m_remove_listener(d[side], &h.l);
        CHECK_EQ(r.refused, 1);
        CHECK_EQ(r.shared, 15);
        CHECK_EQ(p2m_lookup(d[side], GFN(5)).type, p2m_ram_rw);
        /* A source without a reference is nominated, as one by one. */
        CHECK_EQ(test_sharers(d[0], 5), i);
        CHECK(test_gfn_is(d[1], 5, 5));
        frame_put(f);
        teardown();
    }
}

/* A mixture: fresh, joined, moved, one frame already, holes. */
static void mixture(void)
{
    setup();
    CHECK_EQ(whole(0, 8, 2, 8, 10), 0);
    CHECK_EQ(whole(2, 30, 1, 30, 10), 0);
    CHECK_EQ(whole(0, 44, 1, 44, 4), 0);
    r = (struct share_range){ 0 };
}

static void mixture_is_shared(void)
{
    CHECK_EQ(r.done, GFNS + 2);
    CHECK_EQ(r.refused, 2);
    CHECK_EQ(stats().shared_frames, GFNS);
    CHECK_EQ(stats().sharers, 2 * GFNS + 20);
    for (unsigned g = 0; g < GFNS; g++) {
        CHECK(same_frame(0, g, 1, g));
        CHECK(test_gfn_is(d[1], g, g) && test_gfn_is(d[2], g, g));
    }
}

TEST(preempted_at_any_check_it_ends_the_same)
{
    struct work w = { .left = 1 << 30 };
    uint64_t checks;

    mixture();
    CHECK_EQ(range(0, 0, 1, 0, GFNS + 2, &w), 0);
    checks = w.checks;
    mixture_is_shared();
    teardown();
    CHECK(checks > 10);
    for (uint64_t at = 1; at <= checks; at++) {
        int err;

        mixture();
        w = (struct work){ .left = 1 << 30, .force_at = at };
        do {
            err = range(0, 0, 1, 0, GFNS + 2, &w);
            CHECK(err == 0 || err == -ERESTART);
            CHECK_EQ(test_share_audit(), 0);
        } while (err != 0);
        mixture_is_shared();
        teardown();
    }
}

TEST(given_up_half_way_all_is_whole)
{
    for (int64_t left = 1; left < 60000; left += 3000) {
        struct work w = { .left = left };

        mixture();
        if (range(0, 0, 1, 0, GFNS + 2, &w) == -ERESTART) {
            share_range_abort(&r);
            share_range_abort(&r);      /* harmless */
        }
        teardown();
    }
}

TEST(no_memory_at_any_allocation)
{
    for (unsigned at = 1;; at++) {
        bool hit;
        int err;

        mixture();
        host_fail_alloc_at(at);
        err = range(0, 0, 1, 0, GFNS + 2, NULL);
        hit = host_alloc_failed();
        host_fail_alloc_at(0);
        CHECK(err == 0 || (hit && err == -ENOMEM));
        test_share_audit_all();
        if (err != 0) {
            CHECK_EQ(range(0, 0, 1, 0, GFNS + 2, NULL), 0);
        }
        mixture_is_shared();
        teardown();
        if (!hit) {
            break;
        }
    }
}
