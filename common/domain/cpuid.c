/*
 * cpuid.c - the processor that guests see, by allow-list: a feature that no
 * line here names is hidden, so that what a newer machine brings stays off
 * until somebody has thought about it.
 *
 * Hidden on purpose: XSAVE and what needs it (AVX, FMA, F16C), since XSETBV
 * cannot be intercepted here; RDRAND and RDSEED, for runs that can be
 * repeated; SVM; APIC, x2APIC, MTRR, machine checks, MONITOR: not virtualised
 * yet; PCID and INVPCID; RDTSCP and RDPID, whose MSR is not switched.
 */
#include <public/xen/cpuid.h>
#include <quire/arch.h>
#include <quire/domain.h>

#include "policy.h"

#define BIT(n) (UINT32_C(1) << (n))

#define XEN_MAJOR 4
#define XEN_MINOR 17

/* Leaf 1 EDX, and the same bits of 80000001 EDX. */
#define F1_EDX_BOTH \
    (BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | \
     BIT(13) | BIT(15) | BIT(16) | BIT(17) | BIT(23) | BIT(24))
/* ... SEP, CLFSH, SSE, SSE2 */
#define F1_EDX (F1_EDX_BOTH | BIT(11) | BIT(19) | BIT(25) | BIT(26))
/* SSE3, PCLMUL, SSSE3, CX16, SSE4.1, SSE4.2, MOVBE, POPCNT, AES */
#define F1_ECX \
    (BIT(0) | BIT(1) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(22) | \
     BIT(23) | BIT(25))
#define F1_ECX_HYPERVISOR BIT(31)
/* FSGSBASE, BMI1, SMEP, BMI2, ERMS, ADX, SMAP, CLFLUSHOPT, SHA */
#define F7_EBX \
    (BIT(0) | BIT(3) | BIT(7) | BIT(8) | BIT(9) | BIT(19) | BIT(20) | \
     BIT(23) | BIT(29))
#define F7_ECX BIT(2)           /* UMIP */
/* LAHF, ABM, SSE4A, misaligned SSE, 3DNow prefetch */
#define F81_ECX (BIT(0) | BIT(5) | BIT(6) | BIT(7) | BIT(8))
/* SYSCALL, NX, MMX extensions, 1G pages, LM */
#define F81_EDX \
    (F1_EDX_BOTH | BIT(11) | BIT(20) | BIT(22) | BIT(26) | BIT(29))
#define F87_EDX BIT(8)          /* invariant TSC */

enum { EAX, EBX, ECX, EDX };

static void xen_time(uint32_t sub, uint32_t r[4])
{
    struct vcpu_time_info t = { 0 };
    uint32_t khz = (uint32_t)(arch_tick_hz() / 1000);

    clock_publish(&t);
    if (sub == 0) {
        r[EAX] = BIT(1);        /* the TSC is safe to use */
        r[EBX] = 2;             /* never emulated */
        r[ECX] = khz;
    } else if (sub == 1) {
        r[ECX] = t.tsc_to_system_mul;
        r[EDX] = (uint32_t)(int32_t)t.tsc_shift;
    } else if (sub == 2) {
        r[EAX] = khz;
    }
}

static void xen_leaf(const struct vcpu *v, uint32_t leaf, uint32_t sub,
                     uint32_t r[4])
{
    switch (leaf - XEN_CPUID_FIRST_LEAF) {
    case 0:
        r[EAX] = XEN_CPUID_LEAF(XEN_CPUID_MAX_NUM_LEAVES - 1);
        r[EBX] = XEN_CPUID_SIGNATURE_EBX;
        r[ECX] = XEN_CPUID_SIGNATURE_ECX;
        r[EDX] = XEN_CPUID_SIGNATURE_EDX;
        break;
    case 1:
        r[EAX] = XEN_MAJOR << 16 | XEN_MINOR;
        break;
    case 2:
        r[EAX] = 1;
        r[EBX] = XEN_MSR_HYPERCALL_PAGE;
        break;
    case 3:
        xen_time(sub, r);
        break;
    case 4:
        r[EAX] = XEN_HVM_CPUID_VCPU_ID_PRESENT |
                 XEN_HVM_CPUID_DOMID_PRESENT | XEN_HVM_CPUID_UPCALL_VECTOR;
        r[EBX] = v->id;
        r[ECX] = v->domain->id;
        break;
    }
}

static void basic_leaf(const struct vcpu *v, uint32_t leaf, uint32_t sub,
                       uint32_t r[4])
{
    arch_cpuid(leaf, sub, r);
    switch (leaf) {
    case 0:
        r[EAX] = MIN(r[EAX], 7);
        break;
    case 1:
        r[EBX] = (r[EBX] & 0xff00) | BIT(16) | (uint32_t)v->id << 24;
        r[ECX] &= F1_ECX;
        r[EDX] &= F1_EDX;
        if (v->domain->config.leaves == LEAVES_XEN) {
            r[ECX] |= F1_ECX_HYPERVISOR;
        }
        break;
    case 7:
        r[EAX] = 0;
        r[EBX] = sub == 0 ? r[EBX] & F7_EBX : 0;
        r[ECX] = sub == 0 ? r[ECX] & F7_ECX : 0;
        r[EDX] = 0;
        break;
    default:
        r[EAX] = r[EBX] = r[ECX] = r[EDX] = 0;
        break;
    }
}

static void extended_leaf(uint32_t leaf, uint32_t r[4])
{
    arch_cpuid(leaf, 0, r);
    switch (leaf) {
    case 0x80000000:
        r[EAX] = MIN(r[EAX], 0x80000008);
        break;
    case 0x80000001:
        r[ECX] &= F81_ECX;
        r[EDX] &= F81_EDX;
        break;
    case 0x80000002: case 0x80000003: case 0x80000004:  /* name */
    case 0x80000005: case 0x80000006:                   /* caches */
        break;
    case 0x80000007:
        r[EAX] = r[EBX] = r[ECX] = 0;
        r[EDX] &= F87_EDX;
        break;
    case 0x80000008:
        r[EAX] = MIN(r[EAX] & 0xff, P2M_GFN_BITS + PAGE_SHIFT) |
                 (r[EAX] & 0xff00);
        r[EBX] = r[ECX] = r[EDX] = 0;
        break;
    default:
        r[EAX] = r[EBX] = r[ECX] = r[EDX] = 0;
        break;
    }
}

void exit_cpuid(struct vcpu *v, struct vcpu_exit *e)
{
    uint32_t leaf = (uint32_t)v->regs.rax, sub = (uint32_t)v->regs.rcx;
    uint32_t r[4] = { 0, 0, 0, 0 };

    if (leaf >> 28 == 8) {
        extended_leaf(leaf, r);
    } else if (leaf >> 28 != 4) {
        basic_leaf(v, leaf, sub, r);
    } else if (v->domain->config.leaves == LEAVES_XEN) {
        xen_leaf(v, leaf, sub, r);
    }
    v->regs.rax = r[EAX];
    v->regs.rbx = r[EBX];
    v->regs.rcx = r[ECX];
    v->regs.rdx = r[EDX];
    arch_vcpu_skip(v, e);
}
