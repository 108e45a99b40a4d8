/*
 * delivery.c - how an event becomes an interrupt: the bits in the shared page.
 *
 *     port's bit in evtchn_pending --(unless in evtchn_mask)--> the bit of
 *     its word in the vCPU's evtchn_pending_sel --> evtchn_upcall_pending
 *     --> irq source: the callback vector, as long as that byte is set
 *
 * All of it is guest memory, which the guest changes at the same time and in
 * any way it likes; so every step is an atomic read-modify-write and nothing
 * is believed. The layout for a 32-bit guest differs in two places, the mask's
 * offset and the selector's width.
 */
#include <quire/event.h>
#include <quire/panic.h>

#include "evtchn.h"

#define COMPAT_MASK_OFFSET (offsetof(struct shared_info, evtchn_pending) + 128)
#define COMPAT_SEL_OFFSET 4

static uint8_t *pending_byte(struct evtchn_domain *e, evtchn_port_t port)
{
    return (uint8_t *)e->shared->evtchn_pending + port / 8;
}

static uint8_t *mask_byte(struct evtchn_domain *e, evtchn_port_t port)
{
    if (e->is_compat) {
        return (uint8_t *)e->shared + COMPAT_MASK_OFFSET + port / 8;
    }
    return (uint8_t *)e->shared->evtchn_mask + port / 8;
}

static bool test_and_set(uint8_t *byte, unsigned bit)
{
    uint8_t m = (uint8_t)(1u << bit);

    return (__atomic_fetch_or(byte, m, __ATOMIC_SEQ_CST) & m) != 0;
}

static bool test_and_clear(uint8_t *byte, unsigned bit)
{
    uint8_t m = (uint8_t)(1u << bit);

    return (__atomic_fetch_and(byte, (uint8_t)~m, __ATOMIC_SEQ_CST) & m) != 0;
}

static bool test(const uint8_t *byte, unsigned bit)
{
    return (__atomic_load_n(byte, __ATOMIC_SEQ_CST) >> bit & 1) != 0;
}

struct evtchn *evtchn_port(struct evtchn_domain *e, evtchn_port_t port)
{
    unsigned limit = e->is_compat ? COMPAT_PORTS : EVTCHN_2L_NR_CHANNELS;

    if (port == 0 || port >= limit ||
        e->groups[port / GROUP_PORTS] == NULL) {
        return NULL;
    }
    return &e->groups[port / GROUP_PORTS][port % GROUP_PORTS];
}

bool evtchn_is_pending(struct evtchn_domain *e, evtchn_port_t port)
{
    return test(pending_byte(e, port), port % 8);
}

void evtchn_clear_pending(struct evtchn_domain *e, evtchn_port_t port)
{
    test_and_clear(pending_byte(e, port), port % 8);
}

bool evtchn_test_and_unmask(struct evtchn_domain *e, evtchn_port_t port)
{
    return test_and_clear(mask_byte(e, port), port % 8);
}

void evtchn_raise(struct evtchn_domain *e, struct vcpu_events *ev,
                  evtchn_port_t port)
{
    struct vcpu_info *info = atomic_load(&ev->info);
    unsigned word = port / (e->is_compat ? 32 : 64);
    size_t sel = e->is_compat ? COMPAT_SEL_OFFSET
                              : offsetof(struct vcpu_info, evtchn_pending_sel);

    if (test(mask_byte(e, port), port % 8) ||
        test_and_set((uint8_t *)info + sel + word / 8, word % 8)) {
        return;
    }
    if (__atomic_exchange_n(&info->evtchn_upcall_pending, 1,
                            __ATOMIC_SEQ_CST) == 0) {
        irq_notify(ev->vcpu);
    }
}

/* vCPUs in SCHEDOP_poll are woken by a masked port too. */
static void wake_pollers(struct evtchn_domain *e, evtchn_port_t port)
{
    for (unsigned i = 0; i < e->nr_vcpus; i++) {
        int32_t want = atomic_load(&e->vcpus[i]->poll_port);

        if (want == -1 || want == (int32_t)port) {
            atomic_store(&e->vcpus[i]->poll_port, 0);
            irq_notify(e->vcpus[i]->vcpu);
        }
    }
}

void evtchn_set_pending(struct evtchn_domain *e, evtchn_port_t port)
{
    struct evtchn *c = evtchn_port(e, port);

    ASSERT(is_lock_held(&e->lock));
    if (c == NULL || e->shared == NULL ||
        test_and_set(pending_byte(e, port), port % 8)) {
        return;
    }
    evtchn_raise(e, e->vcpus[c->vcpu], port);
    wake_pollers(e, port);
}

static int upcall_vector(struct vcpu *v)
{
    struct vcpu_events *ev = v->events;

    if (ev == NULL) {
        return -1;
    }
    struct vcpu_info *info = atomic_load(&ev->info);
    uint8_t vector = atomic_load(&ev->upcall_vector);

    if (vector == 0) {
        vector = atomic_load(&ev->domain->callback_vector);
    }
    if (vector == 0 || info == NULL ||
        __atomic_load_n(&info->evtchn_upcall_pending, __ATOMIC_SEQ_CST) == 0) {
        return -1;
    }
    return vector;
}

/* The line stays up until the guest clears evtchn_upcall_pending, as in Xen
 * for HVM guests; the mask beside it is for PV guests alone. */
static void upcall_taken(struct vcpu *v, uint8_t vector)
{
    (void)v;
    (void)vector;
}

static const struct irq_source upcall_source = {
    .pending = upcall_vector,
    .taken = upcall_taken,
};

void event_init(void)
{
    clock_init();
    timer_init_cpus();
    irq_source_register(&upcall_source);
}
