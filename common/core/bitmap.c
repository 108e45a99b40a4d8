/* bitmap.c - searches in bitmaps, a word at a time. */
#include <quire/bitmap.h>

/* The first bit at or after @i that is set in map XOR flip. */
static unsigned next_bit(const uint64_t *map, unsigned bits, unsigned i,
                         uint64_t flip)
{
    uint64_t word;

    if (i >= bits) {
        return bits;
    }
    word = (map[i / 64] ^ flip) & UINT64_MAX << (i % 64);
    i -= i % 64;
    while (word == 0) {
        i += 64;
        if (i >= bits) {
            return bits;
        }
        word = map[i / 64] ^ flip;
    }
    i += (unsigned)__builtin_ctzll(word);
    return MIN(i, bits);
}

unsigned bitmap_next_set(const uint64_t *map, unsigned bits, unsigned i)
{
    return next_bit(map, bits, i, 0);
}

unsigned bitmap_next_clear(const uint64_t *map, unsigned bits, unsigned i)
{
    return next_bit(map, bits, i, UINT64_MAX);
}

/* Ones of a word; gcc's builtin would call into libgcc. */
static unsigned ones(uint64_t x)
{
    x -= x >> 1 & UINT64_C(0x5555555555555555);
    x = (x & UINT64_C(0x3333333333333333)) +
        (x >> 2 & UINT64_C(0x3333333333333333));
    x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)(x * UINT64_C(0x0101010101010101) >> 56);
}

unsigned bitmap_count(const uint64_t *map, unsigned bits)
{
    unsigned n = 0;

    for (unsigned i = 0; i < bits / 64; i++) {
        n += ones(map[i]);
    }
    if (bits % 64 != 0) {
        n += ones(map[bits / 64] & ~(UINT64_MAX << (bits % 64)));
    }
    return n;
}
