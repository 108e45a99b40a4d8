/*
 * share.c - nominate: how a private page becomes a shared frame; and what can
 * be asked about one.
 *
 * The order of a nomination is what makes it exact. The entry becomes
 * read-only and is flushed first, so that from then on no guest writes; then
 * the references are counted, so that nobody else has the page: whoever takes
 * one by a lookup must look again afterwards and sees the entry changed.
 */
#include "shared_frame.h"

int share_check_private(const struct p2m *p, const struct p2m_entry *e)
{
    const struct frame *f;

    switch (e->type) {
    case p2m_ram_rw:
        break;
    case p2m_invalid:
        return -ENOENT;
    case p2m_mmio_dm:
    case p2m_mmio_direct:
        return -ENXIO;
    case p2m_map_foreign:
    case p2m_grant_map_rw:
    case p2m_grant_map_ro:
        return -EXDEV;
    default:
        return -EINVAL;
    }
    if (!mfn_is_ram(e->mfn)) {
        return -EINVAL;
    }
    f = mfn_to_frame(e->mfn);
    if (frame_owner(f) != p->owner) {
        return -EXDEV;
    }
    return frame_is_exclusive(f) ? 0 : -E2BIG;
}

static int make_shared(struct p2m_batch *b, gfn_t gfn,
                       const struct p2m_entry *e, share_handle_t *h)
{
    struct rmap_pair pair = { b->p2m->owner, gfn };
    struct shared_frame *sf;
    /* A superpage is split. */
    int err = p2m_batch_reserve(b, gfn, 1, P2M_ORDER_4K);

    if (err != 0) {
        return err;
    }
    sf = shared_frame_alloc(e->mfn, pair);
    if (sf == NULL) {
        return -ENOMEM;
    }
    p2m_set(b, gfn, e->mfn, P2M_ORDER_4K, p2m_ram_shared);
    p2m_batch_flush(b);
    if (shared_frame_publish(sf) != 0) {
        p2m_set(b, gfn, e->mfn, P2M_ORDER_4K, p2m_ram_rw);
        shared_frame_put(sf);
        return -E2BIG;
    }
    share_count(&share_totals.nominates, 1);
    *h = sf->link.handle;
    return 0;
}

/* @for_whom: a new one's mark, until somebody else nominates it. */
static int nominate(struct p2m *p, gfn_t gfn, domid_t for_whom,
                    share_handle_t *h, bool *is_new)
{
    struct shared_frame *sf;
    struct p2m_batch b;
    struct p2m_entry e;
    int err;

    p2m_batch_begin(&b, p);
    e = p2m_batch_lookup(&b, gfn);
    sf = shared_frame_at(&e);
    *is_new = false;
    if (sf != NULL) {
        for_whom = DOMID_INVALID;
        *h = sf->link.handle;
        err = 0;
    } else {
        err = share_check_private(p, &e);
        if (err == 0) {
            err = make_shared(&b, gfn, &e, h);
        }
        *is_new = err == 0;
        sf = err == 0 ? mfn_to_frame(e.mfn)->user : NULL;
    }
    if (sf != NULL) {
        atomic_store_explicit(&sf->made_for, for_whom, memory_order_relaxed);
    }
    p2m_batch_end(&b);
    return err;
}

int share_nominate(struct p2m *p, gfn_t gfn, share_handle_t *h)
{
    bool is_new;

    return nominate(p, gfn, DOMID_INVALID, h, &is_new);
}

/* No domain is its own fork: the mark is its own id. */
int share_nominate_new(struct p2m *p, gfn_t gfn, share_handle_t *h,
                       bool *is_new)
{
    return nominate(p, gfn, p->owner, h, is_new);
}

int share_debug_gfn(struct p2m *p, gfn_t gfn, struct share_info *info)
{
    struct shared_frame *sf;
    struct p2m_entry e;
    int err = 0;

    spin_lock(&p->lock);
    e = p2m_lookup_locked(p, gfn);
    sf = shared_frame_at(&e);
    if (sf != NULL) {
        spin_lock(&sf->lock);
        info->mfn = e.mfn;
        info->handle = sf->link.handle;
        info->sharers = rmap_count(&sf->rmap);
        spin_unlock(&sf->lock);
    } else {
        err = e.type == p2m_invalid ? -ENOENT : -EINVAL;
    }
    spin_unlock(&p->lock);
    return err;
}

int share_handle(struct p2m *p, gfn_t gfn, share_handle_t *h)
{
    struct share_info info;
    int err = share_debug_gfn(p, gfn, &info);

    if (err == 0) {
        *h = info.handle;
    }
    return err;
}

void share_stats_get(struct share_stats *s)
{
    uint64_t removed = share_read(&share_totals.removed);

    s->shared_frames = share_read(&share_totals.frames);
    s->sharers = share_read(&share_totals.added) - removed;
    /* A frame that only a merge holds still is saved by nobody. */
    s->saved_frames = s->sharers > s->shared_frames
                          ? s->sharers - s->shared_frames : 0;
    s->nominates = share_read(&share_totals.nominates);
    s->shares = share_read(&share_totals.shares);
    s->add_physmaps = share_read(&share_totals.add_physmaps);
    s->unshares_copied = share_read(&share_totals.copied);
    s->unshares_last = share_read(&share_totals.last);
    s->unshares_failed = share_read(&share_totals.failed);
    s->rmap_bytes = rmap_bytes();
}

struct share_domain_stats *share_domain_stats(struct p2m *p)
{
    return &p->share;
}
