/*
 * rmap_leaf.c - one leaf of the adaptive reverse map: a small hash table of
 * fixed size; the picture is in its header.
 */
#include "rmap_leaf.h"

#include <quire/log.h>
#include <quire/panic.h>
#include <quire/string.h>

static unsigned next_bucket(unsigned k)
{
    return k + 1 == LEAF_BUCKETS ? 0 : k + 1;
}

static unsigned bucket_used(const uint64_t *b)
{
    unsigned i = 0;

    while (i < BUCKET_WORDS && b[i] != 0) {
        i += word_count(b[i]);
    }
    return i;
}

/* Add @delta to the counts of the buckets from @home to before @k. */
static void count_passed(struct leaf *l, unsigned home, unsigned k, int delta)
{
    for (; home != k; home = next_bucket(home)) {
        l->passed[home] = (uint8_t)(l->passed[home] + delta);
    }
}

uint64_t *leaf_find(struct leaf *l, uint64_t hash, uint64_t key,
                    unsigned *bucket)
{
    unsigned k = home_bucket(hash);

    for (unsigned probe = 0; probe < LEAF_BUCKETS; probe++) {
        uint64_t *b = l->bucket[k], *free;
        uint64_t *w = words_find(b, b + BUCKET_WORDS, key, &free);

        if (w != NULL) {
            *bucket = k;
            return w;
        }
        if (l->passed[k] == 0) {
            break;
        }
        k = next_bucket(k);
    }
    return NULL;
}

bool leaf_put(struct leaf *l, uint64_t hash, uint64_t key, uint64_t map,
              unsigned reach)
{
    unsigned home = home_bucket(hash), k = home, need = words_needed(map);

    for (unsigned probe = 0; probe < reach; probe++) {
        unsigned used = bucket_used(l->bucket[k]);

        if (used + need <= BUCKET_WORDS) {
            write_group(&l->bucket[k][used], key, map);
            l->used = (uint16_t)(l->used + need);
            count_passed(l, home, k, 1);
            return true;
        }
        k = next_bucket(k);
    }
    return false;
}

void leaf_cut(struct leaf *l, uint64_t hash, unsigned bucket, uint64_t *w,
              unsigned n)
{
    words_cut(w, l->bucket[bucket] + BUCKET_WORDS, n);
    l->used = (uint16_t)(l->used - n);
    count_passed(l, home_bucket(hash), bucket, -1);
}

void leaf_clear(struct leaf *l)
{
    memset(l, 0, sizeof(*l));
}

/* Hand out one bucket's groups; each stays in the bucket of this number. */
static void split_bucket(struct leaf *lo, struct leaf *hi, unsigned k,
                         uint64_t bit)
{
    uint64_t *from = lo->bucket[k], *end = from + BUCKET_WORDS;
    uint64_t *to[2] = { from, hi->bucket[k] };
    uint64_t *hi_end = hi->bucket[k] + BUCKET_WORDS;

    while (from != end && *from != 0) {
        uint64_t hash = rmap_hash(word_key(*from));
        unsigned side = (hash & bit) != 0, home = home_bucket(hash);
        unsigned n = word_count(*from);

        to[side][0] = from[0];
        to[side][n - 1] = from[n - 1];
        to[side] += n;
        from += n;
        if (home != k) {
            count_passed(side != 0 ? hi : lo, home, k, 1);
        }
    }
    hi->used = (uint16_t)(hi->used + (to[1] - hi->bucket[k]));
    lo->used = (uint16_t)(lo->used - (to[1] - hi->bucket[k]));
    while (to[0] != from) {
        *to[0]++ = 0;
    }
    while (to[1] != hi_end) {
        *to[1]++ = 0;
    }
}

void leaf_split(struct leaf *lo, struct leaf *hi)
{
    uint64_t bit;

    lo->depth++;
    bit = UINT64_C(1) << (64 - lo->depth);
    memset(lo->passed, 0, sizeof(lo->passed));
    memset(hi, 0, offsetof(struct leaf, bucket));
    hi->depth = lo->depth;
    for (unsigned k = 0; k < LEAF_BUCKETS; k++) {
        split_bucket(lo, hi, k, bit);
    }
}

void leaf_merge(struct leaf *to, const struct leaf *from)
{
    for (unsigned k = 0; k < LEAF_BUCKETS; k++) {
        const uint64_t *w = from->bucket[k], *end = w + BUCKET_WORDS;

        for (; w != end && *w != 0; w += word_count(*w)) {
            uint64_t key = word_key(*w);

            BUG_ON(!leaf_put(to, rmap_hash(key), key, word_map(w),
                             LEAF_BUCKETS));
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

static unsigned audit_group(struct leaf *l, unsigned k, uint64_t *w,
                            uint64_t prefix, struct leaf *count)
{
    uint64_t key = word_key(*w), hash = rmap_hash(key), map = word_map(w);
    unsigned bad = 0, bucket;

    if ((*w & WORD_IN_USE) == 0 || map == 0 ||
        words_needed(map) != word_count(*w)) {
        bad += violation("L1: a word that cannot be", w);
    }
    if (leaf_find(l, hash, key, &bucket) != w) {
        bad += violation("L2: a group out of reach, or twice", w);
    }
    if (l->depth != 0 && (hash ^ prefix) >> (64 - l->depth) != 0) {
        bad += violation("L3: a group in another's leaf", w);
    }
    count_passed(count, home_bucket(hash), k, 1);
    return bad;
}

unsigned leaf_audit(struct leaf *l, uint64_t prefix, uint64_t *members)
{
    struct leaf count = { .used = 0 };      /* its header's counts alone */
    unsigned bad = 0;

    for (unsigned k = 0; k < LEAF_BUCKETS; k++) {
        uint64_t *b = l->bucket[k];
        unsigned i = 0;

        while (i < BUCKET_WORDS && b[i] != 0) {
            if (i + word_count(b[i]) > BUCKET_WORDS) {
                return bad + violation("L1: a map past its bucket", &b[i]);
            }
            bad += audit_group(l, k, &b[i], prefix, &count);
            *members += map_count(word_map(&b[i]));
            i += word_count(b[i]);
        }
        count.used = (uint16_t)(count.used + i);
        while (i < BUCKET_WORDS) {
            if (b[i++] != 0) {
                bad += violation("L1: a bucket is not packed", b);
            }
        }
    }
    if (count.used != l->used) {
        bad += violation("L1: the count of words", l);
    }
    if (memcmp(count.passed, l->passed, sizeof(l->passed)) != 0) {
        bad += violation("L4: the counts of groups passed on", l);
    }
    return bad;
}
