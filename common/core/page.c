/*
 * page.c - whole pages: copy, zero, fill, hash.
 *
 * Unrolled 64-bit moves: under TCG a `rep movsq` of a page takes six times
 * as long, and on hardware it is no faster. Pages are 4096-byte aligned.
 */
#include <quire/string.h>

#define PAGE_WORDS (PAGE_SIZE / sizeof(uint64_t))

void page_copy(void *restrict d, const void *restrict s)
{
    uint64_t *to = d;
    const uint64_t *from = s;

    for (const uint64_t *end = from + PAGE_WORDS; from != end;
         from += 8, to += 8) {
        uint64_t a = from[0], b = from[1], c = from[2], e = from[3];

        to[0] = a;
        to[1] = b;
        to[2] = c;
        to[3] = e;
        a = from[4], b = from[5], c = from[6], e = from[7];
        to[4] = a;
        to[5] = b;
        to[6] = c;
        to[7] = e;
    }
}

void page_fill(void *d, uint64_t word)
{
    uint64_t *to = d;

    for (uint64_t *end = to + PAGE_WORDS; to != end; to += 8) {
        to[0] = word;
        to[1] = word;
        to[2] = word;
        to[3] = word;
        to[4] = word;
        to[5] = word;
        to[6] = word;
        to[7] = word;
        /* Keeps gcc from making this a call of memset(). */
        __asm__ volatile ("" : : : "memory");
    }
}

void page_zero(void *d)
{
    page_fill(d, 0);
}

/*
 * Four lanes, so that the multiplications overlap. A step is a bijection of
 * its lane for each word; the rotation carries the top bits, which a product
 * would only push out, back to where they count.
 */
static uint64_t hash_step(uint64_t h, uint64_t word)
{
    h = (h ^ word) * UINT64_C(0x9fb21c651e98df25);
    return h << 29 | h >> 35;
}

uint64_t page_hash(const void *p)
{
    const uint64_t *w = p;
    uint64_t a = 1, b = 2, c = 3, d = 4;

    for (const uint64_t *end = w + PAGE_WORDS; w != end; w += 4) {
        a = hash_step(a, w[0]);
        b = hash_step(b, w[1]);
        c = hash_step(c, w[2]);
        d = hash_step(d, w[3]);
    }
    a = hash_step(hash_step(hash_step(a, b), c), d);
    a ^= a >> 32;
    a *= UINT64_C(0xd6e8feb86659fd93);
    return a ^ a >> 29;
}
