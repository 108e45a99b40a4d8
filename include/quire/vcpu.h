/*
 * vcpu.h - a virtual CPU as the world switch and the exit handlers see it.
 *
 * struct vcpu holds the general registers (live between runs), the pointer to
 * its p2m, and the arch part. struct vcpu_state is everything else that makes
 * up a CPU, in one serialisable record (create, fork, dumps, info).
 * Owner: its domain. Only the CPU that runs it, or whoever has paused it,
 * touches regs and state.
 */
#pragma once

#include <quire/list.h>
#include <quire/p2m.h>

struct vcpu_regs {              /* order: as the processor numbers them */
    uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags;
};

struct vcpu_segment { uint16_t sel, attr; uint32_t limit; uint64_t base; };

enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR,
       NR_SEGS };

struct vcpu_state {
    struct vcpu_regs regs;
    struct vcpu_segment seg[NR_SEGS];   /* attr: VMCB form, 12 bits */
    uint64_t gdt_base, idt_base;
    uint32_t gdt_limit, idt_limit;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, dr[4], dr6, dr7;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip, pat, tsc_offset;
    uint64_t tsc_aux;
    /* What was on its way into it, in arch's own form; 0: nothing. */
    uint64_t event_inject, event_again;
    bool in_shadow;             /* of the instruction before */
    alignas(16) uint8_t fpu[512];       /* FXSAVE image */
};

/* What a walk of the guest's own page tables depends on. */
struct guest_paging {
    uint64_t cr0, cr3, cr4, efer, rflags;
    unsigned cpl;
    unsigned phys_bits;         /* MAXPHYADDR it sees; 0: 48 */
    struct p2m *p2m;
};

enum vcpu_exit_reason {
    EXIT_NONE,          /* handled inside arch (a CR or MSR it owns) */
    EXIT_INTR,          /* host interrupt or kick */
    EXIT_NPF,
    EXIT_PF,            /* #PF of a guest on shadow paging */
    EXIT_STARVED,       /* no memory for its shadow's root: not entered */
    EXIT_HYPERCALL,     /* VMMCALL */
    EXIT_CPUID,
    EXIT_RDMSR, EXIT_WRMSR,
    EXIT_IO,
    EXIT_HLT,
    EXIT_PAUSE,
    EXIT_INTR_WINDOW,   /* an interrupt can be injected now */
    EXIT_SHUTDOWN,      /* triple fault */
    EXIT_INVALID,       /* VMRUN refused the state */
    EXIT_UNDEFINED,     /* instruction the guest may not use: #UD */
    NR_EXIT_REASONS
};

/* Exits of a guest on shadow paging whose cost is kept. */
enum exit_cost {
    EXIT_COST_NONE,
    EXIT_COST_HIDDEN,   /* a fault that the guest never sees */
    EXIT_COST_OWN,      /* a fault of its own, passed through */
    EXIT_COST_P2M,      /* one that the p2m decides: unsharing is one */
    EXIT_COST_CR3,
    EXIT_COST_INVLPG,
    NR_EXIT_COSTS
};

struct exit_ticks { uint64_t count, sum, min, max; };

struct vcpu_exit {
    enum vcpu_exit_reason reason;
    enum exit_cost cost;
    uint8_t insn_len;           /* bytes, where the instruction completes */
    bool in_delivery;           /* an event was being delivered: the fault is
                                 * not that of the instruction at RIP */
    ticks_t entered_at;         /* last thing before VMRUN */
    ticks_t at;                 /* first thing after #VMEXIT */
    union {
        struct npf npf;
        struct { gva_t address; uint32_t error; } pf;
        struct { uint32_t index; uint64_t value; } msr;
        struct {
            uint16_t port;
            uint8_t size;       /* bytes */
            bool is_in, is_string, is_rep;
        } io;
        uint64_t code;          /* raw exit code, INVALID and UNDEFINED */
    };
};

struct domain;
struct shadow;                  /* see shadow.h */
struct shadow_vcpu;
struct vcpu_sched;              /* see sched.h */
struct sharing_call;            /* common/domain/sharing_call.h */

enum oom_state {
    OOM_NONE,
    OOM_MACHINE,        /* in the machine's queue */
    OOM_LIMIT,          /* in its domain's queue */
    OOM_STALLED,        /* in none: paused by somebody else as well */
    OOM_PROMISED,       /* running, or about to; its write not done yet */
};

/* A vCPU's part in waiting for memory; see oom.h. */
struct oom_wait {
    struct list link;           /* [oom] */
    _Atomic int state;          /* (a) enum oom_state; [oom] to write */
    unsigned need;              /* [oom] frames promised; 0: its limit's room */
    ticks_t since;              /* [oom] when it first parked for this write */
    ticks_t until;              /* [oom] end of the promise; or not before */
    gfn_t gfn;                  /* its own CPU's; what it was to write */
    bool is_shadows;            /* or: its shadow's, which no limit bounds */
};

/*
 * A vCPU is runnable when none of the pause reasons holds and it is not
 * blocked; the scheduler's fields belong to sched.c, under the run queue's
 * lock.
 */
struct vcpu {
    struct vcpu_regs regs;
    struct domain *domain;      /* (c) */
    struct p2m *p2m;            /* (c) counted */
    uint16_t id;                /* (c) index within the domain */
    void *arch;                 /* arch's own */
    struct shadow *shadow;      /* (c) NULL: nested paging */
    struct shadow_vcpu *shadow_vcpu;    /* (c) its part, with a shadow */
    struct asid_slot asid;      /* of the CPU that ran it last */

    /* sched.c */
    struct list run_link;       /* [sched] */
    unsigned cpu;               /* [sched] whose run queue */
    _Atomic uint32_t pause_count;   /* (a) runnable only at 0 */
    _Atomic bool blocked;       /* (a) HLT, SCHEDOP_block, poll */
    _Atomic bool running;       /* (a) on a CPU now, exit handling included */
    ticks_t run_time;           /* ticks in the guest and its exits */

    struct vcpu_events *events; /* common/event: pending, masks, timer */
    _Atomic bool online;        /* (a) brought up by VCPUOP_up or at create */
    bool initialised;           /* [domain] has a state to run */
    bool irqs_blocked;          /* (c) a fork that gets no interrupts */
    struct oom_wait oom;        /* while it waits for memory */
    struct sharing_call *sharing;   /* its unfinished XENMEM_sharing_op */
    uint64_t nr_exits[NR_EXIT_REASONS];
    struct exit_ticks exit_ticks[NR_EXIT_COSTS];    /* #VMEXIT to VMRUN */
};
