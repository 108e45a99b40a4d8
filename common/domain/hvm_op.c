/*
 * hvm_op.c - HVM parameters and the vCPUs' own upcall vectors.
 *
 * Which parameters a guest may set for itself is Xen's list.
 */
#include <quire/arch.h>

#include "hypercall.h"

#define MIN_VECTOR 0x10

static bool may_set(uint32_t index)
{
    switch (index) {
    case HVM_PARAM_CALLBACK_IRQ:
    case HVM_PARAM_STORE_EVTCHN:
    case HVM_PARAM_CONSOLE_EVTCHN:
    case HVM_PARAM_VM86_TSS:
    case HVM_PARAM_VM86_TSS_SIZED:
    case HVM_PARAM_ACPI_IOPORTS_LOCATION:
        return true;
    default:
        return false;
    }
}

/* Vectors are the only way: there is no interrupt controller to have lines. */
static int set_callback(struct hypercall *h, uint64_t value)
{
    uint64_t type = value >> HVM_PARAM_CALLBACK_TYPE_SHIFT;
    uint8_t vector = (uint8_t)value;

    if (value != 0 &&
        (type != HVM_PARAM_CALLBACK_TYPE_VECTOR || vector < MIN_VECTOR)) {
        return -EINVAL;
    }
    evtchn_set_callback(h->d->events, vector, h->is_compat);
    return 0;
}

static int64_t param(struct hypercall *h, bool is_set)
{
    struct xen_hvm_param p;
    int err = 0;

    if (hypercall_get(h, h->arg[1], &p, sizeof(p)) != 0) {
        return -EFAULT;
    }
    if (!hypercall_is_self(h, p.domid)) {
        return -EPERM;
    }
    if (p.index >= HVM_NR_PARAMS) {
        return -EINVAL;
    }
    if (is_set) {
        if (!may_set(p.index)) {
            return -EPERM;
        }
        if (p.index == HVM_PARAM_CALLBACK_IRQ) {
            err = set_callback(h, p.value);
        }
        if (err != 0) {
            return err;
        }
    }
    spin_lock(&h->d->lock);
    if (is_set) {
        h->d->params[p.index] = p.value;
    } else {
        p.value = h->d->params[p.index];
    }
    spin_unlock(&h->d->lock);
    return is_set ? 0 : hypercall_put(h, h->arg[1], &p, sizeof(p));
}

static int64_t set_upcall_vector(struct hypercall *h)
{
    struct xen_hvm_evtchn_upcall_vector u;

    if (hypercall_get(h, h->arg[1], &u, sizeof(u)) != 0) {
        return -EFAULT;
    }
    if (u.vector < MIN_VECTOR) {
        return -EINVAL;
    }
    if (u.vcpu >= h->d->nr_vcpus) {
        return -ENOENT;
    }
    atomic_store(&h->d->vcpus[u.vcpu]->events->upcall_vector, u.vector);
    return 0;
}

static int64_t get_time(struct hypercall *h)
{
    struct xen_hvm_get_time t = { clock_ns(arch_now()) };

    return hypercall_put(h, h->arg[1], &t, sizeof(t));
}

int64_t hypercall_hvm_op(struct hypercall *h)
{
    switch (h->arg[0]) {
    case HVMOP_set_param:
        return param(h, true);
    case HVMOP_get_param:
        return param(h, false);
    case HVMOP_set_evtchn_upcall_vector:
        return set_upcall_vector(h);
    case HVMOP_get_time:
        return get_time(h);
    default:
        return -ENOSYS;
    }
}
