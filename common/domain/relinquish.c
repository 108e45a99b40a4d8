/*
 * relinquish.c - the kill: a domain's memory goes back, a slice at a time.
 *
 *     DESCHEDULE  no vCPU is on a CPU or will be again; one flush of the p2m,
 *                 after which nothing of this domain needs another
 *     SHADOW      its vCPUs' part of it, then every shadow page
 *     CALLS       hypercalls half done are given up, and what they hold
 *     EVENTS      ports closed, timers stopped, pinned pages let go
 *     RAM         every entry dropped: shared ones through sharing, own ones
 *                 freed; holes cost nothing
 *     FORK        frames that a fork held for a reset
 *     VCPUS       machine state of the vCPUs
 *     TABLES      the shared page; what is left of the tables follows with
 *                 the last reference
 *     DONE        DEAD; the creation's reference is dropped
 *
 * Any number of callers may push it on; kill_busy lets one at a time do a
 * slice. Each stage keeps its cursor in the domain, so that no caller needs
 * to come back.
 */
#include <quire/arch.h>
#include <quire/bitmap.h>
#include <quire/domain.h>
#include <quire/errno.h>
#include <quire/fork.h>
#include <quire/kill_trace.h>
#include <quire/log.h>
#include <quire/owner.h>
#include <quire/panic.h>

#include "domain_life.h"
#include "shadow_glue.h"
#include "sharing_op.h"

/* The owner's hold on a frame that others may hold, too. */
static void drop_held(struct domain *d, struct frame *f)
{
    if (f == evtchn_shared_frame(d->events)) {
        frame_put(f);       /* events own it; this was the mapping's hold */
    } else {
        frame_put_allocated(f);
    }
}

void domain_drop_frame(struct domain *d, gfn_t gfn, const struct p2m_entry *e)
{
    if (e->type == p2m_ram_shared) {
        share_drop(d->p2m, gfn, e);
        return;
    }
    if (e->type == p2m_map_foreign) {
        domain_drop_foreign(mfn_to_frame(e->mfn));
        return;
    }
    if (e->type != p2m_ram_rw && e->type != p2m_ram_ro) {
        return;     /* no frame of ours behind it */
    }
    drop_held(d, mfn_to_frame(e->mfn));
}

static void drop_singles(struct domain *d, const struct p2m_group *g)
{
    uint64_t held = frame_free_group(d->id, g->mfn, g->map);

    for (; held != 0; held &= held - 1) {
        drop_held(d, mfn_to_frame(g->mfn[__builtin_ctzll(held)]));
    }
}

/* Frames in a row: one block again, if all of them are free. */
static void drop_run(struct domain *d, struct frame *f, unsigned nr)
{
    unsigned n = 0;

    while (n < nr) {
        n += frame_free_run(d->id, f + n, nr - n);
        if (n < nr) {
            drop_held(d, f + n);
            n++;
        }
    }
}

static void drop_foreign(const struct p2m_group *g)
{
    for (uint64_t todo = g->map; todo != 0; todo &= todo - 1) {
        domain_drop_foreign(mfn_to_frame(g->mfn[__builtin_ctzll(todo)]));
    }
}

static void drop_group(struct p2m *p, const struct p2m_group *g)
{
    struct domain *d = owner_domain(p->owner);

    d->kill.gfns += (uint64_t)bits_count(g->map) << g->order;
    switch (g->type) {
    case p2m_ram_shared:
        share_drop_group(p, g);
        break;
    case p2m_ram_rw:
    case p2m_ram_ro:
        if (g->order != P2M_ORDER_4K) {
            drop_run(d, mfn_to_frame(g->mfn[0]), 1u << g->order);
        } else if (g->form == P2M_RUN) {
            drop_run(d, mfn_to_frame(g->mfn[0]), bits_count(g->map));
        } else {
            drop_singles(d, g);
        }
        break;
    case p2m_map_foreign:
        drop_foreign(g);
        break;
    default:
        break;      /* no frame behind it */
    }
}

bool domain_visit(struct domain *d)
{
    int state;

    /* Said first, looked at then; the kill the other way round. */
    atomic_fetch_add(&d->nr_visitors, 1);
    state = atomic_load(&d->state);
    if (state == DOMAIN_DYING || state == DOMAIN_DEAD) {
        domain_leave(d);
        return false;
    }
    return true;
}

void domain_leave(struct domain *d)
{
    atomic_fetch_sub(&d->nr_visitors, 1);
}

static int deschedule(struct domain *d)
{
    if (atomic_load(&d->nr_visitors) != 0) {
        return -ERESTART;       /* for a slice at most */
    }
    if (domain_has_running(d)) {
        for (unsigned i = 0; i < d->nr_vcpus; i++) {
            vcpu_kick(d->vcpus[i]);
        }
        return -ERESTART;
    }
    oom_forget(d);
    spin_lock(&d->p2m->lock);
    p2m_retire(d->p2m);
    spin_unlock(&d->p2m->lock);
    return 0;
}

/* What its vCPUs were in the middle of: a merge has roles in frames of other
 * domains, whom this one's death must not concern. */
static int drop_calls(struct domain *d, struct work *w)
{
    if (sharing_stop_is_busy(d)) {
        return -ERESTART;
    }
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        if (sharing_op_abort(d->vcpus[i], w) != 0) {
            return -ERESTART;
        }
    }
    return 0;
}

/* Each vCPU's machine state; the records themselves go with the domain. */
static int drop_vcpus(struct domain *d, struct work *w)
{
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        struct vcpu *v = d->vcpus[i];

        if (v->arch == NULL) {
            continue;
        }
        sched_vcpu_fini(v);
        arch_vcpu_fini(v);
        v->arch = NULL;
        p2m_put(v->p2m);
        if (work_spend(w, 1000)) {
            return -ERESTART;
        }
    }
    return 0;
}

static void finish(struct domain *d)
{
    console_flush(d);
    d->kill.total = arch_now() - d->kill_accepted;
    kill_trace_end(d, d->kill_accepted + d->kill.total);
    atomic_store(&d->state, DOMAIN_DEAD);
    domain_unlist(d);
    log_debug("d%u is dead", d->id);
}

static int run_stage(struct domain *d, struct work *w)
{
    switch ((enum kill_stage)atomic_load(&d->kill_stage)) {
    case KILL_NONE:
        domain_pause_vcpus(d);
        return 0;
    case KILL_DESCHEDULE:
        return deschedule(d);
    case KILL_SHADOW:
        return domain_shadow_relinquish(d, w);
    case KILL_CALLS:
        return drop_calls(d, w);
    case KILL_EVENTS:
        return evtchn_relinquish(d->events, w);
    case KILL_RAM:
        return p2m_relinquish(d->p2m, &d->kill_cursor, drop_group, w);
    case KILL_FORK:
        return domain_fork_relinquish(d, w);
    case KILL_VCPUS:
        return drop_vcpus(d, w);
    case KILL_TABLES:
        evtchn_release_page(d->events);
        return 0;
    case KILL_DONE:
        break;
    }
    return 0;
}

/* One slice, by the caller that has kill_busy. */
static int kill_slice(struct domain *d, struct work *w)
{
    ticks_t start = arch_now(), stage_start = start, took;
    int err = 0;

    if (d->kill_accepted == 0) {
        d->kill_accepted = start;
    }
    task_note(d->kill_cursor.n);
    while (atomic_load(&d->kill_stage) != KILL_DONE) {
        err = run_stage(d, w);
        if (err != 0) {
            break;
        }
        stage_start = kill_trace_stage(d, stage_start);
        atomic_fetch_add(&d->kill_stage, 1);
        if (work_spend(w, 100)) {
            err = -ERESTART;
            break;
        }
    }
    BUG_ON(err != 0 && err != -ERESTART);
    kill_trace_slice(d, start, stage_start, arch_now());
    took = arch_now() - start;
    d->kill.busy += took;
    d->kill.longest = MAX(d->kill.longest, took);
    if (err != 0) {
        d->kill.preemptions++;
    }
    return err;
}

/* RUNNING or SHUTDOWN -> DYING. False: it is still being built. */
static bool accept(struct domain *d)
{
    int state = atomic_load(&d->state);

    while (state == DOMAIN_RUNNING || state == DOMAIN_SHUTDOWN) {
        spin_lock(&d->lock);
        if (atomic_compare_exchange_strong(&d->state, &state,
                                           DOMAIN_DYING)) {
            d->kill_accepted = arch_now();
        }
        spin_unlock(&d->lock);
        state = atomic_load(&d->state);
    }
    return state != DOMAIN_BUILDING;
}

int domain_kill(struct domain *d, struct work *w)
{
    int err;

    if (!accept(d)) {
        atomic_store(&d->kill_wanted, true);
        return -ERESTART;   /* its creator gives up and undoes it */
    }
    if (atomic_load(&d->state) == DOMAIN_DEAD) {
        return 0;
    }
    if (atomic_exchange(&d->kill_busy, true)) {
        return -ERESTART;
    }
    if (atomic_load(&d->state) == DOMAIN_DEAD) {
        atomic_store(&d->kill_busy, false);
        return 0;
    }
    err = kill_slice(d, w);
    if (err == 0) {
        finish(d);
    }
    atomic_store(&d->kill_busy, false);
    if (err == 0) {
        domain_put(d);      /* the creation's; the caller has its own */
    }
    return err;
}

static int kill_task_run(struct task *t, struct work *w)
{
    struct domain *d = container_of(t, struct domain, kill_task);
    int err = domain_kill(d, w);

    if (err != -ERESTART) {
        domain_put(d);
    }
    return err;
}

void domain_kill_async(struct domain *d)
{
    if (atomic_exchange(&d->kill_queued, true)) {
        return;
    }
    domain_get(d);
    d->kill_task = (struct task){ .run = kill_task_run, .name = "kill",
                                   .is_bulk = true };
    task_queue(&d->kill_task, sched_least_loaded());
}
