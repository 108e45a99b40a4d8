/* test_rmap.c - the reverse map as a set, whatever form is behind it. */
#include "../../arch/host/host.h"
#include "test.h"

#include <quire/heap.h>
#include <quire/rmap.h>
#include <quire/rng.h>

#include <string.h>

#define NR 200

static struct rmap map;

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

TEST(it_is_a_set)
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
        CHECK((rmap_bytes() == 0) == (count == 0));
    }
    teardown();
}

TEST(take_copies_distinct_pairs)
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
TEST(scan_goes_round)
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

TEST(for_each_visits_all_or_stops)
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

TEST(move_takes_no_memory)
{
    struct rmap other;
    uint64_t bytes, allocs;

    setup(NR);
    rmap_init(&other);
    bytes = rmap_bytes();
    allocs = host_alloc_count();
    for (unsigned i = 0; i < NR; i++) {
        CHECK_EQ(rmap_move(&other, &map, pair_at(i * 7 % NR)), 0);
        CHECK_EQ(rmap_count(&map) + rmap_count(&other), NR);
        CHECK(rmap_has(&other, pair_at(i * 7 % NR)));
        CHECK(!rmap_has(&map, pair_at(i * 7 % NR)));
        CHECK_EQ(rmap_audit(&map) + rmap_audit(&other), 0);
    }
    CHECK_EQ(rmap_bytes(), bytes);
    CHECK_EQ(host_alloc_count(), allocs);
    rmap_fini(&other);
    teardown();
}

TEST(insert_without_memory_changes_nothing)
{
    setup(3);
    host_fail_alloc_at(1);
    CHECK_EQ(rmap_insert(&map, pair_at(3)), -ENOMEM);
    CHECK(host_alloc_failed());
    CHECK_EQ(rmap_count(&map), 3);
    CHECK(!rmap_has(&map, pair_at(3)));
    CHECK_EQ(rmap_audit(&map), 0);
    teardown();
}

static void remove_absent(void *arg)
{
    (void)arg;
    rmap_remove(&map, pair_at(5));
}

TEST(removing_what_is_not_there_is_a_bug)
{
    setup(5);
    CHECK(host_expect_panic(remove_absent, NULL, "BUG"));
    teardown();
}

TEST(the_audit_sees_a_pair_twice_and_a_wrong_count)
{
    setup(5);
    CHECK_EQ(rmap_insert(&map, pair_at(2)), 0);
    CHECK_EQ(rmap_audit(&map), 1);
    rmap_remove(&map, pair_at(2));
    CHECK_EQ(rmap_audit(&map), 0);
    map.count++;
    CHECK_EQ(rmap_audit(&map), 1);
    map.count -= 2;
    CHECK(rmap_audit(&map) != 0);
    map.count++;
    teardown();
}
