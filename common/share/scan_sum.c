/*
 * scan_sum.c - checksum and comparison of whole pages: where the scanner's
 * time goes. Counted in instructions, so unrolled: 2.13 a word the one, 3 the
 * other.
 *
 * The checksum decides nothing but where to look: equal contents are always
 * compared. So it need not withstand a guest that looks for collisions, only
 * let each bit count.
 */
#include "scanner.h"

#include <quire/rng.h>

#define PAGE_WORDS (PAGE_SIZE / sizeof(uint64_t))

/*
 * Eight words into one lane, a bijection of it for each word. The rotations
 * put each word in another place, so that no two neighbours whose top bits
 * change (signs of numbers) cancel out; the product mixes what came together.
 */
static inline __attribute__((always_inline)) uint64_t
step(uint64_t h, const uint64_t *w)
{
#pragma GCC unroll 8
    for (unsigned i = 0; i < 8; i++) {
        h ^= w[i];
        h = h << 29 | h >> 35;
    }
    return h * UINT64_C(0xa0761d6478bd642f);
}

/* Guests write meanwhile; whatever comes out is a checksum. */
__attribute__((no_sanitize("thread"))) uint64_t scan_sum(const void *page)
{
    const uint64_t *w = page;
    uint64_t a = 1, b = 2, c = 3, d = 4;

    for (const uint64_t *end = w + PAGE_WORDS; w != end; w += 32) {
        a = step(a, w);
        b = step(b, w + 8);
        c = step(c, w + 16);
        d = step(d, w + 24);
    }
    return mix64(mix64(mix64(mix64(a) + b) + c) + d) >> (64 - SCAN_SUM_BITS);
}

bool scan_equal(const void *one, const void *two)
{
    const uint64_t *a = one, *b = two;

    for (const uint64_t *end = a + PAGE_WORDS; a != end; a += 32, b += 32) {
        uint64_t bits = 0;

#pragma GCC unroll 32
        for (unsigned i = 0; i < 32; i++) {
            bits |= a[i] ^ b[i];
        }
        if (bits != 0) {
            return false;
        }
    }
    return true;
}

/* The last sharer may take the page and write: then nobody asks any more. */
__attribute__((no_sanitize("thread"))) bool scan_is_zero(const void *page)
{
    const uint64_t *w = page;
    uint64_t bits = 0;

    for (const uint64_t *end = w + PAGE_WORDS; bits == 0 && w != end;
         w += 8) {
        bits = w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7];
    }
    return bits == 0;
}
