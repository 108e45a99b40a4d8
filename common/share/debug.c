/*
 * debug.c - what is behind a machine frame: the way in for debug_mfn, which
 * has no gfn and so no p2m lock that would keep the record where it is.
 */
#include "shared_frame.h"

/*
 * Frames become DOMID_COW's, and cease to be, under the list's lock. So one
 * that is allocated and DOMID_COW's while we hold it was so from the moment
 * that we took it, and its record stays.
 */
static struct shared_frame *find(mfn_t mfn)
{
    struct shared_frame *sf = NULL;
    struct frame *f;

    if (!mfn_is_ram(mfn)) {
        return NULL;
    }
    f = mfn_to_frame(mfn);
    spin_lock(&shared_frames_lock);
    if ((atomic_load_explicit(&f->refs, memory_order_acquire) &
         FRAME_ALLOCATED) != 0 && frame_owner(f) == DOMID_COW) {
        sf = f->user;
        shared_frame_get(sf);
    }
    spin_unlock(&shared_frames_lock);
    return sf;
}

int share_debug_mfn(mfn_t mfn, struct share_info *info)
{
    struct shared_frame *sf = find(mfn);
    int err = -EINVAL;

    if (sf == NULL) {
        return -EINVAL;
    }
    spin_lock(&sf->lock);
    if (sf->link.handle != 0) {         /* else it has just been retired */
        info->mfn = mfn;
        info->handle = sf->link.handle;
        info->sharers = rmap_count(&sf->rmap);
        err = 0;
    }
    spin_unlock(&sf->lock);
    shared_frame_put(sf);
    return err;
}
