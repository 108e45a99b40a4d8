/*
 * rmap_table.h - the adaptive reverse map's table: a trie of leaves, which
 * grows and shrinks one leaf at a time.
 *
 *     root --> node, 2^n slots by the hash's upper bits
 *              +----+----+----+----+
 *              |    |    |    |    |     a slot: a leaf, or the next node
 *              +----+----+----+----+     with n in the address's low bits
 *                 |    |____|
 *                 v      v
 *               node    leaf (one that is a bit short is in two slots)
 *
 * A leaf that is full is split in two on the next bit of the hash; two
 * buddies that are nearly empty become one. No operation touches more than a
 * leaf, its buddy and a node: there is no rehash of the whole. A table of one
 * leaf has no node.
 */
#pragma once

#include "rmap_leaf.h"

#define NODE_BITS_MAX 9         /* a page of slots */
#define NODE_BITS_MASK 15u      /* in an address; the heap aligns to 16 */
#define DEPTH_MAX 32            /* bits of the hash that pick the leaf */

static inline unsigned node_bits(uintptr_t slot)
{
    return (unsigned)slot & NODE_BITS_MASK;
}

static inline uintptr_t *slot_node(uintptr_t slot)
{
    return (uintptr_t *)(slot & ~(uintptr_t)NODE_BITS_MASK);
}

static inline struct leaf *find_leaf(const struct rmap *r, uint64_t hash)
{
    uintptr_t slot = r->root;
    unsigned bits;

    while ((bits = node_bits(slot)) != 0) {
        slot = slot_node(slot)[hash >> (64 - bits)];
        hash <<= bits;
    }
    return (struct leaf *)slot;
}

/** table_create() - a table of one empty leaf; NULL: no memory. */
struct leaf *table_create(struct rmap *r);
void table_destroy(struct rmap *r);
/** table_add() - -ENOMEM: nothing changed. */
int must_check table_add(struct rmap *r, uint64_t key, uint64_t map);
void table_remove(struct rmap *r, uint64_t key, uint64_t map);
uint64_t table_find(const struct rmap *r, uint64_t key);
/** table_scan() - rmap_scan(); @max is not above the count. */
unsigned table_scan(struct rmap *r, struct rmap_pair *out, unsigned max);

/** table_each_leaf() - in the hash's order, with its prefix; stops at non-
 *  zero, which is returned. @fn may not change the table. */
typedef int table_leaf_fn(struct leaf *l, uint64_t prefix, void *arg);
int table_each_leaf(const struct rmap *r, table_leaf_fn *fn, void *arg);
/** table_audit_nodes() - violations of T1: a node no larger than allowed, and
 *  each leaf in exactly the slots that its depth says. */
unsigned table_audit_nodes(const struct rmap *r);
