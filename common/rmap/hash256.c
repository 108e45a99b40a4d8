/*
 * hash256.c - the reverse map as the 2012 series has it: a list, and
 * from 257 pairs on 256 chains by (gfn + domain) mod 256; back below 64.
 *
 *     chain[0] --> node --> node --> 0
 *     chain[1] --> 0
 *     ...
 *
 * Its number of chains never grows, so that a walk grows with the pairs; and
 * gfns that are 256 apart are all in one chain. It is here to be measured
 * against. New pairs go to the front, as there. While it is a list it is
 * list.c's; where the table has no memory it stays one.
 */
#include "forms.h"

#include <quire/heap.h>
#include <quire/log.h>
#include <quire/panic.h>
#include <quire/string.h>

#define CHAINS 256
#define LIST_MAX 256            /* pairs of a list */
#define HASH_MIN 64             /* pairs of a table */

struct chains {
    struct rmap_node *chain[CHAINS];
    struct rmap_node *scan;     /* where a scan goes on in its chain */
    uint64_t scan_chain;
};

static struct chains *chains_of(const struct rmap *r)
{
    return (struct chains *)r->root;
}

static bool is_list(const struct rmap *r) { return r->shape == 0; }

static struct rmap_node **chain_of(struct chains *c, uint64_t key)
{
    return &c->chain[(key + (key >> RMAP_DOMAIN_SHIFT)) % CHAINS];
}

static void link_first(struct chains *c, struct rmap_node *n)
{
    struct rmap_node **chain = chain_of(c, n->key);

    n->next = *chain;
    *chain = n;
}

static void list_to_hash(struct rmap *r)
{
    struct chains *c = heap_zalloc(sizeof(*c));
    struct rmap_node *n = (struct rmap_node *)r->root;

    if (c == NULL) {
        return;                 /* the list is slower and as right */
    }
    rmap_account(sizeof(*c));
    for (uint32_t i = 0; i < r->count; i++) {
        struct rmap_node *next = n->next;

        link_first(c, n);
        n = next;
    }
    c->scan = c->chain[0];
    r->root = (uintptr_t)c;
    r->shape = 1;
}

static void hash_to_list(struct rmap *r)
{
    struct chains *c = chains_of(r);
    struct rmap_node *tail = NULL;

    for (unsigned i = 0; i < CHAINS; i++) {
        for (struct rmap_node *n = c->chain[i], *next; n != NULL; n = next) {
            next = n->next;
            n->next = tail != NULL ? tail->next : n;
            if (tail != NULL) {
                tail->next = n;
            }
            tail = n;
        }
    }
    heap_free(c);
    rmap_account(-(int64_t)sizeof(*c));
    r->root = (uintptr_t)tail;
    r->shape = 0;
}

static struct rmap_node **find_link(const struct rmap *r, uint64_t key)
{
    struct rmap_node **link = chain_of(chains_of(r), key);

    while (*link != NULL && (*link)->key != key) {
        link = &(*link)->next;
    }
    return link;
}

static int hash256_insert(struct rmap *r, uint64_t key)
{
    struct rmap_node *n;

    if (is_list(r) && r->count >= LIST_MAX) {
        list_to_hash(r);
    }
    if (is_list(r)) {
        return rmap_list_ops.insert(r, key);
    }
    n = heap_alloc(sizeof(*n));
    if (n == NULL) {
        return -ENOMEM;
    }
    n->key = key;
    link_first(chains_of(r), n);
    r->count++;
    rmap_account(sizeof(*n));
    return 0;
}

static void hash256_remove(struct rmap *r, uint64_t key)
{
    struct rmap_node **link, *n;

    if (is_list(r)) {
        rmap_list_ops.remove(r, key);
        return;
    }
    link = find_link(r, key);
    n = *link;
    BUG_ON(n == NULL);
    *link = n->next;
    if (chains_of(r)->scan == n) {
        chains_of(r)->scan = n->next;
    }
    heap_free(n);
    rmap_account(-(int64_t)sizeof(*n));
    if (--r->count < HASH_MIN) {
        hash_to_list(r);
    }
}

static bool hash256_has(const struct rmap *r, uint64_t key)
{
    return is_list(r) ? rmap_list_ops.has(r, key) :
                        *find_link(r, key) != NULL;
}

static uint64_t hash256_find_group(const struct rmap *r, uint64_t group)
{
    uint64_t map = 0;

    if (is_list(r)) {
        return rmap_list_ops.find_group(r, group);
    }
    for (unsigned i = 0; i < 64; i++) {
        if (*find_link(r, group << RMAP_GROUP_SHIFT | i) != NULL) {
            map |= UINT64_C(1) << i;
        }
    }
    return map;
}

static unsigned hash256_scan(struct rmap *r, struct rmap_pair *out,
                             unsigned max)
{
    struct chains *c = chains_of(r);

    if (is_list(r)) {
        return rmap_list_ops.scan(r, out, max);
    }
    for (unsigned i = 0; i < max; i++) {
        while (c->scan == NULL) {
            c->scan_chain = (c->scan_chain + 1) % CHAINS;
            c->scan = c->chain[c->scan_chain];
        }
        out[i] = rmap_pair_of(c->scan->key);
        c->scan = c->scan->next;
    }
    return max;
}

static int hash256_for_each(const struct rmap *r, rmap_visit_fn *fn,
                            void *arg)
{
    const struct chains *c = chains_of(r);
    int stop = 0;

    if (is_list(r)) {
        return rmap_list_ops.for_each(r, fn, arg);
    }
    for (unsigned i = 0; i < CHAINS; i++) {
        const struct rmap_node *n = c->chain[i];

        for (; n != NULL && stop == 0; n = n->next) {
            stop = fn(rmap_pair_of(n->key), arg);
        }
    }
    return stop;
}

static unsigned hash256_audit(const struct rmap *r)
{
    struct chains *c = chains_of(r);
    uint64_t nodes = 0;
    unsigned bad = 0;

    if (is_list(r)) {
        return rmap_list_ops.audit(r);
    }
    for (unsigned i = 0; i < CHAINS; i++) {
        for (struct rmap_node *n = c->chain[i]; n != NULL; n = n->next) {
            nodes++;
            if (*find_link(r, n->key) != n) {
                log_error("R2: key %lx is there twice, or in chain %u", n->key,
                          i);
                bad++;
            }
        }
    }
    if (nodes != r->count) {
        log_error("R1: %lu pairs, not %u", nodes, r->count);
        bad++;
    }
    return bad;
}

static void hash256_fini(struct rmap *r)
{
    if (!is_list(r)) {
        hash_to_list(r);
    }
    rmap_list_ops.fini(r);
}

const struct rmap_ops rmap_hash256_ops = {
    .name = "hash256",
    .insert = hash256_insert,
    .remove = hash256_remove,
    .has = hash256_has,
    .find_group = hash256_find_group,
    .scan = hash256_scan,
    .for_each = hash256_for_each,
    .audit = hash256_audit,
    .fini = hash256_fini,
};
