/*
 * fork_reset.c - domain_fork_reset(): a fork as of the fork again.
 *
 *     STOP: no vCPU of it runs
 *     LEAVE: event code lets go of the guest's pages    }
 *     PORTS: every port is closed         } of a reset  } of a reset
 *     MEMORY: share_rewind()              } of state    } of memory
 *     APPLY: pages held again, and vCPUs, ports, timers }
 *     START: it goes on
 *
 * The stage is in the fork's record, so that whoever calls again goes on where
 * another has stopped. A kill ends it anywhere: the vCPUs stay stopped.
 */
#include <quire/errno.h>
#include <quire/owner.h>
#include <quire/panic.h>

#include "fork.h"

#define ALL (XENMEM_FORK_RESET_STATE | XENMEM_FORK_RESET_MEMORY)
#define COST_STAGE 200

/* IDLE -> STOP, unless it is under way. */
static int begin(struct domain *d, unsigned what)
{
    struct domain_fork *f = d->fork;
    int state, err = 0;

    spin_lock(&d->lock);
    state = atomic_load(&d->state);
    if (state != DOMAIN_RUNNING && state != DOMAIN_SHUTDOWN) {
        err = -ESRCH;
    } else if (f->reset != RESET_IDLE) {
        err = f->what == what ? 0 : -EBUSY;
    } else if (d->nr_forking != 0) {
        err = -EBUSY;
    } else {
        f->reset = RESET_STOP;
        f->what = what;
        f->reset_item = 0;
        domain_pause_vcpus(d);
    }
    spin_unlock(&d->lock);
    return err;
}

static int stop(struct domain *d)
{
    if (!domain_has_running(d)) {
        return 0;
    }
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        vcpu_kick(d->vcpus[i]);
    }
    return -ERESTART;
}

static void drop_entry(struct p2m *p, gfn_t gfn, const struct p2m_entry *e)
{
    /* Alive: its map is not being relinquished. */
    domain_drop_frame(owner_domain(p->owner), gfn, e);
}

/* A shutdown or a crash is forgotten with the state that led to it. */
static void start(struct domain *d)
{
    struct domain_fork *f = d->fork;

    spin_lock(&d->lock);
    if ((f->what & XENMEM_FORK_RESET_STATE) != 0 &&
        atomic_load(&d->state) == DOMAIN_SHUTDOWN) {
        atomic_store(&d->state, DOMAIN_RUNNING);
        d->crash_reason[0] = '\0';
        domain_unpause_vcpus(d);
    }
    f->resets++;
    f->reset = RESET_IDLE;
    domain_unpause_vcpus(d);
    spin_unlock(&d->lock);
}

static int run_stage(struct domain *d, struct work *w)
{
    struct domain_fork *f = d->fork;
    bool has_state = (f->what & XENMEM_FORK_RESET_STATE) != 0;
    bool has_memory = (f->what & XENMEM_FORK_RESET_MEMORY) != 0;
    int err = 0;

    switch (f->reset) {
    case RESET_STOP:
        return stop(d);
    case RESET_LEAVE:
        return has_memory ? fork_image_unplace(d) : 0;
    case RESET_PORTS:
        return has_state ? evtchn_reset(d->events, w) : 0;
    case RESET_MEMORY:
        return has_memory ? share_rewind(d->p2m, drop_entry, &f->reset_pages,
                                         w) : 0;
    case RESET_APPLY:
        if (has_memory && f->reset_item == 0) {
            err = fork_image_place(d);
        }
        if (err == 0 && has_state) {
            err = fork_image_apply(d, &f->reset_item, w);
        }
        return err;
    default:
        return 0;
    }
}

/* One slice, by the caller that has reset_busy. */
static int slice(struct domain *d, unsigned what, struct work *w)
{
    struct domain_fork *f = d->fork;
    int err = begin(d, what);

    while (err == 0 && f->reset != RESET_START) {
        int state = atomic_load(&d->state);

        if (state == DOMAIN_DYING || state == DOMAIN_DEAD) {
            return -ESRCH;
        }
        err = run_stage(d, w);
        if (err == 0) {
            f->reset++;
            err = work_spend(w, COST_STAGE) ? -ERESTART : 0;
        }
    }
    if (err == 0) {
        start(d);
    }
    return err;
}

int domain_fork_reset(struct domain *d, unsigned what, struct work *w)
{
    struct vcpu *v = vcpu_current();
    int err;

    if (d->fork == NULL || what == 0 || (what & ~ALL) != 0) {
        return -EINVAL;
    }
    if (v != NULL && v->domain == d) {
        return -EBUSY;
    }
    if (atomic_exchange(&d->fork->reset_busy, true)) {
        return -ERESTART;
    }
    /* A kill meanwhile would find timers and channels back that it has just
     * stopped. */
    err = -ESRCH;
    if (domain_visit(d)) {
        err = slice(d, what, w);
        domain_leave(d);
    }
    atomic_store(&d->fork->reset_busy, false);
    return err;
}
