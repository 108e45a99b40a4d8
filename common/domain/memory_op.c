/*
 * memory_op.c - what a guest asks about its memory, and the two changes it
 * may make to its own physical map: place the shared page, remove a page.
 */
#include <public/xen/memory.h>
#include <quire/owner.h>

#include "domain_life.h"
#include "hypercall.h"
#include "sharing_op.h"

struct compat_add_to_physmap { uint16_t domid, size; uint32_t space, idx,
                               gpfn; };
struct compat_remove_from_physmap { uint16_t domid, pad; uint32_t gpfn; };
struct compat_memory_map { uint32_t nr_entries, buffer; };

static int64_t add_to_physmap(struct hypercall *h)
{
    struct xen_add_to_physmap a;
    struct compat_add_to_physmap c;
    int err;

    if (h->is_compat) {
        err = hypercall_get(h, h->arg[1], &c, sizeof(c));
        a = (struct xen_add_to_physmap){ c.domid, c.size, c.space, c.idx,
                                         c.gpfn };
    } else {
        err = hypercall_get(h, h->arg[1], &a, sizeof(a));
    }
    if (err != 0) {
        return err;
    }
    if (!hypercall_is_self(h, a.domid)) {
        return -EPERM;
    }
    if (a.space != XENMAPSPACE_shared_info) {
        return -ENOSYS;
    }
    if (a.idx != 0) {
        return -EINVAL;
    }
    return domain_map_shared_info(h->d, GFN(a.gpfn));
}

/* A reference to the domain that @id names: oneself, or to the privileged any
 * other. */
static int named_domain(struct hypercall *h, domid_t id, struct domain **d)
{
    if (hypercall_is_self(h, id)) {
        domain_get(h->d);
        *d = h->d;
        return 0;
    }
    return h->d->config.privileged ? sharing_op_target(h->d, id, d) : -EPERM;
}

static int64_t remove_from_physmap(struct hypercall *h)
{
    struct xen_remove_from_physmap r;
    struct compat_remove_from_physmap c;
    struct domain *d;
    int err;

    if (h->is_compat) {
        err = hypercall_get(h, h->arg[1], &c, sizeof(c));
        r = (struct xen_remove_from_physmap){ .domid = c.domid,
                                              .gpfn = c.gpfn };
    } else {
        err = hypercall_get(h, h->arg[1], &r, sizeof(r));
    }
    if (err != 0) {
        return err;
    }
    err = named_domain(h, r.domid, &d);
    if (err == 0) {
        err = domain_remove_gfn(d, GFN(r.gpfn));
        domain_put(d);
    }
    return err;
}

static int put_map(struct hypercall *h, gva_t buffer, uint32_t nr)
{
    int err = 0;

    for (uint32_t i = 0; i < nr && err == 0; i++) {
        const struct domain_range *r = &h->d->config.ranges[i];
        struct xen_e820_entry e = { gfn_to_gpa(r->start),
                                    r->nr << PAGE_SHIFT, E820_RAM };

        err = hypercall_put(h, buffer + i * sizeof(e), &e, sizeof(e));
    }
    return err;
}

/* As in Xen: too small a buffer gets as many entries as it holds. */
static int64_t memory_map(struct hypercall *h)
{
    struct compat_memory_map c;
    struct xen_memory_map m;
    int err;

    if (h->is_compat) {
        err = hypercall_get(h, h->arg[1], &c, sizeof(c));
        m = (struct xen_memory_map){ .nr_entries = c.nr_entries,
                                     .buffer = c.buffer };
    } else {
        err = hypercall_get(h, h->arg[1], &m, sizeof(m));
    }
    if (err != 0) {
        return err;
    }
    m.nr_entries = MIN(m.nr_entries, h->d->config.nr_ranges);
    err = put_map(h, m.buffer, m.nr_entries);
    if (err != 0) {
        return err;
    }
    /* The count comes first in both layouts. */
    return hypercall_put(h, h->arg[1], &m.nr_entries, sizeof(m.nr_entries));
}

static int64_t reservation(const struct domain *d)
{
    return (int64_t)(atomic_load(&owner_get(d->id)->pages) +
                     atomic_load(&d->p2m->count[p2m_ram_shared]));
}

int64_t domain_highest_gfn(const struct domain *d)
{
    const struct domain_config *c = &d->config;

    if (c->nr_ranges == 0) {
        return 0;
    }
    return (int64_t)(c->ranges[c->nr_ranges - 1].start.n +
                     c->ranges[c->nr_ranges - 1].nr - 1);
}

/* The questions about one domain: the argument points at a domid_t. */
static int64_t about_domain(struct hypercall *h, unsigned sub)
{
    struct domain *d;
    int64_t result;
    domid_t id;

    if (hypercall_get(h, h->arg[1], &id, sizeof(id)) != 0) {
        return -EFAULT;
    }
    result = named_domain(h, id, &d);
    if (result != 0) {
        return result;
    }
    switch (sub) {
    case XENMEM_current_reservation:
        result = reservation(d);
        break;
    case XENMEM_maximum_reservation:
        result = (int64_t)atomic_load(&owner_get(d->id)->max_pages);
        break;
    default:
        result = domain_highest_gfn(d);
        break;
    }
    domain_put(d);
    return result;
}

static int64_t sharing_totals(unsigned sub)
{
    struct share_stats s;

    share_stats_get(&s);
    return (int64_t)(sub == XENMEM_get_sharing_freed_pages
                         ? s.saved_frames : s.shared_frames);
}

int64_t hypercall_memory_op(struct hypercall *h)
{
    unsigned sub = h->arg[0] & XENMEM_CMD_MASK;

    if (h->arg[0] != sub && sub != XENMEM_add_to_physmap_batch) {
        return -ENOSYS;     /* a cursor: no other is continued so */
    }
    switch (sub) {
    case XENMEM_add_to_physmap:
        return add_to_physmap(h);
    case XENMEM_remove_from_physmap:
        return remove_from_physmap(h);
    case XENMEM_memory_map:
        return memory_map(h);
    case XENMEM_current_reservation:
    case XENMEM_maximum_reservation:
    case XENMEM_maximum_gpfn:
        return about_domain(h, sub);
    case XENMEM_maximum_ram_page:
        return (int64_t)(frame_table_end - 1);
    case XENMEM_get_sharing_freed_pages:
    case XENMEM_get_sharing_shared_pages:
        return sharing_totals(sub);
    case XENMEM_add_to_physmap_batch:
        return hypercall_physmap_batch(h);
    case XENMEM_sharing_op:
        return sharing_op(h);
    default:
        return -ENOSYS;
    }
}
