/*
 * sched_op.c - yield, block, poll and shutdown.
 */
#include <public/xen/sched.h>
#include <quire/arch.h>

#include "hypercall.h"

#define POLL_MAX_PORTS 128

struct compat_poll { uint32_t ports, nr_ports; uint64_t timeout; }
    __attribute__((packed));

static int get_poll(struct hypercall *h, struct sched_poll *p)
{
    struct compat_poll c;
    int err;

    if (!h->is_compat) {
        return hypercall_get(h, h->arg[1], p, sizeof(*p));
    }
    err = hypercall_get(h, h->arg[1], &c, sizeof(c));
    *p = (struct sched_poll){ .ports = c.ports, .nr_ports = c.nr_ports,
                              .timeout = c.timeout };
    return err;
}

static int64_t poll(struct hypercall *h)
{
    evtchn_port_t ports[POLL_MAX_PORTS];
    struct sched_poll p;
    int err;

    if (get_poll(h, &p) != 0) {
        return -EFAULT;
    }
    if (p.nr_ports > POLL_MAX_PORTS) {
        return -EINVAL;
    }
    if (hypercall_get(h, p.ports, ports, p.nr_ports * sizeof(ports[0])) !=
        0) {
        return -EFAULT;
    }
    err = evtchn_poll(h->v, ports, p.nr_ports, p.timeout);
    if (err < 0) {
        return err;
    }
    if (err == 0) {
        vcpu_block(h->v);
        /* A port or the timeout may have come before we were blocked. */
        if (atomic_load(&h->v->events->poll_port) == 0) {
            atomic_store(&h->v->blocked, false);
        }
    }
    return 0;
}

static int64_t shutdown(struct hypercall *h, bool is_now)
{
    struct sched_shutdown s;

    if (hypercall_get(h, h->arg[1], &s, sizeof(s)) != 0) {
        return -EFAULT;
    }
    if (s.reason > SHUTDOWN_watchdog) {
        return -EINVAL;
    }
    if (is_now) {
        domain_shutdown(h->d, (enum shutdown_code)s.reason);
    } else {
        /* What to report should the domain end by a triple fault. */
        spin_lock(&h->d->lock);
        h->d->params[HVM_PARAM_TRIPLE_FAULT_REASON] = s.reason;
        spin_unlock(&h->d->lock);
    }
    return 0;
}

/* As in Xen's ABI the call enables events; for an HVM guest that is RFLAGS.IF,
 * which is its own business. */
static int64_t block(struct hypercall *h)
{
    struct vcpu_info *info = atomic_load(&h->v->events->info);

    atomic_store(&h->v->blocked, true);
    if (__atomic_load_n(&info->evtchn_upcall_pending, __ATOMIC_SEQ_CST) !=
        0) {
        atomic_store(&h->v->blocked, false);
    }
    return 0;
}

int64_t hypercall_sched_op(struct hypercall *h)
{
    switch (h->arg[0]) {
    case SCHEDOP_yield:
        vcpu_yield(h->v);
        return 0;
    case SCHEDOP_block:
        return block(h);
    case SCHEDOP_shutdown:
        return shutdown(h, true);
    case SCHEDOP_shutdown_code:
        return shutdown(h, false);
    case SCHEDOP_poll:
        return poll(h);
    case SCHEDOP_remote_shutdown:
        return -EPERM;
    default:
        return -ENOSYS;
    }
}
