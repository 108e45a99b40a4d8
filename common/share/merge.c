/*
 * merge.c - share: all sharers of one frame (the client) come to be sharers of
 * another's (the source's).
 *
 *     start   both p2ms, both pages, each pair in order: check the handles,
 *             give the frames their roles and one hold each by the merge
 *     move    page lock: copy up to 64 pairs out. Then, without it, for each
 *             stretch of one domain's pairs: that p2m's lock; per pair look
 *             the entry up again, lock both pages by mfn, move the pair; one
 *             flush for the stretch
 *     end     roles and holds go; a frame left without sharers is freed
 *
 * The smaller map moves: if that is the source's, and the pages really are
 * alike (else whose contents survive could be seen), it is the client's frame
 * that stays, and takes the source's handle over at the end. What is named in
 * the call goes last, so that a merge that fails half way can be called again
 * just as it was.
 *
 * Between slices nothing is locked. The roles keep the others right: a frame
 * in a merge is never given to its last sharer (that one copies), and the one
 * that goes takes no new sharers, so the merge ends. The merge's hold on it
 * outlives every flush, so pairs may leave it before theirs.
 */
#include "shared_frame.h"

#include <quire/arch.h>
#include <quire/string.h>

/* Units. Instructions, counted with --icount over 20,000 sharers: a pair takes
 * 940 where gfns are neighbours, 1,220 where they are far apart; a group of 16
 * up to 10,000 from a map that is nearly empty, so it has a slice to itself. */
#define COST_MOVE 1200      /* one pair */
#define COST_TAKE 6000      /* copying a group out */
#define COST_FLUSH 600      /* one stretch's lock, flush and unlock */
#define WORTH_COMPARING 8   /* pairs saved pay for the comparison */

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

static bool is_alike(const struct shared_frame *s, const struct shared_frame *c)
{
    const void *ps = arch_map_frame(shared_mfn(s));
    const void *pc = arch_map_frame(shared_mfn(c));
    bool alike = memcmp(ps, pc, PAGE_SIZE) == 0;

    arch_unmap_frame(pc);
    arch_unmap_frame(ps);
    return alike;
}

/* The page locks of both are held, and so are the p2ms' of their gfns. */
static int choose(struct share_merge *m, struct shared_frame *s,
                  struct rmap_pair sname, struct shared_frame *c,
                  struct rmap_pair cname)
{
    bool swap = rmap_count(&c->rmap) >=
                    rmap_count(&s->rmap) + WORTH_COMPARING && is_alike(s, c);
    int err = swap ? claim_roles(c, s) : claim_roles(s, c);

    if (err == 0) {
        *m = (struct share_merge){
            .started = true,
            .takes_handle = swap,
            .stays = swap ? c : s,
            .goes = swap ? s : c,
            .last = swap ? sname : cname,
        };
    }
    return err;
}

static int merge_start(struct p2m *sp, gfn_t sgfn, share_handle_t sh,
                       struct p2m *cp, gfn_t cgfn, share_handle_t ch,
                       struct share_merge *m)
{
    struct rmap_pair sname = { sp->owner, sgfn }, cname = { cp->owner, cgfn };
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
    if (s == NULL || c == NULL) {
        err = s == NULL || s->link.handle != sh ? -ENOEXEC : -EBADF;
    } else {
        spin_lock_pair(&s->lock, &c->lock);
        err = s->link.handle != sh ? -ENOEXEC :
              c->link.handle != ch ? -EBADF :
              s == c ? -EEXIST : choose(m, s, sname, c, cname);
        spin_unlock_pair(&s->lock, &c->lock);
    }
    spin_unlock_pair(&sp->lock, &cp->lock);
    return err;
}

/* The frame that goes has no sharers left: its name is the other's now. Both
 * page locks are held. */
static void settle_handles(struct share_merge *m)
{
    share_handle_t name = m->goes->link.handle;

    if (m->takes_handle && rmap_count(&m->goes->rmap) == 0) {
        m->goes->link.handle = m->stays->link.handle;
        m->stays->link.handle = name;
        m->takes_handle = false;
    }
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
    spin_lock_pair(&m->stays->lock, &m->goes->lock);
    settle_handles(m);          /* the last may have left by itself */
    spin_unlock_pair(&m->stays->lock, &m->goes->lock);
    leave_role(m->goes);
    leave_role(m->stays);
    m->started = false;
}

/* Move one pair, if its gfn still maps the frame. Its p2m lock is held. */
static int move_pair(struct p2m_batch *b, struct share_merge *m,
                     struct rmap_pair pair)
{
    struct shared_frame *to = m->stays, *from = m->goes;
    struct p2m_entry e = p2m_lookup_locked(b->p2m, pair.gfn);
    int err;

    if (shared_frame_at(&e) != from) {
        return 0;           /* unshared or dropped meanwhile */
    }
    spin_lock_pair(&to->lock, &from->lock);
    err = shared_frame_hold(to);
    if (err == 0) {
        err = rmap_move(&to->rmap, &from->rmap, pair);
        /* Each of them is held by the merge. */
        BUG_ON(shared_frame_release(err == 0 ? from : to));
        settle_handles(m);
    }
    spin_unlock_pair(&to->lock, &from->lock);
    if (err == 0) {
        p2m_set(b, pair.gfn, shared_mfn(to), P2M_ORDER_4K, p2m_ram_shared);
        share_count(&share_totals.moved, 1);
        m->moved++;
    }
    return err;
}

/* Whether the next pair of the group is @domain's. */
static bool is_next_of(const struct share_merge *m, domid_t domain)
{
    return m->next < m->nr && m->pairs[m->next].domain == domain;
}

/* Move the next pairs, those of one domain. -ERESTART: the slice is over. */
static int move_stretch(struct share_merge *m, struct work *w)
{
    domid_t domain = m->pairs[m->next].domain;
    struct p2m *p = p2m_get_by_owner(domain);
    struct p2m_batch b;
    int err = 0;

    if (p == NULL) {        /* gone, and its pairs with it */
        while (is_next_of(m, domain)) {
            m->next++;
        }
        return 0;
    }
    p2m_batch_begin(&b, p);
    while (err == 0 && is_next_of(m, domain)) {
        struct rmap_pair pair = m->pairs[m->next];

        err = unlikely(p->has_listeners)
                  ? p2m_prepare_listeners(p, pair.gfn, 1, w) : 0;
        if (err == 0) {
            err = move_pair(&b, m, pair);
        }
        if (err == 0) {
            m->next++;
            err = work_spend(w, COST_MOVE) ? -ERESTART : 0;
        }
    }
    p2m_batch_end(&b);
    p2m_put(p);
    if (err == 0 && work_spend(w, COST_FLUSH)) {
        err = -ERESTART;
    }
    return err;
}

/* Copy a group out; m->last is in it only when it is the last. What leaves the
 * frame by itself before its turn is then no longer mapped there. */
static void take_group(struct share_merge *m)
{
    unsigned nr, kept = 0;
    uint64_t all;

    spin_lock(&m->goes->lock);
    all = rmap_count(&m->goes->rmap);
    nr = rmap_take(&m->goes->rmap, m->pairs, SHARE_MERGE_GROUP);
    spin_unlock(&m->goes->lock);
    for (unsigned i = 0; i < nr; i++) {
        bool is_last = m->pairs[i].domain == m->last.domain &&
                       gfn_eq(m->pairs[i].gfn, m->last.gfn);

        if (!is_last || all == 1) {
            m->pairs[kept++] = m->pairs[i];
        }
    }
    m->nr = kept;
    m->next = 0;
}

/* Move one group, or the rest of it. 1: there are none left. */
static int move_group(struct share_merge *m, struct work *w)
{
    int err = 0;

    if (m->next == m->nr) {
        take_group(m);
        if (m->nr == 0) {
            return 1;
        }
        err = work_spend(w, COST_TAKE) ? -ERESTART : 0;
    }
    while (err == 0 && m->next < m->nr) {
        err = move_stretch(m, w);
    }
    return err;
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
