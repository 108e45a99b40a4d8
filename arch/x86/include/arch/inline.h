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

/*
 * 16 bytes a move. The hypervisor has no use for vector registers otherwise,
 * so that they are the guest's, and four of them are borrowed: saved and
 * restored here, which costs eight instructions and no FXRSTOR. On every CPU
 * the FPU is on (enable_fpu()) before the first guest page is touched.
 */
struct arch_borrowed { unsigned char xmm[4][16]; };

static inline void arch_xmm_borrow(struct arch_borrowed *b)
{
    __asm__ volatile("movups %%xmm0, %0\n\tmovups %%xmm1, 16%0\n\t"
                     "movups %%xmm2, 32%0\n\tmovups %%xmm3, 48%0"
                     : "=o"(*b));
}

static inline void arch_xmm_return(const struct arch_borrowed *b)
{
    __asm__ volatile("movups %0, %%xmm0\n\tmovups 16%0, %%xmm1\n\t"
                     "movups 32%0, %%xmm2\n\tmovups 48%0, %%xmm3"
                     :: "o"(*b));
}

#define ARCH_MOVE_64(at) \
    "movaps " #at "(%1), %%xmm0\n\tmovaps " #at "+16(%1), %%xmm1\n\t" \
    "movaps " #at "+32(%1), %%xmm2\n\tmovaps " #at "+48(%1), %%xmm3\n\t" \
    "movaps %%xmm0, " #at "(%0)\n\tmovaps %%xmm1, " #at "+16(%0)\n\t" \
    "movaps %%xmm2, " #at "+32(%0)\n\tmovaps %%xmm3, " #at "+48(%0)\n\t"

static inline void arch_page_copy(void *d, const void *s)
{
    struct arch_borrowed b;
    char *to = (char *)d;
    const char *from = (const char *)s, *end = from + PAGE_SIZE;

    arch_xmm_borrow(&b);
    for (; from != end; from += 512, to += 512) {
        __asm__ volatile(ARCH_MOVE_64(0) ARCH_MOVE_64(64) ARCH_MOVE_64(128)
                         ARCH_MOVE_64(192) ARCH_MOVE_64(256) ARCH_MOVE_64(320)
                         ARCH_MOVE_64(384) ARCH_MOVE_64(448)
                         :: "r"(to), "r"(from) : "memory");
    }
    arch_xmm_return(&b);
}

#define ARCH_ZERO_64(at) \
    "movaps %%xmm0, " #at "(%0)\n\tmovaps %%xmm0, " #at "+16(%0)\n\t" \
    "movaps %%xmm0, " #at "+32(%0)\n\tmovaps %%xmm0, " #at "+48(%0)\n\t"

static inline void arch_page_zero(void *d)
{
    char *to = (char *)d, *end = to + PAGE_SIZE;
    struct arch_borrowed b;

    arch_xmm_borrow(&b);
    __asm__ volatile("xorps %%xmm0, %%xmm0" ::: "memory");
    for (; to != end; to += 512) {
        __asm__ volatile(ARCH_ZERO_64(0) ARCH_ZERO_64(64) ARCH_ZERO_64(128)
                         ARCH_ZERO_64(192) ARCH_ZERO_64(256) ARCH_ZERO_64(320)
                         ARCH_ZERO_64(384) ARCH_ZERO_64(448)
                         :: "r"(to) : "memory");
    }
    arch_xmm_return(&b);
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
