/*
 * rmap_scan.c - going round a table that changes in between.
 *
 * Words move within their bucket when others leave it, groups move from
 * bucket to bucket and from leaf to leaf. What never changes is a group's
 * hash and key, so a scan goes by these:
 *
 *     leaves in the hash's order
 *         home buckets 0, 1 .. 14
 *             groups of this home, by key
 *                 members, by number
 *
 * The place is kept in the leaf of hash 0, which no split or merge replaces.
 * A leaf that is split while the scan is in it is finished in its lower half,
 * and the upper half is seen whole; one that is merged meanwhile is begun
 * again. So a pair that stays is seen, some of them twice.
 */
#include "rmap_table.h"

/* The group homed in @home with the smallest key from @from on, or NULL. */
static const uint64_t *next_group(const struct leaf *l, unsigned home,
                                  uint64_t from)
{
    const uint64_t *best = NULL;
    unsigned k = home;

    for (unsigned probe = 0; probe < LEAF_BUCKETS; probe++) {
        const uint64_t *w = l->bucket[k], *end = w + BUCKET_WORDS;

        for (; w != end && *w != 0; w += word_count(*w)) {
            uint64_t key = word_key(*w);

            if (key >= from && (best == NULL || key < word_key(*best)) &&
                home_bucket(rmap_hash(key)) == home) {
                best = w;
            }
        }
        if (l->passed[k] == 0) {
            break;
        }
        k = k + 1 == LEAF_BUCKETS ? 0 : k + 1;
    }
    return best;
}

/* The rest of one home bucket, from @at on; true: all of it. */
static bool scan_home(const struct leaf *l, struct scan_place *at,
                      struct rmap_pair *out, unsigned *n, unsigned max)
{
    const uint64_t *w;

    while ((w = next_group(l, at->home, at->key)) != NULL) {
        uint64_t key = word_key(*w), map = word_map(w);

        if (key != at->key) {
            at->member = 0;
        }
        at->key = key;
        for (map &= UINT64_MAX << at->member; map != 0; map &= map - 1) {
            unsigned member = (unsigned)__builtin_ctzll(map);

            if (*n == max) {
                at->member = (uint8_t)member;
                return false;
            }
            out[(*n)++] = rmap_pair_of(key << RMAP_GROUP_SHIFT | member);
        }
        at->key = key + 1;
        at->member = 0;
    }
    return true;
}

/* To the leaf after @l, or round to the first. */
static void next_leaf(struct scan_place *at, const struct leaf *l)
{
    uint64_t size = UINT64_C(1) << (DEPTH_MAX - l->depth);

    at->prefix = (uint32_t)((at->prefix | (size - 1)) + 1);
    at->depth = 0;
    at->home = 0;
    at->key = 0;
    at->member = 0;
}

unsigned table_scan(struct rmap *r, struct rmap_pair *out, unsigned max)
{
    struct scan_place *at = &find_leaf(r, 0)->scan;
    unsigned n = 0;

    while (n < max) {
        struct leaf *l = find_leaf(r, (uint64_t)at->prefix << 32);

        if (l->depth < at->depth) {     /* merged: see it all again */
            at->home = 0;
            at->key = 0;
            at->member = 0;
        }
        at->depth = l->depth;
        while (at->home < LEAF_BUCKETS && scan_home(l, at, out, &n, max)) {
            at->home++;
            at->key = 0;
            at->member = 0;
        }
        if (at->home == LEAF_BUCKETS) {
            next_leaf(at, l);
        }
    }
    return n;
}
