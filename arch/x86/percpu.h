/*
 * percpu.h - one CPU's own descriptor tables, stacks and identity.
 *
 * %gs points at it for as long as the CPU runs hypervisor code; the world
 * switch restores that after each #VMEXIT. Fixed for the machine's life.
 */
#pragma once

#include <quire/types.h>

#include "layout.h"

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3, iopb;
} __attribute__((packed));
static_assert(sizeof(struct tss) == 104, "APM vol. 2, 12.2.5");

#define IST_DOUBLE_FAULT 1
#define IST_NMI 2
#define IST_MACHINE_CHECK 3

struct percpu {
    uint32_t id;                /* first: arch_cpu() reads %gs:0 */
    uint32_t apic_id;
    _Atomic uint32_t online;
    uint32_t in_trap;           /* depth of fatal traps */
    _Atomic uint32_t kicked;    /* an interrupt came since the last look */
    uint64_t gdt[5];
    struct tss tss;
    uint8_t *stack_top;
};

extern struct percpu percpu[MAX_CPUS];

/** percpu_init() - stacks and tables for @id; before it comes up. */
void percpu_init(unsigned id, uint32_t apic_id);
/** percpu_load() - GDT, IDT, TSS and %gs of this CPU. */
void percpu_load(unsigned id);
/** percpu_recover() - make %gs right again if it is not: a trap can come where
 *  it is a guest's. @sp: a stack address, which tells whose stack it is. */
void percpu_recover(const void *sp);
/** percpu_guard_owner() - the CPU whose guard page holds @addr, or -1. */
int percpu_guard_owner(uint64_t addr);
