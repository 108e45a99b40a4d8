/*
 * list.c - the reverse map as a list: one node per pair.
 *
 *     root --> tail --> head --> ... --> tail
 *
 * Singly linked and circular, so that 16 bytes a pair are enough, and going
 * round is one store. New pairs go to the tail: most go in the order in which
 * they came, and are then found at once. In any other order finding one is a
 * walk, and removing all of n is quadratic: that is the cost of a list.
 */
#include "forms.h"

#include <quire/heap.h>
#include <quire/log.h>
#include <quire/panic.h>

static struct rmap_node *tail_of(const struct rmap *r)
{
    return (struct rmap_node *)r->root;
}

static void list_fini(struct rmap *r)
{
    struct rmap_node *tail = tail_of(r), *n = tail;

    if (tail == NULL) {
        return;
    }
    do {
        struct rmap_node *next = n->next;

        heap_free(n);
        n = next;
    } while (n != tail);
    rmap_account(-(int64_t)(r->count * sizeof(*n)));
}

/* The node before the one that holds @key, or NULL. */
static struct rmap_node *find_before(const struct rmap *r, uint64_t key)
{
    struct rmap_node *tail = tail_of(r), *before = tail;

    if (tail == NULL) {
        return NULL;
    }
    do {
        if (before->next->key == key) {
            return before;
        }
        before = before->next;
    } while (before != tail);
    return NULL;
}

static int list_insert(struct rmap *r, uint64_t key)
{
    struct rmap_node *tail = tail_of(r), *n = heap_alloc(sizeof(*n));

    if (n == NULL) {
        return -ENOMEM;
    }
    n->key = key;
    n->next = n;
    if (tail != NULL) {
        n->next = tail->next;
        tail->next = n;
    }
    r->root = (uintptr_t)n;
    r->count++;
    rmap_account(sizeof(*n));
    return 0;
}

static void list_remove(struct rmap *r, uint64_t key)
{
    struct rmap_node *before = find_before(r, key), *n;

    BUG_ON(before == NULL);
    n = before->next;
    before->next = n->next;
    if (tail_of(r) == n) {
        r->root = n == before ? 0 : (uintptr_t)before;
    }
    r->count--;
    heap_free(n);
    rmap_account(-(int64_t)sizeof(*n));
}

static bool list_has(const struct rmap *r, uint64_t key)
{
    return find_before(r, key) != NULL;
}

static uint64_t list_find_group(const struct rmap *r, uint64_t group)
{
    const struct rmap_node *n = tail_of(r);
    uint64_t map = 0;

    for (uint32_t i = 0; i < r->count; i++, n = n->next) {
        if (n->key >> RMAP_GROUP_SHIFT == group) {
            map |= UINT64_C(1) << (n->key & 63);
        }
    }
    return map;
}

static unsigned list_scan(struct rmap *r, struct rmap_pair *out, unsigned max)
{
    struct rmap_node *tail = tail_of(r);

    for (unsigned i = 0; i < max; i++) {
        tail = tail->next;
        out[i] = rmap_pair_of(tail->key);
    }
    r->root = (uintptr_t)tail;      /* what was seen is now at the end */
    return max;
}

static int list_for_each(const struct rmap *r, rmap_visit_fn *fn, void *arg)
{
    const struct rmap_node *n = tail_of(r);
    int stop = 0;

    for (uint32_t i = 0; i < r->count && stop == 0; i++) {
        n = n->next;
        stop = fn(rmap_pair_of(n->key), arg);
    }
    return stop;
}

static unsigned list_audit(const struct rmap *r)
{
    const struct rmap_node *tail = tail_of(r), *n = tail;
    uint64_t nodes = 0;
    unsigned bad = 0;

    if (tail != NULL) {
        do {
            n = n->next;
            nodes++;
            if (find_before(r, n->key)->next != n) {
                struct rmap_pair p = rmap_pair_of(n->key);

                log_error("R2: d%u gfn %lx is there twice", p.domain,
                          p.gfn.n);
                bad++;
            }
        } while (n != tail && nodes <= r->count);
    }
    if (nodes != r->count) {
        log_error("R1: %lu pairs or more, not %u", nodes, r->count);
        bad++;
    }
    return bad;
}

const struct rmap_ops rmap_list_ops = {
    .name = "list",
    .insert = list_insert,
    .remove = list_remove,
    .has = list_has,
    .find_group = list_find_group,
    .scan = list_scan,
    .for_each = list_for_each,
    .audit = list_audit,
    .fini = list_fini,
};
