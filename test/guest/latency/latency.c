/*
 * latency - how late a sleeping domain is woken: the time from the deadline of
 * its single-shot timer to the first instruction of the handler. What the
 * hypervisor does meanwhile (sharing, audits, killing a neighbour) shows up
 * here, seen from where it hurts. An event before its deadline is a failure,
 * and so is one that never comes.
 *
 *   phase 1   ready; waits for phase 2, so that a load can be set up first.
 *   phase 2   `count=` (200) sleeps of `gap_us=` (500) / 2 .. 3/2 each, by
 *             `how=hlt` (default) or `how=poll` (SCHEDOP_poll).
 *
 * With `watch=N` there are N such rounds, the first from phase 2 on, the next
 * from phase 3: each lasts until somebody writes something but 0 to the eight
 * bytes at gpa @6, so that it is as long as what it watches.
 *
 * Figures, in ns, of the last round: 0 count, 1 least, 2 median, 3 the 99th of
 * a hundred, 4 most, 5 early ones, 6 the gpa, 7 when the most was, in the
 * hypervisor's ticks; 8+k: delays below 1024, 1536, 2048, 3072 and so on; the
 * last has all above.
 */
#include "event.h"
#include "guest.h"
#include "random.h"

#include <public/xen/sched.h>

#define MAX_COUNT 20000
#define FIRST_BUCKET 8
#define NR_BUCKETS (QUIRE_NR_FIGURES - FIRST_BUCKET)
#define FIRST_LOG2 10           /* 1024 ns */

static uint64_t delay[MAX_COUNT];
static volatile uint64_t fired_at;
static volatile uint64_t stop;

static void timer_fired(unsigned port)
{
    (void)port;
    fired_at = clock_ns();
}

static void sleep_until(uint64_t when, unsigned port, bool by_poll)
{
    evtchn_port_t ports[1] = { port };
    struct sched_poll poll = { .ports = GVA(ports), .nr_ports = 1 };

    fired_at = 0;
    CHECK(timer_set_ns(when) == 0, "the timer was refused");
    if (by_poll) {
        /* With interrupts off the port stays pending: poll sees it. */
        (void)hc_sched_op(SCHEDOP_poll, &poll);
        fired_at = clock_ns();
        event_upcall();
        return;
    }
    while (fired_at == 0) {
        irq_enable_halt();
        irq_disable();
    }
}

static void sort(uint64_t *a, unsigned n)
{
    for (unsigned gap = n / 2; gap > 0; gap /= 2) {
        for (unsigned i = gap; i < n; i++) {
            uint64_t x = a[i];
            unsigned j = i;

            for (; j >= gap && a[j - gap] > x; j -= gap) {
                a[j] = a[j - gap];
            }
            a[j] = x;
        }
    }
}

/* Two to a power of two: below 1, 1.5, 2, 3, 4 ... times the first. */
static unsigned bucket_of(uint64_t ns)
{
    unsigned log2 = 63 - (unsigned)__builtin_clzll(ns | 1);

    if (log2 < FIRST_LOG2) {
        return 0;
    }
    return MIN(1 + 2 * (log2 - FIRST_LOG2) +
               (unsigned)(ns >> (log2 - 1) & 1), NR_BUCKETS - 1);
}

static void report(unsigned n, unsigned early)
{
    uint64_t bucket[NR_BUCKETS] = { 0 };

    sort(delay, n);
    for (unsigned i = 0; i < n; i++) {
        bucket[bucket_of(delay[i])]++;
    }
    guest_figure(0, n);
    guest_figure(1, delay[0]);
    guest_figure(2, delay[n / 2]);
    guest_figure(3, delay[n * 99 / 100]);
    guest_figure(4, delay[n - 1]);
    guest_figure(5, early);
    guest_printf("latency: %u wake-ups, ns: least %lu median %lu 99%% %lu "
                 "most %lu\n", n, delay[0], delay[n / 2], delay[n * 99 / 100],
                 delay[n - 1]);
    for (unsigned b = 0; b < NR_BUCKETS; b++) {
        guest_figure(FIRST_BUCKET + b, bucket[b]);
    }
}

struct sleeper {
    struct random random;
    uint64_t gap;               /* ns, the mean */
    unsigned port;
    bool by_poll;
};

/* Sleep @n times, or until told to stop; what it was is reported. */
static void measure(struct sleeper *s, unsigned n)
{
    unsigned early = 0, i = 0;
    uint64_t most = 0;

    do {
        uint64_t when = clock_ns() + s->gap / 2 +
                        random_below(&s->random, s->gap);

        sleep_until(when, s->port, s->by_poll);
        early += fired_at < when;
        delay[i] = fired_at < when ? 0 : fired_at - when;
        if (delay[i] > most) {
            most = delay[i];
            guest_figure(7, guest_ticks());
        }
        i++;
    } while (i < n && stop == 0);
    CHECK(early == 0, "%u events came before their time", early);
    report(i, early);
}

void guest_main(void)
{
    struct sleeper s = { .random = { option_u64("seed", 1) } };
    unsigned n = (unsigned)MIN(option_u64("count", 200), MAX_COUNT);
    unsigned rounds = (unsigned)option_u64("watch", 0);

    s.gap = option_u64("gap_us", 500) * 1000;
    s.by_poll = option_is("how", "poll");
    CHECK(n > 0 && s.gap > 0, "count= and gap_us= must be above 0");
    CHECK(event_init() == 0, "no event channels");
    int port = event_bind_virq(VIRQ_TIMER, 0, timer_fired);
    CHECK(port > 0, "VIRQ_TIMER: %d", port);
    CHECK(clock_is_sane(), "no clock in vcpu_info");
    if (guest_failures() != 0) {
        guest_finish("latency");
    }
    s.port = (unsigned)port;
    guest_figure(6, (uintptr_t)&stop);
    guest_phase_report(1);
    for (unsigned i = 0; i < MAX(rounds, 1); i++) {
        guest_phase_wait(2 + i);
        stop = 0;
        measure(&s, rounds != 0 ? MAX_COUNT : n);
        guest_phase_report(2 + i);
    }
    guest_finish("latency");
}
