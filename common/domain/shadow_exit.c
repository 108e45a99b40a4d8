/*
 * shadow_exit.c - the page faults of a guest on shadow paging: hidden ones
 * that the shadow resolves, its own, those that the p2m decides, and the
 * memory that the shadow lacks.
 */
#include <quire/arch.h>
#include <quire/domain.h>
#include <quire/errno.h>
#include <quire/shadow.h>

#include "policy.h"

/* As a nested fault; first, the chain that a change of the gfn would walk
 * must be short. */
static void as_npf(struct vcpu *v, struct vcpu_exit *e, const struct npf *f)
{
    struct work w = WORK_INIT;

    if (f->access == P2M_W &&
        shadow_prepare_change(v->shadow, gpa_to_gfn(f->gpa), &w) != 0) {
        return;         /* it happens again, the chain shorter */
    }
    e->reason = EXIT_NPF;
    e->npf = *f;
    exit_npf(v, e);
}

/* What no entry of a page table could allow. Within a delivery, the
 * instruction at RIP has nothing to do with it. */
static void by_software(struct vcpu *v, const struct vcpu_exit *e)
{
    if (e->in_delivery) {
        arch_vcpu_inject_exception(v, VECTOR_GP, 0);
    } else {
        emulate(v);
    }
}

static void park(struct vcpu *v, const struct guest_paging *pg)
{
    oom_park_shadow(v, GFN(pg->cr3 >> PAGE_SHIFT));
}

void exit_pf(struct vcpu *v, struct vcpu_exit *e)
{
    gva_t address = e->pf.address;
    struct guest_paging pg;
    uint32_t error;
    struct npf f;

    arch_vcpu_paging(v, &pg);
    switch (shadow_fault(v->shadow, v->shadow_vcpu, &pg, address,
                         e->pf.error, &f, &error)) {
    case SHADOW_RETRY:
        e->cost = EXIT_COST_HIDDEN;
        oom_settle(v);
        break;
    case SHADOW_INJECT:
        e->cost = EXIT_COST_OWN;
        arch_vcpu_inject_page_fault(v, address, error);
        break;
    case SHADOW_P2M:
        e->cost = EXIT_COST_P2M;
        as_npf(v, e, &f);
        break;
    case SHADOW_EMULATE:
        by_software(v, e);
        break;
    case SHADOW_NOMEM:
        park(v, &pg);
        break;
    }
}

void exit_starved(struct vcpu *v, struct vcpu_exit *e)
{
    struct guest_paging pg;

    (void)e;
    arch_vcpu_paging(v, &pg);
    park(v, &pg);
}
