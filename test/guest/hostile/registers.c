/*
 * registers.c - control, debug and model-specific registers: reserved bits and
 * forbidden combinations give #GP (or #UD where there is no register), never
 * a VMRUN that refuses the state.
 */
#include "hostile.h"

#define GP FAULT(TRAP_GP)
#define UD FAULT(TRAP_UD)

static void cr0(void *v) { write_cr0(*(uint64_t *)v); }
static void cr3(void *v) { write_cr3(*(uint64_t *)v); }
static void cr4(void *v) { write_cr4(*(uint64_t *)v); }
static void cr8(void *v) { write_cr8(*(uint64_t *)v); }
static void efer(void *v) { wrmsr(MSR_EFER, *(uint64_t *)v); }

static void cr1(void *v)
{
    (void)v;
    asm volatile(".byte 0x0f, 0x22, 0xc8" : : "a"(0));  /* mov %rax, %cr1 */
}

static void cr15(void *v)
{
    (void)v;
    asm volatile(".byte 0x44, 0x0f, 0x22, 0xf8" : : "a"(0));
}

static void dr7(void *v)
{
    asm volatile("mov %0, %%dr7" : : "r"(*(uint64_t *)v));
}

static void dr6(void *v)
{
    asm volatile("mov %0, %%dr6" : : "r"(*(uint64_t *)v));
}

static void refused(const char *what, void (*fn)(void *), uint64_t value,
                    uint32_t allowed)
{
    expect(what, allowed, fn, &value);
}

static void probe_control(void)
{
    uint64_t c0 = read_cr0(), c3 = read_cr3(), c4 = read_cr4();

    refused("CR0 bit 63", cr0, c0 | UINT64_C(1) << 63, GP);
    refused("CR0 bit 32", cr0, c0 | UINT64_C(1) << 32, GP);
    refused("CR0 without PE", cr0, c0 & ~UINT64_C(1), GP);
    refused("CR0 without PG", cr0, c0 & ~UINT64_C(0x80000000), GP);
    refused("CR0 NW without CD", cr0, c0 | UINT64_C(0x20000000), GP);
    refused("CR4 bit 63", cr4, c4 | UINT64_C(1) << 63, GP);
    refused("CR4 bit 31", cr4, c4 | UINT64_C(1) << 31, GP);
    refused("CR4 without PAE", cr4, c4 & ~UINT64_C(0x20), GP);
    refused("CR4.PCIDE", cr4, c4 | UINT64_C(1) << 17, GP);
    refused("CR4.OSXSAVE", cr4, c4 | UINT64_C(1) << 18, GP);
    refused("CR4.LA57", cr4, c4 | UINT64_C(1) << 12, GP);
    refused("CR4.VMXE", cr4, c4 | UINT64_C(1) << 13, GP);
    refused("CR3 bit 63", cr3, c3 | UINT64_C(1) << 63, GP);
    refused("CR3 bit 52", cr3, c3 | UINT64_C(1) << 52, GP);
    refused("CR8 of 16", cr8, 16, GP);
    refused("CR1", cr1, 0, UD);
    refused("CR15", cr15, 0, UD);
    CHECK(read_cr0() == c0 && read_cr3() == c3 && read_cr4() == c4,
          "a refused write has changed a control register");
}

static void probe_efer(void)
{
    uint64_t e = rdmsr(MSR_EFER);

    refused("EFER.SVME", efer, e | 0x1000, GP);
    refused("EFER bit 63", efer, e | UINT64_C(1) << 63, GP);
    refused("EFER bit 1", efer, e | 2, GP);
    refused("EFER without LME", efer, e & ~EFER_LME, GP);
    CHECK(rdmsr(MSR_EFER) == e, "a refused write has changed EFER");
}

static void probe_debug(void)
{
    refused("DR7 bit 32", dr7, UINT64_C(1) << 32, GP);
    refused("DR6 bit 63", dr6, UINT64_C(1) << 63, GP);
    refused("DR7.GD", dr7, 0x2400, NONE);
    refused("DR7 with GD set", dr7, 0x400, FAULT(TRAP_DB));
    refused("DR7 again", dr7, 0x400, NONE);
    refused("DR6 again", dr6, UINT64_C(0xffff0ff0), NONE);
}

struct msr_op { uint32_t index; uint64_t value; bool is_write; };

static void do_msr(void *arg)
{
    struct msr_op *m = arg;

    if (m->is_write) {
        wrmsr(m->index, m->value);
    } else {
        m->value = rdmsr(m->index);
    }
}

/* The hypervisor's own, and whole ranges that hold nothing for a guest. */
static void probe_msrs(void)
{
    static const uint32_t absent[] = {
        0xc0010117 /* VM_HSAVE_PA */, 0xc0010114 /* VM_CR */, 0x00000808,
        0x40000001, 0x40000105, 0xc0000200, 0xffffffff, 0x00002000,
        0xc0002000, 0x80000000,
    };
    struct msr_op page = { 0x40000000, ~UINT64_C(0), true };

    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
        struct msr_op r = { absent[i], 0, false };
        struct msr_op w = { absent[i], 0x181000, true };

        expect("read of an absent MSR", GP, do_msr, &r);
        expect("write to an absent MSR", GP, do_msr, &w);
    }
    expect("hypercall page nowhere", GP, do_msr, &page);
    page.value = UINT64_C(0xf0000000);
    expect("hypercall page in a hole", GP, do_msr, &page);
    page.value = SCRATCH_GFN << PAGE_SHIFT | 5;
    expect("hypercall page number 5", GP, do_msr, &page);
}

/* Every port below 4096, where PCs have their devices, and some of the others:
 * none may answer but 0xe9. */
static void probe_ports(void)
{
    unsigned answers = 0;

    for (unsigned port = 0; port < 0x10000; port += port < 0x1000 ? 1 : 13) {
        answers += inb((uint16_t)port) != 0xff && port != 0xe9;
        if (port % 16 == 0) {
            answers += inl((uint16_t)port) != 0xffffffff;
            outw((uint16_t)port, 0xdead);
        }
        if (port != 0xe9) {
            outb((uint16_t)port, 0xff);
        }
    }
    CHECK(answers == 0, "%u ports answer", answers);
}

void probe_registers(void)
{
    probe_control();
    probe_efer();
    probe_debug();
    probe_msrs();
    probe_ports();
}
