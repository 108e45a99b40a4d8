/*
 * traps.h - exceptions end the machine, interrupts set a flag.
 *
 * The hypervisor takes no exception on purpose: each is reported with
 * registers and a backtrace, and the machine exits with a failing status. A
 * trap while reporting one exits at once. Interrupt handlers run on the
 * interrupted stack, take no lock and only note that something came.
 */
#pragma once

#include <quire/types.h>

#define VECTOR_TIMER 0x20
#define VECTOR_KICK 0x21
#define VECTOR_CONTROL 0x22
#define VECTOR_SPURIOUS 0x2f    /* low nibble all ones, for old APICs */

struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/** traps_init() - build the IDT, once. */
void traps_init(void);
/** traps_load() - load it on this CPU. */
void traps_load(void);
/** trap_handle() - from entry.S. */
void trap_handle(struct trap_frame *f);
