/*
 * test_kill.c - the kill: preempted at every check or never, the same end;
 * by several callers at once; while its guests run, while others break
 * sharing with it; and nothing of it is left.
 *
 * The model is a count: a domain's frames, less what it shares with others,
 * come back, and what the others see does not change.
 */
#include "domains.h"
#include "test.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/grace.h>
#include <quire/heap.h>
#include <quire/page_alloc.h>
#include <quire/rng.h>
#include <string.h>

#define PAGES 600

static struct domain *make(const char *name)
{
    struct domain_config c = test_config(name, PAGES);

    c.nr_vcpus = 2;
    /* Some far away, so that there are tables to skip. */
    c.nr_ranges = 2;
    c.ranges[0].nr = PAGES - 50;
    c.ranges[1] = (struct domain_range){ GFN(UINT64_C(1) << 30), 50 };
    return test_create(&c);
}

static void fill(struct domain *d, uint64_t seed)
{
    for (uint64_t i = 0; i < PAGES - 50; i++) {
        uint64_t word = mix64(seed + i);
        size_t done;

        CHECK_EQ(guest_write_gpa(d->p2m, i << 12, &word, 8, &done), 0);
    }
}

/* Every third page of @b becomes a share of @a's. */
static void share_some(struct domain *a, struct domain *b)
{
    for (uint64_t i = 0; i < PAGES - 50; i += 3) {
        share_handle_t ha, hb;
        struct share_merge m;

        memset(&m, 0, sizeof(m));
        CHECK_EQ(share_nominate(a->p2m, GFN(i), &ha), 0);
        CHECK_EQ(share_nominate(b->p2m, GFN(i), &hb), 0);
        CHECK_EQ(share_frames(a->p2m, GFN(i), ha, b->p2m, GFN(i), hb, &m,
                              NULL), 0);
    }
}

static void check_contents(struct domain *d, uint64_t seed)
{
    for (uint64_t i = 0; i < PAGES - 50; i++) {
        uint64_t word;

        CHECK_EQ(guest_read_gpa(d->p2m, i << 12, &word, 8), 0);
        CHECK_EQ(word, mix64(seed + i));
    }
}

static unsigned audits(void)
{
    struct share_audit a;

    memset(&a, 0, sizeof(a));
    while (share_audit(&a, NULL) != 0) {
    }
    return domain_audit() + a.bad + mem_audit();
}

/* Kill @d with @units a slice; returns the slices. */
static unsigned kill_in_slices(struct domain *d, int64_t units)
{
    unsigned n = 0;
    int err;

    do {
        struct work w = { .left = units };

        err = domain_kill(d, &w);
        n++;
        CHECK_EQ(nr_locks_held(), 0);
    } while (err == -ERESTART);
    CHECK_EQ(err, 0);
    return n;
}

/* Tasks that are queued on a CPU after it has left, or that nothing has run:
 * the next machine must not find them. */
static void drain(void *arg)
{
    (void)arg;
    grace_enter();
    while (run_loop_once()) {
    }
    heap_cache_drain();
    grace_leave();
}

TEST(any_slicing_has_the_same_end)
{
    static const int64_t units[] = { INT64_MAX, 1, 100, 700, 8000, 50000 };

    test_machine(8192, 1);
    struct domain *keep = make("keep");
    evtchn_port_t port;

    fill(keep, 1);
    /* Its first port's group stays. */
    CHECK_EQ(evtchn_bind_ipi(keep->events, 0, &port), 0);
    test_settle();
    for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
        uint64_t nr_free = page_nr_free();
        struct domain *d = make("kill");

        fill(d, 1);
        share_some(keep, d);
        for (unsigned k = 0; k < 100; k++) {
            CHECK_EQ(evtchn_alloc_unbound(d->events, keep->id, &port), 0);
        }
        CHECK_EQ(evtchn_bind_interdomain(keep->events, d->events, port, 0,
                                         &port), 0);
        CHECK_EQ(audits(), 0);
        unsigned slices = kill_in_slices(d, units[i]);

        CHECK_EQ(d->kill.gfns, PAGES);
        CHECK_EQ(d->kill.preemptions, slices - 1);
        /* Every third page is of another kind, so runs are short. */
        CHECK(units[i] != 1 || slices > PAGES / 2);
        CHECK(units[i] != INT64_MAX || slices == 1);
        CHECK(d->kill.longest <= d->kill.busy);
        CHECK(d->kill.busy <= d->kill.total);
        domain_put(d);
        check_contents(keep, 1);
        CHECK_EQ(audits(), 0);
        CHECK_EQ(evtchn_reset(keep->events, NULL), 0);
        /* Its own come back; those it shared are keep's alone now. */
        for (uint64_t g = 0; g < PAGES - 50; g += 3) {
            CHECK_EQ(share_unshare(keep->p2m, GFN(g)), 0);
        }
        test_settle();
        CHECK_EQ(page_nr_free(), nr_free);
    }
    test_kill(keep);
    test_settle();
    drain(NULL);
    grace_enter();
}

/* Expire at exactly the n-th check of the whole kill, for every n. */
TEST(preempted_at_every_check)
{
    test_machine(8192, 1);
    struct domain *keep = make("keep");
    uint64_t checks = 1;

    fill(keep, 1);
    for (uint64_t at = 1; at <= checks; at += 1 + at / 50) {
        struct domain *d = make("kill");
        struct work w = { .left = INT64_MAX, .force_at = at };

        fill(d, 1);
        share_some(keep, d);
        int err = domain_kill(d, &w);

        CHECK(err == -ERESTART || w.checks < at);
        if (err == -ERESTART) {
            CHECK_EQ(audits(), 0);
            check_contents(keep, 1);
            w.force_at = 0;
            CHECK_EQ(domain_kill(d, &w), 0);
        }
        checks = w.checks;
        CHECK_EQ(d->kill.gfns, PAGES);
        domain_put(d);
        test_settle();
        CHECK_EQ(audits(), 0);
    }
    CHECK(checks > PAGES / 2);
    test_kill(keep);
    test_settle();
    drain(NULL);
    grace_enter();
}

TEST(nothing_enters_a_dying_domain)
{
    share_handle_t h;
    uint64_t done = 0;

    test_machine(8192, 1);
    struct domain *a = make("a"), *d = make("d");
    struct work w = { .left = 1000 };
    char word[8];

    CHECK_EQ(share_nominate(a->p2m, GFN(0), &h), 0);
    while (atomic_load(&d->kill_stage) < KILL_RAM) {
        CHECK_EQ(domain_kill(d, &w), -ERESTART);
        w.left = 1000;
    }
    CHECK_EQ(domain_populate(d, GFN(5000), 1, &done, NULL), -ESRCH);
    CHECK(share_add_physmap(a->p2m, GFN(0), h, d->p2m, GFN(5000)) != 0);
    CHECK_EQ(guest_read_gpa(d->p2m, 0, word, 8), -ESRCH);
    CHECK_EQ(domain_pause(d), -ESRCH);
    CHECK_EQ(domain_unpause(d), -ESRCH);
    evtchn_port_t port;

    CHECK_EQ(evtchn_bind_ipi(d->events, 0, &port), -ESRCH);
    test_kill(d);
    test_kill(a);
    test_settle();
    CHECK_EQ(audits(), 0);
    drain(NULL);
    grace_enter();
}

TEST(waits_until_nobody_runs)
{
    test_machine(8192, 1);
    struct domain *d = make("d");

    /* As if another CPU had it. */
    atomic_store(&d->vcpus[1]->running, true);
    CHECK_EQ(domain_kill(d, NULL), -ERESTART);
    CHECK_EQ(domain_kill(d, NULL), -ERESTART);
    CHECK_EQ(atomic_load(&d->kill_stage), KILL_DESCHEDULE);
    CHECK(!atomic_load(&d->p2m->no_users));
    atomic_store(&d->vcpus[1]->running, false);
    test_kill(d);
    test_settle();
    drain(NULL);
    grace_enter();
}

/*
 * Four CPUs: each runs its loop; guests of all domains write pages they share
 * with each other; at random times everybody kills somebody, some twice.
 */
#define NR 6
static struct domain *all[NR];
static _Atomic bool is_over;
static _Atomic unsigned nr_bad;

/* No vCPU is on a CPU once DESCHEDULE is done. */
static void look(const struct domain *d)
{
    if (atomic_load(&d->kill_stage) <= KILL_DESCHEDULE) {
        return;
    }
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        if (atomic_load(&d->vcpus[i]->running)) {
            atomic_fetch_add(&nr_bad, 1);
        }
    }
}

static void writer_step(void *arg, uint64_t i, struct script_step *out)
{
    uint64_t id = (uint64_t)(uintptr_t)arg;
    uint64_t x = mix64(id * 1000003 + i);

    *out = (struct script_step){ .op = SCRIPT_READ,
                                 .gpa = x % (PAGES - 50) << 12 };
    if (x >> 32 & 1) {
        out->op = SCRIPT_WRITE;
        out->gpa |= 8 * (id + 1);
        out->value = x;
    }
    if (i % 97 == 0) {
        out->op = SCRIPT_PAUSE;
    }
}

static void killers(void *arg)
{
    struct rng r;

    (void)arg;
    rng_seed(&r, test_seed * 17 + arch_cpu());
    grace_enter();
    for (unsigned pass = 0; !atomic_load(&is_over); pass++) {
        if (pass > 20) {
            /* All the same one for a while, so that they meet. */
            struct domain *d = all[(pass / 64 + rng_below(&r, 2)) % NR];
            struct work w = { .left = (int64_t)rng_below(&r, 4000) };

            if (rng_below(&r, 8) == 0) {
                domain_kill_async(d);
            } else {
                int err = domain_kill(d, &w);

                look(d);
                if (err != 0 && err != -ERESTART) {
                    atomic_fetch_add(&nr_bad, 1);
                }
            }
        }
        if (!run_loop_once()) {
            grace_leave();
            arch_idle();
            grace_enter();
        }
        bool is_all = true;
        for (unsigned i = 0; i < NR; i++) {
            is_all &= atomic_load(&all[i]->state) == DOMAIN_DEAD;
        }
        atomic_store(&is_over, is_all);
    }
    for (unsigned i = 0; i < 4; i++) {
        arch_kick(i);
    }
    grace_leave();
}

static void run_and_kill(void)
{
    for (unsigned i = 0; i < NR; i++) {
        all[i] = make("run");
        fill(all[i], 1);
        if (i > 0) {
            share_some(all[0], all[i]);
        }
    }
    for (unsigned i = 0; i < NR; i++) {
        for (unsigned k = 0; k < 2; k++) {
            struct script s = { .step = writer_step,
                                .arg = (void *)(uintptr_t)(2 * i + k) };

            test_script(all[i], k, NULL, 0);
            host_vcpu_set_script(all[i]->vcpus[k], &s);
        }
        CHECK_EQ(domain_unpause(all[i]), 0);
    }
    atomic_store(&is_over, false);
    host_run_on_cpus(4, killers, NULL);
    for (unsigned i = 0; i < NR; i++) {
        CHECK_EQ(atomic_load(&all[i]->state), DOMAIN_DEAD);
        CHECK_EQ(all[i]->kill.gfns, PAGES);
        domain_put(all[i]);
    }
    host_run_on_cpus(4, drain, NULL);
    grace_enter();
    test_settle();
}

TEST(killed_by_all_while_all_run)
{
    test_machine(16384, 4);
    test_settle();
    uint64_t nr_free = page_nr_free();

    for (unsigned round = 0; round < 10 * test_rounds; round++) {
        run_and_kill();
        CHECK_EQ(atomic_load(&nr_bad), 0);
        CHECK_EQ(domain_nr_unfreed(), 0);
        CHECK_EQ(page_nr_free(), nr_free);
        CHECK_EQ(audits(), 0);
    }
}
