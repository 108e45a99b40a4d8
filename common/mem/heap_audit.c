/*
 * heap_audit.c - is the heap in order?
 *
 *   E1  each slab is on the right list of its class, once; its free objects
 *       lie in it and are as many as it says
 *   E2  slabs, objects out of their slabs and frames in use as FRAME_HEAP
 *       agree with the counters
 *
 * A list of slabs is walked by turning it: the first is looked at and goes to
 * the end, a few under one lock, until the first of all comes round again. As
 * in mem/audit.c, only what PASSES passes find in turn counts.
 */
#include "heap.h"

#include <quire/errno.h>
#include <quire/log.h>

#define PASSES 3
#define CHUNK 64            /* frames between two checks */

/* Units, measured. */
#define COST_SLAB 150
#define COST_OBJECT 18      /* a free one */
#define COST_FRAME 8

#define VIOLATION(a, name, ...) \
    do { \
        (a)->bad++; \
        if ((a)->pass == PASSES - 1) { \
            log_error(name ": " __VA_ARGS__); \
        } \
    } while (0)

/* Length of the chain of objects given back; more than @limit: a ring. */
static unsigned chain_length(struct heap_audit *a, const struct slab *s,
                             unsigned limit)
{
    unsigned size = heap_class_size[s->class], n = 0;

    for (void *p = s->free; p != NULL && n <= limit; p = object_link(p)) {
        uintptr_t offset = (uintptr_t)p - (uintptr_t)(s + 1);

        if (offset % size != 0 || offset / size >= s->fresh) {
            VIOLATION(a, "E1", "slab %p: %p is no object of it", (void *)s, p);
            break;
        }
        n++;
    }
    return n;
}

static void check_slab(struct heap_audit *a, const struct slab *s,
                       unsigned class, bool is_full)
{
    unsigned given_back;

    if (s->magic != SLAB_MAGIC || s->class != class ||
        s->capacity != SLAB_BYTES / heap_class_size[class]) {
        VIOLATION(a, "E1", "slab %p of class %u has a bad head", (void *)s,
                  class);
        return;
    }
    given_back = chain_length(a, s, s->capacity);
    if (s->fresh > s->capacity ||
        s->nr_free != given_back + (s->capacity - s->fresh)) {
        VIOLATION(a, "E1", "slab %p: %u given back, %u fresh, %u free",
                  (void *)s, given_back, (unsigned)s->fresh,
                  (unsigned)s->nr_free);
    }
    if ((s->nr_free == 0) != is_full || s->nr_free == s->capacity) {
        VIOLATION(a, "E1", "slab %p, %u of %u free, is on the wrong list",
                  (void *)s, (unsigned)s->nr_free, (unsigned)s->capacity);
    }
}

/* Turn the list by one. True: it has come round. */
static bool check_next(struct heap_audit *a, struct list *slabs, bool is_full,
                       struct work *w, bool *over)
{
    struct list *first = slabs->next;
    struct slab *s = container_of(first, struct slab, link);

    if (first == slabs || first == a->first) {
        return true;
    }
    if (a->seen > heap_classes[a->class].slabs) {
        VIOLATION(a, "E1", "the slabs of class %u run in a ring", a->class);
        return true;
    }
    if (a->first == NULL) {
        a->first = first;
    }
    check_slab(a, s, a->class, is_full);
    a->out += (uint64_t)(s->capacity - s->nr_free);
    a->seen++;
    list_remove(first);
    list_append(slabs, first);
    *over = work_spend(w, COST_SLAB + s->nr_free * COST_OBJECT);
    return false;
}

static void end_class(struct heap_audit *a)
{
    struct heap_class *c = &heap_classes[a->class];

    if (a->seen != c->slabs || a->out != c->out) {
        VIOLATION(a, "E2", "class %u: %lu slabs, %lu objects out; counted "
                  "%lu, %lu", a->class, a->seen, a->out, c->slabs, c->out);
    }
    if (heap_nr_cached(a->class) > c->out) {
        VIOLATION(a, "E2", "class %u: %lu cached of %lu out", a->class,
                  heap_nr_cached(a->class), c->out);
    }
    a->frames += a->seen;
    a->seen = a->out = 0;
    a->is_full = false;
    a->class++;
}

static int check_classes(struct heap_audit *a, struct work *w)
{
    bool over = false;

    spin_lock(&heap_lock);
    while (a->class < NR_CLASSES && !over) {
        struct heap_class *c = &heap_classes[a->class];

        if (!check_next(a, a->is_full ? &c->full : &c->partial, a->is_full,
                        w, &over)) {
            continue;
        }
        a->first = NULL;
        if (!a->is_full) {
            a->is_full = true;
        } else {
            end_class(a);
            over = work_spend(w, COST_SLAB);
        }
    }
    spin_unlock(&heap_lock);
    return over ? -ERESTART : 0;
}

static int check_frames(struct heap_audit *a, struct work *w)
{
    while (a->cursor < frame_table_end) {
        uint64_t end = MIN(a->cursor + CHUNK, frame_table_end);
        int64_t nr = (int64_t)(end - a->cursor);

        for (; a->cursor < end; a->cursor++) {
            a->used += frame_table[a->cursor].use == FRAME_HEAP;
        }
        if (work_spend(w, nr * COST_FRAME)) {
            return -ERESTART;
        }
    }
    return 0;
}

int heap_audit_run(struct heap_audit *a, struct work *w)
{
    for (;;) {
        struct heap_stats stats;

        if (check_classes(a, w) != 0 || check_frames(a, w) != 0) {
            return -ERESTART;
        }
        heap_stats_get(&stats);
        if (a->used != a->frames + stats.large_frames) {
            VIOLATION(a, "E2", "%lu frames are in use for the heap; it has "
                      "%lu", a->used, a->frames + stats.large_frames);
        }
        if (a->bad == 0 || a->pass == PASSES - 1) {
            return 0;
        }
        *a = (struct heap_audit){ .pass = a->pass + 1 };
        if (work_spend(w, COST_SLAB)) {
            return -ERESTART;
        }
    }
}

unsigned heap_audit(void)
{
    struct heap_audit a = { 0 };

    return heap_audit_run(&a, NULL) != 0 ? UINT32_MAX : a.bad;
}
