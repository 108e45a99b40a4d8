/*
 * page.c - whole pages: copy, zero, fill, hash.
 *
 * Copy and zero are the machine's (arch_page_copy and _zero). Filling goes by
 * unrolled 64-bit moves: under TCG a `rep stosq` of a page takes six times as
 * long, and on hardware it is no faster. Pages are 4096-byte aligned.
 */
#include <quire/arch.h>
#include <quire/string.h>

#define PAGE_WORDS (PAGE_SIZE / sizeof(uint64_t))

void page_copy(void *restrict d, const void *restrict s)
{
    arch_page_copy(d, s);
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
    arch_page_zero(d);
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
