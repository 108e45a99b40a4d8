/*
 * sched.h - which vCPU a CPU runs, and the run loop itself.
 *
 * Each CPU has a round-robin run queue; a vCPU stays on the CPU it was put on
 * at creation (least loaded). run_loop() in turn: interrupts, grace periods,
 * timers, one slice of one task, then a vCPU until its slice ends or it
 * blocks; idle when nothing is runnable. Every pass is a preemption point;
 * the longest stretch between two is accounted per CPU, with what ran.
 */
#pragma once

#include <quire/vcpu.h>

#define SCHED_SLICE_US 1000

void sched_init(void);                  /* once, before any other */
/** run_loop_set_poll() - @fn is called by CPU 0 in each pass: the control
 *  channel's, which this layer may not name. True: it has more to do. */
void run_loop_set_poll(bool (*fn)(void));
_Noreturn void run_loop(void);          /* each CPU, after boot */
/** run_loop_once() - one pass; false if there was nothing to do. Host tests. */
bool run_loop_once(void);

void sched_vcpu_init(struct vcpu *v);   /* picks a CPU; paused once */
void sched_vcpu_fini(struct vcpu *v);   /* not running, off every queue */
void vcpu_pause_nosync(struct vcpu *v);
/** vcpu_pause() - returns when @v is off its CPU. Not from @v's own exit. */
void vcpu_pause(struct vcpu *v);
void vcpu_unpause(struct vcpu *v);
/** vcpu_block() - from @v's own exit: sleep, unless an interrupt is pending. */
void vcpu_block(struct vcpu *v);
/** vcpu_yield() - from @v's own exit: its slice is over. */
void vcpu_yield(struct vcpu *v);
void vcpu_wake(struct vcpu *v);         /* from anywhere */
/** vcpu_kick() - if @v is in its guest, make it exit: something is pending. */
void vcpu_kick(struct vcpu *v);

/** vcpu_set_online() - by VCPUOP_up and _down; at once if @v is off its CPU. */
void vcpu_set_online(struct vcpu *v, bool online);
/** vcpu_current() - whose exit this CPU is handling, or NULL. */
struct vcpu *vcpu_current(void);
/** sched_least_loaded() - the CPU with the fewest vCPUs. */
unsigned sched_least_loaded(void);

struct latency {            /* one CPU's longest stretch */
    ticks_t longest;
    const char *what;       /* task name or exit reason */
    uint64_t arg;
};
void latency_get(unsigned cpu, struct latency *l);
void latency_reset(void);
