/*
 * vcpu.h - vcpu_op(sub, vcpu id, arg) of Xen's public ABI, with the register
 * context that VCPUOP_initialise takes in an HVM or PVH guest.
 */
#pragma once

#include <public/xen/xen.h>

#define VCPUOP_initialise 0
#define VCPUOP_up 1
#define VCPUOP_down 2
#define VCPUOP_is_up 3
#define VCPUOP_get_runstate_info 4
#define VCPUOP_register_runstate_memory_area 5
#define VCPUOP_set_periodic_timer 6
#define VCPUOP_stop_periodic_timer 7
#define VCPUOP_set_singleshot_timer 8
#define VCPUOP_stop_singleshot_timer 9
#define VCPUOP_register_vcpu_info 10
#define VCPUOP_send_nmi 11
#define VCPUOP_get_physid 12
#define VCPUOP_register_vcpu_time_memory_area 13

#define RUNSTATE_running 0
#define RUNSTATE_runnable 1
#define RUNSTATE_blocked 2
#define RUNSTATE_offline 3

struct vcpu_runstate_info {
    int32_t state;
    uint32_t pad;
    uint64_t state_entry_time;      /* ns */
    uint64_t time[4];               /* ns in each state */
};
_Static_assert(sizeof(struct vcpu_runstate_info) == 48, "runstate");

struct vcpu_set_periodic_timer {
    uint64_t period_ns;
};

struct vcpu_set_singleshot_timer {
    uint64_t timeout_abs_ns;        /* system time */
    uint32_t flags;
    uint32_t pad;
};
/* -ETIME if the time has passed already, instead of an event at once. */
#define VCPU_SSHOTTMR_future (1u << 0)
_Static_assert(sizeof(struct vcpu_set_singleshot_timer) == 16, "singleshot");

/* A second and last home for this vCPU's struct vcpu_info, inside one page. */
struct vcpu_register_vcpu_info {
    uint64_t mfn;                   /* a gfn, in a translated guest */
    uint32_t offset;                /* bytes */
    uint32_t rsvd;                  /* 0 */
};
_Static_assert(sizeof(struct vcpu_register_vcpu_info) == 16, "register");

struct vcpu_hvm_x86_32 {
    uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi, eip, eflags;
    uint32_t cr0, cr3, cr4;
    uint32_t pad1;
    uint64_t efer;                  /* without LMA */
    uint32_t cs_base, ds_base, ss_base, es_base, tr_base;
    uint32_t cs_limit, ds_limit, ss_limit, es_limit, tr_limit;
    uint16_t cs_ar, ds_ar, ss_ar, es_ar, tr_ar;
    uint16_t pad2[3];
};
_Static_assert(sizeof(struct vcpu_hvm_x86_32) == 120, "x86_32");

/* Segments are flat, long mode is on: only these can be chosen. */
struct vcpu_hvm_x86_64 {
    uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, rip, rflags;
    uint64_t cr0, cr3, cr4, efer;
};
_Static_assert(sizeof(struct vcpu_hvm_x86_64) == 112, "x86_64");

#define VCPU_HVM_MODE_32B 0
#define VCPU_HVM_MODE_64B 1

struct vcpu_hvm_context {
    uint32_t mode;                  /* VCPU_HVM_MODE_* */
    uint32_t pad;                   /* 0 */
    union {
        struct vcpu_hvm_x86_32 x86_32;
        struct vcpu_hvm_x86_64 x86_64;
    } cpu_regs;
};
_Static_assert(sizeof(struct vcpu_hvm_context) == 128, "hvm_context");
