/*
 * shared_frame.h - the record of one shared frame, between the files here.
 *
 *     p2m entries (ram_shared) --> frame --user--> record --> rmap
 *                                    ^                          |
 *                                    +-- one reference and one -+
 *                                        type reference a pair
 *
 * Life: nominate makes it and links it; it is retired (unlinked, its handle
 * dead, the frame somebody's or free) when the last holder lets go, and freed
 * with its last reference. Holders are the sharers, a merge that has the frame
 * as its source or client, and forks that began with it (base.h): one type
 * reference each. References are for looking at the record.
 *
 * Who may follow frame->user: the holder of the p2m lock of a gfn that maps
 * the frame as ram_shared (its pair cannot leave without that lock).
 */
#pragma once

#include <quire/panic.h>
#include <quire/rmap.h>
#include <quire/share.h>

enum shared_role {
    SHARED_IDLE,
    SHARED_SOURCE,          /* of a merge: takes new sharers */
    SHARED_CLIENT,          /* of a merge: only loses them */
};

struct shared_frame {
    struct spinlock lock;   /* the page lock: SHARE, key mfn */
    struct rmap rmap;       /* [page] */
    struct share_link link; /* handle: a merge may change it */
    _Atomic uint32_t refs;  /* (a) one while linked, one each who looks */
    uint8_t role;           /* [page] enum shared_role */
    _Atomic uint8_t scan;   /* (a) the scanner's marks; scanner.h */
    _Atomic domid_t made_for;   /* (a) a fork, or a command of the sharer's own
                             * (its id), and nobody has nominated it since;
                             * DOMID_INVALID: not so */
};
static_assert(sizeof(struct shared_frame) == 64, "64 bytes a shared frame");

/* The totals. Counts of pairs change under the p2m lock of the pair's gfn. */
struct share_totals {
    _Atomic uint64_t frames;                    /* [sharelist] to write */
    _Atomic uint64_t added, removed, moved;     /* pairs of all rmaps */
    _Atomic uint64_t nominates, shares, add_physmaps;
    _Atomic uint64_t copied, last, failed;      /* unshares */
    _Atomic uint64_t kept, released;            /* holds of bases */
};
extern struct share_totals share_totals;

static inline void share_count(_Atomic uint64_t *c, uint64_t n)
{
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static inline uint64_t share_read(const _Atomic uint64_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

/** share_held() - frames held for forks' resets, each as often as it is. */
static inline uint64_t share_held(void)
{
    return share_read(&share_totals.kept) -
           share_read(&share_totals.released);
}

static inline mfn_t shared_mfn(const struct shared_frame *sf)
{
    return MFN(sf->lock.key);
}

static inline struct frame *shared_frame_frame(const struct shared_frame *sf)
{
    return mfn_to_frame(shared_mfn(sf));
}

/** shared_frame_at() - the record behind an entry read under its p2m's lock;
 *  NULL: not shared. */
static inline struct shared_frame *shared_frame_at(const struct p2m_entry *e)
{
    return e->type == p2m_ram_shared ? mfn_to_frame(e->mfn)->user : NULL;
}

/** shared_frame_alloc() - a record for @mfn with one pair, not linked yet;
 *  NULL: no memory. Undone by shared_frame_put(). */
struct shared_frame *shared_frame_alloc(mfn_t mfn, struct rmap_pair first);
/** shared_frame_alloc_two() - the same with @gfn of a domain and its @fork. */
struct shared_frame *shared_frame_alloc_two(mfn_t mfn, gfn_t gfn, domid_t one,
                                            domid_t fork);
/**
 * shared_frames_publish() - give the frames of @sf[0 .. @nr) (up to 64; NULL:
 * none) from @owner to DOMID_COW, with a hold for each of their pairs; link
 * the records, give them handles. Returns the map of those that were done; the
 * other frames are in use elsewhere, and nothing changed with them.
 */
uint64_t must_check shared_frames_publish(struct shared_frame *const *sf,
                                          unsigned nr, domid_t owner);
/** shared_frame_publish() - the same for one: 0, or -E2BIG. */
int must_check shared_frame_publish(struct shared_frame *sf);
/**
 * shared_frame_retire() - the end of a record whose last holder lets go: the
 * frame goes to @to, or is freed if that is DOMID_COW. Page lock held;
 * shared_frame_put() once it is dropped. -ENOMEM: @to is at its limit, nothing
 * changed.
 */
int must_check shared_frame_retire(struct shared_frame *sf, domid_t to);

/** shared_frame_hold() - one more holder: a reference and a type reference to
 *  the frame. -EOVERFLOW. Page lock held, record linked. */
int must_check shared_frame_hold(struct shared_frame *sf);
/** shared_frame_release() - one holder less. True: it was the last, the frame
 *  is free; shared_frame_put() once the page lock is dropped. */
bool must_check shared_frame_release(struct shared_frame *sf);
/** shared_frame_release_many() - the same for @n holders at once. */
bool must_check shared_frame_release_many(struct shared_frame *sf, uint32_t n);
/** shared_frame_leave() - the same, @f being the frame, but after the last one
 *  it is not free yet: the record's handle is dead, and shared_frames_retire()
 *  is due once the page lock is dropped. */
static inline bool must_check shared_frame_leave(struct shared_frame *sf,
                                                 struct frame *f, uint32_t n)
{
    if (likely(frame_type_count(f) != n)) {
        frame_put_holders(f, n);
        return false;
    }
    if (n != 1) {
        frame_put_holders(f, n - 1);
    }
    frame_end_type(f);
    sf->link.handle = 0;
    return true;
}
/** shared_frames_retire() - free those frames of @mfn[0 .. 64) that @map says,
 *  which their last holders have left, and put their records. */
void shared_frames_retire(const mfn_t *mfn, uint64_t map);
/** shared_frame_insert() - put @pair in, with a hold, under its p2m's lock.
 *  -EAGAIN: the client of a merge; -EOVERFLOW, -ENOMEM. */
int must_check shared_frame_insert(struct shared_frame *sf,
                                   struct rmap_pair pair);
/** shared_frame_remove() - take @pair out, and its hold. No processor may
 *  reach the frame through it any more. True: it was the last. */
bool shared_frame_remove(struct shared_frame *sf, struct rmap_pair pair);

/** is_shared_frame_watched() - whether somebody looks at a retired record:
 *  nobody new can. */
static inline bool is_shared_frame_watched(const struct shared_frame *sf)
{
    return atomic_load_explicit(&sf->refs, memory_order_acquire) != 1;
}
void shared_frame_get(struct shared_frame *sf);
void shared_frame_put(struct shared_frame *sf);

/** share_check_private() - whether @e of @p is a page that may be nominated:
 *  0, -ENOENT, -EINVAL or -E2BIG. share.c */
int must_check share_check_private(const struct p2m *p,
                                   const struct p2m_entry *e);

/* The list of all, oldest first, and its lock. */
extern struct list shared_frames;
extern struct spinlock shared_frames_lock;

/** share_fault() - the p2m's handler of ram_shared; unshare.c. */
p2m_locked_fault_fn share_fault;
