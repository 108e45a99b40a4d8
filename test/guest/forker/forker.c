/*
 * forker - a domain to be forked: all of its free memory holds a pattern, and
 * each round it overwrites a few words, in pages that follow from its own
 * domain id. Whose it is shows at once when a fork sees another's writes, or
 * its parent's after the fork, or a reset that did not bring everything back.
 *
 *   phase 1   the pattern is there
 *   phase 2+r round r: write a word in `write=` (1) of a hundred pages, then
 *             verify every word of every page; `rounds=` (4) of them
 *
 * A vector register and the timestamp counter must go on over the wait: they
 * are a fork's as its memory is. PASS is given after each round, so that a
 * fork needs only one. Figures: 1 pages, 2 words written, 3 wrong words.
 */
#include "guest.h"
#include "random.h"

#define PAGE_WORDS (PAGE_SIZE / 8)
#define MAX_ROUNDS 16
#define CR4_OSFXSR UINT64_C(0x200)

static uint64_t seed, pages, share, written, wrong;
/* Who made each round so far: itself, or whoever it was a fork of. */
static domid_t who[MAX_ROUNDS];

static uint64_t base_word(uint64_t page, uint64_t k)
{
    return (seed + page) * UINT64_C(0x9e3779b97f4a7c15) + k;
}

/* What round @r of domain @id does to @page: nothing, or one word. */
static bool write_of(domid_t id, unsigned r, uint64_t page, uint64_t *k,
                     uint64_t *value)
{
    uint64_t h = mix64(mix64(seed + ((uint64_t)id << 32 | r)) + page);

    *k = (h >> 40) % PAGE_WORDS;
    *value = mix64(h);
    return h % 100 < share;
}

static void fill(void)
{
    for (uint64_t p = 0; p < pages; p++) {
        uint64_t *w = gfn_ptr(GUEST_FREE_GFN + p);

        for (uint64_t k = 0; k < PAGE_WORDS; k++) {
            w[k] = base_word(p, k);
        }
    }
}

static void write_round(unsigned r)
{
    uint64_t k, value;

    for (uint64_t p = 0; p < pages; p++) {
        if (write_of(who[r], r, p, &k, &value)) {
            ((volatile uint64_t *)gfn_ptr(GUEST_FREE_GFN + p))[k] = value;
            written++;
        }
    }
}

/* The words of @p that rounds up to @last have changed must be as the latest
 * of them left it; returns how many words differ from the pattern. */
static unsigned verify_writes(uint64_t p, unsigned last)
{
    volatile const uint64_t *w = gfn_ptr(GUEST_FREE_GFN + p);
    uint64_t seen[MAX_ROUNDS], k, value;
    unsigned nr = 0;

    for (unsigned r = last + 1; r-- > 0;) {
        bool is_over = false;

        if (!write_of(who[r], r, p, &k, &value)) {
            continue;
        }
        for (unsigned i = 0; i < nr; i++) {
            is_over |= seen[i] == k;
        }
        if (!is_over) {
            wrong += w[k] != value;
            seen[nr++] = k;
        }
    }
    return nr;
}

static void verify(unsigned last)
{
    uint64_t before = wrong;

    for (uint64_t p = 0; p < pages; p++) {
        volatile const uint64_t *w = gfn_ptr(GUEST_FREE_GFN + p);
        uint64_t first = base_word(p, 0);
        unsigned differ = 0;

        for (uint64_t k = 0; k < PAGE_WORDS; k++) {
            differ += w[k] != first + k;
        }
        if (differ != verify_writes(p, last)) {
            wrong++;
        }
    }
    CHECK(wrong == before, "round %u: %lu words are wrong", last,
          wrong - before);
}

/* Wait with something in a vector register. */
static void wait(uint64_t phase)
{
    uint64_t kept = mix64(seed + phase), now, then = guest_ticks();

    asm volatile("movq %0, %%xmm5" : : "r"(kept));
    guest_phase_wait(phase);
    asm volatile("movq %%xmm5, %0" : "=r"(now));
    CHECK(now == kept, "a vector register is %lx, not %lx", now, kept);
    CHECK(guest_ticks() >= then, "the clock has gone back");
}

void guest_main(void)
{
    uint64_t run = memory_run(GUEST_FREE_GFN), want = option_u64("pages", 0);
    unsigned rounds = (unsigned)MIN(option_u64("rounds", 4), MAX_ROUNDS);

    seed = option_u64("seed", 1);
    share = option_u64("write", 1);
    pages = want != 0 ? MIN(want, run) : run;
    write_cr4(read_cr4() | CR4_OSFXSR);
    fill();
    guest_figure(1, pages);
    guest_phase_report(1);
    for (unsigned r = 0; r < rounds; r++) {
        wait(2 + r);
        who[r] = guest_domid();
        write_round(r);
        verify(r);
        guest_figure(2, written);
        guest_figure(3, wrong);
        guest_phase_report(2 + r);
        guest_verdict_count("forker");
    }
    guest_end();
}
