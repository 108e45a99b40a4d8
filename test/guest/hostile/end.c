/* end.c - the ways in which the hostile guest can die. */
#include "hostile.h"

#include <public/xen/sched.h>

#define HOLE UINT64_C(0xf1000000)

static void die_triple(uint64_t seed)
{
    static const uint8_t no_idt[10];

    (void)seed;
    asm volatile("lidt %0; int3" : : "m"(no_idt));
}

/* #GP cannot be pushed, nor then #DF, which has no stack of its own. */
static void die_stackfault(uint64_t seed)
{
    (void)seed;
    trap_drop_ist();
    asm volatile("mov %0, %%rsp; push %%rax"
                 : : "r"(UINT64_C(0x8000000000000000)));
}

static void die_crash(uint64_t seed)
{
    (void)seed;
    guest_shutdown(SHUTDOWN_crash);
}

static void die_hang(uint64_t seed)
{
    (void)seed;
    asm volatile("cli; 1: jmp 1b");
}

static void die_hlt(uint64_t seed)
{
    (void)seed;
    asm volatile("cli; 1: hlt; jmp 1b");
}

static void die_badcr3(uint64_t seed)
{
    (void)seed;
    write_cr3(HOLE);
}

static void die_stackhole(uint64_t seed)
{
    (void)seed;
    asm volatile("mov %0, %%rsp; ud2" : : "r"(HOLE + 0x800));
}

/* Bytes that are instructions by accident, with registers that point at odd
 * places; each try is guarded, until one does not come back. */
static void run_bytes(void *p)
{
    asm volatile("call *%0" : : "r"(p)
                 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9",
                   "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}

static void die_random(uint64_t seed)
{
    struct random r = { mix64(seed ^ 0x64696521) };
    struct guard g;

    for (;;) {
        uint64_t *p = gfn_ptr(SCRATCH_GFN);

        for (unsigned i = 0; i < 8; i++) {
            p[i] = random_next(&r);
        }
        p[8] = UINT64_C(0x0b0f0b0f0b0f0b0f);    /* ud2, four times */
        (void)guard_run(&g, run_bytes, p);
    }
}

void hostile_end(uint64_t seed)
{
    static const struct { const char *name; void (*fn)(uint64_t); } ends[] = {
        { "triple", die_triple }, { "stackfault", die_stackfault },
        { "crash", die_crash }, { "hang", die_hang }, { "hlt", die_hlt },
        { "badcr3", die_badcr3 }, { "stackhole", die_stackhole },
        { "random", die_random },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
        if (option_is("end", ends[i].name)) {
            trap_expect_end();
            ends[i].fn(seed);
        }
    }
}
