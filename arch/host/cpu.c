/*
 * cpu.c - the host machine's CPUs: threads with a number.
 */
#include "host.h"
#include "cpu.h"

#include <quire/arch.h>
#include <quire/grace.h>
#include <quire/panic.h>

#include <pthread.h>
#include <sched.h>
#include <time.h>

_Thread_local unsigned host_cpu;

static unsigned nr_cpus = 1;
static uint64_t tick_hz;

struct cpu_start {
    unsigned cpu;
    void (*fn)(void *arg);
    void *arg;
    pthread_barrier_t *barrier;
};

unsigned arch_nr_cpus(void)
{
    return nr_cpus;
}

/* Ticks a second of the TSC, from 10 ms of the system's clock. */
static uint64_t calibrate(void)
{
    struct timespec t0, t1;
    uint64_t tsc = arch_now(), ns;

    clock_gettime(CLOCK_MONOTONIC, &t0);
    do {
        clock_gettime(CLOCK_MONOTONIC, &t1);
        ns = (uint64_t)(t1.tv_sec - t0.tv_sec) * UINT64_C(1000000000) +
             (uint64_t)t1.tv_nsec - (uint64_t)t0.tv_nsec;
    } while (ns < UINT64_C(10000000));
    return (arch_now() - tsc) * UINT64_C(1000000000) / ns;
}

uint64_t arch_tick_hz(void)
{
    if (tick_hz == 0) {
        tick_hz = calibrate();
    }
    return tick_hz;
}

/* With fewer cores than CPUs, a spinning one may be in the lock's way. */
void host_relax(void)
{
    static _Thread_local unsigned spins;

    __builtin_ia32_pause();
    if (++spins % 64 == 0) {
        sched_yield();
    }
}

void host_cpus_init(unsigned cpus)
{
    BUG_ON(cpus == 0 || cpus > MAX_CPUS);
    nr_cpus = cpus;
    host_cpu = 0;
    grace_enter();
}

void host_drain_grace(void)
{
    for (unsigned round = 0; grace_nr_pending() != 0; round++) {
        BUG_ON(round > 1000000);
        grace_quiesce();
    }
}

static void *cpu_main(void *p)
{
    struct cpu_start *s = p;

    host_cpu = s->cpu;
    grace_enter();
    pthread_barrier_wait(s->barrier);
    s->fn(s->arg);
    grace_leave();
    return NULL;
}

void host_run_on_cpus(unsigned n, void (*fn)(void *arg), void *arg)
{
    struct cpu_start start[MAX_CPUS];
    pthread_t thread[MAX_CPUS];
    pthread_barrier_t barrier;

    BUG_ON(n == 0 || n > nr_cpus);
    pthread_barrier_init(&barrier, NULL, n);
    for (unsigned i = 1; i < n; i++) {
        start[i] = (struct cpu_start){ i, fn, arg, &barrier };
        BUG_ON(pthread_create(&thread[i], NULL, cpu_main, &start[i]) != 0);
    }
    pthread_barrier_wait(&barrier);
    fn(arg);
    grace_leave();      /* the others may wait for this one's quiescence */
    for (unsigned i = 1; i < n; i++) {
        pthread_join(thread[i], NULL);
    }
    grace_enter();
    pthread_barrier_destroy(&barrier);
}
