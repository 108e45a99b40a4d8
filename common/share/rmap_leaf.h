/*
 * rmap_leaf.h - how the adaptive reverse map stores pairs: words of groups,
 * and leaves of words.
 *
 * The word of a group, and before it, with more members, their map:
 *
 *     63                    18 17..8 7      2    1       0
 *     +------------------------------------------------------+
 *     | with map?: map of the members, two or more           |
 *     +-----------------------+-----+--------+--------+------+
 *     | hash of domid, group  |  0  | member | in use | map? |
 *     +-----------------------+-----+--------+--------+------+
 *
 * So a gfn alone costs 8 bytes, and a dense run a quarter of a byte each. The
 * hash is a permutation of the 46 bits: nothing else need be kept, and what
 * leads to a word can be read off it.
 *
 *     leaf: 1008 bytes, of which the heap makes four a page
 *     +--------+--------+--------+----- ... -----+--------+
 *     | header | bucket | bucket |               | bucket |  15 of 8 words
 *     +--------+--------+--------+----- ... -----+--------+
 *
 * An entry, a word or two, lives in the home bucket that its hash names or in
 * one of the next, and each bucket counts the entries that went past it: a
 * search goes on only where one did. A group may have several entries, no
 * member in two: an insert looks at the last entry of the home bucket alone,
 * which is its group's when neighbours come one after the other, and joins
 * all of the group that is there when the bucket is full. That is why a bucket
 * is read from its end.
 */
#pragma once

#include "rmap_forms.h"

#define LEAF_BUCKETS 15
#define BUCKET_WORDS 8
#define MAX_PROBE 3             /* buckets from home; full ones: a split */

#define WORD_HAS_MAP UINT64_C(1)
#define WORD_IN_USE UINT64_C(2)
#define WORD_MEMBER_SHIFT 2
#define WORD_HASH_SHIFT 18
#define WORD_HASH (~UINT64_C(0) << WORD_HASH_SHIFT)
#define DEPTH_MAX 25            /* bits of the hash that pick the leaf */
#define HOME_BITS 21            /* others, that pick the bucket */

struct leaf {
    uint16_t used;              /* words */
    uint8_t depth;              /* bits of the hash that lead here */
    uint8_t fill[LEAF_BUCKETS];         /* words */
    uint8_t passed[LEAF_BUCKETS];       /* entries homed here or earlier */
    uint32_t scan_prefix;       /* of the map's scan, in the leaf of hash 0 */
    uint64_t scan_place;        /* see rmap_scan.c */
    uint64_t bucket[LEAF_BUCKETS][BUCKET_WORDS];
};
static_assert(sizeof(struct leaf) == 1008, "a size class of the heap");

/* The permutation's secrets: what is added, and two odd factors with their
 * inverses. */
struct rmap_secret { uint64_t mask, factor[2], inverse[2]; };
extern struct rmap_secret rmap_secret;

/** rmap_hash() - of a group's key, in the place that it has in a word. */
static inline uint64_t rmap_hash(uint64_t group)
{
    uint64_t x = (group << WORD_HASH_SHIFT ^ rmap_secret.mask) *
                 rmap_secret.factor[0];

    x ^= x >> 23 & WORD_HASH;   /* half of 46 */
    return x * rmap_secret.factor[1];
}

/** rmap_unhash() - the group's key of a word. */
static inline uint64_t rmap_unhash(uint64_t word)
{
    uint64_t x = (word & WORD_HASH) * rmap_secret.inverse[1];

    x ^= x >> 23 & WORD_HASH;
    return (x * rmap_secret.inverse[0] ^ rmap_secret.mask) >> WORD_HASH_SHIFT;
}

static inline unsigned home_bucket(uint64_t word)
{
    uint64_t bits = word >> WORD_HASH_SHIFT & ((1u << HOME_BITS) - 1);

    return (unsigned)(bits * LEAF_BUCKETS >> HOME_BITS);
}

static inline unsigned next_bucket(unsigned k)
{
    return k + 1 == LEAF_BUCKETS ? 0 : k + 1;
}

static inline bool same_group(uint64_t a, uint64_t b)
{
    return (a ^ b) >> WORD_HASH_SHIFT == 0;
}

static inline unsigned word_count(uint64_t w)
{
    return 1 + (unsigned)(w & WORD_HAS_MAP);
}

/* The members of the entry whose word is at @w. */
static inline uint64_t word_map(const uint64_t *w)
{
    return (w[0] & WORD_HAS_MAP) != 0
               ? w[-1] : UINT64_C(1) << (w[0] >> WORD_MEMBER_SHIFT & 63);
}

/* The member of a group that a pair's key names, as a map. */
static inline uint64_t key_bit(uint64_t key)
{
    return UINT64_C(1) << (key & 63);
}

/* The word of an entry with one member. */
static inline uint64_t pair_word(uint64_t hash, uint64_t key)
{
    return hash | (key & 63) << WORD_MEMBER_SHIFT | WORD_IN_USE;
}

static inline bool is_single(uint64_t map) { return (map & (map - 1)) == 0; }

/* How many bits are set; nearly always it is one. */
static inline unsigned map_count(uint64_t map)
{
    unsigned n = 1;

    while (!is_single(map)) {
        map &= map - 1;
        n++;
    }
    return n;
}

/** group_word() - the first word of an entry with @map of @hash's group. */
static inline uint64_t group_word(uint64_t hash, uint64_t map)
{
    hash = (hash & WORD_HASH) | WORD_IN_USE;
    return is_single(map)
               ? hash | (uint64_t)__builtin_ctzll(map) << WORD_MEMBER_SHIFT
               : hash | WORD_HAS_MAP;
}

/* Write an entry from @w on. */
static inline void write_entry(uint64_t *w, uint64_t word, uint64_t map)
{
    if ((word & WORD_HAS_MAP) != 0) {
        *w++ = map;
    }
    *w = word;
}

/* The entries of bucket @k, last to first: their words are at @w. */
#define for_each_entry(l, k, w) \
    for (w = (l)->bucket[k] + (l)->fill[k] - 1; w >= (l)->bucket[k]; \
         w -= word_count(*w))

/** leaf_has() - whether the member @bit of a group is there, whose own entry
 *  would be @word. */
static inline bool leaf_has(const struct leaf *l, uint64_t word, uint64_t bit)
{
    unsigned k = home_bucket(word);

    for (unsigned probe = 0; probe < LEAF_BUCKETS; probe++) {
        const uint64_t *w = l->bucket[k] + l->fill[k] - 1;

        for (; w >= l->bucket[k]; w--) {
            if (*w == word) {
                return true;
            }
            if (unlikely((*w & WORD_HAS_MAP) != 0)) {
                if (same_group(*w, word) && (w[-1] & bit) != 0) {
                    return true;
                }
                w--;
            }
        }
        if (likely(l->passed[k] == 0)) {
            return false;
        }
        k = next_bucket(k);
    }
    return false;
}

/**
 * leaf_add_single() - an entry of one member; false: the home bucket is full
 * or ends with an entry of its group, see leaf_add(). (Of an empty bucket the
 * word before it is looked at, which at worst costs that detour.)
 */
static inline bool leaf_add_single(struct leaf *l, uint64_t word)
{
    unsigned k = home_bucket(word), fill = l->fill[k];
    uint64_t *end = &l->bucket[k][fill];

    if (unlikely(fill == BUCKET_WORDS || same_group(end[-1], word))) {
        return false;
    }
    *end = word;
    l->fill[k] = (uint8_t)(fill + 1);
    l->used++;
    return true;
}

/* What leaf_add() returns; FULL: nothing was changed. */
enum leaf_room { LEAF_ADDED, LEAF_FULL };

/** leaf_add() - an entry into its home bucket, or into the last one there. */
static inline enum leaf_room leaf_add(struct leaf *l, uint64_t word,
                                      uint64_t map)
{
    unsigned k = home_bucket(word), fill = l->fill[k], need = word_count(word);
    uint64_t *end = &l->bucket[k][fill];

    if (fill != 0 && unlikely(same_group(end[-1], word))) {
        map |= word_map(&end[-1]);
        if ((end[-1] & WORD_HAS_MAP) != 0) {
            end[-2] = map;
            return LEAF_ADDED;
        }
        need = 1;
        word = group_word(word, map);
        end--;
    }
    if (unlikely(fill + need > BUCKET_WORDS)) {
        return LEAF_FULL;
    }
    write_entry(end, word, map);
    l->fill[k] = (uint8_t)(fill + need);
    l->used = (uint16_t)(l->used + need);
    return LEAF_ADDED;
}

/** leaf_cut() - take the @n words from @w on out of bucket @k. */
static inline void leaf_cut(struct leaf *l, unsigned k, uint64_t *w,
                            unsigned n)
{
    uint64_t *end = l->bucket[k] + l->fill[k] - n;

    for (; w != end; w++) {
        w[0] = w[n];
    }
    l->fill[k] = (uint8_t)(l->fill[k] - n);
    l->used = (uint16_t)(l->used - n);
}

/** leaf_cut_single() - take out the entry that is @word and nothing else, if
 *  it is in its home bucket; most are. */
static inline bool leaf_cut_single(struct leaf *l, uint64_t word)
{
    unsigned k = home_bucket(word);
    uint64_t *w = l->bucket[k] + l->fill[k] - 1;

    for (; w >= l->bucket[k]; w--) {
        if (*w == word) {
            leaf_cut(l, k, w, 1);
            return true;
        }
        w -= *w & WORD_HAS_MAP;
    }
    return false;
}

/** leaf_map() - the members of a group. */
uint64_t leaf_map(const struct leaf *l, uint64_t hash);
/** leaf_put() - an entry, at most @reach buckets from home; false: no room. */
bool must_check leaf_put(struct leaf *l, uint64_t word, uint64_t map,
                         unsigned reach);
/** leaf_join() - put @map's members into the entries of their group in its
 *  home bucket; false: that would take words it does not have. */
bool must_check leaf_join(struct leaf *l, uint64_t hash, uint64_t map);
/** leaf_remove() - take @map's members out; all must be there (BUG). */
void leaf_remove(struct leaf *l, uint64_t hash, uint64_t map);
/** leaf_clear() - empty, at the root. */
void leaf_clear(struct leaf *l);
/** leaf_split() - hand to @hi, whose contents do not matter, the entries
 *  whose hash has the next bit set. */
void leaf_split(struct leaf *lo, struct leaf *hi);
/** leaf_merge() - put @from's entries, few enough to fit, into @to. */
void leaf_merge(struct leaf *to, const struct leaf *from);
/** leaf_audit() - violations: L1 words that cannot be, their count; R2
 *  members twice; L3 a hash that does not lead here, or a home too far; L4
 *  the counts of the passed. The members are added to *@members. */
unsigned leaf_audit(const struct leaf *l, uint64_t prefix, uint64_t *members);
