/*
 * clone.c - sharing all of one p2m with another, a run of neighbours at a
 * time.
 *
 *     both p2m locks, ascending
 *     for each gfn of the run:  private: a record with both pairs
 *                               shared:  the clone's pair into its rmap
 *     the source's private entries become ram_shared; one flush
 *     the records are published (whoever has a reference is seen now)
 *     the clone's entries are set
 *
 * A page that somebody holds, or that a merge is taking apart, is copied
 * instead: the copy is a shared frame whose only sharer is the clone.
 */
#include "base.h"

#include <quire/arch.h>
#include <quire/bitmap.h>
#include <quire/heap.h>
#include <quire/page_alloc.h>
#include <quire/string.h>

#define RUN 32              /* gfns under one taking of the locks */
#define RUN_COST_MIN 3000   /* units: for less no run is begun in a slice */
/* Units, measured under -icount; a sharer more may make a reverse map grow. */
#define COST_RUN 1200
#define COST_NEW 420
#define COST_JOIN 230
#define COST_COPY 3500
#define COST_SPLIT 5000
#define COST_UNDO 700
#define HOLDERS_MAX (UINT32_MAX / 2)

struct clone_run {
    struct p2m_batch from, to;
    struct p2m_leaf leaf;           /* of the source */
    struct base_leaf *base;
    unsigned nr;
    uint16_t index[RUN];            /* gfn - leaf.first */
    mfn_t mfn[RUN];
    struct shared_frame *fresh[RUN];    /* to publish; NULL: was shared */
    unsigned nr_fresh;
    int64_t cost, budget;
};

/* Both batches; their locks ascend with the owners' ids. */
static void run_begin(struct clone_run *r, struct p2m *from, struct p2m *to)
{
    if (from->owner < to->owner) {
        p2m_batch_begin(&r->from, from);
        p2m_batch_begin(&r->to, to);
    } else {
        p2m_batch_begin(&r->to, to);
        p2m_batch_begin(&r->from, from);
    }
    r->nr = r->nr_fresh = 0;
    r->cost = COST_RUN;
}

static void run_end(struct clone_run *r)
{
    p2m_batch_end(&r->to);
    p2m_batch_end(&r->from);
}

/* Whether a page of @p that is ram_rw is nobody else's. */
static bool is_free_to_share(const struct p2m *p, mfn_t mfn)
{
    const struct frame *f = mfn_to_frame(mfn);

    return mfn_is_ram(mfn) && frame_owner(f) == p->owner &&
           frame_is_exclusive(f);
}

/* As shared_frame_hold(), of a frame that its other holders keep as it is and
 * that has room for one more: both counts, and no question. */
static inline void hold(struct frame *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&f->type, 1, memory_order_relaxed);
}

/* One more sharer of @sf, at the gfn where @from is one. -EAGAIN: it may not
 * have any. */
static int join(struct shared_frame *sf, struct rmap_pair pair, domid_t from)
{
    int err = -EAGAIN;

    spin_lock(&sf->lock);
    if (sf->role != SHARED_CLIENT &&
        frame_refs(shared_frame_frame(sf)) < HOLDERS_MAX) {
        err = rmap_insert_kin(&sf->rmap, pair, from);
        if (err == 0) {
            hold(shared_frame_frame(sf));
        }
    }
    spin_unlock(&sf->lock);
    return err;
}

/* Take entry @i of the leaf, a page, into the run. -EAGAIN: it must be
 * copied. */
static int take(struct clone_run *r, unsigned i, mfn_t mfn, bool is_shared)
{
    gfn_t gfn = gfn_add(r->leaf.first, i);
    domid_t to = r->to.p2m->owner;
    struct shared_frame *sf = NULL;

    if (is_shared) {
        int err = join(mfn_to_frame(mfn)->user, (struct rmap_pair){ to, gfn },
                       r->from.p2m->owner);

        if (err != 0) {
            return err;
        }
        r->cost += COST_JOIN;
    } else {
        if (!is_free_to_share(r->from.p2m, mfn)) {
            return -EAGAIN;
        }
        sf = shared_frame_alloc_two(mfn, gfn, r->from.p2m->owner, to);
        if (sf == NULL) {
            return -ENOMEM;
        }
        r->nr_fresh++;
        r->cost += COST_NEW;
    }
    r->index[r->nr] = (uint16_t)i;
    r->mfn[r->nr] = mfn;
    r->fresh[r->nr++] = sf;
    return 0;
}

/* Up to RUN gfns of one word of the table, from *@i on; *@i: the next, or the
 * one that there is an error with. */
static int take_some(struct clone_run *r, unsigned *i)
{
    unsigned word = *i / 64, end = MIN(*i + RUN, (*i | 63) + 1);
    uint64_t map = p2m_leaf_map(&r->leaf, word) >> *i % 64 << *i % 64;
    uint64_t shared, todo;
    mfn_t mfn[64];

    map &= UINT64_MAX >> (64 * (word + 1) - end);
    todo = p2m_leaf_pages(&r->leaf, word, map, mfn, &shared) | shared;
    for (; todo != 0 && r->nr < RUN; todo &= todo - 1) {
        unsigned bit = (unsigned)__builtin_ctzll(todo);
        int err;

        *i = word * 64 + bit;
        if (r->cost >= r->budget) {
            return 0;
        }
        err = take(r, *i, mfn[bit], (shared >> bit & 1) != 0);
        if (err != 0) {
            return err;
        }
        ++*i;
    }
    *i = todo != 0 ? *i : end;
    return 0;
}

/* A frame of the clone's own with what is in @mfn now, shared by it alone. */
static int copy_held(struct clone_run *r, struct share_clone *c, unsigned i,
                     mfn_t mfn)
{
    struct p2m *to = r->to.p2m;
    gfn_t gfn = gfn_add(r->leaf.first, i);
    struct shared_frame *sf;
    struct frame *f;

    if (c->held != NULL && !c->held(c->arg, gfn, mfn)) {
        return 0;
    }
    f = page_alloc_owned(to->owner, 0);
    if (f == NULL) {
        return -ENOMEM;
    }
    page_copy(arch_map_frame(frame_to_mfn(f)), arch_map_frame(mfn));
    sf = shared_frame_alloc(frame_to_mfn(f),
                            (struct rmap_pair){ to->owner, gfn });
    if (sf == NULL || shared_frame_publish(sf) != 0) {
        if (sf != NULL) {
            shared_frame_put(sf);
        }
        frame_put_allocated(f);
        return -ENOMEM;
    }
    p2m_set(&r->to, gfn, frame_to_mfn(f), P2M_ORDER_4K, p2m_ram_shared);
    r->base->began[i / 64] |= UINT64_C(1) << i % 64;
    to->base->nr_gfns++;
    c->copied++;
    r->cost += COST_COPY;
    return 0;
}

/* The source's private pages of the run, read-only from here on. */
static void write_protect(struct clone_run *r)
{
    uint16_t index[RUN];
    mfn_t mfn[RUN];
    unsigned nr = 0;

    for (unsigned k = 0; k < r->nr; k++) {
        if (r->fresh[k] != NULL) {
            index[nr] = r->index[k];
            mfn[nr++] = r->mfn[k];
        }
    }
    p2m_set_run(&r->from, r->leaf.first, index, mfn, nr, p2m_ram_shared);
    p2m_batch_flush(&r->from);
}

/* The @k-th of the run was taken by somebody just now: it is private again,
 * and the clone has a copy. */
static int copy_refused(struct clone_run *r, struct share_clone *c, unsigned k)
{
    p2m_set(&r->from, gfn_add(r->leaf.first, r->index[k]), r->mfn[k],
            P2M_ORDER_4K, p2m_ram_rw);
    shared_frame_put(r->fresh[k]);
    return copy_held(r, c, r->index[k], r->mfn[k]);
}

/* Publish the new records. Those of pages that somebody refers to by now
 * leave the run. */
static int publish(struct clone_run *r, struct share_clone *c)
{
    uint64_t done = shared_frames_publish(r->fresh, r->nr,
                                          r->from.p2m->owner);
    unsigned nr = r->nr;
    int err = 0;

    c->shared += bits_count(done);
    share_count(&share_totals.nominates, bits_count(done));
    if (bits_count(done) == r->nr_fresh) {
        return 0;
    }
    r->nr = 0;
    for (unsigned k = 0; k < nr; k++) {
        if (r->fresh[k] != NULL && (done >> k & 1) == 0) {
            int bad = copy_refused(r, c, k);

            err = err != 0 ? err : bad;
        } else {
            r->index[r->nr] = r->index[k];
            r->mfn[r->nr++] = r->mfn[k];
        }
    }
    return err;
}

/* The run's gfns in the clone. */
static void install(struct clone_run *r)
{
    p2m_set_run(&r->to, r->leaf.first, r->index, r->mfn, r->nr,
                p2m_ram_shared);
    for (unsigned k = 0; k < r->nr; k++) {
        r->base->began[r->index[k] / 64] |= UINT64_C(1) << r->index[k] % 64;
    }
    r->to.p2m->base->nr_gfns += r->nr;
}

/* One run from gfn first + @i of a table on; *@i: the next. */
static int run_table(struct clone_run *r, struct share_clone *c, unsigned *i)
{
    unsigned nr_joined;
    int err = 0, late;

    while (*i < P2M_LEAF_GFNS && r->nr < RUN && r->cost < r->budget &&
           err == 0) {
        err = take_some(r, i);
    }
    nr_joined = r->nr - r->nr_fresh;
    if (r->nr_fresh != 0) {
        write_protect(r);
        late = publish(r, c);
        err = late != 0 ? late : err;
    }
    share_count(&share_totals.added, nr_joined);
    install(r);
    if (err == -EAGAIN) {
        err = copy_held(r, c, *i, p2m_leaf_entry(&r->leaf, *i).mfn);
        *i += err == 0;
    }
    return err;
}

/* A superpage is split, and then looked at again as a table; or left out. */
static int split(struct clone_run *r, struct share_clone *c)
{
    struct p2m_entry *e = &r->leaf.whole;
    int err;

    if (e->type != p2m_ram_rw) {
        c->gfn = gfn_add(r->leaf.first, UINT64_C(1) << r->leaf.order);
        return 0;
    }
    err = p2m_batch_reserve(&r->from, r->leaf.first, 1, P2M_ORDER_4K);
    if (err == 0) {
        p2m_set(&r->from, r->leaf.first, e->mfn, P2M_ORDER_4K, p2m_ram_rw);
        r->cost += COST_SPLIT;
    }
    return err;
}

static int clone_some(struct clone_run *r, struct share_clone *c,
                      struct work *w)
{
    unsigned i;
    gfn_t found;
    int err;

    if (r->from.p2m->no_users) {
        return -ESRCH;
    }
    if (!p2m_leaf_find(r->from.p2m, c->gfn, &r->leaf, &found)) {
        c->gfn = GFN(UINT64_C(1) << P2M_GFN_BITS);
        return 0;
    }
    if (r->leaf.order != P2M_ORDER_4K) {
        return split(r, c);
    }
    err = p2m_batch_reserve(&r->to, found, 1, P2M_ORDER_4K);
    if (err == 0 && unlikely(r->from.p2m->has_listeners)) {
        /* Runs are seldom longer. */
        err = p2m_prepare_listeners(r->from.p2m, found, 64, w);
    }
    if (err != 0) {
        return err;
    }
    r->base = base_leaf_add(r->to.p2m->base, r->leaf.first.n, &err);
    if (r->base == NULL) {
        return err;
    }
    i = (unsigned)(found.n - r->leaf.first.n);
    err = run_table(r, c, &i);
    c->gfn = gfn_add(r->leaf.first, i);
    return err;
}

int share_clone_begin(struct share_clone *c, struct p2m *from, struct p2m *to)
{
    struct share_base *base = heap_zalloc(sizeof(*base));
    uint64_t nr = 0;

    if (base == NULL) {
        return -ENOMEM;
    }
    for (unsigned t = 0; t < NR_P2M_TYPES; t++) {
        nr += share_read(&from->count[t]);
    }
    /* A leaf for each table, and for each 2M of a superpage. */
    base->capacity = (uint32_t)(share_read(&from->nr_tables) +
                                nr / P2M_LEAF_GFNS);
    base->leaves = heap_alloc(base->capacity * sizeof(*base->leaves));
    if (base->leaves == NULL) {
        heap_free(base);
        return -ENOMEM;
    }
    c->gfn = c->back = GFN(0);
    c->shared = c->copied = 0;
    c->to = to->owner;
    spin_lock(&to->lock);
    BUG_ON(to->base != NULL);
    to->base = base;
    spin_unlock(&to->lock);
    return 0;
}

int share_clone(struct share_clone *c, struct p2m *from, struct p2m *to,
                struct work *w)
{
    struct clone_run r;
    int err = 0;

    while (err == 0 && c->gfn.n >> P2M_GFN_BITS == 0) {
        run_begin(&r, from, to);
        /* The rest of the slice, and a little more. */
        r.budget = work_rest(w) + RUN_COST_MIN;
        err = clone_some(&r, c, w);
        run_end(&r);
        if (err == 0 &&
            (work_spend(w, r.cost) || work_rest(w) < RUN_COST_MIN) &&
            c->gfn.n >> P2M_GFN_BITS == 0) {
            err = -ERESTART;
        }
    }
    return err;
}

/* Whether @gfn became shared for @fork alone: nobody has nominated it since,
 * nobody shares it. */
static bool is_left_alone(struct p2m *p, gfn_t gfn, domid_t fork)
{
    struct shared_frame *sf;
    struct p2m_entry e;
    bool is_alone;

    spin_lock(&p->lock);
    e = p2m_lookup_locked(p, gfn);
    sf = shared_frame_at(&e);
    is_alone = sf != NULL && sf->made_for == fork &&
               frame_type_count(mfn_to_frame(e.mfn)) == 1;
    spin_unlock(&p->lock);
    return is_alone;
}

int share_unclone(struct share_clone *c, struct p2m *from, struct work *w)
{
    struct p2m_entry e;
    gfn_t gfn;

    while (p2m_next(from, c->back, c->gfn, &gfn, &e)) {
        c->back = gfn_add(gfn, 1);
        if (e.type != p2m_ram_shared) {
            c->back = GFN(((gfn.n >> e.order) + 1) << e.order);
        } else if (is_left_alone(from, gfn, c->to)) {
            /* An error leaves it shared, which is as good. */
            int err = share_unshare(from, gfn);

            (void)err;
        }
        if (work_spend(w, COST_UNDO)) {
            return -ERESTART;
        }
    }
    return 0;
}
