/*
 * npf.c - nested page faults: the p2m's handlers first; what they leave is a
 * hole or a device, and ends in the emulator, an injected fault, a crashed
 * domain, or a vCPU that waits for memory.
 */
#include <quire/arch.h>
#include <quire/domain.h>

#include "policy.h"

static void hole(struct vcpu *v, const struct vcpu_exit *e)
{
    const struct npf *f = &e->npf;

    if (f->in_walk) {
        domain_crash(v->domain, "page table in a hole, gpa %llx, rip %llx",
                     (unsigned long long)f->gpa,
                     (unsigned long long)v->regs.rip);
    } else if (f->access == P2M_X || e->in_delivery) {
        /* Or a stack that is no RAM: the instruction at RIP, which has
         * nothing to do with it, must not be emulated in its place. */
        arch_vcpu_inject_exception(v, VECTOR_GP, 0);
    } else {
        emulate(v);
    }
}

static slow_path void unresolved(struct vcpu *v, struct vcpu_exit *e,
                                 enum p2m_fault_result result)
{
    switch (result) {
    case P2M_FAULT_RETRY:
        break;
    case P2M_FAULT_MMIO:
        hole(v, e);
        break;
    case P2M_FAULT_DENIED:
        arch_vcpu_inject_exception(v, VECTOR_GP, 0);
        break;
    case P2M_FAULT_NOMEM:
        oom_park(v, gpa_to_gfn(e->npf.gpa));
        break;
    }
}

void exit_npf(struct vcpu *v, struct vcpu_exit *e)
{
    enum p2m_fault_result result = p2m_fault(v->p2m, &e->npf);

    if (likely(result == P2M_FAULT_RETRY)) {
        oom_settle(v);
    } else {
        unresolved(v, e, result);
    }
}
