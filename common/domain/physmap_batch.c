/*
 * physmap_batch.c - XENMEM_add_to_physmap_batch: pages of another domain,
 * many in one call, each with its own error.
 *
 * Preemptible as in Xen: the number of the next page rides in the upper bits
 * of the sub-operation's register.
 */
#include <public/xen/memory.h>

#include "domain_life.h"
#include "sharing_op.h"

#define COST_CALL 1500      /* units: the structure, the target */
#define COST_MAP 9000       /* one page, unshared by a copy at worst */

struct compat_add_to_physmap_batch {
    uint16_t domid, space, size, foreign_domid;
    uint32_t idxs, gpfns, errs;
};

/* Element @i of a guest's array of longs. */
static int get_long(struct hypercall *h, gva_t array, uint64_t i, uint64_t *n)
{
    uint32_t narrow;
    int err;

    if (!h->is_compat) {
        return hypercall_get(h, array + i * sizeof(*n), n, sizeof(*n));
    }
    err = hypercall_get(h, array + i * sizeof(narrow), &narrow,
                        sizeof(narrow));
    *n = narrow;
    return err;
}

/* One page; its own error goes to the guest's array. */
static int map_one(struct hypercall *h, struct domain *target,
                   const struct xen_add_to_physmap_batch *a, uint64_t i)
{
    uint64_t idx, gpfn;
    int32_t own;

    if (get_long(h, a->idxs, i, &idx) != 0 ||
        get_long(h, a->gpfns, i, &gpfn) != 0) {
        return -EFAULT;
    }
    own = domain_map_foreign(h->d, GFN(gpfn), target, GFN(idx));
    return hypercall_put(h, a->errs + i * sizeof(own), &own, sizeof(own));
}

static int64_t map_all(struct hypercall *h, struct domain *target,
                       const struct xen_add_to_physmap_batch *a, uint64_t i,
                       struct work *w)
{
    while (i < a->size) {
        int err = map_one(h, target, a, i);

        if (err != 0) {
            if (h->is_starved) {    /* then it goes on with this one */
                hypercall_set_arg(h, 0, XENMEM_add_to_physmap_batch |
                                        i << XENMEM_CMD_BITS);
            }
            return err;
        }
        i++;
        if (work_spend(w, COST_MAP) && i < a->size) {
            hypercall_set_arg(h, 0, XENMEM_add_to_physmap_batch |
                                    i << XENMEM_CMD_BITS);
            return -ERESTART;
        }
    }
    return 0;
}

int64_t hypercall_physmap_batch(struct hypercall *h)
{
    uint64_t first = h->arg[0] >> XENMEM_CMD_BITS;
    struct xen_add_to_physmap_batch a;
    struct compat_add_to_physmap_batch c;
    struct domain *target;
    struct work w = { .left = WORK_SLICE_BULK - COST_CALL };
    int64_t result;

    if (h->is_compat) {
        result = hypercall_get(h, h->arg[1], &c, sizeof(c));
        a = (struct xen_add_to_physmap_batch){ c.domid, c.space, c.size,
            c.foreign_domid, c.idxs, c.gpfns, c.errs };
    } else {
        result = hypercall_get(h, h->arg[1], &a, sizeof(a));
    }
    if (result != 0) {
        return result;
    }
    if (!hypercall_is_self(h, a.domid) || !h->d->config.privileged) {
        return -EPERM;
    }
    if (a.space != XENMAPSPACE_gmfn_foreign) {
        return -ENOSYS;
    }
    if (first > a.size) {
        return -EILSEQ;
    }
    result = sharing_op_target(h->d, a.foreign_domid, &target);
    if (result == 0) {
        work_begin(&w);
        result = map_all(h, target, &a, first, &w);
        work_end();
        domain_put(target);
    }
    return result;
}
