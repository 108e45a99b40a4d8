/*
 * start_info.h - what a PVH guest finds at EBX, Xen's public ABI version 1.
 *
 * Entry: 32-bit protected mode, no paging (CR0.PE and .ET only), flat CS, DS,
 * ES and SS, a TSS of limit 0x67, interrupts off, EBX = gpa of hvm_start_info.
 * All addresses are guest-physical; 0 means absent.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define XEN_HVM_START_MAGIC_VALUE UINT32_C(0x336ec578)
#define XEN_HVM_START_VERSION 1

#define SIF_PRIVILEGED (1u << 0)
#define SIF_INITDOMAIN (1u << 1)

struct hvm_start_info {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;                 /* SIF_* */
    uint32_t nr_modules;
    uint64_t modlist_paddr;         /* array of hvm_modlist_entry */
    uint64_t cmdline_paddr;         /* NUL-terminated */
    uint64_t rsdp_paddr;
    uint64_t memmap_paddr;          /* array of hvm_memmap_table_entry */
    uint32_t memmap_entries;
    uint32_t reserved;              /* 0 */
};
_Static_assert(sizeof(struct hvm_start_info) == 56, "start_info");
_Static_assert(offsetof(struct hvm_start_info, modlist_paddr) == 16, "mods");
_Static_assert(offsetof(struct hvm_start_info, memmap_paddr) == 40, "map");

struct hvm_modlist_entry {
    uint64_t paddr;
    uint64_t size;                  /* bytes */
    uint64_t cmdline_paddr;
    uint64_t reserved;              /* 0 */
};
_Static_assert(sizeof(struct hvm_modlist_entry) == 32, "modlist");

struct hvm_memmap_table_entry {
    uint64_t addr;
    uint64_t size;                  /* bytes */
    uint32_t type;                  /* XEN_HVM_MEMMAP_TYPE_* */
    uint32_t reserved;              /* 0 */
};
_Static_assert(sizeof(struct hvm_memmap_table_entry) == 24, "memmap");

#define XEN_HVM_MEMMAP_TYPE_RAM 1
#define XEN_HVM_MEMMAP_TYPE_RESERVED 2
#define XEN_HVM_MEMMAP_TYPE_ACPI 3
#define XEN_HVM_MEMMAP_TYPE_NVS 4
#define XEN_HVM_MEMMAP_TYPE_UNUSABLE 5
#define XEN_HVM_MEMMAP_TYPE_DISABLED 6
#define XEN_HVM_MEMMAP_TYPE_PMEM 7
