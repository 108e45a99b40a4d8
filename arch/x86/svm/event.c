/*
 * event.c - exceptions and interrupts on their way into a guest.
 *
 * One event a VMRUN goes through EVENTINJ. An event whose delivery was cut
 * short by an exit (its stack page was shared, say) is in EXITINTINFO and must
 * be injected again, unless a new exception takes its place; software
 * interrupts happen by themselves again, for RIP is still at the INT.
 *
 * An interrupt that cannot be taken now asks for a window: V_IRQ with the
 * VINTR intercept, which exits when the guest could take one. V_IRQ is never
 * left set for delivery.
 *
 * After an exit within an interrupt shadow, QEMU forgets the shadow at VMRUN.
 * Where that matters, at an STI's HLT (the interrupt would come first, and the
 * guest sleep for ever) and between a MOV SS and its MOV SP, no window is
 * armed until the instruction is behind. HLT exits by itself.
 */
#include <quire/arch.h>
#include <quire/emul.h>

#include "svm.h"

static bool has_error_code(uint8_t vector)
{
    /* #DF, #TS, #NP, #SS, #GP, #PF, #AC */
    return vector < 32 && (UINT32_C(0x27d00) >> vector & 1) != 0;
}

/* #DE, #TS, #NP, #SS and #GP: two of them in a row make a double fault. */
static bool is_contributory(uint8_t vector)
{
    return vector == 0 || (vector >= 10 && vector <= 13);
}

static bool is_exception(uint64_t event)
{
    return (event & EVENT_VALID) != 0 &&
           EVENT_TYPE(event) == EVENT_EXCEPTION;
}

/* What comes of @vector raised while @first was being delivered (APM vol. 2,
 * table 8-3): a vector, or -1 for a shutdown. */
static int combine(uint64_t first, uint8_t vector)
{
    uint8_t was = EVENT_VECTOR(first);

    if (!is_exception(first)) {
        return vector;
    }
    if (was == VEC_DF && (is_contributory(vector) || vector == VEC_PF)) {
        return -1;
    }
    if ((is_contributory(was) && is_contributory(vector)) ||
        (was == VEC_PF && (is_contributory(vector) || vector == VEC_PF))) {
        return VEC_DF;
    }
    return vector;
}

void svm_raise(struct vcpu *v, uint8_t vector, uint32_t error)
{
    struct svm_vcpu *a = svm_of(v);
    struct vmcb *c = a->vmcb;
    uint64_t first = is_exception(c->event_inj) ? c->event_inj
                                                : a->redeliver;
    int now = combine(first, vector);

    if (now < 0) {
        a->is_dead = true;
        return;
    }
    if (now == VEC_DF) {
        error = 0;
    }
    /* The exception it came from happens again when its code runs again. An
     * interrupt would not: it waits in redeliver. */
    if (is_exception(a->redeliver)) {
        a->redeliver = 0;
    }
    if ((c->event_inj & EVENT_VALID) != 0 && !is_exception(c->event_inj)) {
        a->redeliver = c->event_inj;
    }
    c->event_inj = EVENT_VALID | EVENT_EXCEPTION << 8 | (uint8_t)now;
    if (has_error_code((uint8_t)now) && (c->cr0 & CR0_PE) != 0) {
        c->event_inj |= EVENT_HAS_ERROR | (uint64_t)error << 32;
    }
}

void arch_vcpu_inject_exception(struct vcpu *v, uint8_t vector,
                                uint32_t error)
{
    if (vector == VEC_DB) {
        svm_of(v)->vmcb->dr6 |= DR6_BS;     /* after an emulated step */
    }
    svm_raise(v, vector, error);
}

void arch_vcpu_inject_page_fault(struct vcpu *v, gva_t addr, uint32_t error)
{
    svm_of(v)->vmcb->cr2 = addr;
    svm_raise(v, VEC_PF, error);
}

void svm_inject_gp(struct vcpu *v)
{
    svm_raise(v, VEC_GP, 0);
}

bool arch_vcpu_is_interruptible(const struct vcpu *v)
{
    const struct svm_vcpu *a = svm_of(v);
    const struct vmcb *c = a->vmcb;
    bool in_shadow = (c->shadow & 1) != 0 && v->regs.rip == c->rip;

    return (v->regs.rflags & RFLAGS_IF) != 0 && !in_shadow &&
           (c->event_inj & EVENT_VALID) == 0 && a->redeliver == 0;
}

bool arch_vcpu_inject_interrupt(struct vcpu *v, uint8_t vector)
{
    struct svm_vcpu *a = svm_of(v);

    if (!arch_vcpu_is_interruptible(v)) {
        a->wants_window = true;
        return false;
    }
    a->vmcb->event_inj = EVENT_VALID | EVENT_INTR << 8 | vector;
    return true;
}

/* EXITINTINFO in a form that EVENTINJ takes; 0: nothing to inject again. */
static uint64_t redeliverable(uint64_t info)
{
    uint8_t vector = EVENT_VECTOR(info);
    uint64_t error = info & ~UINT64_C(0xffffffff);

    switch (EVENT_TYPE(info)) {
    case EVENT_INTR:
        return EVENT_VALID | vector;
    case EVENT_NMI:
        return EVENT_VALID | EVENT_NMI << 8 | 2;
    case EVENT_EXCEPTION:
        if (vector == 3 || vector == 4 || vector == 2 || vector > 31) {
            return 0;           /* INT3, INTO: RIP is still at them */
        }
        return EVENT_VALID | EVENT_EXCEPTION << 8 | vector |
               ((info & EVENT_HAS_ERROR) != 0 ? EVENT_HAS_ERROR | error : 0);
    default:
        return 0;               /* INT n: likewise */
    }
}

#define OPCODE_STI 0xfb
#define OPCODE_HLT 0xf4

/* Whether the instruction at RIP must be behind before an interrupt comes.
 * In 64-bit code MOV SS is no reason: there is no segment to be changed. */
static bool must_keep_shadow(struct vcpu *v)
{
    const struct vmcb *c = svm_of(v)->vmcb;
    struct insn i;
    uint8_t before;

    if ((c->shadow & 1) == 0 || svm_decode(v, &i) != 0) {
        return false;
    }
    if (i.mode == 64) {
        return i.map == INSN_MAP_1 && i.opcode == OPCODE_HLT;
    }
    if (svm_read_gva(v, (uint32_t)(c->cs.base + v->regs.rip - 1), &before,
                     1, P2M_X) != 0 || before != OPCODE_STI) {
        return true;
    }
    return i.map == INSN_MAP_1 && i.opcode == OPCODE_HLT;
}

void svm_event_exit(struct vcpu *v, struct vcpu_exit *e)
{
    struct svm_vcpu *a = svm_of(v);
    struct vmcb *c = a->vmcb;

    c->event_inj = 0;
    if ((c->v_intr & V_IRQ) != 0) {
        c->v_intr &= ~(V_IRQ | V_IGN_TPR);
        c->intercept_1 &= ~INT1_VINTR;
    }
    if ((c->exit_int_info & EVENT_VALID) != 0) {
        e->in_delivery = true;
        a->redeliver = redeliverable(c->exit_int_info);
    }
    if (a->keeps_shadow && c->rip == a->shadow_rip) {
        c->shadow |= 1;         /* not a step further */
    }
}

void svm_event_enter(struct vcpu *v)
{
    struct svm_vcpu *a = svm_of(v);
    struct vmcb *c = a->vmcb;

    a->keeps_shadow = must_keep_shadow(v);
    a->shadow_rip = v->regs.rip;
    if (a->redeliver != 0 && (c->event_inj & EVENT_VALID) == 0) {
        bool is_intr = EVENT_TYPE(a->redeliver) == EVENT_INTR;
        if (!is_intr || (v->regs.rflags & RFLAGS_IF) != 0) {
            c->event_inj = a->redeliver;
            a->redeliver = 0;
        }
    }
    if ((a->wants_window || a->redeliver != 0) && !a->keeps_shadow) {
        c->v_intr |= V_IRQ | V_IGN_TPR;
        c->intercept_1 |= INT1_VINTR;
    }
    a->wants_window = false;
}
