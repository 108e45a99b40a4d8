/*
 * range_share.c - XENMEM_sharing_op_range_share: a range of one domain's gfns
 * is shared with a range of another's (or its own), pair by pair.
 *
 * What is usual goes by chunks, under both p2m locks: the client's page is
 * private, the source's private or shared already.
 *
 *     prepare   per pair: a record, or the source's; the client's gfn in its
 *               rmap. The only step that allocates
 *     nominate  the sources read-only, one flush; who else has one? Then its
 *               pair is undone: refused
 *     remap     the clients' gfns map the sources' frames, one flush; who else
 *               has a client's page? Back, and refused
 *     free      the clients' frames, together
 *
 * So the client's page never gets a record and a handle of its own, which
 * would be dead a moment later, and is never read-only: it is the client's
 * until the gfn maps the other. Superpages, clients that are shared with
 * others: one at a time, by nominate, nominate and share.
 */
#include "shared_frame.h"

#include <quire/bitmap.h>

#define CHUNK 16            /* pairs under one taking of the locks */
#define COST_PAIR 600       /* units: one pair of a chunk */
#define COST_CHUNK 800      /* units: locks and flushes of a chunk */
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

#define for_each_pair(i, map) \
    for (uint64_t left_ = (map); \
         left_ != 0 && ((i) = (unsigned)__builtin_ctzll(left_), true); \
         left_ &= left_ - 1)

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

static void end(struct chunk *k)
{
    p2m_batch_end(k->s);
    if (k->c != k->s) {
        p2m_batch_end(k->c);
    }
}

/* What share_check_private() lets pass, and nearly always finds. */
fast_path bool is_usual(const struct p2m *p, const struct p2m_entry *e)
{
    const struct frame *f;

    if (e->type != p2m_ram_rw || !mfn_is_ram(e->mfn)) {
        return false;
    }
    f = mfn_to_frame(e->mfn);
    return frame_owner(f) == p->owner && frame_is_exclusive(f);
}

/* A record with both pairs. */
static struct shared_frame *alloc_record(mfn_t mfn, struct rmap_pair source,
                                         struct rmap_pair client)
{
    struct shared_frame *sf;

    if (gfn_eq(source.gfn, client.gfn)) {
        return shared_frame_alloc_two(mfn, source.gfn, source.domain,
                                      client.domain);
    }
    sf = shared_frame_alloc(mfn, source);
    if (sf != NULL && rmap_insert(&sf->rmap, client) != 0) {
        shared_frame_put(sf);
        return NULL;
    }
    return sf;
}

/* The record of pair @i: the source's, or a new one. -EAGAIN: its page is not
 * one of the usual, or in somebody else's merge. */
static int prepare_record(struct chunk *k, unsigned i,
                          const struct p2m_entry *se)
{
    struct rmap_pair source = { k->s->p2m->owner, gfn_add(k->sgfn, i) };
    struct rmap_pair client = { k->c->p2m->owner, gfn_add(k->cgfn, i) };

    if (se->type == p2m_ram_shared) {
        k->sf[i] = shared_frame_at(se);
        return shared_frame_insert(k->sf[i], client);
    }
    if (!is_usual(k->s->p2m, se)) {
        return -EAGAIN;
    }
    k->sf[i] = alloc_record(se->mfn, source, client);
    if (k->sf[i] == NULL) {
        return -ENOMEM;
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
        err = is_usual(k->c->p2m, &ce[i]) ? prepare_record(k, i, &se[i])
                                          : -EAGAIN;
        if (err == 0) {
            k->source[i] = se[i].mfn;
            k->client[i] = ce[i].mfn;
            k->nr++;
        }
    }
    k->all = (UINT64_C(1) << k->nr) - 1;
    return k->nr == 0 && err == 0 ? -EAGAIN : err;
}

/* The sources that are private become shared; where somebody else has one,
 * its pair is as it was. */
static void nominate(struct chunk *k)
{
    struct shared_frame *fresh[CHUNK];
    uint64_t refused;
    unsigned i;

    k->good = k->all;
    if (k->fresh == 0) {
        return;
    }
    /* To those that are shared it changes nothing. */
    p2m_set_neighbours(k->s, k->sgfn, k->nr, p2m_ram_shared, k->source, 1);
    p2m_batch_flush(k->s);
    for (i = 0; i < k->nr; i++) {
        fresh[i] = (k->fresh >> i & 1) != 0 ? k->sf[i] : NULL;
    }
    refused = k->fresh & ~shared_frames_publish(fresh, k->nr,
                                                k->s->p2m->owner);
    for_each_pair(i, refused) {
        p2m_set(k->s, gfn_add(k->sgfn, i), k->source[i], P2M_ORDER_4K,
                p2m_ram_rw);
        shared_frame_put(k->sf[i]);
    }
    k->good &= ~refused;
}

/* The good ones of the clients' gfns map the sources' frames. */
static void set_clients(struct chunk *k)
{
    unsigned i;

    if (likely(k->good == k->all)) {
        p2m_set_neighbours(k->c, k->cgfn, k->nr, p2m_ram_shared, k->source, 1);
        return;
    }
    for_each_pair(i, k->good) {
        p2m_set(k->c, gfn_add(k->cgfn, i), k->source[i], P2M_ORDER_4K,
                p2m_ram_shared);
    }
}

/* Whoever takes a reference by a lookup looks again afterwards: after a flush
 * either we see the reference, or it sees that the entry has changed. */
static uint64_t find_used(const struct chunk *k)
{
    uint64_t used = 0;
    unsigned i;

    for_each_pair(i, k->good) {
        if (!frame_is_exclusive(mfn_to_frame(k->client[i]))) {
            used |= UINT64_C(1) << i;
        }
    }
    return used;
}

/* What is @used stays the client's. No processor may read the source through
 * its gfn when the pair leaves. */
static void remap(struct chunk *k)
{
    domid_t owner = k->c->p2m->owner;
    uint64_t used;
    unsigned i;

    set_clients(k);
    p2m_batch_flush(k->c);
    used = find_used(k);
    for_each_pair(i, used) {
        p2m_set(k->c, gfn_add(k->cgfn, i), k->client[i], P2M_ORDER_4K,
                p2m_ram_rw);
    }
    p2m_batch_flush(k->c);
    for_each_pair(i, used) {
        struct rmap_pair pair = { owner, gfn_add(k->cgfn, i) };

        (void)shared_frame_remove(k->sf[i], pair);
    }
    k->good &= ~used;
    /* Who has taken one since has seen the change, and puts it back. */
    for_each_pair(i, frame_free_group(owner, k->client, k->good)) {
        frame_put_allocated(mfn_to_frame(k->client[i]));
    }
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
        nominate(&k);
        remap(&k);
        good = bits_count(k.good);
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
        r->is_new[0] = r->is_new[1] = false;
        err = share_nominate_new(sp, sgfn, &r->sh, &r->is_new[0]);
        if (err == 0 && sp == cp && gfn_eq(sgfn, cgfn)) {
            r->ch = r->sh;      /* one page: nominated once */
        } else if (err == 0) {
            err = share_nominate_new(cp, cgfn, &r->ch, &r->is_new[1]);
        }
    }
    if (err == 0) {
        err = share_frames(sp, sgfn, r->sh, cp, cgfn, r->ch, &r->merge, w);
    }
    if (err == -ERESTART) {
        return err;
    }
    if (err != 0 && r->is_new[0]) {
        share_withdraw(sp, sgfn, r->sh);
    }
    if (err != 0 && r->is_new[1]) {
        share_withdraw(cp, cgfn, r->ch);
    }
    if (err == -ENOMEM || err == -ESRCH) {
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

/* What a shadow maps very often is to be mapped less first. */
static int prepare_chunk(struct p2m *sp, gfn_t sgfn, struct p2m *cp,
                         gfn_t cgfn, uint64_t nr, struct work *w)
{
    int err = p2m_prepare(sp, sgfn, MIN(nr, CHUNK), w);

    return err != 0 ? err : p2m_prepare(cp, cgfn, MIN(nr, CHUNK), w);
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
            err = prepare_chunk(sp, gfn_add(sgfn, before), cp,
                                gfn_add(cgfn, before), nr - before, w);
            if (err != 0) {
                return err;
            }
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
