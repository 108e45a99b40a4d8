/*
 * test_oom.c - domains that write while memory comes and goes at random:
 * taken, given back, limits moved, domains paused, killed, made anew,
 * allocations failed. After each step the queues are audited; whenever the
 * machine is at rest nobody waits whom its memory would reach; and in the end
 * everybody has written everything. On one CPU, step by step, and on four.
 */
#include "../lib/domains.h"
#include "../lib/test.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/grace.h>
#include <quire/heap.h>
#include <quire/oom.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>
#include <quire/pressure.h>
#include <quire/rng.h>

enum { PAGES = 6, WRITERS = 5, VCPUS = 2, STEPS = 400, SMP_ROUNDS = 60 };

static struct rng rng;
static struct domain *source, *writer[WRITERS];
static unsigned nr_pauses[WRITERS];
static struct frame *hog;
static struct script_step steps[WRITERS][VCPUS][PAGES + 1];
static _Atomic bool is_over;

static unsigned below(unsigned n)
{
    return (unsigned)rng_below(&rng, n);
}

static void take(unsigned nr)
{
    struct frame *f;

    while (nr-- != 0 && (f = page_alloc(0, FRAME_HEAP)) != NULL) {
        f->user = hog;
        hog = f;
    }
}

static void give(unsigned nr)
{
    while (nr-- != 0 && hog != NULL) {
        struct frame *f = hog;

        hog = f->user;
        page_free(f, 0);
    }
}

/* Writer @i: made with its own pages, which then become the source's. */
static bool make(unsigned i)
{
    struct domain_config c = test_config("writer", PAGES);
    char why[DOMAIN_WHY_MAX];

    c.nr_vcpus = VCPUS;
    writer[i] = NULL;
    nr_pauses[i] = 0;
    if (domain_create(&c, &writer[i], why, NULL) != 0) {
        writer[i] = NULL;
        return false;
    }
    domain_get(writer[i]);
    for (unsigned g = 0; g < PAGES; g++) {
        struct share_merge m = { 0 };
        share_handle_t from, to;

        if (share_nominate(source->p2m, GFN(g), &from) == 0 &&
            share_nominate(writer[i]->p2m, GFN(g), &to) == 0) {
            int err = share_frames(source->p2m, GFN(g), from, writer[i]->p2m,
                                   GFN(g), to, &m, NULL);

            CHECK(err == 0 || err == -ENOMEM);
        }
    }
    for (unsigned k = 0; k < VCPUS; k++) {
        for (unsigned g = 0; g < PAGES; g++) {
            steps[i][k][g] = (struct script_step){
                .op = SCRIPT_ADD, .gpa = gfn_to_gpa(GFN(g)) + 16 * i + 8 * k,
                .value = 1 + 100 * i + 10 * k + g };
        }
        steps[i][k][PAGES] = (struct script_step){ .op = SCRIPT_HLT };
        test_script(writer[i], k, steps[i][k], PAGES + 1);
    }
    CHECK_EQ(domain_unpause(writer[i]), 0);
    return true;
}

/* HLT with interrupts off ends a vCPU, and the last of them the domain. */
static bool is_finished(unsigned i)
{
    return atomic_load(&writer[i]->state) != DOMAIN_RUNNING;
}

static void check_contents(unsigned i)
{
    for (unsigned g = 0; g < PAGES; g++) {
        for (unsigned k = 0; k < VCPUS; k++) {
            uint64_t word;

            CHECK_EQ(guest_read_gpa(writer[i]->p2m, gfn_to_gpa(GFN(g)) +
                                    16 * i + 8 * k, &word, sizeof(word)), 0);
            CHECK_EQ(word, 1 + 100 * i + 10 * k + g);
        }
    }
}

static void end_writer(unsigned i)
{
    if (writer[i] == NULL) {
        return;
    }
    if (is_finished(i)) {
        check_contents(i);
    }
    test_kill(writer[i]);
    writer[i] = NULL;
}

static void pause_or_not(unsigned i)
{
    if (nr_pauses[i] < 2 && below(2) == 0) {
        nr_pauses[i] += domain_pause(writer[i]) == 0;
    } else if (nr_pauses[i] > 0) {
        CHECK_EQ(domain_unpause(writer[i]), 0);
        nr_pauses[i]--;
    }
}

static void change(void)
{
    unsigned i = below(WRITERS);
    struct domain *d = writer[i];

    switch (below(10)) {
    case 0: case 1:
        take(1 + below(40));
        break;
    case 2: case 3:
        give(1 + below(3));
        break;
    case 4:
        end_writer(i);
        break;
    case 5:
        if (d == NULL || is_finished(i)) {
            end_writer(i);
            make(i);
        }
        break;
    case 6:
        if (d != NULL) {
            CHECK_EQ(owner_set_max(d->id, owner_get(d->id)->pages +
                                          below(3)), 0);
        }
        break;
    case 7:
        if (d != NULL) {
            CHECK_EQ(owner_set_max(d->id, UINT64_MAX), 0);
        }
        break;
    default:
        if (d != NULL) {
            pause_or_not(i);
        }
        break;
    }
}

/* Somebody was promised memory and failed all the same, since a failure was
 * asked for: the first in the queue until it tries again, a little later. */
static bool is_somebody_to_retry(void)
{
    struct oom_stats s;
    bool is_so = false;

    for (unsigned i = 0; i < WRITERS; i++) {
        for (unsigned k = 0; writer[i] != NULL && k < VCPUS; k++) {
            const struct oom_wait *w = &writer[i]->vcpus[k]->oom;

            is_so |= atomic_load(&w->state) == OOM_MACHINE && w->until != 0;
        }
    }
    oom_stats_get(&s);
    return is_so || s.promised != 0;
}

/* Nothing runs: who waits has a reason to. */
static void check_at_rest(void)
{
    bool is_free = is_somebody_to_retry();

    for (unsigned i = 0; i < WRITERS; i++) {
        struct domain *d = writer[i];

        for (unsigned k = 0; d != NULL && k < VCPUS; k++) {
            const struct owner *o = owner_get(d->id);

            switch (atomic_load(&d->vcpus[k]->oom.state)) {
            case OOM_MACHINE:
                CHECK(is_free || page_nr_available() == 0);
                break;
            case OOM_LIMIT:
                CHECK(atomic_load(&o->pages) >= atomic_load(&o->max_pages));
                break;
            case OOM_STALLED:
                CHECK(nr_pauses[i] > 0);
                break;
            default:
                break;
            }
        }
    }
}

static void begin(unsigned cpus)
{
    struct domain_config c = test_config("source", PAGES);

    hog = NULL;
    rng_seed(&rng, test_seed);
    test_machine(2048, cpus);
    source = test_create(&c);
    for (unsigned i = 0; i < WRITERS; i++) {
        CHECK(make(i));
    }
}

/* With everything given back, everybody comes to the end. */
static void end(void)
{
    struct oom_stats s;

    host_fail_alloc_at(0);
    give(UINT32_MAX);
    for (unsigned i = 0; i < WRITERS; i++) {
        if (writer[i] == NULL) {
            continue;
        }
        CHECK_EQ(owner_set_max(writer[i]->id, UINT64_MAX), 0);
        while (nr_pauses[i] > 0) {
            CHECK_EQ(domain_unpause(writer[i]), 0);
            nr_pauses[i]--;
        }
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        while (writer[i] != NULL && !is_finished(i)) {
            if (!run_loop_once()) {
                arch_idle();        /* for those that try again later */
            }
        }
        end_writer(i);
    }
    test_kill(source);
    CHECK(test_run_idle());
    test_settle();
    oom_stats_get(&s);
    CHECK_EQ(s.waiting + s.promised, 0);
    CHECK_EQ(oom_audit(), 0);
    CHECK_EQ(domain_nr_unfreed(), 0);
    CHECK_EQ(mem_audit(), 0);
}

TEST(memory_comes_and_goes)
{
    uint64_t parks = 0;
    struct oom_stats s;

    for (uint64_t round = 0; round < test_rounds; round++) {
        begin(1);
        take(UINT32_MAX);
        for (unsigned n = 0; n < STEPS; n++) {
            change();
            CHECK_EQ(oom_audit(), 0);
            if (below(4) == 0) {
                host_fail_alloc_at(1 + below(4));
            }
            if (below(3) == 0) {
                CHECK(test_run_idle());
                host_fail_alloc_at(0);
                check_at_rest();
            } else {
                for (unsigned k = below(6); k > 0; k--) {
                    run_loop_once();
                }
                host_fail_alloc_at(0);
            }
            CHECK_EQ(oom_audit(), 0);
        }
        oom_stats_get(&s);
        parks += s.parks;
        end();
    }
    CHECK(parks > 5);
}

/* CPU 0 changes things between its passes, the others only run. */
static void storm(void *arg)
{
    unsigned cpu = arch_cpu();

    (void)arg;
    grace_enter();
    for (unsigned n = 0; cpu == 0 && n < SMP_ROUNDS * 10; n++) {
        if (n % 3 == 0) {
            change();
        }
        run_loop_once();
    }
    if (cpu == 0) {
        atomic_store(&is_over, true);
    }
    while (!atomic_load(&is_over)) {
        run_loop_once();
        arch_relax();
    }
    heap_cache_drain();
    page_cache_drain();
    grace_leave();
}

/* What is left for the end: every CPU runs until all have written. */
static void finish(void *arg)
{
    (void)arg;
    grace_enter();
    while (!atomic_load(&is_over)) {
        bool is_busy = run_loop_once();

        if (arch_cpu() == 0) {
            bool all = true;

            for (unsigned i = 0; i < WRITERS; i++) {
                all &= writer[i] == NULL || is_finished(i);
            }
            if (all) {
                atomic_store(&is_over, true);
            }
        }
        if (!is_busy) {
            arch_relax();
        }
    }
    heap_cache_drain();
    page_cache_drain();
    grace_leave();
}

TEST(on_four_cpus)
{
    for (uint64_t round = 0; round < test_rounds; round++) {
        begin(4);
        take(UINT32_MAX);
        atomic_store(&is_over, false);
        host_run_on_cpus(4, storm, NULL);
        give(UINT32_MAX);
        for (unsigned i = 0; i < WRITERS; i++) {
            while (writer[i] != NULL && nr_pauses[i] > 0) {
                CHECK_EQ(domain_unpause(writer[i]), 0);
                nr_pauses[i]--;
            }
            if (writer[i] != NULL) {
                CHECK_EQ(owner_set_max(writer[i]->id, UINT64_MAX), 0);
            }
        }
        atomic_store(&is_over, false);
        host_run_on_cpus(4, finish, NULL);
        grace_enter();
        end();
    }
}
