/*
 * heap_audit.c - is the heap in order?
 *
 *   E1  each slab is on the right list of its class, once; its free objects
 *       lie in it and are as many as it says
 *   E2  slabs, objects out of their slabs and frames in use as FRAME_HEAP
 *       agree with the counters
 */
#include "heap.h"

#include <quire/log.h>

static unsigned bad;

#define VIOLATION(name, ...) \
    do { \
        bad++; \
        log_error(name ": " __VA_ARGS__); \
    } while (0)

/* Length of the chain of objects given back; more than @limit: a ring. */
static unsigned chain_length(const struct slab *s, unsigned limit)
{
    unsigned size = heap_class_size[s->class], n = 0;

    for (void *p = s->free; p != NULL && n <= limit; p = object_link(p)) {
        uintptr_t offset = (uintptr_t)p - (uintptr_t)(s + 1);

        if (offset % size != 0 || offset / size >= s->fresh) {
            VIOLATION("E1", "slab %p: %p is no object of it", (void *)s, p);
            break;
        }
        n++;
    }
    return n;
}

static void check_slab(const struct slab *s, unsigned class, bool is_full)
{
    unsigned given_back;

    if (s->magic != SLAB_MAGIC || s->class != class ||
        s->capacity != SLAB_BYTES / heap_class_size[class]) {
        VIOLATION("E1", "slab %p of class %u has a bad head", (void *)s,
                  class);
        return;
    }
    given_back = chain_length(s, s->capacity);
    if (s->fresh > s->capacity ||
        s->nr_free != given_back + (s->capacity - s->fresh)) {
        VIOLATION("E1", "slab %p: %u given back, %u fresh, %u free",
                  (void *)s, given_back, (unsigned)s->fresh,
                  (unsigned)s->nr_free);
    }
    if ((s->nr_free == 0) != is_full || s->nr_free == s->capacity) {
        VIOLATION("E1", "slab %p, %u of %u free, is on the wrong list",
                  (void *)s, (unsigned)s->nr_free, (unsigned)s->capacity);
    }
}

static uint64_t check_list(const struct list *slabs, unsigned class,
                           bool is_full, uint64_t *out)
{
    uint64_t n = 0;

    list_for_each(l, slabs) {
        const struct slab *s = container_of(l, struct slab, link);

        if (n > heap_classes[class].slabs) {
            VIOLATION("E1", "the slabs of class %u run in a ring", class);
            break;
        }
        check_slab(s, class, is_full);
        *out += (uint64_t)(s->capacity - s->nr_free);
        n++;
    }
    return n;
}

unsigned heap_audit(void)
{
    uint64_t frames = 0, used = 0;
    struct heap_stats stats;

    bad = 0;
    spin_lock(&heap_lock);
    for (unsigned class = 0; class < NR_CLASSES; class++) {
        struct heap_class *c = &heap_classes[class];
        uint64_t out = 0, slabs;

        slabs = check_list(&c->partial, class, false, &out);
        slabs += check_list(&c->full, class, true, &out);
        if (slabs != c->slabs || out != c->out) {
            VIOLATION("E2", "class %u: %lu slabs, %lu objects out; counted "
                      "%lu, %lu", class, slabs, out, c->slabs, c->out);
        }
        if (heap_nr_cached(class) > c->out) {
            VIOLATION("E2", "class %u: %lu cached of %lu out", class,
                      heap_nr_cached(class), c->out);
        }
        frames += slabs;
    }
    spin_unlock(&heap_lock);

    heap_stats_get(&stats);
    frames += stats.large_frames;
    for (uint64_t n = 0; n < frame_table_end; n++) {
        used += mfn_to_frame(MFN(n))->use == FRAME_HEAP;
    }
    if (used != frames) {
        VIOLATION("E2", "%lu frames are in use for the heap; it has %lu",
                  used, frames);
    }
    return bad;
}
