/*
 * test_fork.c - random forks, writes, removals, merges, resets and kills of a
 * family of domains against a naive model: what each gfn of each domain holds
 * now, and what it held when the domain was forked. After each step the bytes
 * of every gfn are compared and all audits run.
 *
 * Forks and resets run in slices of random length; some steps run with the
 * n-th allocation failing: then nothing has changed, but that a reset may have
 * to be called again. Some pages are held by somebody while their domain is
 * forked.
 */
#include "test.h"
#include "test_fork.h"

#include <quire/page_alloc.h>
#include <string.h>

enum { DOMAINS = 10, GFNS = 48, STEPS = 700 };

struct member {
    struct domain *d;               /* NULL: none */
    bool is_fork;
    uint64_t now[GFNS], began[GFNS];    /* 0: a hole */
    struct frame *held;             /* of now[held_gfn], or NULL */
    unsigned held_gfn;
};

static struct {
    struct member of[DOMAINS];
    struct rng r;
    uint64_t nr_values;
    unsigned forks, resets, failures;
} m;

static uint64_t below(uint64_t n) { return rng_below(&m.r, n); }

/* Three stretches, in four tables. */
static gfn_t gfn_of(unsigned g)
{
    return GFN(g < 16 ? g : g < 32 ? 504 + g : 4000 + g);
}

static int64_t units(void)
{
    static const int64_t choice[] = { 0, 1, 1, 500, 3000, 9000 };

    return choice[below(ARRAY_SIZE(choice))];
}

static struct member *some(bool is_fork)
{
    for (unsigned i = 0; i < 40; i++) {
        struct member *x = &m.of[below(DOMAINS)];

        if (x->d != NULL && (x->is_fork || !is_fork)) {
            return x;
        }
    }
    return NULL;
}

static struct member *nobody(void)
{
    for (unsigned i = 0; i < DOMAINS; i++) {
        if (m.of[i].d == NULL) {
            return &m.of[i];
        }
    }
    return NULL;
}

/* ---- the comparison ---------------------------------------------------- */

static void check_member(const struct member *x)
{
    struct fork_info info;
    uint64_t changed = 0;

    for (unsigned g = 0; g < GFNS; g++) {
        struct p2m_entry e = p2m_lookup(x->d->p2m, gfn_of(g));

        CHECK_EQ(e.type == p2m_invalid, x->now[g] == 0);
        CHECK(x->now[g] == 0 || test_page_is(e.mfn, x->now[g]));
        changed += x->now[g] != x->began[g] && x->began[g] != 0;
    }
    CHECK_EQ(domain_fork_info(x->d, &info), x->is_fork ? 0 : -EINVAL);
    CHECK(!x->is_fork || info.dirty >= changed);
}

static void check_all(void)
{
    unsigned nr = 0;

    for (unsigned i = 0; i < DOMAINS; i++) {
        if (m.of[i].d != NULL) {
            check_member(&m.of[i]);
            nr++;
        }
    }
    CHECK_EQ(domain_count(), nr);
    test_fork_audit();
}

/* ---- the steps --------------------------------------------------------- */

static uint64_t new_value(void) { return ++m.nr_values * 1000003; }

static void create(struct member *x)
{
    struct domain_config c = {
        .id = DOMID_INVALID, .nr_vcpus = 1, .nr_ranges = 3,
        .max_pages = 200,
        .ranges = { { gfn_of(0), 16 }, { gfn_of(16), 16 },
                    { gfn_of(32), 16 } } };

    *x = (struct member){ .d = test_create(&c) };
    for (unsigned g = 0; g < GFNS; g++) {
        x->now[g] = new_value();
        test_fill(p2m_lookup(x->d->p2m, gfn_of(g)).mfn, x->now[g]);
    }
}

static void let_go(struct member *x)
{
    if (x->held != NULL) {
        frame_put(x->held);
        x->held = NULL;
    }
}

struct counts { uint64_t guest, shared, sharers; };

static struct counts count(void)
{
    struct mem_totals t;
    struct share_stats s;

    mem_totals_get(&t);
    share_stats_get(&s);
    return (struct counts){ t.frames[FRAME_GUEST], t.frames[FRAME_SHARED],
                            s.sharers };
}

static void step_fork(void)
{
    struct member *parent = some(false), *x = nobody();
    int err;

    if (parent == NULL || x == NULL) {
        return;
    }
    test_settle();
    struct counts before = count();

    if (below(4) == 0) {
        host_fail_alloc_at(1 + below(150));
    }
    err = test_fork(parent->d, "fork", 0, units(), &x->d);
    if (err != 0) {
        CHECK_EQ(err, -ENOMEM);
        CHECK(host_alloc_failed());
        x->d = NULL;
        m.failures++;
        host_fail_alloc_at(0);
        test_settle();
        CHECK_EQ(count().guest, before.guest);
        CHECK_EQ(count().shared, before.shared);
        CHECK_EQ(count().sharers, before.sharers);
        return;
    }
    host_fail_alloc_at(0);
    m.forks++;
    x->is_fork = true;
    x->held = NULL;
    memcpy(x->now, parent->now, sizeof(x->now));
    memcpy(x->began, parent->now, sizeof(x->began));
}

static void step_write(void)
{
    struct member *x = some(false);
    unsigned g = (unsigned)below(GFNS);

    if (x == NULL || x->now[g] == 0) {
        return;
    }
    if (below(8) == 0) {
        host_fail_alloc_at(1 + below(3));
    }
    if (test_share_write_fault(x->d->p2m, gfn_of(g).n) ==
        P2M_FAULT_RETRY) {
        x->now[g] = new_value();
        test_fill(p2m_lookup(x->d->p2m, gfn_of(g)).mfn, x->now[g]);
    } else {
        CHECK(host_alloc_failed());
    }
    host_fail_alloc_at(0);
}

static void step_remove(void)
{
    struct member *x = some(false);
    unsigned g = (unsigned)below(GFNS);
    int err;

    if (x == NULL || x->now[g] == 0) {
        return;
    }
    let_go(x);
    if (below(4) == 0) {
        host_fail_alloc_at(1);
    }
    err = domain_remove_gfn(x->d, gfn_of(g));
    CHECK_EQ(err, host_alloc_failed() && err != 0 ? -ENOMEM : 0);
    host_fail_alloc_at(0);
    if (err == 0) {
        x->now[g] = 0;
    }
}

static void step_populate(void)
{
    struct member *x = some(false);
    unsigned g = (unsigned)below(GFNS);
    uint64_t done = 0;

    if (x == NULL || x->now[g] != 0) {
        return;
    }
    CHECK_EQ(domain_populate(x->d, gfn_of(g), 1, &done, NULL), 0);
    x->now[g] = new_value();
    test_fill(p2m_lookup(x->d->p2m, gfn_of(g)).mfn, x->now[g]);
}

/* Two pages with the same contents become one frame again. */
static void step_merge(void)
{
    struct member *a = some(false), *b = some(false);
    unsigned g = (unsigned)below(GFNS);
    share_handle_t h;

    if (a == NULL || b == NULL || a == b || a->now[g] == 0 ||
        b->now[g] == 0 ||
        share_nominate(a->d->p2m, gfn_of(g), &h) != 0 ||
        share_unshare(b->d->p2m, gfn_of(g)) != 0 ||
        share_nominate(b->d->p2m, gfn_of(g), &h) != 0) {
        return;
    }
    /* As its guest would have written the same. */
    if (b->now[g] != a->now[g]) {
        CHECK_EQ(share_unshare(b->d->p2m, gfn_of(g)), 0);
        b->now[g] = a->now[g];
        test_fill(p2m_lookup(b->d->p2m, gfn_of(g)).mfn, b->now[g]);
    }
    CHECK_EQ(test_share(a->d->p2m, gfn_of(g).n, b->d->p2m, gfn_of(g).n), 0);
}

static void step_hold(void)
{
    struct member *x = some(false);
    unsigned g = (unsigned)below(GFNS);
    struct p2m_entry e;

    if (x == NULL || x->held != NULL) {
        if (x != NULL) {
            let_go(x);
        }
        return;
    }
    e = p2m_lookup(x->d->p2m, gfn_of(g));
    if (e.type == p2m_ram_rw &&
        frame_get(mfn_to_frame(e.mfn), x->d->id) == 0) {
        x->held = mfn_to_frame(e.mfn);
    }
}

static void step_reset(void)
{
    struct member *x = some(true);
    int err;

    if (x == NULL) {
        return;
    }
    let_go(x);
    if (below(4) == 0) {
        host_fail_alloc_at(1 + below(4));
    }
    err = test_reset(x->d, below(3) == 0 ? XENMEM_FORK_RESET_MEMORY
                                         : RESET_ALL, units());
    if (err != 0) {
        CHECK_EQ(err, -ENOMEM);
        CHECK(host_alloc_failed());
        m.failures++;
        err = test_reset(x->d, RESET_ALL, units());
        if (err == -EBUSY) {        /* it was the other kind */
            err = test_reset(x->d, XENMEM_FORK_RESET_MEMORY, units());
        }
    }
    host_fail_alloc_at(0);
    CHECK_EQ(err, 0);
    m.resets++;
    memcpy(x->now, x->began, sizeof(x->now));
}

static void step_kill(void)
{
    struct member *x = some(false);

    if (x == NULL || below(3) != 0) {
        return;
    }
    let_go(x);
    test_kill(x->d);
    x->d = NULL;
    test_settle();
}

static void step(void)
{
    static void (*const steps[])(void) = {
        step_fork, step_fork, step_write, step_write, step_write, step_write,
        step_write, step_write, step_remove, step_populate, step_merge,
        step_merge, step_hold, step_reset, step_reset, step_kill,
    };

    if (domain_count() == 0) {
        create(&m.of[0]);
    }
    steps[below(ARRAY_SIZE(steps))]();
}

static void run(unsigned nr)
{
    test_machine(1 << 13, 1);
    test_settle();
    uint64_t nr_free = page_nr_free();

    memset(&m, 0, sizeof(m));
    rng_seed(&m.r, test_seed);
    for (unsigned i = 0; i < nr; i++) {
        step();
        check_all();
    }
    CHECK(m.forks > nr / 50 && m.resets > nr / 50);
    for (unsigned i = 0; i < DOMAINS; i++) {
        if (m.of[i].d != NULL) {
            let_go(&m.of[i]);
            test_kill(m.of[i].d);
        }
    }
    CHECK(test_run_idle());     /* what failed allocations have set off */
    test_settle();
    test_fork_audit();
    CHECK_EQ(test_heap_objects(), 0);
    CHECK_EQ(page_nr_free(), nr_free);
}

TEST(a_family_against_a_naive_model)
{
    run(STEPS * (unsigned)test_rounds);
}

TEST(a_family_by_other_numbers)
{
    test_seed += 77;
    run(STEPS * (unsigned)test_rounds);
}
