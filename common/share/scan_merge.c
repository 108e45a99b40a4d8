/*
 * scan_merge.c - one private page onto a shared frame of the same contents.
 *
 *     write-protect (tracking reason: scanner), flush    nobody writes now
 *     take a pair and a hold of the frame                it stays shared
 *     compare
 *     map the frame, read-only, and flush                nobody reads the old
 *     no reference to the old page but its own: free it
 *
 * All under the p2m lock: a guest that writes meanwhile waits for it in
 * scan_fault() and finds its page writable again, or shared. References are
 * counted last, since whoever takes one looks at the entry again afterwards:
 * either we see the reference, or it sees that the entry has changed.
 */
#include "scanner.h"

#include <quire/arch.h>
#include <quire/p2m_slot.h>

static bool is_private(const struct p2m *p, const struct p2m_entry *e)
{
    const struct frame *f;

    if (e->type != p2m_ram_rw || e->tracking != 0 || !mfn_is_ram(e->mfn)) {
        return false;
    }
    f = mfn_to_frame(e->mfn);
    return frame_owner(f) == p->owner && frame_is_exclusive(f);
}

/* A pair and a hold. From then on the frame is shared, its contents stay. */
static int join(struct shared_frame *sf, struct rmap_pair pair)
{
    int err = 0;

    spin_lock(&sf->lock);
    if (sf->link.handle == 0) {
        err = -ENOEXEC;
    } else if (sf->role == SHARED_CLIENT) {
        err = -EAGAIN;
    }
    if (err == 0) {
        err = shared_frame_hold(sf);
    }
    if (err == 0) {
        err = rmap_insert(&sf->rmap, pair);
        if (err != 0) {
            BUG_ON(shared_frame_release(sf));   /* it has a pair: it is linked */
        } else {
            share_count(&share_totals.added, 1);
        }
    }
    spin_unlock(&sf->lock);
    return err;
}

static bool is_equal(mfn_t one, mfn_t two)
{
    const void *a = arch_map_frame(one), *b = arch_map_frame(two);
    bool equal = scan_equal(a, b);

    arch_unmap_frame(b);
    arch_unmap_frame(a);
    return equal;
}

/* The pair is in. 0: the gfn is a sharer now, and its old frame free. */
static int replace_frame(struct p2m_batch *b, gfn_t gfn, mfn_t old,
                         struct shared_frame *sf)
{
    struct frame *f = mfn_to_frame(old);

    if (!is_equal(old, shared_mfn(sf))) {
        return -EILSEQ;
    }
    p2m_set(b, gfn, shared_mfn(sf), P2M_ORDER_4K, p2m_ram_shared);
    p2m_batch_flush(b);
    if (f->refs != (FRAME_ALLOCATED | 1)) {
        p2m_set(b, gfn, old, P2M_ORDER_4K, p2m_ram_rw);
        p2m_batch_flush(b);
        return -E2BIG;
    }
    frame_put_allocated(f);
    return 0;
}

static int merge(struct p2m_batch *b, gfn_t gfn, const struct p2m_entry *e,
                 struct shared_frame *sf)
{
    struct rmap_pair pair = { b->p2m->owner, gfn };
    int err;

    p2m_set_tracking(b, gfn, P2M_TRACK_SCANNER);
    p2m_batch_flush(b);
    err = join(sf, pair);
    if (err == 0) {
        err = replace_frame(b, gfn, e->mfn, sf);
        if (err != 0) {
            (void)shared_frame_remove(sf, pair);
        }
    }
    if (err != 0) {
        p2m_set_tracking(b, gfn, 0);
    }
    return err;
}

int scan_merge(struct p2m *p, struct p2m_hint *h, gfn_t gfn,
               struct shared_frame *sf)
{
    struct work w = WORK_INIT;
    struct p2m_batch b;
    struct p2m_entry e;
    int err = p2m_prepare(p, gfn, 1, &w);

    if (unlikely(err != 0)) {
        return -EAGAIN;         /* mapped very often, and less next time */
    }
    p2m_batch_begin(&b, p);
    p2m_near_begin(&b, h);
    e = p2m_near_lookup(p, h, gfn);
    if (!p->is_scanned || p->no_users) {
        err = -ESRCH;
    } else if (!is_private(p, &e)) {
        err = -EAGAIN;
    } else if (e.order != P2M_ORDER_4K) {
        err = p2m_batch_reserve(&b, gfn, 1, P2M_ORDER_4K);
    }
    if (err == 0) {
        err = merge(&b, gfn, &e, sf);
    }
    p2m_batch_end(&b);
    return err;
}

enum p2m_fault_result scan_fault(const struct p2m_slot *s, struct npf *f)
{
    struct p2m *p = s->p2m;
    struct p2m_entry now;

    spin_lock(&p->lock);
    now = p2m_lookup_locked(p, s->gfn);
    spin_unlock(&p->lock);
    /* Whatever it has become: its own handler comes next. */
    if (now.type != p2m_ram_rw) {
        return P2M_FAULT_RETRY;
    }
    return (f->access & ~p2m_rights(now.type, now.tracking)) == 0
               ? P2M_FAULT_RETRY : P2M_FAULT_DENIED;
}
