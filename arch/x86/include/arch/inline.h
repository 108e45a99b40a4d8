/*
 * inline.h - the hot part of arch.h on x86: everything that is one or two
 * instructions.
 */
#pragma once

#include <quire/types.h>

#define ARCH_DIRECTMAP UINT64_C(0xffff800000000000)

/* %gs points at this CPU's struct percpu, whose first word is its id. */
static inline unsigned arch_cpu(void)
{
    unsigned id;

    __asm__("movl %%gs:0, %0" : "=r"(id));
    return id;
}

static inline void arch_relax(void)
{
    __asm__ volatile("pause" ::: "memory");
}

static inline ticks_t arch_now(void)
{
    uint32_t lo, hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}

static inline void *arch_map_frame(mfn_t m)
{
    return (void *)(ARCH_DIRECTMAP + (m.n << PAGE_SHIFT));
}

static inline void arch_unmap_frame(const void *page)
{
    (void)page;
}

static inline mfn_t arch_virt_to_mfn(const void *p)
{
    return MFN(((uint64_t)p - ARCH_DIRECTMAP) >> PAGE_SHIFT);
}

static inline bool arch_alloc_should_fail(void)
{
    return false;
}

static inline void arch_frame_allocated(mfn_t m, unsigned order)
{
    (void)m;
    (void)order;
}

static inline void arch_frame_freed(mfn_t m, unsigned order)
{
    (void)m;
    (void)order;
}
