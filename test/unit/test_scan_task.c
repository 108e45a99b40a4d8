/*
 * test_scan_task.c - when the scanner runs: woken, asleep, stopped and begun
 * again, with other timers on its CPU.
 */
#include "domains.h"
#include "test.h"

#include <quire/arch.h>
#include <quire/scan.h>
#include <quire/scan_task.h>
#include <quire/task.h>

#define SLEEP_MS 20

static unsigned nr_fired;

static void fired(struct timer *t)
{
    (void)t;
    nr_fired++;
}

static void set_run(enum scan_mode mode)
{
    scan_knobs.run = mode;
    scan_task_wake();
    while (task_run_one()) {
        continue;
    }
}

/* What was asleep has an armed timer: begun again, it must not take others'
 * timers out of the heap. */
TEST(stopped_asleep_and_begun_again)
{
    enum { N = 8 };
    static struct timer t[N];
    ticks_t ms, now, end;

    test_machine(1024, 1);
    ms = arch_tick_hz() / 1000;
    scan_knobs.sleep_millisecs = SLEEP_MS;
    set_run(SCAN_RUN);
    now = arch_now();
    nr_fired = 0;
    for (unsigned i = 0; i < N; i++) {
        /* Later than the scanner's, so below it in the heap. */
        timer_init(&t[i], 0, fired);
        timer_set(&t[i], now + 2 * SLEEP_MS * ms + i);
    }
    set_run(SCAN_STOP);
    set_run(SCAN_RUN);
    set_run(SCAN_STOP);
    end = arch_now() + 2000 * ms;
    while (nr_fired < N && arch_now() < end) {
        (void)timer_run_due();
    }
    CHECK_EQ(nr_fired, N);
}
