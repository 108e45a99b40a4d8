/*
 * base.c - a fork's memory of what it began with: its leaves, and the frames
 * held for gfns that have changed since. See base.h.
 */
#include "base.h"

#include <quire/heap.h>
#include <quire/log.h>
#include <quire/string.h>

#define FIRST_CAPACITY 4        /* saved gfns that a leaf has room for */
#define COST_RELEASE 400        /* units: one hold; the frame may be freed */
#define COST_LEAF 200
#define COST_LEAF_AUDIT 2500
#define COST_AUDIT 30

struct base_leaf *base_leaf_add(struct share_base *base, uint64_t first,
                                int *err)
{
    struct base_leaf *leaf;

    if (base->nr_leaves > 0) {
        leaf = base->leaves[base->nr_leaves - 1];
        if (leaf->first == first) {
            return leaf;
        }
        BUG_ON(leaf->first > first);
    }
    *err = -EAGAIN;
    if (base->nr_leaves == base->capacity) {
        return NULL;
    }
    *err = -ENOMEM;
    leaf = heap_zalloc(sizeof(*leaf));
    if (leaf != NULL) {
        leaf->first = first;
        base->leaves[base->nr_leaves++] = leaf;
    }
    return leaf;
}

struct base_leaf *base_leaf_of(const struct share_base *base, gfn_t gfn)
{
    uint64_t first = gfn.n & ~(uint64_t)(P2M_LEAF_GFNS - 1);
    uint32_t low = 0, high = base->nr_leaves;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (base->leaves[middle]->first < first) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < base->nr_leaves && base->leaves[low]->first == first
               ? base->leaves[low] : NULL;
}

static bool has_bit(const uint64_t *map, unsigned i)
{
    return (map[i / 64] >> i % 64 & 1) != 0;
}

/* The leaf, if @gfn was there at the beginning and is not saved yet. */
static struct base_leaf *unsaved(const struct p2m *p, gfn_t gfn)
{
    unsigned i = gfn.n % P2M_LEAF_GFNS;
    struct base_leaf *leaf;

    if (p->base == NULL || p->no_users) {   /* a kill keeps nothing */
        return NULL;
    }
    leaf = base_leaf_of(p->base, gfn);
    return leaf != NULL && has_bit(leaf->began, i) &&
           !has_bit(leaf->saved_map, i) ? leaf : NULL;
}

bool base_wants(struct p2m *p, gfn_t gfn)
{
    return unsaved(p, gfn) != NULL;
}

int base_prepare(struct p2m *p, gfn_t gfn)
{
    struct base_leaf *leaf = unsaved(p, gfn);
    unsigned capacity;
    uint64_t *saved;

    if (leaf == NULL) {
        return 0;
    }
    if (leaf->nr < leaf->capacity) {
        return 1;
    }
    capacity = MAX(2u * leaf->capacity, FIRST_CAPACITY);
    saved = heap_alloc(capacity * sizeof(*saved));
    if (saved == NULL) {
        return -ENOMEM;
    }
    if (leaf->nr != 0) {
        memcpy(saved, leaf->saved, leaf->nr * sizeof(*saved));
    }
    heap_free(leaf->saved);
    leaf->saved = saved;
    leaf->capacity = (uint16_t)capacity;
    return 1;
}

void base_keep(struct p2m *p, gfn_t gfn, struct shared_frame *sf)
{
    struct base_leaf *leaf = unsaved(p, gfn);
    unsigned i = gfn.n % P2M_LEAF_GFNS;

    BUG_ON(leaf == NULL || leaf->nr == leaf->capacity);
    leaf->saved[leaf->nr++] = shared_mfn(sf).n * P2M_LEAF_GFNS + i;
    leaf->saved_map[i / 64] |= UINT64_C(1) << i % 64;
    p->base->nr_saved++;
    spin_lock(&sf->lock);
    rmap_remove(&sf->rmap, (struct rmap_pair){ p->owner, gfn });
    share_count(&share_totals.removed, 1);
    share_count(&share_totals.kept, 1);
    spin_unlock(&sf->lock);
}

void base_unsave(struct share_base *base, struct base_leaf *leaf)
{
    unsigned i = base_index(leaf->saved[--leaf->nr]);

    leaf->saved_map[i / 64] &= ~(UINT64_C(1) << i % 64);
    base->nr_saved--;
    if (leaf->nr == 0) {
        heap_free(leaf->saved);
        leaf->saved = NULL;
        leaf->capacity = 0;
    }
}

void base_release(mfn_t mfn)
{
    struct shared_frame *sf = mfn_to_frame(mfn)->user;
    bool last;

    spin_lock(&sf->lock);
    share_count(&share_totals.released, 1);
    last = shared_frame_release(sf);
    spin_unlock(&sf->lock);
    if (last) {
        shared_frame_put(sf);
    }
}

int share_drop_prepare(struct p2m *p, gfn_t gfn)
{
    int err = base_prepare(p, gfn);

    return err < 0 ? err : 0;
}

int share_base_drop(struct p2m *p, struct work *w)
{
    struct share_base *base = p->base;
    bool over = false;

    BUG_ON(!p->no_users);
    if (base == NULL) {
        return 0;
    }
    spin_lock(&p->lock);
    while (base->nr_leaves > 0 && !over) {
        struct base_leaf *leaf = base->leaves[base->nr_leaves - 1];

        while (leaf->nr > 0 && !over) {
            mfn_t mfn = base_mfn(leaf->saved[leaf->nr - 1]);

            base_unsave(base, leaf);
            base_release(mfn);
            over = work_spend(w, COST_RELEASE);
        }
        if (leaf->nr == 0) {
            heap_free(leaf->saved);     /* room that was never used */
            heap_free(leaf);
            base->nr_leaves--;
            over |= work_spend(w, COST_LEAF);
        }
    }
    spin_unlock(&p->lock);
    return over ? -ERESTART : 0;
}

void share_base_free(struct p2m *p)
{
    struct share_base *base;

    spin_lock(&p->lock);
    base = p->base;
    p->base = NULL;
    spin_unlock(&p->lock);
    if (base != NULL) {
        BUG_ON(base->nr_leaves != 0);
        heap_free(base->leaves);
        heap_free(base);
    }
}

void share_base_get(struct p2m *p, struct share_base_info *info)
{
    *info = (struct share_base_info){ 0, 0 };
    spin_lock(&p->lock);
    if (p->base != NULL) {
        info->gfns = p->base->nr_gfns;
        info->saved = p->base->nr_saved;
    }
    spin_unlock(&p->lock);
}

/* B1 of one leaf; counts what it saw. */
static unsigned audit_leaf(const struct p2m *p, const struct base_leaf *leaf,
                           uint64_t *nr_saved, uint64_t *nr_began)
{
    uint64_t seen[BASE_WORDS] = { 0 };
    unsigned bad = 0;

    for (unsigned k = 0; k < leaf->nr; k++) {
        unsigned i = base_index(leaf->saved[k]);
        const struct frame *f = mfn_to_frame(base_mfn(leaf->saved[k]));

        if (has_bit(seen, i) || !has_bit(leaf->began, i) ||
            frame_owner(f) != DOMID_COW ||
            frame_type(f) != FRAME_TYPE_SHARED) {
            log_error("audit: B1 d%d gfn %lx: saved mfn %lx", p->owner,
                      leaf->first + i, base_mfn(leaf->saved[k]).n);
            bad++;
        }
        seen[i / 64] |= UINT64_C(1) << i % 64;
    }
    for (unsigned i = 0; i < BASE_WORDS; i++) {
        bad += seen[i] != leaf->saved_map[i];
        for (uint64_t left = leaf->began[i]; left != 0; left &= left - 1) {
            ++*nr_began;
        }
    }
    *nr_saved += leaf->nr;
    return bad;
}

int share_base_audit(struct p2m *p, struct share_base_audit *a,
                     struct work *w)
{
    const struct share_base *base;
    bool over = false;

    spin_lock(&p->lock);
    base = p->base;
    while (base != NULL && a->leaf < base->nr_leaves && !over) {
        const struct base_leaf *leaf = base->leaves[a->leaf++];

        a->bad += audit_leaf(p, leaf, &a->saved, &a->gfns);
        over = work_spend(w, COST_LEAF_AUDIT + COST_AUDIT * leaf->nr);
    }
    if (base != NULL && !over && a->leaf == base->nr_leaves &&
        (a->saved != base->nr_saved || a->gfns != base->nr_gfns)) {
        a->changed = true;
    }
    spin_unlock(&p->lock);
    return over ? -ERESTART : 0;
}
