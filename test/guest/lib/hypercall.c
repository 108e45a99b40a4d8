/* hypercall.c - finding the hypervisor, and the two ways to call it. */
#include "hypercall.h"

#include <public/xen/cpuid.h>

#include "cpu.h"

/* RET everywhere, until the hypervisor fills it. */
uint8_t hypercall_page[PAGE_SIZE] __attribute__((aligned(4096)));

static uint32_t first_leaf;

void hypercall_init(void)
{
    for (uint32_t leaf = XEN_CPUID_FIRST_LEAF; leaf < 0x40010000;
         leaf += 0x100) {
        uint32_t r[4];

        cpuid(leaf, 0, r);
        if (r[1] != XEN_CPUID_SIGNATURE_EBX
            || r[2] != XEN_CPUID_SIGNATURE_ECX
            || r[3] != XEN_CPUID_SIGNATURE_EDX || r[0] < leaf + 2) {
            continue;
        }
        cpuid(leaf + 2, 0, r);
        wrmsr(r[1], GVA(hypercall_page));
        first_leaf = leaf;
        return;
    }
}

bool hypercall_is_present(void)
{
    return first_leaf != 0;
}

uint32_t hypercall_leaf(void)
{
    return first_leaf;
}

int64_t hypercall(unsigned nr, uint64_t a1, uint64_t a2, uint64_t a3,
                  uint64_t a4, uint64_t a5)
{
    register uint64_t r10 asm("r10") = a4;
    register uint64_t r8 asm("r8") = a5;
    int64_t ret;

    if (first_leaf == 0 || nr >= XEN_HYPERCALL_PAGE_STUBS) {
        return -ENOSYS;
    }
    asm volatile("call *%[stub]"
                 : "=a"(ret), "+D"(a1), "+S"(a2), "+d"(a3), "+r"(r10),
                   "+r"(r8)
                 : [stub] "0"(hypercall_page + nr * XEN_HYPERCALL_STUB_SIZE)
                 : "rcx", "r11", "memory", "cc");
    return ret;
}

int64_t hypercall_raw(uint64_t nr, uint64_t a1, uint64_t a2, uint64_t a3,
                      uint64_t a4, uint64_t a5)
{
    register uint64_t r10 asm("r10") = a4;
    register uint64_t r8 asm("r8") = a5;

    asm volatile("vmmcall"
                 : "+a"(nr), "+D"(a1), "+S"(a2), "+d"(a3), "+r"(r10),
                   "+r"(r8)
                 : : "rcx", "r11", "memory", "cc");
    return (int64_t)nr;
}
