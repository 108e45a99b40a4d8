/*
 * exit.c - every #VMEXIT goes through one table to its handler.
 *
 * The arch has decoded the exit into a struct vcpu_exit and handled what is
 * its own (EXIT_NONE). An exit that means that the guest cannot go on ends
 * that domain alone.
 */
#include <quire/arch.h>
#include <quire/domain.h>
#include <quire/log.h>
#include <quire/panic.h>

#include "policy.h"
#include "sharing_op.h"

static void nothing(struct vcpu *v, struct vcpu_exit *e)
{
    (void)v;
    (void)e;
}

void vcpu_go_down(struct vcpu *v)
{
    struct domain *d = v->domain;

    vcpu_set_online(v, false);
    sharing_stop(d);
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        if (atomic_load(&d->vcpus[i]->online)) {
            return;
        }
    }
    domain_shutdown(d, SHUTDOWN_POWEROFF);
}

/* HLT with interrupts off never ends, there being no NMI: as in Xen, the vCPU
 * is then down, and with the last of them the domain. */
static void exit_hlt(struct vcpu *v, struct vcpu_exit *e)
{
    bool can_wake = (v->regs.rflags & UINT64_C(0x200)) != 0;

    arch_vcpu_skip(v, e);
    if (can_wake) {
        vcpu_block(v);
    } else {
        vcpu_go_down(v);
    }
}

static void exit_pause(struct vcpu *v, struct vcpu_exit *e)
{
    arch_vcpu_skip(v, e);
    vcpu_yield(v);
}

static void exit_shutdown(struct vcpu *v, struct vcpu_exit *e)
{
    struct domain *d = v->domain;

    (void)e;
    log_warn("d%u v%u: triple fault at rip %llx", d->id, v->id,
             (unsigned long long)v->regs.rip);
    spin_lock(&d->lock);
    uint64_t code = d->params[HVM_PARAM_TRIPLE_FAULT_REASON];
    spin_unlock(&d->lock);
    domain_shutdown(d, (enum shutdown_code)code);
}

static void exit_invalid(struct vcpu *v, struct vcpu_exit *e)
{
    domain_crash(v->domain, "VMRUN refused vCPU %u's state (code %llx, rip "
                 "%llx)", v->id, (unsigned long long)e->code,
                 (unsigned long long)v->regs.rip);
}

static void exit_undefined(struct vcpu *v, struct vcpu_exit *e)
{
    (void)e;
    arch_vcpu_inject_exception(v, VECTOR_UD, 0);
}

static void (*const handlers[NR_EXIT_REASONS])(struct vcpu *v,
                                               struct vcpu_exit *e) = {
    [EXIT_NONE] = nothing,
    [EXIT_INTR] = nothing,
    [EXIT_NPF] = exit_npf,
    [EXIT_PF] = exit_pf,
    [EXIT_STARVED] = exit_starved,
    [EXIT_HYPERCALL] = exit_hypercall,
    [EXIT_CPUID] = exit_cpuid,
    [EXIT_RDMSR] = exit_rdmsr,
    [EXIT_WRMSR] = exit_wrmsr,
    [EXIT_IO] = exit_io,
    [EXIT_HLT] = exit_hlt,
    [EXIT_PAUSE] = exit_pause,
    [EXIT_INTR_WINDOW] = nothing,       /* irq_deliver() looks again */
    [EXIT_SHUTDOWN] = exit_shutdown,
    [EXIT_INVALID] = exit_invalid,
    [EXIT_UNDEFINED] = exit_undefined,
};

void vcpu_handle_exit(struct vcpu *v, struct vcpu_exit *e)
{
    BUG_ON(e->reason >= NR_EXIT_REASONS);
    handlers[e->reason](v, e);
}
