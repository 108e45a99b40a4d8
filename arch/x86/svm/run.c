/*
 * run.c - one stay in a guest: what is loaded before VMRUN, what is taken
 * back after #VMEXIT.
 *
 *     events - FPU, DR0-3 - leave the grace period, publish the p2m, get its
 *     generation (paging.c) - an ASID for it - VMRUN - unpublish - join again -
 *     FPU - events - dispatch
 *
 * FPU registers are saved at every exit, so that a paused vCPU's state is
 * whole in memory whichever CPU asks; they are loaded only when this CPU's
 * still hold another's, for the hypervisor itself uses none.
 */
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/grace.h>
#include <quire/string.h>

#include "svm.h"

/* What FXSAVE writes; the rest of the image is software's. */
#define FPU_SAVED_BYTES 416

static alignas(64) uint8_t fpu_now[MAX_CPUS][512];

/*
 * QEMU 7.2 emulates FXRSTOR on any CPU by a read-modify-write, not atomic, of
 * CPU 0's flags (cpu_clear_ignne()). One that falls into CPU 0's #VMEXIT
 * brings its nested-paging flag back, and the next host access ends the
 * machine. So nothing is loaded that is there already: guests that leave the
 * FPU alone cause none, and with others it stays rare.
 */
static void load_fpu(struct svm_cpu *cpu, const struct svm_vcpu *a)
{
    uint8_t *now = fpu_now[arch_cpu()];

    if (cpu->fpu_loaded == a->loaded_id) {
        return;
    }
    asm volatile("fxsave64 %0" : "=m"(*(uint8_t (*)[512])now));
    if (memcmp(now, a->fpu, FPU_SAVED_BYTES) != 0) {
        asm volatile("fxrstor64 %0" :: "m"(a->fpu));
    }
    cpu->fpu_loaded = a->loaded_id;
}

/* The guest's breakpoint addresses matter only while one is enabled: its
 * accesses to the registers themselves exit. */
static void load_debug(struct svm_cpu *cpu, const struct svm_vcpu *a)
{
    if ((a->vmcb->dr7 & DR7_ENABLES) == 0 ||
        cpu->dr_loaded == a->loaded_id) {
        return;
    }
    asm volatile("mov %0, %%dr0" :: "r"(a->dr[0]));
    asm volatile("mov %0, %%dr1" :: "r"(a->dr[1]));
    asm volatile("mov %0, %%dr2" :: "r"(a->dr[2]));
    asm volatile("mov %0, %%dr3" :: "r"(a->dr[3]));
    cpu->dr_loaded = a->loaded_id;
}

static void load_registers(struct vcpu *v, struct vmcb *c)
{
    /* Moved by an emulated instruction: its shadow is over. */
    if (c->rip != v->regs.rip) {
        c->shadow = 0;
    }
    c->rax = v->regs.rax;
    c->rsp = v->regs.rsp;
    c->rip = v->regs.rip;
    c->rflags = v->regs.rflags | RFLAGS_FIXED;
}

static void take_registers(struct vcpu *v, const struct vmcb *c)
{
    v->regs.rax = c->rax;
    v->regs.rsp = c->rsp;
    v->regs.rip = c->rip;
    v->regs.rflags = c->rflags;
}

/* Its shadow takes another slice, or lacks memory. */
static void not_entered(struct vcpu_exit *exit, int err)
{
    exit->at = exit->entered_at = arch_now();
    if (err != -ERESTART) {
        exit->reason = EXIT_STARVED;
    }
}

void arch_vcpu_run(struct vcpu *v, struct vcpu_exit *exit)
{
    struct svm_vcpu *a = svm_of(v);
    struct svm_cpu *cpu = &svm_cpus[arch_cpu()];
    struct vmcb *c = a->vmcb;
    uint64_t generation;
    int err;

    *exit = (struct vcpu_exit){ .reason = EXIT_NONE };
    if (a->is_dead) {
        exit->at = exit->entered_at = arch_now();
        exit->reason = EXIT_SHUTDOWN;
        return;
    }
    if (a->cpu != arch_cpu()) {
        a->cpu = arch_cpu();
        svm_renew(a);
    }
    load_registers(v, c);
    a->keeps_shadow = false;
    if (unlikely(svm_has_event(a))) {
        svm_event_enter(v);
    }
    load_fpu(cpu, a);
    load_debug(cpu, a);
    err = svm_paging_enter(v, &generation);
    if (unlikely(err != 0)) {
        not_entered(exit, err);
        return;
    }
    c->tlb_control = asid_assign(&v->asid, v->p2m, generation)
                   ? TLB_FLUSH_ALL : TLB_FLUSH_NONE;
    c->asid = v->asid.asid;
    exit->entered_at = arch_now();
    exit->at = svm_world_switch(a->vmcb_maddr, &v->regs, cpu->host_vmcb);
    p2m_guest_leave();
    grace_enter();

    asm volatile("fxsave64 %0" : "=m"(a->fpu));
    take_registers(v, c);
    svm_event_exit(v, exit);
    svm_exit_dispatch(v, exit);
}
