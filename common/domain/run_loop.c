/*
 * run_loop.c - what a CPU does, for ever.
 *
 *     pass:  interrupts - grace periods - timers - control (CPU 0) -
 *            one slice of one task - one vCPU - or sleep
 *
 * A vCPU is entered again and again within one pass (the inner loop), as long
 * as its slice lasts and nothing from outside wants the CPU. Whatever does,
 * kicks: the guest is left with EXIT_INTR and the pass ends.
 *
 * Preemption points are the top of a pass and each entry into a guest. The
 * time between two is a *stretch*; each CPU keeps its longest, with what ran.
 *
 * Tasks and vCPUs take turns when there are both: of TURN_US at most, and the
 * tasks' is as long as the vCPU's was, so that one that wakes up, does little
 * and sleeps again waits for one slice of a task each time. Were it always
 * TURN_US, a deadline that passed in the last slice before the vCPU's turn
 * would end that turn at once, and the next, for as long as there are tasks.
 * A slice is only
 * timed while somebody else waits: a vCPU that is alone on its CPU takes no
 * timer interrupts.
 */
#include <quire/arch.h>
#include <quire/domain.h>
#include <quire/event.h>
#include <quire/grace.h>
#include <quire/heap.h>
#include <quire/pressure.h>
#include <quire/sched.h>
#include <quire/task.h>

#include "sched_cpu.h"

#define TURN_US 100

static bool (*control_hook)(void);
static _Atomic uint64_t latency_epoch;

static const char *const exit_names[NR_EXIT_REASONS] = {
    [EXIT_NONE] = "arch", [EXIT_INTR] = "interrupt", [EXIT_NPF] = "npf",
    [EXIT_PF] = "pf", [EXIT_STARVED] = "starved",
    [EXIT_HYPERCALL] = "hypercall", [EXIT_CPUID] = "cpuid",
    [EXIT_RDMSR] = "rdmsr", [EXIT_WRMSR] = "wrmsr", [EXIT_IO] = "io",
    [EXIT_HLT] = "hlt", [EXIT_PAUSE] = "pause",
    [EXIT_INTR_WINDOW] = "window", [EXIT_SHUTDOWN] = "shutdown",
    [EXIT_INVALID] = "invalid", [EXIT_UNDEFINED] = "undefined",
};

void run_loop_set_poll(bool (*fn)(void))
{
    control_hook = fn;
}

static bool is_longest(const struct sched_cpu *c, ticks_t stretch)
{
    return unlikely(stretch > c->latency.longest ||
                    c->latency_epoch !=
                        atomic_load_explicit(&latency_epoch,
                                             memory_order_relaxed));
}

static void account(struct sched_cpu *c, ticks_t stretch, const char *what,
                    uint64_t arg)
{
    if (is_longest(c, stretch)) {
        c->latency = (struct latency){ stretch, what, arg };
        c->latency_epoch = atomic_load_explicit(&latency_epoch,
                                                memory_order_relaxed);
    }
}

void latency_get(unsigned cpu, struct latency *l)
{
    const struct sched_cpu *c = &sched_cpus[cpu];

    *l = c->latency;
    if (c->latency_epoch != atomic_load(&latency_epoch)) {
        *l = (struct latency){ 0, "nothing", 0 };
    }
}

/* Each CPU drops its own figure when it next has one to add. */
void latency_reset(void)
{
    atomic_fetch_add(&latency_epoch, 1);
}

static uint64_t exit_detail(const struct vcpu_exit *e)
{
    switch (e->reason) {
    case EXIT_NPF:
        return e->npf.gpa;
    case EXIT_PF:
        return e->pf.address;
    case EXIT_RDMSR:
    case EXIT_WRMSR:
        return e->msr.index;
    case EXIT_IO:
        return e->io.port;
    default:
        return e->reason;
    }
}

/* The exit before has taken @ticks, the way back into the guest included. */
static void account_exit(struct vcpu *v, enum exit_cost cost, ticks_t ticks)
{
    struct exit_ticks *t = &v->exit_ticks[cost];

    t->min = t->count == 0 ? ticks : MIN(t->min, ticks);
    t->max = MAX(t->max, ticks);
    t->sum += ticks;
    t->count++;
}

/* Enter @v until @until or something else wants the CPU. Unless its slice
 * @is_timed, that may be a vCPU of this CPU that an exit of @v has woken: once
 * back in its guest, @v need never leave it again. */
static void run_vcpu(struct sched_cpu *c, struct vcpu *v, ticks_t until,
                     bool is_timed)
{
    struct vcpu_exit e = { .reason = EXIT_NONE };
    ticks_t began = arch_now(), now = began;

    do {
        ticks_t left_at = e.at;
        bool has_unshared = e.reason == EXIT_NPF && e.npf.was_unshared;
        enum exit_cost cost = e.cost;

        irq_deliver(v);
        arch_vcpu_run(v, &e);
        if (has_unshared) {
            histogram_add_atomic(&v->domain->unshare_ticks,
                                 e.entered_at - left_at);
        }
        if (cost != EXIT_COST_NONE) {
            account_exit(v, cost, e.entered_at - left_at);
        }
        v->nr_exits[e.reason]++;
        vcpu_handle_exit(v, &e);
        now = arch_now();
        if (is_longest(c, now - e.at)) {
            account(c, now - e.at, exit_names[e.reason], exit_detail(&e));
        }
    } while (e.reason != EXIT_INTR && sched_may_run(v) && !c->yields &&
             now < until && (is_timed || atomic_load(&c->nr_queued) == 0));
    v->run_time += now - began;
}

static ticks_t us_to_ticks(uint64_t us)
{
    return arch_tick_hz() / 1000000 * us;
}

static void schedule(struct sched_cpu *c, struct vcpu *v)
{
    bool has_others = atomic_load(&c->nr_queued) != 0;
    ticks_t now = arch_now(), began = now, until;

    if (c->owner != v || now >= c->slice_end) {
        c->owner = v;
        c->slice_end = now + us_to_ticks(SCHED_SLICE_US);
    }
    until = c->slice_end;
    if (task_is_pending()) {
        has_others = true;
        until = MIN(until, now + us_to_ticks(TURN_US));
    }
    timer_set_slice(has_others ? until : UINT64_MAX);
    if (v->events != NULL && atomic_load(&v->events->poll_port) != 0) {
        evtchn_poll_done(v);
    }
    c->yields = false;
    page_need_set(atomic_load(&v->oom.state) == OOM_PROMISED ? PAGE_PROMISED
                                                             : PAGE_NORMAL);
    run_vcpu(c, v, until, has_others);
    page_need_set(PAGE_NORMAL);
    now = arch_now();
    c->task_turn_end = now + MIN(now - began, us_to_ticks(TURN_US));
    bool is_over = c->yields || now >= c->slice_end;

    if (is_over) {
        c->owner = NULL;
    }
    sched_put_back(c, v, !is_over);
}

/* Under icount CPUs take turns, and a PAUSE ends one. Without it a CPU with
 * nothing but tasks, or waiting for a grace period, keeps the others from what
 * wakes them, until its next deadline. */
static void let_others(void)
{
    if (arch_nr_cpus() > 1) {
        arch_relax();
    }
}

bool run_loop_once(void)
{
    struct sched_cpu *c = &sched_cpus[arch_cpu()];
    bool is_busy;
    ticks_t start;

    arch_poll();
    start = arch_now();
    grace_quiesce();
    account(c, arch_now() - start, "grace", 0);
    start = arch_now();
    is_busy = timer_run_due();
    account(c, arch_now() - start, "timers", 0);
    if (arch_cpu() == 0 && control_hook != NULL) {
        start = arch_now();
        is_busy |= control_hook();
        account(c, arch_now() - start, "control", 0);
    }
    if (arch_cpu() == 0) {
        oom_poll();
    }
    start = arch_now();
    if (task_run_one()) {
        is_busy = true;
        account(c, arch_now() - start, task_last_name(), task_last_note());
        let_others();
        if (task_is_pending() && arch_now() < c->task_turn_end) {
            return true;
        }
    }
    struct vcpu *v = sched_pick(c);

    if (v != NULL) {
        is_busy = true;
        schedule(c, v);
    } else {
        timer_set_slice(UINT64_MAX);
        let_others();
    }
    /* Callbacks due after a grace period need passes to come round. */
    return is_busy || task_is_pending() || grace_nr_pending() != 0;
}

_Noreturn void run_loop(void)
{
    grace_enter();
    for (;;) {
        if (!run_loop_once()) {
            heap_cache_drain();
            grace_leave();
            arch_idle();
            grace_enter();
        }
    }
}
