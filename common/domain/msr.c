/*
 * msr.c - the MSRs that reach common code, by allow-list; any other is #GP.
 *
 * The registers that belong to the virtual CPU itself (EFER, STAR, SYSENTER,
 * PAT, FS and GS base ...) are the arch's. What is left is Xen's hypercall
 * page, and a few that kernels read without asking CPUID.
 */
#include <public/xen/cpuid.h>
#include <quire/arch.h>
#include <quire/domain.h>
#include <quire/errno.h>
#include <quire/log.h>

#include "policy.h"

#define MSR_TSC 0x10
#define MSR_PATCH_LEVEL 0x8b
#define MSR_MCG_CAP 0x179
#define MSR_MCG_STATUS 0x17a
#define MSR_SYSCFG 0xc0010010
#define MSR_HWCR 0xc0010015

static bool read_msr(struct vcpu *v, uint32_t index, uint64_t *value)
{
    (void)v;
    switch (index) {
    case MSR_TSC:
        *value = arch_now();    /* the offset is 0 */
        return true;
    case MSR_PATCH_LEVEL:
    case MSR_MCG_CAP:           /* no machine-check banks */
    case MSR_MCG_STATUS:
    case MSR_SYSCFG:
    case MSR_HWCR:
        *value = 0;
        return true;
    default:
        return false;
    }
}

static bool write_msr(struct vcpu *v, uint32_t index, uint64_t value,
                      bool *is_starved)
{
    struct domain *d = v->domain;
    int err;

    switch (index) {
    case XEN_MSR_HYPERCALL_PAGE:
        /* Bits 11:0 number the page, of which there is one. */
        if (d->config.leaves != LEAVES_XEN || (value & PAGE_MASK) != 0) {
            return false;
        }
        err = hypercall_page_write(d, gpa_to_gfn(value));
        *is_starved = err == -ENOMEM;
        return err == 0;
    case MSR_MCG_STATUS:
    case MSR_HWCR:
        return value == 0;
    default:
        return false;
    }
}

void exit_rdmsr(struct vcpu *v, struct vcpu_exit *e)
{
    uint64_t value;

    if (!read_msr(v, e->msr.index, &value)) {
        log_debug("d%u: read of MSR %x", v->domain->id, e->msr.index);
        arch_vcpu_inject_exception(v, VECTOR_GP, 0);
        return;
    }
    v->regs.rax = (uint32_t)value;
    v->regs.rdx = value >> 32;
    arch_vcpu_skip(v, e);
}

void exit_wrmsr(struct vcpu *v, struct vcpu_exit *e)
{
    bool is_starved = false;

    if (!write_msr(v, e->msr.index, e->msr.value, &is_starved)) {
        if (is_starved) {
            oom_park(v, gpa_to_gfn(e->msr.value));
            return;
        }
        log_debug("d%u: write of MSR %x", v->domain->id, e->msr.index);
        arch_vcpu_inject_exception(v, VECTOR_GP, 0);
        return;
    }
    oom_settle(v);
    arch_vcpu_skip(v, e);
}
