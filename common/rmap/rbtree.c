/*
 * rbtree.c - the reverse map as a red-black tree, ordered by domain and
 * gfn: one node of 32 bytes per pair.
 *
 *     root --> struct tree --> node: parent (bit 0: red), two children, key
 *
 * What was proposed instead of the table in 2012. Its invariants: B1 keys in
 * order; B2 no red node has a red child; B3 as many black nodes on each way
 * down; B4 each child knows its parent.
 */
#include "forms.h"

#include <quire/heap.h>
#include <quire/log.h>
#include <quire/panic.h>

struct node {
    uintptr_t parent;           /* bit 0: red */
    struct node *child[2];
    uint64_t key;
};
static_assert(sizeof(struct node) == 32, "a size class of the heap");

struct tree {
    struct node *root;
    uint64_t scan;              /* the next key to hand out, or above */
};

static struct tree *tree_of(const struct rmap *r)
{
    return (struct tree *)r->root;
}

static bool is_red(const struct node *n)
{
    return n != NULL && (n->parent & 1) != 0;
}

static struct node *parent_of(const struct node *n)
{
    return (struct node *)(n->parent & ~(uintptr_t)1);
}

static void set_parent(struct node *n, struct node *parent)
{
    n->parent = (uintptr_t)parent | (n->parent & 1);
}

static void set_red(struct node *n, bool red)
{
    n->parent = (n->parent & ~(uintptr_t)1) | red;
}

/* The slot that holds @n, a child of @parent. */
static struct node **slot_of(struct tree *t, struct node *n,
                             struct node *parent)
{
    return parent == NULL ? &t->root : &parent->child[n == parent->child[1]];
}

/* @n goes down to the side @dir, its other child takes its place. */
static void rotate(struct tree *t, struct node *n, unsigned dir)
{
    struct node *up = n->child[!dir], *parent = parent_of(n);

    *slot_of(t, n, parent) = up;
    set_parent(up, parent);
    n->child[!dir] = up->child[dir];
    if (up->child[dir] != NULL) {
        set_parent(up->child[dir], n);
    }
    up->child[dir] = n;
    set_parent(n, up);
}

/* @n is red and new here: restore B2. */
static void fix_red(struct tree *t, struct node *n)
{
    struct node *p;

    while ((p = parent_of(n)) != NULL && is_red(p)) {
        struct node *g = parent_of(p);      /* a red one is not the root */
        unsigned dir = p == g->child[1];
        struct node *uncle = g->child[!dir];

        if (is_red(uncle)) {
            set_red(p, false);
            set_red(uncle, false);
            set_red(g, true);
            n = g;
            continue;
        }
        if (n == p->child[!dir]) {
            rotate(t, p, dir);
            p = n;
        }
        set_red(p, false);
        set_red(g, true);
        rotate(t, g, !dir);
        break;
    }
    set_red(t->root, false);
}

/* The ways through @n, NULL or a child of @p, are a black node short. */
static void fix_black(struct tree *t, struct node *n, struct node *p)
{
    while (n != t->root && !is_red(n)) {
        unsigned dir = n == p->child[1];
        struct node *s = p->child[!dir];

        if (is_red(s)) {
            set_red(s, false);
            set_red(p, true);
            rotate(t, p, dir);
            s = p->child[!dir];
        }
        if (!is_red(s->child[0]) && !is_red(s->child[1])) {
            set_red(s, true);
            n = p;
            p = parent_of(n);
            continue;
        }
        if (!is_red(s->child[!dir])) {
            set_red(s->child[dir], false);
            set_red(s, true);
            rotate(t, s, !dir);
            s = p->child[!dir];
        }
        set_red(s, is_red(p));
        set_red(p, false);
        set_red(s->child[!dir], false);
        rotate(t, p, dir);
        return;
    }
    if (n != NULL) {
        set_red(n, false);
    }
}

/* The node with the smallest key from @key on, or NULL. */
static struct node *lower_bound(const struct tree *t, uint64_t key)
{
    struct node *n = t->root, *best = NULL;

    while (n != NULL) {
        if (n->key >= key) {
            best = n;
            n = n->child[0];
        } else {
            n = n->child[1];
        }
    }
    return best;
}

static struct node *next_node(const struct node *n)
{
    const struct node *p;

    if (n->child[1] != NULL) {
        n = n->child[1];
        while (n->child[0] != NULL) {
            n = n->child[0];
        }
        return (struct node *)n;
    }
    while ((p = parent_of(n)) != NULL && n == p->child[1]) {
        n = p;
    }
    return (struct node *)p;
}

static struct node *find_node(const struct rmap *r, uint64_t key)
{
    struct node *n = r->root != 0 ? tree_of(r)->root : NULL;

    while (n != NULL && n->key != key) {
        n = n->child[n->key < key];
    }
    return n;
}

static bool has_tree(struct rmap *r)
{
    struct tree *t;

    if (r->root == 0) {
        t = heap_zalloc(sizeof(*t));
        if (t == NULL) {
            return false;
        }
        rmap_account(sizeof(*t));
        r->root = (uintptr_t)t;
    }
    return true;
}

static void drop_tree(struct rmap *r)
{
    heap_free(tree_of(r));
    rmap_account(-(int64_t)sizeof(struct tree));
    r->root = 0;
}

static int rbtree_insert(struct rmap *r, uint64_t key)
{
    struct node **slot, *parent = NULL, *n;

    if (!has_tree(r)) {
        return -ENOMEM;
    }
    n = heap_alloc(sizeof(*n));
    if (n == NULL) {
        if (r->count == 0) {
            drop_tree(r);
        }
        return -ENOMEM;
    }
    for (slot = &tree_of(r)->root; *slot != NULL;
         slot = &parent->child[parent->key < key]) {
        parent = *slot;
        BUG_ON(parent->key == key);
    }
    *n = (struct node){ .parent = (uintptr_t)parent | 1, .key = key };
    *slot = n;
    fix_red(tree_of(r), n);
    r->count++;
    rmap_account(sizeof(*n));
    return 0;
}

static void rbtree_remove(struct rmap *r, uint64_t key)
{
    struct node *n = find_node(r, key), *child, *parent;
    struct tree *t = tree_of(r);

    BUG_ON(n == NULL);
    if (n->child[0] != NULL && n->child[1] != NULL) {
        struct node *next = next_node(n);

        n->key = next->key;     /* nobody keeps a node: take that one out */
        n = next;
    }
    child = n->child[n->child[0] == NULL];
    parent = parent_of(n);
    *slot_of(t, n, parent) = child;
    if (child != NULL) {
        set_parent(child, parent);
    }
    if (!is_red(n)) {
        fix_black(t, child, parent);
    }
    heap_free(n);
    rmap_account(-(int64_t)sizeof(*n));
    if (--r->count == 0) {
        drop_tree(r);
    }
}

static bool rbtree_has(const struct rmap *r, uint64_t key)
{
    return find_node(r, key) != NULL;
}

static uint64_t rbtree_find_group(const struct rmap *r, uint64_t group)
{
    const struct node *n = NULL;
    uint64_t map = 0;

    if (r->root != 0) {
        n = lower_bound(tree_of(r), group << RMAP_GROUP_SHIFT);
    }
    for (; n != NULL && n->key >> RMAP_GROUP_SHIFT == group;
         n = next_node(n)) {
        map |= UINT64_C(1) << (n->key & 63);
    }
    return map;
}

static unsigned rbtree_scan(struct rmap *r, struct rmap_pair *out,
                            unsigned max)
{
    struct tree *t = tree_of(r);
    const struct node *n = lower_bound(t, t->scan);

    for (unsigned i = 0; i < max; i++) {
        if (n == NULL) {
            n = lower_bound(t, 0);
        }
        out[i] = rmap_pair_of(n->key);
        t->scan = n->key + 1;
        n = next_node(n);
    }
    return max;
}

static int rbtree_for_each(const struct rmap *r, rmap_visit_fn *fn, void *arg)
{
    const struct node *n = r->root != 0 ? lower_bound(tree_of(r), 0) : NULL;
    int stop = 0;

    for (; n != NULL && stop == 0; n = next_node(n)) {
        stop = fn(rmap_pair_of(n->key), arg);
    }
    return stop;
}

static void rbtree_fini(struct rmap *r)
{
    struct node *n = r->root != 0 ? tree_of(r)->root : NULL;

    while (n != NULL) {
        struct node *p = parent_of(n);
        unsigned side = n->child[0] == NULL;

        if (n->child[side] != NULL) {
            n = n->child[side];
            continue;
        }
        if (p != NULL) {
            p->child[n == p->child[1]] = NULL;
        }
        heap_free(n);
        rmap_account(-(int64_t)sizeof(*n));
        n = p;
    }
    if (r->root != 0) {
        drop_tree(r);
    }
}

/* ---- audit ---------------------------------------------------------------- */

struct audit { uint64_t nodes; unsigned bad; };

/* Returns the black nodes on the ways down from @n. */
static unsigned audit_node(const struct node *n, const struct node *parent,
                           struct audit *a)
{
    unsigned black[2];

    if (n == NULL) {
        return 0;
    }
    a->nodes++;
    for (unsigned side = 0; side < 2; side++) {
        const struct node *c = n->child[side];

        black[side] = audit_node(c, n, a);
        if (c != NULL && (side == 0 ? c->key >= n->key : c->key <= n->key)) {
            log_error("B1: key %lx beside %lx", c->key, n->key);
            a->bad++;
        }
        if (is_red(n) && is_red(c)) {
            log_error("B2: red key %lx below %lx", c->key, n->key);
            a->bad++;
        }
    }
    if (black[0] != black[1]) {
        log_error("B3: %u and %u black below key %lx", black[0], black[1],
                  n->key);
        a->bad++;
    }
    if (parent_of(n) != parent) {
        log_error("B4: key %lx has another parent", n->key);
        a->bad++;
    }
    return black[0] + !is_red(n);
}

static unsigned rbtree_audit(const struct rmap *r)
{
    struct audit a = { 0, 0 };

    if (r->root != 0) {
        (void)audit_node(tree_of(r)->root, NULL, &a);
    }
    if (a.nodes != r->count) {
        log_error("R1: %lu pairs, not %u", a.nodes, r->count);
        a.bad++;
    }
    return a.bad;
}

const struct rmap_ops rmap_rbtree_ops = {
    .name = "rbtree",
    .insert = rbtree_insert,
    .remove = rbtree_remove,
    .has = rbtree_has,
    .find_group = rbtree_find_group,
    .scan = rbtree_scan,
    .for_each = rbtree_for_each,
    .audit = rbtree_audit,
    .fini = rbtree_fini,
};
