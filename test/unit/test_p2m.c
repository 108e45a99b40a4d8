/*
 * test_p2m.c - the p2m function by function: rights, mapping at every order,
 * splits, removal, reservations, listeners, deferred frees, faults, ids.
 */
#include "test_p2m.h"

#include <quire/p2m_slot.h>

#define ORDER_2M P2M_ORDER_2M
#define ORDER_1G P2M_ORDER_1G

static void setup(void)
{
    host_machine_init(1 << 14, 4);
}

TEST(rights_follow_type_and_tracking)
{
    CHECK_EQ(p2m_rights(p2m_ram_rw, 0), P2M_R | P2M_W | P2M_X);
    CHECK_EQ(p2m_rights(p2m_ram_ro, 0), P2M_R | P2M_X);
    CHECK_EQ(p2m_rights(p2m_ram_shared, 0), P2M_R | P2M_X);
    CHECK_EQ(p2m_rights(p2m_mmio_direct, 0), P2M_R | P2M_W);
    CHECK_EQ(p2m_rights(p2m_grant_map_ro, 0), P2M_R);
    CHECK_EQ(p2m_rights(p2m_invalid, 0), 0);
    CHECK_EQ(p2m_rights(p2m_mmio_dm, 0), 0);
    for (unsigned t = 1; t < 16; t++) {
        CHECK_EQ(p2m_rights(p2m_ram_rw, t), P2M_R | P2M_X);
        CHECK_EQ(p2m_rights(p2m_mmio_dm, t), 0);
    }
    CHECK(p2m_type_name(p2m_ram_shared)[4] == 's');
    CHECK_EQ(p2m_type_name(NR_P2M_TYPES)[0], '?');
}

TEST(map_look_up_remove)
{
    static const uint64_t gfns[] = { 0, 1, 511, 512, 0x3ffff, 0x40000,
                                     0x123456789, (UINT64_C(1) << 36) - 1 };
    struct p2m *p;
    struct p2m_entry e;

    setup();
    p = test_p2m_create(7);
    for (unsigned i = 0; i < ARRAY_SIZE(gfns); i++) {
        mfn_t m = test_p2m_populate(p, gfns[i], 0);

        e = p2m_lookup(p, GFN(gfns[i]));
        CHECK_EQ(e.mfn.n, m.n);
        CHECK_EQ(e.type, p2m_ram_rw);
        CHECK_EQ(e.order, 0);
        CHECK_EQ(e.tracking, 0);
        CHECK_EQ(p->count[p2m_ram_rw], i + 1);
        CHECK_EQ(p2m_audit(p), 0);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(gfns); i++) {
        struct p2m_batch b;

        e = p2m_lookup(p, GFN(gfns[i]));
        p2m_batch_begin(&b, p);
        p2m_set(&b, GFN(gfns[i]), MFN_INVALID, 0, p2m_invalid);
        CHECK(mfn_eq(p2m_lookup_locked(p, GFN(gfns[i])).mfn, MFN_INVALID));
        p2m_batch_end(&b);
        frame_put_allocated(mfn_to_frame(e.mfn));
        CHECK_EQ(p2m_audit(p), 0);
    }
    CHECK_EQ(p->nr_tables, 1);      /* the empty ones are gone */
    CHECK_EQ(p2m_lookup(p, GFN(5)).order, 27);
    CHECK_EQ(p2m_lookup(p, GFN(UINT64_C(1) << 36)).type, p2m_invalid);
    CHECK_EQ(p2m_lookup(p, GFN_INVALID).type, p2m_invalid);
    test_p2m_destroy(p);
    test_p2m_all_gone();
}

TEST(not_present_entries_keep_what_they_say)
{
    struct p2m *p;
    struct p2m_entry e;

    setup();
    p = test_p2m_create(7);
    CHECK_EQ(test_p2m_set(p, 3, MFN_INVALID, 0, p2m_mmio_dm), 0);
    CHECK_EQ(test_p2m_set(p, 4, MFN(0x1234), 0, p2m_ram_broken), 0);
    CHECK_EQ(test_p2m_set(p, 512, MFN_INVALID, ORDER_2M, p2m_pod), 0);
    e = p2m_lookup(p, GFN(3));
    CHECK(e.type == p2m_mmio_dm && mfn_eq(e.mfn, MFN_INVALID));
    e = p2m_lookup(p, GFN(4));
    CHECK(e.type == p2m_ram_broken && e.mfn.n == 0x1234);
    e = p2m_lookup(p, GFN(900));
    CHECK(e.type == p2m_pod && mfn_eq(e.mfn, MFN_INVALID));
    CHECK_EQ(e.order, ORDER_2M);
    CHECK_EQ(p2m_audit(p), 0);
    /* Splitting what has no frame makes parts that have none. */
    CHECK_EQ(test_p2m_set(p, 600, MFN_INVALID, 0, p2m_invalid), 0);
    e = p2m_lookup(p, GFN(601));
    CHECK(e.type == p2m_pod && mfn_eq(e.mfn, MFN_INVALID) && e.order == 0);
    CHECK_EQ(p->count[p2m_pod], 511);
    CHECK_EQ(p2m_audit(p), 0);
    test_p2m_destroy(p);
}

TEST(superpages_split_on_the_way_down)
{
    struct p2m *p;
    mfn_t m = MFN(0x40000);     /* device memory: no RAM needed behind it */
    struct p2m_entry e;

    setup();
    p = test_p2m_create(7);
    CHECK_EQ(test_p2m_set(p, 0x40000, m, ORDER_1G, p2m_mmio_direct), 0);
    CHECK_EQ(p->nr_tables, 2);
    e = p2m_lookup(p, GFN(0x40000 + 12345));
    CHECK(e.order == ORDER_1G && e.mfn.n == m.n + 12345);
    CHECK_EQ(test_p2m_set(p, 0x40000 + 12345, MFN_INVALID, 0, p2m_invalid),
             0);
    CHECK_EQ(p->nr_tables, 4);
    CHECK_EQ(p->count[p2m_mmio_direct], (1 << 18) - 1);
    for (uint64_t k = 0; k < 1 << 18; k++) {
        e = p2m_lookup(p, GFN(0x40000 + k));
        if (k == 12345) {
            CHECK_EQ(e.type, p2m_invalid);
        } else {
            CHECK(e.type == p2m_mmio_direct && e.mfn.n == m.n + k);
            CHECK_EQ(e.order, k >> 9 == 12345 >> 9 ? 0 : ORDER_2M);
        }
    }
    CHECK_EQ(p2m_audit(p), 0);
    test_p2m_destroy(p);
}

TEST(a_superpage_takes_the_place_of_empty_tables)
{
    struct p2m *p;
    struct p2m_batch b;
    mfn_t m;

    setup();
    p = test_p2m_create(7);
    m = test_p2m_populate(p, 0x40007, 0);
    p2m_batch_begin(&b, p);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(0x40000), 1 << 18, ORDER_1G), 0);
    p2m_set(&b, GFN(0x40007), MFN_INVALID, 0, p2m_invalid);
    p2m_set(&b, GFN(0x40000), MFN(0x80000), ORDER_1G, p2m_mmio_direct);
    CHECK_EQ(p->nr_tables, 2);
    CHECK_EQ(p2m_lookup(p, GFN(0x40007)).mfn.n, 0x80007);
    /* The table that held the gfn before is not written any more. */
    CHECK_EQ(p2m_batch_reserve(&b, GFN(0x40007), 1, 0), 0);
    p2m_set(&b, GFN(0x40007), MFN(0x90000), 0, p2m_mmio_direct);
    p2m_batch_end(&b);
    frame_put_allocated(mfn_to_frame(m));
    CHECK_EQ(p->nr_tables, 4);
    CHECK_EQ(p2m_lookup(p, GFN(0x40007)).mfn.n, 0x90000);
    CHECK_EQ(p2m_lookup(p, GFN(0x40008)).mfn.n, 0x80008);
    CHECK_EQ(p2m_audit(p), 0);
    test_p2m_destroy(p);
    test_p2m_all_gone();
}

static void cover_something(void *arg)
{
    struct p2m *p = arg;

    (void)test_p2m_set(p, 512, MFN(1024), ORDER_2M, p2m_mmio_direct);
}

TEST(a_superpage_over_something_is_a_bug)
{
    struct p2m *p;

    setup();
    p = test_p2m_create(7);
    (void)test_p2m_populate(p, 700, 0);
    CHECK(host_expect_panic(cover_something, p, "BUG"));
    test_p2m_destroy(p);
}

TEST(reserve_says_no_without_changing_anything)
{
    struct p2m *p;
    struct p2m_batch b;
    struct frame *f;
    uint64_t end = UINT64_C(1) << P2M_GFN_BITS;

    setup();
    p = test_p2m_create(7);
    p2m_batch_begin(&b, p);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(end), 1, 0), -ERANGE);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(end - 1), 2, 0), -ERANGE);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(1), UINT64_MAX, 0), -ERANGE);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(end - 1), 0, 0), 0);
    /* More than there is, and without having tried. */
    CHECK_EQ(p2m_batch_reserve(&b, GFN(0), end, 0), -ENOMEM);
    CHECK_EQ(b.nr_reserved, 0);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(511), 2, 0), 0);
    CHECK_EQ(b.nr_reserved, 4);
    p2m_batch_end(&b);
    CHECK_EQ(p->nr_tables, 1);

    f = page_alloc_owned(7, 0);
    CHECK(f != NULL);
    for (unsigned n = 1;; n++) {
        int err;

        host_fail_alloc_at(n);
        err = test_p2m_set(p, 77, frame_to_mfn(f), 0, p2m_ram_rw);
        if (!host_alloc_failed()) {
            CHECK(err == 0 && n == 7);      /* 3 tables, 2 each */
            break;
        }
        CHECK_EQ(err, -ENOMEM);
        CHECK_EQ(p->nr_tables, 1);
        CHECK_EQ(p2m_audit(p), 0);
    }
    host_fail_alloc_at(0);
    test_p2m_destroy(p);
    test_p2m_all_gone();
}

static void set_unreserved(void *arg)
{
    struct p2m_batch b;

    p2m_batch_begin(&b, arg);
    p2m_set(&b, GFN(1), MFN(1), 0, p2m_mmio_direct);
}

TEST(an_unreserved_set_is_a_bug)
{
    struct p2m *p;

    setup();
    p = test_p2m_create(7);
    CHECK(host_expect_panic(set_unreserved, p, "reserved"));
    test_p2m_destroy(p);
}

TEST(create_fails_clean_and_ids_are_unique)
{
    struct p2m *p, *q;

    setup();
    CHECK_EQ(owner_claim(9, NULL, 100), 9);
    for (unsigned n = 1; n <= 3; n++) {
        host_fail_alloc_at(n);
        CHECK(p2m_create(9) == NULL);
        CHECK(host_alloc_failed());
    }
    host_fail_alloc_at(0);
    test_p2m_all_gone();
    p = p2m_create(9);
    CHECK(p != NULL);
    CHECK(p2m_create(9) == NULL);
    CHECK(p2m_create(DOMID_COW) == NULL);
    CHECK(p2m_get_by_owner(8) == NULL);
    CHECK(p2m_get_by_owner(DOMID_INVALID) == NULL);
    q = p2m_get_by_owner(9);
    CHECK(q == p && p->refs == 2);
    p2m_put(p);
    CHECK_EQ(owner_release(9), 0);
    CHECK_EQ(owner_claim(9, NULL, 100), 9);
    p2m_put(q);
    CHECK(p2m_get_by_owner(9) == NULL);
    test_drain_grace();
    test_p2m_all_gone();
}

struct watcher {
    struct p2m_listener l;
    unsigned calls;
    uint64_t first[8], nr[8];
};

static void on_change(struct p2m_listener *l, struct p2m *p, gfn_t gfn,
                      uint64_t nr)
{
    struct watcher *w = container_of(l, struct watcher, l);

    CHECK(is_lock_held(&p->lock));
    CHECK(w->calls < 8);
    w->first[w->calls] = gfn.n;
    w->nr[w->calls++] = nr;
}

TEST(one_notification_per_stretch)
{
    struct watcher w = { .l.changed = on_change };
    struct p2m *p;
    struct p2m_batch b;

    setup();
    p = test_p2m_create(7);
    p2m_add_listener(p, &w.l);
    p2m_batch_begin(&b, p);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(500), 100, 0), 0);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(1024), 512, ORDER_2M), 0);
    for (unsigned i = 500; i < 600; i++) {
        p2m_set(&b, GFN(i), MFN_INVALID, 0, p2m_mmio_dm);
    }
    p2m_set(&b, GFN(550), MFN_INVALID, 0, p2m_mmio_dm);     /* no change */
    p2m_set(&b, GFN(551), MFN_INVALID, 0, p2m_invalid);     /* inside */
    p2m_set(&b, GFN(5), MFN_INVALID, 0, p2m_invalid);       /* no change */
    p2m_set(&b, GFN(1024), MFN_INVALID, ORDER_2M, p2m_mmio_dm);
    p2m_batch_end(&b);
    CHECK_EQ(w.calls, 2);
    CHECK(w.first[0] == 500 && w.nr[0] == 100);
    CHECK(w.first[1] == 1024 && w.nr[1] == 512);
    p2m_remove_listener(p, &w.l);
    test_p2m_destroy(p);
    CHECK_EQ(w.calls, 2);
}

TEST(flushes_only_when_rights_fall_or_frames_change)
{
    struct p2m *p;
    struct frame *f;
    mfn_t a, c;
    uint64_t n;

    setup();
    p = test_p2m_create(7);
    a = test_p2m_populate(p, 1, 0);
    f = page_alloc_owned(7, 0);
    CHECK(f != NULL);
    c = frame_to_mfn(f);
    n = p->nr_flushes;
    CHECK_EQ(n, 0);
    CHECK_EQ(test_p2m_set(p, 1, a, 0, p2m_ram_rw), 0);      /* the same */
    CHECK_EQ(p->nr_flushes, n);
    CHECK_EQ(test_p2m_set(p, 1, a, 0, p2m_ram_ro), 0);
    CHECK_EQ(p->nr_flushes, n + 1);
    CHECK_EQ(test_p2m_set(p, 1, a, 0, p2m_ram_rw), 0);      /* rises */
    CHECK_EQ(p->nr_flushes, n + 1);
    CHECK_EQ(test_p2m_set(p, 1, c, 0, p2m_ram_rw), 0);
    CHECK_EQ(p->nr_flushes, n + 2);
    CHECK_EQ(test_p2m_set(p, 1, c, 0, p2m_map_foreign), 0); /* no X */
    CHECK_EQ(p->nr_flushes, n + 3);
    CHECK_EQ(test_p2m_set(p, 1, c, 0, p2m_ram_rw), 0);
    CHECK_EQ(p->nr_flushes, n + 3);
    /* Not there any more, though the frame is still named. */
    CHECK_EQ(test_p2m_set(p, 1, c, 0, p2m_grant_map_ro), 0);
    CHECK_EQ(p->nr_flushes, n + 4);
    CHECK_EQ(test_p2m_set(p, 1, c, 0, p2m_ram_broken), 0);
    CHECK_EQ(p->nr_flushes, n + 5);
    CHECK_EQ(test_p2m_set(p, 1, c, 0, p2m_ram_rw), 0);
    CHECK_EQ(test_p2m_set(p, 1, MFN_INVALID, 0, p2m_invalid), 0);
    CHECK_EQ(p->nr_flushes, n + 6);
    CHECK_EQ(p->generation & UINT32_MAX, n + 6);
    frame_put_allocated(mfn_to_frame(a));
    frame_put_allocated(f);
    test_p2m_destroy(p);
}

TEST(tracking_takes_write_away_and_gives_it_back)
{
    struct p2m *p;
    struct p2m_batch b;
    struct p2m_entry e;

    setup();
    p = test_p2m_create(7);
    (void)test_p2m_populate(p, 512, ORDER_2M);
    p2m_batch_begin(&b, p);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(600), 1, 0), 0);
    p2m_set_tracking(&b, GFN(600), P2M_TRACK_LOGDIRTY | P2M_TRACK_SCANNER);
    CHECK(b.need_flush);
    p2m_batch_end(&b);
    e = p2m_lookup(p, GFN(600));
    CHECK_EQ(e.tracking, P2M_TRACK_LOGDIRTY | P2M_TRACK_SCANNER);
    CHECK_EQ(e.type, p2m_ram_rw);
    CHECK_EQ(p2m_lookup(p, GFN(601)).tracking, 0);
    CHECK_EQ(p->count[p2m_ram_rw], 512);
    CHECK_EQ(p2m_audit(p), 0);
    p2m_batch_begin(&b, p);
    p2m_set_tracking(&b, GFN(600), 0);
    CHECK(!b.need_flush);
    p2m_batch_end(&b);
    CHECK_EQ(p2m_audit(p), 0);
    test_p2m_destroy(p);
    test_p2m_all_gone();
}

TEST(frames_are_put_after_the_flush_however_many)
{
    struct p2m *p;
    struct p2m_batch b;
    struct frame *f[200];

    setup();
    p = test_p2m_create(7);
    p2m_batch_begin(&b, p);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(0), 200, 0), 0);
    for (unsigned i = 0; i < 200; i++) {
        f[i] = page_alloc_owned(7, 0);
        CHECK(f[i] != NULL);
        p2m_set(&b, GFN(i), frame_to_mfn(f[i]), 0, p2m_ram_rw);
    }
    p2m_batch_end(&b);
    CHECK_EQ(p->nr_flushes, 0);
    p2m_batch_begin(&b, p);
    for (unsigned i = 0; i < 200; i++) {
        p2m_set(&b, GFN(i), MFN_INVALID, 0, p2m_invalid);
        CHECK_EQ(frame_get(f[i], 7), 0);
        frame_put_allocated(f[i]);
        p2m_batch_put_frame(&b, f[i]);
        CHECK_EQ(frame_refs(f[i]), 1);
    }
    p2m_batch_end(&b);
    CHECK_EQ(owner_get(7)->pages, 0);
    CHECK_EQ(p->nr_flushes, 4);         /* 64 at a time */
    CHECK_EQ(p->nr_tables, 1);
    test_p2m_destroy(p);
    test_p2m_all_gone();
}

TEST(next_skips_holes_of_any_size)
{
    static const uint64_t at[] = { 3, 511, 512, 0x40000, 0x7ffffff,
                                   UINT64_C(0xfffffffff) };
    uint64_t end = UINT64_C(1) << P2M_GFN_BITS, from = 0;
    struct p2m *p;
    struct p2m_entry e;
    gfn_t g;

    setup();
    p = test_p2m_create(7);
    CHECK(!p2m_next(p, GFN(0), GFN(end), &g, &e));
    for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
        (void)test_p2m_populate(p, at[i], 0);
    }
    CHECK_EQ(test_p2m_set(p, 0x80000, MFN(0), ORDER_1G, p2m_mmio_direct), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
        CHECK(!p2m_next(p, GFN(from), GFN(at[i] < 0x80000 ? at[i] : from),
                        &g, &e));
        CHECK(p2m_next(p, GFN(from), GFN(end), &g, &e));
        CHECK_EQ(g.n, at[i]);
        CHECK_EQ(e.type, p2m_ram_rw);
        from = at[i] + 1;
        if (from == 0x40001) {      /* the superpage, from its middle */
            CHECK(p2m_next(p, GFN(from), GFN(end), &g, &e));
            CHECK_EQ(g.n, 0x80000);
            CHECK(p2m_next(p, GFN(0x80123), GFN(end), &g, &e));
            CHECK(g.n == 0x80123 && e.mfn.n == 0x123);
            CHECK_EQ(e.order, ORDER_1G);
            from = 0xc0000;
        }
    }
    CHECK(!p2m_next(p, GFN(from), GFN(end), &g, &e));
    /* From the end of a hole's first table to the start of another. */
    CHECK(p2m_next(p, GFN(0x3fdff), GFN(end), &g, &e));
    CHECK_EQ(g.n, 0x40000);
    CHECK(!p2m_next(p, GFN_INVALID, GFN_INVALID, &g, &e));
    test_p2m_destroy(p);
}

static unsigned handled;

static enum p2m_fault_result handle(const struct p2m_slot *s, struct npf *f)
{
    handled++;
    CHECK_EQ(s->gfn.n, 6);
    CHECK(s->entry != NULL);
    CHECK_EQ(f->gpa, 0x6123);
    return P2M_FAULT_NOMEM;
}

TEST(faults_go_by_type)
{
    struct p2m *p;
    struct npf f = { .access = P2M_W };

    setup();
    p = test_p2m_create(7);
    (void)test_p2m_populate(p, 1, 0);
    CHECK_EQ(test_p2m_set(p, 2, p2m_lookup(p, GFN(1)).mfn, 0, p2m_ram_ro), 0);
    CHECK_EQ(test_p2m_set(p, 3, MFN_INVALID, 0, p2m_mmio_dm), 0);
    CHECK_EQ(test_p2m_set(p, 4, MFN(9), 0, p2m_mmio_direct), 0);
    CHECK_EQ(test_p2m_set(p, 6, MFN_INVALID, 0, p2m_ram_paged), 0);
    f.gpa = 0x0123;
    CHECK_EQ(p2m_fault(p, &f), P2M_FAULT_MMIO);
    f.gpa = UINT64_MAX;
    CHECK_EQ(p2m_fault(p, &f), P2M_FAULT_MMIO);
    f.gpa = 0x1123;
    CHECK_EQ(p2m_fault(p, &f), P2M_FAULT_RETRY);
    f.gpa = 0x2123;
    CHECK_EQ(p2m_fault(p, &f), P2M_FAULT_DENIED);
    f.access = P2M_X;
    CHECK_EQ(p2m_fault(p, &f), P2M_FAULT_RETRY);
    f.gpa = 0x4123;
    CHECK_EQ(p2m_fault(p, &f), P2M_FAULT_DENIED);
    f.gpa = 0x3123;
    CHECK_EQ(p2m_fault(p, &f), P2M_FAULT_MMIO);
    f.gpa = 0x6123;
    CHECK_EQ(p2m_fault(p, &f), P2M_FAULT_DENIED);
    p2m_register_fault(p2m_ram_paged, handle);
    CHECK_EQ(p2m_fault(p, &f), P2M_FAULT_NOMEM);
    CHECK_EQ(handled, 1);
    CHECK_EQ(test_p2m_set(p, 2, MFN_INVALID, 0, p2m_invalid), 0);
    test_p2m_destroy(p);
}
