/*
 * internal.h - what the files of common/mem say to each other.
 *
 *     page_alloc.c   per-CPU caches, poison   <- frame_ref.c, heap.c
 *     buddy.c        free blocks by order     <- page_alloc.c
 *     frame_whole.c  2M by one record         <- frame_ref.c, frame_free.c
 *     pressure.c     when memory is short     <- page_alloc.c, frame_ref.c
 *     owner.c        charges                  <- page_alloc.c, frame_ref.c
 *     frame_table.c  boot, totals             audit.c reads them all
 */
#pragma once

#include <quire/arch.h>
#include <quire/frame_table.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>
#include <quire/panic.h>

/* struct frame's flags */
#define FRAME_IN_BUDDY 1u   /* heads a block on a free list */
#define FRAME_POISONED 2u   /* free, and filled with FRAME_POISON */

/* Changed only by whoever has the frame (the buddy, under its lock, while it
 * is free); the buddy looks at those of frames in use too. So plain moves do,
 * but atomic ones. */
static inline bool frame_has_flag(const struct frame *f, unsigned flag)
{
    return atomic_load_explicit(&f->flags, memory_order_relaxed) & flag;
}
static inline void frame_set_flag(struct frame *f, unsigned flag)
{
    unsigned flags = atomic_load_explicit(&f->flags, memory_order_relaxed);

    atomic_store_explicit(&f->flags, (uint16_t)(flags | flag),
                          memory_order_relaxed);
}
static inline void frame_clear_flag(struct frame *f, unsigned flag)
{
    unsigned flags = atomic_load_explicit(&f->flags, memory_order_relaxed);

    atomic_store_explicit(&f->flags, (uint16_t)(flags & ~flag),
                          memory_order_relaxed);
}

/* mfn_is_ram() looks at the use of any frame, at any time. */
fast_path void frame_set_use(struct frame *f, enum frame_use use)
{
    __atomic_store_n(&f->use, (uint8_t)use, __ATOMIC_RELAXED);
}

/*
 * Frames by use, one set of counters per CPU so that counting costs two
 * plain moves: one CPU's may go negative, the sum is right. FRAME_FREE is not
 * counted here: it is what the allocator itself holds.
 */
struct use_counts { cache_aligned _Atomic int64_t n[NR_FRAME_USES]; };
extern struct use_counts use_counts[MAX_CPUS];

static inline void count_use(enum frame_use use, int64_t n)
{
    _Atomic int64_t *c = &use_counts[arch_cpu()].n[use];

    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) +
                          n, memory_order_relaxed);
}

/* frame_whole.c */
/** frame_set_up_whole() - the records of @nr frames of blocks that are whole
 *  once all of them are set up. */
void frame_set_up_whole(struct frame *f, uint64_t nr, domid_t owner);
/** frame_free_whole() - @f heads a whole block that nobody else holds: it is
 *  nobody's now, and FRAME_FREE. False: it is not so, and as it was. */
bool must_check frame_free_whole(struct frame *f);

/* page_alloc.c */
void page_alloc_init(void);
/** page_take() - page_alloc() without the injected failures. */
struct frame *page_take(unsigned order, enum frame_use use);
/** page_give_single() - a frame whose last reference is gone. */
void page_give_single(struct frame *f);
/** page_give_runs() - frames in runs, FRAME_FREE and counted so. */
struct frame_run { uint32_t start, nr; };       /* mfns */
void page_give_runs(const struct frame_run *r, unsigned n);
/** page_cached() - the frame at place @i of all CPUs' caches, or NULL; for a
 *  quiet machine. */
#define PAGE_CACHED_MAX (MAX_CPUS * PAGE_CACHE_MAX)
struct frame *page_cached(unsigned i);

/* pressure.c */
struct pressure {
    _Atomic bool on;            /* (a) somebody waits for memory */
    _Atomic uint64_t reserve;   /* (a) frames for what is urgent alone */
    _Atomic uint64_t held;      /* (a) frames for those who wait */
};
extern struct pressure pressure;
void pressure_init(void);
/** pressure_freed() - something of @owner's has come free, under pressure. */
void pressure_freed(domid_t owner);
fast_path void pressure_check(domid_t owner)
{
    if (unlikely(atomic_load_explicit(&pressure.on, memory_order_relaxed))) {
        pressure_freed(owner);
    }
}

/* buddy.c; each takes and drops the PAGE lock. An allocation leaves @floor
 * frames alone. */
void buddy_init(void);
void buddy_add_range(mfn_t start, uint64_t nr);
struct frame *buddy_take(unsigned order, uint64_t floor);
void buddy_give(struct frame *f, unsigned order);
/** buddy_take_singles() - up to @n single frames; returns how many. */
unsigned buddy_take_singles(struct frame **out, unsigned n, uint64_t floor);
/** buddy_give_singles() - any frames; returns how many runs of neighbours they
 *  were, one after the other. */
unsigned buddy_give_singles(struct frame *const *f, unsigned n);
void buddy_give_runs(const struct frame_run *r, unsigned n);
uint64_t buddy_nr_free(void);
/* For the audit, between buddy_lock() and buddy_unlock(). */
void buddy_lock(void);
void buddy_unlock(void);
/** buddy_block_end() - the end of the free block that holds @m and starts
 *  before it; @m if there is none. */
uint64_t buddy_block_end(mfn_t m);
/** buddy_first() - mfn of the first free block; beyond the table: none. */
uint32_t buddy_first(unsigned order);
/** buddy_changes() - how often the lists have changed. */
uint64_t buddy_changes(void);

/* owner.c */
#define NR_OWNERS (MAX_DOMAINS + 3)
extern struct owner owners[NR_OWNERS];
void owner_init(void);
domid_t owner_id(unsigned index);
uint64_t owner_pages(unsigned index);

/** owner_index() - of any id that can own, claimed or not; else NR_OWNERS. */
fast_path unsigned owner_index(domid_t id)
{
    if (likely(id < MAX_DOMAINS)) {
        return id;
    }
    return id >= DOMID_IO && id <= DOMID_COW ?
           (unsigned)(MAX_DOMAINS + id - DOMID_IO) : NR_OWNERS;
}

/** owner_charge() - false: not claimed, or at its limit. */
fast_path bool owner_charge(domid_t id, uint64_t n)
{
    unsigned i = owner_index(id);
    struct owner *o = &owners[i];
    uint64_t have, max;

    if (unlikely(i == NR_OWNERS || id == DOMID_XEN) ||
        !atomic_load_explicit(&o->claimed, memory_order_relaxed)) {
        return false;
    }
    have = atomic_load_explicit(&o->pages, memory_order_relaxed);
    do {
        max = atomic_load_explicit(&o->max_pages, memory_order_relaxed);
        if (unlikely(have > max || n > max - have)) {
            return false;
        }
    } while (unlikely(!atomic_compare_exchange_weak_explicit(
                          &o->pages, &have, have + n, memory_order_relaxed,
                          memory_order_relaxed)));
    return true;
}

fast_path void owner_uncharge(domid_t id, uint64_t n)
{
    unsigned i = owner_index(id);
    uint64_t had;

    BUG_ON(i == NR_OWNERS);
    had = atomic_fetch_sub_explicit(&owners[i].pages, n,
                                    memory_order_release);
    BUG_ON(had < n);
}

/* heap.c */
void heap_init(void);
