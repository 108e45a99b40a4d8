/*
 * test_rmap.c - the reverse map as a set, each test with each form behind it;
 * what only one form does is at the end.
 */
#include "../../arch/host/host.h"
#include "test.h"

#include <quire/heap.h>
#include <quire/rmap.h>
#include <quire/rng.h>

#include <string.h>

#define NR 200

static struct rmap map;
static enum rmap_form form;

/* A test that is run with every form. */
#define FORM_TEST(name) \
    static void form_##name(void); \
    TEST(name) \
    { \
        for (unsigned f = 0; f < RMAP_NR_FORMS; f++) { \
            form = f; \
            form_##name(); \
        } \
    } \
    static void form_##name(void)

static struct rmap_pair pair_at(unsigned i)
{
    /* Domains and gfns that differ in one of the two, up to the largest. */
    return (struct rmap_pair){ (domid_t)(i % 3 == 2 ? 4095 : i % 3),
                               GFN((UINT64_C(1) << 36) - 1 - i / 3) };
}

static bool equal(struct rmap_pair a, struct rmap_pair b)
{
    return a.domain == b.domain && gfn_eq(a.gfn, b.gfn);
}

static void setup(unsigned nr)
{
    host_machine_init(1 << 12, 1);
    rmap_setup(test_seed, form);
    rmap_init(&map);
    for (unsigned i = 0; i < nr; i++) {
        CHECK_EQ(rmap_insert(&map, pair_at(i)), 0);
    }
}

static void teardown(void)
{
    rmap_fini(&map);
    CHECK_EQ(rmap_count(&map), 0);
    CHECK_EQ(rmap_bytes(), 0);
    CHECK_EQ(heap_audit(), 0);
}

FORM_TEST(it_is_a_set)
{
    bool in[NR] = { false };
    struct rng r;

    setup(0);
    rng_seed(&r, test_seed);
    CHECK_EQ(rmap_bytes(), 0);
    for (unsigned n = 0; n < 5000; n++) {
        unsigned i = (unsigned)rng_below(&r, NR);
        uint64_t count = 0;

        if (in[i]) {
            rmap_remove(&map, pair_at(i));
        } else {
            CHECK_EQ(rmap_insert(&map, pair_at(i)), 0);
        }
        in[i] = !in[i];
        for (unsigned k = 0; k < NR; k++) {
            CHECK_EQ(rmap_has(&map, pair_at(k)), in[k]);
            count += in[k];
        }
        CHECK_EQ(rmap_count(&map), count);
        CHECK_EQ(rmap_audit(&map), 0);
        CHECK(rmap_bytes() > 0 || count < 6);
    }
    teardown();
}

FORM_TEST(take_copies_distinct_pairs)
{
    struct rmap_pair out[NR + 1];

    for (unsigned nr = 0; nr < 70; nr += 23) {
        setup(nr);
        for (unsigned max = 0; max <= nr + 1; max++) {
            unsigned n = rmap_take(&map, out, max);

            CHECK_EQ(n, MIN(max, nr));
            for (unsigned i = 0; i < n; i++) {
                CHECK(rmap_has(&map, out[i]));
                for (unsigned k = 0; k < i; k++) {
                    CHECK(!equal(out[i], out[k]));
                }
            }
        }
        CHECK_EQ(rmap_count(&map), nr);
        teardown();
    }
}

/* Once round is each pair once, in whatever portions, from wherever. */
FORM_TEST(scan_goes_round)
{
    for (unsigned portion = 1; portion <= NR + 3; portion += 7) {
        setup(NR);
        for (unsigned round = 0; round < 3; round++) {
            unsigned seen[NR] = { 0 }, left = NR;

            while (left > 0) {
                struct rmap_pair out[NR + 3];
                unsigned n = rmap_scan(&map, out, MIN(left, portion));

                CHECK(n > 0 && n <= MIN(left, portion));
                left -= n;
                for (unsigned i = 0; i < n; i++) {
                    for (unsigned k = 0; k < NR; k++) {
                        seen[k] += equal(out[i], pair_at(k));
                    }
                }
            }
            for (unsigned k = 0; k < NR; k++) {
                CHECK_EQ(seen[k], 1);
            }
        }
        CHECK_EQ(rmap_audit(&map), 0);
        teardown();
    }
    setup(0);
    CHECK_EQ(rmap_scan(&map, NULL, 10), 0);
    teardown();
}

static int count_to(struct rmap_pair p, void *arg)
{
    (void)p;
    return --*(int *)arg == 0 ? 77 : 0;
}

FORM_TEST(for_each_visits_all_or_stops)
{
    int left = NR + 1;

    setup(NR);
    CHECK_EQ(rmap_for_each(&map, count_to, &left), 0);
    CHECK_EQ(left, 1);
    left = 10;
    CHECK_EQ(rmap_for_each(&map, count_to, &left), 77);
    CHECK_EQ(left, 0);
    teardown();
}

FORM_TEST(move)
{
    struct rmap other;

    setup(NR);
    rmap_init(&other);
    for (unsigned i = 0; i < NR; i++) {
        CHECK_EQ(rmap_move(&other, &map, pair_at(i * 7 % NR)), 0);
        CHECK_EQ(rmap_count(&map) + rmap_count(&other), NR);
        CHECK(rmap_has(&other, pair_at(i * 7 % NR)));
        CHECK(!rmap_has(&map, pair_at(i * 7 % NR)));
        CHECK_EQ(rmap_audit(&map) + rmap_audit(&other), 0);
    }
    rmap_fini(&other);
    teardown();
}

FORM_TEST(a_move_without_memory_changes_nothing)
{
    struct rmap other;

    setup(3);
    rmap_init(&other);
    CHECK_EQ(rmap_insert(&other, pair_at(8)), 0);
    CHECK_EQ(rmap_insert(&other, pair_at(9)), 0);   /* a third needs memory */
    host_fail_alloc_at(1);
    CHECK_EQ(rmap_move(&other, &map, pair_at(1)), -ENOMEM);
    CHECK(host_alloc_failed());
    CHECK(rmap_has(&map, pair_at(1)) && !rmap_has(&other, pair_at(1)));
    CHECK_EQ(rmap_count(&map) * 10 + rmap_count(&other), 32);
    rmap_fini(&other);
    teardown();
}

FORM_TEST(groups)
{
    const uint64_t all = UINT64_MAX, some = UINT64_C(0x8000100000000021);
    const uint64_t last = (UINT64_C(1) << 30) - 1;

    setup(0);
    CHECK_EQ(rmap_insert_group(&map, 65535, last, some), 0);
    CHECK_EQ(rmap_insert_group(&map, 65534, last, all), 0);
    CHECK_EQ(rmap_insert_group(&map, 65535, 0, 1), 0);
    CHECK_EQ(rmap_count(&map), 69);
    CHECK_EQ(rmap_find_group(&map, 65535, last), some);
    CHECK_EQ(rmap_find_group(&map, 65534, last), all);
    CHECK_EQ(rmap_find_group(&map, 65535, 0), 1);
    CHECK_EQ(rmap_find_group(&map, 65533, last), 0);
    CHECK(rmap_has(&map, (struct rmap_pair){ 65535,
                                             GFN(last * 64 + 63) }));
    CHECK_EQ(rmap_insert_group(&map, 65535, last, ~some), 0);
    CHECK_EQ(rmap_find_group(&map, 65535, last), all);
    CHECK_EQ(rmap_audit(&map), 0);
    rmap_remove_group(&map, 65535, last, all & ~UINT64_C(16));
    CHECK_EQ(rmap_find_group(&map, 65535, last), 16);
    rmap_remove_group(&map, 65535, last, 16);
    CHECK_EQ(rmap_find_group(&map, 65535, last), 0);
    rmap_remove_group(&map, 65534, last, all);
    CHECK_EQ(rmap_count(&map), 1);
    CHECK_EQ(rmap_audit(&map), 0);
    teardown();
}

/* Inserts until one has no memory, whichever allocation it was. */
FORM_TEST(insert_without_memory_changes_nothing)
{
    for (unsigned n = 1; n <= 40; n++) {
        unsigned i = 0;

        setup(0);
        host_fail_alloc_at(n);
        while (rmap_insert(&map, pair_at(i)) == 0) {
            i++;
            CHECK(i < 1000000);
            if (host_alloc_failed()) {  /* it did without */
                break;
            }
        }
        host_fail_alloc_at(0);
        CHECK_EQ(rmap_count(&map), i);
        CHECK(!rmap_has(&map, pair_at(i)));
        CHECK_EQ(rmap_audit(&map), 0);
        CHECK_EQ(rmap_insert(&map, pair_at(i)), 0);
        CHECK(rmap_has(&map, pair_at(i)));
        teardown();
    }
}

static void remove_absent(void *arg)
{
    (void)arg;
    rmap_remove(&map, pair_at(NR));
}

FORM_TEST(removing_what_is_not_there_is_a_bug)
{
    setup(NR);
    CHECK(host_expect_panic(remove_absent, NULL, "BUG"));
    teardown();
    setup(5);
    CHECK(host_expect_panic(remove_absent, NULL, "BUG"));
    teardown();
}

FORM_TEST(the_audit_sees_a_wrong_count)
{
    /* Of an inline map the count says what is in it. */
    unsigned first = form == RMAP_ADAPTIVE ? 6 : 1;

    for (unsigned nr = first; nr <= NR; nr += NR - first) {
        setup(nr);
        CHECK_EQ(rmap_audit(&map), 0);
        map.count++;
        CHECK_EQ(rmap_audit(&map), 1);
        map.count -= 2;
        CHECK(rmap_audit(&map) != 0);
        map.count++;
        teardown();
    }
}

/* In parts: leaf by leaf. */
FORM_TEST(the_audit_in_parts)
{
    for (unsigned nr = 0; nr <= 3000; nr += 60 + nr) {
        uint64_t at = 0;
        unsigned parts = 0;

        setup(0);
        for (unsigned i = 0; i < nr; i++) {
            CHECK_EQ(rmap_insert(&map, (struct rmap_pair){ 2, GFN(i * 64) }),
                     0);
        }
        do {
            CHECK_EQ(rmap_audit_next(&map, &at), 0);
            parts++;
        } while (at != 0);
        CHECK(parts >= (form == RMAP_ADAPTIVE ? nr / 120 : 1));
        CHECK(parts <= nr / 20 + 1);
        teardown();
    }
}

static void insert_again(void *arg)
{
    (void)arg;
    CHECK_EQ(rmap_insert(&map, pair_at(2)), 0);
}

/* The forms that look before they insert say so at once. */
FORM_TEST(a_pair_twice)
{
    setup(5);
    if (form == RMAP_LIST || form == RMAP_HASH256) {
        CHECK_EQ(rmap_insert(&map, pair_at(2)), 0);
        CHECK_EQ(rmap_audit(&map), 1);
        rmap_remove(&map, pair_at(2));
        CHECK_EQ(rmap_audit(&map), 0);
    } else {
        CHECK(host_expect_panic(insert_again, NULL, "BUG"));
    }
    teardown();
}

static bool starved_insert(uint64_t gfn)
{
    int err;

    host_fail_alloc_at(1);
    err = rmap_insert(&map, (struct rmap_pair){ 1, GFN(gfn) });
    CHECK(err == 0 || (err == -ENOMEM && host_alloc_failed()));
    host_fail_alloc_at(0);
    return err == 0;
}

/* Once there is no memory a table takes what its leaf can hold, loses nothing
 * when it is full, and goes on when memory is back. */
TEST(a_table_without_memory)
{
    unsigned nr = 60, wide = 0;

    form = RMAP_ADAPTIVE;
    setup(0);
    for (unsigned i = 0; i < nr; i++) {
        CHECK_EQ(rmap_insert(&map, (struct rmap_pair){ 1, GFN(i * 64) }), 0);
    }
    CHECK_EQ(rmap_bytes(), 1008);
    while (starved_insert(nr * 64)) {
        nr++;
    }
    CHECK_EQ(nr, 120);
    for (unsigned i = 0; i < nr; i++) {
        CHECK(!starved_insert(i * 64 + 1));
        CHECK_EQ(rmap_find_group(&map, 1, i), 1);
    }
    CHECK_EQ(rmap_audit(&map), 0);
    rmap_remove_group(&map, 1, 7, 1);
    for (unsigned i = 0; i < nr; i++) {
        wide += i != 7 && starved_insert(i * 64 + 1);
    }
    CHECK(wide <= 1);
    CHECK_EQ(rmap_count(&map), nr - 1 + wide);
    CHECK_EQ(rmap_audit(&map), 0);
    CHECK_EQ(rmap_insert(&map, (struct rmap_pair){ 1, GFN(7 * 64) }), 0);
    CHECK_EQ(rmap_count(&map), nr + wide);
    CHECK_EQ(rmap_audit(&map), 0);
    teardown();
}

/* A family of forks: one gfn in many domains. Five are in the map itself, 64
 * neighbours in 16 bytes, a thousand in 32 words. */
TEST(families_are_small)
{
    form = RMAP_ADAPTIVE;
    setup(0);
    for (unsigned d = 0; d < 1024; d++) {
        CHECK_EQ(rmap_bytes(), d < 6 ? 0 : d <= 64 ? 16 :
                 d < 1000 ? rmap_bytes() : 256);
        CHECK_EQ(rmap_insert(&map, (struct rmap_pair){ (domid_t)d,
                                                       GFN(77) }), 0);
    }
    CHECK_EQ(rmap_bytes(), 256);
    CHECK_EQ(rmap_audit(&map), 0);
    for (unsigned d = 1024; d-- > 0; ) {
        CHECK_EQ(rmap_find_group(&map, (domid_t)d, 1), 1 << 13);
        rmap_remove(&map, (struct rmap_pair){ (domid_t)d, GFN(77) });
        CHECK(!rmap_has(&map, (struct rmap_pair){ (domid_t)d, GFN(77) }));
    }
    teardown();
}

/* One gfn in domains too far apart to be groups: a table by domain, which
 * takes neighbouring gfns as one. */
TEST(scattered_kin)
{
    form = RMAP_ADAPTIVE;
    setup(0);
    for (unsigned i = 0; i < 33; i++) {
        struct rmap_pair p = { (domid_t)(i * 64), GFN(77) };

        host_fail_alloc_at(i == 32);
        CHECK_EQ(rmap_insert(&map, p), i == 32 ? -ENOMEM : 0);
        host_fail_alloc_at(0);
    }
    CHECK_EQ(rmap_insert(&map, (struct rmap_pair){ 4095, GFN(77) }), 0);
    CHECK_EQ(rmap_bytes(), 1008);
    for (unsigned i = 0; i < 32; i++) {
        CHECK(rmap_has(&map, (struct rmap_pair){ (domid_t)(i * 64),
                                                 GFN(77) }));
    }
    CHECK_EQ(rmap_insert_group(&map, 4095, 2, UINT64_MAX), 0);
    CHECK_EQ(rmap_find_group(&map, 4095, 2), UINT64_MAX);
    CHECK_EQ(rmap_count(&map), 97);
    CHECK_EQ(rmap_audit(&map), 0);
    teardown();
}

/* Who is next in a scan stays next when others leave. */
TEST(inline_scan_keeps_its_place)
{
    form = RMAP_ADAPTIVE;
    for (unsigned gone = 0; gone < 5; gone++) {
        struct rmap_pair out[5];
        bool seen[5] = { false };

        setup(0);
        for (unsigned d = 0; d < 5; d++) {
            CHECK_EQ(rmap_insert(&map, (struct rmap_pair){ (domid_t)d,
                                                           GFN(9) }), 0);
        }
        CHECK_EQ(rmap_scan(&map, out, 2), 2);
        rmap_remove(&map, (struct rmap_pair){ (domid_t)gone, GFN(9) });
        CHECK_EQ(rmap_scan(&map, out + 2, gone < 2 ? 3 : 2),
                 gone < 2 ? 3 : 2);
        seen[gone] = true;
        for (unsigned i = gone < 2 ? 2 : 0; i < (gone < 2 ? 5 : 4); i++) {
            seen[out[i].domain] = true;
        }
        for (unsigned d = 0; d < 5; d++) {
            CHECK(seen[d] || (gone < 2 && d < 2));
        }
        CHECK_EQ(rmap_audit(&map), 0);
        teardown();
    }
}

FORM_TEST(two_at_once)
{
    static const domid_t other[] = { 9, 64, 4095 };
    struct rmap_pair p = { 1, GFN(5) };

    for (unsigned i = 0; i < ARRAY_SIZE(other); i++) {
        for (unsigned fail = 0; fail < 3; fail++) {
            int err;

            setup(0);
            host_fail_alloc_at(fail);
            err = rmap_init_two(&map, p.gfn, p.domain, other[i]);
            CHECK_EQ(err, host_alloc_failed() ? -ENOMEM : 0);
            host_fail_alloc_at(0);
            CHECK_EQ(rmap_count(&map), err == 0 ? 2 : 0);
            CHECK_EQ(rmap_audit(&map), 0);
            CHECK_EQ(rmap_has(&map, p), err == 0);
            CHECK_EQ(rmap_has(&map, (struct rmap_pair){ other[i], p.gfn }),
                     err == 0);
            teardown();
        }
    }
}

static void insert_twice(void *arg)
{
    (void)arg;
    CHECK_EQ(rmap_insert(&map, (struct rmap_pair){ 1, GFN(5) }), 0);
}

static void remove_other(void *arg)
{
    (void)arg;
    rmap_remove(&map, (struct rmap_pair){ 3, GFN(5) });
}

/* What an inline map looks at. */
TEST(inline_maps_look)
{
    form = RMAP_ADAPTIVE;
    setup(0);
    CHECK_EQ(rmap_init_two(&map, GFN(5), 1, 2), 0);
#ifdef QUIRE_DEBUG
    CHECK(host_expect_panic(insert_twice, NULL, "inline_map"));
#else
    (void)insert_twice;
#endif
    CHECK(host_expect_panic(remove_other, NULL, "BUG"));
    teardown();
}

/* To and fro between 15 and 32 words, memory or not. */
TEST(back_to_an_array)
{
    form = RMAP_ADAPTIVE;
    setup(0);
    for (unsigned i = 0; i < 33; i++) {
        CHECK_EQ(rmap_bytes() == 1008, i == 33);
        CHECK_EQ(rmap_insert(&map, (struct rmap_pair){ 1, GFN(i * 64) }), 0);
    }
    CHECK_EQ(rmap_bytes(), 1008);
    for (unsigned i = 0; i < 18; i++) {
        CHECK_EQ(rmap_bytes(), 1008);
        host_fail_alloc_at(i == 17);
        rmap_remove(&map, (struct rmap_pair){ 1, GFN(i * 64) });
    }
    CHECK(host_alloc_failed());
    host_fail_alloc_at(0);
    CHECK_EQ(rmap_bytes(), 1008);       /* no memory to become smaller */
    for (unsigned i = 18; i < 22; i++) {
        rmap_remove(&map, (struct rmap_pair){ 1, GFN(i * 64) });
    }
    CHECK(rmap_bytes() < 300);
    for (unsigned i = 22; i < 33; i++) {
        CHECK(rmap_has(&map, (struct rmap_pair){ 1, GFN(i * 64) }));
    }
    CHECK_EQ(rmap_audit(&map), 0);
    teardown();
}

TEST(forms_have_names)
{
    CHECK_EQ(rmap_form_find("adaptive"), RMAP_ADAPTIVE);
    for (int i = 0; i < RMAP_NR_FORMS; i++) {
        CHECK_EQ(rmap_form_find(rmap_form_name(i)), i);
    }
    CHECK_EQ(rmap_form_find("adaptiv"), -EINVAL);
    CHECK_EQ(rmap_form_find(""), -EINVAL);
}
