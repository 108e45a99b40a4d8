/*
 * sharing_op.c - XENMEM_sharing_op: which operation, on whose memory, what
 * its result is to the guest; and how a long one goes on.
 *
 *     VMMCALL --> sharing_op() --> sharing_op_run() --> 0 or more, error
 *        ^                             |      ^
 *        |   -ERESTART: others run     v      | the same structure again
 *        +------------------------ vcpu->sharing: domains, cursor
 */
#include "sharing_op.h"

#include <quire/heap.h>

#include "sharing_call.h"

#define COST_CALL 4500          /* units: exit, copies of @op, its cursor */

int sharing_op_target(const struct domain *caller, domid_t id,
                      struct domain **d)
{
    struct domain *t;

    if (id == caller->id) {
        return -EPERM;
    }
    t = domain_find(id);
    if (t == NULL) {
        return -ESRCH;
    }
    if (atomic_load(&t->state) >= DOMAIN_DYING) {
        domain_put(t);
        return -EINVAL;
    }
    *d = t;
    return 0;
}

static const struct {
    sharing_fn *run;
    bool has_domain;            /* op.domain is there and not the caller */
} ops[] = {
    [XENMEM_sharing_op_nominate_gfn] = { sharing_nominate, true },
    [XENMEM_sharing_op_nominate_gref] = { sharing_gref, true },
    [XENMEM_sharing_op_share] = { sharing_share, true },
    [XENMEM_sharing_op_debug_gfn] = { sharing_debug_gfn, true },
    [XENMEM_sharing_op_debug_mfn] = { sharing_debug_mfn, false },
    [XENMEM_sharing_op_debug_gref] = { sharing_gref, true },
    [XENMEM_sharing_op_add_physmap] = { sharing_add_physmap, true },
    [XENMEM_sharing_op_audit] = { sharing_audit, false },
    [XENMEM_sharing_op_range_share] = { sharing_range_share, true },
    [XENMEM_sharing_op_fork] = { sharing_fork, false },
    [XENMEM_sharing_op_fork_reset] = { sharing_fork_reset, true },
    [XENMEM_sharing_op_quire_unshare] = { sharing_unshare, true },
};

static void finish(struct vcpu *v, struct sharing_call *c)
{
    if (c->is_pausing) {
        atomic_fetch_sub(&v->domain->nr_pausing, 1);
    }
    if (c->d != NULL) {
        domain_put(c->d);
    }
    if (c->cd != NULL) {
        domain_put(c->cd);
    }
    v->sharing = NULL;
    heap_free(c);
}

int sharing_op_abort(struct vcpu *v, struct work *w)
{
    struct sharing_call *c = v->sharing;

    if (c == NULL) {
        return 0;
    }
    switch (c->op.op) {
    case XENMEM_sharing_op_share:
        share_merge_abort(&c->merge);
        break;
    case XENMEM_sharing_op_range_share:
        share_range_abort(&c->range.cursor);
        break;
    case XENMEM_sharing_op_audit:
        share_audit_abort(&c->audit);
        break;
    case XENMEM_sharing_op_fork:
        if (sharing_undo_fork(c, w) != 0) {
            return -ERESTART;
        }
        break;
    case XENMEM_sharing_op_fork_reset:
        if (sharing_finish_reset(c, w) != 0) {
            return -ERESTART;
        }
        break;
    default:
        break;
    }
    finish(v, c);
    return 0;
}

/* A new operation; its structure is the cursor's beginning. */
static int64_t begin(struct vcpu *v, const struct xen_mem_sharing_op *op)
{
    struct sharing_call *c;
    int err = 0;

    if (op->op >= ARRAY_SIZE(ops) || ops[op->op].run == NULL) {
        return -ENOSYS;
    }
    c = heap_zalloc(sizeof(*c));
    if (c == NULL) {
        return -ENOMEM;
    }
    c->op = *op;
    if (ops[op->op].has_domain) {
        err = sharing_op_target(v->domain, op->domain, &c->d);
    }
    v->sharing = c;
    if (err != 0) {
        finish(v, c);
    }
    return err;
}

int64_t sharing_op_run(struct vcpu *v, struct xen_mem_sharing_op *op,
                       struct work *w)
{
    struct sharing_call *c = v->sharing;
    int64_t result = 0;

    if (c != NULL && memcmp(&c->op, op, sizeof(*op)) != 0) {
        result = sharing_op_abort(v, w);
    }
    if (result == 0 && v->sharing == NULL) {
        result = begin(v, op);
    }
    if (result != 0) {
        return result;
    }
    c = v->sharing;
    result = ops[op->op].run(v, c, op, w);
    if (result != -ERESTART) {
        finish(v, c);
    }
    return result;
}

static bool has_output(const struct xen_mem_sharing_op *op)
{
    return op->op == XENMEM_sharing_op_nominate_gfn ||
           op->op == XENMEM_sharing_op_range_share ||
           op->op == XENMEM_sharing_op_fork;
}

int64_t sharing_op(struct hypercall *h)
{
    struct work w = { .left = WORK_SLICE_BULK - COST_CALL };
    struct xen_mem_sharing_op op;
    int64_t result;

    if (!h->d->config.privileged) {
        return -EPERM;
    }
    /* One layout for 32-bit callers too, as in Xen. */
    if (hypercall_get(h, h->arg[1], &op, sizeof(op)) != 0) {
        /* What it was in the middle of must not stop others for ever. */
        result = sharing_op_abort(h->v, &w);
        return result != 0 ? result : -EFAULT;
    }
    /* A place for the results before there are any. If that is gone when a long
     * one ends, it may be done again: what is shared stays so, and a child is
     * destroyed. */
    if (has_output(&op) && h->v->sharing == NULL &&
        hypercall_prepare(h, h->arg[1], sizeof(op)) != 0) {
        return -EFAULT;
    }
    work_begin(&w);
    result = sharing_op_run(h->v, &op, &w);
    work_end();
    /* On success, and a range also tells where it stopped. */
    if (has_output(&op) && result != -ERESTART &&
        (result == 0 || op.op == XENMEM_sharing_op_range_share) &&
        hypercall_put(h, h->arg[1], &op, sizeof(op)) != 0) {
        result = -EFAULT;
    }
    if (op.op == XENMEM_sharing_op_fork &&
        (result == 0 || result == -EFAULT)) {
        return sharing_start_child(op.domain, result == 0);
    }
    return result;
}
