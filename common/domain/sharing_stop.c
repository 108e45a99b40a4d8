/*
 * sharing_stop.c - a vCPU that goes down, or whose domain shuts down, in the
 * middle of an XENMEM_sharing_op.
 *
 * It will not come back to its VMMCALL, or nobody knows when, and meanwhile a
 * merge has roles in frames of other domains and a fork's parent stands still.
 * So a task of its domain gives the operation up. A vCPU that comes back all
 * the same begins it again.
 *
 *     VCPUOP_down, shutdown, crash --> sharing_stop() --> task: each vCPU that
 *     is stopped: pause it, wait until it is off its CPU, abort, unpause
 *
 * Races: the cursor belongs to who handles the vCPU's exit; the pause keeps it
 * from having any. The kill takes over what the task has not done: it first
 * makes the domain DYING, then waits until the task is out of its slice
 * (sharing_stop_is_busy()), and the task looks at the state inside.
 */
#include <quire/domain.h>
#include <quire/errno.h>

#include "sharing_op.h"

#define COST_VCPU 100           /* units: a look at one */

static bool is_dying(const struct domain *d)
{
    return atomic_load(&d->state) >= DOMAIN_DYING;
}

static bool is_stopped(const struct vcpu *v)
{
    return !atomic_load(&v->online) ||
           atomic_load(&v->domain->state) == DOMAIN_SHUTDOWN;
}

/* Preemptible: one vCPU's operation. Begun, it goes on to its end even if the
 * vCPU has come back: it is paused. */
static int give_up(struct sharing_stop *s, struct vcpu *v, struct work *w)
{
    int err;

    if (!s->is_held) {
        if (!is_stopped(v)) {
            return 0;
        }
        s->is_held = true;
        vcpu_pause_nosync(v);
    }
    if (atomic_load(&v->running)) {
        return -ERESTART;
    }
    err = sharing_op_abort(v, w);
    if (err == 0) {
        s->is_held = false;
        vcpu_unpause(v);
    }
    return err;
}

/* Preemptible: those that were stopped when it began. */
static int pass(struct domain *d, struct work *w)
{
    struct sharing_stop *s = &d->sharing_stop;

    while (s->next < d->nr_vcpus) {
        int err = give_up(s, d->vcpus[s->next], w);

        if (err != 0) {
            return err;
        }
        s->next++;
        if (work_spend(w, COST_VCPU)) {
            return -ERESTART;
        }
    }
    return 0;
}

static int run(struct task *t, struct work *w)
{
    struct domain *d = container_of(t, struct domain, sharing_stop.task);
    struct sharing_stop *s = &d->sharing_stop;
    int err = 0;

    if (s->next == 0 && !s->is_held) {
        atomic_store(&s->asked, false);
    }
    atomic_store(&s->busy, true);
    if (!is_dying(d)) {
        err = pass(d, w);
    }
    atomic_store(&s->busy, false);
    if (err != 0) {
        return err;
    }
    s->next = 0;
    atomic_store(&s->queued, false);
    if (!is_dying(d) && atomic_load(&s->asked) &&
        !atomic_exchange(&s->queued, true)) {
        return -ERESTART;       /* another has stopped meanwhile */
    }
    domain_put(d);
    return 0;
}

void sharing_stop(struct domain *d)
{
    struct sharing_stop *s = &d->sharing_stop;

    if (!d->config.privileged) {
        return;
    }
    atomic_store(&s->asked, true);
    if (!atomic_exchange(&s->queued, true)) {
        domain_get(d);
        s->task = (struct task){ .run = run, .name = "sharing-stop" };
        task_queue(&s->task, sched_least_loaded());
    }
}

bool sharing_stop_is_busy(const struct domain *d)
{
    return atomic_load(&d->sharing_stop.busy);
}
