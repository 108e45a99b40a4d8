/*
 * sharing.h - memory_op(XENMEM_sharing_op, struct xen_mem_sharing_op *), the
 * numbers and layout of Xen's public ABI.
 */
#pragma once

#include <public/xen/xen.h>

#define XENMEM_sharing_op_nominate_gfn 0
#define XENMEM_sharing_op_nominate_gref 1
#define XENMEM_sharing_op_share 2
#define XENMEM_sharing_op_debug_gfn 3
#define XENMEM_sharing_op_debug_mfn 4
#define XENMEM_sharing_op_debug_gref 5
#define XENMEM_sharing_op_add_physmap 6
#define XENMEM_sharing_op_audit 7
#define XENMEM_sharing_op_range_share 8
#define XENMEM_sharing_op_fork 9
#define XENMEM_sharing_op_fork_reset 10
/* Quire's own, out of Xen's way: u.nominate.u.gfn becomes private again. */
#define XENMEM_sharing_op_quire_unshare 128

/* Results beside the errnos: which of the two handles was out of date. */
#define XENMEM_SHARING_OP_S_HANDLE_INVALID (-10)
#define XENMEM_SHARING_OP_C_HANDLE_INVALID (-9)

/* In the place of a gfn: this is a grant reference. */
#define XENMEM_SHARING_OP_FIELD_IS_GREF_FLAG (UINT64_C(1) << 62)

#define XENMEM_FORK_WITH_IOMMU_ALLOWED (1u << 0)
#define XENMEM_FORK_BLOCK_INTERRUPTS (1u << 1)
#define XENMEM_FORK_SKIP_SPECIAL_PAGES (1u << 2)
#define XENMEM_FORK_RESET_STATE (1u << 0)
#define XENMEM_FORK_RESET_MEMORY (1u << 1)

struct xen_mem_sharing_op {
    uint8_t op;                     /* XENMEM_sharing_op_* */
    uint8_t pad0;
    domid_t domain;                 /* the source, or the only one */
    uint32_t pad1;
    union {
        struct {
            union {
                uint64_t gfn;
                uint32_t grant_ref;
            } u;
            uint64_t handle;        /* OUT */
        } nominate;
        struct {                    /* share and add_physmap */
            uint64_t source_gfn;
            uint64_t source_handle;
            uint64_t client_gfn;
            uint64_t client_handle; /* share only */
            domid_t client_domain;
        } share;
        struct {
            uint64_t first_gfn;
            uint64_t last_gfn;      /* inclusive */
            uint64_t opaque;        /* 0 at first: the cursor */
            domid_t client_domain;
            uint16_t pad[3];        /* 0 */
        } range;
        struct {
            union {
                uint64_t gfn;
                uint64_t mfn;
                uint32_t gref;
            } u;
        } debug;
        struct {
            domid_t parent_domain;
            uint16_t flags;
            uint32_t pad;           /* 0 */
        } fork;
    } u;
};
_Static_assert(sizeof(struct xen_mem_sharing_op) == 48, "sharing_op");
_Static_assert(offsetof(struct xen_mem_sharing_op, u) == 8, "sharing_op.u");
_Static_assert(offsetof(struct xen_mem_sharing_op, u.share.client_domain)
               == 40, "client_domain");
