/*
 * heap.h - small objects: size classes 16 .. 2016 bytes in slabs of one
 * frame, with per-CPU magazines in front; larger ones are whole frames. Freed
 * objects are poisoned in debug builds; an empty slab goes back to the page
 * allocator. Locks: HEAP.
 */
#pragma once

#include <quire/types.h>
#include <quire/work.h>

/** heap_alloc() - NULL if no memory; contents undefined. 16-byte aligned. */
void *must_check heap_alloc(size_t size);
/** heap_zalloc() - the same, zeroed. */
void *must_check heap_zalloc(size_t size);
/** heap_free() - NULL is allowed. */
void heap_free(void *p);
/** heap_free_many() - @n objects of at most HEAP_SMALL_MAX bytes, straight to
 *  their slabs under one lock: they are not wanted again soon. */
void heap_free_many(void *const *p, unsigned n);

/** heap_cache_drain() - give this CPU's cached objects back to their slabs,
 *  so that empty slabs become free frames. For idle CPUs; cheap if none. */
void heap_cache_drain(void);
/** heap_cache_drain_from() - the same of one class, the first from @class on
 *  that has any; returns where to go on, 0: that was all. */
unsigned heap_cache_drain_from(unsigned class);

struct heap_stats { uint64_t objects, bytes, slabs, large_frames; };
void heap_stats_get(struct heap_stats *s);
struct heap_audit {
    unsigned bad;               /* violations */
    /* private to heap_audit.c */
    unsigned pass, class;
    bool is_full;
    const void *first;
    uint64_t seen, out, frames, cursor, used;
};
/** heap_audit_run() - E1 slab lists, E2 counts; each violation is printed.
 *  Preemptible; zero *@a first. Returns 0 when done, violations in @a->bad.
 *  The machine should be quiet: see mem_audit_run(). */
int must_check heap_audit_run(struct heap_audit *a, struct work *w);
/** heap_audit() - the same in one go; returns the violations. */
unsigned heap_audit(void);
