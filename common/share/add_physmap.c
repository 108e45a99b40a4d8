/*
 * add_physmap.c - mapping a shared frame at holes of another physmap.
 *
 * The source is found under its p2m's lock and then only held on to by a
 * reference to its record, so that no two p2m locks are ever needed at once;
 * under the client's p2m lock and the page lock its handle is checked again.
 */
#include "shared_frame.h"

#define CHUNK 64            /* gfns under one taking of the locks; a group */
#define COST_ADD 450        /* units: one gfn by itself */
#define COST_RESERVE 420    /* units: its tables looked for, too */
#define COST_GROUPED 80     /* units: one of a group */
#define COST_GROUP 500      /* units: the group */

/* The record that @sh names behind @gfn, with a reference; or NULL. */
static struct shared_frame *find_source(struct p2m *p, gfn_t gfn,
                                        share_handle_t sh)
{
    struct shared_frame *sf;
    struct p2m_entry e;

    spin_lock(&p->lock);
    e = p2m_lookup_locked(p, gfn);
    sf = shared_frame_at(&e);
    if (sf != NULL && sf->link.handle == sh) {
        shared_frame_get(sf);
    } else {
        sf = NULL;
    }
    spin_unlock(&p->lock);
    return sf;
}

/* Under the p2m lock and the page lock. */
static int add_one(struct p2m_batch *b, struct shared_frame *sf, gfn_t gfn)
{
    int err;

    if (p2m_batch_lookup(b, gfn).type != p2m_invalid) {
        return -EBUSY;
    }
    err = shared_frame_hold(sf);
    if (err != 0) {
        return err;
    }
    err = rmap_insert(&sf->rmap, (struct rmap_pair){ b->p2m->owner, gfn });
    if (err != 0) {
        BUG_ON(shared_frame_release(sf));   /* there are other sharers */
        return err;
    }
    p2m_set(b, gfn, shared_mfn(sf), P2M_ORDER_4K, p2m_ram_shared);
    return 0;
}

/* What one call is to do: @nr gfns from @gfn, @stride apart. */
struct addition {
    share_handle_t handle;
    gfn_t gfn;
    uint64_t nr, stride;
};

/* How many go next: of neighbours, those of one group of the rmap. A group has
 * no preemption point, so a small budget makes a small one. */
static uint64_t next_chunk(const struct addition *a, uint64_t done,
                           const struct work *w)
{
    uint64_t nr = MIN(a->nr - done, CHUNK);

    if (a->stride == 1) {
        nr = MIN(nr, CHUNK - (a->gfn.n + done) % CHUNK);
        if (w != NULL && w->left < (int64_t)(nr * COST_GROUPED)) {
            nr = w->left < COST_GROUPED
                     ? 1 : (uint64_t)w->left / COST_GROUPED;
        }
    }
    return nr;
}

/* Add the holes from @gfn on, up to @nr in one group, all at once: returns how
 * many. 0: the first is none, or there is a reason that adding it alone
 * tells. Both locks are held. */
static uint64_t add_group(struct p2m_batch *b, struct shared_frame *sf,
                          gfn_t gfn, uint64_t nr)
{
    mfn_t mfn = shared_mfn(sf);
    struct p2m_entry e;
    gfn_t used;

    if (p2m_next(b->p2m, gfn, gfn_add(gfn, nr), &used, &e)) {
        nr = used.n - gfn.n;
    }
    if (nr == 0 || frame_get_many(shared_frame_frame(sf), (uint32_t)nr) != 0) {
        return 0;
    }
    if (rmap_insert_group(&sf->rmap, b->p2m->owner, gfn.n / CHUNK,
                          UINT64_MAX >> (64 - nr) << gfn.n % CHUNK) != 0) {
        /* There are other sharers. */
        BUG_ON(shared_frame_release_many(sf, (uint32_t)nr));
        return 0;
    }
    p2m_set_neighbours(b, gfn, (unsigned)nr, p2m_ram_shared, &mfn, 0);
    return nr;
}

/* Add up to CHUNK of them; *@done counts. -ERESTART: the slice is over. */
static int add_chunk(struct p2m *p, struct shared_frame *sf,
                     const struct addition *a, uint64_t *done, struct work *w)
{
    gfn_t gfn = gfn_add(a->gfn, *done * a->stride);
    uint64_t nr = next_chunk(a, *done, w), i = 0;
    struct p2m_batch b;
    int err = 0;

    p2m_batch_begin(&b, p);
    /* Neighbours have their tables reserved together. */
    if (a->stride == 1) {
        err = p2m_batch_reserve(&b, gfn, nr, P2M_ORDER_4K);
    }
    spin_lock(&sf->lock);
    if (err == 0 && sf->link.handle != a->handle) {
        err = -ENOEXEC;
    } else if (err == 0 && sf->role == SHARED_CLIENT) {
        err = -EAGAIN;
    }
    if (err == 0 && a->stride == 1 && nr > 1) {
        i = add_group(&b, sf, gfn, nr);
        gfn = gfn_add(gfn, i);
        if (i != 0 && work_spend(w, COST_GROUP + (int64_t)i * COST_GROUPED)) {
            err = -ERESTART;
        }
    }
    while (err == 0 && i < nr) {
        if (a->stride != 1) {
            err = p2m_batch_reserve(&b, gfn, 1, P2M_ORDER_4K);
        }
        if (err == 0) {
            err = add_one(&b, sf, gfn);
        }
        if (err == 0) {
            i++;
            gfn = gfn_add(gfn, a->stride);
            err = work_spend(w, a->stride == 1 ? COST_ADD
                                               : COST_ADD + COST_RESERVE)
                      ? -ERESTART : 0;
        }
    }
    share_count(&share_totals.added, i);
    share_count(&share_totals.add_physmaps, i);
    spin_unlock(&sf->lock);
    p2m_batch_end(&b);
    *done += i;
    return err;
}

int share_add_physmap_range(struct p2m *sp, gfn_t sgfn, share_handle_t sh,
                            struct p2m *cp, gfn_t cgfn, uint64_t nr,
                            uint64_t stride, uint64_t *done, struct work *w)
{
    struct addition a = { sh, cgfn, nr, stride };
    uint64_t room = (UINT64_C(1) << P2M_GFN_BITS) - 1;

    if (nr > 1 && stride == 0) {
        return -EINVAL;
    }
    if (sp->trust_group != cp->trust_group) {
        return -EPERM;
    }
    if (nr > 0 && (cgfn.n > room ||
                   (nr > 1 && nr - 1 > (room - cgfn.n) / stride))) {
        return -ERANGE;
    }
    while (*done < nr) {
        struct shared_frame *sf = find_source(sp, sgfn, sh);
        int err;

        if (sf == NULL) {
            return -ENOEXEC;
        }
        err = add_chunk(cp, sf, &a, done, w);
        shared_frame_put(sf);
        if (err != 0 && !(err == -ERESTART && *done == nr)) {
            return err;
        }
    }
    return 0;
}

int share_add_physmap(struct p2m *sp, gfn_t sgfn, share_handle_t sh,
                      struct p2m *cp, gfn_t cgfn)
{
    uint64_t done = 0;

    return share_add_physmap_range(sp, sgfn, sh, cp, cgfn, 1, 1, &done, NULL);
}
