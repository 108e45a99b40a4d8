/*
 * scan_sum.c - checksum and comparison of whole pages: where the scanner's
 * time goes. Counted in instructions, so unrolled: 2.25 a word the one, 3 the
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
 * Four words into one lane. Each step is a bijection of the lane; the rotation
 * brings the top bits, which a product can only push out, down again.
 */
static inline __attribute__((always_inline)) uint64_t
step(uint64_t h, const uint64_t *w)
{
    h = (h ^ w[0]) * UINT64_C(0xa0761d6478bd642f);
    h = (h ^ w[1]) * UINT64_C(0xa0761d6478bd642f);
    h = (h ^ w[2]) * UINT64_C(0xa0761d6478bd642f);
    h = (h ^ w[3]) * UINT64_C(0xa0761d6478bd642f);
    return h << 27 | h >> 37;
}

/* Guests write meanwhile; whatever comes out is a checksum. */
__attribute__((no_sanitize("thread"))) uint64_t scan_sum(const void *page)
{
    const uint64_t *w = page;
    uint64_t lane[4] = { 1, 2, 3, 4 };

    for (const uint64_t *end = w + PAGE_WORDS; w != end; w += 32) {
        lane[0] = step(lane[0], w);
        lane[1] = step(lane[1], w + 4);
        lane[2] = step(lane[2], w + 8);
        lane[3] = step(lane[3], w + 12);
        lane[0] = step(lane[0], w + 16);
        lane[1] = step(lane[1], w + 20);
        lane[2] = step(lane[2], w + 24);
        lane[3] = step(lane[3], w + 28);
    }
    return mix64(step(0, lane)) >> (64 - SCAN_SUM_BITS);
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
