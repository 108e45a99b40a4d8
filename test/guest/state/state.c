/*
 * state - what a vCPU keeps in the processor stays its own. Two of these on
 * one CPU take turns at every yield, each with values drawn from its domain
 * number, so that whatever the world switch forgets is found in the other's.
 *
 *   phase 1   the values are loaded. Before it allows phase 2 the toolstack may
 *             make all pages shareable: see check_delivery().
 *   phase 2   `rounds=` (200) yields, and after each: XMM registers, MXCSR,
 *             the x87 control word, DR0-3, the system call MSRs, PAT, TSC_AUX
 *             and all general registers across the exit.
 *             Then, once: a single step over an instruction that exits, INT1,
 *             a breakpoint, CR0.TS by each of its instructions, CR8, and an
 *             interrupt that comes due while interrupts are off, in a loop
 *             that exits for nothing else: only a window brings it in.
 */
#include "event.h"
#include "guest.h"
#include "random.h"

#include <public/xen/sched.h>

#define CR0_MP UINT64_C(0x02)
#define CR0_TS UINT64_C(0x08)
#define CR4_OSFXSR UINT64_C(0x200)
#define DR6_B0 UINT64_C(0x0001)
#define DR6_BS UINT64_C(0x4000)
#define LATE_NS UINT64_C(1000000)
#define SETTLED_NS UINT64_C(50000000)
#define GIVE_UP_NS UINT64_C(3000000000)
#define ATTEMPTS 10

static uint64_t seed;
static alignas(16) uint8_t fpu[512], fpu_now[512];
static volatile bool has_fired;
extern uint8_t cpu_stacks[];     /* start.c: four pages a vCPU */

static uint64_t value(unsigned n)
{
    return mix64(seed * 64 + n);
}

/* MSRs and the bits of them that hold any value. */
static const struct { uint32_t msr; uint64_t mask; } msrs[] = {
    { 0x174, 0xffff }, { 0x175, 0x7fffffffffff }, { 0x176, 0x7fffffffffff },
    { 0xc0000081, UINT64_MAX }, { 0xc0000082, 0x7fffffffffff },
    { 0xc0000083, 0x7fffffffffff }, { 0xc0000084, UINT32_MAX },
    { 0xc0000100, 0x7fffffffffff }, { 0xc0000102, 0x7fffffffffff },
    { 0xc0000103, UINT32_MAX },
};

#define DR_FUNCTIONS(n) \
static uint64_t read_dr##n(void) \
{ \
    uint64_t v; \
    asm volatile("mov %%dr" #n ", %0" : "=r"(v)); \
    return v; \
} \
static void write_dr##n(uint64_t v) \
{ \
    asm volatile("mov %0, %%dr" #n : : "r"(v)); \
}
DR_FUNCTIONS(0)
DR_FUNCTIONS(1)
DR_FUNCTIONS(2)
DR_FUNCTIONS(3)
DR_FUNCTIONS(6)
DR_FUNCTIONS(7)

static void load_all(void)
{
    asm volatile("fxsave64 %0" : "=m"(fpu));
    fpu[0] = 0x7f;                              /* x87 control word, ... */
    fpu[1] = (uint8_t)(3 | (value(0) & 0xc));   /* ... any rounding */
    uint32_t mxcsr = 0x1f80 | (uint32_t)(value(1) & 0x6000);
    memcpy(fpu + 24, &mxcsr, sizeof(mxcsr));
    for (unsigned i = 0; i < 32; i++) {
        uint64_t v = value(100 + i);
        memcpy(fpu + 160 + 8 * i, &v, sizeof(v));
    }
    asm volatile("fxrstor64 %0" : : "m"(fpu));
    write_dr0(value(10));
    write_dr1(value(11));
    write_dr2(value(12));
    write_dr3(value(13));
    for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++) {
        wrmsr(msrs[i].msr, value(20 + i) & msrs[i].mask);
    }
    /* Write-back first, as it was; then one type that tells us apart. */
    wrmsr(0x277, UINT64_C(0x0007040600070406) |
                 (seed % 2 == 0 ? UINT64_C(1) << 32 : 0));
}

static void check_all(unsigned round)
{
    asm volatile("fxsave64 %0" : "=m"(fpu_now));
    CHECK(memcmp(fpu, fpu_now, 2) == 0, "round %u: x87 control", round);
    CHECK(memcmp(fpu + 24, fpu_now + 24, 4) == 0, "round %u: MXCSR", round);
    CHECK(memcmp(fpu + 160, fpu_now + 160, 256) == 0, "round %u: XMM",
          round);
    CHECK(read_dr0() == value(10) && read_dr1() == value(11) &&
          read_dr2() == value(12) && read_dr3() == value(13),
          "round %u: DR0-3", round);
    for (unsigned i = 0; i < ARRAY_SIZE(msrs); i++) {
        CHECK(rdmsr(msrs[i].msr) == (value(20 + i) & msrs[i].mask),
              "round %u: MSR %x is %lx", round, msrs[i].msr,
              rdmsr(msrs[i].msr));
    }
    CHECK((rdmsr(0x277) >> 32 & 1) == (seed % 2 == 0), "round %u: PAT",
          round);
}

/* All general registers hold a value each while port 0x80 is written. */
static void check_registers(void)
{
    uint64_t r[16];

    for (unsigned i = 0; i < 16; i++) {
        r[i] = value(40 + i);
    }
    asm volatile(
        "push %%rbp; push %0; mov %0, %%rax\n"
        "mov 8(%%rax), %%rcx; mov 16(%%rax), %%rdx; mov 24(%%rax), %%rbx\n"
        "mov 40(%%rax), %%rbp; mov 48(%%rax), %%rsi; mov 56(%%rax), %%rdi\n"
        "mov 64(%%rax), %%r8; mov 72(%%rax), %%r9; mov 80(%%rax), %%r10\n"
        "mov 88(%%rax), %%r11; mov 96(%%rax), %%r12; mov 104(%%rax), %%r13\n"
        "mov 112(%%rax), %%r14; mov 120(%%rax), %%r15; mov (%%rax), %%rax\n"
        "out %%al, $0x80\n"
        "push %%rax; mov 8(%%rsp), %%rax\n"
        "xor %%rcx, 8(%%rax); xor %%rdx, 16(%%rax); xor %%rbx, 24(%%rax)\n"
        "xor %%rbp, 40(%%rax); xor %%rsi, 48(%%rax); xor %%rdi, 56(%%rax)\n"
        "xor %%r8, 64(%%rax); xor %%r9, 72(%%rax); xor %%r10, 80(%%rax)\n"
        "xor %%r11, 88(%%rax); xor %%r12, 96(%%rax); xor %%r13, 104(%%rax)\n"
        "xor %%r14, 112(%%rax); xor %%r15, 120(%%rax)\n"
        "pop %%rcx; xor %%rcx, (%%rax); pop %%rax; pop %%rbp\n"
        : : "r"(r) : "rax", "rcx", "rdx", "rbx", "rsi", "rdi", "r8", "r9",
        "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    for (unsigned i = 0; i < 16; i++) {
        CHECK(i == 4 || r[i] == 0, "register %u is changed", i);
    }
}

extern char step_end[], int1_end[], moved_end[];
static void step_over_cpuid(void *arg)
{
    (void)arg;
    asm volatile("xor %%eax, %%eax; xor %%ecx, %%ecx\n"
                 "pushf; orl $0x100, (%%rsp); popf\n"
                 "cpuid\n"              /* TF is seen after this one */
                 "step_end: nop\n"
                 "pushf; andl $~0x100, (%%rsp); popf"
                 : : : "rax", "rbx", "rcx", "rdx", "memory", "cc");
}

/* TF first takes effect after the instruction that follows POPF. */
static void step_onto(void *stack)
{
    asm volatile("pushf; orl $0x100, (%%rsp); popf\n"
                 "mov %0, %%rsp\n"
                 "moved_end: nop; nop; ud2"
                 : : "r"(stack) : "memory", "cc");
}

/*
 * A trap is not raised again by running its instruction again: if its delivery
 * is cut short, because the stack is a page yet to be unshared, it is lost
 * unless the hypervisor injects it anew. The stacks of vCPUs that this domain
 * does not have are pages nobody has written to.
 */
static void check_delivery(void)
{
    struct guard g;

    for (unsigned k = 4; k < 16; k++) {
        void *top = cpu_stacks + (k + 1) * PAGE_SIZE;

        CHECK(guard_run(&g, step_onto, top) && g.vector == TRAP_DB &&
              g.rip == GVA(moved_end), "a trap onto page %u: vector %u at "
              "%lx, not %lx", k, g.vector, g.rip, GVA(moved_end));
    }
}

static void use_int1(void *arg)
{
    (void)arg;
    asm volatile(".byte 0xf1; int1_end: nop");
}

static __attribute__((noinline)) void broken_on(void *arg)
{
    asm volatile("" : : "r"(arg) : "memory");
}

static void check_debug(void)
{
    struct guard g;

    write_dr6(0);
    CHECK(guard_run(&g, step_over_cpuid, NULL) && g.vector == TRAP_DB &&
          g.rip == GVA(step_end), "single step: vector %u at %lx, not %lx",
          g.vector, g.rip, GVA(step_end));
    CHECK((read_dr6() & DR6_BS) != 0, "single step: DR6 is %lx", read_dr6());
    /* A processor traps behind it; QEMU 7.2 does not know the instruction. */
    CHECK(guard_run(&g, use_int1, NULL) &&
          ((g.vector == TRAP_DB && g.rip == GVA(int1_end)) ||
           (g.vector == TRAP_UD && g.rip == GVA(int1_end) - 1)),
          "INT1: vector %u at %lx", g.vector, g.rip);
    write_dr6(0);
    write_dr0(GVA(broken_on));
    write_dr7(0x401);
    /* QEMU 7.2 loads DR7 at VMRUN without arming it: none may come. One that
     * comes must be the right one. */
    if (guard_run(&g, broken_on, NULL)) {
        CHECK(g.vector == TRAP_DB && g.rip == GVA(broken_on) &&
              (read_dr6() & DR6_B0) != 0,
              "breakpoint: vector %u at %lx, DR6 %lx", g.vector, g.rip,
              read_dr6());
    }
    CHECK(read_dr7() == 0x401, "DR7 is %lx", read_dr7());
    write_dr7(0x400);
}

static void use_sse(void *arg)
{
    (void)arg;
    asm volatile("movaps %xmm0, %xmm0");
}

static void expect_nm(const char *how, bool faults)
{
    struct guard g = { .fired = false };

    CHECK(guard_run(&g, use_sse, NULL) == faults &&
          (!faults || g.vector == TRAP_NM), "TS by %s: vector %u", how,
          g.vector);
}

static void check_control(void)
{
    uint16_t word = (uint16_t)(read_cr0() | CR0_TS);

    write_cr0(read_cr0() | CR0_TS);
    expect_nm("MOV", true);
    asm volatile("clts");
    expect_nm("CLTS", false);
    asm volatile("lmsw %0" : : "m"(word));
    expect_nm("LMSW", true);
    asm volatile("lmsw %0" : : "r"((uint16_t)(word & ~CR0_TS & ~1u)));
    expect_nm("LMSW of a register", false);
    CHECK((read_cr0() & 1) != 0, "LMSW has cleared PE");
    write_cr8(5);
    CHECK(read_cr8() == 5, "CR8 is %lu", read_cr8());
    write_cr8(0);
}

static void fired(unsigned port)
{
    (void)port;
    has_fired = true;
}

/* A busy host may be late with the timer itself, so several attempts; but each
 * interrupt must come in the end. */
static void check_window(void)
{
    bool at_once = false;

    CHECK(event_bind_virq(VIRQ_TIMER, 0, fired) > 0, "binding the timer");
    for (unsigned k = 0; k < ATTEMPTS && !at_once; k++) {
        uint64_t due = clock_ns() + LATE_NS;

        has_fired = false;
        CHECK(timer_set_ns(due) == 0, "the timer");
        while (clock_ns() < due + SETTLED_NS) {
        }
        CHECK(!has_fired, "an interrupt came although they were off");
        irq_enable();
        asm volatile("nop; nop; nop");
        irq_disable();
        at_once = has_fired;
        while (!has_fired && clock_ns() < due + GIVE_UP_NS) {
            irq_enable();
            cpu_relax();
            irq_disable();
        }
        CHECK(has_fired, "the interrupt never came");
    }
    CHECK(at_once, "the interrupt did not come at once");
}

void guest_main(void)
{
    uint64_t rounds = option_u64("rounds", 200);

    seed = option_u64("seed", guest_domid());
    CHECK(event_init() == 0, "event_init");
    write_cr0((read_cr0() | CR0_MP) & ~(CR0_TS | UINT64_C(4)));
    write_cr4(read_cr4() | CR4_OSFXSR);
    load_all();
    guest_phase_report(1);
    guest_phase_wait(2);
    check_delivery();
    for (unsigned i = 0; i < rounds && guest_failures() < 20; i++) {
        check_registers();
        (void)hc_sched_op(SCHEDOP_yield, NULL);
        check_all(i);
    }
    check_debug();
    check_control();
    check_window();
    guest_finish("state");
}
