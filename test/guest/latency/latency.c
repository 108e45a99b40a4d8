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
 * Figures, in ns: 0 count, 1 least, 2 median, 3 the 99th of a hundred, 4
 * most, 5 early ones; 8+k: delays of 2^(k+8) up to 2^(k+9), the first and the
 * last bucket open.
 */
#include "event.h"
#include "guest.h"
#include "random.h"

#include <public/xen/sched.h>

#define MAX_COUNT 2000
#define FIRST_BUCKET 8
#define NR_BUCKETS (QUIRE_NR_FIGURES - FIRST_BUCKET)
#define FIRST_LOG2 8            /* 256 ns */

static uint64_t delay[MAX_COUNT];
static volatile uint64_t fired_at;

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

static void report(unsigned n, unsigned early)
{
    uint64_t bucket[NR_BUCKETS] = { 0 };

    sort(delay, n);
    for (unsigned i = 0; i < n; i++) {
        unsigned log2 = 63 - (unsigned)__builtin_clzll(delay[i] | 1);
        unsigned b = log2 < FIRST_LOG2 ? 0 : log2 - FIRST_LOG2;

        bucket[MIN(b, NR_BUCKETS - 1)]++;
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

void guest_main(void)
{
    struct random r = { option_u64("seed", 1) };
    unsigned n = (unsigned)MIN(option_u64("count", 200), MAX_COUNT);
    uint64_t gap = option_u64("gap_us", 500) * 1000;
    bool by_poll = option_is("how", "poll");
    unsigned early = 0;

    CHECK(n > 0 && gap > 0, "count= and gap_us= must be above 0");
    CHECK(event_init() == 0, "no event channels");
    int port = event_bind_virq(VIRQ_TIMER, 0, timer_fired);
    CHECK(port > 0, "VIRQ_TIMER: %d", port);
    CHECK(clock_is_sane(), "no clock in vcpu_info");
    if (guest_failures() != 0) {
        guest_finish("latency");
    }
    guest_phase_report(1);
    guest_phase_wait(2);
    for (unsigned i = 0; i < n; i++) {
        uint64_t when = clock_ns() + gap / 2 + random_below(&r, gap);

        sleep_until(when, (unsigned)port, by_poll);
        early += fired_at < when;
        delay[i] = fired_at < when ? 0 : fired_at - when;
    }
    CHECK(early == 0, "%u events came before their time", early);
    report(n, early);
    guest_phase_report(2);
    guest_finish("latency");
}
