/*
 * sharing_subop.c - the operations of XENMEM_sharing_op on pages: what Xen
 * asks of the arguments, the call into sharing, Xen's result.
 */
#include "domain_life.h"
#include "sharing_call.h"

/* Quire's errors are Xen's, but for these. */
static int64_t to_guest(int err)
{
    switch (err) {
    case -ENOEXEC:
        return XENMEM_SHARING_OP_S_HANDLE_INVALID;
    case -EBADF:
        return XENMEM_SHARING_OP_C_HANDLE_INVALID;
    case -EEXIST:
        return 0;               /* one page already: as wished */
    default:
        return err;
    }
}

static bool is_gref(uint64_t gfn)
{
    return (gfn & XENMEM_SHARING_OP_FIELD_IS_GREF_FLAG) != 0;
}

int sharing_client(struct vcpu *v, struct sharing_call *c, domid_t id)
{
    return c->cd != NULL ? 0 : sharing_op_target(v->domain, id, &c->cd);
}

int64_t sharing_nominate(struct vcpu *v, struct sharing_call *c,
                         struct xen_mem_sharing_op *op, struct work *w)
{
    gfn_t gfn = GFN(op->u.nominate.u.gfn);
    int err = p2m_prepare(c->d->p2m, gfn, 1, w);

    (void)v;
    return err != 0 ? err : share_nominate(c->d->p2m, gfn,
                                           &op->u.nominate.handle);
}

int64_t sharing_unshare(struct vcpu *v, struct sharing_call *c,
                        struct xen_mem_sharing_op *op, struct work *w)
{
    gfn_t gfn = GFN(op->u.nominate.u.gfn);
    int err = p2m_prepare(c->d->p2m, gfn, 1, w);

    (void)v;
    return err != 0 ? err : share_unshare(c->d->p2m, gfn);
}

int64_t sharing_share(struct vcpu *v, struct sharing_call *c,
                      struct xen_mem_sharing_op *op, struct work *w)
{
    int err = sharing_client(v, c, op->u.share.client_domain);

    if (err != 0) {
        return err;
    }
    if (is_gref(op->u.share.source_gfn) || is_gref(op->u.share.client_gfn)) {
        return -EOPNOTSUPP;
    }
    return to_guest(share_frames(c->d->p2m, GFN(op->u.share.source_gfn),
                                 op->u.share.source_handle, c->cd->p2m,
                                 GFN(op->u.share.client_gfn),
                                 op->u.share.client_handle, &c->merge, w));
}

int64_t sharing_add_physmap(struct vcpu *v, struct sharing_call *c,
                            struct xen_mem_sharing_op *op, struct work *w)
{
    int err = sharing_client(v, c, op->u.share.client_domain);

    (void)w;
    if (err != 0) {
        return err;
    }
    if (is_gref(op->u.share.source_gfn)) {
        return -EINVAL;         /* as in Xen: no grant at a gfn */
    }
    err = share_add_physmap(c->d->p2m, GFN(op->u.share.source_gfn),
                            op->u.share.source_handle, c->cd->p2m,
                            GFN(op->u.share.client_gfn));
    /* As in Xen: what is no hole has no handle that would do. */
    return err == -EBUSY ? XENMEM_SHARING_OP_C_HANDLE_INVALID : to_guest(err);
}

static int64_t count_of(const struct share_info *info)
{
    return (int64_t)MIN(info->sharers, (uint64_t)INT32_MAX);
}

int64_t sharing_debug_gfn(struct vcpu *v, struct sharing_call *c,
                          struct xen_mem_sharing_op *op, struct work *w)
{
    struct share_info info;
    int err = share_debug_gfn(c->d->p2m, GFN(op->u.debug.u.gfn), &info);

    (void)v, (void)w;
    return err != 0 ? err : count_of(&info);
}

int64_t sharing_debug_mfn(struct vcpu *v, struct sharing_call *c,
                          struct xen_mem_sharing_op *op, struct work *w)
{
    struct share_info info;
    int err = share_debug_mfn(MFN(op->u.debug.u.mfn), &info);

    (void)v, (void)c, (void)w;
    return err != 0 ? err : count_of(&info);
}

int64_t sharing_audit(struct vcpu *v, struct sharing_call *c,
                      struct xen_mem_sharing_op *op, struct work *w)
{
    int err = share_audit(&c->audit, w);

    (void)v, (void)op;
    return err != 0 ? err : (int64_t)c->audit.bad;
}

int64_t sharing_gref(struct vcpu *v, struct sharing_call *c,
                     struct xen_mem_sharing_op *op, struct work *w)
{
    (void)v, (void)c, (void)op, (void)w;
    return -EOPNOTSUPP;         /* there are no grant tables */
}


static bool is_paused(struct domain *d)
{
    unsigned pauses;

    spin_lock(&d->lock);
    pauses = d->pause_count;
    spin_unlock(&d->lock);
    return pauses != 0;
}

/* What Xen asks of a range. Both domains stand still, since contents are the
 * caller's promise. */
static int check_range(struct vcpu *v, struct sharing_call *c,
                       const struct xen_mem_sharing_op *op)
{
    uint64_t first = op->u.range.first_gfn, last = op->u.range.last_gfn;
    uint64_t at = op->u.range.opaque;
    int err;

    if ((op->u.range.pad[0] | op->u.range.pad[1] | op->u.range.pad[2]) != 0 ||
        first > last || (at != 0 && (at < first || at > last))) {
        return -EINVAL;
    }
    err = sharing_client(v, c, op->u.range.client_domain);
    if (err != 0) {
        return err;
    }
    if (!is_paused(c->d) || !is_paused(c->cd) ||
        last > (uint64_t)domain_highest_gfn(c->d) ||
        last > (uint64_t)domain_highest_gfn(c->cd)) {
        return -EINVAL;
    }
    c->range.first = GFN(at != 0 ? at : first);
    return 0;
}

int64_t sharing_range_share(struct vcpu *v, struct sharing_call *c,
                            struct xen_mem_sharing_op *op, struct work *w)
{
    int err = c->cd != NULL ? 0 : check_range(v, c, op);
    gfn_t first = c->range.first;

    if (err != 0) {
        return err;
    }
    /* What cannot be shared stays as it is, as in Xen. */
    err = share_range(c->d->p2m, first, c->cd->p2m, first,
                      op->u.range.last_gfn - first.n + 1, &c->range.cursor,
                      w);
    if (err != -ERESTART) {
        op->u.range.opaque = err == 0 ? 0 : first.n + c->range.cursor.done;
    }
    return err;
}
