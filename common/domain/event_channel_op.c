/*
 * event_channel_op.c - EVTCHNOP_*: arguments in, common/event, results out.
 *
 * A domain may only name itself, but for the other end of an interdomain
 * port. The structures have the same layout for 32- and 64-bit callers.
 */
#include "hypercall.h"

/* Its argument, whatever it is, and how much of it. */
union op {
    struct evtchn_alloc_unbound alloc_unbound;
    struct evtchn_bind_interdomain bind_interdomain;
    struct evtchn_bind_virq bind_virq;
    struct evtchn_bind_ipi bind_ipi;
    struct evtchn_bind_vcpu bind_vcpu;
    struct evtchn_close close;
    struct evtchn_send send;
    struct evtchn_unmask unmask;
    struct evtchn_status status;
    struct evtchn_reset reset;
};

static const uint8_t sizes[] = {
    [EVTCHNOP_bind_interdomain] = sizeof(struct evtchn_bind_interdomain),
    [EVTCHNOP_bind_virq] = sizeof(struct evtchn_bind_virq),
    [EVTCHNOP_close] = sizeof(struct evtchn_close),
    [EVTCHNOP_send] = sizeof(struct evtchn_send),
    [EVTCHNOP_status] = sizeof(struct evtchn_status),
    [EVTCHNOP_alloc_unbound] = sizeof(struct evtchn_alloc_unbound),
    [EVTCHNOP_bind_ipi] = sizeof(struct evtchn_bind_ipi),
    [EVTCHNOP_bind_vcpu] = sizeof(struct evtchn_bind_vcpu),
    [EVTCHNOP_unmask] = sizeof(struct evtchn_unmask),
    [EVTCHNOP_reset] = sizeof(struct evtchn_reset),
};

static int bind_interdomain(struct hypercall *h,
                            struct evtchn_bind_interdomain *b)
{
    struct domain *remote;
    int err;

    if (hypercall_is_self(h, b->remote_dom)) {
        return evtchn_bind_interdomain(h->d->events, h->d->events,
                                       b->remote_port, h->v->id,
                                       &b->local_port);
    }
    remote = domain_find(b->remote_dom);
    if (remote == NULL) {
        return -ESRCH;
    }
    err = evtchn_bind_interdomain(h->d->events, remote->events,
                                  b->remote_port, h->v->id, &b->local_port);
    domain_put(remote);
    return err;
}

static int alloc_unbound(struct hypercall *h, struct evtchn_alloc_unbound *a)
{
    domid_t remote = a->remote_dom == DOMID_SELF ? h->d->id : a->remote_dom;

    if (!hypercall_is_self(h, a->dom)) {
        return -EPERM;
    }
    return evtchn_alloc_unbound(h->d->events, remote, &a->port);
}

static int reset(struct hypercall *h, const struct evtchn_reset *r)
{
    struct work w = WORK_INIT;

    if (!hypercall_is_self(h, r->dom)) {
        return -EPERM;
    }
    return evtchn_reset(h->d->events, &w);
}

static int status(struct hypercall *h, struct evtchn_status *s)
{
    if (!hypercall_is_self(h, s->dom)) {
        return -EPERM;
    }
    return evtchn_status(h->d->events, s);
}

static int perform(struct hypercall *h, unsigned sub, union op *op)
{
    struct evtchn_domain *e = h->d->events;

    switch (sub) {
    case EVTCHNOP_bind_interdomain:
        return bind_interdomain(h, &op->bind_interdomain);
    case EVTCHNOP_bind_virq:
        return evtchn_bind_virq(e, op->bind_virq.virq, op->bind_virq.vcpu,
                                &op->bind_virq.port);
    case EVTCHNOP_close:
        return evtchn_close(e, op->close.port);
    case EVTCHNOP_send:
        return evtchn_send(e, op->send.port);
    case EVTCHNOP_status:
        return status(h, &op->status);
    case EVTCHNOP_alloc_unbound:
        return alloc_unbound(h, &op->alloc_unbound);
    case EVTCHNOP_bind_ipi:
        return evtchn_bind_ipi(e, op->bind_ipi.vcpu, &op->bind_ipi.port);
    case EVTCHNOP_bind_vcpu:
        return evtchn_bind_vcpu(e, op->bind_vcpu.port, op->bind_vcpu.vcpu);
    case EVTCHNOP_unmask:
        return evtchn_unmask(e, op->unmask.port);
    case EVTCHNOP_reset:
        return reset(h, &op->reset);
    default:
        return -ENOSYS;
    }
}

/* The port to give back if the result cannot be written; 0: none. */
static evtchn_port_t bound_port(unsigned sub, const union op *op)
{
    switch (sub) {
    case EVTCHNOP_bind_interdomain:
        return op->bind_interdomain.local_port;
    case EVTCHNOP_bind_virq:
        return op->bind_virq.port;
    case EVTCHNOP_alloc_unbound:
        return op->alloc_unbound.port;
    case EVTCHNOP_bind_ipi:
        return op->bind_ipi.port;
    default:
        return 0;
    }
}

int64_t hypercall_event_channel_op(struct hypercall *h)
{
    uint64_t sub = h->arg[0];
    union op op;
    evtchn_port_t port;
    int err;

    if (sub >= ARRAY_SIZE(sizes) || sizes[sub] == 0) {
        return -ENOSYS;
    }
    memset(&op, 0, sizeof(op));
    if (hypercall_get(h, h->arg[1], &op, sizes[sub]) != 0) {
        return -EFAULT;
    }
    err = perform(h, (unsigned)sub, &op);
    port = bound_port((unsigned)sub, &op);
    if (err != 0 || (port == 0 && sub != EVTCHNOP_status)) {
        return err;
    }
    err = hypercall_put(h, h->arg[1], &op, sizes[sub]);
    if (err != 0 && port != 0 && evtchn_close(h->d->events, port) != 0) {
        return err;     /* another vCPU has closed it already */
    }
    return err;
}
