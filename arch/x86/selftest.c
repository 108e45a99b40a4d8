/*
 * selftest.c - deliberate faults: 1 #PF, 2 #UD, 3 a null pointer, 4 panic,
 * 5 a stack that overflows into its guard page, 6 a write to code, 7 a jump
 * to data, 8 a hang under test's time limit. Chosen by `selftest=N`.
 */
#include "selftest.h"

#include <quire/cmdline.h>
#include <quire/log.h>
#include <quire/panic.h>
#include <quire/types.h>

static uint64_t data = 0xc3;

static unsigned overflow(unsigned depth)
{
    volatile uint8_t frame[4096];

    frame[0] = (uint8_t)depth;
    /* Deeper than any stack, though gcc need not know. */
    return depth == UINT32_MAX ? 0 : overflow(depth + 1) + frame[0];
}

void selftest_run(void)
{
    void (*jump)(void) = (void (*)(void))&data;
    volatile uint64_t *null = (volatile uint64_t *)8;

    switch (cmdline_u64("selftest", 0)) {
    case 0:
        return;
    case 1:
        *(volatile uint64_t *)0x4000000000 = 1;
        break;
    case 2:
        __asm__ volatile("ud2");
        break;
    case 3:
        __asm__("" : "+r"(null));     /* or gcc objects */
        *null = 1;
        break;
    case 4:
        panic("selftest");
    case 5:
        log_info("depth %u", overflow(0));
        break;
    case 6:
        *(volatile uint8_t *)(uintptr_t)selftest_run = 0;
        break;
    case 7:
        jump();
        break;
    case 8:
        for (;;) {
            __asm__ volatile("pause");
        }
    default:
        log_error("selftest: 1 to 8 are allowed");
        return;
    }
    panic("the selftest did not fail");
}
