/* test_platform.c - what a guest sees of its machine: CPUID, MSRs, ports, and
 * the hypercall page that an MSR asks for. */
#include "test_hypercall.h"

TEST(hypercall_page_by_msr)
{
    struct vcpu_exit e = { .reason = EXIT_WRMSR, .insn_len = 2,
                           .msr = { XEN_MSR_HYPERCALL_PAGE, 0x30000 } };
    uint8_t stub[9];

    begin();
    vcpu_handle_exit(v, &e);
    peek(0x30000 + 32 * 29, stub, sizeof(stub));
    CHECK(memcmp(stub, "\xb8\x1d\0\0\0\x0f\x01\xd9\xc3", 9) == 0);
    CHECK_EQ(host_vcpu_injections(v, NULL, 0), 0);
    e.msr.value = UINT64_C(1) << 40;
    vcpu_handle_exit(v, &e);
    e.msr.value = 0x30001;
    vcpu_handle_exit(v, &e);
    CHECK_EQ(host_vcpu_injections(v, NULL, 0), 2);
    end();
}

static void cpuid(uint32_t leaf, uint32_t r[4])
{
    struct vcpu_exit e = { .reason = EXIT_CPUID, .insn_len = 2 };

    v->regs.rax = leaf;
    v->regs.rcx = 0;
    vcpu_handle_exit(v, &e);
    r[0] = (uint32_t)v->regs.rax;
    r[1] = (uint32_t)v->regs.rbx;
    r[2] = (uint32_t)v->regs.rcx;
    r[3] = (uint32_t)v->regs.rdx;
}

TEST(cpuid_hides_what_is_not_virtualised)
{
    uint32_t r[4];

    begin();
    cpuid(1, r);
    CHECK_EQ(r[2] & (1u << 3 | 1u << 12 | 1u << 17 | 1u << 21 | 1u << 26 |
                     1u << 27 | 1u << 28 | 1u << 30), 0);
    CHECK(r[2] >> 31 == 1);
    CHECK_EQ(r[3] & (1u << 9 | 1u << 12), 0);
    cpuid(0x80000001, r);
    CHECK_EQ(r[2] & 4, 0);
    CHECK((r[3] & 1u << 29) != 0);
    cpuid(0x8000000a, r);
    CHECK_EQ(r[0] | r[1] | r[2] | r[3], 0);
    cpuid(7, r);
    CHECK_EQ(r[1] & (1u << 10 | 1u << 18), 0);
    cpuid(0x40000000, r);
    CHECK_EQ(r[0], 0x40000004);
    CHECK(memcmp(&r[1], "XenVMMXenVMM", 12) == 0);
    cpuid(0x40000002, r);
    CHECK_EQ(r[1], XEN_MSR_HYPERCALL_PAGE);
    cpuid(0x40000004, r);
    CHECK_EQ(r[2], d->id);
    d->config.leaves = LEAVES_NONE;
    cpuid(0x40000000, r);
    CHECK_EQ(r[0] | r[1] | r[2] | r[3], 0);
    cpuid(1, r);
    CHECK_EQ(r[2] >> 31, 0);
    end();
}

TEST(msrs_and_ports)
{
    struct vcpu_exit e = { .reason = EXIT_RDMSR, .insn_len = 2,
                           .msr = { .index = 0xc0010015 } };

    begin();
    v->regs.rax = 5;
    vcpu_handle_exit(v, &e);
    CHECK_EQ(v->regs.rax, 0);
    e.msr.index = 0x1234;
    vcpu_handle_exit(v, &e);
    CHECK_EQ(host_vcpu_injections(v, NULL, 0), 1);
    e = (struct vcpu_exit){ .reason = EXIT_IO, .insn_len = 1,
                            .io = { .port = 0x60, .size = 1,
                                    .is_in = true } };
    v->regs.rax = 0x1122334455667788;
    vcpu_handle_exit(v, &e);
    CHECK_EQ(v->regs.rax, 0x11223344556677ff);
    e.io.size = 4;
    vcpu_handle_exit(v, &e);
    CHECK_EQ(v->regs.rax, 0xffffffff);
    end();
}
