/*
 * hypercall.h - one call, as its family sees it.
 *
 * A handler returns the guest's result: 0 and above, or a negative errno.
 * A handler whose results could not be written for lack of memory has undone
 * what it did, or does no harm when it does it again: so will it, once there
 * is memory (is_starved).
 * -ERESTART runs the same call again after other work (the guest stays on its
 * VMMCALL); a handler that has made progress writes it to the argument
 * registers first, as Xen does (hypercall_set_arg).
 */
#pragma once

#include <quire/domain.h>
#include <quire/errno.h>
#include <quire/string.h>

struct hypercall {
    struct vcpu *v;
    struct domain *d;
    uint64_t arg[5];
    bool is_starved;            /* no memory for its results: v->oom.gfn */
    bool is_compat;             /* a 32-bit caller: 4-byte longs, pointers */
};

typedef int64_t hypercall_fn(struct hypercall *h);

/** hypercall_physmap_batch() - memory_op's XENMEM_add_to_physmap_batch, its
 *  cursor in arg[0]. */
hypercall_fn hypercall_physmap_batch;

hypercall_fn hypercall_console_io, hypercall_memory_op, hypercall_sched_op,
    hypercall_vcpu_op, hypercall_event_channel_op, hypercall_hvm_op,
    hypercall_xen_version, hypercall_quire_op;

/** hypercall_get(), hypercall_put() - guest memory by linear address; any
 *  failure is -EFAULT. */
static inline int must_check hypercall_get(struct hypercall *h, gva_t a,
                                           void *buf, size_t len)
{
    return guest_read_gva(h->v, a, buf, len) == 0 ? 0 : -EFAULT;
}
static inline int must_check hypercall_put(struct hypercall *h, gva_t a,
                                           const void *buf, size_t len)
{
    int err = guest_write_gva(h->v, a, buf, len);

    h->is_starved |= err == -ENOMEM;
    return err == 0 ? 0 : -EFAULT;
}
/** hypercall_prepare() - before what cannot be done twice: a hypercall_put()
 *  that follows at once needs no memory. */
static inline int must_check hypercall_prepare(struct hypercall *h, gva_t a,
                                               size_t len)
{
    int err = guest_prepare_gva(h->v, a, len);

    h->is_starved |= err == -ENOMEM;
    return err == 0 ? 0 : -EFAULT;
}
void hypercall_set_arg(struct hypercall *h, unsigned i, uint64_t value);

/** hypercall_is_self() - whether @id names the caller's own domain. */
static inline bool hypercall_is_self(const struct hypercall *h, domid_t id)
{
    return id == DOMID_SELF || id == h->d->id;
}
