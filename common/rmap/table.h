/*
 * table.h - the adaptive reverse map's table: a trie of leaves, which
 * grows and shrinks one leaf at a time.
 *
 *     root --> node, 2^n slots by the hash's upper bits
 *              +----+----+----+----+
 *              |    |    |    |    |     a slot: a leaf, or the next node
 *              +----+----+----+----+     with 16 - n in its low bits
 *                 |    |____|
 *                 v      v
 *               node    leaf (one that is a bit short is in two slots)
 *
 * Only a node of the largest size has nodes below it, so the n-th node on a way
 * always consumes the same bits of the hash.
 *
 * A leaf that is full is split in two on the next bit of the hash; two
 * buddies that are nearly empty become one. No operation touches more than a
 * leaf, its buddy and a node: there is no rehash of the whole. A table of one
 * leaf has no node.
 */
#pragma once

#include "leaf.h"

#define MERGE_WORDS 54          /* of two buddies together: far below full */
#define SHRINK_WORDS 28u        /* with fewer a leaf looks at its buddy, */
#define SHRINK_STEP 4u          /* each time it has lost as many */
#define RMAP_TABLE 128          /* shape: no other form has one */
#define NODE_BITS_MAX 9         /* a page of slots */
#define NODE_TAG_MASK 15u       /* in an address; the heap aligns to 16 */

static inline unsigned node_bits(uintptr_t slot)
{
    return -(unsigned)slot & NODE_TAG_MASK;
}

static inline uintptr_t *slot_node(uintptr_t slot)
{
    return (uintptr_t *)(slot & ~(uintptr_t)NODE_TAG_MASK);
}

static inline uintptr_t node_slot(const uintptr_t *node, unsigned bits)
{
    return (uintptr_t)node | (NODE_TAG_MASK + 1 - bits);
}

static inline struct leaf *find_leaf(const struct rmap *r, uint64_t hash)
{
    uintptr_t slot = r->root;

    /* 48 | (16 - n) is 64 - n; what else the address has, a shift ignores. */
    while ((slot & NODE_TAG_MASK) != 0) {
        slot = slot_node(slot)[hash >> ((slot | 48) & 63)];
        hash <<= NODE_BITS_MAX;
    }
    return (struct leaf *)slot;
}

/** table_create() - a table of one empty leaf; NULL: no memory. */
struct leaf *table_create(struct rmap *r);
void table_destroy(struct rmap *r);
/** table_add() - members that are not there. -ENOMEM: nothing changed. */
int must_check table_add(struct rmap *r, uint64_t hash, uint64_t map);
/** table_add_member() - one, whose own entry would be @word, and which finds
 *  its home bucket @k in @l full or ending with its group. */
int must_check table_add_member(struct rmap *r, struct leaf *l, size_t k,
                                uint64_t word);
/** table_shrink() - the leaf of @hash has few words left: join it with its
 *  buddy if that has as few. */
slow_path void table_shrink(struct rmap *r, uint64_t hash);
/* Whether to look, with @used words before. */
static inline bool should_shrink(const struct leaf *l, unsigned used)
{
    return l->used < SHRINK_WORDS &&
           l->used / SHRINK_STEP != used / SHRINK_STEP;
}

/* The same after one word was taken out. */
static inline bool should_shrink_by_one(const struct leaf *l)
{
    return l->used < SHRINK_WORDS && (l->used + 1) % SHRINK_STEP == 0;
}
/** table_scan() - the keys of the next @max members, which there are. */
void table_scan(struct rmap *r, uint64_t *out, unsigned max);

/** table_each_leaf() - in the hash's order, with its prefix; stops at non-
 *  zero, which is returned. @fn may not change the table. */
typedef int table_leaf_fn(struct leaf *l, uint64_t prefix, void *arg);
int table_each_leaf(const struct rmap *r, table_leaf_fn *fn, void *arg);
/** table_audit_leaf() - rmap_audit_next() of a table. */
unsigned table_audit_leaf(const struct rmap *r, uint64_t *at);
/** table_audit_nodes() - violations of T1: a node no larger than allowed, and
 *  each leaf in exactly the slots that its depth says. */
unsigned table_audit_nodes(const struct rmap *r);
