/*
 * sched.c - which vCPU may run, and where it waits.
 *
 * A vCPU is runnable when nobody pauses it, it is not blocked and it is
 * online. It is on its CPU's run queue exactly when it is runnable and not
 * running (H1); both change under that queue's lock, while the conditions
 * themselves are atomics that anybody may change first. So every change is:
 * store the condition, then take the lock and bring the queue in line.
 */
#include <quire/arch.h>
#include <quire/event.h>
#include <quire/oom.h>
#include <quire/panic.h>
#include <quire/sched.h>

#include "sched_cpu.h"

struct sched_cpu sched_cpus[MAX_CPUS];

void sched_init(void)
{
    for (unsigned i = 0; i < MAX_CPUS; i++) {
        struct sched_cpu *c = &sched_cpus[i];

        spin_lock_init(&c->lock, LOCK_RANK_SCHED, i);
        list_init(&c->queue);
        atomic_store(&c->nr_queued, 0);
        atomic_store(&c->nr_vcpus, 0);
        atomic_store(&c->current, NULL);
    }
    irq_set_notify(vcpu_wake);
}

static bool is_runnable(const struct vcpu *v)
{
    return atomic_load(&v->pause_count) == 0 && !atomic_load(&v->blocked) &&
           atomic_load(&v->online);
}

bool sched_may_run(const struct vcpu *v)
{
    return is_runnable(v);
}

static bool is_queued(const struct vcpu *v)
{
    return !list_is_empty(&v->run_link);
}

static void dequeue(struct sched_cpu *c, struct vcpu *v)
{
    list_remove(&v->run_link);
    atomic_fetch_sub(&c->nr_queued, 1);
}

/* H1 for @v, after one of its conditions changed. */
static void settle(struct vcpu *v)
{
    struct sched_cpu *c = &sched_cpus[v->cpu];
    bool is_new = false;

    spin_lock(&c->lock);
    if (!atomic_load(&v->running)) {
        if (is_runnable(v) && !is_queued(v)) {
            list_append(&c->queue, &v->run_link);
            atomic_fetch_add(&c->nr_queued, 1);
            is_new = true;
        } else if (!is_runnable(v) && is_queued(v)) {
            dequeue(c, v);
        }
    }
    spin_unlock(&c->lock);
    if (is_new && v->cpu != arch_cpu()) {
        arch_kick(v->cpu);      /* it may be asleep, or run without a slice */
    }
}

unsigned sched_least_loaded(void)
{
    unsigned best = 0;

    for (unsigned i = 1; i < arch_nr_cpus(); i++) {
        if (atomic_load(&sched_cpus[i].nr_vcpus) <
            atomic_load(&sched_cpus[best].nr_vcpus)) {
            best = i;
        }
    }
    return best;
}

void sched_vcpu_init(struct vcpu *v)
{
    list_init(&v->run_link);
    v->cpu = sched_least_loaded();
    atomic_store(&v->pause_count, 1);
    atomic_fetch_add(&sched_cpus[v->cpu].nr_vcpus, 1);
}

void sched_vcpu_fini(struct vcpu *v)
{
    BUG_ON(atomic_load(&v->running) || is_queued(v));
    atomic_fetch_sub(&sched_cpus[v->cpu].nr_vcpus, 1);
}

void vcpu_pause_nosync(struct vcpu *v)
{
    atomic_fetch_add(&v->pause_count, 1);
    settle(v);
    vcpu_kick(v);
}

void vcpu_pause(struct vcpu *v)
{
    vcpu_pause_nosync(v);
    while (atomic_load(&v->running)) {
        arch_relax();
        arch_poll();
    }
}

void vcpu_unpause(struct vcpu *v)
{
    BUG_ON(atomic_load(&v->pause_count) == 0);
    if (atomic_fetch_sub(&v->pause_count, 1) == 1) {
        settle(v);
    } else if (atomic_load(&v->oom.state) == OOM_STALLED) {
        oom_unstall(v);
    }
}

void vcpu_block(struct vcpu *v)
{
    atomic_store(&v->blocked, true);
    /* What was raised before the store did not see us blocked. */
    if (irq_is_pending(v)) {
        atomic_store(&v->blocked, false);
    }
}

void vcpu_wake(struct vcpu *v)
{
    if (atomic_exchange(&v->blocked, false)) {
        settle(v);
    }
    vcpu_kick(v);
}

void vcpu_set_online(struct vcpu *v, bool online)
{
    atomic_store(&v->online, online);
    settle(v);
    vcpu_kick(v);
}

void vcpu_kick(struct vcpu *v)
{
    if (atomic_load(&v->running) && v->cpu != arch_cpu()) {
        arch_kick(v->cpu);
    }
}

void vcpu_yield(struct vcpu *v)
{
    sched_cpus[v->cpu].yields = true;
}

struct vcpu *vcpu_current(void)
{
    return atomic_load(&sched_cpus[arch_cpu()].current);
}

struct vcpu *sched_pick(struct sched_cpu *c)
{
    struct vcpu *v = NULL;

    if (atomic_load(&c->nr_queued) == 0) {
        return NULL;
    }
    spin_lock(&c->lock);
    while (v == NULL && !list_is_empty(&c->queue)) {
        v = container_of(c->queue.next, struct vcpu, run_link);
        dequeue(c, v);
        if (is_runnable(v)) {
            atomic_store(&v->running, true);
            atomic_store(&c->current, v);
        } else {
            v = NULL;       /* whoever changed it will settle it */
        }
    }
    spin_unlock(&c->lock);
    return v;
}

void sched_put_back(struct sched_cpu *c, struct vcpu *v, bool at_head)
{
    spin_lock(&c->lock);
    atomic_store(&c->current, NULL);
    atomic_store(&v->running, false);
    if (is_runnable(v)) {
        if (at_head) {
            list_push(&c->queue, &v->run_link);
        } else {
            list_append(&c->queue, &v->run_link);
        }
        atomic_fetch_add(&c->nr_queued, 1);
    }
    spin_unlock(&c->lock);
}
