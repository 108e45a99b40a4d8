/*
 * scan.c - going round a table that changes in between.
 *
 * Words move within their bucket when others leave it, entries are joined and
 * move from leaf to leaf. What never changes is a group's hash, so a scan
 * goes by this:
 *
 *     leaves in the hash's order
 *         home buckets 0, 1 .. 14
 *             groups of this home, by hash
 *                 members, by number
 *
 * The place is kept in the leaf of hash 0, which no split or merge replaces.
 * A leaf that is split while the scan is in it is finished in its lower half,
 * and the upper half is seen whole; one that is merged meanwhile is begun
 * again. So a pair that stays is seen, some of them twice.
 *
 *     scan_place   63            18 17    12 11    8 7    2 1  0
 *                  +---------------+--------+-------+------+----+
 *                  | hash          | depth  | home  |member| 0  |
 *                  +---------------+--------+-------+------+----+
 */
#include "table.h"

#define PLACE_MEMBER_SHIFT 2
#define PLACE_HOME_SHIFT 8
#define PLACE_DEPTH_SHIFT 12

struct place {
    uint64_t hash;              /* of the group */
    uint32_t prefix;            /* of the leaf: the hash's upper half */
    unsigned depth;             /* of the leaf when it was begun; 0: not yet */
    unsigned home;
    unsigned member;
};

static struct place load_place(const struct leaf *l)
{
    uint64_t p = l->scan_place;

    return (struct place){
        .hash = p & WORD_HASH,
        .prefix = l->scan_prefix,
        .depth = p >> PLACE_DEPTH_SHIFT & 63,
        .home = p >> PLACE_HOME_SHIFT & 15,
        .member = p >> PLACE_MEMBER_SHIFT & 63,
    };
}

static void store_place(struct leaf *l, const struct place *at)
{
    l->scan_prefix = at->prefix;
    l->scan_place = at->hash | at->depth << PLACE_DEPTH_SHIFT |
                    at->home << PLACE_HOME_SHIFT |
                    at->member << PLACE_MEMBER_SHIFT;
}

static void start_home(struct place *at, unsigned home)
{
    at->home = home;
    at->hash = 0;
    at->member = 0;
}

/* The least hash from @from on of a group homed in @home; false: none. */
static bool next_group(const struct leaf *l, unsigned home, uint64_t from,
                       uint64_t *hash)
{
    unsigned k = home;
    bool found = false;

    for (unsigned probe = 0; probe < LEAF_BUCKETS; probe++) {
        const uint64_t *w;

        for_each_entry(l, k, w) {
            uint64_t h = *w & WORD_HASH;

            if (h >= from && (!found || h < *hash) &&
                home_bucket(h) == home) {
                *hash = h;
                found = true;
            }
        }
        if (l->passed[k] == 0) {
            break;
        }
        k = next_bucket(k);
    }
    return found;
}

/* The rest of one home bucket, from @at on; true: all of it. */
static bool scan_home(const struct leaf *l, struct place *at,
                      uint64_t *out, unsigned *n, unsigned max)
{
    uint64_t hash = 0;

    while (next_group(l, at->home, at->hash, &hash)) {
        uint64_t key = rmap_unhash(hash) << RMAP_GROUP_SHIFT;
        uint64_t map = leaf_map(l, hash);

        if (hash == at->hash) {
            map &= UINT64_MAX << at->member;
        }
        for (; map != 0; map &= map - 1) {
            unsigned member = (unsigned)__builtin_ctzll(map);

            if (*n == max) {
                at->hash = hash;
                at->member = member;
                return false;
            }
            out[(*n)++] = key | member;
        }
        at->hash = hash + (UINT64_C(1) << WORD_HASH_SHIFT);
        at->member = 0;
        if (at->hash == 0) {    /* that was the last there can be */
            break;
        }
    }
    return true;
}

/* To the leaf after @l, or round to the first. */
static void start_next_leaf(struct place *at, const struct leaf *l)
{
    uint64_t size = UINT64_C(1) << (32 - l->depth);

    at->prefix = (uint32_t)((at->prefix | (size - 1)) + 1);
    at->depth = 0;
    start_home(at, 0);
}

void table_scan(struct rmap *r, uint64_t *out, unsigned max)
{
    struct leaf *first = find_leaf(r, 0);
    struct place at = load_place(first);
    unsigned n = 0;

    while (n < max) {
        const struct leaf *l = find_leaf(r, (uint64_t)at.prefix << 32);

        if (l->depth < at.depth) {      /* merged: see it all again */
            start_home(&at, 0);
        }
        at.depth = l->depth;
        while (at.home < LEAF_BUCKETS && scan_home(l, &at, out, &n, max)) {
            start_home(&at, at.home + 1);
        }
        if (at.home == LEAF_BUCKETS) {
            start_next_leaf(&at, l);
        }
    }
    store_place(first, &at);
}
