/*
 * rmap_leaf.c - one leaf of the adaptive reverse map: a small hash table of
 * fixed size; the picture is in its header.
 */
#include "rmap_leaf.h"

#include <quire/log.h>
#include <quire/panic.h>
#include <quire/string.h>
#include <quire/work.h>

/* Units, charged to whoever's slice it is. */
#define COST_SPLIT 4500
#define COST_MERGE 60       /* a word */

struct rmap_secret rmap_secret;

/* Add @delta to the counts of the buckets from @home to before @k. */
static void count_passed(uint8_t *passed, unsigned home, unsigned k, int delta)
{
    for (; home != k; home = next_bucket(home)) {
        passed[home] = (uint8_t)(passed[home] + delta);
    }
}

uint64_t leaf_map(const struct leaf *l, uint64_t hash)
{
    unsigned k = home_bucket(hash);
    uint64_t map = 0;

    for (unsigned probe = 0; probe < LEAF_BUCKETS; probe++) {
        const uint64_t *w;

        for_each_entry(l, k, w) {
            if (same_group(*w, hash)) {
                map |= word_map(w);
            }
        }
        if (l->passed[k] == 0) {
            break;
        }
        k = next_bucket(k);
    }
    return map;
}

bool leaf_put(struct leaf *l, uint64_t word, uint64_t map, unsigned reach)
{
    unsigned home = home_bucket(word), k = home, need = word_count(word);

    for (unsigned probe = 0; probe < reach; probe++) {
        unsigned fill = l->fill[k];

        if (fill + need <= BUCKET_WORDS) {
            write_entry(&l->bucket[k][fill], word, map);
            l->fill[k] = (uint8_t)(fill + need);
            l->used = (uint16_t)(l->used + need);
            count_passed(l->passed, home, k, 1);
            return true;
        }
        k = next_bucket(k);
    }
    return false;
}

/* Take out the entry whose word is at @w. */
static void cut_entry(struct leaf *l, unsigned k, uint64_t *w)
{
    unsigned n = word_count(*w);

    leaf_cut(l, k, w + 1 - n, n);
}

/* Whether a word of a full bucket looks like @hash's, be it another's map. */
static bool may_have_group(const uint64_t *bucket, uint64_t hash)
{
    bool found = false;

#pragma GCC unroll 8
    for (unsigned i = 0; i < BUCKET_WORDS; i++) {
        found |= same_group(bucket[i], hash);
    }
    return found;
}

bool leaf_join(struct leaf *l, uint64_t hash, uint64_t map)
{
    unsigned k = home_bucket(hash), words = 0;
    uint64_t *w;

    if (likely(!may_have_group(l->bucket[k], hash))) {
        return false;
    }
    for_each_entry(l, k, w) {
        words += same_group(*w, hash) ? word_count(*w) : 0;
    }
    if (words < 2) {            /* a map takes two */
        return false;
    }
    for (w = l->bucket[k] + l->fill[k] - 1; w >= l->bucket[k];) {
        unsigned n = word_count(*w);

        if (same_group(*w, hash)) {
            map |= word_map(w);
            cut_entry(l, k, w);
        }
        w -= n;                 /* those before have not moved */
    }
    return leaf_put(l, group_word(hash, map), map, 1);
}

/* Take members of @map out of the entry whose word is at @w. Returns those
 * that were there. */
static uint64_t entry_remove(struct leaf *l, unsigned k, uint64_t *w,
                             uint64_t map)
{
    uint64_t had = word_map(w), left = had & ~map;

    if (left == 0) {
        count_passed(l->passed, home_bucket(*w), k, -1);
        cut_entry(l, k, w);
    } else if ((*w & WORD_HAS_MAP) != 0) {
        w[-1] = left;
        if (is_single(left)) {
            *w = group_word(*w, left);
            leaf_cut(l, k, w - 1, 1);
        }
    }
    return had & map;
}

void leaf_remove(struct leaf *l, uint64_t hash, uint64_t map)
{
    unsigned k = home_bucket(hash);

    for (unsigned probe = 0; probe < LEAF_BUCKETS; probe++) {
        bool passed = l->passed[k] != 0;
        uint64_t *w = l->bucket[k] + l->fill[k] - 1;

        while (w >= l->bucket[k]) {
            unsigned n = word_count(*w);

            if (same_group(*w, hash)) {
                map &= ~entry_remove(l, k, w, map);
                if (map == 0) {
                    return;
                }
            }
            w -= n;             /* those before have not moved */
        }
        if (!passed) {
            break;
        }
        k = next_bucket(k);
    }
    panic("BUG: rmap: members %lx of a group are not there", map);
}

void leaf_clear(struct leaf *l)
{
    memset(l, 0, offsetof(struct leaf, bucket));
}

/* Hand out one bucket's entries; each stays in the bucket of this number. The
 * words are copied first: a bucket is read from its end. */
static slow_path void split_maps(struct leaf *lo, struct leaf *hi, unsigned k,
                                 uint64_t bit)
{
    uint64_t old[BUCKET_WORDS], *to[2] = { lo->bucket[k], hi->bucket[k] };
    unsigned fill = lo->fill[k];

    memcpy(old, lo->bucket[k], sizeof(old));
    for (uint64_t *w = old + fill - 1; w >= old; w -= word_count(*w)) {
        unsigned side = (*w & bit) != 0;

        write_entry(to[side], *w, word_map(w));
        to[side] += word_count(*w);
    }
    lo->fill[k] = (uint8_t)(to[0] - lo->bucket[k]);
    hi->fill[k] = (uint8_t)(to[1] - hi->bucket[k]);
}

/* The same for a bucket without maps, and without a branch for each word. */
static void split_singles(struct leaf *lo, struct leaf *hi, unsigned k,
                          unsigned shift)
{
    uint64_t *from = lo->bucket[k], *end = from + lo->fill[k];
    uint64_t *to_lo = from, *to_hi = hi->bucket[k];

    for (; from != end; from++) {
        uint64_t word = *from, side = word >> shift & 1;

        *to_lo = word;
        *to_hi = word;
        to_lo += side ^ 1;
        to_hi += side;
    }
    lo->fill[k] = (uint8_t)(to_lo - lo->bucket[k]);
    hi->fill[k] = (uint8_t)(to_hi - hi->bucket[k]);
}

/* Count those of bucket @k that are homed elsewhere. */
static void count_strangers(struct leaf *l, unsigned k)
{
    const uint64_t *w;

    for_each_entry(l, k, w) {
        if (unlikely(home_bucket(*w) != k)) {
            count_passed(l->passed, home_bucket(*w), k, 1);
        }
    }
}

static bool may_have_maps(const uint64_t *w, unsigned n)
{
    uint64_t any = 0;

    for (unsigned i = 0; i < n; i++) {
        any |= w[i];            /* a map's own bits do no harm */
    }
    return (any & WORD_HAS_MAP) != 0;
}

void leaf_split(struct leaf *lo, struct leaf *hi)
{
    uint8_t passed[LEAF_BUCKETS];
    unsigned shift, before = LEAF_BUCKETS - 1;

    work_charge(COST_SPLIT);
    memcpy(passed, lo->passed, sizeof(passed));
    memset(lo->passed, 0, sizeof(lo->passed));
    leaf_clear(hi);
    hi->depth = ++lo->depth;
    shift = 64u - lo->depth;
    for (unsigned k = 0; k < LEAF_BUCKETS; k++) {
        if (unlikely(may_have_maps(lo->bucket[k], lo->fill[k]))) {
            split_maps(lo, hi, k, UINT64_C(1) << shift);
        } else {
            split_singles(lo, hi, k, shift);
        }
        hi->used = (uint16_t)(hi->used + hi->fill[k]);
        if (passed[before] != 0) {
            count_strangers(lo, k);
            count_strangers(hi, k);
        }
        before = k;
    }
    lo->used = (uint16_t)(lo->used - hi->used);
}

void leaf_merge(struct leaf *to, const struct leaf *from)
{
    work_charge(from->used * COST_MERGE);
    for (unsigned k = 0; k < LEAF_BUCKETS; k++) {
        const uint64_t *w;

        for_each_entry(from, k, w) {
            BUG_ON(!leaf_put(to, *w, word_map(w), LEAF_BUCKETS));
        }
    }
    to->depth--;
}

/* ---- audit ---------------------------------------------------------------- */

static unsigned violation(const char *name, const void *where)
{
    log_error("%s at %p", name, where);
    return 1;
}

static unsigned audit_entry(const struct leaf *l, const uint64_t *w,
                            uint64_t prefix)
{
    uint64_t map = word_map(w);
    unsigned bad = 0;

    if (group_word(*w, map) != *w || map == 0) {
        bad += violation("L1: a word that cannot be", w);
    }
    if (l->depth != 0 && (*w ^ prefix) >> (64 - l->depth) != 0) {
        bad += violation("L3: an entry in another's leaf", w);
    }
    return bad;
}

/* Whether another entry of the group has a member of this one. */
static bool is_twice(const struct leaf *l, const uint64_t *w)
{
    uint64_t map = word_map(w), other = 0;
    unsigned k = home_bucket(*w);

    for (unsigned probe = 0; probe < LEAF_BUCKETS; probe++) {
        const uint64_t *v;

        for_each_entry(l, k, v) {
            if (v != w && same_group(*v, *w)) {
                other |= word_map(v);
            }
        }
        if (l->passed[k] == 0) {
            break;
        }
        k = next_bucket(k);
    }
    return (other & map) != 0;
}

unsigned leaf_audit(const struct leaf *l, uint64_t prefix, uint64_t *members)
{
    uint8_t passed[LEAF_BUCKETS] = { 0 };
    unsigned bad = 0, used = 0;

    for (unsigned k = 0; k < LEAF_BUCKETS; k++) {
        const uint64_t *w;

        if (l->fill[k] > BUCKET_WORDS) {
            return bad + violation("L1: a bucket too full", l->bucket[k]);
        }
        used += l->fill[k];
        for_each_entry(l, k, w) {
            if (w == l->bucket[k] && (*w & WORD_HAS_MAP) != 0) {
                return bad + violation("L1: a word without its map", w);
            }
            bad += audit_entry(l, w, prefix);
            if ((leaf_map(l, *w) & word_map(w)) != word_map(w)) {
                bad += violation("L2: an entry out of reach", w);
            }
            if (is_twice(l, w)) {
                bad += violation("R2: a member twice", w);
            }
            count_passed(passed, home_bucket(*w), k, 1);
            *members += map_count(word_map(w));
        }
    }
    if (used != l->used) {
        bad += violation("L1: the count of words", l);
    }
    if (memcmp(passed, l->passed, sizeof(passed)) != 0) {
        bad += violation("L4: the counts of entries passed on", l);
    }
    return bad;
}
