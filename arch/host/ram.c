/*
 * ram.c - the host machine's memory: an anonymous mapping, poisoned where it
 * is free, and allocations that fail when told to.
 */
#include "host.h"

#include <quire/arch.h>
#include <quire/frame_table.h>
#include <quire/grace.h>
#include <quire/panic.h>
#include "cpu.h"
#include "tlb.h"

#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

/* The shadow of more than this is too big to write for nothing. */
#define POISON_AT_START_MAX (UINT64_C(1) << 30)

unsigned char *host_ram;
void (*host_frame_freed_hook)(mfn_t mfn, unsigned order);

static uint64_t ram_bytes;
static _Atomic uint64_t nr_allocs;
static _Atomic uint64_t fail_at;        /* value of nr_allocs that fails */
static _Atomic bool has_failed;

static void ram_fini(void)
{
    if (host_ram == NULL) {
        return;
    }
    host_drain_grace();
    ASAN_UNPOISON_MEMORY_REGION(host_ram, ram_bytes);
    BUG_ON(munmap(host_ram, ram_bytes) != 0);
    host_ram = NULL;
}

void host_ram_init(uint64_t ram_frames, unsigned cpus)
{
    void *p;

    ram_fini();
    host_fail_alloc_at(0);
    ram_bytes = ram_frames << PAGE_SHIFT;
    p = mmap(NULL, ram_bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    BUG_ON(p == MAP_FAILED);
    host_ram = p;
    host_cpus_init(cpus);
    host_tlb_reset();
}

void host_machine_init(uint64_t ram_frames, unsigned cpus)
{
    struct ram_range all = { MFN(0), ram_frames };

    host_ram_init(ram_frames, cpus);
    frame_table_init(&all, 1, NULL, 0);
    if (ram_bytes <= POISON_AT_START_MAX) {
        for (uint64_t n = 0; n < ram_frames; n++) {
            if (mfn_to_frame(MFN(n))->use == FRAME_FREE) {
                ASAN_POISON_MEMORY_REGION(arch_map_frame(MFN(n)), PAGE_SIZE);
            }
        }
    }
}

void host_frame_allocated(mfn_t mfn, unsigned order)
{
    ASAN_UNPOISON_MEMORY_REGION(arch_map_frame(mfn), PAGE_SIZE << order);
}

void host_frame_freed(mfn_t mfn, unsigned order)
{
    if (host_frame_freed_hook != NULL) {
        host_frame_freed_hook(mfn, order);
    }
    ASAN_POISON_MEMORY_REGION(arch_map_frame(mfn), PAGE_SIZE << order);
}

void host_fail_alloc_at(uint64_t n)
{
    has_failed = false;
    fail_at = n == 0 ? 0 : nr_allocs + n;
}

uint64_t host_alloc_count(void)
{
    return nr_allocs;
}

bool host_alloc_failed(void)
{
    return has_failed;
}

bool host_alloc_should_fail(void)
{
    uint64_t count = atomic_fetch_add_explicit(&nr_allocs, 1,
                                               memory_order_relaxed) + 1;

    if (likely(count !=
               atomic_load_explicit(&fail_at, memory_order_relaxed))) {
        return false;
    }
    has_failed = true;
    return true;
}
