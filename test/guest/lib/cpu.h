/*
 * cpu.h - the processor as a stress domain sees it: one inline function for
 * each privileged or special instruction.
 */
#pragma once

#include <quire/types.h>

#define EFLAGS_IF UINT64_C(0x200)

#define MSR_EFER 0xc0000080
#define EFER_SCE UINT64_C(0x001)
#define EFER_LME UINT64_C(0x100)
#define EFER_LMA UINT64_C(0x400)
#define EFER_NXE UINT64_C(0x800)

enum { TRAP_DE = 0, TRAP_DB = 1, TRAP_BP = 3, TRAP_UD = 6, TRAP_NM = 7,
       TRAP_DF = 8, TRAP_NP = 11, TRAP_SS = 12, TRAP_GP = 13, TRAP_PF = 14 };

static inline void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
    asm volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
                 : "a"(leaf), "c"(sub));
}

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;

    asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
    return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
    asm volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v),
                 "d"((uint32_t)(v >> 32)) : "memory");
}

static inline uint64_t rdtsc(void)
{
    uint32_t lo, hi;

    asm volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
    return (uint64_t)hi << 32 | lo;
}

static inline void outb(uint16_t port, uint8_t v)
{
    asm volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outw(uint16_t port, uint16_t v)
{
    asm volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t v)
{
    asm volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t v;

    asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint16_t inw(uint16_t port)
{
    uint16_t v;

    asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t v;

    asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}

#define CR_FUNCTIONS(n) \
static inline uint64_t read_cr##n(void) \
{ \
    uint64_t v; \
    asm volatile("mov %%cr" #n ", %0" : "=r"(v) : : "memory"); \
    return v; \
} \
static inline void write_cr##n(uint64_t v) \
{ \
    asm volatile("mov %0, %%cr" #n : : "r"(v) : "memory"); \
}
CR_FUNCTIONS(0)
CR_FUNCTIONS(2)
CR_FUNCTIONS(3)
CR_FUNCTIONS(4)
CR_FUNCTIONS(8)
#undef CR_FUNCTIONS

static inline void cpu_relax(void) { asm volatile("pause" : : : "memory"); }
static inline void irq_enable(void) { asm volatile("sti" : : : "memory"); }
static inline void irq_disable(void) { asm volatile("cli" : : : "memory"); }
/* The shadow of STI covers HLT: an event in between still wakes. */
static inline void irq_enable_halt(void)
{
    asm volatile("sti; hlt" : : : "memory");
}
static inline void invlpg(const void *p)
{
    asm volatile("invlpg (%0)" : : "r"(p) : "memory");
}
