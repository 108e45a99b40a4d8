/*
 * frame_table.h - one struct frame per machine frame.
 *
 * Counted as in Xen. A *reference* keeps the frame allocated; a *type
 * reference* keeps its type. A frame has one type at a time, changed only
 * while its type count is 0. The owner's hold is the ALLOCATED flag plus one
 * reference; the last frame_put() returns the frame to the allocator, which
 * is when its owner's page count falls.
 *
 * A block of 2M may be whole: then one record is enough to free it, and the
 * functions here take it apart when they need the record of one frame.
 *
 * Lifetime: page_alloc*() makes it with refs = 1 (and ALLOCATED if owned).
 * Locks: none; counts are atomic. The union belongs to the frame's user: the
 * buddy while free, the p2m while a table, sharing while FRAME_TYPE_SHARED
 * (under that frame's page lock).
 */
#pragma once

#include <quire/panic.h>
#include <quire/types.h>
#include <quire/work.h>

enum frame_use {
    FRAME_ABSENT,       /* no RAM here */
    FRAME_FREE,         /* in the buddy or a per-CPU cache */
    FRAME_BOOT,         /* image, modules, the frame table itself */
    FRAME_PERCPU,       /* stacks, per-CPU and per-vCPU machine pages */
    FRAME_HEAP,
    FRAME_TABLE,        /* p2m tables, shadow pages */
    FRAME_GUEST,        /* owned by a domain */
    FRAME_SHARED,       /* owned by DOMID_COW */
    NR_FRAME_USES
};

enum frame_type { FRAME_TYPE_NONE, FRAME_TYPE_WRITABLE, FRAME_TYPE_SHARED };

#define FRAME_ALLOCATED (UINT64_C(1) << 63)
/* The first frame of a *whole* block: 2M, aligned, of one owner, of which no
 * frame was ever looked at by itself. Its record speaks for all of them; the
 * others' are those of free frames, but for the owner. frame_whole.c */
#define FRAME_WHOLE (UINT64_C(1) << 62)
#define FRAME_PARTING (UINT64_C(1) << 61)   /* it is being taken apart */
#define FRAME_REFS_MASK UINT64_C(0xffffffff)

struct frame {
    _Atomic uint64_t refs;      /* (a) ALLOCATED | reference count */
    _Atomic uint64_t type;      /* (a) enum frame_type << 56 | type count */
    union {
        struct { uint32_t next, prev; } list;   /* mfns, while free */
        void *user;                             /* while in use */
    };
    _Atomic uint16_t owner;     /* domid; DOMID_XEN, DOMID_COW */
    uint8_t use;                /* enum frame_use */
    uint8_t order;              /* of the block it heads */
    _Atomic uint16_t flags;     /* (a) the page allocator's own */
    uint16_t scan_stamp;        /* the scanner's: who had it last, and when */
};
static_assert(sizeof(struct frame) == 32, "32 bytes a frame");

extern struct frame *frame_table;
extern uint64_t frame_table_end;    /* mfns are below this */

static inline struct frame *mfn_to_frame(mfn_t m) { return frame_table + m.n; }
static inline mfn_t frame_to_mfn(const struct frame *f)
{
    return MFN((uint64_t)(f - frame_table));
}
static inline bool mfn_is_ram(mfn_t m)
{
    /* Sharing may turn GUEST into SHARED and back meanwhile. */
    return m.n < frame_table_end &&
           __atomic_load_n(&frame_table[m.n].use, __ATOMIC_RELAXED) !=
               FRAME_ABSENT;
}
static inline domid_t frame_owner(const struct frame *f) { return f->owner; }
/** frame_part() - give each frame of the whole block that @f is in a record of
 *  its own. False: @f is in none. */
bool frame_part(struct frame *f);
/** frame_is_in_whole() - whether @f is of a whole block. */
bool frame_is_in_whole(const struct frame *f);
static inline uint32_t frame_refs(const struct frame *f)
{
    uint64_t refs = f->refs;

    return likely(refs != 0) ? (uint32_t)refs : frame_is_in_whole(f);
}
/** frame_use_of() - what @f is used for, whoever's record says so. */
static inline enum frame_use frame_use_of(const struct frame *f)
{
    enum frame_use use = (enum frame_use)__atomic_load_n(&f->use,
                                                         __ATOMIC_RELAXED);

    return use == FRAME_FREE && frame_is_in_whole(f) ? FRAME_GUEST : use;
}

/**
 * frame_get() - take a reference if @f is allocated and owned by @owner.
 * -ESRCH: free, or another's. -EOVERFLOW: the count is full.
 */
int must_check frame_get(struct frame *f, domid_t owner);
/** frame_put() - drop one; the last frees the frame (one frame, order 0). */
void frame_put(struct frame *f);
/** frame_put_allocated() - clear ALLOCATED and drop its reference. The caller
 *  must own the allocation; a second call is a BUG. */
void frame_put_allocated(struct frame *f);
/** frame_put_many() - drop @n at once; the last frees the frame. */
void frame_put_many(struct frame *f, uint32_t n);
/**
 * frame_free_group() - frame_put_allocated() for each mfn[i] of @map that
 * nobody but @owner holds, all of it at once. Returns the map of the others,
 * which stay as they were.
 */
uint64_t must_check frame_free_group(domid_t owner, const mfn_t *mfn,
                                     uint64_t map);
/** frame_free_run() - the same for @nr frames in a row (at most 512). Stops
 *  at the first that somebody else holds; returns how many were freed. */
unsigned must_check frame_free_run(domid_t owner, struct frame *f,
                                   unsigned nr);
/** frame_get_type() - -EBUSY: in use under another type. */
int must_check frame_get_type(struct frame *f, enum frame_type t);
void frame_put_type(struct frame *f);
/** frame_put_type_many() - drop @n type references at once. */
void frame_put_type_many(struct frame *f, uint32_t n);
static inline enum frame_type frame_type(const struct frame *f)
{
    return (enum frame_type)(f->type >> 56);
}
static inline uint64_t frame_type_count(const struct frame *f)
{
    return f->type & ((UINT64_C(1) << 56) - 1);
}
/** frame_end_type() - drop the last one, while the caller's lock keeps
 *  everybody from taking another. */
static inline void frame_end_type(struct frame *f)
{
    BUG_ON(frame_type_count(f) != 1);
    atomic_store_explicit(&f->type, 0, memory_order_release);
}
/**
 * frame_set_owner() - hand an allocated frame to another owner: moves the
 * page counts of both and FRAME_GUEST <-> FRAME_SHARED. -ENOMEM: the new
 * owner is at its limit (nothing changed). Caller holds the page's lock or
 * the only reference.
 */
int must_check frame_set_owner(struct frame *f, domid_t to);

/** frame_put_holders() - the reverse of frame_get_many(): @n of more. */
static inline void frame_put_holders(struct frame *f, uint32_t n)
{
    uint64_t types = atomic_fetch_sub_explicit(&f->type, n,
                                               memory_order_release);
    uint64_t refs = atomic_fetch_sub_explicit(&f->refs, n,
                                              memory_order_acq_rel);

    BUG_ON(types << 8 <= (uint64_t)n << 8);
    BUG_ON((refs & FRAME_REFS_MASK) <= n);
}
/** frame_get_many() - @n references and @n type references more to a frame
 *  that the caller has one of each to. -EOVERFLOW: nothing changed. */
int must_check frame_get_many(struct frame *f, uint32_t n);
/**
 * frame_try_share() - make a domain's frame DOMID_COW's, of type SHARED, with
 * @holders references and type references. False: somebody else refers to it,
 * nothing changed. The page counts stay behind: frame_move_pages() moves those
 * of many at once. The caller's locks keep them together.
 */
bool must_check frame_try_share(struct frame *f, uint32_t holders);
/** frame_unshare() - the reverse, for the last holder: the frame is @to's, its
 *  type reference gone. -ENOMEM: @to is at its limit, nothing changed. */
int must_check frame_unshare(struct frame *f, domid_t to);
/** frame_move_pages() - @nr pages of @from's have become DOMID_COW's. */
void frame_move_pages(domid_t from, uint64_t nr);
/** frame_is_exclusive() - nobody but its owner refers to @f. */
static inline bool frame_is_exclusive(const struct frame *f)
{
    uint64_t refs = f->refs;

    if (unlikely(refs == 0)) {
        return frame_is_in_whole(f);
    }
    return (refs & ~(FRAME_WHOLE | FRAME_PARTING)) == (FRAME_ALLOCATED | 1) &&
           frame_type_count(f) == 0;
}

/* Boot: called once by arch, before any other function of mem/. */
struct ram_range { mfn_t start; uint64_t nr; };
/**
 * frame_table_init() - describe the machine.
 * @ram: ascending, disjoint ranges of usable RAM; @reserved: ranges inside
 * them that hold the image, modules and so on (FRAME_BOOT). Carves the frame
 * table itself out of @ram; the rest goes to the page allocator.
 */
void frame_table_init(const struct ram_range *ram, unsigned nr_ram,
                      const struct ram_range *reserved, unsigned nr_reserved);

struct mem_totals { uint64_t frames[NR_FRAME_USES]; uint64_t total; };
/** mem_totals_get() - frames by use, from the running counters. */
void mem_totals_get(struct mem_totals *t);
struct mem_audit {
    unsigned bad;               /* violations */
    /* private to audit.c */
    unsigned pass, order, restarts;
    int stage;
    bool is_walking;
    uint64_t cursor, changes;
    uint32_t next;
};
/**
 * mem_audit_run() - walk the frame table, the free lists, the caches and the
 * owners; compare with the running counters (M1: every frame of RAM in one
 * use; M2: free lists = FREE frames; M3: owner counts; M4: refs sane).
 * Preemptible; zero *@a first. Returns 0 when done, violations in @a->bad,
 * each printed by name. The machine should be quiet: a little that goes on
 * meanwhile makes it look again. One at a time.
 */
int must_check mem_audit_run(struct mem_audit *a, struct work *w);
/** mem_audit() - the same in one go; returns the violations. */
unsigned mem_audit(void);
