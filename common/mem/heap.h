/*
 * heap.h - the heap's insides, for heap.c and heap_audit.c; and the poison in
 * free objects.
 *
 * Debug builds fill a freed object and check the filling when it is given out
 * again. With the address sanitizer, memory that is not in use is also closed
 * to everyone but the three accessors here; an object's slack (asked for 40,
 * class 48) stays closed while the object is in use.
 */
#pragma once

#include "internal.h"

#include <quire/heap.h>
#include <quire/list.h>
#include <quire/lock.h>
#include <quire/panic.h>

#define NR_CLASSES 23
#define HEAP_SMALL_MAX 2016
#define MAGAZINE_SIZE 31
#define MAGAZINE_BATCH 16
#define SLAB_MAGIC UINT32_C(0x51ab51ab)
#define SLAB_BYTES (PAGE_SIZE - 64)

struct slab {               /* the head of a slab's page; all [heap] but (c) */
    struct list link;       /* on its class's list */
    void *free;             /* objects given back, linked */
    uint32_t magic;         /* (c) */
    uint16_t class;         /* (c) */
    uint16_t capacity;      /* (c) objects */
    uint16_t nr_free;       /* given back or never given out */
    uint16_t fresh;         /* objects from this on were never given out */
    uint8_t pad[28];
};

struct heap_class {         /* [heap] */
    struct list partial;    /* slabs with something free */
    struct list full;
    uint64_t slabs;
    uint64_t out;           /* objects out of their slabs: used or cached */
};

extern const uint16_t heap_class_size[NR_CLASSES];
extern struct heap_class heap_classes[NR_CLASSES];
extern struct spinlock heap_lock;

/** heap_nr_cached() - objects of a class in the magazines of all CPUs. */
uint64_t heap_nr_cached(unsigned class);

#ifdef __SANITIZE_ADDRESS__
void __asan_poison_memory_region(const volatile void *p, size_t n);
void __asan_unpoison_memory_region(const volatile void *p, size_t n);
#define OBJECT_CLOSE(p, n) __asan_poison_memory_region(p, n)
#define OBJECT_OPEN(p, n) __asan_unpoison_memory_region(p, n)
#define SEES_CLOSED \
    __attribute__((no_sanitize("address"), noinline, unused))
#else
#define OBJECT_CLOSE(p, n) ((void)(p), (void)(n))
#define OBJECT_OPEN(p, n) ((void)(p), (void)(n))
#define SEES_CLOSED inline __attribute__((unused))
#endif

static SEES_CLOSED void *object_link(void *p)
{
    return *(void **)p;
}

static SEES_CLOSED void object_set_link(void *p, void *next)
{
    *(void **)p = next;
}

#ifdef QUIRE_DEBUG
/* Free; a value that no one comes by, since it also tells a second free. */
#define OBJECT_POISON UINT64_C(0x9dead0b1ec7f4eed)
#define OBJECT_FRESH UINT64_C(0xacacacacacacacac)    /* never written */

/* The first word may have been a link meanwhile: not looked at. */
static inline void object_allocated(void *p, size_t size, size_t class_size)
{
    uint64_t *word = p;

    OBJECT_OPEN(p, class_size);
    for (size_t i = 1; i < class_size / 8; i++) {
        if (unlikely(word[i] != OBJECT_POISON)) {
            panic("heap: write after free: object %p of %zu, offset %zu: "
                  "%lx", p, class_size, i * 8, word[i]);
        }
        word[i] = OBJECT_FRESH;
    }
    word[0] = OBJECT_FRESH;
    OBJECT_CLOSE((char *)p + size, class_size - size);
}

static inline void object_fill(void *p, size_t bytes)
{
    uint64_t *word = p;

    OBJECT_OPEN(p, bytes);
    for (size_t i = 0; i < bytes / 8; i++) {
        word[i] = OBJECT_POISON;
    }
    OBJECT_CLOSE(p, bytes);
}

static SEES_CLOSED bool object_is_poisoned(const void *p)
{
    return ((const uint64_t *)p)[1] == OBJECT_POISON;
}

static inline void object_freed(void *p, size_t class_size)
{
    if (object_is_poisoned(p)) {
        panic("heap: %p freed twice", p);
    }
    object_fill(p, class_size);
}

static inline void object_poison_slab(struct slab *s)
{
    object_fill(s + 1, SLAB_BYTES);
}
#else
static inline void object_allocated(void *p, size_t size, size_t class_size)
{
    (void)p;
    (void)size;
    (void)class_size;
}
static inline void object_freed(void *p, size_t class_size)
{
    (void)p;
    (void)class_size;
}
static inline void object_poison_slab(struct slab *s) { (void)s; }
#endif

static inline void object_unpoison_slab(struct slab *s)
{
    OBJECT_OPEN(s, PAGE_SIZE);
}
