/*
 * unshare.c - how a shared gfn becomes private again, by a write fault or by
 * request, and how it is dropped when its domain dies.
 *
 *     one sharer left:  the frame changes hands, the entry becomes ram_rw
 *     more:             copy, set, flush, and only then leave the rmap: until
 *                       the flush this domain's CPUs may read the old frame,
 *                       so until then no other sharer may become its owner
 *                       and write to it
 *
 * Two sharers that leave at once may both find another one left and both
 * copy; the second to leave the rmap then frees the frame.
 */
#include "base.h"

#include <quire/arch.h>
#include <quire/p2m_slot.h>
#include <quire/page_alloc.h>
#include <quire/string.h>

/* Whether nobody else holds the frame: exact under the page lock. */
static bool is_last(const struct shared_frame *sf)
{
    return frame_type_count(shared_frame_frame(sf)) == 1;
}

/* The last sharer takes the frame. -EAGAIN: it is not the last any more. */
static int take_frame(const struct p2m_slot *s, struct shared_frame *sf)
{
    struct p2m *p = s->p2m;
    mfn_t mfn = shared_mfn(sf);
    int err;

    spin_lock(&sf->lock);
    err = is_last(sf) ? shared_frame_retire(sf, p->owner) : -EAGAIN;
    if (unlikely(err != 0)) {
        spin_unlock(&sf->lock);
        return err;
    }
    ASSERT(rmap_count(&sf->rmap) == 1 &&
           rmap_has(&sf->rmap, (struct rmap_pair){ p->owner, s->gfn }));
    /* Ours is the last pair: the map goes as a whole, with the record; but
     * now, if an audit still looks at that. */
    if (unlikely(is_shared_frame_watched(sf))) {
        rmap_fini(&sf->rmap);
    }
    spin_unlock(&sf->lock);
    share_count(&share_totals.removed, 1);
    shared_frame_put(sf);
    p2m_slot_set_private(s, mfn);
    share_count(&share_totals.last, 1);
    share_count(&p->share.last_sharers, 1);
    return 0;
}

/* @is_kept: its domain's base wants the old frame. */
static int copy_frame(const struct p2m_slot *s, struct shared_frame *sf,
                      bool is_kept)
{
    struct p2m *p = s->p2m;
    struct frame *f = page_alloc_owned(p->owner, 0);
    mfn_t mfn;
    void *to, *from;

    if (f == NULL) {
        return -ENOMEM;
    }
    mfn = frame_to_mfn(f);
    to = arch_map_frame(mfn);
    from = arch_map_frame(shared_mfn(sf));
    page_copy(to, from);
    arch_unmap_frame(from);
    arch_unmap_frame(to);
    p2m_slot_set_private(s, mfn);
    if (is_kept) {
        base_keep(p, s->gfn, sf);
    } else {
        shared_frame_remove(sf, (struct rmap_pair){ p->owner, s->gfn });
    }
    share_count(&share_totals.copied, 1);
    share_count(&p->share.copies, 1);
    return 0;
}

static int unshare(const struct p2m_slot *s, struct shared_frame *sf)
{
    int kept = s->p2m->base == NULL ? 0 : base_prepare(s->p2m, s->gfn), err;

    err = kept == 0 && is_last(sf) ? take_frame(s, sf) : -EAGAIN;
    if (err == -EAGAIN) {
        err = kept < 0 ? kept : copy_frame(s, sf, kept != 0);
    }
    if (unlikely(err != 0)) {
        share_count(&share_totals.failed, 1);
    }
    return err;
}

static int check_unshared(const struct p2m_entry *e)
{
    return e->type == p2m_ram_rw || e->type == p2m_ram_ro ? 0 :
           e->type == p2m_invalid ? -ENOENT : -EINVAL;
}

int share_unshare(struct p2m *p, gfn_t gfn)
{
    struct p2m_entry e;
    struct p2m_slot s;
    mfn_t mfn;
    int err;

    spin_lock(&p->lock);
    p2m_slot_find(&s, p, gfn);
    mfn = p2m_slot_mfn(&s, p2m_ram_shared);
    if (!mfn_eq(mfn, MFN_INVALID)) {
        err = unshare(&s, mfn_to_frame(mfn)->user);
    } else if (p->no_users) {
        err = -ESRCH;
    } else {
        e = p2m_lookup_locked(p, gfn);
        err = check_unshared(&e);
    }
    spin_unlock(&p->lock);
    return err;
}

void share_withdraw(struct p2m *p, gfn_t gfn, share_handle_t h)
{
    struct shared_frame *sf;
    struct p2m_entry e;
    struct p2m_slot s;
    int err;

    spin_lock(&p->lock);
    e = p2m_lookup_locked(p, gfn);
    sf = shared_frame_at(&e);
    if (sf != NULL && sf->link.handle == h && sf->made_for == p->owner &&
        is_last(sf)) {
        p2m_slot_find(&s, p, gfn);
        /* Taken back, or a sharer has come: it is shared, which is as good. */
        err = take_frame(&s, sf);
        (void)err;
    }
    spin_unlock(&p->lock);
}

/* Reads and fetches are allowed, so p2m_fault() has let them go on. */
enum p2m_fault_result share_fault(const struct p2m_slot *s, struct npf *f,
                                  mfn_t mfn)
{
    int err;

    ASSERT((f->access & P2M_W) != 0);
    share_count(&s->p2m->share.cow_faults, 1);
    err = unshare(s, mfn_to_frame(mfn)->user);
    if (unlikely(err == -ENOMEM)) {
        return P2M_FAULT_NOMEM;
    }
    f->was_unshared = err == 0;
    return P2M_FAULT_RETRY;
}

void share_drop(struct p2m *p, gfn_t gfn, const struct p2m_entry *e)
{
    struct rmap_pair pair = { p->owner, gfn };

    if (base_wants(p, gfn)) {
        base_keep(p, gfn, shared_frame_at(e));
    } else if (!shared_frame_remove(shared_frame_at(e), pair)) {
        share_count(&p->share.saved_by_drop, 1);
    }
}
