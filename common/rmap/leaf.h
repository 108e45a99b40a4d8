/*
 * leaf.h - how the adaptive reverse map stores pairs: words of groups,
 * and leaves of words.
 *
 * The word of a group, and before it, with more members, their map:
 *
 *     63                    18 17..12 11..8 7      2    1       0
 *     +----------------------------------------------------------+
 *     | with map?: map of the members, two or more               |
 *     +-----------------------+-----+------+--------+--------+------+
 *     | hash of domid, group  |  0  | away | member | in use | map? |
 *     +-----------------------+-----+------+--------+--------+------+
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
 * one of the next, as far @away as its word says, and each bucket counts the
 * entries that went past it: a search goes on only where one did. Most buckets
 * have no maps, which the upper half of their @fill says: there a word is
 * looked for by comparing it. A group may have several entries, no
 * member in two: an insert looks at the last entry of the home bucket alone,
 * which is its group's when neighbours come one after the other, and joins
 * all of the group that is there when the bucket is full. That is why a bucket
 * is read from its end.
 */
#pragma once

#include "forms.h"

#define LEAF_BUCKETS 15
#define BUCKET_WORDS 8
#define MAX_PROBE 3             /* buckets from home; full ones: a split */
#define FIRST_PROBE 7           /* of an only leaf: there two are twice as much */

#define WORD_HAS_MAP UINT64_C(1)
#define WORD_IN_USE UINT64_C(2)
#define WORD_MEMBER_SHIFT 2
#define WORD_AWAY_SHIFT 8
#define WORD_AWAY (UINT64_C(15) << WORD_AWAY_SHIFT)
#define WORD_HASH_SHIFT 18
#define WORD_HASH (~UINT64_C(0) << WORD_HASH_SHIFT)
#define DEPTH_MAX 25            /* bits of the hash that pick the leaf */
#define HASH_FOLD 32            /* 23 or more: its own inverse */

struct leaf {
    uint16_t used;              /* words */
    uint8_t depth;              /* bits of the hash that lead here */
    uint8_t fill[LEAF_BUCKETS];         /* words, and FILL_MAP each map */
    uint8_t passed[LEAF_BUCKETS];       /* entries homed here or earlier */
    uint32_t scan_prefix;       /* of the map's scan, in the leaf of hash 0 */
    uint64_t scan_place;        /* see scan.c */
    uint64_t bucket[LEAF_BUCKETS][BUCKET_WORDS];
};
static_assert(sizeof(struct leaf) == 1008, "a size class of the heap");

#define FILL_WORDS 15u          /* of a fill */
#define FILL_MAP 16u

/* The permutation's secrets: what is added, and two odd factors with their
 * inverses. */
struct rmap_secret { uint64_t mask, factor[2], inverse[2]; };
extern struct rmap_secret rmap_secret;

/** rmap_hash() - of a group's key, in the place that it has in a word. */
static inline uint64_t rmap_hash(uint64_t group)
{
    uint64_t x = (group << WORD_HASH_SHIFT ^ rmap_secret.mask) *
                 rmap_secret.factor[0];

    x ^= x >> HASH_FOLD & WORD_HASH;
    return x * rmap_secret.factor[1];
}

/** rmap_unhash() - the group's key of a word. */
static inline uint64_t rmap_unhash(uint64_t word)
{
    uint64_t x = (word & WORD_HASH) * rmap_secret.inverse[1];

    x ^= x >> HASH_FOLD & WORD_HASH;
    return (x * rmap_secret.inverse[0] ^ rmap_secret.mask) >> WORD_HASH_SHIFT;
}

/* The home bucket of a hash: its lower bits, which no leaf is picked by and
 * which the fold has mixed with the upper. */
static inline size_t home_of(uint64_t hash)
{
    return (uint64_t)(uint32_t)hash * LEAF_BUCKETS >> 32;
}

static inline unsigned home_bucket(uint64_t word)
{
    return (unsigned)home_of(word & WORD_HASH);
}

/* How many buckets of a leaf are looked at before it is split. */
static inline unsigned leaf_reach(const struct leaf *l)
{
    return likely(l->depth != 0) ? MAX_PROBE : FIRST_PROBE;
}

static inline unsigned next_bucket(unsigned k)
{
    return k + 1 == LEAF_BUCKETS ? 0 : k + 1;
}

/* How many words bucket @k has, maps and all. */
static inline unsigned bucket_words(const struct leaf *l, unsigned k)
{
    return l->fill[k] & FILL_WORDS;
}

static inline bool same_group(uint64_t a, uint64_t b)
{
    return (a ^ b) >> WORD_HASH_SHIFT == 0;
}

/* What an entry of this word adds to the fill of its bucket. */
static inline unsigned word_fill(uint64_t w)
{
    return (w & WORD_HAS_MAP) != 0 ? 2 + FILL_MAP : 1;
}

static inline unsigned word_count(uint64_t w)
{
    return 1 + (unsigned)(w & WORD_HAS_MAP);
}

/* The member of an entry of one, as a map. */
static inline uint64_t word_bit(uint64_t word)
{
    return UINT64_C(1) << (word >> WORD_MEMBER_SHIFT & 63);
}

/* The members of the entry whose word is at @w. */
static inline uint64_t word_map(const uint64_t *w)
{
    return (w[0] & WORD_HAS_MAP) != 0 ? w[-1] : word_bit(w[0]);
}

/* The member of a group that a pair's key names, as a map. */
static inline uint64_t key_bit(uint64_t key)
{
    return UINT64_C(1) << (key & 63);
}

/* The word of an entry with one member. */
static inline uint64_t pair_word(uint64_t hash, uint64_t key)
{
    return hash + ((key & 63) << WORD_MEMBER_SHIFT) + WORD_IN_USE;
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
    for (w = (l)->bucket[k] + bucket_words(l, k) - 1; w >= (l)->bucket[k]; \
         w -= word_count(*w))

/* Whether a word of a full bucket looks like @hash's, be it another's map. */
static inline bool may_have_group(const uint64_t *bucket, uint64_t hash)
{
    for (unsigned i = 0; i < BUCKET_WORDS; i++) {
        if (unlikely(same_group(bucket[i], hash))) {
            return true;
        }
    }
    return false;
}

/**
 * bucket_find() - which of the @fill words of bucket @k is @word, if they are
 * all of single members (a map can be any number). BUCKET_WORDS: ask
 * leaf_has_elsewhere(). All eight are compared, without a branch: which of them
 * it is no processor can guess, and a wrong guess costs it more than that.
 */
static inline size_t bucket_find(const struct leaf *l, size_t k, size_t fill,
                                 uint64_t word)
{
    const uint64_t *bucket = l->bucket[k];
    size_t at = BUCKET_WORDS;

    if (fill > BUCKET_WORDS) {
        return BUCKET_WORDS;
    }
    /* The first, for behind the last word there is what was there once. */
#pragma GCC unroll 8
    for (size_t i = BUCKET_WORDS; i-- > 0;) {
        at = bucket[i] == word ? i : at;
    }
    return at < fill ? at : BUCKET_WORDS;
}

/**
 * leaf_add_single() - an entry of one member; false: its home bucket @k is
 * full or ends with an entry of its group, see leaf_add(). (Of an empty bucket
 * the word before it is looked at, which at worst costs that detour.)
 */
static inline bool leaf_add_single(struct leaf *l, size_t k, uint64_t word)
{
    size_t fill = l->fill[k];
    uint64_t *last = &l->bucket[k][fill % BUCKET_WORDS] - 1;

    if (unlikely((fill & BUCKET_WORDS) != 0 || same_group(*last, word))) {
        return false;
    }
    last[1] = word;
    l->fill[k]++;
    l->used++;
    return true;
}

/** bucket_cut() - take out the word @at, which bucket_find() found, of @fill.
 *  The bucket's last takes its place. */
static inline void bucket_cut(struct leaf *l, size_t k, size_t fill, size_t at)
{
    fill--;
    l->bucket[k][at] = l->bucket[k][fill];
    l->fill[k] = (uint8_t)fill;
    l->used--;
}

/** leaf_cut_single() - take out @word, if bucket_find() finds it. */
static inline bool leaf_cut_single(struct leaf *l, size_t k, uint64_t word)
{
    size_t fill = l->fill[k], at = bucket_find(l, k, fill, word);

    if (unlikely(at == BUCKET_WORDS)) {
        return false;
    }
    bucket_cut(l, k, fill, at);
    return true;
}

/** leaf_narrow() - take a member out of a map in its home bucket @k that keeps
 *  two or more; false: there is none. */
static inline bool leaf_narrow(struct leaf *l, size_t k, uint64_t word)
{
    uint64_t *bucket = l->bucket[k], bit = word_bit(word), left;

    for (uint64_t *w = bucket + (l->fill[k] & FILL_WORDS) - 1; w >= bucket;
         w--) {
        if ((*w & WORD_HAS_MAP) != 0) {
            w--;
            if (same_group(w[1], word) && (*w & bit) != 0) {
                left = *w ^ bit;
                if (is_single(left)) {
                    return false;
                }
                *w = left;
                return true;
            }
        }
    }
    return false;
}

/** leaf_has_elsewhere() - whether the member is there whose own entry would be
 *  @word, whose home is bucket @k and which bucket_find() has not found. */
bool leaf_has_elsewhere(struct leaf *l, size_t k, uint64_t word);
/** leaf_add_away() - an entry of one member whose home bucket has no maps, none
 *  of its group and no room; false: nor have the next. */
bool must_check leaf_add_away(struct leaf *l, unsigned k, uint64_t word);
/** leaf_remove_member() - the same, taken out: it must be there (BUG). */
void leaf_remove_member(struct leaf *l, size_t k, uint64_t word);
/** leaf_add() - an entry into its home bucket, or into the last one there;
 *  false: no room. */
bool must_check leaf_add(struct leaf *l, uint64_t word, uint64_t map);
/** leaf_map() - the members of a group. */
uint64_t leaf_map(const struct leaf *l, uint64_t hash);
/** leaf_has() - whether the member @bit of a group is there. */
static inline bool leaf_has(const struct leaf *l, uint64_t hash, uint64_t bit)
{
    return (leaf_map(l, hash) & bit) != 0;
}
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
