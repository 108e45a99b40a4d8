/*
 * rmap_leaf.h - how the adaptive reverse map stores pairs: words of groups,
 * and leaves of words.
 *
 * A word, and the second one that a group of two members or more has:
 *
 *     63          34 33     18 17..8 7      2    1       0
 *     +-------------+---------+-----+--------+--------+------+
 *     | domid       | group   |  0  | member | in use | map? |   key: 46 bits
 *     +-------------+---------+-----+--------+--------+------+
 *     | map of the members, never 0; with map?, member is 0  |
 *     +------------------------------------------------------+
 *
 * So a gfn alone costs 8 bytes, and a dense run a quarter of a byte each. A
 * run of words is packed from the front; the first 0 ends it.
 *
 *     leaf: 1008 bytes, of which the heap makes four a page
 *     +--------+--------+--------+----- ... -----+--------+
 *     | header | bucket | bucket |               | bucket |  15 of 8 words
 *     +--------+--------+--------+----- ... -----+--------+
 *
 * A group lives in the home bucket that its hash names or in one of the next,
 * and each bucket counts the groups that went past it: a search goes on only
 * where one did.
 */
#pragma once

#include "rmap_forms.h"

#define LEAF_BUCKETS 15
#define BUCKET_WORDS 8
#define MAX_PROBE 3             /* buckets from home; full ones: a split */
#define LEAF_WORDS (LEAF_BUCKETS * BUCKET_WORDS)

#define WORD_HAS_MAP UINT64_C(1)
#define WORD_IN_USE UINT64_C(2)
#define WORD_MEMBER_SHIFT 2
#define WORD_KEY_SHIFT 18
#define GROUP_DOMAIN_SHIFT (RMAP_DOMAIN_SHIFT - RMAP_GROUP_SHIFT)

/* Where a scan of a table goes on; see rmap_scan.c. */
struct scan_place {
    uint64_t key;               /* of the group, in key order */
    uint32_t prefix;            /* of the leaf: the hash's upper half */
    uint8_t depth;              /* of the leaf when it was begun; 0: not yet */
    uint8_t home;               /* of the group */
    uint8_t member;
};

struct leaf {
    uint16_t used;              /* words */
    uint8_t depth;              /* bits of the hash that lead here */
    uint8_t passed[LEAF_BUCKETS];       /* groups homed earlier, or here */
    struct scan_place scan;     /* of the map; in the leaf of hash 0 */
    uint64_t spare;
    uint64_t bucket[LEAF_BUCKETS][BUCKET_WORDS];
};
static_assert(sizeof(struct leaf) == 1008, "a size class of the heap");

extern uint64_t rmap_seed[2];

/*
 * A product with a secret, its halves folded: a keyed hash of a few
 * instructions, whose upper half picks the leaf and lower half the bucket.
 */
static inline uint64_t rmap_hash(uint64_t key)
{
    unsigned __int128 p = (unsigned __int128)(key ^ rmap_seed[0]) *
                          rmap_seed[1];

    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static inline unsigned home_bucket(uint64_t hash)
{
    return (unsigned)(((hash & UINT32_MAX) * LEAF_BUCKETS) >> 32);
}

static inline uint64_t word_key(uint64_t w) { return w >> WORD_KEY_SHIFT; }

static inline unsigned word_count(uint64_t w)
{
    return 1 + (unsigned)(w & WORD_HAS_MAP);
}

static inline uint64_t word_map(const uint64_t *w)
{
    return (w[0] & WORD_HAS_MAP) != 0
               ? w[1] : UINT64_C(1) << (w[0] >> WORD_MEMBER_SHIFT & 63);
}

/* The member of a group that a pair's key names, as a map. */
static inline uint64_t key_bit(uint64_t key)
{
    return UINT64_C(1) << (key & 63);
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

static inline unsigned words_needed(uint64_t map)
{
    return is_single(map) ? 1 : 2;
}

static inline void write_group(uint64_t *w, uint64_t key, uint64_t map)
{
    uint64_t word = key << WORD_KEY_SHIFT | WORD_IN_USE;

    if (is_single(map)) {
        w[0] = word | (uint64_t)__builtin_ctzll(map) << WORD_MEMBER_SHIFT;
    } else {
        w[0] = word | WORD_HAS_MAP;
        w[1] = map;
    }
}

/* The group of @key in the words from @w to @end, or NULL, and then in
 * *@free the first word not used, or @end. */
static inline uint64_t *words_find(uint64_t *w, uint64_t *end, uint64_t key,
                                   uint64_t **free)
{
    while (w != end && *w != 0) {
        if (word_key(*w) == key) {
            return w;
        }
        w += word_count(*w);
    }
    *free = w;
    return NULL;
}

/* Take @n words out at @w of a run that ends at @end at the latest, or at a
 * 0: no map is. */
static inline void words_cut(uint64_t *w, uint64_t *end, unsigned n)
{
    while (w + n != end && w[n] != 0) {
        w[0] = w[n];
        w++;
    }
    while (n-- != 0) {
        *w++ = 0;
    }
}

/** leaf_find() - the group's first word, or NULL. *@bucket: where it is. */
uint64_t *leaf_find(struct leaf *l, uint64_t hash, uint64_t key,
                    unsigned *bucket);
/** leaf_put() - a group that is not there, at most @reach buckets from home;
 *  false: no room. */
bool must_check leaf_put(struct leaf *l, uint64_t hash, uint64_t key,
                         uint64_t map, unsigned reach);
/** leaf_cut() - take @n words out, the whole group at @w in @bucket. */
void leaf_cut(struct leaf *l, uint64_t hash, unsigned bucket, uint64_t *w,
              unsigned n);
/** leaf_clear() - empty, at the root. */
void leaf_clear(struct leaf *l);
/** leaf_split() - hand to @hi, whose contents do not matter, the groups whose
 *  hash has the next bit set. */
void leaf_split(struct leaf *lo, struct leaf *hi);
/** leaf_merge() - put @from's groups, few enough to fit, into @to. */
void leaf_merge(struct leaf *to, const struct leaf *from);
/** leaf_audit() - violations: L1 packed words, their count; L2 each group is
 *  found where it is; L3 its hash leads here; L4 the counts of the passed.
 *  The members are added to *@members. */
unsigned leaf_audit(struct leaf *l, uint64_t prefix, uint64_t *members);
