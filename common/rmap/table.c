/*
 * table.c - the trie of leaves; the picture is in its header.
 */
#include "table.h"

#include <quire/heap.h>
#include <quire/log.h>
#include <quire/panic.h>
#include <quire/work.h>

#define COST_SLOT 6             /* units: one of a node that grows or shrinks */
#define MAX_SPLITS 2            /* by one insert, if there is room anywhere */
#define MAX_MERGES 4            /* by one removal */

/* The way to a leaf: the last slot that holds a node, and what it consumed. */
struct way {
    uintptr_t *link;            /* &r->root, or a slot: holds the node */
    unsigned above;             /* bits of the hash consumed above it */
    struct leaf *leaf;
};

static void find_way(struct rmap *r, uint64_t hash, struct way *way)
{
    uintptr_t *link = &r->root;
    unsigned above = 0;

    for (;;) {
        unsigned bits = node_bits(*link);
        uintptr_t *slot;

        if (bits == 0) {        /* the root is a leaf */
            *way = (struct way){ link, 0, (struct leaf *)*link };
            return;
        }
        slot = &slot_node(*link)[hash << above >> (64 - bits)];
        if (node_bits(*slot) == 0) {
            *way = (struct way){ link, above, (struct leaf *)*slot };
            return;
        }
        link = slot;
        above += bits;
    }
}

static struct leaf *leaf_alloc(void)
{
    struct leaf *l = heap_alloc(sizeof(*l));

    if (l != NULL) {
        rmap_account(sizeof(*l));
    }
    return l;
}

static void leaf_free(struct leaf *l)
{
    heap_free(l);
    rmap_account(-(int64_t)sizeof(*l));
}

static uintptr_t *node_alloc(unsigned bits)
{
    uintptr_t *n = heap_alloc(sizeof(*n) << bits);

    if (n != NULL) {
        rmap_account((int64_t)(sizeof(*n) << bits));
    }
    return n;
}

static void node_free(uintptr_t slot)
{
    heap_free(slot_node(slot));
    rmap_account(-(int64_t)(sizeof(uintptr_t) << node_bits(slot)));
}

struct leaf *table_create(struct rmap *r)
{
    struct leaf *l = leaf_alloc();

    if (l != NULL) {
        leaf_clear(l);
        r->root = (uintptr_t)l;
    }
    return l;
}

static void free_below(uintptr_t slot)
{
    uintptr_t *node = slot_node(slot);

    if (node_bits(slot) == 0) {
        leaf_free((struct leaf *)slot);
        return;
    }
    for (unsigned i = 0; i < 1u << node_bits(slot); i++) {
        if (i == 0 || node[i] != node[i - 1]) {
            free_below(node[i]);
        }
    }
    node_free(slot);
}

void table_destroy(struct rmap *r)
{
    free_below(r->root);
}

/* ---- growing -------------------------------------------------------------- */

/*
 * Make room for a leaf one bit deeper than the one at the end of @way: a node
 * of twice the size, or where that is as large as may be, or none at all, a
 * node of two slots in the leaf's place.
 */
static int deepen(struct way *way, uint64_t hash)
{
    uintptr_t old = *way->link, *node = slot_node(old), *new;
    unsigned bits = node_bits(old);

    if (bits == 0 || bits == NODE_BITS_MAX) {
        new = node_alloc(1);
        if (new == NULL) {
            return -ENOMEM;
        }
        if (bits != 0) {
            way->link = &node[hash << way->above >> (64 - bits)];
            way->above += bits;
        }
        new[0] = new[1] = (uintptr_t)way->leaf;
        *way->link = node_slot(new, 1);
        return 0;
    }
    new = node_alloc(bits + 1);
    if (new == NULL) {
        return -ENOMEM;
    }
    work_charge(COST_SLOT << bits);
    for (unsigned i = 0; i < 1u << bits; i++) {
        new[2 * i] = new[2 * i + 1] = node[i];
    }
    *way->link = node_slot(new, bits + 1);
    node_free(old);
    return 0;
}

/* Point the slots of the node at the end of @way that are under the first
 * @depth bits of @hash at @l. */
static void set_slots(const struct way *way, uint64_t hash, unsigned depth,
                      struct leaf *l)
{
    unsigned bits = node_bits(*way->link);
    unsigned span = 1u << (way->above + bits - depth);
    unsigned first = (unsigned)(hash << way->above >> (64 - bits));
    uintptr_t *slot = &slot_node(*way->link)[first & ~(span - 1)];

    for (unsigned i = 0; i < span; i++) {
        slot[i] = (uintptr_t)l;
    }
}

/* Split the leaf that @hash leads to; -ENOMEM: nothing changed. */
static int split(struct rmap *r, uint64_t hash)
{
    struct way way;
    struct leaf *hi;

    find_way(r, hash, &way);
    if (way.leaf->depth == DEPTH_MAX) {
        return -ENOMEM;
    }
    hi = leaf_alloc();
    if (hi == NULL) {
        return -ENOMEM;
    }
    if (way.leaf->depth == way.above + node_bits(*way.link) &&
        deepen(&way, hash) != 0) {
        leaf_free(hi);
        return -ENOMEM;
    }
    leaf_split(way.leaf, hi);
    set_slots(&way, hash | UINT64_C(1) << (64 - hi->depth), hi->depth, hi);
    return 0;
}

/* There is no room in reach: split the leaf as often as it takes. Without
 * memory a leaf is filled to its last word. */
static int split_and_put(struct rmap *r, uint64_t word, uint64_t map)
{
    for (unsigned splits = 1;; splits++) {
        int err = split(r, word);

        if (leaf_put(find_leaf(r, word), word, map,
                     err == 0 && splits < MAX_SPLITS ? MAX_PROBE
                                                     : LEAF_BUCKETS)) {
            return 0;
        }
        if (err != 0) {
            return err;
        }
    }
}

int table_add(struct rmap *r, uint64_t hash, uint64_t map)
{
    struct leaf *l = find_leaf(r, hash);
    uint64_t word = group_word(hash, map);

    if (leaf_add(l, word, map) || leaf_join(l, word, map) ||
        leaf_put(l, word, map, leaf_reach(l))) {
        return 0;
    }
    return split_and_put(r, word, map);
}

int table_add_member(struct rmap *r, struct leaf *l, size_t k, uint64_t word)
{
    size_t n = l->fill[k] & FILL_WORDS;
    uint64_t *end = &l->bucket[k][n];
    int err = 0;

    if (n != 0 && same_group(end[-1], word) &&
        (end[-1] & WORD_HAS_MAP) != 0) {
        end[-2] |= word_bit(word);
    } else if (l->fill[k] == BUCKET_WORDS &&
               !may_have_group(l->bucket[k], word)) {
        if (!leaf_add_away(l, (unsigned)k, word)) {
            err = split_and_put(r, word, word_bit(word));
        }
    } else {
        err = table_add(r, word & WORD_HASH, word_bit(word));
    }
    r->count += err == 0;
    return err;
}

/* ---- shrinking ------------------------------------------------------------ */

/* Give up the node at the end of @way that one leaf fills, or half of one
 * whose last bit no leaf needs. */
static void try_halve(struct way *way)
{
    uintptr_t old = *way->link, *node = slot_node(old), *new;
    unsigned bits = node_bits(old);

    if (node[0] == node[(1u << bits) - 1]) {
        *way->link = node[0];
        node_free(old);
        return;
    }
    for (unsigned i = 0; i < 1u << bits; i += 2) {
        if (node[i] != node[i + 1]) {
            return;
        }
    }
    new = node_alloc(bits - 1);
    if (new == NULL) {
        return;     /* the larger one is right as well; the next merge asks */
    }
    work_charge(COST_SLOT << (bits - 1));
    for (unsigned i = 0; i < 1u << (bits - 1); i++) {
        new[i] = node[2 * i];
    }
    *way->link = node_slot(new, bits - 1);
    node_free(old);
}

/* Join the leaf of @hash with its buddy. Of two buddies the lower one stays: it
 * may be that of hash 0. True: what comes of it is nearly empty as well. */
static bool merge(struct rmap *r, uint64_t hash)
{
    struct leaf *lo, *hi;
    struct way way;
    unsigned depth, bits;
    uint64_t bit;

    find_way(r, hash, &way);
    depth = way.leaf->depth;
    if (depth == way.above) {
        return false;           /* the whole table */
    }
    bit = UINT64_C(1) << (64 - depth);
    bits = node_bits(*way.link);
    hi = (struct leaf *)slot_node(*way.link)[(hash ^ bit) << way.above >>
                                             (64 - bits)];
    if (node_bits((uintptr_t)hi) != 0 || hi->depth != depth ||
        hi->used + way.leaf->used > MERGE_WORDS) {
        return false;
    }
    lo = way.leaf;
    if ((hash & bit) != 0) {
        lo = hi;
        hi = way.leaf;
    }
    leaf_merge(lo, hi);
    set_slots(&way, hash, lo->depth, lo);
    leaf_free(hi);
    try_halve(&way);
    return lo->used < SHRINK_WORDS;
}

/* A buddy that had to wait for this merge may have been waiting empty. */
void table_shrink(struct rmap *r, uint64_t hash)
{
    for (unsigned i = 0; i < MAX_MERGES && merge(r, hash); i++) {
    }
}

/* ---- all of it ------------------------------------------------------------ */

static int each_leaf_below(uintptr_t slot, uint64_t prefix, unsigned above,
                           table_leaf_fn *fn, void *arg)
{
    unsigned bits = node_bits(slot);
    uintptr_t *node = slot_node(slot);
    int stop = 0;

    if (bits == 0) {
        return fn((struct leaf *)slot, prefix, arg);
    }
    for (unsigned i = 0; i < 1u << bits && stop == 0; i++) {
        if (i == 0 || node[i] != node[i - 1]) {
            stop = each_leaf_below(node[i], prefix | (uint64_t)i <<
                                   (64 - above - bits), above + bits, fn,
                                   arg);
        }
    }
    return stop;
}

int table_each_leaf(const struct rmap *r, table_leaf_fn *fn, void *arg)
{
    return each_leaf_below(r->root, 0, 0, fn, arg);
}

/* ---- audit ---------------------------------------------------------------- */

static unsigned bad_node(const char *name, uintptr_t slot)
{
    log_error("T1: %s at %lx", name, slot);
    return 1;
}

static unsigned audit_below(uintptr_t slot, unsigned above)
{
    unsigned bits = node_bits(slot), bad = 0;
    uintptr_t *node = slot_node(slot);

    if (bits > NODE_BITS_MAX || above + bits > DEPTH_MAX) {
        return bad_node("a node too large", slot);
    }
    for (unsigned i = 0, span = 1; i < 1u << bits; i += span) {
        const struct leaf *l = (struct leaf *)node[i];

        span = 1;
        if (node_bits(node[i]) != 0) {
            if (bits != NODE_BITS_MAX) {
                bad += bad_node("a small node with nodes", slot);
            }
            bad += audit_below(node[i], above + bits);
            continue;
        }
        if (l->depth <= above || l->depth > above + bits) {
            return bad + bad_node("a leaf's depth", node[i]);
        }
        span = 1u << (above + bits - l->depth);
        for (unsigned k = 1; k < span; k++) {
            if (node[i | k] != node[i]) {
                bad += bad_node("a leaf without all its slots", node[i]);
                break;
            }
        }
    }
    return bad;
}

unsigned table_audit_nodes(const struct rmap *r)
{
    if (node_bits(r->root) != 0) {
        return audit_below(r->root, 0);
    }
    return ((struct leaf *)r->root)->depth == 0
               ? 0 : bad_node("the root's depth", r->root);
}

unsigned table_audit_leaf(const struct rmap *r, uint64_t *at)
{
    struct leaf *l = find_leaf(r, *at);
    uint64_t size = l->depth == 0 ? 0 : UINT64_C(1) << (64 - l->depth);
    uint64_t prefix = *at & -size, members = 0;

    *at = prefix + size;        /* 0 after the last, or the only one */
    return leaf_audit(l, prefix, &members);
}
