/*
 * test_timer.c - the clock's two directions, and each CPU's heap of timers
 * against a naive model.
 */
#include "domains.h"
#include "test.h"

#include <quire/arch.h>
#include <quire/rng.h>
#include <string.h>

TEST(ticks_and_nanoseconds_agree)
{
    struct rng r;
    /* Roundings: a few ticks, whose number is a few nanoseconds. */
    const ticks_t slack = 16;
    uint64_t hz;

    test_machine(1024, 1);
    hz = arch_tick_hz();
    rng_seed(&r, test_seed);
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t ns = rng_next(&r) >> (8 + rng_below(&r, 50));
        ticks_t t = clock_ticks(ns);

        if (t == UINT64_MAX) {
            CHECK(ns / 1000000000 >= UINT64_C(1) << 30);
            continue;
        }
        /* The first tick that is not before ns, or one soon after it. */
        CHECK(clock_ns(t) >= ns);
        CHECK(t <= slack || clock_ns(t - slack) <= ns);
    }
    CHECK_EQ(clock_ticks(0), 0);
    CHECK_EQ(clock_ticks(UINT64_MAX), UINT64_MAX);
    int64_t error = (int64_t)(clock_ns(hz) - 1000000000);

    CHECK(error > -10 && error < 10);
}

TEST(a_guest_computes_the_same)
{
    struct vcpu_time_info t;

    memset(&t, 0, sizeof(t));
    test_machine(1024, 1);
    clock_publish(&t);
    CHECK_EQ(t.version, 2);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t tsc = UINT64_C(0x9e3779b97f4a7c15) >> i;
        uint64_t x = t.tsc_shift < 0 ? tsc >> -t.tsc_shift
                                     : tsc << t.tsc_shift;

        CHECK_EQ((uint64_t)((unsigned __int128)x * t.tsc_to_system_mul >>
                            32), clock_ns(tsc));
    }
}

#define N 500
static struct timer timers[N];
static unsigned order[N], nr_fired;

static void fired(struct timer *t)
{
    order[nr_fired++] = (unsigned)(t - timers);
}

/* Set, reset, cancel at random; then what is left fires in order. */
TEST(heap_against_a_model)
{
    struct rng r;

    test_machine(1024, 1);
    rng_seed(&r, test_seed);
    for (unsigned round = 0; round < 50 * test_rounds; round++) {
        uint64_t when[N] = { 0 };
        unsigned expected = 0;

        for (unsigned i = 0; i < N; i++) {
            timer_init(&timers[i], 0, fired);
        }
        for (unsigned i = 0; i < 4 * N; i++) {
            unsigned k = (unsigned)rng_below(&r, N);

            if (rng_below(&r, 3) == 0) {
                timer_cancel(&timers[k]);
                when[k] = 0;
            } else {
                when[k] = 1 + rng_below(&r, 1000);
                timer_set(&timers[k], when[k]);
            }
        }
        for (unsigned i = 0; i < N; i++) {
            CHECK_EQ(timers[i].armed, when[i] != 0);
            expected += when[i] != 0;
        }
        nr_fired = 0;
        while (timer_run_due()) {
        }
        CHECK_EQ(nr_fired, expected);
        for (unsigned i = 1; i < nr_fired; i++) {
            CHECK(when[order[i - 1]] <= when[order[i]]);
        }
    }
}

static void ignore(struct timer *t)
{
    (void)t;
}

/* The worst order for a heap that does not keep its shape: each insert goes
 * down the whole right spine. Steps are seen as time, and as stack. */
TEST(many_in_ascending_order)
{
    enum { MANY = 200000 };
    struct timer *t = calloc(MANY, sizeof(*t));

    test_machine(1024, 1);
    for (unsigned i = 0; i < MANY; i++) {
        timer_init(&t[i], 0, ignore);
        timer_set(&t[i], UINT64_MAX / 2 + i);
    }
    for (unsigned i = 0; i < MANY; i++) {
        timer_cancel(&t[i]);
    }
    free(t);
}

TEST(none_fires_early)
{
    test_machine(1024, 1);
    timer_init(&timers[0], 0, fired);
    nr_fired = 0;
    ticks_t when = arch_now() + arch_tick_hz() / 200;

    timer_set(&timers[0], when);
    while (nr_fired == 0) {
        timer_run_due();
    }
    CHECK(arch_now() >= when);
    timer_set(&timers[0], UINT64_MAX);
    CHECK(!timer_run_due());
    CHECK_EQ(nr_fired, 1);
    timer_cancel(&timers[0]);
}

static struct timer shared_timer;
static _Atomic uint64_t nr_runs, is_done;
static _Atomic bool is_inside, was_inside;

static void slow(struct timer *t)
{
    atomic_store(&is_inside, true);
    for (unsigned i = 0; i < 2000; i++) {
        arch_relax();
    }
    atomic_fetch_add(&nr_runs, 1);
    atomic_store(&is_inside, false);
    timer_set(t, 1);
}

/* CPU 0 runs timers; CPU 1 sets and cancels: never inside afterwards. */
static void race(void *arg)
{
    (void)arg;
    if (arch_cpu() == 0) {
        while (!atomic_load(&is_done)) {
            arch_poll();
            timer_run_due();
        }
        return;
    }
    for (unsigned i = 0; i < 300; i++) {
        uint64_t before = atomic_load(&nr_runs);

        timer_set(&shared_timer, 1);
        while (i % 2 == 0 && atomic_load(&nr_runs) == before) {
            arch_relax();
        }
        timer_cancel(&shared_timer);
        if (atomic_load(&is_inside) || shared_timer.armed) {
            atomic_store(&was_inside, true);
        }
    }
    atomic_store(&is_done, 1);
}

TEST(cancel_waits_for_the_one_that_runs)
{
    test_machine(1024, 2);
    timer_init(&shared_timer, 0, slow);
    atomic_store(&is_done, 0);
    host_run_on_cpus(2, race, NULL);
    CHECK(!atomic_load(&was_inside));
}
