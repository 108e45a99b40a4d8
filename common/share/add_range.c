/*
 * add_range.c - mapping each shared frame behind a range of gfns at the
 * corresponding hole of another physmap: what a domain that starts as a copy
 * of another needs.
 *
 * As in add_physmap.c no two p2m locks are needed at once: under the source's
 * the records of a chunk are looked up and referenced; under the client's
 * each is taken as it is then. A frame that somebody unshared in between has
 * another handle; it is looked up again.
 */
#include "shared_frame.h"

#define COST_ADD 800        /* units: one gfn, its lookup included */
/* Gfns under one taking of each p2m lock: a slice's, for the next looks again. */
#define CHUNK (WORK_SLICE_BULK / COST_ADD)

/* A record with a reference, and the handle it had when it was looked up. */
struct held {
    struct shared_frame *sf;
    share_handle_t handle;
};

/* The records behind up to @nr gfns; how many before one that has none. */
static unsigned collect(struct p2m *p, gfn_t gfn, unsigned nr,
                        struct held *out, int *err)
{
    unsigned n;

    spin_lock(&p->lock);
    for (n = 0; n < nr; n++) {
        struct p2m_entry e = p2m_lookup_locked(p, gfn_add(gfn, n));
        struct shared_frame *sf = shared_frame_at(&e);

        if (sf == NULL) {
            *err = e.type == p2m_invalid ? -ENOENT : -EINVAL;
            break;
        }
        shared_frame_get(sf);
        out[n] = (struct held){ sf, sf->link.handle };
    }
    spin_unlock(&p->lock);
    return n;
}

/* Under the p2m lock. -ENOEXEC: look the source up again. */
static int add_one(struct p2m_batch *b, const struct held *h, gfn_t gfn)
{
    struct shared_frame *sf = h->sf;
    int err = 0;

    if (p2m_batch_lookup(b, gfn).type != p2m_invalid) {
        return -EBUSY;
    }
    spin_lock(&sf->lock);
    if (sf->link.handle != h->handle) {
        err = -ENOEXEC;
    } else if (sf->role == SHARED_CLIENT) {
        err = -EAGAIN;
    } else {
        err = shared_frame_hold(sf);
    }
    if (err == 0) {
        err = rmap_insert(&sf->rmap,
                          (struct rmap_pair){ b->p2m->owner, gfn });
        if (err != 0) {
            BUG_ON(shared_frame_release(sf));   /* there are other sharers */
        }
    }
    if (err == 0) {
        p2m_set(b, gfn, shared_mfn(sf), P2M_ORDER_4K, p2m_ram_shared);
    }
    spin_unlock(&sf->lock);
    return err;
}

/* Add up to @nr of what is held; *@done counts. -ERESTART: the slice is over. */
static int add_held(struct p2m *p, const struct held *h, gfn_t gfn,
                    unsigned nr, uint64_t *done, struct work *w)
{
    struct p2m_batch b;
    unsigned i = 0;
    int err;

    p2m_batch_begin(&b, p);
    err = p2m_batch_reserve(&b, gfn, nr, P2M_ORDER_4K);
    while (err == 0 && i < nr) {
        err = add_one(&b, &h[i], gfn_add(gfn, i));
        if (err == 0) {
            i++;
            err = work_spend(w, COST_ADD) ? -ERESTART : 0;
        }
    }
    p2m_batch_end(&b);
    share_count(&share_totals.added, i);
    share_count(&share_totals.add_physmaps, i);
    *done += i;
    return err;
}

static int add_chunk(struct p2m *sp, gfn_t sgfn, struct p2m *cp, gfn_t cgfn,
                     uint64_t nr, uint64_t *done, struct work *w)
{
    struct held held[CHUNK];
    uint64_t before = *done;
    int missing = 0, err = 0;
    unsigned n = collect(sp, sgfn, (unsigned)MIN(nr, CHUNK), held, &missing);

    if (n > 0) {
        err = add_held(cp, held, cgfn, n, done, w);
    }
    for (unsigned i = 0; i < n; i++) {
        shared_frame_put(held[i].sf);
    }
    if (err == -ENOEXEC && *done != before) {
        err = 0;                /* the next chunk looks it up again */
    }
    /* The refusal of the gfn after the last held one is for its own chunk. */
    return n > 0 ? err : missing;
}

int share_add_range(struct p2m *sp, gfn_t sgfn, struct p2m *cp, gfn_t cgfn,
                    uint64_t nr, uint64_t *done, struct work *w)
{
    uint64_t end = UINT64_C(1) << P2M_GFN_BITS;

    if (nr > end || sgfn.n > end - nr || cgfn.n > end - nr) {
        return -ERANGE;
    }
    if (sp->trust_group != cp->trust_group) {
        return -EPERM;
    }
    while (*done < nr) {
        int err = add_chunk(sp, gfn_add(sgfn, *done), cp,
                            gfn_add(cgfn, *done), nr - *done, done, w);

        if (err != 0 && !(err == -ERESTART && *done == nr)) {
            return err;
        }
    }
    return 0;
}
