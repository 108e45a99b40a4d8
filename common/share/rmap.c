/*
 * rmap.c - the reverse map of one shared frame, as a list: one node per pair.
 *
 *     form --> tail --> head --> ... --> tail
 *
 * Singly linked and circular, so that 16 bytes a pair are enough, and going
 * round is one store. New pairs go to the tail: most go in the order in which
 * they came, and are then found at once. In any other order finding one is a
 * walk, and removing all of n is quadratic: that is the cost of a list.
 */
#include <quire/heap.h>
#include <quire/log.h>
#include <quire/panic.h>
#include <quire/rmap.h>

struct node {
    struct node *next;
    uint64_t key;           /* domid << 48 | gfn */
};
static_assert(sizeof(struct node) == 16, "the heap's smallest object");

#define KEY_DOMAIN_SHIFT 48

static _Atomic uint64_t nr_nodes;

static uint64_t key_of(struct rmap_pair p)
{
    return (uint64_t)p.domain << KEY_DOMAIN_SHIFT | p.gfn.n;
}

static struct rmap_pair pair_of(const struct node *n)
{
    return (struct rmap_pair){
        .domain = (domid_t)(n->key >> KEY_DOMAIN_SHIFT),
        .gfn = GFN(n->key & ((UINT64_C(1) << KEY_DOMAIN_SHIFT) - 1)),
    };
}

static void count_nodes(uint64_t delta)
{
    atomic_fetch_add_explicit(&nr_nodes, delta, memory_order_relaxed);
}

void rmap_init(struct rmap *r)
{
    r->form = NULL;
    r->count = 0;
}

void rmap_fini(struct rmap *r)
{
    struct node *tail = r->form, *n = tail;

    if (tail == NULL) {
        return;
    }
    do {
        struct node *next = n->next;

        heap_free(n);
        n = next;
    } while (n != tail);
    count_nodes(-r->count);
    rmap_init(r);
}

/* The node before the one that holds @key, or NULL. */
static struct node *find_before(const struct rmap *r, uint64_t key)
{
    struct node *tail = r->form, *before = tail;

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

static void link_tail(struct rmap *r, struct node *n)
{
    struct node *tail = r->form;

    if (tail == NULL) {
        n->next = n;
        r->form = n;
    } else {
        n->next = tail->next;
        tail->next = n;
        r->form = n;
    }
    r->count++;
}

static struct node *unlink_pair(struct rmap *r, struct rmap_pair p)
{
    struct node *before = find_before(r, key_of(p)), *n;

    BUG_ON(before == NULL);
    n = before->next;
    if (n == before) {
        r->form = NULL;
    } else {
        before->next = n->next;
        if (r->form == n) {
            r->form = before;
        }
    }
    r->count--;
    return n;
}

int rmap_insert(struct rmap *r, struct rmap_pair p)
{
    struct node *n = heap_alloc(sizeof(*n));

    if (n == NULL) {
        return -ENOMEM;
    }
    n->key = key_of(p);
    link_tail(r, n);
    count_nodes(1);
    return 0;
}

void rmap_remove(struct rmap *r, struct rmap_pair p)
{
    heap_free(unlink_pair(r, p));
    count_nodes(-UINT64_C(1));
}

void rmap_move(struct rmap *to, struct rmap *from, struct rmap_pair p)
{
    link_tail(to, unlink_pair(from, p));
}

bool rmap_has(const struct rmap *r, struct rmap_pair p)
{
    return find_before(r, key_of(p)) != NULL;
}

unsigned rmap_take(const struct rmap *r, struct rmap_pair *out, unsigned max)
{
    const struct node *n = r->form;
    unsigned nr = (unsigned)MIN(r->count, max);

    for (unsigned i = 0; i < nr; i++) {
        n = n->next;
        out[i] = pair_of(n);
    }
    return nr;
}

unsigned rmap_scan(struct rmap *r, struct rmap_pair *out, unsigned max)
{
    struct node *tail = r->form;
    unsigned nr = (unsigned)MIN(r->count, max);

    for (unsigned i = 0; i < nr; i++) {
        tail = tail->next;
        out[i] = pair_of(tail);
    }
    r->form = tail;         /* what was seen is now at the end */
    return nr;
}

int rmap_for_each(const struct rmap *r,
                  int (*fn)(struct rmap_pair p, void *arg), void *arg)
{
    const struct node *n = r->form;

    for (uint64_t i = 0; i < r->count; i++) {
        int stop;

        n = n->next;
        stop = fn(pair_of(n), arg);
        if (stop != 0) {
            return stop;
        }
    }
    return 0;
}

uint64_t rmap_bytes(void)
{
    return atomic_load_explicit(&nr_nodes, memory_order_relaxed) *
           sizeof(struct node);
}

unsigned rmap_audit(const struct rmap *r)
{
    const struct node *tail = r->form, *n = tail;
    uint64_t nodes = 0;
    unsigned bad = 0;

    if (tail != NULL) {
        do {
            n = n->next;
            nodes++;
            if (find_before(r, n->key)->next != n) {
                log_error("rmap: d%u gfn %lx is there twice",
                          pair_of(n).domain, pair_of(n).gfn.n);
                bad++;
            }
        } while (n != tail && nodes <= r->count);
    }
    if (nodes != r->count) {
        log_error("rmap: %lu pairs or more, not %lu", nodes, r->count);
        bad++;
    }
    return bad;
}
