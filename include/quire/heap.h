/*
 * heap.h - small objects: size classes 16 .. 2016 bytes in slabs of one
 * frame, with per-CPU magazines in front; larger ones are whole frames. Freed
 * objects are poisoned in debug builds; an empty slab goes back to the page
 * allocator. Locks: HEAP.
 */
#pragma once

#include <quire/types.h>

/** heap_alloc() - NULL if no memory; contents undefined. 16-byte aligned. */
void *must_check heap_alloc(size_t size);
/** heap_zalloc() - the same, zeroed. */
void *must_check heap_zalloc(size_t size);
/** heap_free() - NULL is allowed. */
void heap_free(void *p);

/** heap_cache_drain() - give this CPU's cached objects back to their slabs,
 *  so that empty slabs become free frames. For idle CPUs; cheap if none. */
void heap_cache_drain(void);

struct heap_stats { uint64_t objects, bytes, slabs, large_frames; };
void heap_stats_get(struct heap_stats *s);
/** heap_audit() - violations, each printed (E1 slab lists, E2 counts). */
unsigned heap_audit(void);
