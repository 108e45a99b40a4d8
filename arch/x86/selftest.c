/*
 * selftest.c - deliberate faults, chosen by `selftest=NAME` in a debug build;
 * test/boot/test_boot.py expects each to be reported and to end the machine.
 */
#include "selftest.h"

#include <quire/cmdline.h>
#include <quire/log.h>
#include <quire/panic.h>
#include <quire/types.h>

#ifdef QUIRE_DEBUG

#include "cpu_ops.h"
#include "layout.h"
#include "percpu.h"

#define NOWHERE UINT64_C(0x4000000000)     /* no page is mapped there */

static uint64_t ret_insn = 0xc3;

static void write_to(uint64_t addr)
{
    __asm__ volatile("movb $0, (%0)" : : "r"(addr) : "memory");
}

static void call(uint64_t addr)
{
    __asm__ volatile("call *%0" : : "r"(addr) : "memory");
}

static void test_pf(void) { write_to(NOWHERE); }
static void test_null(void) { write_to(8); }
static void test_ud(void) { __asm__ volatile("ud2"); }
static void test_panic(void) { panic("selftest"); }
static void test_code(void) { write_to((uint64_t)selftest_run); }
static void test_alias(void) { write_to(DIRECTMAP + (uint64_t)selftest_run); }
static void test_rodata(void) { write_to((uint64_t)"rodata"); }
static void test_data(void) { call((uint64_t)&ret_insn); }

/* The stack is nowhere: the #PF cannot be pushed. */
static void test_df(void)
{
    __asm__ volatile("movq %0, %%rsp; pushq $0" : : "r"(NOWHERE) : "memory");
}

static __attribute__((noinline)) unsigned overflow(unsigned depth)
{
    volatile uint8_t frame[1024];

    frame[0] = (uint8_t)depth;
    /* Deeper than any stack, though gcc need not know. */
    return depth == UINT32_MAX ? 0 : overflow(depth + 1) + frame[0];
}

static void test_stackoverflow(void)
{
    log_info("depth %u", overflow(0));
}

/* The report itself faults: the frame it is led to is not there. */
static void test_nested(void)
{
    percpu[0].stack_top = (uint8_t *)NOWHERE + PAGE_SIZE;
    __asm__ volatile("movq %0, %%rbp; ud2" : : "r"(NOWHERE) : "memory");
}

/* %gs is a guest's, as between #VMEXIT and VMLOAD. */
static void test_gs(void)
{
    wrmsr(MSR_GS_BASE, NOWHERE);
    __asm__ volatile("ud2");
}

/* For the test's own time limit: silence must count as failure. */
static void test_hang(void)
{
    for (;;) {
        __asm__ volatile("pause");
    }
}

static const struct { const char *name; void (*run)(void); } tests[] = {
    { "pf", test_pf }, { "null", test_null }, { "ud", test_ud },
    { "panic", test_panic }, { "code", test_code }, { "alias", test_alias },
    { "rodata", test_rodata }, { "data", test_data }, { "df", test_df },
    { "stackoverflow", test_stackoverflow }, { "nested", test_nested },
    { "gs", test_gs }, { "hang", test_hang },
};

void selftest_run(void)
{
    if (!cmdline_has("selftest")) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(tests); i++) {
        if (cmdline_is("selftest", tests[i].name)) {
            tests[i].run();
            panic("selftest %s did not fail", tests[i].name);
        }
    }
    log_warn("selftest: no such test");
}

#else

void selftest_run(void)
{
    if (cmdline_has("selftest")) {
        log_warn("selftest: only in debug builds");
    }
}

#endif
