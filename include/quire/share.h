/*
 * share.h - copy-on-write sharing of guest frames, as Xen's mem_sharing.
 *
 * nominate(gfn) makes a private frame shareable: it becomes FRAME_SHARED,
 * owned by DOMID_COW, mapped read-only as ram_shared, and gets a handle.
 * share(handle, handle) moves every sharer of the second onto the first;
 * add_physmap(handle, hole) adds one. A write fault unshares: the last sharer
 * keeps the frame, any other gets a copy.
 *
 * Each sharer (domid, gfn) holds one reference, one type reference and one
 * rmap entry. The record of a shared frame (struct shared_frame, from the
 * heap) hangs off frame->user and lives until the frame is private or free.
 * Lock order: p2m, then page locks (SHARE, by mfn). No page lock is held
 * while another domain's p2m lock is taken.
 *
 * Errors, distinct as in Xen:
 *   -ENOENT   the gfn is a hole          -EINVAL  not RAM that can be shared
 *   -ENXIO    it is MMIO                 -EXDEV   another domain's page
 *   -E2BIG    extra references: someone else maps or uses the page
 *   -ENOEXEC  source handle is stale or wrong (XENMEM_SHARING_OP_S_HANDLE_
 *             INVALID is -10); -EBADF the client's (-9), same page: -EEXIST
 *   -ESRCH    no such domain             -ENOMEM  nothing changed
 *   -EBUSY    add_physmap: the gfn is not a hole
 *   -EPERM    the domains are in different trust groups
 */
#pragma once

#include <quire/p2m.h>
#include <quire/rmap.h>

typedef uint64_t share_handle_t;    /* never 0, never reused */

/** share_init() - register the fault handler; @form and @seed of all reverse
 *  maps. */
void share_init(uint64_t seed, enum rmap_form form);

/** share_nominate() - idempotent: an already shared gfn gives its handle. */
int must_check share_nominate(struct p2m *p, gfn_t gfn, share_handle_t *h);
/** share_nominate_new() - the same; *@is_new: it was private before. If nothing
 *  comes of it, share_withdraw() undoes it. */
int must_check share_nominate_new(struct p2m *p, gfn_t gfn,
                                  share_handle_t *h, bool *is_new);
/** share_withdraw() - undo a nomination that was new, unless somebody else uses
 *  it by now (has nominated it too, or shares it), or its domain is above its
 *  limit. */
void share_withdraw(struct p2m *p, gfn_t gfn, share_handle_t h);
/** share_handle() - the handle of a shared gfn; -ENOENT/-EINVAL if not. */
int must_check share_handle(struct p2m *p, gfn_t gfn, share_handle_t *h);

struct shared_frame;        /* common/share/shared_frame.h */

#define SHARE_MERGE_GROUP 16

struct share_merge {        /* cursor of a merge; zero it, keep it */
    bool started;
    uint64_t moved;         /* sharers moved so far */
    /* private to merge.c */
    bool takes_handle;      /* the frame that stays takes the other's */
    struct shared_frame *stays, *goes;
    struct rmap_pair last;  /* of the frame that goes, named in the call */
    /* The next to be moved: of @goes when they were copied out. */
    struct rmap_pair pairs[SHARE_MERGE_GROUP];
    unsigned nr, next;
};
/**
 * share_frames() - make all sharers of (@cp, @cgfn, @ch) and those of (@sp,
 * @sgfn, @sh) sharers of one frame, whose handle is @sh; @ch is dead then. The
 * smaller of the two sets moves. Contents are the caller's promise, as in Xen:
 * if they differ after all, the source's survive.
 * Preemptible: the cursor is @m; it owns references until 0 or an error.
 * -ENOEXEC, -EBADF: the handle does not name the frame behind its gfn now;
 * -EEXIST: one frame already; -EAGAIN: one of them is in another merge;
 * -EPERM: different trust groups. -EOVERFLOW, the frame has 2^32 sharers, and
 * -ENOMEM can come after sharers were moved; those stay, each whole, and the
 * same call may be made again.
 */
int must_check share_frames(struct p2m *sp, gfn_t sgfn, share_handle_t sh,
                            struct p2m *cp, gfn_t cgfn, share_handle_t ch,
                            struct share_merge *m, struct work *w);
/** share_merge_abort() - give up a merge that returned -ERESTART; what was
 *  moved stays moved. */
void share_merge_abort(struct share_merge *m);

struct share_range {        /* cursor of share_range(); zero it, keep it */
    uint64_t done;              /* pairs dealt with, of nr */
    uint64_t shared;            /* one frame now, two before */
    uint64_t already;           /* one frame before */
    uint64_t refused;           /* cannot be shared: a hole, no RAM, in use */
    share_handle_t sh, ch;      /* the pair under way, if ... */
    bool is_new[2];             /* source, client: nominated for it */
    struct share_merge merge;   /* ... this has started */
};
/**
 * share_range() - XENMEM_sharing_op_range_share: nominate @sgfn + i of @sp
 * and @cgfn + i of @cp and share them, for each i < @nr. Contents are the
 * caller's promise. Pairs that cannot be shared are counted and left alone,
 * as in Xen. Preemptible: the cursor is @r, and r->done says how far it came
 * when there is an error. -ERANGE: no such gfns; -EPERM; -ENOMEM; -ESRCH: a
 * domain is being destroyed.
 */
int must_check share_range(struct p2m *sp, gfn_t sgfn, struct p2m *cp,
                           gfn_t cgfn, uint64_t nr, struct share_range *r,
                           struct work *w);
/** share_range_abort() - give up one that returned -ERESTART. */
void share_range_abort(struct share_range *r);
/** share_add_physmap() - map the shared frame at a hole of @cp. -ERANGE: no
 *  such gfn; -ESRCH: @cp is being destroyed; -EAGAIN: the frame is the client
 *  of a merge. */
int must_check share_add_physmap(struct p2m *sp, gfn_t sgfn, share_handle_t sh,
                                 struct p2m *cp, gfn_t cgfn);
/**
 * share_add_physmap_range() - @nr holes of @cp from @cgfn, @stride apart, all
 * onto the one shared frame. Preemptible: *@done of @nr. An error other than
 * -ERESTART leaves the first *@done added.
 */
int must_check share_add_physmap_range(struct p2m *sp, gfn_t sgfn,
                                       share_handle_t sh, struct p2m *cp,
                                       gfn_t cgfn, uint64_t nr,
                                       uint64_t stride, uint64_t *done,
                                       struct work *w);
/**
 * share_add_range() - map each of the @nr shared frames from @sgfn on at the
 * corresponding hole of @cp from @cgfn on. Preemptible: *@done of @nr; an
 * error other than -ERESTART leaves the first *@done added. -ENOENT, -EINVAL:
 * the next source gfn is a hole, is not shared; -ENOEXEC: somebody unshares
 * it just now; the rest as share_add_physmap().
 */
int must_check share_add_range(struct p2m *sp, gfn_t sgfn, struct p2m *cp,
                               gfn_t cgfn, uint64_t nr, uint64_t *done,
                               struct work *w);
/** share_unshare() - make @gfn private and writable again. -ENOMEM: nothing
 *  changed; 0 also if it was private already. */
int must_check share_unshare(struct p2m *p, gfn_t gfn);
/** share_drop() - p2m_relinquish's drop for a ram_shared entry: remove the
 *  rmap entry and both references; the last sharer frees the frame. Under
 *  the p2m lock, the entry out of the tables and flushed from every CPU. */
void share_drop(struct p2m *p, gfn_t gfn, const struct p2m_entry *e);

/** share_drop_group() - p2m_relinquish's drop for ram_shared entries: as
 *  share_drop(), those that hang off one frame in one step. */
void share_drop_group(struct p2m *p, const struct p2m_group *g);

struct share_stats {
    uint64_t shared_frames;     /* frames owned by DOMID_COW */
    uint64_t saved_frames;      /* sharers - shared frames */
    uint64_t sharers;           /* (domain, gfn) pairs */
    uint64_t nominates, shares, add_physmaps;
    uint64_t unshares_copied, unshares_last, unshares_failed;
    uint64_t rmap_bytes;        /* all reverse-map memory */
};
void share_stats_get(struct share_stats *s);

/** share_domain_stats() - of @p (see p2m.h); valid while @p is. */
struct share_domain_stats *share_domain_stats(struct p2m *p);

/** share_debug_gfn() - sharers of the frame behind a gfn, its mfn, handle. */
struct share_info { mfn_t mfn; share_handle_t handle; uint64_t sharers; };
int must_check share_debug_gfn(struct p2m *p, gfn_t gfn,
                               struct share_info *info);

/** share_debug_mfn() - the same of a frame; -EINVAL: it is not shared, or no
 *  frame. */
int must_check share_debug_mfn(mfn_t mfn, struct share_info *info);

/* A place in the list of all shared frames: a frame's, or an audit's. */
struct share_link {
    struct list link;           /* [sharelist] */
    _Atomic share_handle_t handle;      /* 0: no frame (any more) */
};

struct share_audit {
    uint64_t frames, sharers;   /* seen */
    unsigned bad;               /* violations */
    bool changed;               /* sharing or another audit went on: no sums */
    /* private to audit.c */
    int stage;
    struct share_link cursor;
    struct shared_frame *current;
    struct rmap_pair pairs[4];  /* of it, to be looked at next */
    unsigned nr;
    bool is_scanning;           /* the next slice is for a long scan */
    uint64_t left, changes, scans, fingerprint, seen, nr_surplus, held;
    mfn_t surplus;
    domid_t domain;
    gfn_t gfn;
};
/**
 * share_audit() - S1 type SHARED; S2 owner DOMID_COW; S3 references = type
 * references = rmap entries; S4 each rmap entry's p2m maps this frame as
 * ram_shared; S5 no writable mapping; S6 sums match the counters and each
 * p2m's count of ram_shared. Preemptible; zero *@a first; domains should be
 * paused. Returns 0 when done, violations in @a->bad.
 */
int must_check share_audit(struct share_audit *a, struct work *w);
/** share_audit_abort() - give up an audit that returned -ERESTART. */
void share_audit_abort(struct share_audit *a);
