/*
 * fork_image.c - all of a domain but its memory, taken once and given to its
 * fork, at the beginning and at each reset.
 *
 * The page of shared_info and those that vcpu_infos were moved to are held by
 * the event code, so sharing leaves them alone: the first is mapped anew, the
 * others are copied like any page that somebody holds and pinned again.
 */
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/heap.h>
#include <quire/panic.h>
#include <quire/string.h>

#include "fork.h"

#define COST_VCPU 2500          /* units: one vCPU's state */

static int take_vcpu(struct vcpu *v, struct fork_vcpu *to)
{
    unsigned offset;

    to->online = atomic_load(&v->online);
    to->blocked = atomic_load(&v->blocked);
    to->initialised = v->initialised;
    to->info_gfn = GFN_INVALID;
    if (evtchn_info_page(v, &offset) != NULL) {
        to->info_offset = offset;
    }
    if (!to->initialised) {
        return 0;
    }
    to->state = heap_alloc(sizeof(*to->state));
    if (to->state == NULL) {
        return -ENOMEM;
    }
    arch_vcpu_get_state(v, to->state);
    return 0;
}

static bool is_shared_page_mapped(struct domain *d)
{
    return !gfn_eq(d->shared_gfn, GFN_INVALID) &&
           mfn_eq(p2m_lookup(d->p2m, d->shared_gfn).mfn,
                  frame_to_mfn(evtchn_shared_frame(d->events)));
}

static int take_domain(struct domain *parent, struct domain_fork *f)
{
    spin_lock(&parent->lock);
    f->shared_gfn = is_shared_page_mapped(parent) ? parent->shared_gfn
                                                  : GFN_INVALID;
    memcpy(f->params, parent->params, sizeof(f->params));
    spin_unlock(&parent->lock);
    f->phase = atomic_load(&parent->phase);
    f->phase_allowed = atomic_load(&parent->phase_allowed);
    memcpy(f->figure, parent->figure, sizeof(f->figure));
    /* After the vCPUs: an event that has woken one since is in the page. */
    f->events = evtchn_save(parent->events);
    return f->events == NULL ? -ENOMEM : 0;
}

int fork_image_take(struct domain *parent, struct domain *child,
                    struct work *w)
{
    struct domain_fork *f = child->fork;

    while (f->item < parent->nr_vcpus) {
        int err = take_vcpu(parent->vcpus[f->item], &f->vcpus[f->item]);

        if (err != 0) {
            return err;
        }
        f->item++;
        if (work_spend(w, COST_VCPU)) {
            return -ERESTART;
        }
    }
    return take_domain(parent, f);
}

bool fork_image_held(void *arg, gfn_t gfn, mfn_t mfn)
{
    struct domain *child = arg;
    struct domain_fork *f = child->fork;
    struct frame *frame = mfn_to_frame(mfn);
    unsigned offset;

    if ((f->flags & XENMEM_FORK_SKIP_SPECIAL_PAGES) != 0 ||
        frame == evtchn_shared_frame(f->source->events)) {
        return false;
    }
    for (unsigned i = 0; i < f->source->nr_vcpus; i++) {
        if (evtchn_info_page(f->source->vcpus[i], &offset) == frame) {
            f->vcpus[i].info_gfn = gfn;
        }
    }
    return true;
}

static int place_info(struct domain *d, unsigned i)
{
    struct fork_vcpu *fv = &d->fork->vcpus[i];
    unsigned offset;
    struct frame *f;
    int err;

    if (gfn_eq(fv->info_gfn, GFN_INVALID) ||
        evtchn_info_page(d->vcpus[i], &offset) != NULL) {
        return 0;
    }
    err = domain_pin_gfn(d, fv->info_gfn, &f);
    if (err == 0) {
        err = evtchn_place_info(d->vcpus[i], f, fv->info_offset);
        if (err != 0) {
            domain_unpin_frame(f);
        }
    }
    return err;
}

int fork_image_place(struct domain *d)
{
    struct domain_fork *f = d->fork;
    int err = 0;

    if ((f->flags & XENMEM_FORK_SKIP_SPECIAL_PAGES) != 0) {
        return 0;
    }
    evtchn_restore_page(d->events, f->events);
    if (!gfn_eq(f->shared_gfn, GFN_INVALID)) {
        err = domain_map_shared_info(d, f->shared_gfn);
    }
    for (unsigned i = 0; i < d->nr_vcpus && err == 0; i++) {
        err = place_info(d, i);
    }
    return err;
}

int fork_image_unplace(struct domain *d)
{
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        evtchn_unplace_info(d->vcpus[i]);
    }
    if (is_shared_page_mapped(d)) {
        return domain_remove_gfn(d, d->shared_gfn);
    }
    return 0;
}

/* Under the domain's lock, so that a kill does not take the vCPU's machine
 * part away meanwhile. */
static int apply_vcpu(struct domain *d, unsigned i)
{
    const struct fork_vcpu *fv = &d->fork->vcpus[i];
    struct vcpu *v = d->vcpus[i];
    int err = 0;

    v->irqs_blocked = (d->fork->flags & XENMEM_FORK_BLOCK_INTERRUPTS) != 0;
    if (fv->state != NULL) {
        err = arch_vcpu_set_state(v, fv->state);
    }
    v->initialised = fv->initialised;
    atomic_store(&v->online, fv->online);
    atomic_store(&v->blocked, fv->blocked);
    return err;
}

/* What was raised after a vCPU's state was taken, or is due by now, finds it
 * asleep; so does the end of a poll. All of it may wake a vCPU for nothing. */
static void wake_vcpus(struct domain *d)
{
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        struct vcpu *v = d->vcpus[i];

        if (atomic_load(&v->events->poll_port) != 0 || irq_is_pending(v)) {
            atomic_store(&v->blocked, false);
        }
    }
}

static void apply_domain(struct domain *d)
{
    const struct domain_fork *f = d->fork;

    memcpy(d->params, f->params, sizeof(d->params));
    memcpy(d->figure, f->figure, sizeof(d->figure));
    atomic_store(&d->phase, f->phase);
    atomic_store(&d->phase_allowed, f->phase_allowed);
    atomic_store(&d->verdict, 0);
    d->line_len = 0;
}

int fork_image_apply(struct domain *d, unsigned *item, struct work *w)
{
    int err = 0;

    while (*item < d->nr_vcpus && err == 0) {
        spin_lock(&d->lock);
        err = atomic_load(&d->state) == DOMAIN_DYING ? -ESRCH
                                                     : apply_vcpu(d, *item);
        spin_unlock(&d->lock);
        ++*item;
        if (err == 0 && work_spend(w, COST_VCPU)) {
            return -ERESTART;
        }
    }
    if (err == 0) {
        err = evtchn_restore(d->events, d->fork->events);
    }
    if (err == 0) {
        spin_lock(&d->lock);
        apply_domain(d);
        spin_unlock(&d->lock);
        wake_vcpus(d);
    }
    return err;
}
