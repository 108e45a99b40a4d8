/*
 * p2m.c - the life of a p2m: created empty under its owner's id, counted,
 * freed with the last reference; and the listeners on it.
 */
#include "table.h"

#include <quire/heap.h>

/* Who has which id. (a): set by create, cleared by the last put. */
static struct p2m *_Atomic by_owner[MAX_DOMAINS];

/*
 * Each p2m counts its generations from a base of its own, so that no two ever
 * have one in common and a stale (p2m, generation) cannot match a new map
 * that happens to lie at the same address.
 */
static _Atomic uint64_t births;
#define GENERATIONS_EACH_SHIFT 32

static void free_p2m(struct p2m *p)
{
    p2m_table_free(p2m_table_of(p->root));
    heap_free(p);
}

struct p2m *p2m_create(domid_t owner)
{
    struct p2m *p, *none = NULL;
    struct p2m_table *root;

    if (owner >= MAX_DOMAINS) {
        return NULL;
    }
    p = heap_zalloc(sizeof(*p));
    if (p == NULL) {
        return NULL;
    }
    root = p2m_table_alloc();
    if (root == NULL) {
        heap_free(p);
        return NULL;
    }
    root->level = NPT_LEVELS;
    spin_lock_init(&p->lock, LOCK_RANK_P2M, owner);
    p->refs = 1;
    p->owner = owner;
    p->root = root->mfn;
    p->generation = ++births << GENERATIONS_EACH_SHIFT;
    p->nr_tables = 1;
    list_init(&p->listeners);
    if (!atomic_compare_exchange_strong(&by_owner[owner], &none, p)) {
        free_p2m(p);
        return NULL;
    }
    return p;
}

void p2m_get(struct p2m *p)
{
    uint32_t old = atomic_fetch_add(&p->refs, 1);

    BUG_ON(old == 0 || old == UINT32_MAX);
}

struct p2m *p2m_get_by_owner(domid_t owner)
{
    struct p2m *p = owner < MAX_DOMAINS ? by_owner[owner] : NULL;
    uint32_t refs;

    if (p == NULL) {
        return NULL;
    }
    refs = p->refs;
    do {
        if (refs == 0) {        /* going away; memory is kept by grace */
            return NULL;
        }
    } while (!atomic_compare_exchange_weak(&p->refs, &refs, refs + 1));
    return p;
}

uint64_t p2m_birth(const struct p2m *p)
{
    return p->generation >> GENERATIONS_EACH_SHIFT;
}

static void free_after_grace(struct grace_head *h)
{
    free_p2m(container_of(h, struct p2m, grace));
}

void p2m_put(struct p2m *p)
{
    uint32_t old = atomic_fetch_sub(&p->refs, 1);

    BUG_ON(old == 0);
    if (old == 1) {
        BUG_ON(p2m_table_of(p->root)->population != 0);
        BUG_ON(p->dropping.entry != 0);
        by_owner[p->owner] = NULL;
        grace_defer(&p->grace, free_after_grace);
    }
}

void p2m_add_listener(struct p2m *p, struct p2m_listener *l)
{
    spin_lock(&p->lock);
    list_append(&p->listeners, &l->link);
    p->has_listeners = true;
    spin_unlock(&p->lock);
}

void p2m_remove_listener(struct p2m *p, struct p2m_listener *l)
{
    spin_lock(&p->lock);
    list_remove(&l->link);
    p->has_listeners = !list_is_empty(&p->listeners);
    spin_unlock(&p->lock);
}

int p2m_prepare_listeners(struct p2m *p, gfn_t gfn, uint64_t nr,
                          struct work *w)
{
    int err = 0;

    ASSERT(is_lock_held(&p->lock));
    list_for_each(n, &p->listeners) {
        struct p2m_listener *l = container_of(n, struct p2m_listener, link);

        if (err == 0 && l->prepare != NULL) {
            err = l->prepare(l, gfn, nr, w);
        }
    }
    return err;
}

int p2m_prepare(struct p2m *p, gfn_t gfn, uint64_t nr, struct work *w)
{
    int err = 0;

    if (unlikely(p->has_listeners)) {
        spin_lock(&p->lock);
        err = p2m_prepare_listeners(p, gfn, nr, w);
        spin_unlock(&p->lock);
    }
    return err;
}
