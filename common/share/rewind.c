/*
 * rewind.c - a fork's memory as of the fork again.
 *
 *     leaf by leaf, each saved gfn:  the entry becomes the saved frame, as
 *                                    ram_shared; flush
 *                                    what was there is dropped
 *                                    the hold becomes a pair again
 *     then, if there are more gfns than at the beginning, the others are
 *     looked for and dropped
 *
 * What was there goes before the rmap needs memory, so that a rewind makes
 * room for itself. Where there is none even so, the gfn stays saved and is a
 * hole until the next attempt.
 */
#include "base.h"

#define RUN 24              /* gfns under one taking of the lock */
#define RUN_COST_MIN 3000   /* units: for less no run is begun in a slice */
/* Units, measured under -icount. */
#define COST_RUN 1000
#define COST_PAGE 420
#define COST_ADDITION 600
#define COST_LEAF 150

typedef void drop_fn(struct p2m *p, gfn_t gfn, const struct p2m_entry *e);

struct rewind_run {
    struct p2m_batch b;
    struct base_leaf *leaf;
    unsigned nr, max;
    uint16_t index[RUN];
    mfn_t mfn[RUN];                 /* of the beginning */
    struct p2m_entry old[RUN];
};

static gfn_t run_gfn(const struct rewind_run *r, unsigned k)
{
    return GFN(r->leaf->first + r->index[k]);
}

static bool is_back(const struct rewind_run *r, unsigned k)
{
    return r->old[k].type == p2m_ram_shared &&
           mfn_eq(r->old[k].mfn, r->mfn[k]);
}

/* The last RUN saved gfns of the leaf, latest first. */
static int collect(struct rewind_run *r)
{
    struct p2m *p = r->b.p2m;
    struct p2m_leaf view;
    gfn_t found;
    bool has_view = p2m_leaf_find(p, GFN(r->leaf->first), &view, &found) &&
                    view.order == P2M_ORDER_4K &&
                    view.first.n == r->leaf->first;

    /* Its table may have gone, or be a superpage by now. */
    if (!has_view) {
        int err = p2m_batch_reserve(&r->b, GFN(r->leaf->first),
                                    P2M_LEAF_GFNS, P2M_ORDER_4K);

        if (err != 0) {
            return err;
        }
    }
    r->nr = MIN(r->leaf->nr, r->max);
    for (unsigned k = 0; k < r->nr; k++) {
        uint64_t saved = r->leaf->saved[r->leaf->nr - 1 - k];

        r->index[k] = (uint16_t)base_index(saved);
        r->mfn[k] = base_mfn(saved);
        r->old[k] = has_view ? p2m_leaf_entry(&view, r->index[k])
                             : p2m_lookup_locked(p, run_gfn(r, k));
    }
    return 0;
}

/* The hold of the run's @k-th becomes a pair again. */
static int pair_up(struct rewind_run *r, unsigned k)
{
    struct rmap_pair pair = { r->b.p2m->owner, run_gfn(r, k) };
    struct shared_frame *sf = mfn_to_frame(r->mfn[k])->user;
    int err = 0;

    if (is_back(r, k)) {            /* merged with it meanwhile */
        base_release(r->mfn[k]);
    } else {
        spin_lock(&sf->lock);
        err = rmap_insert(&sf->rmap, pair);
        spin_unlock(&sf->lock);
        if (err == 0) {
            share_count(&share_totals.added, 1);
            share_count(&share_totals.released, 1);
        }
    }
    return err;
}

/* What was in the run's place. Private pages that nobody holds go together, in
 * the order of their making, which has often given them neighbouring frames;
 * of whatever else there is @drop knows what to do. */
static void drop_old(struct rewind_run *r, drop_fn *drop)
{
    mfn_t mfn[RUN];
    uint64_t private = 0, others = 0;

    for (unsigned i = 0; i < r->nr; i++) {
        unsigned k = r->nr - 1 - i;

        mfn[i] = r->old[k].mfn;
        if (r->old[k].type == p2m_ram_rw) {
            private |= UINT64_C(1) << i;
        } else if (r->old[k].type != p2m_invalid && !is_back(r, k)) {
            others |= UINT64_C(1) << i;
        }
    }
    others |= frame_free_group(r->b.p2m->owner, mfn, private);
    for (; others != 0; others &= others - 1) {
        unsigned k = r->nr - 1 - (unsigned)__builtin_ctzll(others);

        drop(r->b.p2m, run_gfn(r, k), &r->old[k]);
    }
}

static int rewind_run(struct rewind_run *r, drop_fn *drop, uint64_t *pages)
{
    struct p2m *p = r->b.p2m;
    int err = collect(r);
    unsigned done = 0;

    if (err != 0) {
        return err;
    }
    p2m_set_run(&r->b, GFN(r->leaf->first), r->index, r->mfn, r->nr,
                p2m_ram_shared);
    p2m_batch_flush(&r->b);
    drop_old(r, drop);
    while (done < r->nr && err == 0) {
        err = pair_up(r, done);
        if (err == 0) {
            base_unsave(p->base, r->leaf);
            done++;
        }
    }
    for (unsigned k = done; k < r->nr; k++) {
        if (!is_back(r, k)) {       /* nobody has run, nobody has seen it */
            p2m_set(&r->b, run_gfn(r, k), MFN_INVALID, P2M_ORDER_4K,
                    p2m_invalid);
        }
    }
    *pages += done;
    return err;
}

/* One run, or one leaf with nothing in it. 1: there are no more. */
static int rewind_next(struct rewind_run *r, drop_fn *drop, uint64_t *pages,
                       int64_t *cost)
{
    struct share_base *base = r->b.p2m->base;

    if (r->b.p2m->no_users) {       /* and the base may be going */
        return -ESRCH;
    }
    if (base->cursor == base->nr_leaves) {
        return 1;
    }
    r->leaf = base->leaves[base->cursor];
    if (r->leaf->nr == 0) {
        base->cursor++;
        *cost = COST_LEAF;
        return 0;
    }
    *cost = COST_RUN + (int64_t)MIN(r->leaf->nr, r->max) * COST_PAGE;
    return rewind_run(r, drop, pages);
}

/* How many gfns the rest of the slice is good for, and a little more. */
static unsigned run_size(const struct work *w)
{
    int64_t units = work_rest(w) + RUN_COST_MIN - COST_RUN;

    return (unsigned)MIN(units / COST_PAGE, RUN);
}

/* Everything saved. The cursor is the leaf. */
static int rewind_saved(struct p2m *p, drop_fn *drop, uint64_t *pages,
                        struct work *w)
{
    int err = 0;

    while (err == 0) {
        struct rewind_run r;
        int64_t cost = 0;

        r.max = run_size(w);
        p2m_batch_begin(&r.b, p);
        err = rewind_next(&r, drop, pages, &cost);
        p2m_batch_end(&r.b);
        if (err == 0 &&
            (work_spend(w, cost) || work_rest(w) < RUN_COST_MIN)) {
            err = -ERESTART;
        }
    }
    return err == 1 ? 0 : err;
}

/* Take @gfn out; in a superpage it must have been reserved. */
static void remove(struct p2m_batch *b, gfn_t gfn, drop_fn *drop)
{
    struct p2m_entry e = p2m_lookup_locked(b->p2m, gfn);

    p2m_set(b, gfn, MFN_INVALID, P2M_ORDER_4K, p2m_invalid);
    p2m_batch_flush(b);
    drop(b->p2m, gfn, &e);
}

/* The first gfn from base->gfn on that was not there. True: found. */
static bool find_addition(struct p2m *p, struct share_base *base,
                          unsigned *looked)
{
    struct base_leaf *leaf;
    struct p2m_leaf view;
    gfn_t found;

    while (p2m_leaf_find(p, base->gfn, &view, &found)) {
        uint64_t first = found.n & ~(uint64_t)(P2M_LEAF_GFNS - 1);
        unsigned i = found.n % P2M_LEAF_GFNS;

        leaf = base_leaf_of(base, found);
        for (; i < P2M_LEAF_GFNS; i = (i | 63) + 1) {
            uint64_t map = view.order != P2M_ORDER_4K
                               ? UINT64_MAX : p2m_leaf_map(&view, i / 64);

            map &= leaf != NULL ? ~leaf->began[i / 64] : UINT64_MAX;
            map = map >> i % 64 << i % 64;
            if (map != 0) {
                i = (i & ~63u) + (unsigned)__builtin_ctzll(map);
                base->gfn = GFN(first + i);
                return true;
            }
        }
        base->gfn = GFN(first + P2M_LEAF_GFNS);
        if (++*looked == 16) {
            return false;
        }
    }
    base->gfn = GFN(UINT64_C(1) << P2M_GFN_BITS);
    return false;
}

static uint64_t nr_entries(const struct p2m *p)
{
    uint64_t nr = 0;

    for (unsigned t = 0; t < NR_P2M_TYPES; t++) {
        nr += share_read(&p->count[t]);
    }
    return nr;
}

/* What there was not. The cursor is the gfn. */
static int remove_additions(struct p2m *p, drop_fn *drop, struct work *w)
{
    struct share_base *base = p->base;
    int err = 0;

    while (err == 0 && base->gfn.n >> P2M_GFN_BITS == 0) {
        unsigned looked = 0;
        struct p2m_batch b;

        p2m_batch_begin(&b, p);
        if (p->no_users) {
            err = -ESRCH;
        } else if (nr_entries(p) <= base->nr_gfns) {
            base->gfn = GFN(UINT64_C(1) << P2M_GFN_BITS);
        } else if (find_addition(p, base, &looked)) {
            err = p2m_batch_reserve(&b, base->gfn, 1, P2M_ORDER_4K);
            if (err == 0) {
                remove(&b, base->gfn, drop);
                base->gfn.n++;
            }
        }
        p2m_batch_end(&b);
        if (err == 0 &&
            work_spend(w, COST_ADDITION + (int64_t)looked * COST_LEAF)) {
            err = -ERESTART;
        }
    }
    return err;
}

int share_rewind(struct p2m *p, drop_fn *drop, uint64_t *pages,
                 struct work *w)
{
    int err;

    if (p->base == NULL) {
        return -EINVAL;
    }
    err = rewind_saved(p, drop, pages, w);
    if (err == 0) {
        err = remove_additions(p, drop, w);
    }
    if (err != -ERESTART) {
        p->base->cursor = 0;
        p->base->gfn = GFN(0);
    }
    return err;
}
