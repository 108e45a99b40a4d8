/*
 * writer - one write to each of a range of pages, which the toolstack has made
 * shared meanwhile: what an unshare costs, seen by the hypervisor.
 *
 *   phase 1   ready; the pages are still its own.
 *   phase 2   write the first word of `count=` (64) pages from gfn `first=`
 *             (512); every other word must be `word=` before and after, since
 *             a copy that copies wrongly costs nothing either.
 */
#include "guest.h"

#define WORDS (PAGE_SIZE / 8)

static void check_rest(uint64_t gfn, uint64_t word)
{
    volatile const uint64_t *page = gfn_ptr(gfn);
    unsigned wrong = 0;

    for (unsigned i = 1; i < WORDS; i++) {
        wrong += page[i] != word;
    }
    CHECK(wrong == 0, "gfn %lu: %u words are not %lx", gfn, wrong, word);
}

void guest_main(void)
{
    uint64_t first = option_u64("first", 512);
    uint64_t count = option_u64("count", 64);
    uint64_t word = option_u64("word", 0);

    CHECK(memory_run(first) >= count, "gfn %lu: no %lu pages of RAM", first,
          count);
    guest_phase_report(1);
    guest_phase_wait(2);
    for (uint64_t gfn = first; gfn < first + count; gfn++) {
        check_rest(gfn, word);
    }
    for (uint64_t gfn = first; gfn < first + count; gfn++) {
        *(volatile uint64_t *)gfn_ptr(gfn) = ~word;
    }
    for (uint64_t gfn = first; gfn < first + count; gfn++) {
        CHECK(*(volatile uint64_t *)gfn_ptr(gfn) == ~word,
              "gfn %lu: the write is lost", gfn);
        check_rest(gfn, word);
    }
    guest_finish("writer");
}
