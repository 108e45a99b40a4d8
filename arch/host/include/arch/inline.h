/*
 * inline.h - the inline part of <quire/arch.h> for a machine in a process.
 *
 * RAM is one anonymous mapping, so a frame's page is arithmetic away; a CPU
 * is a thread. Freed frames are poisoned for the address sanitizer and shown
 * to whoever watches them (the model TLB) in the checking builds; the `fast`
 * build, which is for benchmarks, pays for neither.
 */
#pragma once

#include <quire/types.h>

extern _Thread_local unsigned host_cpu;
extern unsigned char *host_ram;

/* Not inline: a thread that spins for long must give its core away. */
void host_relax(void);
bool host_alloc_should_fail(void);
void host_frame_allocated(mfn_t mfn, unsigned order);
void host_frame_freed(mfn_t mfn, unsigned order);

static inline unsigned arch_cpu(void) { return host_cpu; }

static inline void arch_relax(void) { host_relax(); }

static inline ticks_t arch_now(void) { return __builtin_ia32_rdtsc(); }

/* Aligned words, which gcc turns into the host's vector moves. */
static inline void arch_page_copy(void *restrict d, const void *restrict s)
{
    uint64_t *to = d;
    const uint64_t *from = s;

    for (unsigned i = 0; i < PAGE_SIZE / sizeof(*to); i++) {
        to[i] = from[i];
    }
}

static inline void arch_page_zero(void *d)
{
    uint64_t *to = d;

    for (unsigned i = 0; i < PAGE_SIZE / sizeof(*to); i++) {
        to[i] = 0;
    }
}

static inline void *arch_map_frame(mfn_t mfn)
{
    return host_ram + (mfn.n << PAGE_SHIFT);
}

static inline void arch_unmap_frame(const void *page) { (void)page; }

static inline mfn_t arch_virt_to_mfn(const void *p)
{
    return MFN((uint64_t)((const unsigned char *)p - host_ram) >> PAGE_SHIFT);
}

#ifdef QUIRE_DEBUG
static inline bool arch_alloc_should_fail(void)
{
    return host_alloc_should_fail();
}
static inline void arch_frame_allocated(mfn_t mfn, unsigned order)
{
    host_frame_allocated(mfn, order);
}
static inline void arch_frame_freed(mfn_t mfn, unsigned order)
{
    host_frame_freed(mfn, order);
}
#else
static inline bool arch_alloc_should_fail(void) { return false; }
static inline void arch_frame_allocated(mfn_t mfn, unsigned order)
{
    (void)mfn;
    (void)order;
}
static inline void arch_frame_freed(mfn_t mfn, unsigned order)
{
    (void)mfn;
    (void)order;
}
#endif
