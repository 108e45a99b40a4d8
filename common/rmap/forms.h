/*
 * forms.h - what is behind rmap.c: a table of functions a form.
 *
 * A pair is one number, its key: domid << 36 | gfn. A group of 64 gfns is the
 * key without its low six bits. The callers have checked nothing: a removal
 * that finds no pair is a BUG here. A form keeps r->count.
 */
#pragma once

#include <quire/arch.h>
#include <quire/rmap.h>

#define RMAP_GFN_MASK ((UINT64_C(1) << RMAP_DOMAIN_SHIFT) - 1)
#define RMAP_DOMID_BITS 16

typedef int rmap_visit_fn(struct rmap_pair p, void *arg);

struct rmap_ops {
    const char *name;
    int (*insert)(struct rmap *r, uint64_t key);
    void (*remove)(struct rmap *r, uint64_t key);
    bool (*has)(const struct rmap *r, uint64_t key);
    uint64_t (*find_group)(const struct rmap *r, uint64_t group);
    unsigned (*scan)(struct rmap *r, struct rmap_pair *out, unsigned max);
    int (*for_each)(const struct rmap *r, rmap_visit_fn *fn, void *arg);
    unsigned (*audit)(const struct rmap *r);
    void (*fini)(struct rmap *r);       /* root and shape are then 0 */
};

extern const struct rmap_ops rmap_adaptive_ops;
extern const struct rmap_ops rmap_list_ops;
extern const struct rmap_ops rmap_hash256_ops;
extern const struct rmap_ops rmap_rbtree_ops;

/* The list's node, and that of a chain. */
struct rmap_node {
    struct rmap_node *next;
    uint64_t key;
};
static_assert(sizeof(struct rmap_node) == 16, "the heap's smallest object");

/* The adaptive form, called without a detour. Groups are its nature, but not
 * always those of the interface. */
bool must_check rmap_adaptive_takes_group(struct rmap *r, uint64_t map);
int must_check rmap_adaptive_add(struct rmap *r, uint64_t group,
                                 uint64_t map);
void rmap_adaptive_remove(struct rmap *r, uint64_t group, uint64_t map);
/* Of a map that is not two pairs. */
void rmap_adaptive_remove_pair(struct rmap *r, uint64_t key);
/* After a removal from a table whose leaf of @hash has few words left. */
void rmap_adaptive_shrink(struct rmap *r, uint64_t hash);
/* An empty map gets two pairs that are in one group by gfn. */
void rmap_adaptive_init_two(struct rmap *r, uint64_t key1, uint64_t key2);

static inline uint64_t rmap_key(struct rmap_pair p)
{
    return (uint64_t)p.domain << RMAP_DOMAIN_SHIFT | p.gfn.n;
}

static inline struct rmap_pair rmap_pair_of(uint64_t key)
{
    return (struct rmap_pair){
        .domain = (domid_t)(key >> RMAP_DOMAIN_SHIFT),
        .gfn = GFN(key & RMAP_GFN_MASK),
    };
}

/* The other way to make a key: a group is 64 domains at one gfn then. */
static inline uint64_t key_by_gfn(uint64_t key)
{
    return (key & RMAP_GFN_MASK) << RMAP_DOMID_BITS | key >> RMAP_DOMAIN_SHIFT;
}

static inline uint64_t key_by_domain(uint64_t by_gfn)
{
    return (by_gfn & ((1u << RMAP_DOMID_BITS) - 1)) << RMAP_DOMAIN_SHIFT |
           by_gfn >> RMAP_DOMID_BITS;
}

static inline uint64_t rmap_group_key(domid_t domain, uint64_t group)
{
    return (uint64_t)domain << (RMAP_DOMAIN_SHIFT - RMAP_GROUP_SHIFT) | group;
}

/* Bytes on the heap, counted where they are taken: each CPU its own. */
struct rmap_usage { cache_aligned _Atomic uint64_t bytes; };
extern struct rmap_usage rmap_usage[];

static inline void rmap_account(int64_t bytes)
{
    _Atomic uint64_t *mine = &rmap_usage[arch_cpu()].bytes;

    atomic_store_explicit(mine,
        atomic_load_explicit(mine, memory_order_relaxed) + (uint64_t)bytes,
        memory_order_relaxed);
}
