/* errors.c - what XENMEM_sharing_op refuses, and how (docs/guest-abi.md). */
#include "sharing.h"

#define BEYOND (UINT64_C(1) << 36)
#define BAD_GVA ((void *)(uintptr_t)UINT64_C(0xffff800012345000))

static void check_targets(void)
{
    uint64_t h;

    EXPECT(op_nominate(NO_DOMAIN, 0, &h), -ESRCH);
    EXPECT(op_nominate(DOMID_SELF, 0, &h), -ESRCH);
    EXPECT(op_nominate(DOMID_COW, 0, &h), -ESRCH);
    EXPECT(op_nominate(guest_domid(), 0, &h), -EPERM);
    EXPECT(op_share(source, 0, 1, NO_DOMAIN, 0, 1), -ESRCH);
    EXPECT(op_share(source, 0, 1, guest_domid(), 0, 1), -EPERM);
    EXPECT(op_add(NO_DOMAIN, 0, 1, client, 0), -ESRCH);
    EXPECT(op_range(source, NO_DOMAIN, 0, 1), -ESRCH);
    EXPECT(foreign_error(NO_DOMAIN, 0), -ESRCH);
    EXPECT(foreign_error(guest_domid(), 0), -EPERM);
    EXPECT(op_remove(NO_DOMAIN, 0), -ESRCH);
}

static void check_arguments(void)
{
    uint64_t gref = XENMEM_SHARING_OP_FIELD_IS_GREF_FLAG, h;
    struct xen_mem_sharing_op op = { .op = 11, .domain = source };

    EXPECT(op_call(&op), -ENOSYS);
    op.op = 255;
    EXPECT(op_call(&op), -ENOSYS);
    op.op = XENMEM_sharing_op_nominate_gref;
    EXPECT(op_call(&op), -EOPNOTSUPP);
    op.op = XENMEM_sharing_op_debug_gref;
    EXPECT(op_call(&op), -EOPNOTSUPP);
    op.op = XENMEM_sharing_op_debug_mfn;
    op.u.debug.u.mfn = UINT64_MAX;
    EXPECT(op_call(&op), -EINVAL);
    EXPECT(hc_memory_op(XENMEM_sharing_op, BAD_GVA), -EFAULT);
    EXPECT(hc_memory_op(XENMEM_add_to_physmap_batch, BAD_GVA), -EFAULT);
    EXPECT(op_share(source, 1 | gref, 1, client, 1, 1), -EOPNOTSUPP);
    EXPECT(op_add(source, 1 | gref, 1, client, 1), -EINVAL);
    EXPECT(op_nominate(source, BEYOND, &h), -ENOENT);
    EXPECT(op_nominate(source, UINT64_MAX, &h), -ENOENT);
    EXPECT(op_debug(source, BEYOND), -ENOENT);
    EXPECT(op_debug(source, 0), -EINVAL);
    EXPECT(op_unshare(source, BEYOND), -ENOENT);
    EXPECT(foreign_error(source, BEYOND), -EINVAL);
    EXPECT(op_range(source, client, 1, 0), -EINVAL);
    EXPECT(op_range(source, client, 0, BEYOND), -EINVAL);
}

static void check_handles(void)
{
    uint64_t sh, ch;

    EXPECT(op_nominate(source, 0, &sh), 0);
    EXPECT(op_nominate(client, 0, &ch), 0);
    EXPECT(op_share(source, 0, sh + 1000, client, 0, ch), S_INVALID);
    EXPECT(op_share(source, 1, sh, client, 0, ch), S_INVALID);
    EXPECT(op_share(source, 0, sh, client, 0, ch + 1000), C_INVALID);
    EXPECT(op_share(source, 0, sh, client, 1, ch), C_INVALID);
    EXPECT(op_add(source, 0, sh + 1000, client, BEYOND - 1), S_INVALID);
    EXPECT(op_add(source, 0, sh, client, 1), C_INVALID);
    EXPECT(op_add(source, 0, sh, client, BEYOND), -ERANGE);
    EXPECT(op_unshare(source, 0), 0);
    EXPECT(op_share(source, 0, sh, client, 0, ch), S_INVALID);
    EXPECT(op_unshare(client, 0), 0);
}

void check_errors(void)
{
    check_targets();
    check_arguments();
    check_handles();
}
