/*
 * scan_sum.c - checksum and comparison of whole pages: where the scanner's
 * time goes. Counted in instructions, so unrolled; 2.5 a word the one, 3 the
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
 * Two words into one lane. Each half is a bijection of the lane; the rotation
 * brings the top bits, which a product can only push out, down again.
 */
static inline __attribute__((always_inline)) uint64_t
step(uint64_t h, uint64_t one, uint64_t two)
{
    h = (h ^ one) * UINT64_C(0xa0761d6478bd642f);
    h = (h ^ two) * UINT64_C(0xa0761d6478bd642f);
    return h << 27 | h >> 37;
}

/* Guests write meanwhile; whatever comes out is a checksum. */
__attribute__((no_sanitize("thread"))) uint64_t scan_sum(const void *page)
{
    const uint64_t *w = page;
    uint64_t a = 1, b = 2, c = 3, d = 4;

    for (const uint64_t *end = w + PAGE_WORDS; w != end; w += 32) {
        a = step(a, w[0], w[1]);
        b = step(b, w[2], w[3]);
        c = step(c, w[4], w[5]);
        d = step(d, w[6], w[7]);
        a = step(a, w[8], w[9]);
        b = step(b, w[10], w[11]);
        c = step(c, w[12], w[13]);
        d = step(d, w[14], w[15]);
        a = step(a, w[16], w[17]);
        b = step(b, w[18], w[19]);
        c = step(c, w[20], w[21]);
        d = step(d, w[22], w[23]);
        a = step(a, w[24], w[25]);
        b = step(b, w[26], w[27]);
        c = step(c, w[28], w[29]);
        d = step(d, w[30], w[31]);
    }
    return mix64(step(step(a, b, c), d, PAGE_WORDS)) >> (64 - SCAN_SUM_BITS);
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

bool scan_is_zero(const void *page)
{
    const uint64_t *w = page;
    uint64_t bits = 0;

    for (const uint64_t *end = w + PAGE_WORDS; bits == 0 && w != end;
         w += 8) {
        bits = w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7];
    }
    return bits == 0;
}
