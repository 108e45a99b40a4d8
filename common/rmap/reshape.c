/*
 * reshape.c - the adaptive reverse map from one shape to the next.
 *
 *     INLINE --> array --> TABLE      a word more than there is room for
 *        ^  TWO -^ ^         |
 *        +---------+---------+        few words left
 *
 * Where the next one has no memory nothing has changed.
 */
#include "reshape.h"

#include <quire/panic.h>

void rmap_free_words(struct rmap *r)
{
    if (is_table(r)) {
        table_destroy(r);
    } else if (is_array(r)) {
        array_free(r);
    }
}

static slow_path int array_to_table(struct rmap *r)
{
    struct rmap table = *r;
    struct leaf *l = table_create(&table);
    struct words w;

    if (l == NULL) {
        return -ENOMEM;
    }
    words_of(r, &w);
    for (uint64_t *p = w.first; p != w.end && *p != 0; p += word_count(*p)) {
        BUG_ON(!leaf_put(l, *p, array_map(p), LEAF_BUCKETS));
    }
    rmap_free_words(r);
    r->root = table.root;
    r->shape = (uint8_t)((r->shape & RMAP_BY_GFN) | RMAP_TABLE);
    return 0;
}

static void leaf_put_by_domain(struct leaf *l, uint64_t by_gfn)
{
    uint64_t key = key_by_domain(by_gfn);
    uint64_t hash = rmap_hash(key >> RMAP_GROUP_SHIFT);

    BUG_ON(!leaf_put(l, pair_word(hash, key), key_bit(key), LEAF_BUCKETS));
}

int rmap_array_to_domains(struct rmap *r)
{
    struct rmap table = *r;
    struct leaf *l = table_create(&table);
    struct words w;

    if (l == NULL) {
        return -ENOMEM;
    }
    words_of(r, &w);
    for (uint64_t *p = w.first; p != w.end && *p != 0; p += word_count(*p)) {
        uint64_t first = rmap_unhash(*p) << RMAP_GROUP_SHIFT;

        for (uint64_t map = array_map(p); map != 0; map &= map - 1) {
            leaf_put_by_domain(l, first | (unsigned)__builtin_ctzll(map));
        }
    }
    rmap_free_words(r);
    r->root = table.root;
    r->shape = RMAP_TABLE;
    return 0;
}

void rmap_table_to_array(struct rmap *r)
{
    struct rmap table = *r;

    if (array_from_leaf(r, (struct leaf *)r->root) == 0) {
        table_destroy(&table);
    }
}

int rmap_grow(struct rmap *r, unsigned words)
{
    return words > ARRAY_MAX ? array_to_table(r) : array_make(r, words);
}

int rmap_two_by_gfn(struct rmap *r)
{
    uint64_t first = key_by_gfn(two_first(r)), second;
    struct rmap by_gfn = { .form = r->form, .shape = RMAP_BY_GFN, .count = 1 };

    inline_set(&by_gfn, first >> RMAP_GROUP_SHIFT, first & 63);
    if (array_make(&by_gfn, 3) != 0) {
        return -ENOMEM;
    }
    second = key_by_gfn(two_second(r));
    BUG_ON(array_add(&by_gfn, rmap_hash(second >> RMAP_GROUP_SHIFT),
                     key_bit(second)) != 0);
    by_gfn.count = 2;
    *r = by_gfn;
    return 0;
}
