/*
 * npf.c - nested page faults: the p2m's handlers first; what they leave is a
 * hole or a device, and ends in the emulator, an injected fault, or a parked
 * or crashed domain.
 */
#include <quire/arch.h>
#include <quire/domain.h>
#include <quire/errno.h>
#include <quire/log.h>
#include <quire/print.h>

#include "domain_life.h"
#include "policy.h"

static uint64_t unshares(const struct domain *d)
{
    const struct share_domain_stats *s = d->share_stats;

    return atomic_load_explicit(&s->copies, memory_order_relaxed) +
           atomic_load_explicit(&s->last_sharers, memory_order_relaxed);
}

/*
 * No memory to give the guest its own page. Nothing has changed, so the
 * domain is paused as by the toolstack, which may make room and unpause it:
 * the access is then made again. If it is paused already, by another vCPU's
 * fault or the toolstack itself, the end of that pause does.
 */
static void park(struct vcpu *v, const struct npf *f)
{
    struct domain *d = v->domain;

    log_error("d%u paused: no memory to unshare gfn %llx", d->id,
              (unsigned long long)gpa_to_gfn(f->gpa).n);
    spin_lock(&d->lock);
    if (atomic_load(&d->state) == DOMAIN_RUNNING && d->pause_count == 0) {
        print_to(d->crash_reason, sizeof(d->crash_reason),
                 "paused: no memory to unshare gfn %llx",
                 (unsigned long long)gpa_to_gfn(f->gpa).n);
        d->pause_count++;
        domain_pause_vcpus(d);
    }
    spin_unlock(&d->lock);
}

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

void exit_npf(struct vcpu *v, struct vcpu_exit *e)
{
    struct domain *d = v->domain;
    uint64_t before = unshares(d);

    switch (p2m_fault(v->p2m, &e->npf)) {
    case P2M_FAULT_RETRY:
        if ((e->npf.access & P2M_W) != 0 && unshares(d) != before) {
            sched_note_unshare(v);
        }
        break;
    case P2M_FAULT_MMIO:
        hole(v, e);
        break;
    case P2M_FAULT_DENIED:
        arch_vcpu_inject_exception(v, VECTOR_GP, 0);
        break;
    case P2M_FAULT_NOMEM:
        park(v, &e->npf);
        break;
    }
}
