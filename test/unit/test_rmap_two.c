/*
 * test_rmap_two.c - the adaptive map of two pairs that have nothing in common,
 * and what a third makes of it.
 */
#include "../../arch/host/host.h"
#include "test.h"

#include <quire/heap.h>
#include <quire/rmap.h>

#define GFN_MAX GFN((UINT64_C(1) << 36) - 1)

static struct rmap map;

static bool equal(struct rmap_pair a, struct rmap_pair b)
{
    return a.domain == b.domain && gfn_eq(a.gfn, b.gfn);
}

static void setup(void)
{
    host_machine_init(1 << 12, 1);
    rmap_setup(test_seed, RMAP_ADAPTIVE);
    rmap_init(&map);
}

static void teardown(void)
{
    rmap_fini(&map);
    CHECK_EQ(rmap_count(&map), 0);
    CHECK_EQ(rmap_bytes(), 0);
    CHECK_EQ(heap_audit(), 0);
}

static void remove_third(void *arg)
{
    (void)arg;
    rmap_remove(&map, (struct rmap_pair){ 4095, GFN(5) });
}

/* Two pairs that have nothing in common, in either order: no memory. */
TEST(two_strangers)
{
    static const struct rmap_pair p[] = {
        { 4095, GFN_MAX }, { 0, GFN(0) }, { 3, GFN(4095) }, { 4095, GFN(0) },
        { 0, GFN_MAX },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(p) * ARRAY_SIZE(p); i++) {
        struct rmap_pair one = p[i % ARRAY_SIZE(p)], out[4];
        struct rmap_pair two = p[i / ARRAY_SIZE(p)];

        if (equal(one, two)) {
            continue;
        }
        setup();
        CHECK_EQ(rmap_insert(&map, one), 0);
        CHECK_EQ(rmap_scan(&map, out, i & 1), i & 1);
        CHECK_EQ(rmap_insert(&map, two), 0);
        CHECK_EQ(rmap_bytes() != 0,
                 gfn_eq(one.gfn, two.gfn) && map.shape != RMAP_TWO);
        CHECK_EQ(rmap_count(&map), 2);
        CHECK_EQ(rmap_audit(&map), 0);
        CHECK(rmap_has(&map, one) && rmap_has(&map, two));
        CHECK(!rmap_has(&map, (struct rmap_pair){ 4095, GFN(5) }));
        CHECK_EQ(rmap_find_group(&map, two.domain, two.gfn.n / 64),
                 UINT64_C(1) << two.gfn.n % 64);
        CHECK(host_expect_panic(remove_third, NULL, "BUG"));
        CHECK_EQ(rmap_scan(&map, out, 1), 1);
        CHECK(equal(out[0], i & 1 ? two : one));
        CHECK_EQ(rmap_scan(&map, out + 1, 4), 2);
        CHECK(!equal(out[0], out[1]) && equal(out[0], out[2]));
        rmap_remove(&map, i & 2 ? one : two);
        CHECK_EQ(rmap_count(&map), 1);
        CHECK_EQ(rmap_scan(&map, out, 1), 1);
        CHECK(equal(out[0], i & 2 ? two : one));
        CHECK_EQ(rmap_audit(&map), 0);
        rmap_remove(&map, i & 2 ? two : one);
        CHECK_EQ(rmap_count(&map), 0);
        CHECK_EQ(rmap_insert(&map, two), 0);
        CHECK(rmap_has(&map, two));
        teardown();
    }
}

/* Who is next of two stays next when the other leaves. */
TEST(two_scans_keep_their_place)
{
    for (unsigned seen = 0; seen < 2; seen++) {
        for (unsigned gone = 0; gone < 2; gone++) {
            struct rmap_pair out[2];

            setup();
            CHECK_EQ(rmap_insert(&map, (struct rmap_pair){ 1, GFN(7) }), 0);
            CHECK_EQ(rmap_insert(&map, (struct rmap_pair){ 2, GFN(9) }), 0);
            CHECK_EQ(rmap_scan(&map, out, seen), seen);
            rmap_remove(&map, (struct rmap_pair){ (domid_t)(1 + gone),
                                                  GFN(7 + 2 * gone) });
            CHECK_EQ(rmap_insert(&map, (struct rmap_pair){ 3, GFN(5) }), 0);
            CHECK_EQ(rmap_scan(&map, out, 1), 1);
            CHECK_EQ(out[0].domain, gone == 1 && seen == 1 ? 3 :
                                    2u - gone);
            teardown();
        }
    }
}

/* The third decides where the first is at a gfn of its own: a family is small,
 * strangers are by domain. */
TEST(kin_of_a_stranger)
{
    for (unsigned fail = 0; fail < 3; fail++) {
        setup();
        CHECK_EQ(rmap_insert(&map, (struct rmap_pair){ 1, GFN(7) }), 0);
        for (unsigned d = 2; d < 102; d++) {
            struct rmap_pair p = { (domid_t)d, GFN(777) };

            host_fail_alloc_at(d == 3 ? fail : 0);
            if (rmap_insert(&map, p) != 0) {
                CHECK(host_alloc_failed());
                CHECK_EQ(rmap_count(&map), 2);
                CHECK_EQ(rmap_audit(&map), 0);
                host_fail_alloc_at(0);
                CHECK_EQ(rmap_insert(&map, p), 0);
            }
            host_fail_alloc_at(0);
            CHECK_EQ(rmap_count(&map), d);
            CHECK_EQ(rmap_audit(&map), 0);
        }
        CHECK_EQ(rmap_bytes(), 64);
        for (unsigned d = 2; d < 102; d++) {
            struct rmap_pair p = { (domid_t)((d * 37) % 100 + 2), GFN(777) };

            CHECK(rmap_has(&map, p));
            rmap_remove(&map, p);
            CHECK(!rmap_has(&map, p));
            CHECK_EQ(rmap_audit(&map), 0);
        }
        CHECK_EQ(rmap_count(&map), 1);
        CHECK_EQ(rmap_bytes(), 0);
        teardown();
    }
}

/* Groups beside two pairs, and one of a group that one of them is in. */
TEST(two_and_a_group)
{
    for (unsigned group = 0; group < 3; group++) {
        for (unsigned fail = 0; fail < 2; fail++) {
            int err;

            setup();
            CHECK_EQ(rmap_insert(&map, (struct rmap_pair){ 1, GFN(7) }), 0);
            CHECK_EQ(rmap_insert(&map, (struct rmap_pair){ 1, GFN(77) }), 0);
            host_fail_alloc_at(fail);
            err = rmap_insert_group(&map, 1, group, UINT64_C(0xff0000));
            CHECK_EQ(err, fail ? -ENOMEM : 0);
            host_fail_alloc_at(0);
            CHECK_EQ(rmap_count(&map), fail ? 2 : 10);
            CHECK_EQ(rmap_audit(&map), 0);
            CHECK_EQ(rmap_find_group(&map, 1, 0) & 0xff, 1 << 7);
            CHECK_EQ(rmap_find_group(&map, 1, 1) & 0xffff, 1 << 13);
            rmap_remove_group(&map, 1, 0, 1 << 7);
            CHECK_EQ(rmap_count(&map), fail ? 1 : 9);
            CHECK_EQ(rmap_audit(&map), 0);
            teardown();
        }
    }
}
