/*
 * vcpu_events.c - a domain's and a vCPU's part in events: the shared page,
 * where each vcpu_info lives, the vCPU's timers and its SCHEDOP_poll.
 */
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/event_image.h>
#include <quire/heap.h>
#include <quire/page_alloc.h>
#include <quire/panic.h>
#include <quire/string.h>
#include <quire/work.h>

#include "evtchn.h"

struct evtchn_domain *evtchn_create(domid_t id)
{
    struct evtchn_domain *e = heap_zalloc(sizeof(*e));

    if (e == NULL) {
        return NULL;
    }
    e->page = page_alloc_owned(id, 0);
    if (e->page == NULL) {
        heap_free(e);
        return NULL;
    }
    /* The page is in use whether or not the guest has mapped it, so that it
     * can neither be shared nor freed from under us. */
    BUG_ON(frame_get(e->page, id) != 0);
    spin_lock_init(&e->lock, LOCK_RANK_EVENT, id);
    e->id = id;
    e->shared = arch_map_frame(frame_to_mfn(e->page));
    page_zero(e->shared);
    return e;
}

static void oneshot_fired(struct timer *t)
{
    struct vcpu_events *ev = container_of(t, struct vcpu_events, oneshot);

    evtchn_raise_virq(ev->vcpu, VIRQ_TIMER);
}

/* Missed periods are skipped, not made up for. */
static void periodic_fired(struct timer *t)
{
    struct vcpu_events *ev = container_of(t, struct vcpu_events, periodic);
    uint64_t period = atomic_load(&ev->period);
    ticks_t now = arch_now(), next = t->when + period;

    evtchn_raise_virq(ev->vcpu, VIRQ_TIMER);
    if (period != 0) {
        timer_set(t, next > now ? next : now + period);
    }
}

static void poll_timed_out(struct timer *t)
{
    struct vcpu_events *ev = container_of(t, struct vcpu_events, poll);

    if (atomic_exchange(&ev->poll_port, 0) != 0) {
        irq_notify(ev->vcpu);
    }
}

int evtchn_add_vcpu(struct evtchn_domain *e, struct vcpu *v)
{
    struct vcpu_events *ev = heap_zalloc(sizeof(*ev));

    BUG_ON(v->id >= EVENT_MAX_VCPUS);
    if (ev == NULL) {
        return -ENOMEM;
    }
    ev->vcpu = v;
    ev->domain = e;
    ev->info = &e->shared->vcpu_info[v->id];
    clock_publish(&ev->info->time);
    timer_init(&ev->oneshot, v->cpu, oneshot_fired);
    timer_init(&ev->periodic, v->cpu, periodic_fired);
    timer_init(&ev->poll, v->cpu, poll_timed_out);
    v->events = ev;
    spin_lock(&e->lock);
    e->vcpus[v->id] = ev;
    e->nr_vcpus = v->id + 1u;
    spin_unlock(&e->lock);
    return 0;
}

void evtchn_set_callback(struct evtchn_domain *e, uint8_t vector, bool compat)
{
    bool has_high = false;

    spin_lock(&e->lock);
    for (unsigned g = COMPAT_PORTS / GROUP_PORTS; g < NR_GROUPS; g++) {
        has_high |= e->used[g] != 0;
    }
    /* Ports that the small layout has no bit for must stay reachable. */
    if (!has_high) {
        e->is_compat = compat;
    }
    atomic_store(&e->callback_vector, vector);
    spin_unlock(&e->lock);
}

int evtchn_move_info(struct vcpu *v, struct vcpu_info *info,
                     struct frame *frame)
{
    struct vcpu_events *ev = v->events;
    struct evtchn_domain *e = ev->domain;
    int err = 0;

    spin_lock(&e->lock);
    if (e->is_dead) {
        err = -ESRCH;
    } else if (ev->info_frame != NULL) {
        err = -EBUSY;
    } else {
        *info = *atomic_load(&ev->info);
        ev->info_frame = frame;
        atomic_store(&ev->info, info);
        /* An event may have gone to the old place: have the guest look. */
        info->evtchn_pending_sel = UINT64_MAX;
        info->evtchn_upcall_pending = 1;
        irq_notify(v);
    }
    spin_unlock(&e->lock);
    return err;
}

int evtchn_poll(struct vcpu *v, const evtchn_port_t *ports, unsigned nr,
                uint64_t timeout)
{
    struct vcpu_events *ev = v->events;
    struct evtchn_domain *e = ev->domain;
    struct vcpu_info *info = atomic_load(&ev->info);
    int err = 0;

    timer_cancel(&ev->poll);
    /* From here on a sender sees that we poll; what was sent before, we see. */
    atomic_store(&ev->poll_port, nr == 1 ? (int32_t)ports[0] : -1);
    spin_lock(&e->lock);
    if (info->evtchn_upcall_pending != 0) {
        err = 1;
    }
    for (unsigned i = 0; i < nr && err == 0; i++) {
        if (evtchn_port(e, ports[i]) == NULL) {
            err = -EINVAL;
        } else if (evtchn_is_pending(e, ports[i])) {
            err = 1;
        }
    }
    spin_unlock(&e->lock);
    if (err != 0) {
        atomic_store(&ev->poll_port, 0);
    } else if (timeout != 0) {
        timer_set(&ev->poll, clock_ticks(timeout));
    }
    return err;
}

void evtchn_poll_done(struct vcpu *v)
{
    atomic_store(&v->events->poll_port, 0);
    timer_cancel(&v->events->poll);
}

static void vcpu_stop(struct vcpu_events *ev)
{
    atomic_store(&ev->period, 0);
    timer_cancel(&ev->oneshot);
    timer_cancel(&ev->periodic);
    timer_cancel(&ev->poll);
}

void evtchn_unplace_info(struct vcpu *v)
{
    struct vcpu_events *ev = v->events;
    struct evtchn_domain *e = ev->domain;
    struct frame *pinned;

    spin_lock(&e->lock);
    pinned = ev->info_frame;
    ev->info_frame = NULL;
    if (pinned != NULL) {
        atomic_store(&ev->info, &e->shared->vcpu_info[ev->vcpu->id]);
    }
    spin_unlock(&e->lock);
    if (pinned != NULL) {
        frame_put_type(pinned);
        frame_put(pinned);
    }
}

int evtchn_relinquish(struct evtchn_domain *e, struct work *w)
{
    spin_lock(&e->lock);
    e->is_dead = true;
    spin_unlock(&e->lock);
    int err = evtchn_reset(e, w);

    if (err != 0) {
        return err;
    }
    for (unsigned i = 0; i < e->nr_vcpus; i++) {
        if (e->vcpus[i] != NULL) {
            vcpu_stop(e->vcpus[i]);
            evtchn_unplace_info(e->vcpus[i]->vcpu);
        }
    }
    return 0;
}

void evtchn_release_page(struct evtchn_domain *e)
{
    spin_lock(&e->lock);
    struct frame *page = e->page;

    for (unsigned i = 0; i < e->nr_vcpus; i++) {
        if (e->vcpus[i] != NULL) {
            atomic_store(&e->vcpus[i]->info, NULL);
        }
    }
    e->page = NULL;
    e->shared = NULL;
    spin_unlock(&e->lock);
    if (page != NULL) {
        arch_unmap_frame(arch_map_frame(frame_to_mfn(page)));
        frame_put(page);
        frame_put_allocated(page);
    }
}

void evtchn_destroy(struct evtchn_domain *e)
{
    BUG_ON(e->page != NULL);
    for (unsigned i = 0; i < EVENT_MAX_VCPUS; i++) {
        heap_free(e->vcpus[i]);
    }
    for (unsigned g = 0; g < NR_GROUPS; g++) {
        heap_free(e->groups[g]);
    }
    heap_free(e);
}

struct frame *evtchn_shared_frame(const struct evtchn_domain *e)
{
    return e->page;
}

domid_t evtchn_domid(const struct evtchn_domain *e)
{
    return e->id;
}
