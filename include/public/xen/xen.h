/*
 * xen.h - hypercall numbers, domain ids and the shared page of Xen's public
 * ABI, for 64-bit x86 guests.
 *
 * Numbers and layouts are Xen's (its public/xen.h is the authority); the words
 * are ours. A hypercall's number goes in RAX, its arguments in RDI, RSI, RDX,
 * R10, R8, the result comes back in RAX: a negative errno, or 0 and above.
 * Pointers inside structures are guest linear addresses, 8 bytes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef uint16_t domid_t;
typedef uint32_t evtchn_port_t;
typedef uint64_t xen_pfn_t;
typedef uint64_t xen_gva_t;         /* a guest handle: a linear address */

#define __HYPERVISOR_set_trap_table 0
#define __HYPERVISOR_mmu_update 1
#define __HYPERVISOR_set_gdt 2
#define __HYPERVISOR_stack_switch 3
#define __HYPERVISOR_set_callbacks 4
#define __HYPERVISOR_fpu_taskswitch 5
#define __HYPERVISOR_sched_op_compat 6
#define __HYPERVISOR_platform_op 7
#define __HYPERVISOR_set_debugreg 8
#define __HYPERVISOR_get_debugreg 9
#define __HYPERVISOR_update_descriptor 10
#define __HYPERVISOR_memory_op 12
#define __HYPERVISOR_multicall 13
#define __HYPERVISOR_update_va_mapping 14
#define __HYPERVISOR_set_timer_op 15
#define __HYPERVISOR_event_channel_op_compat 16
#define __HYPERVISOR_xen_version 17
#define __HYPERVISOR_console_io 18
#define __HYPERVISOR_physdev_op_compat 19
#define __HYPERVISOR_grant_table_op 20
#define __HYPERVISOR_vm_assist 21
#define __HYPERVISOR_update_va_mapping_otherdomain 22
#define __HYPERVISOR_iret 23
#define __HYPERVISOR_vcpu_op 24
#define __HYPERVISOR_set_segment_base 25
#define __HYPERVISOR_mmuext_op 26
#define __HYPERVISOR_xsm_op 27
#define __HYPERVISOR_nmi_op 28
#define __HYPERVISOR_sched_op 29
#define __HYPERVISOR_callback_op 30
#define __HYPERVISOR_xenoprof_op 31
#define __HYPERVISOR_event_channel_op 32
#define __HYPERVISOR_physdev_op 33
#define __HYPERVISOR_hvm_op 34
#define __HYPERVISOR_sysctl 35
#define __HYPERVISOR_domctl 36
#define __HYPERVISOR_kexec_op 37
#define __HYPERVISOR_tmem_op 38
#define __HYPERVISOR_argo_op 39
#define __HYPERVISOR_xenpmu_op 40
#define __HYPERVISOR_dm_op 41
#define __HYPERVISOR_hypfs_op 42
/* 48 .. 55 belong to the architecture: Quire's own is the first of them. */
#define __HYPERVISOR_arch_0 48
#define __HYPERVISOR_arch_7 55

/* The hypercall page has one stub of 32 bytes for each number. */
#define XEN_HYPERCALL_STUB_SIZE 32
#define XEN_HYPERCALL_PAGE_STUBS 128

#define DOMID_FIRST_RESERVED UINT16_C(0x7ff0)
#define DOMID_SELF UINT16_C(0x7ff0)
#define DOMID_IO UINT16_C(0x7ff1)
#define DOMID_XEN UINT16_C(0x7ff2)
#define DOMID_COW UINT16_C(0x7ff3)
#define DOMID_INVALID UINT16_C(0x7ff4)
#define DOMID_IDLE UINT16_C(0x7fff)

/* console_io(sub, bytes, buffer) */
#define CONSOLEIO_write 0
#define CONSOLEIO_read 1

#define VIRQ_TIMER 0                /* per vCPU, as are DEBUG and XENOPROF */
#define VIRQ_DEBUG 1
#define VIRQ_CONSOLE 2
#define VIRQ_DOM_EXC 3
#define VIRQ_TBUF 4
#define VIRQ_DEBUGGER 6
#define VIRQ_XENOPROF 7
#define VIRQ_CON_RING 8
#define VIRQ_PCPU_STATE 9
#define VIRQ_MEM_EVENT 10
#define VIRQ_ARGO 11
#define VIRQ_ENOMEM 12
#define VIRQ_XENPMU 13
#define VIRQ_ARCH_0 16
#define NR_VIRQS 24

#define XEN_LEGACY_MAX_VCPUS 32     /* those with a vcpu_info in the page */
#define EVTCHN_2L_NR_CHANNELS 4096

/*
 * The clock: version is odd while it is being written.
 * ns = system_time + (((tsc - tsc_timestamp) << shift) * mul >> 32);
 * a negative shift goes right.
 */
struct vcpu_time_info {
    uint32_t version;
    uint32_t pad0;
    uint64_t tsc_timestamp;
    uint64_t system_time;           /* ns since boot at tsc_timestamp */
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t pad1[2];
};
#define XEN_PVCLOCK_TSC_STABLE_BIT (1u << 0)
#define XEN_PVCLOCK_GUEST_STOPPED (1u << 1)
_Static_assert(sizeof(struct vcpu_time_info) == 32, "vcpu_time_info");

struct arch_vcpu_info {
    uint64_t cr2;
    uint64_t pad;
};

struct vcpu_info {
    uint8_t evtchn_upcall_pending;  /* some port wants this vCPU */
    uint8_t evtchn_upcall_mask;     /* PV only: HVM guests use IF */
    uint8_t pad0[6];
    uint64_t evtchn_pending_sel;    /* which words of evtchn_pending */
    struct arch_vcpu_info arch;
    struct vcpu_time_info time;
};
_Static_assert(sizeof(struct vcpu_info) == 64, "vcpu_info");
_Static_assert(offsetof(struct vcpu_info, evtchn_pending_sel) == 8, "sel");
_Static_assert(offsetof(struct vcpu_info, time) == 32, "time");

struct arch_shared_info {
    uint64_t max_pfn;
    xen_pfn_t pfn_to_mfn_frame_list_list;
    uint64_t nmi_reason;
    uint64_t p2m_cr3;
    uint64_t p2m_vaddr;
    uint64_t p2m_generation;
};
_Static_assert(sizeof(struct arch_shared_info) == 48, "arch_shared_info");

struct shared_info {
    struct vcpu_info vcpu_info[XEN_LEGACY_MAX_VCPUS];
    uint64_t evtchn_pending[64];
    uint64_t evtchn_mask[64];
    uint32_t wc_version;            /* odd while the wall clock changes */
    uint32_t wc_sec;                /* wall clock at system time 0 */
    uint32_t wc_nsec;
    uint32_t wc_sec_hi;
    struct arch_shared_info arch;
};
_Static_assert(offsetof(struct shared_info, evtchn_pending) == 2048, "pend");
_Static_assert(offsetof(struct shared_info, evtchn_mask) == 2560, "mask");
_Static_assert(offsetof(struct shared_info, wc_version) == 3072, "wc");
_Static_assert(offsetof(struct shared_info, arch) == 3088, "arch");
_Static_assert(sizeof(struct shared_info) == 3136, "shared_info");
