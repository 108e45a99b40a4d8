/*
 * array.c - the array shape of the adaptive reverse map.
 *
 * r->place of an array: where a scan goes on, and the array's size.
 *
 *     15    12 11    6 5      0
 *     +-------+-------+--------+
 *     | size  | word  | member |    size in units of four words, 0: two
 *     +-------+-------+--------+
 */
#include "array.h"

#include <quire/heap.h>
#include <quire/panic.h>
#include <quire/string.h>

#define PLACE_WORD_SHIFT 6
#define PLACE_SIZE_SHIFT 12
#define PLACE_MASK ((1u << PLACE_SIZE_SHIFT) - 1)

static unsigned size_of(const struct rmap *r)
{
    unsigned size = r->place >> PLACE_SIZE_SHIFT;

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

/* ---- words ---------------------------------------------------------------- */

static uint64_t word_of_key(uint64_t key)
{
    return pair_word(rmap_hash(key >> RMAP_GROUP_SHIFT), key);
}

void words_of(const struct rmap *r, struct words *w)
{
    if (is_array(r)) {
        w->first = (uint64_t *)r->root;
        w->end = w->first + size_of(r);
        return;
    }
    w->of_map[0] = w->of_map[1] = 0;
    if (is_two(r)) {
        w->of_map[0] = word_of_key(two_first(r));
        w->of_map[1] = word_of_key(two_second(r));
    } else if (r->count != 0) {
        array_write(w->of_map, rmap_hash(inline_group(r)), inline_map(r));
    }
    w->first = w->of_map;
    w->end = w->first + ARRAY_SIZE(w->of_map);
}

unsigned words_used(const struct words *w)
{
    const uint64_t *p = w->first;

    while (p != w->end && *p != 0) {
        p += word_count(*p);
    }
    return (unsigned)(p - w->first);
}

uint64_t *words_find(const struct words *w, uint64_t hash)
{
    for (uint64_t *p = w->first; p != w->end && *p != 0;
         p += word_count(*p)) {
        if (same_group(*p, hash)) {
            return p;
        }
    }
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

/* ---- making and freeing --------------------------------------------------- */

static uint64_t *object_alloc(unsigned size)
{
    uint64_t *w = heap_alloc(size * sizeof(*w));

    if (w != NULL) {
        rmap_account((int64_t)(size * sizeof(*w)));
    }
    return w;
}

static void object_free(uint64_t *w, unsigned size)
{
    heap_free(w);
    rmap_account(-(int64_t)(size * sizeof(*w)));
}

void array_free(struct rmap *r)
{
    object_free((uint64_t *)r->root, size_of(r));
}

/* @array becomes the root; the scan's place, if that was an array, stays. */
static void set_array(struct rmap *r, uint64_t *array, unsigned size,
                      unsigned place)
{
    r->shape = (uint8_t)((r->shape & RMAP_BY_GFN) | RMAP_ARRAY);
    r->root = (uintptr_t)array;
    r->place = (uint16_t)(place | size / 4 << PLACE_SIZE_SHIFT);
}

int array_make(struct rmap *r, unsigned words)
{
    unsigned size = size_for(words), used, place = 0;
    uint64_t *array = object_alloc(size);
    struct words old;

    if (array == NULL) {
        return -ENOMEM;
    }
    words_of(r, &old);
    used = words_used(&old);
    for (unsigned i = 0; i < size; i++) {
        array[i] = i < used ? old.first[i] : 0;
    }
    if (is_array(r)) {
        place = r->place & PLACE_MASK;
        array_free(r);
    }
    r->count = (uint32_t)rmap_count(r);
    set_array(r, array, size, place);
    return 0;
}

/* Put an entry behind the @n words of @array, joined with what is there of
 * its group. Returns how many words there are then. */
static unsigned append(uint64_t *array, unsigned n, uint64_t word,
                       uint64_t map)
{
    struct words w = { .first = array, .end = array + n };
    uint64_t *found = words_find(&w, word);

    if (found != NULL) {
        map |= array_map(found);
        if ((*found & WORD_HAS_MAP) != 0) {
            found[1] = map;
            return n;
        }
        words_cut(found, w.end, 1);
        n--;
    }
    array_write(&array[n], word, map);
    return n + words_needed(map);
}

int array_from_leaf(struct rmap *r, const struct leaf *l)
{
    unsigned size = size_for(l->used + 4u), n = 0;
    uint64_t *array = object_alloc(size);

    if (array == NULL) {
        return -ENOMEM;
    }
    memset(array, 0, size * sizeof(*array));
    for (unsigned k = 0; k < LEAF_BUCKETS; k++) {
        const uint64_t *w;

        for_each_entry(l, k, w) {
            n = append(array, n, *w, word_map(w));
        }
    }
    set_array(r, array, size, 0);
    return 0;
}

/* After a removal: a smaller array, or none. */
static slow_path void shrink(struct rmap *r, unsigned used)
{
    uint64_t *array = (uint64_t *)r->root, first = array[0];

    if (used <= 1) {
        array_free(r);
        r->shape = (uint8_t)((r->shape & RMAP_BY_GFN) | RMAP_INLINE);
        inline_set(r, rmap_unhash(first), first >> WORD_MEMBER_SHIFT & 63);
    } else if (array_make(r, 2 * used) != 0) {
        return;                 /* asked again by the next removal */
    }
}

/* ---- members -------------------------------------------------------------- */

/* Words moved by @delta behind the one at @index: the scan's place too. */
static void move_place(struct rmap *r, unsigned index, int delta)
{
    unsigned word = (r->place & PLACE_MASK) >> PLACE_WORD_SHIFT;

    if (word > index) {
        r->place = (uint16_t)(r->place + delta * (1 << PLACE_WORD_SHIFT));
    }
}

/* The group of one member at word @i gets more; there is a word to spare. */
static void widen_word(struct rmap *r, unsigned i, unsigned used, uint64_t map)
{
    uint64_t *w = (uint64_t *)r->root;

    map |= array_map(&w[i]);
    for (unsigned k = used; k > i + 1; k--) {
        w[k] = w[k - 1];
    }
    array_write(&w[i], w[i], map);
    move_place(r, i, 1);
}

unsigned array_add(struct rmap *r, uint64_t hash, uint64_t map)
{
    unsigned used, need = words_needed(map);
    uint64_t *found;
    struct words w;

    words_of(r, &w);
    found = words_find(&w, hash);
    if (found != NULL) {
        BUG_ON((array_map(found) & map) != 0);
        if ((*found & WORD_HAS_MAP) != 0) {
            found[1] |= map;
            return 0;
        }
        need = 1;
    }
    used = words_used(&w);
    if (used + need > size_of(r)) {
        return used + need;
    }
    if (found != NULL) {
        widen_word(r, (unsigned)(found - w.first), used, map);
    } else {
        array_write(w.first + used, hash, map);
    }
    return 0;
}

void array_remove(struct rmap *r, uint64_t hash, uint64_t map)
{
    uint64_t *found, left;
    struct words w;
    unsigned i, n, used;

    words_of(r, &w);
    found = words_find(&w, hash);
    BUG_ON(found == NULL || (array_map(found) & map) != map);
    left = array_map(found) & ~map;
    if (!is_single(left)) {
        found[1] = left;
        return;
    }
    i = (unsigned)(found - w.first);
    if (left != 0) {
        n = 1;
        *found = group_word(hash, left);
        words_cut(found + 1, w.end, 1);
    } else {
        n = word_count(*found);
        if ((r->place & PLACE_MASK) >> PLACE_WORD_SHIFT == i) {
            r->place &= (uint16_t)~((1u << PLACE_WORD_SHIFT) - 1);
        }
        words_cut(found, w.end, n);
    }
    move_place(r, i, -(int)n);
    used = words_used(&w);
    if (used <= 1 || used * 4 <= size_of(r)) {
        shrink(r, used);
    }
}

bool array_narrow(struct rmap *r, uint64_t hash, uint64_t bit)
{
    uint64_t *w = (uint64_t *)r->root, *end = w + size_of(r), left;

    while (w != end && *w != 0) {
        if ((*w & WORD_HAS_MAP) == 0) {
            w++;
            continue;
        }
        if (same_group(*w, hash)) {
            left = w[1] ^ bit;
            if ((left & bit) != 0 || is_single(left)) {
                return false;
            }
            w[1] = left;
            return true;
        }
        w += 2;
    }
    return false;
}

void array_scan(struct rmap *r, uint64_t *out, unsigned max)
{
    const uint64_t *w = (const uint64_t *)r->root;
    unsigned i = (r->place & PLACE_MASK) >> PLACE_WORD_SHIFT;
    unsigned member = r->place & ((1u << PLACE_WORD_SHIFT) - 1);
    unsigned n = 0, used;
    struct words all;

    words_of(r, &all);
    used = words_used(&all);
    while (n < max) {
        uint64_t map;

        if (i >= used) {
            i = 0;
        }
        map = array_map(&w[i]) & UINT64_MAX << member;
        for (; map != 0 && n < max; map &= map - 1) {
            member = (unsigned)__builtin_ctzll(map);
            out[n++] = rmap_unhash(w[i]) << RMAP_GROUP_SHIFT | member++;
        }
        if (map == 0) {
            i += word_count(w[i]);
            member = 0;
        }
    }
    r->place = (uint16_t)((r->place & ~PLACE_MASK) |
                          i << PLACE_WORD_SHIFT | member);
}
