/*
 * svm.h - what the files of this folder share: the machine part of a vCPU,
 * the CPU's own SVM pages, and a few instructions.
 *
 * struct svm_vcpu hangs off vcpu->arch from arch_vcpu_init() to
 * arch_vcpu_fini(); its VMCB is one FRAME_PERCPU frame. Like the rest of the
 * vCPU it is touched by the CPU that runs it or by whoever has paused it.
 */
#pragma once

#include <quire/vcpu.h>

#include "../cpu_ops.h"
#include "vmcb.h"

#define CR0_PE (UINT64_C(1) << 0)
#define CR0_MP (UINT64_C(1) << 1)
#define CR0_EM (UINT64_C(1) << 2)
#define CR0_TS (UINT64_C(1) << 3)
#define CR0_ET (UINT64_C(1) << 4)
#define CR0_WP (UINT64_C(1) << 16)
#define CR0_NW (UINT64_C(1) << 29)
#define CR0_CD (UINT64_C(1) << 30)
#define CR0_PG (UINT64_C(1) << 31)
#define CR4_PAE (UINT64_C(1) << 5)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)
#define EFER_SCE (UINT64_C(1) << 0)
#define EFER_LME (UINT64_C(1) << 8)
#define EFER_LMA (UINT64_C(1) << 10)
#define EFER_NXE (UINT64_C(1) << 11)
#define EFER_SVME (UINT64_C(1) << 12)
#define RFLAGS_FIXED UINT64_C(2)
#define RFLAGS_TF (UINT64_C(1) << 8)
#define RFLAGS_IF (UINT64_C(1) << 9)
#define RFLAGS_RF (UINT64_C(1) << 16)
#define RFLAGS_VM (UINT64_C(1) << 17)
#define DR6_FIXED UINT64_C(0xffff0ff0)
#define DR6_BD (UINT64_C(1) << 13)
#define DR6_BS (UINT64_C(1) << 14)
#define DR7_FIXED UINT64_C(0x400)
#define DR7_ENABLES UINT64_C(0xff)
#define SEG_ATTR_L 0x200u
#define SEG_ATTR_DB 0x400u

#define MSR_EFER 0xc0000080u

#define SVM_NR_PLACES 4         /* a power of two */

/* place.c: a page of code, and the guest's entries on the way to it. */
struct svm_place {
    gva_t page;
    uint64_t cr0, cr3, cr4, efer;   /* under which; */
    uint64_t generation;            /* the p2m's */
    const uint8_t *bytes;           /* the page; 0: none yet */
    unsigned nr, size;              /* entries, and bytes of one */
    const void *at[4];
    uint64_t entry[4];
};

struct svm_vcpu {
    struct vmcb *vmcb;          /* (c) */
    maddr_t vmcb_maddr;         /* (c) */
    uint64_t loaded_id;         /* names this FPU and DR0-3 contents: a CPU
                                 * that holds them has the same number */
    unsigned cpu;               /* ran it last; elsewhere, a new loaded_id */
    uint64_t redeliver;         /* exit_int_info to inject again, or 0 */
    bool wants_window;          /* an interrupt waits to be injected */
    bool keeps_shadow;          /* entered in a shadow that must not end ... */
    uint64_t shadow_rip;        /* ... before the instruction here */
    bool must_load;             /* shadow_load() before it runs again */
    bool is_dead;               /* triple fault by our own injection */
    uint64_t cr0, cr3, cr4, efer;   /* the guest's own; paging.c */
    uint64_t pat, tsc_aux, dr[4];
    struct svm_place places[SVM_NR_PLACES];
    alignas(16) uint8_t fpu[512];
};

static inline struct svm_vcpu *svm_of(const struct vcpu *v)
{
    return v->arch;
}

/* What this processor offers; the same on every CPU. */
struct svm_features {
    unsigned nr_asids, phys_bits;
    bool has_pause_filter;
    uint64_t cr4_allowed;       /* bits a guest may set */
    uint32_t mxcsr_mask;
    maddr_t iopm, msrpm;
};
extern struct svm_features svm_features;

/* One CPU's own. */
struct svm_cpu {
    maddr_t host_vmcb;          /* the host's FS, GS, TR ... by VMSAVE */
    uint64_t fpu_loaded;        /* loaded_id in its FPU, 0: nobody's */
    uint64_t dr_loaded;         /* ... and in DR0-3 */
};
extern struct svm_cpu svm_cpus[MAX_CPUS];

/** svm_cpu_init() - turn SVM on on this CPU. -ENODEV or -ENOMEM, with the
 *  reason in the log. */
int must_check svm_cpu_init(void);

/** svm_renew() - @a's registers are in no CPU from here on. */
void svm_renew(struct svm_vcpu *a);

/* world.S: one VMRUN with all that must surround it; returns the TSC just
 * after the #VMEXIT. */
ticks_t svm_world_switch(maddr_t vmcb, struct vcpu_regs *regs,
                         maddr_t host_vmcb);

/* An exit handler fills what its reason needs; e->reason is EXIT_NONE. */
typedef void svm_exit_fn(struct vcpu *v, struct vcpu_exit *e);
void svm_exit_dispatch(struct vcpu *v, struct vcpu_exit *e);
svm_exit_fn svm_exit_cr_read, svm_exit_cr_write, svm_exit_dr, svm_exit_msr,
            svm_exit_invlpg;

/* cr.c */
bool svm_is_cr0_valid(uint64_t cr0);
bool svm_is_cr4_valid(uint64_t cr4);
bool svm_is_efer_valid(uint64_t efer);
bool svm_is_cr3_valid(uint64_t cr3, uint64_t efer);

/* paging.c */
/** svm_paging_init() - the VMCB's kind of paging, once. */
void svm_paging_init(struct vcpu *v);
/** svm_paging_changed() - into the VMCB, as they are now; @is_flush: what the
 *  guest's translations depend on has changed. */
void svm_paging_changed(struct vcpu *v, bool is_flush);
/**
 * svm_paging_enter() - leave the grace period, publish the p2m: from here on
 * the guest's tables are good until a kick. @generation: its p2m's. -ERESTART
 * or -ENOMEM (shadow paging): nothing done, the guest cannot be entered yet.
 */
int must_check svm_paging_enter(struct vcpu *v, uint64_t *generation);

/* event.c */
/** svm_event_exit() - after #VMEXIT: keep what was being delivered. */
void svm_event_exit(struct vcpu *v, struct vcpu_exit *e);
/** svm_event_enter() - before VMRUN: inject again, arm the window. */
void svm_event_enter(struct vcpu *v);
/** svm_has_event() - whether svm_event_enter() has anything to do. */
static inline bool svm_has_event(const struct svm_vcpu *a)
{
    return ((uint64_t)a->wants_window | a->redeliver |
            (a->vmcb->shadow & 1)) != 0;
}
/** svm_raise() - an exception that the guest brought upon itself; one on top
 *  of another becomes #DF, and that a shutdown. */
void svm_raise(struct vcpu *v, uint8_t vector, uint32_t error);
/** svm_inject_gp() - #GP(0). */
void svm_inject_gp(struct vcpu *v);

/* fetch.c */
/** svm_read_gva() - bytes at a linear address, as the guest itself would
 *  reach them; @access P2M_R or P2M_X. -EFAULT and others: not readable. */
int must_check svm_read_gva(struct vcpu *v, gva_t a, void *buf, unsigned n,
                            unsigned access);
struct insn;
/** svm_inject_fault() - what an access to [@a, @a + @n) that cannot be made
 *  gives the guest: #PF, or #GP if its tables allow it. */
void svm_inject_fault(struct vcpu *v, gva_t a, unsigned n, unsigned access);
/** svm_register() - what @i's ModRM.rm names. */
uint64_t *svm_register(struct vcpu *v, const struct insn *i);
/** svm_operand() - the linear address of @i's memory operand. */
gva_t svm_operand(struct vcpu *v, const struct insn *i);
/** svm_decode() - the instruction at RIP. */
int must_check svm_decode(struct vcpu *v, struct insn *i);
/** svm_decode_cr() - the same, but of MOV to or from a control register, which
 *  is found without the decoder, only map, opcode, modrm, rex, mode, has_lock
 *  and len. */
int must_check svm_decode_cr(struct vcpu *v, struct insn *i);

/* place.c */
/** svm_place_read() - sixteen bytes of code at @at, all in one page. False:
 *  not that simple. */
bool svm_place_read(struct vcpu *v, gva_t at, uint8_t bytes[16]);

/* msr.c */
/** svm_msrpm_allow() - let the guest reach its own MSRs, in @map (8 KiB). */
void svm_msrpm_allow(uint8_t *map);
bool svm_is_pat_valid(uint64_t pat);

static inline bool is_canonical(uint64_t a)
{
    return (uint64_t)((int64_t)(a << 16) >> 16) == a;
}
