/*
 * leaf.c - one leaf of the adaptive reverse map: a small hash table of
 * fixed size; the picture is in its header.
 */
#include "leaf.h"

#include <quire/log.h>
#include <quire/panic.h>
#include <quire/string.h>
#include <quire/work.h>

/* Units, charged to whoever's slice it is. */
#define COST_SPLIT 3000
#define COST_MERGE 1000

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

bool leaf_add(struct leaf *l, uint64_t word, uint64_t map)
{
    unsigned k = home_bucket(word), n = bucket_words(l, k);
    unsigned need = word_count(word), more = word_fill(word);
    uint64_t *end = &l->bucket[k][n];

    if (n != 0 && same_group(end[-1], word)) {
        map |= word_map(&end[-1]);
        if ((end[-1] & WORD_HAS_MAP) != 0) {
            end[-2] = map;
            return true;
        }
        need = 1;
        more = 1 + FILL_MAP;
        word = group_word(word, map) | (end[-1] & WORD_AWAY);
        end--;
    }
    if (unlikely(n + need > BUCKET_WORDS)) {
        return false;
    }
    write_entry(end, word, map);
    l->fill[k] = (uint8_t)(l->fill[k] + more);
    l->used = (uint16_t)(l->used + need);
    return true;
}

bool leaf_put(struct leaf *l, uint64_t word, uint64_t map, unsigned reach)
{
    unsigned home = home_bucket(word), k = home, need = word_count(word);

    for (unsigned probe = 0; probe < reach; probe++) {
        unsigned n = bucket_words(l, k);

        if (n + need <= BUCKET_WORDS) {
            write_entry(&l->bucket[k][n], word, map);
            l->fill[k] = (uint8_t)(l->fill[k] + word_fill(word));
            l->used = (uint16_t)(l->used + need);
            count_passed(l->passed, home, k, 1);
            return true;
        }
        k = next_bucket(k);
        word += UINT64_C(1) << WORD_AWAY_SHIFT;
    }
    return false;
}

/* Take the @n words from @w on out of bucket @k. */
static void cut_words(struct leaf *l, unsigned k, uint64_t *w, unsigned n)
{
    uint64_t *end = l->bucket[k] + bucket_words(l, k) - n;

    for (; w != end; w++) {
        w[0] = w[n];
    }
    l->fill[k] = (uint8_t)(l->fill[k] - n);
    l->used = (uint16_t)(l->used - n);
}

/* Take out the entry whose word is at @w. */
static void cut_entry(struct leaf *l, unsigned k, uint64_t *w)
{
    unsigned n = word_count(*w);

    if (n == 2) {
        l->fill[k] = (uint8_t)(l->fill[k] - FILL_MAP);
    }
    cut_words(l, k, w + 1 - n, n);
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
    for (w = l->bucket[k] + bucket_words(l, k) - 1; w >= l->bucket[k];) {
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
            *w = group_word(*w, left) | (*w & WORD_AWAY);
            l->fill[k] = (uint8_t)(l->fill[k] - FILL_MAP);
            cut_words(l, k, w - 1, 1);
        }
    }
    return had & map;
}

void leaf_remove(struct leaf *l, uint64_t hash, uint64_t map)
{
    unsigned k = home_bucket(hash);

    for (unsigned probe = 0; probe < LEAF_BUCKETS; probe++) {
        bool passed = l->passed[k] != 0;
        uint64_t *w = l->bucket[k] + bucket_words(l, k) - 1;

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

/* Which word the entry @word is, and in *@at of which bucket; it is not at
 * home, in @k. BUCKET_WORDS: it is not there, or a bucket with maps is on the
 * way. */
static size_t find_away(const struct leaf *l, size_t k, uint64_t word,
                        size_t *at)
{
    for (unsigned probe = 1; probe < LEAF_BUCKETS; probe++) {
        size_t i;

        if (l->fill[k] >= FILL_MAP || l->passed[k] == 0) {
            break;
        }
        k = next_bucket((unsigned)k);
        word += UINT64_C(1) << WORD_AWAY_SHIFT;
        i = bucket_find(l, k, l->fill[k], word);
        if (i != BUCKET_WORDS) {
            *at = k;
            return i;
        }
    }
    return BUCKET_WORDS;
}

/* Whether the member whose entry would be @word is in a map or is an entry. */
static bool has_anywhere(const struct leaf *l, size_t k, uint64_t word)
{
    for (unsigned probe = 0; probe < LEAF_BUCKETS; probe++) {
        const uint64_t *bucket = l->bucket[k];
        const uint64_t *w = bucket + (l->fill[k] & FILL_WORDS) - 1;

        for (; w >= bucket; w--) {
            if ((*w & WORD_HAS_MAP) != 0) {
                if (same_group(*w, word) && (w[-1] & word_bit(word)) != 0) {
                    return true;
                }
                w--;
            } else if (*w == word) {
                return true;
            }
        }
        if (l->passed[k] == 0) {
            break;
        }
        k = next_bucket((unsigned)k);
        word += UINT64_C(1) << WORD_AWAY_SHIFT;
    }
    return false;
}

bool leaf_has_elsewhere(struct leaf *l, size_t k, uint64_t word)
{
    size_t at;

    if (l->fill[k] < FILL_MAP) {
        if (l->passed[k] == 0) {
            return false;
        }
        if (find_away(l, k, word, &at) != BUCKET_WORDS) {
            return true;
        }
    }
    return has_anywhere(l, k, word);
}

void leaf_remove_member(struct leaf *l, size_t k, uint64_t word)
{
    if (l->fill[k] < FILL_MAP) {
        size_t at, i = find_away(l, k, word, &at);

        if (i != BUCKET_WORDS) {
            count_passed(l->passed, (unsigned)k, (unsigned)at, -1);
            bucket_cut(l, at, l->fill[at], i);
            return;
        }
    }
    leaf_remove(l, word, word_bit(word));
}

bool leaf_add_away(struct leaf *l, unsigned home, uint64_t word)
{
    unsigned k = home, reach = leaf_reach(l);

    for (unsigned probe = 1; probe < reach; probe++) {
        unsigned n;

        k = next_bucket(k);
        n = bucket_words(l, k);
        word += UINT64_C(1) << WORD_AWAY_SHIFT;
        if (n < BUCKET_WORDS) {
            l->bucket[k][n] = word;
            l->fill[k]++;
            l->used++;
            count_passed(l->passed, home, k, 1);
            return true;
        }
    }
    return false;
}

void leaf_clear(struct leaf *l)
{
    uint64_t *word = (uint64_t *)l;

    /* Six words: no call of memset(). */
#pragma GCC unroll 6
    for (size_t i = 0; i < offsetof(struct leaf, bucket) / 8; i++) {
        word[i] = 0;
    }
}

/* Add an entry to the words of bucket @k, which have room. */
static void append(struct leaf *l, unsigned k, uint64_t word, uint64_t map)
{
    write_entry(&l->bucket[k][bucket_words(l, k)], word, map);
    l->fill[k] = (uint8_t)(l->fill[k] + word_fill(word));
}

/* Hand out one bucket's entries; each stays in the bucket of this number. The
 * words are copied first: a bucket is read from its end. */
static slow_path void split_maps(struct leaf *lo, struct leaf *hi, unsigned k,
                                 uint64_t bit)
{
    uint64_t old[BUCKET_WORDS];
    unsigned n = bucket_words(lo, k);

    memcpy(old, lo->bucket[k], sizeof(old));
    lo->fill[k] = 0;
    for (uint64_t *w = old + n - 1; w >= old; w -= word_count(*w)) {
        append((*w & bit) != 0 ? hi : lo, k, *w, word_map(w));
    }
}

/*
 * The same for a bucket without maps, and without a branch for each word: it
 * is written to both, and one of the two is overwritten by the next. Returns
 * all words, or'ed.
 */
static inline uint64_t split_singles(struct leaf *lo, struct leaf *hi,
                                     size_t k, unsigned shift)
{
    char *end = (char *)(lo->bucket[k] + lo->fill[k]);
    char *to_hi = (char *)hi->bucket[k], *to_lo = end;
    uint64_t any = 0;
    unsigned n;

#define SPLIT_CASE(left) \
    case left: { \
        uint64_t word = *(uint64_t *)(end - (left) * 8); \
        uint64_t step = word >> (shift - 3) & 8; \
        *(uint64_t *)(to_lo - (left) * 8) = word; \
        *(uint64_t *)to_hi = word; \
        any |= word; \
        to_lo -= step; \
        to_hi += step; \
    } \
    __attribute__((fallthrough))
    switch (lo->fill[k]) {
    SPLIT_CASE(8);
    SPLIT_CASE(7);
    SPLIT_CASE(6);
    SPLIT_CASE(5);
    SPLIT_CASE(4);
    SPLIT_CASE(3);
    SPLIT_CASE(2);
    SPLIT_CASE(1);
    default:
        break;
    }
#undef SPLIT_CASE
    n = (unsigned)(end - to_lo) / 8;
    lo->fill[k] = (uint8_t)(lo->fill[k] - n);
    hi->fill[k] = (uint8_t)n;
    return any;
}

/* Count in @l those of @from's bucket @k that are homed elsewhere. */
static void count_strangers(struct leaf *l, const struct leaf *from,
                            unsigned k)
{
    const uint64_t *w;

    if (likely(from->fill[k] < FILL_MAP)) {
        const uint64_t *end = from->bucket[k] + from->fill[k];

        for (w = from->bucket[k]; w != end; w++) {
            unsigned away = (*w & WORD_AWAY) >> WORD_AWAY_SHIFT;

            for (unsigned i = k; unlikely(away != 0); away--) {
                i = (i == 0 ? LEAF_BUCKETS : i) - 1;
                l->passed[i]++;
            }
        }
        return;
    }
    for_each_entry(from, k, w) {
        if ((*w & WORD_AWAY) != 0) {
            count_passed(l->passed, home_bucket(*w), k, 1);
        }
    }
}

void leaf_split(struct leaf *lo, struct leaf *hi)
{
    unsigned shift, used = 0;

    work_charge(COST_SPLIT);
#pragma GCC unroll 15
    for (size_t i = 0; i < LEAF_BUCKETS; i++) {
        lo->passed[i] = 0;
    }
    leaf_clear(hi);
    hi->depth = ++lo->depth;
    shift = 64u - lo->depth;
    for (unsigned k = 0; k < LEAF_BUCKETS; k++) {
        uint64_t any = WORD_AWAY;

        if (unlikely(lo->fill[k] >= FILL_MAP)) {
            split_maps(lo, hi, k, UINT64_C(1) << shift);
        } else {
            any = split_singles(lo, hi, k, shift);
        }
        used += bucket_words(hi, k);
        if ((any & WORD_AWAY) != 0) {
            count_strangers(lo, lo, k);
            count_strangers(hi, hi, k);
        }
    }
    hi->used = (uint16_t)used;
    lo->used = (uint16_t)(lo->used - used);
}

/* Bucket @k of @from, which has no room in its like. */
static slow_path void merge_elsewhere(struct leaf *to, const struct leaf *from,
                                      unsigned k)
{
    const uint64_t *w;

    for_each_entry(from, k, w) {
        count_passed(to->passed, home_bucket(*w), k, -1);
        BUG_ON(!leaf_put(to, *w & ~WORD_AWAY, word_map(w), LEAF_BUCKETS));
    }
}

/* Nearly all entries stay in the bucket of their number, so that as many pass
 * each as before. */
void leaf_merge(struct leaf *to, const struct leaf *from)
{
    work_charge(COST_MERGE);
    for (unsigned k = 0; k < LEAF_BUCKETS; k++) {
        to->passed[k] = (uint8_t)(to->passed[k] + from->passed[k]);
    }
    for (unsigned k = 0; k < LEAF_BUCKETS; k++) {
        unsigned had = bucket_words(to, k), n = bucket_words(from, k);

        if (unlikely(had + n > BUCKET_WORDS)) {
            merge_elsewhere(to, from, k);
            continue;
        }
        for (unsigned i = 0; i < n; i++) {
            to->bucket[k][had + i] = from->bucket[k][i];
        }
        to->fill[k] = (uint8_t)(to->fill[k] + from->fill[k]);
        to->used = (uint16_t)(to->used + n);
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
                            uint64_t prefix, unsigned k)
{
    unsigned away = (unsigned)((*w & WORD_AWAY) >> WORD_AWAY_SHIFT), bad = 0;
    uint64_t map = word_map(w);

    if (group_word(*w, map) != (*w & ~WORD_AWAY) || map == 0) {
        bad += violation("L1: a word that cannot be", w);
    }
    if (l->depth != 0 && (*w ^ prefix) >> (64 - l->depth) != 0) {
        bad += violation("L3: an entry in another's leaf", w);
    }
    if (away >= LEAF_BUCKETS ||
        (home_bucket(*w) + away) % LEAF_BUCKETS != k) {
        bad += violation("L2: an entry as far away as it does not say", w);
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

        unsigned maps = l->fill[k] / FILL_MAP;

        if (bucket_words(l, k) > BUCKET_WORDS) {
            return bad + violation("L1: a bucket too full", l->bucket[k]);
        }
        used += bucket_words(l, k);
        for_each_entry(l, k, w) {
            if (w == l->bucket[k] && (*w & WORD_HAS_MAP) != 0) {
                return bad + violation("L1: a word without its map", w);
            }
            bad += audit_entry(l, w, prefix, k);
            maps -= (unsigned)(*w & WORD_HAS_MAP);
            if ((leaf_map(l, *w) & word_map(w)) != word_map(w)) {
                bad += violation("L2: an entry out of reach", w);
            }
            if (is_twice(l, w)) {
                bad += violation("R2: a member twice", w);
            }
            count_passed(passed, home_bucket(*w), k, 1);
            *members += map_count(word_map(w));
        }
        if (maps != 0) {
            bad += violation("L1: the count of maps", l->bucket[k]);
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
