/* test_share.c - nominate, unshare and drop, each result and each error of
 * theirs. */
#include "test_share.h"

#include <quire/clone.h>

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

/* A fork that failed leaves the parent as it was, but for what somebody else
 * has nominated meanwhile, before or after the fork came by. */
TEST(what_a_clone_shared_is_private_again)
{
    struct share_clone c = { .held = NULL };
    share_handle_t h;
    struct p2m *q;

    setup();
    h = test_nominate(a, 1);
    q = test_p2m_create(3);
    CHECK_EQ(share_clone_begin(&c, a, q), 0);
    test_nominate(a, 2);
    CHECK_EQ(share_clone(&c, a, q, NULL), 0);
    test_nominate(a, 3);
    q->no_users = true;
    CHECK_EQ(share_base_drop(q, NULL), 0);
    share_base_free(q);
    test_share_kill(q);
    CHECK_EQ(share_unclone(&c, a, NULL), 0);
    CHECK_EQ(p2m_lookup(a, GFN(1)).type, p2m_ram_shared);
    CHECK_EQ(test_nominate(a, 1), h);
    CHECK_EQ(p2m_lookup(a, GFN(2)).type, p2m_ram_shared);
    CHECK_EQ(p2m_lookup(a, GFN(3)).type, p2m_ram_shared);
    CHECK_EQ(p2m_lookup(a, GFN(4)).type, p2m_ram_rw);
    teardown();
}

TEST(nominate_makes_a_private_page_shared)
{
    share_handle_t h, again, other;
    struct p2m_entry e, was;
    struct frame *f;
    uint64_t pages;

    setup();
    was = p2m_lookup(a, GFN(3));
    pages = owner_get(1)->pages;
    h = test_nominate(a, 3);
    e = p2m_lookup(a, GFN(3));
    f = mfn_to_frame(e.mfn);
    CHECK_EQ(e.type, p2m_ram_shared);
    CHECK(mfn_eq(e.mfn, was.mfn));
    CHECK_EQ(frame_owner(f), DOMID_COW);
    CHECK_EQ(frame_type(f), FRAME_TYPE_SHARED);
    CHECK_EQ(frame_type_count(f), 1);
    CHECK_EQ(frame_refs(f), 1);
    CHECK_EQ(owner_get(1)->pages, pages - 1);
    CHECK_EQ(owner_get(DOMID_COW)->pages, 1);
    CHECK(test_gfn_is(a, 3, 103));
    CHECK_EQ(share_nominate(a, GFN(3), &again), 0);
    CHECK_EQ(again, h);
    CHECK_EQ(share_handle(a, GFN(3), &again), 0);
    CHECK_EQ(again, h);
    CHECK(test_nominate(a, 4) != h);
    other = test_nominate(b, 3);
    CHECK(other != h);
    CHECK_EQ(stats().nominates, 3);
    CHECK_EQ(stats().shared_frames, 3);
    CHECK_EQ(stats().sharers, 3);
    CHECK_EQ(stats().saved_frames, 0);
    CHECK_EQ(stats().rmap_bytes, 0);    /* the only pair is in the record */
    teardown();
}

TEST(a_handle_is_never_used_again)
{
    share_handle_t h, first;

    setup();
    first = h = test_nominate(a, 0);
    for (unsigned i = 0; i < 20; i++) {
        share_handle_t next;

        CHECK_EQ(share_unshare(a, GFN(0)), 0);
        CHECK_EQ(share_handle(a, GFN(0), &next), -EINVAL);
        next = test_nominate(a, 0);
        CHECK(next != h && next != first);
        h = next;
    }
    teardown();
}

/* Every type but ram_rw, and everything odd about a frame. */
TEST(nominate_refuses)
{
    share_handle_t h = 7;
    uint64_t flushes;
    struct p2m_entry e;
    struct frame *f;

    setup();
    CHECK_EQ(share_nominate(a, GFN(50), &h), -ENOENT);
    CHECK_EQ(share_nominate(a, GFN(UINT64_C(1) << 36), &h), -ENOENT);
    CHECK_EQ(share_nominate(a, GFN(UINT64_MAX), &h), -ENOENT);
    CHECK_EQ(test_p2m_set(a, 51, MFN_INVALID, 0, p2m_mmio_dm), 0);
    CHECK_EQ(share_nominate(a, GFN(51), &h), -ENXIO);
    CHECK_EQ(test_p2m_set(a, 52, MFN(0xfee00), 0, p2m_mmio_direct), 0);
    CHECK_EQ(share_nominate(a, GFN(52), &h), -ENXIO);
    e = p2m_lookup(a, GFN(1));
    CHECK_EQ(test_p2m_set(a, 1, e.mfn, 0, p2m_ram_ro), 0);
    CHECK_EQ(share_nominate(a, GFN(1), &h), -EINVAL);
    CHECK_EQ(test_p2m_set(a, 1, e.mfn, 0, p2m_ram_rw), 0);

    /* Somebody holds the page; then its type; then nobody. Refused at once,
     * without a flush. */
    f = mfn_to_frame(e.mfn);
    flushes = a->nr_flushes;
    CHECK_EQ(frame_get(f, 1), 0);
    CHECK_EQ(share_nominate(a, GFN(1), &h), -E2BIG);
    frame_put(f);
    CHECK_EQ(frame_get_type(f, FRAME_TYPE_WRITABLE), 0);
    CHECK_EQ(share_nominate(a, GFN(1), &h), -E2BIG);
    CHECK_EQ(frame_owner(f), 1);
    CHECK_EQ(a->nr_flushes, flushes);
    frame_put_type(f);
    CHECK_EQ(h, 7);
    CHECK_EQ(stats().shared_frames, 0);

    /* A page of b's that a maps as its own. */
    CHECK_EQ(test_p2m_set(a, 53, p2m_lookup(b, GFN(0)).mfn, 0, p2m_ram_rw),
             0);
    CHECK_EQ(share_nominate(a, GFN(53), &h), -EXDEV);
    CHECK_EQ(test_p2m_set(a, 53, MFN_INVALID, 0, p2m_invalid), 0);
    CHECK_EQ(share_nominate(a, GFN(1), &h), 0);
    teardown();
}

/*
 * A reference that turns up between the first look and the flush: taken by a
 * listener, which is called in just that place.
 */
struct intruder { struct p2m_listener l; struct frame *f; unsigned calls; };

static void intrude(struct p2m_listener *l, struct p2m *p, gfn_t gfn,
                    uint64_t nr)
{
    struct intruder *i = container_of(l, struct intruder, l);

    CHECK(p == a && gfn.n == 2 && nr == 1);
    if (i->calls++ == 0) {
        i->f = mfn_to_frame(p2m_lookup(a, gfn).mfn);
        CHECK_EQ(frame_get(i->f, 1), 0);
    }
}

TEST(nominate_counts_references_after_the_flush)
{
    struct intruder i = { .l.changed = intrude };
    share_handle_t h;

    setup();
    p2m_add_listener(a, &i.l);
    CHECK_EQ(share_nominate(a, GFN(2), &h), -E2BIG);
    p2m_remove_listener(a, &i.l);
    CHECK_EQ(i.calls, 2);       /* read-only, and back */
    CHECK_EQ(p2m_lookup(a, GFN(2)).type, p2m_ram_rw);
    CHECK_EQ(frame_owner(i.f), 1);
    CHECK_EQ(frame_type_count(i.f), 0);
    frame_put(i.f);
    CHECK_EQ(stats().shared_frames, 0);
    CHECK_EQ(stats().rmap_bytes, 0);
    CHECK_EQ(share_nominate(a, GFN(2), &h), 0);
    teardown();
}

TEST(nominate_splits_a_superpage)
{
    mfn_t m;

    setup();
    m = test_p2m_populate(a, 1024, P2M_ORDER_2M);
    for (unsigned k = 0; k < 512; k++) {
        test_fill(mfn_add(m, k), 5000 + k);
    }
    (void)test_nominate(a, 1024 + 77);
    CHECK_EQ(p2m_lookup(a, GFN(1024 + 77)).type, p2m_ram_shared);
    for (unsigned k = 0; k < 512; k++) {
        struct p2m_entry e = p2m_lookup(a, GFN(1024 + k));

        CHECK_EQ(e.order, 0);
        CHECK(mfn_eq(e.mfn, mfn_add(m, k)));
        CHECK_EQ(e.type, k == 77 ? p2m_ram_shared : p2m_ram_rw);
    }
    test_share_write(a, 1024 + 77, 1);
    test_share_write(a, 1024 + 78, 2);
    CHECK(mfn_eq(p2m_lookup(a, GFN(1024 + 77)).mfn, mfn_add(m, 77)));
    teardown();
}

TEST(a_write_breaks_sharing_and_leaves_the_others)
{
    share_handle_t h;
    mfn_t m;

    setup();
    h = test_nominate(a, 0);
    m = p2m_lookup(a, GFN(0)).mfn;
    CHECK_EQ(share_add_physmap(a, GFN(0), h, b, GFN(100)), 0);
    CHECK_EQ(share_add_physmap(a, GFN(0), h, b, GFN(101)), 0);

    test_share_write(b, 100, 9);        /* a copy */
    CHECK(!mfn_eq(p2m_lookup(b, GFN(100)).mfn, m));
    CHECK_EQ(frame_owner(mfn_to_frame(p2m_lookup(b, GFN(100)).mfn)), 2);
    CHECK(test_gfn_is(a, 0, 100) && test_gfn_is(b, 101, 100));
    CHECK_EQ(test_sharers(a, 0), 2);
    test_share_write(a, 0, 10);         /* the nominator, a copy */
    CHECK(test_gfn_is(b, 101, 100));
    CHECK_EQ(test_sharers(b, 101), 1);
    test_share_write(b, 101, 11);       /* the last keeps it */
    CHECK(mfn_eq(p2m_lookup(b, GFN(101)).mfn, m));
    CHECK_EQ(frame_owner(mfn_to_frame(m)), 2);
    CHECK_EQ(frame_type_count(mfn_to_frame(m)), 0);
    CHECK_EQ(frame_refs(mfn_to_frame(m)), 1);
    CHECK(test_gfn_is(a, 0, 10) && test_gfn_is(b, 100, 9));
    CHECK(test_gfn_is(b, 101, 11));

    CHECK_EQ(share_domain_stats(b)->cow_faults, 2);
    CHECK_EQ(share_domain_stats(b)->copies, 1);
    CHECK_EQ(share_domain_stats(b)->last_sharers, 1);
    CHECK_EQ(share_domain_stats(a)->copies, 1);
    CHECK_EQ(stats().unshares_copied, 2);
    CHECK_EQ(stats().unshares_last, 1);
    CHECK_EQ(stats().shared_frames, 0);
    CHECK_EQ(stats().sharers, 0);
    CHECK_EQ(stats().rmap_bytes, 0);
    teardown();
}

/* The copy has what the page had before anything else happens to it. */
TEST(unshare_copies_the_contents)
{
    share_handle_t h;

    setup();
    h = test_nominate(a, 5);
    CHECK_EQ(share_add_physmap(a, GFN(5), h, b, GFN(100)), 0);
    CHECK_EQ(share_unshare(b, GFN(100)), 0);
    CHECK_EQ(p2m_lookup(b, GFN(100)).type, p2m_ram_rw);
    CHECK(test_gfn_is(b, 100, 105) && test_gfn_is(a, 5, 105));
    CHECK_EQ(share_unshare(b, GFN(100)), 0);    /* private already */
    CHECK_EQ(share_unshare(b, GFN(1)), 0);
    CHECK_EQ(share_unshare(b, GFN(999)), -ENOENT);
    CHECK_EQ(test_p2m_set(b, 999, MFN_INVALID, 0, p2m_mmio_dm), 0);
    CHECK_EQ(share_unshare(b, GFN(999)), -EINVAL);
    teardown();
}

/*
 * As long as the flush is not through, a processor may read the old frame as
 * this gfn's: until then it must have a sharer more, so that nobody else
 * becomes its owner. The listener is called just before.
 */
static unsigned watched;

static void watch(struct p2m_listener *l, struct p2m *p, gfn_t gfn,
                  uint64_t nr)
{
    (void)l, (void)nr;
    CHECK(p == a && gfn.n == 0);
    CHECK_EQ(test_sharers(b, 100), 2);
    watched++;
}

TEST(the_pair_leaves_after_the_flush)
{
    struct p2m_listener l = { .changed = watch };
    share_handle_t h;

    setup();
    h = test_nominate(a, 0);
    CHECK_EQ(share_add_physmap(a, GFN(0), h, b, GFN(100)), 0);
    watched = 0;
    p2m_add_listener(a, &l);
    CHECK_EQ(share_unshare(a, GFN(0)), 0);
    p2m_remove_listener(a, &l);
    CHECK_EQ(watched, 1);
    CHECK_EQ(test_sharers(b, 100), 1);
    teardown();
}

TEST(reads_and_fetches_do_not_break_sharing)
{
    static const unsigned access[] = { P2M_R, P2M_X };
    struct npf f = { .gpa = 0x3000, .present = true };

    setup();
    (void)test_nominate(a, 3);
    for (unsigned i = 0; i < 2; i++) {
        f.access = access[i];
        CHECK_EQ(p2m_fault(a, &f), P2M_FAULT_RETRY);
        CHECK_EQ(p2m_lookup(a, GFN(3)).type, p2m_ram_shared);
    }
    CHECK_EQ(share_domain_stats(a)->cow_faults, 0);
    teardown();
}

/* Another vCPU's fault was handled between the exit and ours. */
TEST(a_fault_that_comes_late_is_retried)
{
    struct npf f = { .gpa = 0x3000, .access = P2M_W, .present = true };

    setup();
    (void)test_nominate(a, 3);
    test_share_write(a, 3, 77);
    CHECK_EQ(p2m_fault(a, &f), P2M_FAULT_RETRY);
    CHECK(test_gfn_is(a, 3, 77));
    CHECK_EQ(share_domain_stats(a)->last_sharers, 1);
    teardown();
}

TEST(no_room_for_a_copy)
{
    share_handle_t h;

    setup();
    h = test_nominate(a, 0);
    CHECK_EQ(share_add_physmap(a, GFN(0), h, b, GFN(100)), 0);
    host_fail_alloc_at(1);
    CHECK_EQ(test_share_write_fault(b, 100), P2M_FAULT_NOMEM);
    CHECK_EQ(share_domain_stats(b)->cow_faults, 1);
    owner_get(2)->max_pages = owner_get(2)->pages;
    CHECK_EQ(share_unshare(b, GFN(100)), -ENOMEM);
    CHECK_EQ(stats().unshares_failed, 2);
    CHECK_EQ(test_sharers(b, 100), 2);
    test_share_audit_all();

    /* The last sharer, too, needs room under its limit for the frame. */
    test_share_write(a, 0, 1);
    CHECK_EQ(share_unshare(b, GFN(100)), -ENOMEM);
    CHECK_EQ(test_sharers(b, 100), 1);
    CHECK_EQ(frame_owner(mfn_to_frame(p2m_lookup(b, GFN(100)).mfn)),
             DOMID_COW);
    test_share_audit_all();
    owner_get(2)->max_pages++;
    CHECK_EQ(share_unshare(b, GFN(100)), 0);
    CHECK(test_gfn_is(b, 100, 100));
    teardown();
}

/* Whichever allocation fails, nothing has changed; then it works. */
TEST(every_allocation_failed)
{
    share_handle_t h = 0;
    unsigned failures = 0;
    uint64_t n;

    setup();
    (void)test_p2m_populate(a, 1024, P2M_ORDER_2M);
    for (n = 1;; n++) {
        host_fail_alloc_at(n);
        if (share_nominate(a, GFN(1030), &h) == 0) {
            break;
        }
        failures++;
        CHECK_EQ(p2m_lookup(a, GFN(1030)).type, p2m_ram_rw);
        CHECK_EQ(stats().shared_frames + stats().rmap_bytes, 0);
        test_share_audit_all();
    }
    CHECK(failures >= 3);       /* a table, the record, the pair */
    for (n = 1;; n++) {
        host_fail_alloc_at(n);
        if (share_add_physmap(a, GFN(1030), h, b, GFN(0x700000)) == 0) {
            break;
        }
        failures++;
        CHECK_EQ(p2m_lookup(b, GFN(0x700000)).type, p2m_invalid);
        CHECK_EQ(test_sharers(a, 1030), 1);
        test_share_audit_all();
    }
    CHECK(failures >= 6);
    host_fail_alloc_at(0);
    for (n = 1;; n++) {
        uint64_t done = 0;

        host_fail_alloc_at(n);
        if (share_add_physmap_range(a, GFN(1030), h, b, GFN(0x900000 + n * 80),
                                    70, 1, &done, NULL) == 0) {
            break;
        }
        CHECK_EQ(b->count[p2m_ram_shared], stats().sharers - 1);
        CHECK(done < 70);
        test_share_audit_all();
    }
    host_fail_alloc_at(0);
    teardown();
}

TEST(the_death_of_a_domain_leaves_the_others)
{
    share_handle_t h;
    uint64_t free_before;
    mfn_t m;

    setup();
    free_before = owner_get(DOMID_COW)->pages;
    h = test_nominate(a, 0);
    (void)test_nominate(a, 1);
    m = p2m_lookup(a, GFN(0)).mfn;
    CHECK_EQ(share_add_physmap(a, GFN(0), h, b, GFN(100)), 0);
    test_share_kill(a);
    CHECK_EQ(owner_get(DOMID_COW)->pages, free_before + 1);
    CHECK_EQ(stats().shared_frames, 1);
    CHECK_EQ(test_sharers(b, 100), 1);
    CHECK(test_gfn_is(b, 100, 100));
    test_share_audit_all();
    test_share_write(b, 100, 3);
    CHECK(mfn_eq(p2m_lookup(b, GFN(100)).mfn, m));
    test_share_kill(b);
    test_share_all_gone();
}

TEST(drops_that_cost_no_frame_are_counted)
{
    struct share_domain_stats *s;
    share_handle_t h;
    uint64_t saved;
    gfn_t cursor = GFN(0);

    setup();
    h = test_nominate(a, 0);
    (void)test_nominate(b, 3);
    CHECK_EQ(share_add_physmap(a, GFN(0), h, b, GFN(100)), 0);
    CHECK_EQ(share_add_physmap(a, GFN(0), h, b, GFN(101)), 0);
    s = share_domain_stats(b);
    b->no_users = true;
    CHECK_EQ(p2m_relinquish(b, &cursor, test_share_drop_group, NULL), 0);
    saved = s->saved_by_drop;
    CHECK_EQ(saved, 2);
    p2m_put(b);
    test_drain_grace();
    CHECK_EQ(owner_release(2), 0);
    test_share_kill(a);
    test_share_all_gone();
}

TEST(debug_gfn)
{
    struct share_info info;
    share_handle_t h;

    setup();
    h = test_nominate(a, 0);
    CHECK_EQ(share_add_physmap(a, GFN(0), h, b, GFN(100)), 0);
    CHECK_EQ(share_debug_gfn(b, GFN(100), &info), 0);
    CHECK(mfn_eq(info.mfn, p2m_lookup(a, GFN(0)).mfn));
    CHECK_EQ(info.handle, h);
    CHECK_EQ(info.sharers, 2);
    CHECK_EQ(share_debug_gfn(b, GFN(0), &info), -EINVAL);
    CHECK_EQ(share_debug_gfn(b, GFN(99), &info), -ENOENT);
    CHECK_EQ(share_handle(b, GFN(0), &h), -EINVAL);
    CHECK_EQ(share_handle(b, GFN(99), &h), -ENOENT);
    teardown();
}
