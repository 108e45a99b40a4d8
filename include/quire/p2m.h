/*
 * p2m.h - the physical-to-machine map of one guest address space: nested page
 * tables with 4K, 2M and 1G entries, and the only gate through which they
 * change.
 *
 * Ownership: counted; each vCPU that points at a p2m, and the domain, hold a
 * reference. The owner is named by number. Table pages are counted too, keep
 * their population and an occupancy map, and are written only through
 * p2m_table_make_writable().
 *
 * Reading (p2m_lookup) takes no lock: tables are freed after a grace period.
 * What a lookup returned is a hint until checked again under the p2m lock.
 *
 * Writing is a batch:
 *     p2m_batch_begin(&b, p2m);                  takes the p2m lock
 *     err = p2m_batch_reserve(&b, gfn, nr, order); may fail; nothing changed
 *     p2m_set(&b, gfn, mfn, order, type);        cannot fail once reserved
 *     p2m_batch_put_frame(&b, frame);            dropped after the flush
 *     p2m_batch_end(&b);                         notify, flush, free, unlock
 * Every stretch of contiguous changed gfns is one notification. The flush
 * bumps the p2m's generation, kicks each CPU that is in a guest on this p2m
 * and waits until it has left; a p2m with no users flushes nothing.
 */
#pragma once

#include <quire/frame_table.h>
#include <quire/grace.h>
#include <quire/list.h>
#include <quire/lock.h>
#include <quire/work.h>

/* Xen's types, Xen's names. */
#define P2M_TYPES(X) \
    X(ram_rw) X(invalid) X(ram_ro) X(mmio_dm) X(mmio_direct) \
    X(ram_shared) X(ram_broken) X(map_foreign) X(pod) \
    X(ram_paging_out) X(ram_paged) X(ram_paging_in) \
    X(grant_map_rw) X(grant_map_ro)

enum p2m_type {
#define P2M_TYPE_ENUM(t) p2m_##t,
    P2M_TYPES(P2M_TYPE_ENUM)
#undef P2M_TYPE_ENUM
    NR_P2M_TYPES
};
static_assert(NR_P2M_TYPES <= 64, "6 bits in the entry");
/** p2m_type_name() - "ram_rw" and so on. */
const char *p2m_type_name(enum p2m_type t);

/* Why accesses to an entry are watched although its type would allow them. */
enum p2m_tracking {
    P2M_TRACK_LOGDIRTY = 1,     /* no write */
    P2M_TRACK_EXCLUSIVE = 2,    /* no write */
    P2M_TRACK_SHADOW = 4,       /* no write: a guest page table */
    P2M_TRACK_SCANNER = 8,      /* no write */
};

#define P2M_R 1u
#define P2M_W 2u
#define P2M_X 4u
/** p2m_rights() - the one place where type and tracking become R/W/X. */
unsigned p2m_rights(enum p2m_type t, unsigned tracking);

#define P2M_ORDER_4K 0u
#define P2M_ORDER_2M 9u
#define P2M_ORDER_1G 18u
#define P2M_GFN_BITS 36         /* gfns are below 2^36 (48-bit gpa) */

struct p2m_entry {
    mfn_t mfn;              /* of the gfn asked for; MFN_INVALID if none */
    enum p2m_type type;     /* p2m_invalid for a hole */
    unsigned tracking;
    unsigned order;         /* of the mapping (or hole) that holds the gfn */
};

/* A nested page fault, as the processor reported it. */
struct npf {
    gpa_t gpa;
    unsigned access;        /* P2M_R, P2M_W or P2M_X */
    bool present;           /* the entry was present: a question of rights */
    bool in_walk;           /* fault on the guest's own table walk */
    bool was_unshared;      /* out, by the handler: that is what it did */
};

/* What sharing did to one p2m. cow_faults: write faults on shared gfns;
 * copies, last_sharers: how its gfns became private; saved_by_drop: shared
 * gfns dropped by the kill that never cost a frame. */
struct share_domain_stats {
    _Atomic uint64_t cow_faults, copies, last_sharers, saved_by_drop;
};

struct p2m;
struct p2m_table;               /* common/p2m/table.h */
struct p2m_listener {
    struct list link;
    /* under the p2m lock, after the change, before the flush */
    void (*changed)(struct p2m_listener *l, struct p2m *p2m, gfn_t gfn,
                    uint64_t nr);
    /* under the p2m lock, before the change; NULL: nothing to prepare */
    int must_check (*prepare)(struct p2m_listener *l, gfn_t gfn, uint64_t nr,
                              struct work *w);
};

struct p2m {
    struct spinlock lock;       /* rank P2M, key owner */
    _Atomic uint32_t refs;
    domid_t owner;              /* (c) */
    mfn_t root;                 /* (c) top table (level 4) */
    _Atomic uint64_t generation;    /* (a) bumped by each flush */
    _Atomic bool no_users;      /* (a) descheduled for good: no flush needed */
    struct list listeners;      /* [p2m] */
    _Atomic bool has_listeners; /* [p2m] to write, (a) to read */
    /* Populated entries in 4K units, by type. [p2m] to write, (a) to read */
    _Atomic uint64_t count[NR_P2M_TYPES];
    _Atomic uint64_t nr_tables;     /* (a) table pages, root included */
    _Atomic uint64_t nr_flushes;    /* (a) */
    struct share_domain_stats share;    /* (a) sharing's; never used here */
    struct share_base *base;    /* [p2m] a fork's, sharing's too; or NULL */
    uint16_t trust_group;       /* (c) sharing's: nothing is shared across */
    _Atomic bool is_scanned;    /* (a) the scanner's: it has opted in */
    struct {                    /* [p2m] the superpage that relinquish has */
        uint64_t entry;         /* taken out and not dropped whole, or 0 */
        gfn_t first, end;
    } dropping;
    struct grace_head grace;    /* deferred free */
};

/** p2m_create() - an empty map owned by @owner, registered under that id; one
 *  reference. NULL: no memory, or the id has one already. */
struct p2m *p2m_create(domid_t owner);
void p2m_get(struct p2m *p);
/** p2m_put() - the last put frees it; the map must be empty by then (BUG). */
void p2m_put(struct p2m *p);
/** p2m_get_by_owner() - a reference to the p2m of @owner, or NULL. */
struct p2m *p2m_get_by_owner(domid_t owner);

/** p2m_birth() - unlike that of any other map, before and after, whatever its
 *  owner's id: tells whether the id is still the same domain's. */
uint64_t p2m_birth(const struct p2m *p);

/** p2m_lookup() - what @gfn maps to. No lock; see above. */
struct p2m_entry p2m_lookup(const struct p2m *p, gfn_t gfn);

struct p2m_batch {
    struct p2m *p2m;
    gfn_t first, last;          /* stretch not yet notified, last exclusive */
    bool need_flush;            /* rights fell or a frame changed */
    unsigned nr_put;
    struct frame *put[64];      /* frames to drop after the flush */
    struct list reserved;       /* table pages in hand */
    unsigned nr_reserved;
    struct p2m_table *dead;     /* unlinked, freed after flush and grace */
    struct list emptied;        /* no entry left: unlinked at the end */
    struct p2m_table *leaf;     /* the level 1 table used last, or NULL, */
    uint64_t leaf_base;         /* ... and its first gfn >> 9 */
};

void p2m_batch_begin(struct p2m_batch *b, struct p2m *p);
/**
 * p2m_batch_reserve() - tables enough to set any entries of @order in
 * [@gfn, @gfn + @nr), splits of superpages in the way included.
 * -ENOMEM: nothing changed. -ERANGE: beyond P2M_GFN_BITS. -ESRCH: the map is
 * being relinquished (no_users) and takes nothing new.
 */
int must_check p2m_batch_reserve(struct p2m_batch *b, gfn_t gfn, uint64_t nr,
                                 unsigned order);
/**
 * p2m_set() - the one gate: make 2^@order gfns at @gfn (aligned) map to @mfn
 * (aligned; MFN_INVALID for types without a frame) as @type, no tracking.
 * Splits a superpage that covers more; @order > 0 replaces what is below only
 * if that is empty (BUG otherwise). Frame references are the caller's
 * business: one set into the entry, one to put for what was replaced.
 */
void p2m_set(struct p2m_batch *b, gfn_t gfn, mfn_t mfn, unsigned order,
             enum p2m_type type);
/** p2m_batch_lookup() - p2m_lookup_locked(), which makes a p2m_set() of the same
 *  gfn cheap. */
struct p2m_entry p2m_batch_lookup(struct p2m_batch *b, gfn_t gfn);
/**
 * p2m_set_neighbours() - p2m_set() for @nr neighbouring 4K gfns, all in one 2M range:
 * the i-th maps to mfn[i * @step] (step 0: all the same frame). @type is one
 * with a frame; superpages must be split, tables reserved.
 */
void p2m_set_neighbours(struct p2m_batch *b, gfn_t gfn, unsigned nr,
                 enum p2m_type type, const mfn_t *mfn, unsigned step);
/** p2m_read_neighbours() - p2m_lookup_locked() for up to @nr neighbours; how many.
 *  It ends with their 2M range. 0: no 4K entries there. */
unsigned p2m_read_neighbours(struct p2m_batch *b, gfn_t gfn, unsigned nr,
                      struct p2m_entry *out);
/** p2m_set_tracking() - change the reasons of one gfn that is not a hole; in a
 *  superpage it splits, which must have been reserved. */
void p2m_set_tracking(struct p2m_batch *b, gfn_t gfn, unsigned tracking);
/** p2m_batch_put_frame() - frame_put(@f) after the flush. To give up an own
 *  frame: frame_get(), frame_put_allocated(), then this. */
void p2m_batch_put_frame(struct p2m_batch *b, struct frame *f);
/** p2m_batch_flush() - notify and flush what was set so far, and put the
 *  frames; the lock stays, the batch goes on. For changes that must be final
 *  on every CPU before the next step. */
void p2m_batch_flush(struct p2m_batch *b);
void p2m_batch_end(struct p2m_batch *b);

/** p2m_lookup_locked() - as p2m_lookup(), exact under the batch's lock. */
struct p2m_entry p2m_lookup_locked(struct p2m *p, gfn_t gfn);

/**
 * p2m_next() - the first non-hole entry at or after @gfn, and below @end.
 * Holes are skipped by occupancy maps, never scanned. False: none. No lock,
 * or under the batch's.
 */
bool p2m_next(const struct p2m *p, gfn_t gfn, gfn_t end, gfn_t *found,
              struct p2m_entry *entry);

/**
 * p2m_prepare() - have the listeners make a change of [@gfn, @gfn + @nr) (512
 * at most) short, before its batch: of what a shadow maps very often all but
 * a few are unmapped, in slices. Who does not care may leave it out.
 * Preemptible: -ERESTART: again later.
 */
int must_check p2m_prepare(struct p2m *p, gfn_t gfn, uint64_t nr,
                           struct work *w);
/** p2m_prepare_listeners() - the same under the p2m lock, which is to be given
 *  up for -ERESTART. */
int must_check p2m_prepare_listeners(struct p2m *p, gfn_t gfn, uint64_t nr,
                                     struct work *w);

void p2m_add_listener(struct p2m *p, struct p2m_listener *l);
void p2m_remove_listener(struct p2m *p, struct p2m_listener *l);

/*
 * Faults. p2m_fault() looks the gfn up and calls the handler of its type.
 * Handlers are registered once at boot by the siblings (sharing: ram_shared).
 */
enum p2m_fault_result {
    P2M_FAULT_RETRY,        /* resolved, or spurious: run the instruction */
    P2M_FAULT_MMIO,         /* hole or MMIO: emulate or inject */
    P2M_FAULT_DENIED,       /* rights forbid it: write to ram_ro */
    P2M_FAULT_NOMEM,        /* park or kill; nothing changed */
};
struct p2m_slot;                /* of the entry; p2m_slot.h */
typedef enum p2m_fault_result p2m_fault_fn(const struct p2m_slot *s,
                                           struct npf *f);
void p2m_register_fault(enum p2m_type t, p2m_fault_fn *fn);
/** p2m_register_locked_fault() - the same for a handler that is called under
 *  the p2m lock, and only if the entry, of 4K and @mfn, is still what it was;
 *  else the fault is to happen again. */
typedef enum p2m_fault_result p2m_locked_fault_fn(const struct p2m_slot *s,
                                                  struct npf *f, mfn_t mfn);
void p2m_register_locked_fault(enum p2m_type t, p2m_locked_fault_fn *fn);
enum p2m_fault_result p2m_fault(struct p2m *p, struct npf *f);

/*
 * Flush protocol, used by the world switch of both arches.
 * p2m_guest_enter() publishes that this CPU is about to enter a guest on @p
 * and returns the generation its translations must have; p2m_guest_leave()
 * withdraws it, first thing after #VMEXIT.
 */
uint64_t p2m_guest_enter(struct p2m *p);
void p2m_guest_leave(void);
/**
 * p2m_access_begin() - the hypervisor is about to read or write the guest's
 * memory through @p without its lock: until p2m_access_end() every flush waits
 * for it as for a guest, so that what p2m_lookup() says keeps its frame and
 * its rights. In between: no lock, no wait, a page at most. False: the map is
 * being relinquished, nothing was begun.
 */
bool must_check p2m_access_begin(struct p2m *p);
void p2m_access_end(void);
/** p2m_retire() - the last flush: sets no_users, and returns when no access
 *  is under way that has not seen it. Callers hold the p2m lock. */
void p2m_retire(struct p2m *p);
/** p2m_flush() - see above; callers hold the p2m lock or its shadow's, or own
 *  @p alone. */
void p2m_flush(struct p2m *p);

/*
 * ASIDs: 1 .. nr-1 on each CPU, recycled by generation. asid_assign() gives
 * @slot a valid ASID for translations of (@p2m_key, @p2m_generation) and
 * returns true if the CPU must flush all its guest translations at entry.
 */
struct asid_slot { uint64_t cpu_generation, p2m_generation; const void *p2m;
                   uint32_t asid, cpu; };
void asid_cpu_init(unsigned nr_asids);
bool asid_assign(struct asid_slot *slot, const struct p2m *p,
                 uint64_t p2m_generation);

/* How the entries of a group lie: entry i mapped 2^order gfns from ... */
enum p2m_group_form {
    P2M_NEIGHBOURS,     /* first + i on, to mfn[i] */
    P2M_RUN,            /* first + i on, to mfn[0] + i */
    P2M_SCATTERED,      /* gfn[i] on, to mfn[i] */
};

/* What p2m_relinquish() has taken out together: entry i for each bit of
 * @map. Neighbours of 4K are in one stretch of 64 gfns. */
struct p2m_group {
    gfn_t first;                /* of neighbours: a multiple of 64 */
    unsigned order;
    enum p2m_type type;         /* of them all */
    enum p2m_group_form form;
    uint64_t map;               /* never 0; a superpage is bit 0 */
    mfn_t mfn[64];              /* where map has a bit */
    gfn_t gfn[64];              /* the same, if scattered */
};

static inline gfn_t p2m_group_gfn(const struct p2m_group *g, unsigned i)
{
    return g->form == P2M_SCATTERED
               ? g->gfn[i] : gfn_add(g->first, (uint64_t)i << g->order);
}

static inline mfn_t p2m_group_mfn(const struct p2m_group *g, unsigned i)
{
    return g->form == P2M_RUN ? mfn_add(g->mfn[0], i) : g->mfn[i];
}

typedef void p2m_drop_fn(struct p2m *p, const struct p2m_group *g);

/**
 * p2m_relinquish() - drop every entry: @drop is called under the p2m lock for
 * groups of them that are out of the tables already, in ascending order.
 * Superpages come 2M at a time; holes cost nothing; empty tables are freed on
 * the way. Preemptible: *@cursor is the next gfn, 0 at first. Needs no_users.
 */
int must_check p2m_relinquish(struct p2m *p, gfn_t *cursor, p2m_drop_fn *drop,
                              struct work *w);

struct p2m_audit {
    unsigned bad;               /* violations */
    /* private to audit.c */
    struct p2m *p2m;
    unsigned pass, level;
    uint64_t cursor;            /* gfn */
    uint64_t frames_gfn;        /* of a superpage: the next to look at */
    mfn_t frames;
    enum p2m_type frames_type;
    uint64_t tables, count[NR_P2M_TYPES];
};
/**
 * p2m_audit_run() - P1 occupancy maps and populations match the entries; P2
 * counts by type match; P3 every present entry's frame is RAM, allocated and
 * of the right owner; P4 table counts, places and references, and none but
 * the root is empty; P5 each entry's rights are those of its type and
 * tracking. Takes the p2m lock. Preemptible; zero *@a first. Returns 0 when
 * done, violations in @a->bad, each printed. A map that changes meanwhile is
 * looked at again, a few times.
 */
int must_check p2m_audit_run(struct p2m_audit *a, struct p2m *p,
                             struct work *w);
/** p2m_audit() - the same in one go; returns the violations. */
unsigned p2m_audit(struct p2m *p);
