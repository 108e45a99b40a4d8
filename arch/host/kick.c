/*
 * kick.c - interrupts of the host machine: kicks, the deadline timer, and
 * the sleep that they end. A kick stays pending until arch_poll() or
 * arch_idle() takes it; until then every guest exits at once.
 */
#include "kick.h"

#include <quire/arch.h>
#include <quire/lock.h>
#include <quire/panic.h>

#include <pthread.h>
#include <time.h>

/* A sleeper looks around this often, so that a lost wake-up is slow, not
 * deadly: the tests that look for those count, they do not hang. */
#define SLEEP_MAX_NS 10000000

static struct {
    cache_aligned pthread_mutex_t mutex;
    pthread_cond_t cond;
    _Atomic bool kicked;
    _Atomic ticks_t deadline;
} cpus[MAX_CPUS] = {
    [0 ... MAX_CPUS - 1] = {
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .cond = PTHREAD_COND_INITIALIZER,
        .deadline = UINT64_MAX,
    },
};

bool host_is_interrupt_pending(void)
{
    unsigned cpu = arch_cpu();

    return cpus[cpu].kicked ||
           (cpus[cpu].deadline != UINT64_MAX &&
            arch_now() >= cpus[cpu].deadline);
}

void arch_kick(unsigned cpu)
{
    BUG_ON(cpu >= MAX_CPUS);
    pthread_mutex_lock(&cpus[cpu].mutex);
    cpus[cpu].kicked = true;
    pthread_cond_signal(&cpus[cpu].cond);
    pthread_mutex_unlock(&cpus[cpu].mutex);
}

void arch_set_deadline(ticks_t when)
{
    cpus[arch_cpu()].deadline = when;
}

void arch_poll(void)
{
    unsigned cpu = arch_cpu();

    BUG_ON(nr_locks_held() != 0);
    cpus[cpu].kicked = false;
    if (cpus[cpu].deadline <= arch_now()) {
        cpus[cpu].deadline = UINT64_MAX;
    }
}

/* The system's time at which this CPU's sleep ends by itself. */
static struct timespec sleep_end(unsigned cpu)
{
    ticks_t now = arch_now(), deadline = cpus[cpu].deadline;
    uint64_t us = SLEEP_MAX_NS / 1000, ns;
    struct timespec t;

    if (deadline != UINT64_MAX) {
        uint64_t ticks = deadline > now ? deadline - now : 0;

        us = MIN(us, ticks / (arch_tick_hz() / 1000000 + 1) + 1);
    }
    clock_gettime(CLOCK_REALTIME, &t);
    ns = (uint64_t)t.tv_nsec + us * 1000;
    t.tv_sec += (time_t)(ns / 1000000000);
    t.tv_nsec = (long)(ns % 1000000000);
    return t;
}

void arch_idle(void)
{
    unsigned cpu = arch_cpu();
    struct timespec end = sleep_end(cpu);

    BUG_ON(nr_locks_held() != 0);
    pthread_mutex_lock(&cpus[cpu].mutex);
    while (!host_is_interrupt_pending()) {
        if (pthread_cond_timedwait(&cpus[cpu].cond, &cpus[cpu].mutex,
                                   &end) != 0) {
            break;
        }
    }
    pthread_mutex_unlock(&cpus[cpu].mutex);
    arch_poll();
}
