/*
 * event.h - what interrupts a vCPU: event channels (Xen's two-level ABI),
 * its timers, and the one interface by which interrupts reach it; and the
 * clock they all use.
 *
 * struct evtchn_domain is one domain's ports and its shared page; it lives
 * from the domain's creation until a grace period after its last reference,
 * so that another domain's port may point at it without a lock.
 * Locks: EVENT (key domid) for ports; two domains' as a pair. TIMER (key cpu)
 * for one CPU's timers. Nothing here blocks; all of it may be called from a
 * hypercall, a task or a timer.
 */
#pragma once

#include <public/xen/event_channel.h>
#include <quire/vcpu.h>

/* ---- the clock: nanoseconds of system time since arch_now() was 0 -------- */
void clock_init(void);
uint64_t clock_ns(ticks_t t);
/** clock_ticks() - the first tick at or after @ns; UINT64_MAX if too far. */
ticks_t clock_ticks(uint64_t ns);
/** clock_publish() - the same scale for a guest, once and for all. */
void clock_publish(struct vcpu_time_info *t);

/* ---- interrupt sources --------------------------------------------------- */
/* A source of interrupts for a vCPU; sources are asked in priority order just
 * before each entry. pending() returns a vector or -1; taken() is called once
 * that vector has been injected. */
struct irq_source {
    int (*pending)(struct vcpu *v);
    void (*taken)(struct vcpu *v, uint8_t vector);
};
void irq_source_register(const struct irq_source *s);
/** irq_set_notify() - what irq_notify() does: wake or kick (domain/sched). */
void irq_set_notify(void (*fn)(struct vcpu *v));
/** irq_notify() - a source has something for @v. */
void irq_notify(struct vcpu *v);
/** irq_deliver() - before VMRUN: inject or ask for a window. */
void irq_deliver(struct vcpu *v);
/** irq_is_pending() - something to deliver (wakes a blocked vCPU). */
bool irq_is_pending(struct vcpu *v);

/* ---- timers -------------------------------------------------------------- */
struct timer {
    struct timer *left, *right, *up;    /* [timer] leftist heap by when */
    uint32_t rank;              /* [timer] */
    bool armed;                 /* [timer] */
    unsigned cpu;               /* (c) */
    ticks_t when;               /* [timer] */
    void (*fn)(struct timer *t);    /* (c) on the timer's CPU, no lock held */
};
void timer_init(struct timer *t, unsigned cpu, void (*fn)(struct timer *));
void timer_set(struct timer *t, ticks_t when);      /* rearms */
/** timer_cancel() - not running anywhere afterwards; no lock may be held. */
void timer_cancel(struct timer *t);
/** timer_run_due() - this CPU's expired timers, a few at most; sets the next
 *  deadline. True if more are due. */
bool timer_run_due(void);
/** timer_set_slice() - this CPU's slice ends at @when; UINT64_MAX: never. */
void timer_set_slice(ticks_t when);

/* ---- event channels ------------------------------------------------------ */
struct evtchn_domain;

/* One vCPU's part; v->events. */
struct vcpu_events {
    struct vcpu *vcpu;                  /* (c) */
    struct evtchn_domain *domain;       /* (c) */
    struct vcpu_info *_Atomic info;     /* (a) [event] to write */
    struct frame *info_frame;           /* [event] pinned; NULL: shared page */
    _Atomic uint8_t upcall_vector;      /* (a) own one; 0: the domain's */
    evtchn_port_t virq[NR_VIRQS];       /* [event] port bound, or 0 */
    struct timer oneshot, periodic, poll;
    _Atomic uint64_t period;            /* (a) ticks; 0: off */
    _Atomic int32_t poll_port;          /* (a) 0: not polling; -1: any */
};

/** event_init() - sources, clock and timers; once at boot. */
void event_init(void);

/** evtchn_create() - with its shared page, charged to @id. NULL: no memory. */
struct evtchn_domain *evtchn_create(domid_t id);
/** evtchn_add_vcpu() - makes v->events; v->cpu is known by now. -ENOMEM. */
int must_check evtchn_add_vcpu(struct evtchn_domain *e, struct vcpu *v);
/** evtchn_relinquish() - close every port, stop every timer, drop every pin;
 *  nothing can be bound or sent afterwards. vCPUs are descheduled. Preemptible.
 */
int must_check evtchn_relinquish(struct evtchn_domain *e, struct work *w);
/** evtchn_release_page() - the shared page goes back; nobody looks at it. */
void evtchn_release_page(struct evtchn_domain *e);
/** evtchn_destroy() - frees @e and its vCPUs' parts; after a grace period. */
void evtchn_destroy(struct evtchn_domain *e);
/** evtchn_shared_frame() - the frame of the shared page. */
struct frame *evtchn_shared_frame(const struct evtchn_domain *e);
domid_t evtchn_domid(const struct evtchn_domain *e);

/*
 * The operations of EVTCHNOP_*. A port comes back through @port. -EINVAL: no
 * such port or vCPU, or not in that state; -ENOSPC: no port is free; -EEXIST:
 * that VIRQ is bound; -ENOMEM; -ESRCH: the domain is being destroyed.
 */
int must_check evtchn_alloc_unbound(struct evtchn_domain *e, domid_t remote,
                                    evtchn_port_t *port);
int must_check evtchn_bind_interdomain(struct evtchn_domain *e,
                                       struct evtchn_domain *remote,
                                       evtchn_port_t remote_port,
                                       unsigned vcpu, evtchn_port_t *port);
int must_check evtchn_bind_virq(struct evtchn_domain *e, unsigned virq,
                                unsigned vcpu, evtchn_port_t *port);
int must_check evtchn_bind_ipi(struct evtchn_domain *e, unsigned vcpu,
                               evtchn_port_t *port);
int must_check evtchn_bind_vcpu(struct evtchn_domain *e, evtchn_port_t port,
                                unsigned vcpu);
int must_check evtchn_close(struct evtchn_domain *e, evtchn_port_t port);
int must_check evtchn_send(struct evtchn_domain *e, evtchn_port_t port);
int must_check evtchn_unmask(struct evtchn_domain *e, evtchn_port_t port);
int must_check evtchn_status(struct evtchn_domain *e, struct evtchn_status *s);
/** evtchn_reset() - close all ports. Preemptible. */
int must_check evtchn_reset(struct evtchn_domain *e, struct work *w);
/** evtchn_raise_virq() - to @v's port of @virq, if it is bound. */
void evtchn_raise_virq(struct vcpu *v, unsigned virq);

/** evtchn_set_callback() - @vector for all vCPUs (0: none); @compat: the
 *  guest is 32-bit and sees that layout of the shared page. */
void evtchn_set_callback(struct evtchn_domain *e, uint8_t vector, bool compat);
/** evtchn_move_info() - @v's vcpu_info lives at @info from now on, in @frame,
 *  whose reference is taken over. -EBUSY: it moved before; -ESRCH. */
int must_check evtchn_move_info(struct vcpu *v, struct vcpu_info *info,
                                struct frame *frame);
/** evtchn_poll() - begin SCHEDOP_poll: 0: block now, a port of the list or
 *  @timeout (ns, 0: none) will wake @v; 1: no need to; -EINVAL: no such port.
 */
int must_check evtchn_poll(struct vcpu *v, const evtchn_port_t *ports,
                           unsigned nr, uint64_t timeout);
/** evtchn_poll_done() - @v runs again: no longer polling. */
void evtchn_poll_done(struct vcpu *v);
