/*
 * cpu.c - SVM on one CPU: is it there, turn it on, and the pages it needs.
 *
 * The I/O and MSR permission maps are the same for every guest and made once,
 * by the first CPU: every port exits, and every MSR but a guest's own.
 */
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/log.h>
#include <quire/p2m.h>
#include <quire/page_alloc.h>
#include <quire/string.h>

#include "svm.h"

#define MSR_VM_CR 0xc0010114u
#define MSR_VM_HSAVE_PA 0xc0010117u
#define VM_CR_SVMDIS (UINT64_C(1) << 4)
#define ECX_SVM (1u << 2)
#define EDX_NPT (1u << 0)
#define EDX_PAUSE_FILTER (1u << 10)
#define CR4_OSFXSR (UINT64_C(1) << 9)
#define CR4_OSXMMEXCPT (UINT64_C(1) << 10)
#define MXCSR_MASK_DEFAULT 0xffbfu
#define IOPM_ORDER 2            /* 12 KiB, and the allocator has 16 */
#define MSRPM_ORDER 1

struct svm_features svm_features;
struct svm_cpu svm_cpus[MAX_CPUS];

void arch_cpuid(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    asm volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]),
                 "=d"(out[3]) : "a"(leaf), "c"(sub));
}

static int check_processor(void)
{
    uint32_t r[4];

    arch_cpuid(0x80000000, 0, r);
    uint32_t last = r[0];
    arch_cpuid(0x80000001, 0, r);
    if (last < 0x8000000a || (r[2] & ECX_SVM) == 0) {
        log_error("no SVM: Quire needs an AMD processor with virtualisation "
                  "(QEMU: -cpu max)");
        return -ENODEV;
    }
    if ((rdmsr(MSR_VM_CR) & VM_CR_SVMDIS) != 0) {
        log_error("SVM is disabled by the firmware (VM_CR.SVMDIS)");
        return -ENODEV;
    }
    arch_cpuid(0x8000000a, 0, r);
    if ((r[3] & EDX_NPT) == 0) {
        log_error("SVM without nested paging: Quire needs it");
        return -ENODEV;
    }
    if (r[1] < 2) {
        log_error("SVM with %u ASIDs: Quire needs 2", r[1]);
        return -ENODEV;
    }
    svm_features.nr_asids = r[1];
    svm_features.has_pause_filter = (r[3] & EDX_PAUSE_FILTER) != 0;
    arch_cpuid(0x80000008, 0, r);
    svm_features.phys_bits = r[0] & 0xff;
    return 0;
}

/* The CR4 bits that this processor has and a guest may use: never OSXSAVE,
 * PCIDE, VMXE, LA57, PKE or CET. */
static uint64_t cr4_allowed(void)
{
    uint64_t allowed = 0x7ff;           /* VME .. OSXMMEXCPT */
    uint32_t r[4];

    arch_cpuid(7, 0, r);
    if ((r[2] & 1u << 2) != 0) {
        allowed |= UINT64_C(1) << 11;   /* UMIP */
    }
    if ((r[1] & 1u << 0) != 0) {
        allowed |= UINT64_C(1) << 16;   /* FSGSBASE */
    }
    if ((r[1] & 1u << 7) != 0) {
        allowed |= UINT64_C(1) << 20;   /* SMEP */
    }
    if ((r[1] & 1u << 20) != 0) {
        allowed |= UINT64_C(1) << 21;   /* SMAP */
    }
    return allowed;
}

/* From an FXSAVE image: an MXCSR with other bits makes FXRSTOR fault. */
static uint32_t mxcsr_mask(void)
{
    static alignas(16) uint8_t image[512];
    uint32_t mask;

    asm volatile("fxsave64 %0" : "=m"(image));
    memcpy(&mask, image + 28, sizeof(mask));
    return mask != 0 ? mask : MXCSR_MASK_DEFAULT;
}

static void *machine_pages(unsigned order, int fill, maddr_t *at)
{
    struct frame *f = page_alloc(order, FRAME_PERCPU);

    if (f == NULL) {
        log_error("no memory for SVM's pages");
        return NULL;
    }
    *at = mfn_to_maddr(frame_to_mfn(f));
    return memset(arch_map_frame(frame_to_mfn(f)), fill, PAGE_SIZE << order);
}

static int make_maps(void)
{
    uint8_t *msrpm;

    if (svm_features.msrpm != 0) {
        return 0;
    }
    if (machine_pages(IOPM_ORDER, 0xff, &svm_features.iopm) == NULL) {
        return -ENOMEM;
    }
    msrpm = machine_pages(MSRPM_ORDER, 0xff, &svm_features.msrpm);
    if (msrpm == NULL) {
        return -ENOMEM;
    }
    svm_msrpm_allow(msrpm);
    return 0;
}

static void enable_fpu(void)
{
    uint64_t cr0, cr4;

    asm volatile("mov %%cr0, %0" : "=r"(cr0));
    asm volatile("mov %0, %%cr0" :: "r"((cr0 & ~(CR0_EM | CR0_TS)) | CR0_MP));
    asm volatile("mov %%cr4, %0" : "=r"(cr4));
    asm volatile("mov %0, %%cr4" :: "r"(cr4 | CR4_OSFXSR | CR4_OSXMMEXCPT));
}

int svm_cpu_init(void)
{
    struct svm_cpu *c = &svm_cpus[arch_cpu()];
    maddr_t hsave;
    int err = check_processor();

    if (err != 0) {
        return err;
    }
    enable_fpu();
    /* The boot CPU is through here before any other starts: no lock. */
    if (svm_features.msrpm == 0) {
        svm_features.cr4_allowed = cr4_allowed();
        svm_features.mxcsr_mask = mxcsr_mask();
    }
    err = make_maps();
    if (err != 0) {
        return err;
    }
    if (machine_pages(0, 0, &hsave) == NULL ||
        machine_pages(0, 0, &c->host_vmcb) == NULL) {
        return -ENOMEM;
    }
    /* Without the host's NXE an NPF does not tell fetches from reads. */
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME | EFER_NXE);
    wrmsr(MSR_VM_HSAVE_PA, hsave);
    asm volatile("vmsave %0" :: "a"(c->host_vmcb) : "memory");
    asid_cpu_init(svm_features.nr_asids);
    return 0;
}
