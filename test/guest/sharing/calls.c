/* calls.c - XENMEM_sharing_op and foreign mappings, an operation a function.
 */
#include "sharing.h"

/* Foreign pages appear here, in a hole of this domain. */
#define WINDOW_GFN UINT64_C(0x10000)

int64_t op_call(struct xen_mem_sharing_op *op)
{
    return hc_memory_op(XENMEM_sharing_op, op);
}

static struct xen_mem_sharing_op op_on(unsigned nr, domid_t d)
{
    struct xen_mem_sharing_op op;

    memset(&op, 0, sizeof(op));
    op.op = (uint8_t)nr;
    op.domain = d;
    return op;
}

int64_t op_nominate(domid_t d, uint64_t gfn, uint64_t *handle)
{
    struct xen_mem_sharing_op op =
        op_on(XENMEM_sharing_op_nominate_gfn, d);
    int64_t rc;

    op.u.nominate.u.gfn = gfn;
    rc = op_call(&op);
    *handle = op.u.nominate.handle;
    return rc;
}

static int64_t op_pair(unsigned nr, domid_t sd, uint64_t sgfn, uint64_t sh,
                       domid_t cd, uint64_t cgfn, uint64_t ch)
{
    struct xen_mem_sharing_op op = op_on(nr, sd);

    op.u.share.source_gfn = sgfn;
    op.u.share.source_handle = sh;
    op.u.share.client_gfn = cgfn;
    op.u.share.client_handle = ch;
    op.u.share.client_domain = cd;
    return op_call(&op);
}

int64_t op_share(domid_t sd, uint64_t sgfn, uint64_t sh, domid_t cd,
                 uint64_t cgfn, uint64_t ch)
{
    return op_pair(XENMEM_sharing_op_share, sd, sgfn, sh, cd, cgfn, ch);
}

int64_t op_add(domid_t sd, uint64_t sgfn, uint64_t sh, domid_t cd,
               uint64_t cgfn)
{
    return op_pair(XENMEM_sharing_op_add_physmap, sd, sgfn, sh, cd, cgfn, 0);
}

int64_t op_range(domid_t sd, domid_t cd, uint64_t first, uint64_t last)
{
    struct xen_mem_sharing_op op = op_on(XENMEM_sharing_op_range_share, sd);

    op.u.range.first_gfn = first;
    op.u.range.last_gfn = last;
    op.u.range.client_domain = cd;
    return op_call(&op);
}

static int64_t op_gfn(unsigned nr, domid_t d, uint64_t gfn)
{
    struct xen_mem_sharing_op op = op_on(nr, d);

    op.u.debug.u.gfn = gfn;
    return op_call(&op);
}

int64_t op_debug(domid_t d, uint64_t gfn)
{
    return op_gfn(XENMEM_sharing_op_debug_gfn, d, gfn);
}

int64_t op_unshare(domid_t d, uint64_t gfn)
{
    return op_gfn(XENMEM_sharing_op_quire_unshare, d, gfn);
}

int64_t op_audit(void)
{
    return op_gfn(XENMEM_sharing_op_audit, DOMID_INVALID, 0);
}

int64_t op_fork(domid_t parent, unsigned flags, domid_t *child)
{
    struct xen_mem_sharing_op op = op_on(XENMEM_sharing_op_fork,
                                         DOMID_INVALID);
    int64_t rc;

    op.u.fork.parent_domain = parent;
    op.u.fork.flags = (uint16_t)flags;
    rc = op_call(&op);
    *child = op.domain;
    return rc;
}

int64_t op_fork_reset(domid_t child, unsigned flags)
{
    struct xen_mem_sharing_op op = op_on(XENMEM_sharing_op_fork_reset,
                                         child);

    op.u.fork.flags = (uint16_t)flags;
    return op_call(&op);
}

int64_t op_remove(domid_t d, uint64_t gfn)
{
    struct xen_remove_from_physmap r = { .domid = d, .gpfn = gfn };

    return hc_memory_op(XENMEM_remove_from_physmap, &r);
}

static int64_t map_batch(domid_t d, uint64_t gfn, unsigned nr, int32_t *errs)
{
    static uint64_t idxs[FOREIGN_MAX], gpfns[FOREIGN_MAX];
    struct xen_add_to_physmap_batch b = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn_foreign,
        .size = (uint16_t)nr, .foreign_domid = d, .idxs = GVA(idxs),
        .gpfns = GVA(gpfns), .errs = GVA(errs) };

    for (unsigned i = 0; i < nr; i++) {
        idxs[i] = gfn + i;
        gpfns[i] = WINDOW_GFN + i;
    }
    return hc_memory_op(XENMEM_add_to_physmap_batch, &b);
}

void *foreign_map(domid_t d, uint64_t gfn, unsigned nr)
{
    static int32_t errs[FOREIGN_MAX];

    memory_map(WINDOW_GFN << PAGE_SHIFT, FOREIGN_MAX << PAGE_SHIFT);
    EXPECT(map_batch(d, gfn, nr, errs), 0);
    for (unsigned i = 0; i < nr; i++) {
        CHECK(errs[i] == 0, "foreign d%u gfn %lx: %d", d, gfn + i, errs[i]);
    }
    return gfn_ptr(WINDOW_GFN);
}

void foreign_unmap(unsigned nr)
{
    for (unsigned i = 0; i < nr; i++) {
        EXPECT(op_remove(DOMID_SELF, WINDOW_GFN + i), 0);
    }
}

int64_t foreign_error(domid_t d, uint64_t gfn)
{
    static int32_t own;
    int64_t rc;

    own = 77;
    rc = map_batch(d, gfn, 1, &own);
    return rc != 0 ? rc : own;
}
