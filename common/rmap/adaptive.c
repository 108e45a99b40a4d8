/*
 * adaptive.c - the reverse map that is as large as it must be.
 *
 *     shape       holds                             root is
 *     INLINE      one group, up to five members     inline.h
 *     TWO         two pairs of different groups     two.h
 *     ARRAY       up to 32 words, packed            array.h
 *     TABLE       any number                        table.h
 *
 * Upwards where the next word does not fit, back from a table at 15 words and
 * from an array at one. Where a larger form has no memory the insert fails,
 * where a smaller one has none all stays as it is and the next removal asks
 * again.
 *
 * A group is 64 neighbours among the keys, and there are two ways to make a
 * key of a pair:
 *
 *     by domain   domid << 36 | gfn     a group: 64 gfns of one domain
 *     by gfn      gfn << 16 | domid     a group: 64 domains, at one gfn
 *
 * What a family of forks shares is in each of them at the same gfn, so that
 * by gfn it is a word or two. The second pair decides, or the third, where the
 * first is a stranger's; and a large array in which each pair costs a word
 * goes back to domains.
 */
#include "reshape.h"

#include <quire/log.h>
#include <quire/panic.h>

#define ARRAY_BACK 15           /* a table of as many becomes an array */
#define SCAN_BATCH 32

/* ---- keys ----------------------------------------------------------------- */

/* From the map's kind of key to the usual one. */
static uint64_t key_out(const struct rmap *r, uint64_t key)
{
    return is_by_gfn(r) ? key_by_domain(key) : key;
}

static uint64_t only_key(const struct rmap *r)
{
    return key_out(r, inline_group(r) << RMAP_GROUP_SHIFT |
                      inline_member(r, 0));
}

/* An inline map of at most one pair gets this kind of groups. */
static void set_groups(struct rmap *r, bool by_gfn)
{
    uint64_t key;

    if (by_gfn != is_by_gfn(r)) {
        key = only_key(r);
        r->shape ^= RMAP_BY_GFN;
        key = by_gfn ? key_by_gfn(key) : key;
        inline_set(r, key >> RMAP_GROUP_SHIFT, key & 63);
    }
}

/* ---- groups of the map's own kind ----------------------------------------- */

/* How many words there must be for what the map itself cannot take. */
static unsigned words_for(const struct rmap *r, uint64_t group, uint64_t map)
{
    if (is_two(r)) {
        return 2 + words_needed(map);
    }
    if (r->count == 0 || inline_group(r) == group) {
        return 2;
    }
    return words_needed(inline_map(r)) + words_needed(map);
}

static int add_group(struct rmap *r, uint64_t group, uint64_t map)
{
    uint64_t hash = rmap_hash(group);
    int err = 0;

    while (!is_table(r)) {
        unsigned need = 0;

        if (is_array(r)) {
            need = array_add(r, hash, map);
        } else if (is_two(r) || !inline_add(r, group, map)) {
            need = words_for(r, group, map);
        }
        if (need == 0) {
            break;
        }
        err = rmap_grow(r, need);
        if (err != 0) {
            return err;
        }
    }
    if (is_table(r)) {
        err = table_add(r, hash, map);
    }
    if (err == 0) {
        r->count += map_count(map);
    }
    return err;
}

void rmap_adaptive_shrink(struct rmap *r, uint64_t hash)
{
    table_shrink(r, hash);
    if (node_bits(r->root) == 0 &&
        ((struct leaf *)r->root)->used <= ARRAY_BACK) {
        rmap_table_to_array(r);
    }
}

static void remove_from_table(struct rmap *r, uint64_t group, uint64_t map)
{
    uint64_t hash = rmap_hash(group);
    struct leaf *l = find_leaf(r, hash);
    unsigned used = l->used;

    leaf_remove(l, hash, map);
    if (unlikely(should_shrink(l, used))) {
        rmap_adaptive_shrink(r, hash);
    }
}

static void remove_group(struct rmap *r, uint64_t group, uint64_t map)
{
    if (is_two(r)) {            /* which is of no group: one member */
        BUG_ON(!is_single(map));
        two_remove(r, group << RMAP_GROUP_SHIFT |
                      (unsigned)__builtin_ctzll(map));
        return;
    }
    if (is_table(r)) {
        remove_from_table(r, group, map);
    } else if (is_inline(r)) {
        inline_remove(r, group, map);
    } else {
        array_remove(r, rmap_hash(group), map);
    }
    r->count -= map_count(map);
}

static uint64_t find_group(const struct rmap *r, uint64_t group)
{
    uint64_t hash, *found;
    struct words w;

    if (is_inline(r)) {
        return r->count != 0 && inline_group(r) == group ? inline_map(r) : 0;
    }
    hash = rmap_hash(group);
    if (is_table(r)) {
        return leaf_map(find_leaf(r, hash), hash);
    }
    words_of(r, &w);
    found = words_find(&w, hash);
    return found == NULL ? 0 : array_map(found);
}

/* ---- the set -------------------------------------------------------------- */

int rmap_adaptive_add(struct rmap *r, uint64_t group, uint64_t map)
{
    return add_group(r, group, map);
}

void rmap_adaptive_remove(struct rmap *r, uint64_t group, uint64_t map)
{
    remove_group(r, group, map);
}

bool rmap_adaptive_takes_group(struct rmap *r, uint64_t map)
{
    if (is_single(map)) {
        return false;           /* its gfn may be another domain's too */
    }
    if (is_inline(r) && r->count <= 1) {
        set_groups(r, false);
    }
    return !is_by_gfn(r);
}

void rmap_adaptive_init_two(struct rmap *r, uint64_t key1, uint64_t key2)
{
    key1 = key_by_gfn(key1);
    key2 = key_by_gfn(key2);
    ASSERT(key1 >> RMAP_GROUP_SHIFT == key2 >> RMAP_GROUP_SHIFT);
    r->shape = RMAP_INLINE | RMAP_BY_GFN;
    inline_set(r, key1 >> RMAP_GROUP_SHIFT, key1 & 63);
    inline_put(r, 1, key2 & 63);
    r->count = 2;
}

/* Of an array by gfn: full, and each pair has cost a word. */
static bool is_scattered(const struct rmap *r)
{
    struct words w;

    if (r->count != ARRAY_MAX || is_table(r)) {
        return false;
    }
    words_of(r, &w);
    return words_used(&w) == ARRAY_MAX;
}

/* In the map's own kind of key. */
static uint64_t key_in(const struct rmap *r, uint64_t key)
{
    return is_by_gfn(r) ? key_by_gfn(key) : key;
}

static bool is_same_gfn(uint64_t key1, uint64_t key2)
{
    return ((key1 ^ key2) & RMAP_GFN_MASK) == 0;
}

/* True: @key is in, beside those that are in the map itself. */
static bool insert_in_place(struct rmap *r, uint64_t key)
{
    uint64_t own, only = 0;

    if (r->count == 1) {
        only = only_key(r);
        set_groups(r, is_same_gfn(only, key));
    } else if (r->count == 0) {
        set_groups(r, false);
    }
    own = key_in(r, key);
    if (inline_add_one(r, own >> RMAP_GROUP_SHIFT, own & 63)) {
        r->count++;
        return true;
    }
    if (r->count == 1) {
        two_make(r, only, key);
        return true;
    }
    return false;
}

static int adaptive_insert(struct rmap *r, uint64_t key)
{
    if (is_inline(r)) {
        if (insert_in_place(r, key)) {
            return 0;
        }
    } else if (is_two(r)) {
        if ((is_same_gfn(two_first(r), key) ||
             is_same_gfn(two_second(r), key)) && rmap_two_by_gfn(r) != 0) {
            return -ENOMEM;
        }
    } else if (is_by_gfn(r) && is_scattered(r) && rmap_array_to_domains(r) != 0) {
        return -ENOMEM;
    }
    key = key_in(r, key);
    return add_group(r, key >> RMAP_GROUP_SHIFT, key_bit(key));
}

static void adaptive_remove(struct rmap *r, uint64_t key)
{
    if (is_two(r)) {
        two_remove(r, key);
    } else {
        rmap_adaptive_remove_pair(r, key);
    }
}

void rmap_adaptive_remove_pair(struct rmap *r, uint64_t key)
{
    key = key_in(r, key);
    if (is_array(r)) {
        if (array_narrow(r, rmap_hash(key >> RMAP_GROUP_SHIFT),
                         key_bit(key))) {
            r->count--;
            return;
        }
    } else if (is_inline(r) && r->count == 1) {
        inline_remove_last(r, key);
        return;
    }
    remove_group(r, key >> RMAP_GROUP_SHIFT, key_bit(key));
}

static bool adaptive_has(const struct rmap *r, uint64_t key)
{
    uint64_t hash;

    if (is_two(r)) {
        return key == two_first(r) || key == two_second(r);
    }
    key = key_in(r, key);
    if (is_table(r)) {
        hash = rmap_hash(key >> RMAP_GROUP_SHIFT);
        return leaf_has(find_leaf(r, hash), pair_word(hash, key),
                        key_bit(key));
    }
    return (find_group(r, key >> RMAP_GROUP_SHIFT) & key_bit(key)) != 0;
}

static uint64_t adaptive_find_group(const struct rmap *r, uint64_t group)
{
    uint64_t map = 0;

    if (!is_by_gfn(r)) {
        return find_group(r, group);
    }
    for (unsigned i = 0; i < 64; i++) {
        uint64_t key = group << RMAP_GROUP_SHIFT | i;

        map |= (uint64_t)adaptive_has(r, key) << i;
    }
    return map;
}

/* ---- all pairs ------------------------------------------------------------ */

static unsigned adaptive_scan(struct rmap *r, struct rmap_pair *out,
                              unsigned max)
{
    uint64_t keys[SCAN_BATCH];

    for (unsigned n = 0, nr; n < max; n += nr) {
        nr = MIN(max - n, SCAN_BATCH);
        if (is_table(r)) {
            table_scan(r, keys, nr);
        } else if (is_two(r)) {
            two_scan(r, keys, nr);
        } else if (is_inline(r)) {
            inline_scan(r, keys, nr);
        } else {
            array_scan(r, keys, nr);
        }
        for (unsigned i = 0; i < nr; i++) {
            out[n + i] = rmap_pair_of(key_out(r, keys[i]));
        }
    }
    return max;
}

struct visit { const struct rmap *r; rmap_visit_fn *fn; void *arg; };

static int visit_group(uint64_t word, uint64_t map, const struct visit *v)
{
    uint64_t first = rmap_unhash(word) << RMAP_GROUP_SHIFT;
    int stop = 0;

    for (; map != 0 && stop == 0; map &= map - 1) {
        uint64_t key = first | (unsigned)__builtin_ctzll(map);

        stop = v->fn(rmap_pair_of(key_out(v->r, key)), v->arg);
    }
    return stop;
}

static int visit_leaf(struct leaf *l, uint64_t prefix, void *arg)
{
    (void)prefix;
    for (unsigned k = 0; k < LEAF_BUCKETS; k++) {
        const uint64_t *w;

        for_each_entry(l, k, w) {
            int stop = visit_group(*w, word_map(w), arg);

            if (stop != 0) {
                return stop;
            }
        }
    }
    return 0;
}

static int adaptive_for_each(const struct rmap *r, rmap_visit_fn *fn,
                             void *arg)
{
    struct visit v = { r, fn, arg };
    struct words w;
    int stop = 0;

    if (is_table(r)) {
        return table_each_leaf(r, visit_leaf, &v);
    }
    words_of(r, &w);
    for (const uint64_t *p = w.first; p != w.end && *p != 0 && stop == 0;
         p += word_count(*p)) {
        stop = visit_group(*p, array_map(p), &v);
    }
    return stop;
}

/* ---- audit ---------------------------------------------------------------- */

struct audit { uint64_t members; unsigned bad; };

static int audit_leaf(struct leaf *l, uint64_t prefix, void *arg)
{
    struct audit *a = arg;

    a->bad += leaf_audit(l, prefix, &a->members);
    return 0;
}

static void audit_words(const struct rmap *r, struct audit *a)
{
    struct words w;
    uint64_t *p;

    words_of(r, &w);
    for (p = w.first; p != w.end && *p != 0; p += word_count(*p)) {
        a->members += map_count(array_map(p));
        if (words_find(&w, *p) != p ||
            words_needed(array_map(p)) != word_count(*p)) {
            log_error("R2: a group twice, or in the wrong width, at %p", p);
            a->bad++;
        }
    }
    for (; p < w.end; p++) {
        if (*p != 0) {
            log_error("A1: an array is not packed at %p", p);
            a->bad++;
        }
    }
}

static unsigned adaptive_audit(const struct rmap *r)
{
    struct audit a = { 0, 0 };

    if (is_table(r)) {
        a.bad = table_audit_nodes(r);
        if (a.bad == 0) {       /* else not every leaf can be reached */
            (void)table_each_leaf(r, audit_leaf, &a);
        }
    } else {
        audit_words(r, &a);
    }
    if (a.members != rmap_count(r)) {
        log_error("R1: %lu pairs, not %lu", a.members, rmap_count(r));
        a.bad++;
    }
    return a.bad;
}

const struct rmap_ops rmap_adaptive_ops = {
    .name = "adaptive",
    .insert = adaptive_insert,
    .remove = adaptive_remove,
    .has = adaptive_has,
    .find_group = adaptive_find_group,
    .scan = adaptive_scan,
    .for_each = adaptive_for_each,
    .audit = adaptive_audit,
    .fini = rmap_free_words,
};
