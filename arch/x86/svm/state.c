/*
 * state.c - a vCPU's machine state: made, destroyed, read and replaced whole.
 *
 * The general registers live in v->regs between runs, everything else in the
 * VMCB and in struct svm_vcpu. What a caller puts in is checked like a
 * guest's own write, so that VMRUN never refuses it.
 */
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/heap.h>
#include <quire/page_alloc.h>
#include <quire/string.h>

#include "svm.h"

#define FXSAVE_FCW 0
#define FXSAVE_MXCSR 24
#define FCW_RESET 0x37f
#define MXCSR_RESET 0x1f80
#define PAT_RESET UINT64_C(0x0007040600070406)
#define PAUSE_COUNT 3000

/* Numbers for svm_vcpu.loaded_id; never reused. */
static _Atomic uint64_t next_loaded_id = 1;

void svm_renew(struct svm_vcpu *a)
{
    a->loaded_id = atomic_fetch_add(&next_loaded_id, 1);
}

static void set_intercepts(struct vmcb *c)
{
    c->intercept_cr_write = 1u << 0 | 1u << 3 | 1u << 4 | 1u << 8;
    c->intercept_dr_read = c->intercept_dr_write = UINT16_MAX;
    /* #DB and #AC, lest the guest loops in their delivery for ever; #MC is
     * the machine's, never the guest's. */
    c->intercept_exceptions = 1u << VEC_DB | 1u << VEC_AC | 1u << VEC_MC;
    c->intercept_1 = INT1_INTR | INT1_NMI | INT1_INIT | INT1_RDPMC |
                     INT1_CPUID | INT1_RSM | INT1_INVD | INT1_PAUSE |
                     INT1_HLT | INT1_INVLPGA | INT1_IO | INT1_MSR |
                     INT1_TASK_SWITCH | INT1_SHUTDOWN;
    c->intercept_2 = INT2_VMRUN | INT2_VMMCALL | INT2_VMLOAD | INT2_VMSAVE |
                     INT2_STGI | INT2_CLGI | INT2_SKINIT | INT2_RDTSCP |
                     INT2_ICEBP | INT2_WBINVD | INT2_MONITOR | INT2_MWAIT |
                     INT2_MWAIT_ARMED | INT2_XSETBV | INT2_RDPRU;
    c->iopm = svm_features.iopm;
    c->msrpm = svm_features.msrpm;
    c->v_intr = V_INTR_MASKING;
    if (svm_features.has_pause_filter) {
        c->pause_count = PAUSE_COUNT;
    }
}

/* As after RESET (APM vol. 2, 14.1.3). */
static void set_reset_state(struct vcpu *v, struct svm_vcpu *a)
{
    struct vmcb *c = a->vmcb;
    struct vmcb_segment data = { 0, 0x93, 0xffff, 0 };

    c->es = c->ss = c->ds = c->fs = c->gs = data;
    c->cs = (struct vmcb_segment){ 0xf000, 0x9b, 0xffff, 0xffff0000 };
    c->gdtr = c->idtr = (struct vmcb_segment){ 0, 0, 0xffff, 0 };
    c->ldtr = (struct vmcb_segment){ 0, 0x82, 0xffff, 0 };
    c->tr = (struct vmcb_segment){ 0, 0x8b, 0xffff, 0 };
    a->cr0 = CR0_ET;
    c->dr6 = DR6_FIXED;
    c->dr7 = DR7_FIXED;
    c->g_pat = a->pat = PAT_RESET;
    v->regs = (struct vcpu_regs){ .rip = 0xfff0, .rflags = RFLAGS_FIXED };
    memcpy(a->fpu + FXSAVE_FCW, &(uint16_t){ FCW_RESET }, 2);
    memcpy(a->fpu + FXSAVE_MXCSR, &(uint32_t){ MXCSR_RESET }, 4);
}

int arch_vcpu_init(struct vcpu *v)
{
    struct svm_vcpu *a = heap_zalloc(sizeof(*a));
    struct frame *f = page_alloc(0, FRAME_PERCPU);

    if (a == NULL || f == NULL) {
        heap_free(a);
        if (f != NULL) {
            page_free(f, 0);
        }
        return -ENOMEM;
    }
    a->vmcb_maddr = mfn_to_maddr(frame_to_mfn(f));
    a->vmcb = arch_map_frame(frame_to_mfn(f));
    page_zero(a->vmcb);
    svm_renew(a);
    set_intercepts(a->vmcb);
    set_reset_state(v, a);
    v->arch = a;
    svm_paging_init(v);
    svm_paging_changed(v, true);
    return 0;
}

/* No CPU needs to be told: they know it by its loaded_id alone. */
void arch_vcpu_fini(struct vcpu *v)
{
    struct svm_vcpu *a = svm_of(v);

    page_free(mfn_to_frame(maddr_to_mfn(a->vmcb_maddr)), 0);
    arch_unmap_frame(a->vmcb);
    heap_free(a);
    v->arch = NULL;
}

static struct vmcb_segment *segment_of(struct vmcb *c, unsigned seg)
{
    struct vmcb_segment *const at[NR_SEGS] = {
        [SEG_ES] = &c->es, [SEG_CS] = &c->cs, [SEG_SS] = &c->ss,
        [SEG_DS] = &c->ds, [SEG_FS] = &c->fs, [SEG_GS] = &c->gs,
        [SEG_LDTR] = &c->ldtr, [SEG_TR] = &c->tr,
    };

    return at[seg];
}

void arch_vcpu_get_state(struct vcpu *v, struct vcpu_state *s)
{
    struct svm_vcpu *a = svm_of(v);
    struct vmcb *c = a->vmcb;

    *s = (struct vcpu_state){
        .regs = v->regs,
        .gdt_base = c->gdtr.base, .gdt_limit = c->gdtr.limit,
        .idt_base = c->idtr.base, .idt_limit = c->idtr.limit,
        .cr0 = a->cr0, .cr2 = c->cr2, .cr3 = a->cr3, .cr4 = a->cr4,
        .cr8 = c->v_intr & V_TPR_MASK, .efer = a->efer,
        .dr6 = c->dr6, .dr7 = c->dr7,
        .star = c->star, .lstar = c->lstar, .cstar = c->cstar,
        .sfmask = c->sfmask, .kernel_gs_base = c->kernel_gs_base,
        .sysenter_cs = c->sysenter_cs, .sysenter_esp = c->sysenter_esp,
        .sysenter_eip = c->sysenter_eip, .pat = a->pat,
        .tsc_offset = c->tsc_offset, .tsc_aux = a->tsc_aux,
        .event_inject = c->event_inj, .event_again = a->redeliver,
        .in_shadow = (c->shadow & 1) != 0 && c->rip == v->regs.rip,
    };
    for (unsigned k = 0; k < NR_SEGS; k++) {
        const struct vmcb_segment *g = segment_of(c, k);
        s->seg[k] = (struct vcpu_segment){ g->sel, g->attr, g->limit,
                                           g->base };
    }
    memcpy(s->dr, a->dr, sizeof(s->dr));
    memcpy(s->fpu, a->fpu, sizeof(s->fpu));
}

static bool is_state_valid(const struct vcpu_state *s)
{
    bool lme = (s->efer & EFER_LME) != 0, pg = (s->cr0 & CR0_PG) != 0;
    unsigned cs = s->seg[SEG_CS].attr;
    uint32_t mxcsr;

    memcpy(&mxcsr, s->fpu + FXSAVE_MXCSR, sizeof(mxcsr));
    return svm_is_cr0_valid(s->cr0) && svm_is_cr4_valid(s->cr4) &&
           svm_is_efer_valid(s->efer & ~EFER_LMA) &&
           svm_is_cr3_valid(s->cr3, s->efer) && s->cr8 <= V_TPR_MASK &&
           ((s->efer & EFER_LMA) != 0) == (lme && pg) &&
           !(lme && pg && (s->cr4 & CR4_PAE) == 0) &&
           !(lme && pg && (cs & SEG_ATTR_L) != 0 &&
             (cs & SEG_ATTR_DB) != 0) &&
           s->dr6 <= UINT32_MAX && s->dr7 <= UINT32_MAX &&
           svm_is_pat_valid(s->pat) &&
           (mxcsr & ~svm_features.mxcsr_mask) == 0;
}

int arch_vcpu_set_state(struct vcpu *v, const struct vcpu_state *s)
{
    struct svm_vcpu *a = svm_of(v);
    struct vmcb *c = a->vmcb;

    if (!is_state_valid(s)) {
        return -EINVAL;
    }
    v->regs = s->regs;
    v->regs.rflags |= RFLAGS_FIXED;
    for (unsigned k = 0; k < NR_SEGS; k++) {
        *segment_of(c, k) = (struct vmcb_segment){
            s->seg[k].sel, s->seg[k].attr & 0xfff, s->seg[k].limit,
            s->seg[k].base };
    }
    /* CPL is SS.DPL, but real mode is 0 and virtual-8086 mode 3. */
    c->cpl = (s->cr0 & CR0_PE) == 0 ? 0
           : (s->regs.rflags & RFLAGS_VM) != 0 ? 3
           : s->seg[SEG_SS].attr >> 5 & 3;
    c->gdtr = (struct vmcb_segment){ 0, 0, s->gdt_limit, s->gdt_base };
    c->idtr = (struct vmcb_segment){ 0, 0, s->idt_limit, s->idt_base };
    a->cr0 = s->cr0 | CR0_ET;
    c->cr2 = s->cr2;
    a->cr3 = s->cr3;
    a->cr4 = s->cr4;
    c->v_intr = (c->v_intr & ~V_TPR_MASK) | s->cr8;
    a->efer = s->efer;
    c->dr6 = s->dr6 | DR6_FIXED;
    c->dr7 = s->dr7 | DR7_FIXED;
    c->star = s->star;
    c->lstar = s->lstar;
    c->cstar = s->cstar;
    c->sfmask = s->sfmask;
    c->kernel_gs_base = s->kernel_gs_base;
    c->sysenter_cs = s->sysenter_cs;
    c->sysenter_esp = s->sysenter_esp;
    c->sysenter_eip = s->sysenter_eip;
    c->g_pat = a->pat = s->pat;
    c->tsc_offset = s->tsc_offset;
    a->tsc_aux = s->tsc_aux;
    c->event_inj = s->event_inject;
    a->redeliver = s->event_again;
    c->shadow = s->in_shadow;
    c->rip = s->regs.rip;       /* whose shadow it is */
    a->is_dead = false;
    memcpy(a->dr, s->dr, sizeof(a->dr));
    memcpy(a->fpu, s->fpu, sizeof(a->fpu));
    svm_renew(a);
    svm_paging_changed(v, true);
    return 0;
}

void arch_vcpu_paging(struct vcpu *v, struct guest_paging *pg)
{
    const struct svm_vcpu *a = svm_of(v);

    *pg = (struct guest_paging){
        .cr0 = a->cr0, .cr3 = a->cr3, .cr4 = a->cr4, .efer = a->efer,
        .rflags = v->regs.rflags, .cpl = a->vmcb->cpl, .p2m = v->p2m,
        .phys_bits = svm_features.phys_bits,
    };
}
