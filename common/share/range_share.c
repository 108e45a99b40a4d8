/*
 * range_share.c - XENMEM_sharing_op_range_share: a range of one domain's gfns
 * is shared with a range of another's (or its own), pair by pair.
 *
 * What is usual goes by chunks, under both p2m locks: the client's page is
 * private, the source's private or shared already.
 *
 *     prepare  per pair: a record, or the source's; the client's gfn in its
 *              rmap. The only step that allocates
 *     freeze   both pages read-only; one flush for the chunk
 *     count    who else has a page? Then its pair is undone: refused
 *     swap     the client's gfns map the source's frames; one flush
 *     free     the client's frames
 *
 * So the client's page never gets a record and a handle of its own, which
 * would be dead a moment later. Superpages, clients that are shared with
 * others: one at a time, by nominate, nominate and share.
 */
#include "shared_frame.h"

#define CHUNK 8             /* pairs under one taking of the locks */
#define COST_PAIR 1100       /* units: one pair of a chunk */
#define COST_CHUNK 900      /* units: locks and flushes of a chunk */
#define COST_SINGLE 6000    /* units: one pair on its own */

struct chunk {
    struct p2m_batch batch[2];
    struct p2m_batch *s, *c;    /* one batch, if there is but one p2m */
    gfn_t sgfn, cgfn;
    unsigned nr;
    uint64_t all, fresh, good;  /* maps: [0, nr); the record is new and not
                                 * linked yet; came through */
    struct shared_frame *sf[CHUNK];
    mfn_t source[CHUNK], client[CHUNK];     /* frames; clients' until now */
};
static_assert(CHUNK < 64, "a bit each");

static void begin(struct chunk *k, struct p2m *sp, struct p2m *cp)
{
    bool is_source_first = sp->lock.key < cp->lock.key;

    k->s = &k->batch[0];
    k->c = sp == cp ? k->s : &k->batch[1];
    p2m_batch_begin(is_source_first ? k->s : k->c, is_source_first ? sp : cp);
    if (sp != cp) {
        p2m_batch_begin(is_source_first ? k->c : k->s,
                        is_source_first ? cp : sp);
    }
}

static void flush(struct chunk *k)
{
    p2m_batch_flush(k->s);
    if (k->c != k->s) {
        p2m_batch_flush(k->c);
    }
}

static void end(struct chunk *k)
{
    p2m_batch_end(k->s);
    if (k->c != k->s) {
        p2m_batch_end(k->c);
    }
}

/* The record of pair @i: the source's, or a new one. -EAGAIN: its page is not
 * one of the usual, or in somebody else's merge. */
static int prepare_record(struct chunk *k, unsigned i,
                          const struct p2m_entry *se)
{
    struct rmap_pair source = { k->s->p2m->owner, gfn_add(k->sgfn, i) };
    struct rmap_pair client = { k->c->p2m->owner, gfn_add(k->cgfn, i) };
    int err;

    if (se->type == p2m_ram_shared) {
        k->sf[i] = shared_frame_at(se);
        return shared_frame_insert(k->sf[i], client);
    }
    if (share_check_private(k->s->p2m, se) != 0) {
        return -EAGAIN;
    }
    k->sf[i] = shared_frame_alloc(se->mfn, source);
    if (k->sf[i] == NULL) {
        return -ENOMEM;
    }
    err = rmap_insert(&k->sf[i]->rmap, client);
    if (err != 0) {
        shared_frame_put(k->sf[i]);
        return err;
    }
    k->fresh |= UINT64_C(1) << i;
    return 0;
}

/* Up to @nr pairs; an error is the next one's. */
static int prepare(struct chunk *k, unsigned nr)
{
    struct p2m_entry se[CHUNK], ce[CHUNK];
    int err = 0;

    nr = p2m_read_neighbours(k->s, k->sgfn, nr, se);
    nr = p2m_read_neighbours(k->c, k->cgfn, nr, ce);
    for (unsigned i = 0; err == 0 && i < nr; i++) {
        err = share_check_private(k->c->p2m, &ce[i]) != 0
                  ? -EAGAIN : prepare_record(k, i, &se[i]);
        if (err == 0) {
            k->source[i] = se[i].mfn;
            k->client[i] = ce[i].mfn;
            k->nr++;
        }
    }
    k->all = (UINT64_C(1) << k->nr) - 1;
    return k->nr == 0 && err == 0 ? -EAGAIN : err;
}

static void freeze(struct chunk *k)
{
    if (k->fresh != 0) {    /* to the others it changes nothing */
        p2m_set_neighbours(k->s, k->sgfn, k->nr, p2m_ram_shared, k->source, 1);
    }
    p2m_set_neighbours(k->c, k->cgfn, k->nr, p2m_ram_shared, k->client, 1);
    flush(k);
}

/* Which pairs are nobody else's business; the fresh ones are published. */
static void count(struct chunk *k)
{
    struct shared_frame *fresh[CHUNK];
    uint64_t good = k->all, published = 0;

    for (unsigned i = 0; i < k->nr; i++) {
        if (!frame_is_exclusive(mfn_to_frame(k->client[i]))) {
            good &= ~(UINT64_C(1) << i);
        }
        fresh[i] = (k->fresh & good) >> i & 1 ? k->sf[i] : NULL;
    }
    if (k->fresh != 0) {
        published = shared_frames_publish(fresh, k->nr, k->s->p2m->owner);
    }
    k->good = good & (published | ~k->fresh);
}

/* Somebody else has a page of pair @i: all as it was. */
static void undo(struct chunk *k, unsigned i)
{
    gfn_t cgfn = gfn_add(k->cgfn, i);

    p2m_set(k->c, cgfn, k->client[i], P2M_ORDER_4K, p2m_ram_rw);
    if (k->fresh >> i & 1) {
        p2m_set(k->s, gfn_add(k->sgfn, i), k->source[i], P2M_ORDER_4K,
                p2m_ram_rw);
        shared_frame_put(k->sf[i]);
    } else {
        shared_frame_remove(k->sf[i], (struct rmap_pair){ k->c->p2m->owner,
                                                          cgfn });
    }
}

/* Returns how many pairs came through. */
static unsigned swap(struct chunk *k)
{
    unsigned good = 0;

    if (k->good == k->all) {
        p2m_set_neighbours(k->c, k->cgfn, k->nr, p2m_ram_shared, k->source, 1);
    } else {
        for (unsigned i = 0; i < k->nr; i++) {
            if (k->good >> i & 1) {
                p2m_set(k->c, gfn_add(k->cgfn, i), k->source[i],
                        P2M_ORDER_4K, p2m_ram_shared);
            } else {
                undo(k, i);
            }
        }
    }
    flush(k);
    for (unsigned i = 0; i < k->nr; i++) {
        if (k->good >> i & 1) {
            frame_put_allocated(mfn_to_frame(k->client[i]));
            good++;
        }
    }
    return good;
}

/* As many pairs as are usual, from r->done on. -EAGAIN: not even one. */
static int share_chunk(struct p2m *sp, gfn_t sgfn, struct p2m *cp, gfn_t cgfn,
                       uint64_t nr, struct share_range *r)
{
    unsigned good, most = (unsigned)MIN(nr - r->done, CHUNK);
    struct chunk k;
    int err = -ESRCH;

    if (sp == cp) {         /* no gfn twice in one chunk */
        most = (unsigned)MIN(most, sgfn.n > cgfn.n ? sgfn.n - cgfn.n
                                                   : cgfn.n - sgfn.n);
    }
    k.sgfn = gfn_add(sgfn, r->done);
    k.cgfn = gfn_add(cgfn, r->done);
    k.nr = 0;
    k.fresh = 0;
    begin(&k, sp, cp);
    if (!sp->no_users && !cp->no_users) {
        err = prepare(&k, most);
    }
    if (k.nr != 0) {
        freeze(&k);
        count(&k);
        good = swap(&k);
        share_count(&share_totals.nominates, 2 * good);
        share_count(&share_totals.shares, good);
        r->shared += good;
        r->refused += k.nr - good;
        r->done += k.nr;
        err = err == -EAGAIN ? 0 : err;
    }
    end(&k);
    return err;
}

/* One pair: what is wrong with it alone is counted, the rest is an error. */
static int share_single(struct p2m *sp, gfn_t sgfn, struct p2m *cp, gfn_t cgfn,
                        struct share_range *r, struct work *w)
{
    int err = 0;

    if (!r->merge.started) {
        err = share_nominate(sp, sgfn, &r->sh);
        if (err == 0) {
            err = share_nominate(cp, cgfn, &r->ch);
        }
    }
    if (err == 0) {
        err = share_frames(sp, sgfn, r->sh, cp, cgfn, r->ch, &r->merge, w);
    }
    if (err == -ERESTART || err == -ENOMEM || err == -ESRCH) {
        return err;
    }
    r->shared += err == 0;
    r->already += err == -EEXIST;
    r->refused += err != 0 && err != -EEXIST;
    r->done++;
    return 0;
}

static bool fits(gfn_t gfn, uint64_t nr)
{
    uint64_t end = UINT64_C(1) << P2M_GFN_BITS;

    return gfn.n < end && nr <= end - gfn.n;
}

int share_range(struct p2m *sp, gfn_t sgfn, struct p2m *cp, gfn_t cgfn,
                uint64_t nr, struct share_range *r, struct work *w)
{
    if (sp->trust_group != cp->trust_group) {
        return -EPERM;
    }
    if (nr != 0 && (!fits(sgfn, nr) || !fits(cgfn, nr))) {
        return -ERANGE;
    }
    while (r->done < nr) {
        uint64_t before = r->done;
        int64_t cost;
        int err = -EAGAIN;

        if (!r->merge.started) {
            err = share_chunk(sp, sgfn, cp, cgfn, nr, r);
        }
        cost = COST_CHUNK + (int64_t)(r->done - before) * COST_PAIR;
        if (err == -EAGAIN) {
            err = share_single(sp, gfn_add(sgfn, r->done), cp,
                               gfn_add(cgfn, r->done), r, w);
            cost += COST_SINGLE;
        }
        if (err != 0) {
            return err;
        }
        if (work_spend(w, cost) && r->done < nr) {
            return -ERESTART;
        }
    }
    return 0;
}

void share_range_abort(struct share_range *r)
{
    share_merge_abort(&r->merge);
}
