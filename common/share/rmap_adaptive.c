/*
 * rmap_adaptive.c - the reverse map that is as large as it must be.
 *
 *     shape       holds                       root is
 *     INLINE      one group of one member     its word; 0: empty
 *     ARRAY       up to 32 words, packed,     a heap object of 2 * r->place's
 *                 in order of arrival         capacity words
 *     TABLE       any number                  rmap_table.h
 *
 * Upwards where the next word does not fit, back from a table at 15 words and
 * from an array at one. Where a larger form has no memory the insert fails,
 * where a smaller one has none all stays as it is and the next removal asks
 * again.
 */
#include "rmap_table.h"

#include <quire/heap.h>
#include <quire/log.h>
#include <quire/panic.h>
#include <quire/string.h>

#define ARRAY_MAX 32            /* words */
#define ARRAY_BACK 15           /* a table of as many becomes an array */

enum shape { INLINE, ARRAY, TABLE = RMAP_TABLE };

/*
 * r->place of an array: where a scan goes on, and the array's size.
 *
 *     15    12 11    6 5      0
 *     +-------+-------+--------+
 *     | size  | word  | member |    size in units of four words, 0: two
 *     +-------+-------+--------+
 */
#define PLACE_WORD_SHIFT 6
#define PLACE_SIZE_SHIFT 12
#define PLACE_MASK ((1u << PLACE_SIZE_SHIFT) - 1)

static unsigned words_needed(uint64_t map) { return is_single(map) ? 1 : 2; }

/*
 * In an array the word comes first and a map after it: in order of arrival,
 * to the first 0.
 */
static uint64_t array_map(const uint64_t *w)
{
    return (w[0] & WORD_HAS_MAP) != 0
               ? w[1] : UINT64_C(1) << (w[0] >> WORD_MEMBER_SHIFT & 63);
}

static void array_write(uint64_t *w, uint64_t hash, uint64_t map)
{
    w[0] = group_word(hash, map);
    if (!is_single(map)) {
        w[1] = map;
    }
}

/* The words of a map that is no table: an inline one is an array of one. */
static uint64_t *words_of(struct rmap *r)
{
    return r->shape == INLINE ? (uint64_t *)&r->root : (uint64_t *)r->root;
}

static unsigned size_of(const struct rmap *r)
{
    unsigned size = r->place >> PLACE_SIZE_SHIFT;

    if (r->shape == INLINE) {
        return 1;
    }
    return size == 0 ? 2 : size * 4;
}

/* The sizes that arrays come in: 2, 4, 8, 12, 16, 24 and 32 words. */
static unsigned size_for(unsigned words)
{
    if (words <= 2) {
        return 2;
    }
    return words <= 16 ? (words + 3) & ~3u : (words + 7) & ~7u;
}

static unsigned used_words(struct rmap *r)
{
    const uint64_t *w = words_of(r), *end = w + size_of(r), *p = w;

    while (p != end && *p != 0) {
        p += word_count(*p);
    }
    return (unsigned)(p - w);
}

/* The group of @hash in the words from @w to @end, or NULL, and then in
 * *@free the first word not used, or @end. */
static uint64_t *words_find(uint64_t *w, uint64_t *end, uint64_t hash,
                            uint64_t **free)
{
    while (w != end && *w != 0) {
        if (same_group(*w, hash)) {
            return w;
        }
        w += word_count(*w);
    }
    *free = w;
    return NULL;
}

/* Take @n words out at @w of a run that ends at @end at the latest, or at a
 * 0: no map is. */
static void words_cut(uint64_t *w, uint64_t *end, unsigned n)
{
    while (w + n != end && w[n] != 0) {
        w[0] = w[n];
        w++;
    }
    while (n-- != 0) {
        *w++ = 0;
    }
}

static uint64_t *array_alloc(unsigned size)
{
    uint64_t *w = heap_alloc(size * sizeof(*w));

    if (w != NULL) {
        rmap_account((int64_t)(size * sizeof(*w)));
    }
    return w;
}

static void array_free(uint64_t *w, unsigned size)
{
    heap_free(w);
    rmap_account(-(int64_t)(size * sizeof(*w)));
}

/* ---- from one shape to the next ------------------------------------------- */

/* Make the words an array of @size. -ENOMEM: nothing changed. */
static int to_array(struct rmap *r, unsigned size)
{
    uint64_t *old = words_of(r), *w = array_alloc(size);
    unsigned used = used_words(r);

    if (w == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < size; i++) {
        w[i] = i < used ? old[i] : 0;
    }
    if (r->shape == ARRAY) {
        array_free(old, size_of(r));
    } else {
        r->place = 0;
    }
    r->shape = ARRAY;
    r->root = (uintptr_t)w;
    r->place = (uint16_t)((r->place & PLACE_MASK) |
                          size / 4 << PLACE_SIZE_SHIFT);
    return 0;
}

static int array_to_table(struct rmap *r)
{
    uint64_t *old = words_of(r), *end = old + size_of(r);
    struct rmap table = *r;
    struct leaf *l = table_create(&table);

    if (l == NULL) {
        return -ENOMEM;
    }
    for (uint64_t *w = old; w != end && *w != 0; w += word_count(*w)) {
        BUG_ON(!leaf_put(l, *w, array_map(w), LEAF_BUCKETS));
    }
    array_free(old, size_of(r));
    r->root = table.root;
    r->shape = TABLE;
    return 0;
}

/* Put an entry behind the @n words of @array, joined with what is there of
 * its group. Returns how many words there are then. */
static unsigned array_append(uint64_t *array, unsigned n, uint64_t word,
                             uint64_t map)
{
    uint64_t *end = array + n, *free;
    uint64_t *w = words_find(array, end, word, &free);

    if (w != NULL) {
        map |= array_map(w);
        if ((*w & WORD_HAS_MAP) != 0) {
            w[1] = map;
            return n;
        }
        words_cut(w, end, 1);
        n--;
    }
    array_write(&array[n], word, map);
    return n + words_needed(map);
}

/* The root is a leaf with few words left. */
static slow_path void table_to_array(struct rmap *r)
{
    struct leaf *l = (struct leaf *)r->root;
    unsigned size = size_for(l->used + 4u), n = 0;
    uint64_t *array = array_alloc(size);

    if (array == NULL) {
        return;
    }
    memset(array, 0, size * sizeof(*array));
    for (unsigned k = 0; k < LEAF_BUCKETS; k++) {
        const uint64_t *w;

        for_each_entry(l, k, w) {
            n = array_append(array, n, *w, word_map(w));
        }
    }
    table_destroy(r);
    r->root = (uintptr_t)array;
    r->shape = ARRAY;
    r->place = (uint16_t)(size / 4 << PLACE_SIZE_SHIFT);
}

/* After a removal: a smaller array, or none. */
static slow_path void shrink_array(struct rmap *r, unsigned used)
{
    unsigned size = size_of(r);
    uint64_t *w = words_of(r), first = w[0];

    if (used <= 1) {
        array_free(w, size);
        r->shape = INLINE;
        r->root = first;
    } else if (to_array(r, size_for(2 * used)) != 0) {
        return;                 /* asked again by the next removal */
    }
}

/* ---- inline and arrays ---------------------------------------------------- */

/* Words moved by @delta behind the one at @index: the scan's place too. */
static void move_place(struct rmap *r, unsigned index, int delta)
{
    unsigned word = (r->place & PLACE_MASK) >> PLACE_WORD_SHIFT;

    if (r->shape == ARRAY && word > index) {
        r->place = (uint16_t)(r->place + delta * (1 << PLACE_WORD_SHIFT));
    }
}

/* The words cannot take @more: an array of the next size, or a table. */
static slow_path int grow(struct rmap *r, unsigned words)
{
    return words > ARRAY_MAX ? array_to_table(r) : to_array(r, size_for(words));
}

/* The group of one member at @w[@i] gets more; there is a word to spare. */
static void widen_word(struct rmap *r, uint64_t *w, unsigned i, unsigned used,
                       uint64_t map)
{
    map |= array_map(&w[i]);
    for (unsigned k = used; k > i + 1; k--) {
        w[k] = w[k - 1];
    }
    array_write(&w[i], w[i], map);
    move_place(r, i, 1);
}

static int array_add(struct rmap *r, uint64_t hash, uint64_t map)
{
    for (;;) {
        uint64_t *w = words_of(r), *end = w + size_of(r), *free = NULL;
        uint64_t *found = words_find(w, end, hash, &free);
        unsigned need = words_needed(map), used;

        if (found != NULL) {
            BUG_ON((array_map(found) & map) != 0);
            if ((*found & WORD_HAS_MAP) != 0) {
                found[1] |= map;
                return 0;
            }
            need = 1;
            used = used_words(r);
        } else {
            used = (unsigned)(free - w);
        }
        if (used + need <= size_of(r)) {
            if (found != NULL) {
                widen_word(r, w, (unsigned)(found - w), used, map);
            } else {
                array_write(free, hash, map);
            }
            return 0;
        }
        if (grow(r, used + need) != 0) {
            return -ENOMEM;
        }
        if (r->shape == TABLE) {
            return table_add(r, hash, map);
        }
    }
}

static void array_remove(struct rmap *r, uint64_t hash, uint64_t map)
{
    uint64_t *w = words_of(r), *end = w + size_of(r), *free, left;
    uint64_t *found = words_find(w, end, hash, &free);
    unsigned i, n, used;

    BUG_ON(found == NULL || (array_map(found) & map) != map);
    left = array_map(found) & ~map;
    if (!is_single(left)) {
        found[1] = left;
        return;
    }
    i = (unsigned)(found - w);
    if (left != 0) {
        n = 1;
        *found = group_word(hash, left);
        words_cut(found + 1, end, 1);
    } else {
        n = word_count(*found);
        if ((r->place & PLACE_MASK) >> PLACE_WORD_SHIFT == i) {
            r->place &= (uint16_t)~((1u << PLACE_WORD_SHIFT) - 1);
        }
        words_cut(found, end, n);
    }
    move_place(r, i, -(int)n);
    used = used_words(r);
    if (r->shape == ARRAY && (used <= 1 || used * 4 <= size_of(r))) {
        shrink_array(r, used);
    }
}

static unsigned array_scan(struct rmap *r, struct rmap_pair *out, unsigned max)
{
    const uint64_t *w = words_of(r);
    unsigned i = (r->place & PLACE_MASK) >> PLACE_WORD_SHIFT;
    unsigned member = r->place & ((1u << PLACE_WORD_SHIFT) - 1);
    unsigned used = used_words(r), n = 0;

    while (n < max) {
        uint64_t map;

        if (i >= used) {
            i = 0;
        }
        map = array_map(&w[i]) & UINT64_MAX << member;
        for (; map != 0 && n < max; map &= map - 1) {
            member = (unsigned)__builtin_ctzll(map);
            out[n++] = rmap_pair_of(rmap_unhash(w[i]) << RMAP_GROUP_SHIFT |
                                    member++);
        }
        if (map == 0) {
            i += word_count(w[i]);
            member = 0;
        }
    }
    if (r->shape == ARRAY) {
        r->place = (uint16_t)((r->place & ~PLACE_MASK) |
                              i << PLACE_WORD_SHIFT | member);
    }
    return n;
}

/* ---- the set -------------------------------------------------------------- */

int rmap_adaptive_add(struct rmap *r, uint64_t group, uint64_t map)
{
    uint64_t hash = rmap_hash(group);
    int err = likely(r->shape == TABLE)
                  ? table_add(r, hash, map) : array_add(r, hash, map);

    if (likely(err == 0)) {
        r->count += map_count(map);
    }
    return err;
}

void rmap_adaptive_shrink(struct rmap *r, uint64_t hash)
{
    table_shrink(r, hash);
    if (node_bits(r->root) == 0 &&
        ((struct leaf *)r->root)->used <= ARRAY_BACK) {
        table_to_array(r);
    }
}

void rmap_adaptive_remove(struct rmap *r, uint64_t group, uint64_t map)
{
    uint64_t hash = rmap_hash(group);
    struct leaf *l;
    unsigned used;

    if (likely(r->shape == TABLE)) {
        l = find_leaf(r, hash);
        used = l->used;
        leaf_remove(l, hash, map);
        if (unlikely(should_shrink(l, used))) {
            rmap_adaptive_shrink(r, hash);
        }
    } else {
        array_remove(r, hash, map);
    }
    r->count -= map_count(map);
}

bool rmap_adaptive_has(const struct rmap *r, uint64_t key)
{
    uint64_t hash = rmap_hash(key >> RMAP_GROUP_SHIFT), *w, *free;

    if (likely(r->shape == TABLE)) {
        return leaf_has(find_leaf(r, hash), pair_word(hash, key),
                        key_bit(key));
    }
    w = words_of((struct rmap *)r);
    w = words_find(w, w + size_of(r), hash, &free);
    return w != NULL && (array_map(w) & key_bit(key)) != 0;
}

static uint64_t adaptive_find_group(const struct rmap *r, uint64_t group)
{
    uint64_t hash = rmap_hash(group), *w, *free;

    if (r->shape == TABLE) {
        return leaf_map(find_leaf(r, hash), hash);
    }
    w = words_of((struct rmap *)r);
    w = words_find(w, w + size_of(r), hash, &free);
    return w == NULL ? 0 : array_map(w);
}

static int adaptive_insert(struct rmap *r, uint64_t key)
{
    return rmap_adaptive_add(r, key >> RMAP_GROUP_SHIFT, key_bit(key));
}

static void adaptive_remove(struct rmap *r, uint64_t key)
{
    rmap_adaptive_remove(r, key >> RMAP_GROUP_SHIFT, key_bit(key));
}

static unsigned adaptive_scan(struct rmap *r, struct rmap_pair *out,
                              unsigned max)
{
    return r->shape == TABLE ? table_scan(r, out, max)
                             : array_scan(r, out, max);
}

struct visit { rmap_visit_fn *fn; void *arg; };

static int visit_group(uint64_t word, uint64_t map, const struct visit *v)
{
    uint64_t key = rmap_unhash(word) << RMAP_GROUP_SHIFT;
    int stop = 0;

    for (; map != 0 && stop == 0; map &= map - 1) {
        stop = v->fn(rmap_pair_of(key | (unsigned)__builtin_ctzll(map)),
                     v->arg);
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
    struct visit v = { fn, arg };
    const uint64_t *w = words_of((struct rmap *)r), *end = w + size_of(r);
    int stop = 0;

    if (r->shape == TABLE) {
        return table_each_leaf(r, visit_leaf, &v);
    }
    for (; w != end && *w != 0 && stop == 0; w += word_count(*w)) {
        stop = visit_group(*w, array_map(w), &v);
    }
    return stop;
}

static void adaptive_fini(struct rmap *r)
{
    if (r->shape == TABLE) {
        table_destroy(r);
    } else if (r->shape == ARRAY) {
        array_free(words_of(r), size_of(r));
    }
}

/* ---- audit ---------------------------------------------------------------- */

struct audit { uint64_t members; unsigned bad; };

static int audit_leaf(struct leaf *l, uint64_t prefix, void *arg)
{
    struct audit *a = arg;

    a->bad += leaf_audit(l, prefix, &a->members);
    return 0;
}

static void audit_words(struct rmap *r, struct audit *a)
{
    uint64_t *w = words_of(r), *end = w + size_of(r), *free;
    uint64_t *p;

    for (p = w; p != end && *p != 0; p += word_count(*p)) {
        a->members += map_count(array_map(p));
        if (words_find(w, end, *p, &free) != p ||
            words_needed(array_map(p)) != word_count(*p)) {
            log_error("R2: a group twice, or in the wrong width, at %p", p);
            a->bad++;
        }
    }
    for (; p < end; p++) {
        if (*p != 0) {
            log_error("A1: an array is not packed at %p", p);
            a->bad++;
        }
    }
}

static unsigned adaptive_audit(const struct rmap *r)
{
    struct audit a = { 0, 0 };

    if (r->shape == TABLE) {
        a.bad = table_audit_nodes(r);
        if (a.bad == 0) {       /* else not every leaf can be reached */
            (void)table_each_leaf(r, audit_leaf, &a);
        }
    } else {
        audit_words((struct rmap *)r, &a);
    }
    if (a.members != r->count) {
        log_error("R1: %lu pairs, not %u", a.members, r->count);
        a.bad++;
    }
    return a.bad;
}

const struct rmap_ops rmap_adaptive_ops = {
    .name = "adaptive",
    .insert = adaptive_insert,
    .remove = adaptive_remove,
    .has = rmap_adaptive_has,
    .find_group = adaptive_find_group,
    .scan = adaptive_scan,
    .for_each = adaptive_for_each,
    .audit = adaptive_audit,
    .fini = adaptive_fini,
};
