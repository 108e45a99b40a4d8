/*
 * places.c - guest-physical addresses where nothing is, the edge between them
 * and RAM, and linear addresses that do not translate.
 */
#include "hostile.h"

#define PF FAULT(TRAP_PF)
#define GP FAULT(TRAP_GP)
#define ONES (~UINT64_C(0))

struct access { void *p; uint64_t value; bool is_write; };

static void touch(void *arg)
{
    struct access *a = arg;
    volatile uint64_t *p = a->p;

    if (a->is_write) {
        *p = a->value;
    } else {
        a->value = *p;
    }
}

static void call(void *arg)
{
    asm volatile("call *%0" : : "r"(arg) : "memory");
}

static void try_access(const char *what, uint32_t allowed, void *p,
                       bool is_write, uint64_t want)
{
    struct access a = { p, 0x1234, is_write };

    expect(what, allowed, touch, &a);
    CHECK(is_write || allowed != NONE || a.value == want,
          "%s: %lx, not %lx", what, a.value, want);
}

/* Holes are all ones to read, swallow writes, and cannot be executed. */
static void probe_holes(void)
{
    static const uint64_t gpas[] = {
        0xf0000000, 0xf0000ff9, 0xfec00000, 0xfee00000, 0xfee000f0,
        0xfffffff0, UINT64_C(0x3fffffffff), UINT64_C(0x1000000000),
        UINT64_C(0xfd00000000), UINT64_C(0xfffffff000),
    };
    uint32_t r[4];

    cpuid(0x80000008, 0, r);
    for (unsigned i = 0; i < ARRAY_SIZE(gpas); i++) {
        if (memory_run(gpas[i] >> PAGE_SHIFT) != 0
            || gpas[i] >> (r[0] & 0xff) != 0) {
            continue;
        }
        uint8_t *p = memory_window(gpas[i]);

        try_access("write to a hole", NONE, p, true, 0);
        try_access("read of a hole", NONE, p, false, ONES);
        expect("execution of a hole", GP, call, p);
    }
    /* Beyond what the processor can address: a reserved bit in the entry. */
    uint8_t *beyond = memory_window(UINT64_C(1) << 51);
    if ((r[0] & 0xff) <= 51) {
        try_access("beyond the address width", PF, beyond, false, 0);
        try_access("beyond the address width", PF, beyond, true, 0);
    }
}

/* Instructions that no driver uses on MMIO: a fault, or as on a hole. With
 * the stack itself in the hole a fault cannot be delivered: #DF. */
static void odd_fxsave(void *p) { asm volatile("fxsave (%0)" : : "r"(p)); }
static void odd_fld(void *p)
{
    asm volatile("fldl (%0); fstp %%st" : : "r"(p));
}
static void odd_push(void *p) { asm volatile("pushq (%0); popq %%rax"
                                             : : "r"(p) : "rax"); }
static void odd_lgdt(void *p) { asm volatile("sgdt (%0)" : : "r"(p)); }
static void odd_cx16(void *p)
{
    asm volatile("lock cmpxchg16b (%0)" : : "r"(p), "a"(0), "b"(0), "c"(0),
                 "d"(0) : "memory", "cc");
}
static void odd_call(void *p) { asm volatile("call *(%0)" : : "r"(p)); }
static void odd_enter(void *p)
{
    asm volatile("mov %%rsp, %%rbx; mov %0, %%rsp; pushq $5; popq %%rax;"
                 "mov %%rbx, %%rsp" : : "r"((uint8_t *)p + 64)
                 : "rax", "rbx", "memory");
}

static void probe_odd(void)
{
    static void (*const fns[])(void *) = {
        odd_fxsave, odd_fld, odd_push, odd_lgdt, odd_cx16, odd_call,
        odd_enter,
    };
    void *hole = gfn_ptr(0xf1000);

    for (unsigned i = 0; i < ARRAY_SIZE(fns); i++) {
        expect("an odd instruction on a hole",
               NONE | GP | PF | FAULT(TRAP_UD) | FAULT(TRAP_NM)
               | FAULT(TRAP_DF), fns[i], hole);
    }
}

/* The last bytes of RAM together with the first of the hole behind it. */
static void probe_edge(void)
{
    uint64_t last = GUEST_FREE_GFN + memory_run(GUEST_FREE_GFN) - 1;
    uint8_t *end = (uint8_t *)memory_window((last << PAGE_SHIFT) + PAGE_SIZE
                                            - 16) + 16;
    volatile uint64_t *cross = (uint64_t *)(void *)(end - 4);

    if (memory_run(last + 1) != 0) {
        return;
    }
    end[-4] = 1, end[-3] = 2, end[-2] = 3, end[-1] = 4;
    try_access("a read over the edge", NONE, end - 4, false,
               UINT64_C(0xffffffff04030201));
    *cross = UINT64_C(0x1122334455667788);
    CHECK(end[-4] == 0x88 && end[-1] == 0x55,
          "a write over the edge: %x .. %x", end[-4], end[-1]);
    CHECK(*cross == UINT64_C(0xffffffff55667788), "over the edge: %lx",
          *cross);
    /* mov $imm32, %eax, of which the hole has the last three bytes. */
    end[-2] = 0xb8;
    end[-1] = 0;
    expect("code over the edge", GP, call, end - 2);
}

static void touch_stack(void *arg)
{
    asm volatile("mov %%rsp, %%rbx; mov %0, %%rsp; movq (%%rsp), %%rax;"
                 "mov %%rbx, %%rsp" : : "r"(arg) : "rax", "rbx", "memory");
}

static void probe_linear(void)
{
    try_access("NULL", PF, NULL, false, 0);
    try_access("NULL", PF, NULL, true, 0);
    try_access("unmapped", PF, (void *)UINT64_C(0xffff900000000000), true, 0);
    try_access("not canonical", GP, (void *)UINT64_C(0x1234567800000000),
               false, 0);
    try_access("not canonical", GP, (void *)UINT64_C(0x8000000000000000),
               true, 0);
    expect("execution of nothing", PF, call,
           (void *)UINT64_C(0xffff900000000000));
    memory_protect(SCRATCH_GFN, false);
    try_access("read-only", PF, gfn_ptr(SCRATCH_GFN), true, 0);
    try_access("read-only", NONE, gfn_ptr(SCRATCH_GFN), false,
               *(uint64_t *)gfn_ptr(SCRATCH_GFN));
    memory_protect(SCRATCH_GFN, true);
    expect("a stack that is not canonical", FAULT(TRAP_SS) | FAULT(TRAP_DF),
           touch_stack, (void *)UINT64_C(0x8000000000000000));
}

void probe_places(void)
{
    probe_holes();
    probe_odd();
    probe_edge();
    probe_linear();
}
