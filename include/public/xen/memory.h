/*
 * memory.h - memory_op(sub, arg) of Xen's public ABI, but for sharing, which
 * is in sharing.h.
 */
#pragma once

#include <public/xen/xen.h>

#define XENMEM_increase_reservation 0
#define XENMEM_decrease_reservation 1
#define XENMEM_maximum_ram_page 2           /* result: highest frame */
#define XENMEM_current_reservation 3        /* arg: domid_t; result: pages */
#define XENMEM_maximum_reservation 4        /* arg: domid_t; result: pages */
#define XENMEM_machphys_mfn_list 5
#define XENMEM_populate_physmap 6
#define XENMEM_add_to_physmap 7
#define XENMEM_memory_map 9
#define XENMEM_machine_memory_map 10
#define XENMEM_exchange 11
#define XENMEM_machphys_mapping 12
#define XENMEM_set_memory_map 13
#define XENMEM_maximum_gpfn 14              /* arg: domid_t; result: gfn */
#define XENMEM_remove_from_physmap 15
#define XENMEM_set_pod_target 16
#define XENMEM_get_pod_target 17
#define XENMEM_get_sharing_freed_pages 18   /* result: frames saved */
#define XENMEM_get_sharing_shared_pages 19  /* result: frames shared */
#define XENMEM_paging_op 20
#define XENMEM_access_op 21
#define XENMEM_sharing_op 22
#define XENMEM_add_to_physmap_batch 23
#define XENMEM_claim_pages 24
#define XENMEM_machphys_compat_mfn_list 25
#define XENMEM_get_vnumainfo 26
#define XENMEM_reserved_device_memory_map 27
#define XENMEM_acquire_resource 28

/* The sub-operation is in the low 6 bits, a continuation's cursor above. */
#define XENMEM_CMD_MASK 0x3f
#define XENMEM_CMD_BITS 6

struct xen_memory_reservation {
    xen_gva_t extent_start;         /* array of xen_pfn_t */
    uint64_t nr_extents;
    uint32_t extent_order;
    uint32_t mem_flags;
    domid_t domid;
    uint16_t pad[3];
};
_Static_assert(sizeof(struct xen_memory_reservation) == 32, "reservation");

#define XENMAPSPACE_shared_info 0
#define XENMAPSPACE_grant_table 1
#define XENMAPSPACE_gmfn 2
#define XENMAPSPACE_gmfn_range 3
#define XENMAPSPACE_gmfn_foreign 4
#define XENMAPSPACE_dev_mmio 5

struct xen_add_to_physmap {
    domid_t domid;
    uint16_t size;                  /* gmfn_range: how many */
    uint32_t space;                 /* XENMAPSPACE_* */
    uint64_t idx;                   /* which frame of the space */
    xen_pfn_t gpfn;                 /* where it shall appear */
};
_Static_assert(sizeof(struct xen_add_to_physmap) == 24, "add_to_physmap");

struct xen_add_to_physmap_batch {
    domid_t domid;                  /* whose map */
    uint16_t space;                 /* XENMAPSPACE_gmfn_foreign */
    uint16_t size;                  /* how many */
    domid_t foreign_domid;          /* whose pages */
    xen_gva_t idxs;                 /* array of 8 bytes: its gfns */
    xen_gva_t gpfns;                /* array of xen_pfn_t: where to */
    xen_gva_t errs;                 /* OUT: array of int32_t */
};
_Static_assert(sizeof(struct xen_add_to_physmap_batch) == 32, "batch");
_Static_assert(offsetof(struct xen_add_to_physmap_batch, idxs) == 8, "idxs");

struct xen_remove_from_physmap {
    domid_t domid;
    uint16_t pad[3];
    xen_pfn_t gpfn;
};
_Static_assert(sizeof(struct xen_remove_from_physmap) == 16, "remove");

struct xen_memory_map {
    uint32_t nr_entries;            /* IN: room; OUT: written */
    uint32_t pad;
    xen_gva_t buffer;               /* array of struct xen_e820_entry */
};
_Static_assert(sizeof(struct xen_memory_map) == 16, "memory_map");

struct xen_e820_entry {
    uint64_t addr;
    uint64_t size;
    uint32_t type;                  /* E820_* */
} __attribute__((packed));
_Static_assert(sizeof(struct xen_e820_entry) == 20, "e820");

#define E820_RAM 1
#define E820_RESERVED 2
#define E820_ACPI 3
#define E820_NVS 4
#define E820_UNUSABLE 5
