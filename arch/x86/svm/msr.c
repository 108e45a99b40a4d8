/*
 * msr.c - model-specific registers: those that are part of the vCPU.
 *
 * Three kinds. A guest reaches its own segment bases and system-call MSRs
 * directly, for the world switch exchanges them. EFER, PAT, TSC and TSC_AUX
 * exit and are handled here. All others are common/domain's policy.
 */
#include <quire/arch.h>

#include "svm.h"

#define MSR_TSC 0x10u
#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_PAT 0x277u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u

static const uint32_t direct[] = {
    MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
    MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK,
    MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE,
};

/* Two bits an MSR, read and write; MSRs from 0 in the first 2 KiB, from
 * 0xc0000000 in the second (APM vol. 2, 15.11). */
void svm_msrpm_allow(uint8_t *map)
{
    for (unsigned k = 0; k < ARRAY_SIZE(direct); k++) {
        uint32_t msr = direct[k] & 0x1fff;
        uint8_t *part = direct[k] >= 0xc0000000u ? map + 0x800 : map;
        part[msr / 4] &= (uint8_t)~(3u << (msr % 4 * 2));
    }
}

bool svm_is_pat_valid(uint64_t pat)
{
    for (unsigned k = 0; k < 8; k++) {
        uint8_t type = (uint8_t)(pat >> (8 * k));
        if (type > 7 || type == 2 || type == 3) {
            return false;
        }
    }
    return true;
}

static bool write_efer(struct vcpu *v, uint64_t value)
{
    struct svm_vcpu *a = svm_of(v);
    uint64_t lma = a->efer & EFER_LMA;

    value &= ~EFER_LMA;         /* the processor's: written back as read */
    if (!svm_is_efer_valid(value) ||
        ((a->cr0 & CR0_PG) != 0 && ((a->efer ^ value) & EFER_LME) != 0)) {
        return false;
    }
    a->efer = value | lma;
    svm_paging_changed(v, true);        /* NXE: cached rights */
    return true;
}

/* Both return whether the MSR is one of ours; *@ok, whether the write was
 * legal. */
static bool read_msr(struct vcpu *v, uint32_t index, uint64_t *value)
{
    const struct svm_vcpu *a = svm_of(v);

    switch (index) {
    case MSR_EFER: *value = a->efer; return true;
    case MSR_PAT: *value = a->pat; return true;
    case MSR_TSC: *value = arch_now() + a->vmcb->tsc_offset; return true;
    case MSR_TSC_AUX: *value = a->tsc_aux; return true;
    default: return false;
    }
}

static bool write_msr(struct vcpu *v, uint32_t index, uint64_t value,
                      bool *ok)
{
    struct svm_vcpu *a = svm_of(v);

    *ok = true;
    switch (index) {
    case MSR_EFER:
        *ok = write_efer(v, value);
        return true;
    case MSR_PAT:
        *ok = svm_is_pat_valid(value);
        if (*ok) {
            a->vmcb->g_pat = a->pat = value;
        }
        return true;
    case MSR_TSC:
        a->vmcb->tsc_offset = value - arch_now();
        return true;
    case MSR_TSC_AUX:
        *ok = value <= UINT32_MAX;
        if (*ok) {
            a->tsc_aux = value;
        }
        return true;
    default:
        return false;
    }
}

/* e->insn_len is set: RDMSR and WRMSR are alike in that. */
void svm_exit_msr(struct vcpu *v, struct vcpu_exit *e)
{
    uint32_t index = (uint32_t)v->regs.rcx;
    uint64_t value = v->regs.rdx << 32 | (uint32_t)v->regs.rax;
    bool ok;

    if ((svm_of(v)->vmcb->exit_info_1 & 1) == 0) {
        if (read_msr(v, index, &value)) {
            v->regs.rax = (uint32_t)value;
            v->regs.rdx = value >> 32;
            arch_vcpu_skip(v, e);
            return;
        }
        e->reason = EXIT_RDMSR;
        e->msr.index = index;
        return;
    }
    if (write_msr(v, index, value, &ok)) {
        if (ok) {
            arch_vcpu_skip(v, e);
        } else {
            svm_inject_gp(v);
        }
        return;
    }
    e->reason = EXIT_WRMSR;
    e->msr.index = index;
    e->msr.value = value;
}
