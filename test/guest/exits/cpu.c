/* cpu.c - what the processor claims to be, and the registers behind it. */
#include "exits.h"

#include <public/xen/cpuid.h>
#include <public/xen/version.h>

#define MSR_PAT 0x277
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_SFMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_SYSENTER_EIP 0x176
#define MSR_VM_HSAVE_PA 0xc0010117

static bool bit(uint32_t word, unsigned n)
{
    return (word >> n & 1) != 0;
}

static void check_features(void)
{
    uint32_t r[4];

    cpuid(0, 0, r);
    CHECK(r[0] >= 1, "highest leaf %u", r[0]);
    cpuid(1, 0, r);
    CHECK(bit(r[2], 31), "the hypervisor bit is clear");
    CHECK(!bit(r[2], 3), "MONITOR is offered");
    CHECK(!bit(r[2], 17), "PCID is offered");
    CHECK(!bit(r[2], 21), "x2APIC is offered");
    CHECK(!bit(r[2], 24), "the TSC deadline timer is offered");
    CHECK(!bit(r[2], 26) && !bit(r[2], 27), "XSAVE is offered");
    CHECK(!bit(r[2], 30), "RDRAND is offered");
    CHECK(bit(r[3], 0) && bit(r[3], 4) && bit(r[3], 5) && bit(r[3], 6),
          "FPU, TSC, MSR or PAE is missing: %x", r[3]);
    cpuid(7, 0, r);
    CHECK(!bit(r[1], 18), "RDSEED is offered");
    cpuid(0x80000001, 0, r);
    CHECK(!bit(r[2], 2), "SVM is offered");
    CHECK(bit(r[3], 29), "long mode is missing");
    CHECK(bit(r[3], 20), "NX is missing");
}

static void check_leaves(void)
{
    uint32_t base = hypercall_leaf(), r[4];

    CHECK(base != 0, "no Xen leaves");
    if (base == 0) {
        return;
    }
    cpuid(base, 0, r);
    CHECK(r[0] >= base + 4, "highest Xen leaf %x", r[0]);
    cpuid(base + 1, 0, r);
    CHECK(r[0] == hc_xen_version(XENVER_version, NULL),
          "leaf 1 says %x", r[0]);
    cpuid(base + 2, 0, r);
    CHECK(r[0] == 1, "%u hypercall pages", r[0]);
    CHECK(r[1] == XEN_MSR_HYPERCALL_PAGE, "hypercall MSR %x", r[1]);
    CHECK(guest_domid() < DOMID_FIRST_RESERVED, "domain id %x",
          guest_domid());
}

static void do_rdmsr(void *arg)
{
    *(uint64_t *)arg = rdmsr((uint32_t)*(uint64_t *)arg);
}

struct msr_write { uint32_t msr; uint64_t value; };

static void do_wrmsr(void *arg)
{
    const struct msr_write *w = arg;

    wrmsr(w->msr, w->value);
}

static void expect_gp(const struct guard *g, bool fired, const char *what)
{
    CHECK(fired && g->vector == TRAP_GP && g->error == 0,
          "%s: fault %u error %lx, not #GP", what, fired ? g->vector : 0,
          fired ? g->error : 0);
}

static void msr_holds(uint32_t msr, uint64_t value)
{
    uint64_t old = rdmsr(msr);

    wrmsr(msr, value);
    CHECK(rdmsr(msr) == value, "MSR %x does not keep what is written", msr);
    wrmsr(msr, old);
    CHECK(rdmsr(msr) == old, "MSR %x does not go back", msr);
}

static void check_msrs(void)
{
    static const uint32_t absent[] = { MSR_VM_HSAVE_PA, 0x12345, 0x4000ffff,
                                       0xc0012345 };
    struct guard g;

    CHECK((rdmsr(MSR_EFER) & (EFER_LME | EFER_LMA | EFER_NXE))
          == (EFER_LME | EFER_LMA | EFER_NXE), "EFER %lx", rdmsr(MSR_EFER));
    CHECK((rdmsr(MSR_EFER) & UINT64_C(0x1000)) == 0, "EFER.SVME is visible");
    msr_holds(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
    msr_holds(MSR_STAR, UINT64_C(0x0010000800000000));
    msr_holds(MSR_LSTAR, UINT64_C(0xffff800000001234));
    msr_holds(MSR_CSTAR, UINT64_C(0x123456));
    msr_holds(MSR_SFMASK, UINT64_C(0x47700));
    msr_holds(MSR_FS_BASE, UINT64_C(0x7fff12345678));
    msr_holds(MSR_KERNEL_GS_BASE, UINT64_C(0xffff900000000000));
    msr_holds(MSR_SYSENTER_EIP, UINT64_C(0x1000));
    CHECK(rdmsr(MSR_PAT) == UINT64_C(0x0007040600070406), "PAT %lx",
          rdmsr(MSR_PAT));
    msr_holds(MSR_PAT, UINT64_C(0x0007010600070106));

    struct msr_write bad_pat = { MSR_PAT, UINT64_C(0x0303030303030303) };
    expect_gp(&g, guard_run(&g, do_wrmsr, &bad_pat), "a reserved PAT type");
    struct msr_write svme = { MSR_EFER, rdmsr(MSR_EFER) | 0x1000 };
    expect_gp(&g, guard_run(&g, do_wrmsr, &svme), "EFER.SVME");
    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
        uint64_t msr = absent[i];
        struct msr_write w = { absent[i], 0x1000 };

        expect_gp(&g, guard_run(&g, do_rdmsr, &msr), "read of an absent MSR");
        expect_gp(&g, guard_run(&g, do_wrmsr, &w), "write to an absent MSR");
    }
}

/* Other code comes to the same address: whose length must not be that of the
 * code before, or RIP is at the INT3. */
static void check_code_that_moves(void)
{
    static const uint8_t code[2][5] = {
        { 0x2e, 0x2e, 0x0f, 0xa2, 0xc3 },   /* CS CS CPUID; RET */
        { 0x0f, 0xa2, 0xc3, 0xcc, 0xcc },
    };

    for (unsigned i = 0; i < 4 && memory_top() >= 0x600; i++) {
        uint32_t a = 0, b, c = 0, d;
        void *p = memory_window((uint64_t)(1 + i % 2) << 21);

        memcpy(p, code[i % 2], sizeof(code[0]));
        asm volatile("call *%4" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)
                     : "r"(p) : "memory");
        CHECK(a >= 1, "CPUID's leaf 0 has %x", a);
    }
}

/* With shadow paging the processor's own CR0.WP is always set. */
static void check_wp_is_its_own(uint64_t cr0)
{
    uint64_t full;
    uint16_t word;

    write_cr0(cr0 & ~UINT64_C(0x10000));
    asm volatile("smsw %0" : "=r"(full));
    asm volatile("smsw %0" : "=m"(word));
    CHECK(read_cr0() == (cr0 & ~UINT64_C(0x10000)), "CR0.WP is set");
    CHECK(full == read_cr0() && word == (uint16_t)cr0,
          "SMSW: %lx and %x", full, word);
    write_cr0(cr0);
}

static void check_control_registers(void)
{
    uint64_t cr0 = read_cr0(), cr4 = read_cr4();

    CHECK(cr0 == 0x80010033, "CR0 %lx", cr0);
    CHECK(cr4 == 0x20, "CR4 %lx", cr4);
    write_cr4(cr4 | 0x80);      /* PGE */
    CHECK(read_cr4() == (cr4 | 0x80), "CR4.PGE does not stick");
    write_cr4(cr4);
    write_cr0(cr0 | 8);         /* TS */
    CHECK(read_cr0() == (cr0 | 8), "CR0.TS does not stick");
    asm volatile("clts");
    CHECK(read_cr0() == cr0, "CLTS does not clear CR0.TS");
    check_wp_is_its_own(cr0);
    write_cr8(5);
    CHECK(read_cr8() == 5, "CR8 %lx", read_cr8());
    write_cr8(0);
    write_cr3(read_cr3());
    CHECK(read_cr0() == cr0 && read_cr4() == cr4, "CR0 or CR4 has changed");
}

static void check_time(void)
{
    uint64_t t = rdtsc(), now = guest_ticks();

    for (unsigned i = 0; i < 100; i++) {
        uint64_t t2 = rdtsc(), now2 = guest_ticks();

        CHECK(t2 >= t, "the TSC runs backwards");
        CHECK(now2 >= now, "quire_op(now) runs backwards");
        cpu_relax();
        t = t2;
        now = now2;
    }
}

void check_cpu(void)
{
    check_features();
    check_leaves();
    check_msrs();
    check_control_registers();
    check_code_that_moves();
    check_time();
}
