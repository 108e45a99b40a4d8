/*
 * two.h - the shape of the adaptive reverse map for two pairs that have
 * nothing in common: their keys, in the map itself, and no hash.
 *
 *     root    63              52 51                                0
 *             +-----------------+----------------------------------+
 *             | second: 11 .. 0 | first, whole: domid, gfn         |
 *             +-----------------+----------------------------------+
 *     count   31               0       place   15   14 .. 8  7     0
 *             +-----------------+              +----+-------+-------+
 *             | second: 43 .. 12|              |scan|   0   | 51..44|
 *             +-----------------+              +----+-------+-------+
 *
 * So here r->count is no count, see rmap_count(). A frame of two domains at
 * different gfns is the usual one after a deduplication: this costs it nothing
 * beyond its record. scan: whose turn it is.
 */
#pragma once

#include "inline.h"

#define TWO_KEY_BITS 52
#define TWO_COUNT_SHIFT (64 - TWO_KEY_BITS)
#define TWO_PLACE_SHIFT (TWO_COUNT_SHIFT + 32)
#define TWO_PLACE_MASK 0xffu
#define TWO_SCAN_SHIFT 15

static inline uint64_t two_first(const struct rmap *r)
{
    return r->root & ((UINT64_C(1) << TWO_KEY_BITS) - 1);
}

static inline uint64_t two_second(const struct rmap *r)
{
    return r->root >> TWO_KEY_BITS | (uint64_t)r->count << TWO_COUNT_SHIFT |
           (uint64_t)(r->place & TWO_PLACE_MASK) << TWO_PLACE_SHIFT;
}

/** two_make() - of an inline map by gfn or domain whose only key is @first. */
static inline void two_make(struct rmap *r, uint64_t first, uint64_t second)
{
    unsigned turn = r->place >> INLINE_SCAN_SHIFT & 1;

    r->shape = RMAP_TWO;
    r->root = first | second << TWO_KEY_BITS;
    r->count = (uint32_t)(second >> TWO_COUNT_SHIFT);
    r->place = (uint16_t)(second >> TWO_PLACE_SHIFT | turn << TWO_SCAN_SHIFT);
}

/** two_remove() - the other of the two stays, inline; @key must be one (BUG).
 *  The shape of an inline map by domain is 0. */
static inline void two_remove(struct rmap *r, uint64_t key)
{
    unsigned turn = r->place >> TWO_SCAN_SHIFT;
    uint64_t left = two_first(r);

    if (left == key) {
        left = two_second(r);
        turn = 0;
    } else {
        BUG_ON(two_second(r) != key);
    }
    r->shape = 0;
    r->count = 1;
    inline_set(r, left >> RMAP_GROUP_SHIFT, left & 63);
    r->place = (uint16_t)(turn << INLINE_SCAN_SHIFT);
}

/** two_scan() - the keys of the next @max of them, at most two. */
static inline void two_scan(struct rmap *r, uint64_t *out, unsigned max)
{
    for (unsigned n = 0; n < max; n++) {
        out[n] = r->place >> TWO_SCAN_SHIFT ? two_second(r) : two_first(r);
        r->place ^= 1u << TWO_SCAN_SHIFT;
    }
}
