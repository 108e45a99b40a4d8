/*
 * merge.c - share: all sharers of one frame (the client) move onto another
 * (the source).
 *
 *     start   both p2ms, both pages, each pair in order: check the handles,
 *             give the frames their roles and one hold each by the merge
 *     move    page lock: copy up to 64 pairs out. Then, without it, for each
 *             stretch of one domain's pairs: that p2m's lock; per pair look
 *             the entry up again, lock both pages by mfn, move the pair; one
 *             flush for the stretch
 *     end     roles and holds go; a frame left without sharers is freed
 *
 * Between slices nothing is locked. The roles keep the others right: a frame
 * in a merge is never given to its last sharer (that one copies), and the
 * client takes no new sharers, so the merge ends. The merge's hold on the
 * client outlives every flush, so pairs may leave it before theirs.
 */
#include "shared_frame.h"

#define GROUP 64            /* pairs copied out at once */
#define COST_MOVE 500       /* units: one pair */
#define COST_FLUSH 600      /* units: one stretch's lock, flush and unlock */

/* The page locks of both are held. */
static int claim_roles(struct shared_frame *s, struct shared_frame *c)
{
    int err;

    if (s->role != SHARED_IDLE || c->role != SHARED_IDLE) {
        return -EAGAIN;
    }
    err = shared_frame_hold(s);
    if (err != 0) {
        return err;
    }
    err = shared_frame_hold(c);
    if (err != 0) {
        BUG_ON(shared_frame_release(s));    /* it has a sharer at least */
        return err;
    }
    s->role = SHARED_SOURCE;
    c->role = SHARED_CLIENT;
    return 0;
}

static int merge_start(struct p2m *sp, gfn_t sgfn, share_handle_t sh,
                       struct p2m *cp, gfn_t cgfn, share_handle_t ch,
                       struct share_merge *m)
{
    struct p2m_entry se, ce;
    struct shared_frame *s, *c;
    int err;

    if (sp->trust_group != cp->trust_group) {
        return -EPERM;
    }
    spin_lock_pair(&sp->lock, &cp->lock);
    se = p2m_lookup_locked(sp, sgfn);
    ce = p2m_lookup_locked(cp, cgfn);
    s = shared_frame_at(&se);
    c = shared_frame_at(&ce);
    if (s == NULL || s->link.handle != sh) {
        err = -ENOEXEC;
    } else if (c == NULL || c->link.handle != ch) {
        err = -EBADF;
    } else if (s == c) {
        err = -EEXIST;
    } else {
        spin_lock_pair(&s->lock, &c->lock);
        err = claim_roles(s, c);
        spin_unlock_pair(&s->lock, &c->lock);
    }
    spin_unlock_pair(&sp->lock, &cp->lock);
    if (err == 0) {
        *m = (struct share_merge){ .started = true, .source = s,
                                   .client = c };
    }
    return err;
}

static void leave_role(struct shared_frame *sf)
{
    bool last;

    spin_lock(&sf->lock);
    sf->role = SHARED_IDLE;
    last = shared_frame_release(sf);
    spin_unlock(&sf->lock);
    if (last) {
        shared_frame_put(sf);
    }
}

static void merge_end(struct share_merge *m)
{
    leave_role(m->client);
    leave_role(m->source);
    m->started = false;
}

/* Move one pair, if its gfn still maps the client. Its p2m lock is held. */
static int move_pair(struct p2m_batch *b, struct share_merge *m,
                     struct rmap_pair pair)
{
    struct shared_frame *s = m->source, *c = m->client;
    struct p2m_entry e = p2m_lookup_locked(b->p2m, pair.gfn);
    int err;

    if (shared_frame_at(&e) != c) {
        return 0;           /* unshared or dropped meanwhile */
    }
    spin_lock_pair(&s->lock, &c->lock);
    err = shared_frame_hold(s);
    if (err == 0) {
        err = rmap_move(&s->rmap, &c->rmap, pair);
        /* Each of them is held by the merge. */
        BUG_ON(shared_frame_release(err == 0 ? c : s));
    }
    spin_unlock_pair(&s->lock, &c->lock);
    if (err == 0) {
        p2m_set(b, pair.gfn, shared_mfn(s), P2M_ORDER_4K, p2m_ram_shared);
        share_count(&share_totals.moved, 1);
        m->moved++;
    }
    return err;
}

/* Move @nr pairs of one domain. -ERESTART: the slice is over. */
static int move_stretch(struct share_merge *m, const struct rmap_pair *pairs,
                        unsigned nr, struct work *w)
{
    struct p2m *p = p2m_get_by_owner(pairs[0].domain);
    struct p2m_batch b;
    int err = 0;

    if (p == NULL) {        /* gone, and its pairs with it */
        return 0;
    }
    p2m_batch_begin(&b, p);
    for (unsigned i = 0; err == 0 && i < nr; i++) {
        err = move_pair(&b, m, pairs[i]);
        if (err == 0 && work_spend(w, COST_MOVE)) {
            err = -ERESTART;
        }
    }
    p2m_batch_end(&b);
    p2m_put(p);
    if (err == 0 && work_spend(w, COST_FLUSH)) {
        err = -ERESTART;
    }
    return err;
}

/* Move one group. 1: there are none left. */
static int move_group(struct share_merge *m, struct work *w)
{
    struct rmap_pair pairs[GROUP];
    unsigned nr, end;
    int err = 0;

    spin_lock(&m->client->lock);
    nr = rmap_take(&m->client->rmap, pairs, GROUP);
    spin_unlock(&m->client->lock);
    for (unsigned i = 0; err == 0 && i < nr; i = end) {
        for (end = i + 1; end < nr; end++) {
            if (pairs[end].domain != pairs[i].domain) {
                break;
            }
        }
        err = move_stretch(m, &pairs[i], end - i, w);
    }
    return nr == 0 ? 1 : err;
}

int share_frames(struct p2m *sp, gfn_t sgfn, share_handle_t sh,
                 struct p2m *cp, gfn_t cgfn, share_handle_t ch,
                 struct share_merge *m, struct work *w)
{
    int err = 0;

    if (!m->started) {
        err = merge_start(sp, sgfn, sh, cp, cgfn, ch, m);
        if (err != 0) {
            return err;
        }
    }
    while (err == 0) {
        err = move_group(m, w);
    }
    if (err == -ERESTART) {
        return err;
    }
    merge_end(m);
    if (err < 0) {
        return err;
    }
    share_count(&share_totals.shares, 1);
    return 0;
}

void share_merge_abort(struct share_merge *m)
{
    if (m->started) {
        merge_end(m);
    }
}
