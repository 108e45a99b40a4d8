/*
 * bitmap.h - sets of small numbers in 64-bit words: bit i is bit i % 64 of
 * word i / 64. Not atomic; the owner's lock covers it.
 */
#pragma once

#include <quire/types.h>

#define BITMAP_WORDS(bits) (((bits) + 63) / 64)

static inline bool bitmap_test(const uint64_t *map, unsigned i)
{
    return map[i / 64] >> (i % 64) & 1;
}
static inline void bitmap_set(uint64_t *map, unsigned i)
{
    map[i / 64] |= UINT64_C(1) << (i % 64);
}
static inline void bitmap_clear(uint64_t *map, unsigned i)
{
    map[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/** bits_count() - bits set in one word; the machine's own instruction for it
 *  is not in the base instruction set. */
static inline unsigned bits_count(uint64_t w)
{
    w -= w >> 1 & UINT64_C(0x5555555555555555);
    w = (w & UINT64_C(0x3333333333333333)) +
        (w >> 2 & UINT64_C(0x3333333333333333));
    w = (w + (w >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)(w * UINT64_C(0x0101010101010101) >> 56);
}

/** bitmap_next_set() - the first set bit at or after @i and below @bits; @bits
 *  if there is none. Whole empty words cost one comparison. */
unsigned bitmap_next_set(const uint64_t *map, unsigned bits, unsigned i);
/** bitmap_next_clear() - the same for a clear bit. */
unsigned bitmap_next_clear(const uint64_t *map, unsigned bits, unsigned i);
/** bitmap_count() - how many of the first @bits are set. */
unsigned bitmap_count(const uint64_t *map, unsigned bits);
