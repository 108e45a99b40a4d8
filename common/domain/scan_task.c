/*
 * scan_task.c - when the scanner runs.
 *
 *     IDLE --wake--> QUEUED --batch done--> SLEEPING --timer or wake--> QUEUED
 *       ^               |
 *       +-- all done ---+
 *
 * Who moves the state to QUEUED queues the task, nobody else. It goes back
 * from there only in the task's own slice, on its own CPU, where it cannot be
 * taken from the queue before that slice has returned.
 */
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/event.h>
#include <quire/scan.h>
#include <quire/scan_task.h>
#include <quire/sched.h>
#include <quire/task.h>

enum { IDLE, QUEUED, SLEEPING };

static struct {
    struct task task;
    struct timer timer;
    _Atomic int state;
    unsigned cpu;           /* while not IDLE */
    _Atomic ticks_t ticks;
} scanner;

static bool move(int from, int to)
{
    return atomic_compare_exchange_strong(&scanner.state, &from, to);
}

static void end_sleep(struct timer *t)
{
    (void)t;
    if (move(SLEEPING, QUEUED)) {
        task_queue(&scanner.task, scanner.cpu);
    }
}

static int run(struct task *t, struct work *w)
{
    ticks_t start = arch_now();
    int err = scan_run(w);
    uint64_t ms;

    (void)t;
    atomic_fetch_add(&scanner.ticks, arch_now() - start);
    if (err == -ERESTART) {
        return err;
    }
    if (scan_has_work()) {
        ms = scan_knobs.sleep_millisecs;
        if (ms == 0) {
            return -ERESTART;
        }
        atomic_store(&scanner.state, SLEEPING);
        timer_set(&scanner.timer, arch_now() + arch_tick_hz() / 1000 * ms);
        return 0;
    }
    /* Woken before its time, its last sleep's is still armed. The next who
     * wakes it makes a new one of it. */
    timer_cancel(&scanner.timer);
    atomic_store(&scanner.state, IDLE);
    /* Whoever changed the knobs since may have found us busy. */
    return scan_has_work() && move(IDLE, QUEUED) ? -ERESTART : 0;
}

void scan_task_wake(void)
{
    if (move(IDLE, QUEUED)) {
        scanner.cpu = sched_least_loaded();
        scanner.task = (struct task){ .run = run, .name = "scanner" };
        timer_init(&scanner.timer, scanner.cpu, end_sleep);
        task_queue(&scanner.task, scanner.cpu);
    } else {
        end_sleep(&scanner.timer);
    }
}

ticks_t scan_task_ticks(void)
{
    return scanner.ticks;
}
