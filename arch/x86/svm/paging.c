/*
 * paging.c - the guest's CR0, CR3, CR4 and EFER, and what the processor has
 * in their place.
 *
 * With nested paging they are the same. With shadow paging the processor
 * walks Quire's own tables, 4-level ones if the guest is in long mode and
 * those of PAE in any other: paging is always on, CR0.WP set, and whatever
 * tells the guest so exits. Reads of a register that holds the guest's own
 * value need not.
 */
#include <quire/arch.h>
#include <quire/grace.h>
#include <quire/shadow.h>

#include "svm.h"

#define CR0_FORCED (CR0_PG | CR0_WP)
/* Without paging they are no fault of the guest's: its pages are the user's. */
#define CR4_PAGED (CR4_SMEP | CR4_SMAP)

static void use_shadow(struct svm_vcpu *a, struct vmcb *c)
{
    bool is_long = (a->efer & EFER_LMA) != 0;

    c->cr0 = a->cr0 | CR0_FORCED;
    c->cr4 = a->cr4 | CR4_PAE;
    if ((a->cr0 & CR0_PG) == 0) {
        c->cr4 &= ~CR4_PAGED;
    }
    /* LME without LMA would ask for 4-level tables. NX is the shadow's. */
    c->efer = (a->efer & ~(EFER_LME | EFER_LMA)) | EFER_NXE | EFER_SVME |
              (is_long ? EFER_LME | EFER_LMA : 0);
    c->intercept_cr_read = (uint16_t)(1u << 3 | (c->cr0 != a->cr0) << 0 |
                                      (c->cr4 != a->cr4) << 4);
}

void svm_paging_changed(struct vcpu *v, bool is_flush)
{
    struct svm_vcpu *a = svm_of(v);
    struct vmcb *c = a->vmcb;

    if (v->shadow != NULL) {
        use_shadow(a, c);
        a->must_load |= is_flush;
    } else {
        c->cr0 = a->cr0;
        c->cr3 = a->cr3;
        c->cr4 = a->cr4;
        c->efer = a->efer | EFER_SVME;
    }
    if (is_flush) {
        v->asid = (struct asid_slot){ 0 };
    }
}

void svm_paging_init(struct vcpu *v)
{
    struct vmcb *c = svm_of(v)->vmcb;

    if (v->shadow == NULL) {
        c->np_enable = 1;
        return;
    }
    c->intercept_exceptions |= 1u << VEC_PF;
    c->intercept_1 |= INT1_INVLPG;
}

/* A root for the guest's tables; its translations were flushed. */
static int load_root(struct vcpu *v)
{
    struct svm_vcpu *a = svm_of(v);
    struct work w = WORK_INIT;
    struct guest_paging pg;
    int err;

    arch_vcpu_paging(v, &pg);
    err = shadow_load(v->shadow, v->shadow_vcpu, &pg, &w);
    if (err == 0) {
        a->must_load = false;
        v->asid = (struct asid_slot){ 0 };
        a->vmcb->cr3 = shadow_cr3(v->shadow_vcpu);
    }
    return err;
}

int svm_paging_enter(struct vcpu *v, uint64_t *generation)
{
    struct svm_vcpu *a = svm_of(v);

    if (v->shadow == NULL) {
        a->vmcb->n_cr3 = mfn_to_maddr(v->p2m->root);
        grace_leave();
        *generation = p2m_guest_enter(v->p2m);
        return 0;
    }
    for (;;) {
        if (a->must_load || shadow_is_stale(v->shadow_vcpu)) {
            int err = load_root(v);

            if (err != 0) {
                return err;
            }
        }
        grace_leave();
        *generation = p2m_guest_enter(v->p2m);
        /* A root dropped from here on comes with a kick. */
        if (likely(!shadow_is_stale(v->shadow_vcpu))) {
            return 0;
        }
        p2m_guest_leave();
        grace_enter();
    }
}
