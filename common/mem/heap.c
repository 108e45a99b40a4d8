/*
 * heap.c - small objects in slabs of one frame, with per-CPU magazines.
 *
 *     heap_alloc -> magazine of this CPU and class (a stack of pointers)
 *                     | empty: half a magazine at once, under the lock
 *                   partial slabs of the class -> a new slab from a frame
 *
 * A slab is a page: 64 bytes of struct slab, then its objects. Objects never
 * yet given out are not touched; those given back to the slab are linked
 * through their first word. No object is page-aligned, which is how heap_free
 * knows the large ones, whole frames. The classes are the sizes that leave
 * little over when the 4032 bytes are cut into equal parts.
 */
#include "heap.h"

#include <quire/lock.h>
#include <quire/panic.h>
#include <quire/string.h>
#include <quire/work.h>

const uint16_t heap_class_size[NR_CLASSES] = {
    16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 288, 336, 400, 448,
    496, 576, 672, 800, 1008, 1344, 2016,
};
static_assert(sizeof(struct slab) == 64, "objects begin there");

/* Units, charged to whoever's slice it is: half a magazine, a slab. */
#define COST_REFILL 350
#define COST_SPILL 400
#define COST_SLAB 250

#define LARGE_CLASS 400         /* bytes: ten or fewer a slab */
#define CLASSES_ROUNDED 32      /* a shift, too */

struct magazine {
    _Atomic unsigned n;     /* own CPU writes, any reads */
    void *object[MAGAZINE_SIZE];
};
static_assert(sizeof(struct magazine) == 256, "a shift to index");

struct heap_class heap_classes[NR_CLASSES];
static cache_aligned struct magazine magazines[MAX_CPUS][CLASSES_ROUNDED];
static uint8_t class_of[HEAP_SMALL_MAX / 16 + 1];   /* by size / 16, up */
struct spinlock heap_lock = SPINLOCK_INIT(HEAP, 0);

/* Whole-frame objects: rare, so counted plainly. */
static _Atomic uint64_t large_objects, large_frames;

static unsigned magazine_len(const struct magazine *m)
{
    return atomic_load_explicit(&m->n, memory_order_relaxed);
}

static void magazine_set_len(struct magazine *m, unsigned n)
{
    atomic_store_explicit(&m->n, n, memory_order_relaxed);
}

void heap_init(void)
{
    unsigned class = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(class_of); i++) {
        class += i * 16 > heap_class_size[class];
        class_of[i] = (uint8_t)class;
    }
    for (unsigned i = 0; i < NR_CLASSES; i++) {
        list_init(&heap_classes[i].partial);
        list_init(&heap_classes[i].full);
        heap_classes[i].slabs = 0;
        heap_classes[i].out = 0;
        for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
            magazine_set_len(&magazines[cpu][i], 0);
        }
    }
    large_objects = large_frames = 0;
}

/* How many objects go to a magazine or from it at once: of the large ones
 * few, since each may make or unmake a slab. */
static unsigned batch_of(unsigned class)
{
    return heap_class_size[class] < LARGE_CLASS ? MAGAZINE_BATCH
                                                : MAGAZINE_BATCH / 4;
}

static struct slab *slab_of(void *p)
{
    return (struct slab *)((uintptr_t)p & ~(uintptr_t)PAGE_MASK);
}

static struct slab *slab_create(unsigned class)
{
    struct frame *f = page_take(0, FRAME_HEAP);
    struct slab *s;

    if (f == NULL) {
        return NULL;
    }
    work_charge(COST_SLAB);
    s = arch_map_frame(frame_to_mfn(f));
    object_poison_slab(s);
    *s = (struct slab){
        .magic = SLAB_MAGIC,
        .class = (uint16_t)class,
        .capacity = (uint16_t)(SLAB_BYTES / heap_class_size[class]),
    };
    s->nr_free = s->capacity;
    list_push(&heap_classes[class].partial, &s->link);
    heap_classes[class].slabs++;
    return s;
}

static void slab_destroy(struct slab *s)
{
    work_charge(COST_SLAB);
    list_remove(&s->link);
    heap_classes[s->class].slabs--;
    s->magic = 0;
    object_unpoison_slab(s);
    page_free(mfn_to_frame(arch_virt_to_mfn(s)), 0);
}

/* One object of a slab that has some: given back before, or never used. */
static void *slab_take(struct slab *s)
{
    struct heap_class *c = &heap_classes[s->class];
    void *p = s->free;

    if (p != NULL) {
        s->free = object_link(p);
    } else {
        p = (char *)(s + 1) + s->fresh++ * heap_class_size[s->class];
    }
    if (--s->nr_free == 0) {
        list_remove(&s->link);
        list_push(&c->full, &s->link);
    }
    c->out++;
    return p;
}

static void slab_give(void *p)
{
    struct slab *s = slab_of(p);
    struct heap_class *c = &heap_classes[s->class];

    object_set_link(p, s->free);
    s->free = p;
    c->out--;
    if (++s->nr_free == s->capacity) {
        slab_destroy(s);
    } else if (s->nr_free == 1) {
        list_remove(&s->link);
        list_push(&c->partial, &s->link);
    }
}

static slow_path bool refill(struct magazine *m, unsigned class)
{
    struct list *partial = &heap_classes[class].partial;
    unsigned n = 0, batch = batch_of(class);

    work_charge(COST_REFILL);
    spin_lock(&heap_lock);
    for (; n < batch; n++) {
        struct slab *s = container_of(partial->next, struct slab, link);

        /* A new slab only for the object that is wanted now. */
        if (list_is_empty(partial) &&
            (n != 0 || (s = slab_create(class)) == NULL)) {
            break;
        }
        m->object[n] = slab_take(s);
    }
    spin_unlock(&heap_lock);
    magazine_set_len(m, n);
    return n != 0;
}

static slow_path void spill(struct magazine *m, unsigned n)
{
    unsigned keep = magazine_len(m) - n;

    work_charge(COST_SPILL);
    spin_lock(&heap_lock);
    for (unsigned i = keep; i < keep + n; i++) {
        slab_give(m->object[i]);
    }
    spin_unlock(&heap_lock);
    magazine_set_len(m, keep);
}

static slow_path void *large_alloc(size_t size)
{
    uint64_t pages = (size >> PAGE_SHIFT) + ((size & PAGE_MASK) != 0);
    unsigned order = pages <= 1 ? 0 :
                     64 - (unsigned)__builtin_clzll(pages - 1);
    struct frame *f = page_take(order, FRAME_HEAP);

    if (f == NULL) {
        return NULL;
    }
    atomic_fetch_add(&large_objects, 1);
    atomic_fetch_add(&large_frames, UINT64_C(1) << order);
    return arch_map_frame(frame_to_mfn(f));
}

static slow_path void large_free(void *p)
{
    struct frame *f = mfn_to_frame(arch_virt_to_mfn(p));
    unsigned order = f->order;

    BUG_ON(f->use != FRAME_HEAP);
    atomic_fetch_sub(&large_objects, 1);
    atomic_fetch_sub(&large_frames, UINT64_C(1) << order);
    page_free(f, order);
}

/* @n is the length, not 0. */
fast_path void *take_object(struct magazine *m, unsigned n, size_t size,
                            unsigned class)
{
    void *p = m->object[n - 1];

    magazine_set_len(m, n - 1);
    object_allocated(p, size, heap_class_size[class]);
    return p;
}

static slow_path void *refill_and_take(struct magazine *m, size_t size,
                                       unsigned class)
{
    return refill(m, class) ? take_object(m, magazine_len(m), size, class) :
           NULL;
}

void *heap_alloc(size_t size)
{
    struct magazine *m;
    unsigned class, n;

    if (unlikely(arch_alloc_should_fail())) {
        return NULL;
    }
    if (unlikely(size > HEAP_SMALL_MAX)) {
        return large_alloc(size);
    }
    class = class_of[(size + 15) / 16];
    m = &magazines[arch_cpu()][class];
    n = magazine_len(m);
    if (unlikely(n == 0)) {
        return refill_and_take(m, size, class);
    }
    return take_object(m, n, size, class);
}

void *heap_zalloc(size_t size)
{
    void *p = heap_alloc(size);

    return p != NULL ? memset(p, 0, size) : NULL;
}

/* NULL, or whole frames. */
static slow_path void free_aligned(void *p)
{
    if (p != NULL) {
        large_free(p);
    }
}

static slow_path void spill_and_give(struct magazine *m, void *p)
{
    unsigned keep = MAGAZINE_SIZE - batch_of(slab_of(p)->class);

    spill(m, MAGAZINE_SIZE - keep);
    m->object[keep] = p;
    magazine_set_len(m, keep + 1);
}

void heap_free(void *p)
{
    struct slab *s = slab_of(p);
    struct magazine *m;
    unsigned n;

    if (unlikely(p == s)) {
        free_aligned(p);
        return;
    }
    BUG_ON(s->magic != SLAB_MAGIC);
    object_freed(p, heap_class_size[s->class]);
    m = &magazines[arch_cpu()][s->class];
    n = magazine_len(m);
    if (unlikely(n == MAGAZINE_SIZE)) {
        spill_and_give(m, p);
        return;
    }
    m->object[n] = p;
    magazine_set_len(m, n + 1);
}

void heap_free_many(void *const *p, unsigned n)
{
    spin_lock(&heap_lock);
    for (unsigned i = 0; i < n; i++) {
        struct slab *s = slab_of(p[i]);

        BUG_ON(s->magic != SLAB_MAGIC || p[i] == s);
        object_freed(p[i], heap_class_size[s->class]);
        slab_give(p[i]);
    }
    spin_unlock(&heap_lock);
}

unsigned heap_cache_drain_from(unsigned class)
{
    struct magazine *m = &magazines[arch_cpu()][class];

    while (class < NR_CLASSES && magazine_len(m) == 0) {
        class++;
        m++;
    }
    if (class == NR_CLASSES) {
        return 0;
    }
    spill(m, magazine_len(m));
    return class + 1 < NR_CLASSES ? class + 1 : 0;
}

void heap_cache_drain(void)
{
    unsigned class = 0;

    do {
        class = heap_cache_drain_from(class);
    } while (class != 0);
}

uint64_t heap_nr_cached(unsigned class)
{
    uint64_t n = 0;

    for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
        n += magazine_len(&magazines[cpu][class]);
    }
    return n;
}

void heap_stats_get(struct heap_stats *s)
{
    *s = (struct heap_stats){ .objects = large_objects,
                              .large_frames = large_frames };
    s->bytes = s->large_frames << PAGE_SHIFT;
    spin_lock(&heap_lock);
    for (unsigned class = 0; class < NR_CLASSES; class++) {
        uint64_t used = heap_classes[class].out - heap_nr_cached(class);

        s->objects += used;
        s->bytes += used * heap_class_size[class];
        s->slabs += heap_classes[class].slabs;
    }
    spin_unlock(&heap_lock);
}
