/*
 * inline.h - the smallest shape of the adaptive reverse map: one group of
 * up to five members, in the map itself.
 *
 *     root    63                    18 17     12 11     6 5      0
 *             +-----------------------+---------+--------+--------+
 *             | the group             | third   | second | first  |
 *             +-----------------------+---------+--------+--------+
 *     place   15  14   12 11      6 5      0
 *             +--+-------+---------+--------+
 *             |  | scan  | fifth   | fourth |     scan: the next one's turn
 *             +--+-------+---------+--------+
 *
 * r->count says how many there are, in order of arrival. No hash: there is
 * nothing to look for.
 */
#pragma once

#include "leaf.h"

#include <quire/panic.h>

#define INLINE_MAX 5
#define INLINE_IN_ROOT 3
#define INLINE_BITS 6
#define INLINE_GROUP_SHIFT (INLINE_IN_ROOT * INLINE_BITS)
#define INLINE_SCAN_SHIFT 12

static inline unsigned inline_member(const struct rmap *r, unsigned i)
{
    uintptr_t word = r->root;

    if (i >= INLINE_IN_ROOT) {
        word = r->place;
        i -= INLINE_IN_ROOT;
    }
    return (unsigned)(word >> i * INLINE_BITS) & 63;
}

/* The @i-th, whose bits are 0. */
static inline void inline_put(struct rmap *r, unsigned i, unsigned member)
{
    if (i < INLINE_IN_ROOT) {
        r->root |= (uintptr_t)member << i * INLINE_BITS;
    } else {
        r->place |= (uint16_t)(member << (i - INLINE_IN_ROOT) * INLINE_BITS);
    }
}

/** inline_set() - the group and its first member. */
static inline void inline_set(struct rmap *r, uint64_t group, unsigned member)
{
    r->root = group << INLINE_GROUP_SHIFT | member;
    r->place = 0;
}

static inline uint64_t inline_group(const struct rmap *r)
{
    return r->root >> INLINE_GROUP_SHIFT;
}

static inline uint64_t inline_map(const struct rmap *r)
{
    uint64_t map = 0;

    for (unsigned i = 0; i < r->count; i++) {
        map |= UINT64_C(1) << inline_member(r, i);
    }
    return map;
}

/** inline_add_one() - the same as inline_add() with one member, or the first
 *  of all. */
static inline bool inline_add_one(struct rmap *r, uint64_t group,
                                  unsigned member)
{
    if (r->count == 0) {
        inline_set(r, group, member);
        return true;
    }
    if (inline_group(r) != group || r->count == INLINE_MAX) {
        return false;
    }
    ASSERT((inline_map(r) >> member & 1) == 0);
    inline_put(r, r->count, member);
    return true;
}

/** inline_add() - members that are not there, beside others; r->count is the
 *  caller's. False: they are of another group, or too many. */
static inline bool inline_add(struct rmap *r, uint64_t group, uint64_t map)
{
    unsigned n = r->count;

    if (n == 0 || inline_group(r) != group ||
        n + map_count(map) > INLINE_MAX) {
        return false;
    }
    ASSERT((inline_map(r) & map) == 0);
    for (; map != 0; map &= map - 1) {
        inline_put(r, n++, (unsigned)__builtin_ctzll(map));
    }
    return true;
}

/** inline_remove() - take @map's members out, which must be there (BUG). The
 *  others keep their order, and the scan its place among them. */
static inline void inline_remove(struct rmap *r, uint64_t group, uint64_t map)
{
    unsigned scan = r->place >> INLINE_SCAN_SHIFT, turn = scan, n = 0;
    struct rmap old = *r;

    BUG_ON(inline_group(r) != group || (inline_map(r) & map) != map);
    inline_set(r, group, 0);
    for (unsigned i = 0; i < old.count; i++) {
        unsigned member = inline_member(&old, i);

        if ((map >> member & 1) == 0) {
            inline_put(r, n++, member);
        } else if (i < scan) {
            turn--;
        }
    }
    r->place |= (uint16_t)(turn << INLINE_SCAN_SHIFT);
}

/** inline_remove_last() - the same of the only one, by its key of the map's
 *  kind; r->count, too. */
static inline void inline_remove_last(struct rmap *r, uint64_t key)
{
    BUG_ON(r->root != ((key >> RMAP_GROUP_SHIFT) << INLINE_GROUP_SHIFT |
                       (key & 63)));
    r->root = 0;
    r->count = 0;
    r->place = 0;
}

/** inline_scan() - the keys of the next @max members, which there are. */
static inline void inline_scan(struct rmap *r, uint64_t *out, unsigned max)
{
    uint64_t key = inline_group(r) << RMAP_GROUP_SHIFT;
    unsigned i = r->place >> INLINE_SCAN_SHIFT;

    for (unsigned n = 0; n < max; n++) {
        i = i >= r->count ? 0 : i;
        out[n] = key | inline_member(r, i++);
    }
    r->place &= (1u << INLINE_SCAN_SHIFT) - 1;
    r->place |= (uint16_t)(i << INLINE_SCAN_SHIFT);
}
