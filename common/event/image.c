/*
 * image.c - a domain's events saved and given to another of its shape: what a
 * fork begins with.
 */
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/event_image.h>
#include <quire/heap.h>
#include <quire/panic.h>
#include <quire/string.h>

#include "evtchn.h"

struct timer_image { bool armed; ticks_t when; };

struct vcpu_image {
    uint8_t upcall_vector;
    int32_t poll_port;
    uint64_t period;
    evtchn_port_t virq[NR_VIRQS];
    struct timer_image oneshot, periodic, poll;
};

struct evtchn_image {
    bool is_compat;
    uint8_t callback_vector;
    uint8_t used[NR_GROUPS];
    struct evtchn *groups[NR_GROUPS];       /* NULL: nothing in use */
    void *page;                             /* of the shared page */
    unsigned nr_vcpus;
    struct vcpu_image vcpu[];
};

static struct timer_image save_timer(const struct timer *t)
{
    return (struct timer_image){ t->armed, t->when };
}

static void restore_timer(struct timer *t, struct timer_image image)
{
    timer_cancel(t);
    if (image.armed) {
        timer_set(t, image.when);
    }
}

static void save_vcpu(struct vcpu_image *to, const struct vcpu_events *ev)
{
    to->upcall_vector = atomic_load(&ev->upcall_vector);
    to->poll_port = atomic_load(&ev->poll_port);
    to->period = atomic_load(&ev->period);
    memcpy(to->virq, ev->virq, sizeof(to->virq));
    to->oneshot = save_timer(&ev->oneshot);
    to->periodic = save_timer(&ev->periodic);
    to->poll = save_timer(&ev->poll);
}

/* An interdomain port has lost its peer: the peer's names another. */
static void save_group(struct evtchn *to, const struct evtchn *from)
{
    for (unsigned i = 0; i < GROUP_PORTS; i++) {
        to[i] = from[i];
        if (to[i].state == EVTCHNSTAT_interdomain) {
            to[i].state = EVTCHNSTAT_unbound;
            to[i].remote = NULL;
            to[i].remote_port = 0;
        }
    }
}

static bool save_groups(struct evtchn_image *image, struct evtchn_domain *e)
{
    /* Allocated before the lock: which are in use may change until then, for
     * a port that another domain closes stays in use. */
    for (unsigned g = 0; g < NR_GROUPS; g++) {
        if (e->used[g] == 0) {
            continue;
        }
        image->groups[g] = heap_alloc(GROUP_PORTS * sizeof(struct evtchn));
        if (image->groups[g] == NULL) {
            return false;
        }
    }
    spin_lock(&e->lock);
    for (unsigned g = 0; g < NR_GROUPS; g++) {
        if (image->groups[g] != NULL) {
            save_group(image->groups[g], e->groups[g]);
            image->used[g] = e->used[g];
        }
    }
    image->is_compat = e->is_compat;
    image->callback_vector = atomic_load(&e->callback_vector);
    spin_unlock(&e->lock);
    return true;
}

struct evtchn_image *evtchn_save(struct evtchn_domain *e)
{
    struct evtchn_image *image = heap_zalloc(
        sizeof(*image) + e->nr_vcpus * sizeof(image->vcpu[0]));

    if (image == NULL) {
        return NULL;
    }
    image->page = heap_alloc(PAGE_SIZE);
    if (image->page == NULL || !save_groups(image, e)) {
        evtchn_image_free(image);
        return NULL;
    }
    memcpy(image->page, e->shared, PAGE_SIZE);
    image->nr_vcpus = e->nr_vcpus;
    for (unsigned i = 0; i < e->nr_vcpus; i++) {
        save_vcpu(&image->vcpu[i], e->vcpus[i]);
    }
    return image;
}

void evtchn_image_free(struct evtchn_image *image)
{
    if (image != NULL) {
        for (unsigned g = 0; g < NR_GROUPS; g++) {
            heap_free(image->groups[g]);
        }
        heap_free(image->page);
        heap_free(image);
    }
}

static void restore_vcpu(struct vcpu_events *ev, const struct vcpu_image *from)
{
    atomic_store(&ev->upcall_vector, from->upcall_vector);
    memcpy(ev->virq, from->virq, sizeof(ev->virq));
    atomic_store(&ev->period, from->period);
    restore_timer(&ev->oneshot, from->oneshot);
    restore_timer(&ev->periodic, from->periodic);
    atomic_store(&ev->poll_port, from->poll_port);
    restore_timer(&ev->poll, from->poll);
}

int evtchn_restore(struct evtchn_domain *e, const struct evtchn_image *image)
{
    BUG_ON(e->nr_vcpus != image->nr_vcpus);
    for (unsigned g = 0; g < NR_GROUPS; g++) {
        if (image->groups[g] == NULL || e->groups[g] != NULL) {
            continue;
        }
        e->groups[g] = heap_zalloc(GROUP_PORTS * sizeof(struct evtchn));
        if (e->groups[g] == NULL) {
            return -ENOMEM;
        }
    }
    spin_lock(&e->lock);
    for (unsigned g = 0; g < NR_GROUPS; g++) {
        if (image->groups[g] != NULL) {
            memcpy(e->groups[g], image->groups[g],
                   GROUP_PORTS * sizeof(struct evtchn));
        }
        e->used[g] = image->used[g];
    }
    e->is_compat = image->is_compat;
    atomic_store(&e->callback_vector, image->callback_vector);
    spin_unlock(&e->lock);
    for (unsigned i = 0; i < e->nr_vcpus; i++) {
        restore_vcpu(e->vcpus[i], &image->vcpu[i]);
    }
    return 0;
}

void evtchn_restore_page(struct evtchn_domain *e,
                         const struct evtchn_image *image)
{
    spin_lock(&e->lock);
    if (e->shared != NULL) {
        memcpy(e->shared, image->page, PAGE_SIZE);
    }
    spin_unlock(&e->lock);
}

struct frame *evtchn_info_page(struct vcpu *v, unsigned *offset)
{
    struct vcpu_events *ev = v->events;
    struct frame *f;

    spin_lock(&ev->domain->lock);
    f = ev->info_frame;
    *offset = (unsigned)((uintptr_t)atomic_load(&ev->info) & PAGE_MASK);
    spin_unlock(&ev->domain->lock);
    return f;
}

int evtchn_place_info(struct vcpu *v, struct frame *frame, unsigned offset)
{
    struct vcpu_events *ev = v->events;
    struct evtchn_domain *e = ev->domain;
    uint8_t *page = arch_map_frame(frame_to_mfn(frame));
    int err = 0;

    spin_lock(&e->lock);
    if (e->is_dead) {
        err = -ESRCH;
    } else if (ev->info_frame != NULL) {
        err = -EBUSY;
    } else {
        ev->info_frame = frame;
        atomic_store(&ev->info, (struct vcpu_info *)(void *)(page + offset));
    }
    spin_unlock(&e->lock);
    if (err != 0) {
        arch_unmap_frame(page);
    }
    return err;
}
