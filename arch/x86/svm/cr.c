/*
 * cr.c - control and debug registers: guests' writes, checked as the
 * processor would, so that no guest can make VMRUN refuse its state.
 *
 * CR0, CR3, CR4 and CR8 exit on writes, and with shadow paging on those reads
 * where the processor's value is another (paging.c); debug registers always,
 * since DR0-3 are loaded only while a breakpoint is on (run.c).
 */
#include <quire/arch.h>
#include <quire/emul.h>

#include "svm.h"

#define CR0_WRITABLE UINT64_C(0xe005003f)
#define CR4_TLB UINT64_C(0x3000b0)      /* PSE, PAE, PGE, SMEP, SMAP */
#define DR7_GD (UINT64_C(1) << 13)
#define CR4_DE (UINT64_C(1) << 3)

bool svm_is_cr0_valid(uint64_t cr0)
{
    return cr0 <= UINT32_MAX &&
           !((cr0 & CR0_PG) != 0 && (cr0 & CR0_PE) == 0) &&
           !((cr0 & CR0_NW) != 0 && (cr0 & CR0_CD) == 0);
}

bool svm_is_cr4_valid(uint64_t cr4)
{
    return (cr4 & ~svm_features.cr4_allowed) == 0;
}

bool svm_is_efer_valid(uint64_t efer)
{
    return (efer & ~(EFER_SCE | EFER_LME | EFER_NXE)) == 0;
}

bool svm_is_cr3_valid(uint64_t cr3, uint64_t efer)
{
    return (efer & EFER_LMA) != 0 ? cr3 >> svm_features.phys_bits == 0
                                  : cr3 <= UINT32_MAX;
}

static bool guest_write_cr0(struct vcpu *v, uint64_t value)
{
    struct svm_vcpu *a = svm_of(v);
    bool was_paged = (a->cr0 & CR0_PG) != 0, paged = (value & CR0_PG) != 0;
    bool is_64 = (a->vmcb->cs.attr & SEG_ATTR_L) != 0;
    uint64_t was = a->cr0;

    if (!svm_is_cr0_valid(value)) {
        return false;
    }
    if ((a->efer & EFER_LME) != 0 && paged && !was_paged) {
        if ((a->cr4 & CR4_PAE) == 0 || is_64) {
            return false;
        }
        a->efer |= EFER_LMA;
    } else if ((a->efer & EFER_LMA) != 0 && !paged) {
        if (is_64) {
            return false;
        }
        a->efer &= ~EFER_LMA;
    }
    a->cr0 = (value & CR0_WRITABLE) | CR0_ET;
    svm_paging_changed(v, ((a->cr0 ^ was) & ~CR0_TS) != 0);
    return true;
}

static bool guest_write_cr3(struct vcpu *v, uint64_t value)
{
    struct svm_vcpu *a = svm_of(v);

    if (!svm_is_cr3_valid(value, a->efer)) {
        return false;
    }
    a->cr3 = value;
    svm_paging_changed(v, true);
    return true;
}

static bool guest_write_cr4(struct vcpu *v, uint64_t value)
{
    struct svm_vcpu *a = svm_of(v);
    uint64_t was = a->cr4;

    if (!svm_is_cr4_valid(value) ||
        ((a->efer & EFER_LMA) != 0 && (value & CR4_PAE) == 0)) {
        return false;
    }
    a->cr4 = value;
    /* Bits that a cached translation depends on. */
    svm_paging_changed(v, ((was ^ value) & CR4_TLB) != 0);
    return true;
}

static bool guest_write_cr8(struct vcpu *v, uint64_t value)
{
    struct vmcb *c = svm_of(v)->vmcb;

    if (value > V_TPR_MASK) {
        return false;
    }
    c->v_intr = (c->v_intr & ~V_TPR_MASK) | value;
    return true;
}

static bool write_cr(struct vcpu *v, unsigned cr, uint64_t value)
{
    switch (cr) {
    case 0: return guest_write_cr0(v, value);
    case 3: return guest_write_cr3(v, value);
    case 4: return guest_write_cr4(v, value);
    case 8: return guest_write_cr8(v, value);
    default: return false;
    }
}

/* LMSW's operand: a register, or two bytes of memory. It can set PE, never
 * clear it. */
static int lmsw_value(struct vcpu *v, const struct insn *i, uint64_t *value)
{
    uint16_t word;

    if (insn_is_memory(i)) {
        int err = svm_read_gva(v, svm_operand(v, i), &word, sizeof(word),
                               P2M_R);
        if (err != 0) {
            return err;
        }
    } else {
        word = (uint16_t)*svm_register(v, i);
    }
    *value = (svm_of(v)->cr0 & ~UINT64_C(0xe)) | (word & 0xf);
    return 0;
}

void svm_exit_cr_write(struct vcpu *v, struct vcpu_exit *e)
{
    struct insn i;
    uint64_t value;
    unsigned cr;

    /* If another vCPU changed the code meanwhile, run what is there now. */
    if (svm_decode_cr(v, &i) != 0 || i.map != INSN_MAP_0F) {
        return;
    }
    if (i.opcode == 0x22) {                             /* MOV CR */
        cr = (i.modrm >> 3 & 7) | (i.rex & 4) << 1;
        if (i.has_lock) {
            cr = 8;     /* LOCK MOV CR0: how 32-bit code names CR8 */
        }
        value = *svm_register(v, &i);
        value = i.mode == 64 ? value : (uint32_t)value;
    } else if (i.opcode == 0x06) {                      /* CLTS */
        cr = 0;
        value = svm_of(v)->cr0 & ~CR0_TS;
    } else if (i.opcode == 0x01 && (i.modrm >> 3 & 7) == 6) {   /* LMSW */
        cr = 0;
        if (lmsw_value(v, &i, &value) != 0) {
            return;
        }
    } else {
        return;
    }
    if (!write_cr(v, cr, value)) {
        svm_inject_gp(v);
        return;
    }
    if (cr == 3 && v->shadow != NULL) {
        e->cost = EXIT_COST_CR3;
    }
    e->insn_len = i.len;
    arch_vcpu_skip(v, e);
}

static bool write_dr(struct vcpu *v, unsigned dr, uint64_t value)
{
    struct svm_vcpu *a = svm_of(v);
    struct vmcb *c = a->vmcb;

    if (dr < 4) {
        a->dr[dr] = value;
        svm_renew(a);
        return true;
    }
    if (value > UINT32_MAX) {
        return false;
    }
    if (dr == 6) {
        c->dr6 = (value & 0xe00f) | DR6_FIXED;
    } else {
        c->dr7 = (value & 0xffff23ff) | DR7_FIXED;
    }
    return true;
}

void svm_exit_dr(struct vcpu *v, struct vcpu_exit *e)
{
    struct svm_vcpu *a = svm_of(v);
    struct vmcb *c = a->vmcb;
    struct insn i;

    if (svm_decode(v, &i) != 0 || i.map != INSN_MAP_0F ||
        (i.opcode & ~2) != 0x21) {
        return;
    }
    unsigned dr = (i.modrm >> 3 & 7) | (i.rex & 4) << 1;
    uint64_t *reg = svm_register(v, &i);
    if (dr == 4 || dr == 5) {
        dr = (a->cr4 & CR4_DE) != 0 ? 8 : dr + 2;
    }
    if (dr > 7) {
        svm_raise(v, VEC_UD, 0);
        return;
    }
    if ((c->dr7 & DR7_GD) != 0) {
        c->dr6 |= DR6_BD;
        c->dr7 &= ~DR7_GD;
        svm_raise(v, VEC_DB, 0);
        return;
    }
    if (i.opcode == 0x21) {                             /* MOV reg, DR */
        *reg = dr < 4 ? a->dr[dr] : dr == 6 ? c->dr6 : c->dr7;
    } else if (!write_dr(v, dr, i.mode == 64 ? *reg : (uint32_t)*reg)) {
        svm_inject_gp(v);
        return;
    }
    e->insn_len = i.len;
    arch_vcpu_skip(v, e);
}
