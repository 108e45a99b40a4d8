/*
 * sched_cpu.h - one CPU's part of the scheduler, shared by sched.c (queues)
 * and run_loop.c (who gets the CPU next, and for how long).
 */
#pragma once

#include <quire/list.h>
#include <quire/lock.h>
#include <quire/sched.h>

struct sched_cpu {
    cache_aligned struct spinlock lock;     /* SCHED, key cpu */
    struct list queue;                      /* [sched] runnable vCPUs */
    _Atomic unsigned nr_queued;             /* [sched] to write */
    _Atomic unsigned nr_vcpus;              /* (a) that live here */
    struct vcpu *_Atomic current;           /* [sched] to write */

    /* This CPU only. */
    struct vcpu *owner;     /* whose slice it is; compared, never followed */
    ticks_t slice_end;
    ticks_t task_turn_end;  /* until then tasks go before vCPUs */
    bool yields;
    struct latency latency;
    uint64_t latency_epoch;
};

extern struct sched_cpu sched_cpus[MAX_CPUS];

bool sched_may_run(const struct vcpu *v);
/** sched_pick() - the next vCPU of @c's queue, now running; or NULL. */
struct vcpu *sched_pick(struct sched_cpu *c);
/** sched_put_back() - @v leaves the CPU; queued again if it may run. */
void sched_put_back(struct sched_cpu *c, struct vcpu *v, bool at_head);
