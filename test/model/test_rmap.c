/*
 * test_rmap.c - each form of the reverse map against an array of bits.
 *
 * The model is a map of 64 bits per (domain, group). Steps insert and remove
 * pairs and groups, some with the n-th allocation failing: then either it was
 * not reached or did no harm, or the step says -ENOMEM and nothing has
 * changed. After each step the group is compared and the count; the audit
 * runs and every other step so does a look at all groups. How full the map
 * wants to be changes all the time, so that it goes to and fro over every
 * threshold. A failure prints the seed and the step.
 */
#include "../../arch/host/host.h"
#include "test.h"

#include <quire/heap.h>
#include <quire/rmap.h>
#include <quire/rng.h>

enum { DOMAINS = 3, GROUPS = 512, STEPS = 12000 };

static const domid_t domids[DOMAINS] = { 0, 1, 65535 };

static struct {
    struct rmap map;
    uint64_t bits[DOMAINS][GROUPS];
    unsigned groups;                /* in use, of GROUPS */
    uint64_t count;
    struct rng r;
    unsigned step;
    enum rmap_form form;
} m;

#define REQUIRE(cond) \
    do { \
        if (!(cond)) { \
            test_fail(__FILE__, __LINE__, "%s, step %u: %s", \
                      rmap_form_name(m.form), m.step, #cond); \
        } \
    } while (0)

/* Groups are far apart, up to the last that there is. */
static uint64_t group_number(unsigned g)
{
    return g % 2 == 0 ? g / 2 : (UINT64_C(1) << 30) - 1 - g / 2 * 4;
}

static unsigned count_bits(uint64_t map)
{
    return (unsigned)__builtin_popcountll(map);
}

static void start(enum rmap_form form, unsigned groups, uint64_t salt)
{
    host_machine_init(1 << 14, 1);
    rmap_setup(test_seed + salt, form);
    rng_seed(&m.r, test_seed * 31 + salt);
    for (unsigned d = 0; d < DOMAINS; d++) {
        for (unsigned g = 0; g < GROUPS; g++) {
            m.bits[d][g] = 0;
        }
    }
    m.form = form;
    m.groups = groups;
    m.count = 0;
    m.step = 0;
    rmap_init(&m.map);
}

static void compare_all(void)
{
    for (unsigned d = 0; d < DOMAINS; d++) {
        for (unsigned g = 0; g < m.groups; g++) {
            REQUIRE(rmap_find_group(&m.map, domids[d], group_number(g)) ==
                    m.bits[d][g]);
        }
    }
}

static void stop(void)
{
    compare_all();
    for (unsigned d = 0; d < DOMAINS; d++) {
        for (unsigned g = 0; g < m.groups; g++) {
            if (m.bits[d][g] != 0) {
                rmap_remove_group(&m.map, domids[d], group_number(g),
                                  m.bits[d][g]);
            }
        }
    }
    REQUIRE(rmap_count(&m.map) == 0 && rmap_audit(&m.map) == 0);
    rmap_fini(&m.map);
    CHECK_EQ(rmap_bytes(), 0);
    CHECK_EQ(heap_audit(), 0);
}

/* Some members of a map: one, or each with a chance of its own. */
static uint64_t choose(uint64_t map)
{
    uint64_t mask = rng_next(&m.r);
    unsigned n;

    if (map == 0) {
        return 0;
    }
    switch (rng_below(&m.r, 4)) {
    case 0:
        return map;
    case 1:
        return map & mask;
    default:
        for (n = (unsigned)rng_below(&m.r, count_bits(map)); n > 0; n--) {
            map &= map - 1;
        }
        return map & -map;
    }
}

static struct rmap_pair pair_of(unsigned d, unsigned g, uint64_t bit)
{
    return (struct rmap_pair){ domids[d],
        GFN(group_number(g) * 64 + (unsigned)__builtin_ctzll(bit)) };
}

static void add(unsigned d, unsigned g)
{
    uint64_t map = choose(~m.bits[d][g]);
    bool single = (map & (map - 1)) == 0;
    int err;

    if (map == 0) {
        return;
    }
    err = single && rng_below(&m.r, 2) == 0
              ? rmap_insert(&m.map, pair_of(d, g, map))
              : rmap_insert_group(&m.map, domids[d], group_number(g), map);
    REQUIRE(err == 0 || (err == -ENOMEM && host_alloc_failed()));
    if (err == 0) {
        m.bits[d][g] |= map;
        m.count += count_bits(map);
    }
}

static void take_out(unsigned d, unsigned g)
{
    uint64_t map = choose(m.bits[d][g]);
    bool single = (map & (map - 1)) == 0;

    if (map == 0) {
        return;
    }
    if (single && rng_below(&m.r, 2) == 0) {
        rmap_remove(&m.map, pair_of(d, g, map));
    } else {
        rmap_remove_group(&m.map, domids[d], group_number(g), map);
    }
    m.bits[d][g] &= ~map;
    m.count -= count_bits(map);
}

static void scan_some(void)
{
    struct rmap_pair out[80];
    unsigned max = (unsigned)rng_below(&m.r, ARRAY_SIZE(out));
    unsigned n = rmap_scan(&m.map, out, max);

    REQUIRE(n == MIN(max, m.count));
    for (unsigned i = 0; i < n; i++) {
        REQUIRE(rmap_has(&m.map, out[i]));
    }
}

static void one_step(unsigned percent)
{
    unsigned d = (unsigned)rng_below(&m.r, DOMAINS);
    unsigned g = (unsigned)rng_below(&m.r, m.groups);

    if (rng_below(&m.r, 6) == 0) {
        host_fail_alloc_at(1 + rng_below(&m.r, 3));
    }
    if (rng_below(&m.r, 10) == 0) {
        scan_some();
    } else if (rng_below(&m.r, 100) < percent) {
        add(d, g);
    } else {
        take_out(d, g);
    }
    host_fail_alloc_at(0);
    REQUIRE(rmap_find_group(&m.map, domids[d], group_number(g)) ==
            m.bits[d][g]);
    REQUIRE(rmap_count(&m.map) == m.count);
}

static void run(enum rmap_form form, unsigned groups, unsigned steps,
                unsigned audit_every)
{
    unsigned percent = 70;

    start(form, groups, groups);
    for (m.step = 0; m.step < steps; m.step++) {
        if (rng_below(&m.r, steps / 24) == 0) {
            percent = 20 + (unsigned)rng_below(&m.r, 60);
        }
        one_step(percent);
        if (m.step % audit_every == 0) {
            REQUIRE(rmap_audit(&m.map) == 0);
        }
        if (m.step % (2 * audit_every) == 0) {
            compare_all();
        }
    }
    stop();
}

TEST(few_groups)
{
    for (unsigned f = 0; f < RMAP_NR_FORMS; f++) {
        run(f, 4, STEPS / 4, 1);
    }
}

TEST(some_groups)
{
    for (unsigned f = 0; f < RMAP_NR_FORMS; f++) {
        run(f, 14, STEPS / 4, f == RMAP_ADAPTIVE ? 1 : 50);
    }
}

TEST(many_groups)
{
    run(RMAP_ADAPTIVE, GROUPS, STEPS * (unsigned)test_rounds, 40);
}

/* ---- the scan while the map changes --------------------------------------- */

/*
 * Half of the domains' groups stay, the rest comes and goes. Every pair that
 * stays must turn up before the scan has handed out many times the map.
 */
static void scan_changing(enum rmap_form form, unsigned groups)
{
    static uint64_t waiting[GROUPS];
    uint64_t left = 0, handed = 0;

    start(form, groups, 7);
    for (unsigned g = 0; g < groups; g++) {
        uint64_t map = choose(UINT64_MAX);

        REQUIRE(map == 0 || rmap_insert_group(&m.map, domids[2],
                                              group_number(g), map) == 0);
        m.bits[2][g] = waiting[g] = map;
        m.count += count_bits(map);
        left += count_bits(map);
    }
    for (unsigned percent = 50; left > 0; m.step++) {
        struct rmap_pair out[30];
        unsigned n = rmap_scan(&m.map, out, 1 + (unsigned)rng_below(&m.r, 30));

        handed += n;
        for (unsigned i = 0; i < n; i++) {
            for (unsigned g = 0; g < groups; g++) {
                if (out[i].domain == domids[2] &&
                    out[i].gfn.n / 64 == group_number(g)) {
                    uint64_t bit = UINT64_C(1) << (out[i].gfn.n & 63);

                    left -= (waiting[g] & bit) != 0;
                    waiting[g] &= ~bit;
                }
            }
        }
        if (m.step % 100 == 0) {
            percent = percent == 75 ? 25 : 75;
        }
        for (unsigned i = 0; i < 12; i++) {
            unsigned d = (unsigned)rng_below(&m.r, 2);
            unsigned g = (unsigned)rng_below(&m.r, groups);

            if (rng_below(&m.r, 100) < percent) {
                add(d, g);
            } else {
                take_out(d, g);
            }
        }
        REQUIRE(handed < 60u * groups * 64 * DOMAINS);
    }
    REQUIRE(rmap_audit(&m.map) == 0);
    stop();
}

TEST(a_scan_misses_none_that_stay)
{
    for (unsigned f = 0; f < RMAP_NR_FORMS; f++) {
        scan_changing(f, 4);
    }
    for (unsigned groups = 8; groups <= GROUPS; groups *= 4) {
        scan_changing(RMAP_ADAPTIVE, groups);
    }
}

/* ---- families: the same gfns in many domains ------------------------------ */

enum { KIN = 320, KIN_GFNS = 3 };

static bool is_kin[KIN][KIN_GFNS];

/* Ids in a row, as those of forks are; a few far away. */
static struct rmap_pair kin(unsigned d, unsigned g)
{
    static const uint64_t gfns[KIN_GFNS] = { 5, 6, (UINT64_C(1) << 36) - 1 };

    return (struct rmap_pair){ (domid_t)(d < 300 ? d : 40000 + d * 70),
                               GFN(gfns[g]) };
}

static void compare_kin(void)
{
    static struct rmap_pair out[KIN * KIN_GFNS];
    unsigned n = rmap_take(&m.map, out, ARRAY_SIZE(out));

    REQUIRE(n == m.count && rmap_scan(&m.map, out, n) == n);
    for (unsigned d = 0; d < KIN; d++) {
        for (unsigned g = 0; g < KIN_GFNS; g++) {
            struct rmap_pair p = kin(d, g);
            uint64_t map = rmap_find_group(&m.map, p.domain, p.gfn.n / 64);
            unsigned times = 0;

            REQUIRE(rmap_has(&m.map, p) == is_kin[d][g]);
            REQUIRE((map >> p.gfn.n % 64 & 1) == is_kin[d][g]);
            for (unsigned i = 0; i < n; i++) {
                times += out[i].domain == p.domain &&
                         gfn_eq(out[i].gfn, p.gfn);
            }
            REQUIRE(times == is_kin[d][g]);
        }
    }
}

static void kin_step(unsigned gfns, unsigned percent)
{
    unsigned d = (unsigned)rng_below(&m.r, KIN);
    unsigned g = (unsigned)rng_below(&m.r, gfns);
    int err;

    if (is_kin[d][g] == (rng_below(&m.r, 100) < percent)) {
        return;
    }
    if (is_kin[d][g]) {
        rmap_remove(&m.map, kin(d, g));
        is_kin[d][g] = false;
        m.count--;
        return;
    }
    host_fail_alloc_at(rng_below(&m.r, 6) == 0);
    err = rmap_insert(&m.map, kin(d, g));
    REQUIRE(err == 0 || (err == -ENOMEM && host_alloc_failed()));
    host_fail_alloc_at(0);
    is_kin[d][g] = err == 0;
    m.count += err == 0;
}

static void run_family(unsigned gfns, unsigned spread)
{
    unsigned percent = 50;

    start(RMAP_ADAPTIVE, 0, gfns);
    for (m.step = 0; m.step < STEPS; m.step++) {
        if (rng_below(&m.r, spread) == 0) {
            percent = (unsigned)rng_below(&m.r, 101);
        }
        kin_step(gfns, percent);
        REQUIRE(rmap_count(&m.map) == m.count);
        REQUIRE(rmap_audit(&m.map) == 0);
        if (m.step % 200 == 0) {
            compare_kin();
        }
    }
    for (unsigned i = 0; i < KIN * KIN_GFNS; i++) {
        bool *is = &is_kin[i / KIN_GFNS][i % KIN_GFNS];

        if (*is) {
            rmap_remove(&m.map, kin(i / KIN_GFNS, i % KIN_GFNS));
            *is = false;
        }
    }
    stop();
}

TEST(families)
{
    for (unsigned gfns = 1; gfns <= KIN_GFNS; gfns++) {
        run_family(gfns, 20);
        run_family(gfns, 600);
    }
}

/* ---- a deep trie ---------------------------------------------------------- */

static struct rmap_pair far_pair(uint64_t i)
{
    return (struct rmap_pair){ (domid_t)(i % 5), GFN(i * 7919) };
}

/* More leaves than one node has slots: up, and down in another order. */
TEST(deep)
{
    const uint64_t nr = 90000;

    host_machine_init(1 << 14, 1);
    rmap_setup(test_seed, RMAP_ADAPTIVE);
    rmap_init(&m.map);
    for (uint64_t i = 0; i < nr; i++) {
        CHECK_EQ(rmap_insert(&m.map, far_pair(i)), 0);
        if (i % 9973 == 0) {
            CHECK_EQ(rmap_audit(&m.map), 0);
        }
    }
    CHECK_EQ(rmap_audit(&m.map), 0);
    for (uint64_t i = 0; i < nr; i++) {
        uint64_t k = i * 40009 % nr;

        CHECK(rmap_has(&m.map, far_pair(k)));
        rmap_remove(&m.map, far_pair(k));
        CHECK(!rmap_has(&m.map, far_pair(k)));
        if (i % 9973 == 0 || i + 200 > nr) {
            CHECK_EQ(rmap_audit(&m.map), 0);
        }
    }
    CHECK_EQ(rmap_count(&m.map) + rmap_bytes(), 0);
    CHECK_EQ(heap_audit(), 0);
}
