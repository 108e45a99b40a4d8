/*
 * shared_frame.c - the records of shared frames: their life, their holders,
 * the list of all of them and the totals.
 *
 * The frame's owner and the list change together, under the list's lock: at
 * any time that it is free, the linked records are DOMID_COW's frames.
 */
#include "shared_frame.h"

#include <quire/heap.h>
#include <quire/scan.h>
#include <quire/work.h>

#define COST_RETIRE 150         /* units: one of several frames */

struct share_totals share_totals;
struct list shared_frames = LIST_INIT(shared_frames);
struct spinlock shared_frames_lock = SPINLOCK_INIT(SHARELIST, 0);

static share_handle_t last_handle;      /* [sharelist] */

void share_init(uint64_t seed, enum rmap_form form)
{
    rmap_setup(seed, form);
    list_init(&shared_frames);
    share_totals = (struct share_totals){ 0 };
    p2m_register_locked_fault(p2m_ram_shared, share_fault);
    scan_init();
}

static struct shared_frame *record_alloc(mfn_t mfn)
{
    struct shared_frame *sf = heap_alloc(sizeof(*sf));

    if (sf != NULL) {
        spin_lock_init(&sf->lock, LOCK_RANK_SHARE, mfn.n);
        list_init(&sf->link.link);
        sf->link.handle = 0;
        sf->refs = 1;
        sf->role = SHARED_IDLE;
        sf->scan = 0;
        sf->made_for = DOMID_INVALID;
    }
    return sf;
}

struct shared_frame *shared_frame_alloc(mfn_t mfn, struct rmap_pair first)
{
    struct shared_frame *sf = record_alloc(mfn);

    if (sf == NULL) {
        return NULL;
    }
    rmap_init(&sf->rmap);
    if (rmap_insert(&sf->rmap, first) != 0) {
        shared_frame_put(sf);
        return NULL;
    }
    return sf;
}

struct shared_frame *shared_frame_alloc_two(mfn_t mfn, gfn_t gfn, domid_t one,
                                            domid_t fork)
{
    struct shared_frame *sf = record_alloc(mfn);

    if (sf == NULL) {
        return NULL;
    }
    sf->made_for = fork;
    if (rmap_init_two(&sf->rmap, gfn, one, fork) != 0) {
        shared_frame_put(sf);
        return NULL;
    }
    return sf;
}

/* [sharelist] False: somebody else refers to the frame. The counts of pages
 * and records are the caller's. */
static bool link(struct shared_frame *sf, uint64_t *pairs)
{
    struct frame *f = shared_frame_frame(sf);
    uint32_t holders = (uint32_t)rmap_count(&sf->rmap);

    if (!frame_try_share(f, holders)) {
        return false;
    }
    f->user = sf;
    sf->link.handle = ++last_handle;
    list_append(&shared_frames, &sf->link.link);
    *pairs += holders;
    return true;
}

uint64_t shared_frames_publish(struct shared_frame *const *sf, unsigned nr,
                               domid_t owner)
{
    uint64_t done = 0, frames = 0, pairs = 0;

    spin_lock(&shared_frames_lock);
    for (unsigned i = 0; i < nr; i++) {
        if (sf[i] != NULL && link(sf[i], &pairs)) {
            done |= UINT64_C(1) << i;
            frames++;
        }
    }
    if (frames != 0) {
        frame_move_pages(owner, frames);
        share_count(&share_totals.frames, frames);
    }
    spin_unlock(&shared_frames_lock);
    share_count(&share_totals.added, pairs);
    return done;
}

int shared_frame_publish(struct shared_frame *sf)
{
    domid_t owner = frame_owner(shared_frame_frame(sf));

    return shared_frames_publish(&sf, 1, owner) != 0 ? 0 : -E2BIG;
}

int shared_frame_insert(struct shared_frame *sf, struct rmap_pair pair)
{
    int err = -EAGAIN;

    spin_lock(&sf->lock);
    if (sf->role != SHARED_CLIENT) {
        err = shared_frame_hold(sf);
    }
    if (err == 0) {
        err = rmap_insert(&sf->rmap, pair);
        if (err == 0) {
            share_count(&share_totals.added, 1);
        } else {
            BUG_ON(shared_frame_release(sf));   /* there are other sharers */
        }
    }
    spin_unlock(&sf->lock);
    return err;
}

int shared_frame_retire(struct shared_frame *sf, domid_t to)
{
    struct frame *f = shared_frame_frame(sf);
    int err = 0;

    spin_lock(&shared_frames_lock);
    if (to != DOMID_COW) {
        err = frame_unshare(f, to);
    }
    if (likely(err == 0)) {
        list_remove(&sf->link.link);
        sf->link.handle = 0;
        share_count(&share_totals.frames, -UINT64_C(1));
        f->user = NULL;
        if (to == DOMID_COW) {
            frame_put_type(f);
            frame_put_allocated(f);
        }
    }
    spin_unlock(&shared_frames_lock);
    return err;
}

int shared_frame_hold(struct shared_frame *sf)
{
    struct frame *f = shared_frame_frame(sf);
    int err = frame_get(f, DOMID_COW);

    if (err == 0) {
        err = frame_get_type(f, FRAME_TYPE_SHARED);
        BUG_ON(err != 0);   /* the other holders keep it SHARED */
    }
    return err;
}

bool shared_frame_release(struct shared_frame *sf)
{
    return shared_frame_release_many(sf, 1);
}

bool shared_frame_release_many(struct shared_frame *sf, uint32_t n)
{
    struct frame *f = shared_frame_frame(sf);
    bool last = frame_type_count(f) == n;

    n -= last;              /* the last one's goes with the record */
    if (n != 0) {
        frame_put_holders(f, n);
    }
    if (last) {
        BUG_ON(shared_frame_retire(sf, DOMID_COW) != 0);
    }
    return last;
}

/* Those that nobody looks at go together. */
static void put_retired(struct shared_frame *const *sf, unsigned nr)
{
    void *done[64];
    unsigned n = 0;

    for (unsigned i = 0; i < nr; i++) {
        if (likely(!is_shared_frame_watched(sf[i]) &&
                   rmap_is_bare(&sf[i]->rmap))) {
            done[n++] = sf[i];
        } else {
            shared_frame_put(sf[i]);
        }
    }
    heap_free_many(done, n);
}

void shared_frames_retire(const mfn_t *mfn, uint64_t map)
{
    struct shared_frame *sf[64];
    unsigned n = 0;

    spin_lock(&shared_frames_lock);
    for (uint64_t todo = map; todo != 0; todo &= todo - 1) {
        sf[n] = mfn_to_frame(mfn[__builtin_ctzll(todo)])->user;
        list_remove(&sf[n]->link.link);
        n++;
    }
    share_count(&share_totals.frames, -(uint64_t)n);
    work_charge(COST_RETIRE * (int64_t)n);
    map = frame_free_group(DOMID_COW, mfn, map);
    for (; unlikely(map != 0); map &= map - 1) {    /* held by others, too */
        struct frame *f = mfn_to_frame(mfn[__builtin_ctzll(map)]);

        f->user = NULL;
        frame_put_allocated(f);
    }
    spin_unlock(&shared_frames_lock);
    put_retired(sf, n);
}

bool shared_frame_remove(struct shared_frame *sf, struct rmap_pair pair)
{
    bool last;

    spin_lock(&sf->lock);
    rmap_remove(&sf->rmap, pair);
    share_count(&share_totals.removed, 1);
    last = shared_frame_release(sf);
    spin_unlock(&sf->lock);
    if (last) {
        shared_frame_put(sf);
    }
    return last;
}

void shared_frame_get(struct shared_frame *sf)
{
    atomic_fetch_add_explicit(&sf->refs, 1, memory_order_relaxed);
}

void shared_frame_put(struct shared_frame *sf)
{
    if (atomic_fetch_sub_explicit(&sf->refs, 1, memory_order_acq_rel) == 1) {
        ASSERT(list_is_empty(&sf->link.link));
        rmap_fini(&sf->rmap);
        heap_free(sf);
    }
}
