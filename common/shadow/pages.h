/*
 * pages.h - the objects of a shadow, between the files of common/shadow.
 *
 *      struct shadow                     guest's table at gfn
 *      +-- hash by gfn --> shadow_page ---- sptes (512) + links (512)
 *      |                     parents: chain of the sptes that point here
 *      +-- heads: gfn --> chain of the leaf sptes that map it
 *      +-- unsync: tables that the guest may write, until it flushes
 *      +-- lru (oldest first), pinned; doomed, dying: on the way out
 *
 * A shadow page is live while it is in the hash; then dead: out of the hash
 * and of its parents, and, unless some vCPU's root, doomed. After a flush of
 * every CPU the doomed are dying: they are emptied in slices, and freed.
 * Their sptes stay on the chains until emptied, so that a change of the p2m
 * still reaches them.
 */
#pragma once

#include <quire/errno.h>
#include <quire/list.h>
#include <quire/panic.h>
#include <quire/shadow.h>

/* An spte: the processor's bits, and one of the ignored ones. */
#define SPTE_P (UINT64_C(1) << 0)
#define SPTE_W (UINT64_C(1) << 1)
#define SPTE_U (UINT64_C(1) << 2)
#define SPTE_A (UINT64_C(1) << 5)
#define SPTE_D (UINT64_C(1) << 6)
#define SPTE_SOLE (UINT64_C(1) << 9)    /* the frame has this one gfn */
#define SPTE_NX (UINT64_C(1) << 63)
#define SPTE_MFN UINT64_C(0x000ffffffffff000)

/* The guest's entries: the same bits where they mean the same. */
#define GPTE_P SPTE_P
#define GPTE_W SPTE_W
#define GPTE_U SPTE_U
#define GPTE_A SPTE_A
#define GPTE_D SPTE_D
#define GPTE_PS (UINT64_C(1) << 7)
#define GPTE_NX SPTE_NX

#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)

enum shadow_paging { PAGING_NONE, PAGING_2LEVEL, PAGING_PAE, PAGING_LONG };

/* What the entries above gave, where sptes above do not say it themselves. */
#define ACCESS_W 1u
#define ACCESS_U 2u
#define ACCESS_D 4u
#define ACCESS_ALL 7u

/* What, besides its gfn, makes the contents of a shadow page. */
union shadow_role {
    struct {
        uint32_t level : 3;     /* of the sptes: 1 maps pages */
        uint32_t paging : 2;    /* enum shadow_paging of the guest's table */
        uint32_t quadrant : 2;  /* 2-level: which part of the table */
        uint32_t direct : 1;    /* no table: gfn is where a large page is */
        uint32_t access : 3;    /* ACCESS_ALL, unless wp is 0 */
        uint32_t nxe : 1, pse : 1, wp : 1, smep : 1, smap : 1;
    };
    uint32_t word;
};

struct shadow_page {
    uint64_t parents;           /* head of a chain */
    gfn_t gfn;                  /* (c) */
    mfn_t mfn;                  /* (c) the guest's table; or MFN_INVALID */
    union shadow_role role;     /* (c) but for a vCPU's top */
    spte_ref_t sptes;           /* (c) the first */
    struct shadow_page *hash_next, **hash_link;
    struct list link;           /* lru, pinned, doomed or dying */
    struct list unsync_link;
    uint32_t pins;              /* vCPUs whose root it is */
    uint16_t nr_present;
    uint16_t next;              /* where emptying or comparing goes on */
    bool unsync;
    bool is_top;                /* (c) a vCPU's, below 4 GiB */
    uint8_t writes;             /* unsyncs since a fault last came by */
    _Atomic bool dead;
};

#define HEADS_TOP 128           /* 36 bits of gfn: 7 + 10 + 10 + 9 */

struct shadow {
    struct spinlock lock;
    struct p2m *p2m;            /* (c) counted */
    struct p2m_listener listener;
    unsigned phys_bits;         /* (c) */
    unsigned limit, hash_bits;  /* (c) */
    uint64_t address, reserved; /* (c) of a 64-bit entry, by phys_bits */
    bool has_large;             /* some page of the guest's was ever large */
    bool has_left;              /* destroy: the listener is gone */
    bool tlbs_dirty;            /* some CPU may write where no spte says so */
    unsigned nr_pages;          /* shadow pages of any state, no tops */
    unsigned nr_tops;
    unsigned nr_live[4];        /* by level - 1; tops are not live */
    unsigned nr_unsync;
    unsigned nr_heads;          /* pages of the radix and of heads */
    uint32_t last_heads;        /* mfn: newest in the ring of heads; or 0 */
    uint64_t changes;           /* for the audit */
    uint64_t cursor;            /* of destroy: a bucket, */
    uint64_t head_cursor;       /* then a gfn */
    struct shadow_page **hash;
    struct list lru, pinned, doomed, dying;
    struct list unsync_leaves, unsync_upper;    /* level 1, and above */
    struct shadow_stats stats;
    uint32_t top[HEADS_TOP];    /* mfns; 0: nothing below */
};

/* ---- heads.c: gfn -> chain --------------------------------------------- */
/** heads_find() - 0: no spte maps it. */
head_ref_t heads_find(const struct shadow *s, gfn_t gfn);
/** heads_get() - 0: no memory. May free other pages of heads, all empty. */
head_ref_t heads_get(struct shadow *s, gfn_t gfn);
/** heads_next() - the first gfn in [@gfn, @end) whose page of heads is there,
 *  or @end. Skips what is not there in steps of its size; where that takes
 *  very many, a gfn without a page, from which to go on. */
uint64_t heads_next(const struct shadow *s, uint64_t gfn, uint64_t end);
/** heads_destroy() - all chains are empty. Preemptible. */
int must_check heads_destroy(struct shadow *s, struct work *w);

/* ---- pages.c ----------------------------------------------------------- */
static inline unsigned hash_of(const struct shadow *s, gfn_t gfn)
{
    return (unsigned)(gfn.n * UINT64_C(0x9e3779b97f4a7c15) >>
                      (64 - s->hash_bits));
}

static inline mfn_t page_mfn(const struct shadow_page *sp)
{
    return MFN(((uint64_t)sp->sptes * 8 >> PAGE_SHIFT) - 1);
}

/** The shadow page at @mfn. */
static inline struct shadow_page *page_at(mfn_t mfn)
{
    return mfn_to_frame(mfn)->user;
}

static inline mfn_t spte_mfn(uint64_t spte)
{
    return MFN((spte & SPTE_MFN) >> PAGE_SHIFT);
}

/** Whose spte it is. */
static inline struct shadow_page *page_of(spte_ref_t ref)
{
    return page_at(MFN(((uint64_t)ref * 8 >> PAGE_SHIFT) - 1));
}

/** page_table_mfn() - the RAM that a table at @gfn is in, or MFN_INVALID. */
mfn_t page_table_mfn(const struct shadow *s, gfn_t gfn);
/** page_find() - live, or NULL. */
struct shadow_page *page_find(const struct shadow *s, gfn_t gfn,
                              union shadow_role role);
/** page_create() - live and in sync, its gfn not write-protected yet.
 *  -ENOMEM; -ERESTART: making room, call again. */
int must_check page_create(struct shadow *s, gfn_t gfn,
                           union shadow_role role, struct work *w,
                           struct shadow_page **page);
#define TOP_MFN_END (UINT64_C(1) << 20)     /* a CR3 of 32 bits */

/** is_top_place() - the page of sptes at @ref can be a vCPU's top. */
static inline bool is_top_place(spte_ref_t ref)
{
    return (uint64_t)ref * 8 >> PAGE_SHIFT < TOP_MFN_END;
}
/** tops_take() - an empty page of sptes below 4 GiB of those kept; 0: none. */
spte_ref_t tops_take(void);
/** tops_give() - keep it, if it is one and there is room. */
bool must_check tops_give(spte_ref_t ref);
/** page_create_top() - for a vCPU without long mode. */
struct shadow_page *page_create_top(struct shadow *s);
void page_destroy_top(struct shadow *s, struct shadow_page *sp);
/** page_link() - @ref, empty, points at @child with @bits of rights. */
int must_check page_link(struct shadow *s, spte_ref_t ref,
                         struct shadow_page *child, uint64_t bits);
/** page_clear() - make one present spte of @sp, at @ref, empty. */
void page_clear(struct shadow *s, struct shadow_page *sp, spte_ref_t ref);
/** page_clear_parents() - nothing points at @sp any more. Preemptible. */
int must_check page_clear_parents(struct shadow *s, struct shadow_page *sp,
                                  struct work *w);
/** page_drop() - live becomes dead. What is left of its parents is cleared in
 *  one go; returns how many those were. */
unsigned page_drop(struct shadow *s, struct shadow_page *sp);
void page_pin(struct shadow *s, struct shadow_page *sp);
void page_unpin(struct shadow *s, struct shadow_page *sp);
/** page_touch() - a live one, no root, is not the oldest any more. */
static inline void page_touch(struct shadow *s, struct shadow_page *sp)
{
    list_remove(&sp->link);
    list_append(&s->lru, &sp->link);
    sp->writes = 0;
}
/** page_empty_dying() - and free. Preemptible. 0: none is left. */
int must_check page_empty_dying(struct shadow *s, struct work *w);
/** shadow_flush() - every CPU; the doomed are dying after it. */
void shadow_flush(struct shadow *s);

/* ---- protect.c --------------------------------------------------------- */
#define MAX_CHAIN 128           /* walked in one go */
/** protect_gfn() - no spte may write it; *@need_flush: a flush is needed
 *  first. Takes what it walks from *@room, of MAX_CHAIN at least; -ERESTART
 *  (the chain is longer, and some of it gone): call again. */
int must_check protect_gfn(struct shadow *s, gfn_t gfn, unsigned *room,
                           bool *need_flush);
/** is_table_in_sync() - some shadow page relies on @gfn not changing: it is in
 *  sync, or has been compared in part. */
bool is_table_in_sync(const struct shadow *s, gfn_t gfn);
/** let_unsync() - every shadow page of @gfn, which may be written now. */
void let_unsync(struct shadow *s, gfn_t gfn);
/** protect_changed(), protect_prepare() - the p2m's listener. */
void protect_changed(struct p2m_listener *l, struct p2m *p, gfn_t gfn,
                     uint64_t nr);
int must_check protect_prepare(struct p2m_listener *l, gfn_t gfn,
                               uint64_t nr, struct work *w);

/* ---- sync.c ------------------------------------------------------------ */
union shadow_role role_of(const struct guest_paging *pg);
/** role_now() - the same; as of the load that @sv's root is of, unless a
 *  register has changed since. load.c */
union shadow_role role_now(const struct shadow_vcpu *sv,
                           const struct guest_paging *pg);
/* What an entry of a table above level 1 asks for. */
struct shadow_child { gfn_t gfn; union shadow_role role; uint64_t bits; };
/** child_of() - for spte @i of a page of @role, the guest's entry being @e.
 *  False: not present, not accessed yet, or not valid. */
bool must_check child_of(const struct shadow *s, union shadow_role role,
                         unsigned i, uint64_t e, struct shadow_child *c);
/** leaf_bits() - P, W, U and NX that a leaf spte may have for entry @e (a
 *  direct one: 0), p2m aside. @promote: write for the supervisor, CR0.WP=0. */
uint64_t leaf_bits(union shadow_role role, uint64_t e, bool promote);
/** direct_child() - below a direct page or a large page of the guest's. */
void direct_child(union shadow_role role, gfn_t gfn, struct shadow_child *c);
/** entry_of() - the guest's entry behind spte @i of a page for a table. */
uint64_t entry_of(const struct shadow_page *sp, unsigned i);
/** is_entry_stale() - present spte @i is not what the guest's entry says. */
bool is_entry_stale(const struct shadow *s, const struct shadow_page *sp,
                    unsigned i);
/** is_leaf_allowed() - spte bits and frame are what entry @e of the table (or
 *  the page of a direct role, at @gfn) and the p2m give. */
bool is_leaf_allowed(const struct shadow *s, union shadow_role role,
                     uint64_t spte, uint64_t e, gfn_t gfn);
/** sync_all() - Preemptible. */
int must_check sync_all(struct shadow *s, bool also_leaves, struct work *w);
/** page_get() - found, or made with its gfn write-protected. Errors as
 *  page_create(). @w: for bringing all tables up to date, so that what was
 *  read of any before is to be read again, and what is not pinned may be dead
 *  by then. */
int must_check page_get(struct shadow *s, gfn_t gfn, union shadow_role role,
                        struct work *w, struct shadow_page **page);
