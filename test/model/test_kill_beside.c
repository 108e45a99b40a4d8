/*
 * test_kill_beside.c - kills while other CPUs fork the victims, share with
 * them and write to them, and scan them; and two or four kills at once of
 * domains on the same frames. Threads; under ASan, and under TSan by
 * `make test-tsan`.
 *
 * Each CPU has a role; the roles go round from one round to the next. All
 * that is asked is what must hold in the end: every victim is dead, not a
 * frame and not an id is missing, and who was not killed has its contents.
 */
#include "preempt.h"
#include "test.h"

#include <quire/page_alloc.h>
#include <quire/scan.h>

enum { CPUS = 4, VICTIMS = 4, PAGES = 96 };

static struct domain *keep, *victim[VICTIMS];
static _Atomic unsigned nr_alive, nr_bad, nr_forks, nr_writes;
static unsigned round_now, nr_killers;

static struct domain *filled(const char *name)
{
    struct domain_config c = test_config(name, PAGES);

    c.max_pages = 4 * PAGES;
    struct domain *x = test_create(&c);

    for (unsigned i = 0; i < PAGES; i++) {
        test_fill(p2m_lookup(x->p2m, GFN(i)).mfn, 1000 + i);
    }
    return x;
}

static void bad(bool is_bad)
{
    if (is_bad) {
        atomic_fetch_add(&nr_bad, 1);
    }
}

static void pass(void)
{
    for (unsigned i = 0; i < 4 && run_loop_once(); i++) {
        continue;
    }
}

/* ---- the roles ----------------------------------------------------------- */

/* One slice of every victim that is this killer's, in turn. */
static void kill_some(struct rng *r, unsigned killer)
{
    for (unsigned i = killer; i < VICTIMS; i += nr_killers) {
        struct work w = { .left = (int64_t)rng_below(r, 5000) };

        if (atomic_load(&victim[i]->state) != DOMAIN_DEAD) {
            int err = domain_kill(victim[i], &w);

            bad(err != 0 && err != -ERESTART);
            if (err == 0) {
                atomic_fetch_sub(&nr_alive, 1);
            }
        }
    }
}

/* Its kill goes on meanwhile, here or on another CPU. */
static void reset(struct rng *r, struct domain *child)
{
    int err;

    do {
        struct work w = { .left = 500 + (int64_t)rng_below(r, 2000) };

        err = domain_fork_reset(child, RESET_ALL, &w);
        if (rng_below(r, 4) == 0) {
            pass();
        }
    } while (err == -ERESTART);
    bad(err != 0 && err != -ESRCH && err != -ENOMEM);
}

/* A fork that is done is a whole one; and it is killed again. */
static void fork_some(struct rng *r)
{
    static const struct fork_config config = { .id = DOMID_INVALID };
    struct domain *v = victim[rng_below(r, VICTIMS)], *child = NULL;
    int err;

    do {
        struct work w = { .left = 500 + (int64_t)rng_below(r, 4000) };

        err = domain_fork(v, &config, &child, NULL, &w);
        grace_quiesce();
    } while (err == -ERESTART);
    bad(err != 0 && err != -ESRCH && err != -EINTR && err != -EAGAIN &&
        err != -ENOMEM);
    if (err == 0) {
        atomic_fetch_add(&nr_forks, 1);
        domain_get(child);
        domain_kill_async(child);
        reset(r, child);
        domain_put(child);
    }
}

/* Share with one, both ways; write what is shared; map it once more. */
static void share_some(struct rng *r)
{
    struct domain *v = victim[rng_below(r, VICTIMS)];
    uint64_t i = rng_below(r, PAGES), word, done = 0;
    struct share_range range = { 0 };
    share_handle_t h;
    size_t written;
    int err;

    switch (rng_below(r, 4)) {
    case 0:
        do {
            struct work w = { .left = 1000 };

            err = share_range(keep->p2m, GFN(i), v->p2m, GFN(i), 8, &range,
                              &w);
            grace_quiesce();
        } while (err == -ERESTART);
        break;
    case 1:
        if (share_nominate(keep->p2m, GFN(i), &h) == 0) {
            (void)!share_add_physmap_range(keep->p2m, GFN(i), h, v->p2m,
                                           GFN(4096 + 64 * i), 40, 1, &done,
                                           NULL);
        }
        break;
    case 2:
        (void)!share_unshare(v->p2m, GFN(i));
        break;
    default:
        /* Its contents stay what they are, in a page of its own. */
        v = rng_below(r, 2) ? v : keep;
        if (guest_read_gpa(v->p2m, i << 12, &word, 8) == 0 &&
            guest_write_gpa(v->p2m, i << 12, &word, 8, &written) == 0) {
            atomic_fetch_add(&nr_writes, 1);
        }
    }
}

static void scan_some(struct rng *r)
{
    struct work w = { .left = 500 + (int64_t)rng_below(r, 4000) };

    (void)!scan_run(&w);
}

static void go(void *arg)
{
    unsigned role = (arch_cpu() + round_now) % CPUS;
    struct rng r;

    (void)arg;
    rng_seed(&r, test_seed * 31 + round_now * 7 + arch_cpu());
    grace_enter();
    for (unsigned i = 0; atomic_load(&nr_alive) != 0; i++) {
        if (role < nr_killers) {
            if (i > 8 * rng_below(&r, 6)) {
                kill_some(&r, role);
            }
        } else if (role == 1) {
            fork_some(&r);
        } else if (role == 2) {
            share_some(&r);
        } else {
            scan_some(&r);
        }
        pass();
    }
    while (run_loop_once()) {
        continue;
    }
    heap_cache_drain();
    grace_leave();
}

/* What was queued on a CPU that had left by then. */
static void leftovers(void *arg)
{
    (void)arg;
    grace_enter();
    while (run_loop_once()) {
        continue;
    }
    heap_cache_drain();
    grace_leave();
}

static void stop_scan(void)
{
    scan_knobs.run = SCAN_STOP;
    while (scan_has_work()) {
        (void)!scan_run(NULL);
    }
}

static void one_round(uint64_t nr_free)
{
    for (unsigned i = 0; i < VICTIMS; i++) {
        victim[i] = filled("victim");
        scan_domain_add(victim[i]->p2m);
        for (unsigned g = i % 2; g < PAGES; g += 2) {
            CHECK_EQ(test_share(keep->p2m, g, victim[i]->p2m, g), 0);
        }
    }
    scan_knobs.pages_to_scan = 64;
    scan_knobs.run = SCAN_RUN;
    atomic_store(&nr_alive, VICTIMS);
    host_run_on_cpus(CPUS, go, NULL);
    stop_scan();
    for (unsigned i = 0; i < VICTIMS; i++) {
        CHECK_EQ(atomic_load(&victim[i]->state), DOMAIN_DEAD);
        domain_put(victim[i]);
    }
    host_run_on_cpus(CPUS, leftovers, NULL);
    grace_enter();
    for (unsigned i = 0; i < PAGES; i++) {
        CHECK(test_gfn_is(keep->p2m, i, 1000 + i));
        CHECK_EQ(share_unshare(keep->p2m, GFN(i)), 0);
    }
    test_settle();
    preempt_audit();
    CHECK_EQ(atomic_load(&nr_bad), 0);
    CHECK_EQ(domain_count(), 1);
    CHECK_EQ(domain_nr_unfreed(), 1);
    CHECK_EQ(page_nr_free(), nr_free);
}

static void rounds(unsigned nr, unsigned killers)
{
    test_machine(16384, CPUS);
    keep = filled("keep");
    scan_domain_add(keep->p2m);
    test_settle();
    uint64_t nr_free = page_nr_free();

    nr_killers = killers;
    for (round_now = 0; round_now < nr * test_rounds; round_now++) {
        one_round(nr_free);
    }
    test_kill(keep);
    test_settle();
    CHECK_EQ(test_heap_objects(), 0);
}

TEST(while_others_fork_share_and_scan)
{
    atomic_store(&nr_forks, 0);
    atomic_store(&nr_writes, 0);
    rounds(40, 1);
    CHECK(atomic_load(&nr_forks) > 0);
    CHECK(atomic_load(&nr_writes) > 0);
}

TEST(two_kills_at_once)
{
    rounds(20, 2);
}

TEST(four_kills_at_once)
{
    rounds(20, 4);
}
