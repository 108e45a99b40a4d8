/*
 * files - a domain whose memory holds real files: its boot modules, where the
 * builder has put them, so that the order of modules= moves them.
 *
 *   phase 1   a hash of every page of them is noted, at the top of memory
 *   phase 2   all are as they were; each write=-th page is written to (0: none)
 *   phase 3   all are as they were, and those as they were written
 *
 * Whoever merges these pages with anybody's must not be noticed.
 */
#include "guest.h"

static uint64_t *hashes;
static uint64_t nr_pages;

static uint64_t hash_page(const void *page)
{
    const uint64_t *w = page;
    uint64_t h = 1;

    for (unsigned i = 0; i < PAGE_SIZE / 8; i++) {
        h = (h ^ w[i]) * UINT64_C(0x9fb21c651e98df25);
        h ^= h >> 29;
    }
    return h;
}

static uint64_t pages_of(const struct hvm_modlist_entry *m)
{
    return (m->size + PAGE_MASK) >> PAGE_SHIFT;
}

/* Page @n of all modules, one after the other. */
static uint8_t *page_at(uint64_t n)
{
    for (unsigned i = 0; i < memory_nr_modules(); i++) {
        const struct hvm_modlist_entry *m = memory_module(i);

        if (n < pages_of(m)) {
            return gfn_ptr((m->paddr >> PAGE_SHIFT) + n);
        }
        n -= pages_of(m);
    }
    return NULL;
}

static void note(void)
{
    uint64_t end = 1 + memory_run(1), size;

    for (unsigned i = 0; i < memory_nr_modules(); i++) {
        nr_pages += pages_of(memory_module(i));
    }
    size = (nr_pages * 8 + PAGE_MASK) >> PAGE_SHIFT;
    CHECK(nr_pages > 0, "no modules");
    CHECK(nr_pages == 0 || (uint8_t *)gfn_ptr(end - size) >
          page_at(nr_pages - 1) + 0x10000, "no room above the modules");
    hashes = gfn_ptr(end - size);
    for (uint64_t n = 0; n < nr_pages; n++) {
        hashes[n] = hash_page(page_at(n));
    }
}

static void verify(const char *when)
{
    for (uint64_t n = 0; n < nr_pages; n++) {
        uint64_t h = hash_page(page_at(n));

        CHECK(h == hashes[n], "%s: page %lu has changed", when, n);
    }
}

void guest_main(void)
{
    uint64_t write = option_u64("write", 0);

    note();
    guest_figure(0, nr_pages);
    guest_phase_report(1);
    guest_phase_wait(2);
    verify("before writing");
    for (uint64_t n = write; write != 0 && n < nr_pages; n += write) {
        page_at(n)[n % PAGE_SIZE] ^= (uint8_t)(guest_domid() + 1);
        hashes[n] = hash_page(page_at(n));
    }
    guest_phase_report(2);
    guest_phase_wait(3);
    verify("after writing");
    guest_finish("files");
}
