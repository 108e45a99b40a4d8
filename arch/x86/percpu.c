/*
 * percpu.c - descriptor tables and stacks.
 *
 * A CPU's stacks are slots of one static area, each above a page that
 * paging.c leaves unmapped, so that an overflow is a #PF (and then, as its
 * frame cannot be pushed, a #DF on a stack of its own), not silent
 * corruption.
 */
#include "percpu.h"

#include "cpu_ops.h"
#include "paging.h"
#include "traps.h"


struct percpu percpu[MAX_CPUS];

/* Per CPU: guard, main stack, guard, then three one-page IST stacks. */
#define SLOT_SIZE (STACK_SIZE + 5 * PAGE_SIZE)

/* start.S puts the boot CPU on the first. */
extern uint8_t cpu_stacks[MAX_CPUS][SLOT_SIZE];
alignas(4096) uint8_t cpu_stacks[MAX_CPUS][SLOT_SIZE];

void percpu_init(unsigned id, uint32_t apic_id)
{
    struct percpu *c = &percpu[id];
    uint8_t *slot = cpu_stacks[id], *ist = slot + STACK_SIZE + 2 * PAGE_SIZE;
    uint64_t base = (uint64_t)&c->tss, limit = sizeof(c->tss) - 1;

    c->id = id;
    c->apic_id = apic_id;
    paging_unmap_image_page(slot);
    paging_unmap_image_page(slot + PAGE_SIZE + STACK_SIZE);
    c->stack_top = slot + PAGE_SIZE + STACK_SIZE;
    for (unsigned i = 0; i < 3; i++) {
        c->tss.ist[i] = (uint64_t)(ist + (i + 1) * PAGE_SIZE);
    }
    c->tss.iopb = sizeof(c->tss);
    c->gdt[SEL_CODE / 8] = 0x00af9a000000ffff;
    c->gdt[SEL_DATA / 8] = 0x00cf92000000ffff;
    c->gdt[SEL_TSS / 8] = limit | (base & 0xffffff) << 16 |
                          UINT64_C(0x89) << 40 | (base >> 24 & 0xff) << 56;
    c->gdt[SEL_TSS / 8 + 1] = base >> 32;
}

void percpu_load(unsigned id)
{
    struct percpu *c = &percpu[id];
    struct { uint16_t limit; uint64_t base; } __attribute__((packed))
        gdtr = { sizeof(c->gdt) - 1, (uint64_t)c->gdt };

    c->gdt[SEL_TSS / 8] &= ~(UINT64_C(2) << 40);    /* not busy */
    __asm__ volatile(
        "lgdt %0\n\t"
        "pushq %1\n\t"
        "leaq 1f(%%rip), %%rax\n\t"
        "pushq %%rax\n\t"
        "lretq\n"
        "1:\tmovl %2, %%eax\n\t"
        "movl %%eax, %%ss\n\t"
        "xorl %%eax, %%eax\n\t"
        "movl %%eax, %%ds\n\t"
        "movl %%eax, %%es\n\t"
        "movl %%eax, %%fs\n\t"
        "movl %%eax, %%gs\n\t"
        "movl %3, %%eax\n\t"
        "ltr %%ax"
        : : "m"(gdtr), "i"(SEL_CODE), "i"(SEL_DATA), "i"(SEL_TSS)
        : "rax", "memory");
    wrmsr(MSR_GS_BASE, (uint64_t)c);
    traps_load();
}

static int slot_of(uint64_t addr)
{
    uint64_t start = (uint64_t)cpu_stacks;

    return addr >= start && addr < start + sizeof(cpu_stacks)
           ? (int)((addr - start) / SLOT_SIZE) : -1;
}

void percpu_recover(const void *sp)
{
    uint64_t gs = rdmsr(MSR_GS_BASE) - (uint64_t)percpu;
    int id = slot_of((uint64_t)sp);

    if (gs >= sizeof(percpu) || gs % sizeof(percpu[0]) != 0) {
        wrmsr(MSR_GS_BASE, (uint64_t)&percpu[MAX(id, 0)]);
    }
}

int percpu_guard_owner(uint64_t addr)
{
    int id = slot_of(addr);
    uint64_t offset = addr - (uint64_t)cpu_stacks;

    return id >= 0 && offset % SLOT_SIZE < PAGE_SIZE ? id : -1;
}
