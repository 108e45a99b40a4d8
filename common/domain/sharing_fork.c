/*
 * sharing_fork.c - fork and fork_reset of XENMEM_sharing_op: they stop other
 * domains' vCPUs, and what they make must not be left over.
 */
#include <quire/log.h>

#include "sharing_call.h"

/*
 * A fork stops its parent's vCPUs for as long as it takes, a reset its
 * child's. Two domains that did so to each other would wait for ever, so who
 * is about to stop others may not be stopped: each says so first and looks
 * at its target then, so that of a ring at least one sees the next.
 */
static int begin_pausing(struct vcpu *v, struct sharing_call *c,
                         const struct domain *target)
{
    if (!c->is_pausing) {
        c->is_pausing = true;
        atomic_fetch_add(&v->domain->nr_pausing, 1);
        if (atomic_load(&target->nr_pausing) != 0) {
            return -EBUSY;
        }
        return -ERESTART;       /* what follows has a slice of its own */
    }
    return 0;
}

/* Xen's toolstack builds the child first; here the fork does. @op->domain is
 * the id it shall have, DOMID_INVALID for any, and then the id it has. */
int64_t sharing_fork(struct vcpu *v, struct sharing_call *c,
                     struct xen_mem_sharing_op *op, struct work *w)
{
    int err;

    if (op->u.fork.pad != 0) {
        return -EINVAL;
    }
    err = sharing_client(v, c, op->u.fork.parent_domain);
    if (err == 0) {
        err = begin_pausing(v, c, c->cd);
    }
    if (err != 0) {
        return err;
    }
    c->fork.config.id = op->domain;
    c->fork.config.flags = op->u.fork.flags;
    err = domain_fork(c->cd, &c->fork.config, &c->fork.child, NULL, w);
    if (err == 0) {
        op->domain = c->fork.child->id;
    }
    return err;
}

int64_t sharing_fork_reset(struct vcpu *v, struct sharing_call *c,
                           struct xen_mem_sharing_op *op, struct work *w)
{
    unsigned what = op->u.fork.flags;
    struct fork_info info;
    int err;

    if (op->u.fork.pad != 0 || what == 0 ||
        (what & ~(XENMEM_FORK_RESET_STATE | XENMEM_FORK_RESET_MEMORY)) != 0) {
        return -EINVAL;
    }
    if (domain_fork_info(c->d, &info) != 0) {
        return -ENOSYS;         /* as in Xen: not a fork */
    }
    err = begin_pausing(v, c, c->d);
    if (err != 0) {
        return err;
    }
    c->has_begun = true;
    return domain_fork_reset(c->d, what, w);
}

/* Half-way, its vCPUs would stand still until somebody resets it again. */
int sharing_finish_reset(struct sharing_call *c, struct work *w)
{
    int err = 0;

    if (c->has_begun) {
        err = domain_fork_reset(c->d, c->op.u.fork.flags, w);
    }
    return err == -ERESTART ? err : 0;
}

/* Nobody has heard of the child yet: it must not be left over. In creation it
 * sees that it is unwanted, and undoes itself. */
int sharing_undo_fork(struct sharing_call *c, struct work *w)
{
    int err = 0;

    if (c->fork.child != NULL) {
        atomic_store(&c->fork.child->kill_wanted, true);
        err = domain_fork(c->cd, &c->fork.config, &c->fork.child, NULL, w);
    }
    if (err == 0 && c->fork.child != NULL) {
        domain_kill_async(c->fork.child);
    }
    return err == -ERESTART ? err : 0;
}

/* The child runs once its parent's toolstack knows its id. */
int64_t sharing_start_child(domid_t id, bool is_told)
{
    struct domain *child = domain_find(id);

    if (child == NULL) {
        return is_told ? -ESRCH : -EFAULT;
    }
    if (!is_told) {
        domain_kill_async(child);
    } else if (domain_unpause(child) != 0) {
        log_debug("d%u: unpaused or killed by somebody else", id);
    }
    domain_put(child);
    return is_told ? 0 : -EFAULT;
}
