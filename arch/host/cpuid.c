/*
 * cpuid.c - the processor that host tests find: a plain 64-bit AMD with a few
 * features that the domain's policy must hide. The same on every machine.
 */
#include <quire/arch.h>

static const struct { uint32_t leaf, sub, out[4]; } leaves[] = {
    { 0x00000000, 0, { 0x0d, 0x68747541, 0x444d4163, 0x69746e65 } },
    /* ECX: SSE3, MONITOR, FMA, CX16, PCID, x2APIC, XSAVE, OSXSAVE, RDRAND */
    { 0x00000001, 0, { 0x00800f12, 0x00010800, 0x4c223009, 0x178bfbff } },
    /* FSGSBASE, BMI1, SMEP, BMI2, ERMS, INVPCID, RDSEED, ADX, SMAP; UMIP */
    { 0x00000007, 0, { 0, 0x001c0789, 0x00000004, 0 } },
    { 0x0000000d, 0, { 7, 0x340, 0x340, 0 } },
    { 0x80000000, 0, { 0x8000000a, 0x68747541, 0x444d4163, 0x69746e65 } },
    /* LAHF, SVM, ABM, SSE4A; SYSCALL, NX, 1G pages, RDTSCP, LM */
    { 0x80000001, 0, { 0x00800f12, 0, 0x00000065, 0x2e100800 } },
    { 0x80000002, 0, { 0x72697551, 0x6f682065, 0x00007473, 0 } },
    { 0x80000007, 0, { 0, 0, 0, 0x00000100 } },
    { 0x80000008, 0, { 0x00003028, 0, 0, 0 } },
    { 0x8000000a, 0, { 1, 16, 0, 0x00000001 } },
};

void arch_cpuid(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    for (unsigned k = 0; k < ARRAY_SIZE(leaves); k++) {
        if (leaves[k].leaf == leaf && leaves[k].sub == sub) {
            for (unsigned r = 0; r < 4; r++) {
                out[r] = leaves[k].out[r];
            }
            return;
        }
    }
    out[0] = out[1] = out[2] = out[3] = 0;
}
