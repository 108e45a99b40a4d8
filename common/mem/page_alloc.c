/*
 * page_alloc.c - frames for everyone: per-CPU caches of single frames before
 * the buddy, and the poison in what is free.
 *
 * A cache is a stack that only its own CPU touches, so that the usual
 * allocation is a pop and a few stores. It is refilled from and emptied into
 * the buddy half at a time, under one taking of the lock.
 *
 * Debug builds fill each freed frame with FRAME_POISON and look at every word
 * of it when it is allocated again: a write after the free stops the machine
 * there. Blocks above POISON_ORDER_MAX are left alone, and so is memory that
 * was never allocated (FRAME_POISONED says which is which).
 */
#include "internal.h"

#include <quire/panic.h>
#include <quire/string.h>

#define CACHE_BATCH (PAGE_CACHE_MAX / 2)

struct page_cache {
    cache_aligned _Atomic unsigned n;   /* own CPU writes, any reads */
    struct frame *frames[PAGE_CACHE_MAX];
};

static struct page_cache caches[MAX_CPUS];

static unsigned cache_len(const struct page_cache *c)
{
    return atomic_load_explicit(&c->n, memory_order_relaxed);
}

static void cache_set_len(struct page_cache *c, unsigned n)
{
    atomic_store_explicit(&c->n, n, memory_order_relaxed);
}

#ifdef QUIRE_DEBUG
#define POISON_ORDER_MAX PAGE_ORDER_2M
#define FRAME_POISON UINT64_C(0xfefefefefefefefe)   /* free */
#define FRESH_POISON UINT64_C(0xacacacacacacacac)   /* never written */

static void check_poison(const struct frame *f)
{
    mfn_t mfn = frame_to_mfn(f);
    const uint64_t *word = arch_map_frame(mfn);

    for (unsigned i = 0; i < PAGE_SIZE / 8; i++) {
        if (unlikely(word[i] != FRAME_POISON)) {
            panic("write after free: mfn %lx offset %x is %lx", mfn.n, i * 8,
                  word[i]);
        }
    }
    arch_unmap_frame(word);
}

static void poison_fill(struct frame *f, uint64_t word)
{
    void *page = arch_map_frame(frame_to_mfn(f));

    page_fill(page, word);
    arch_unmap_frame(page);
}

static void block_allocated(struct frame *f, unsigned order)
{
    arch_frame_allocated(frame_to_mfn(f), order);
    for (uint64_t i = 0; i < UINT64_C(1) << order; i++) {
        if (frame_has_flag(&f[i], FRAME_POISONED)) {
            check_poison(&f[i]);
            frame_clear_flag(&f[i], FRAME_POISONED);
        } else if (order <= POISON_ORDER_MAX) {
            poison_fill(&f[i], FRESH_POISON);
        }
    }
}

static void block_freed(struct frame *f, unsigned order)
{
    for (uint64_t i = 0;
         order <= POISON_ORDER_MAX && i < UINT64_C(1) << order; i++) {
        poison_fill(&f[i], FRAME_POISON);
        frame_set_flag(&f[i], FRAME_POISONED);
    }
    arch_frame_freed(frame_to_mfn(f), order);
}
#else
static void block_allocated(struct frame *f, unsigned order)
{
    arch_frame_allocated(frame_to_mfn(f), order);
}

static void block_freed(struct frame *f, unsigned order)
{
    arch_frame_freed(frame_to_mfn(f), order);
}
#endif

/* Not inlined: the usual allocation should not save registers for it. */
static __attribute__((noinline)) bool refill(struct page_cache *c)
{
    cache_set_len(c, buddy_take_singles(c->frames, CACHE_BATCH));
    return cache_len(c) != 0;
}

static __attribute__((noinline)) void spill(struct page_cache *c, unsigned n)
{
    unsigned keep = cache_len(c) - n;

    buddy_give_singles(c->frames + keep, n);
    cache_set_len(c, keep);
}

static inline struct frame *cache_pop(void)
{
    struct page_cache *c = &caches[arch_cpu()];
    unsigned n;

    if (unlikely(cache_len(c) == 0) && !refill(c)) {
        return NULL;
    }
    n = cache_len(c) - 1;
    cache_set_len(c, n);
    return c->frames[n];
}

static inline void cache_push(struct frame *f)
{
    struct page_cache *c = &caches[arch_cpu()];
    unsigned n;

    if (unlikely(cache_len(c) == PAGE_CACHE_MAX)) {
        spill(c, CACHE_BATCH);
    }
    n = cache_len(c);
    c->frames[n] = f;
    cache_set_len(c, n + 1);
}

/* A block still marked free. This CPU's own cache may hold it together. */
static struct frame *take_block(unsigned order)
{
    struct frame *f;

    if (order == 0) {
        return cache_pop();
    }
    if (order > PAGE_ORDER_MAX) {
        return NULL;
    }
    f = buddy_take(order);
    if (f == NULL) {
        page_cache_drain();
        f = buddy_take(order);
    }
    return f;
}

static inline void frame_set_up(struct frame *f, uint64_t refs, domid_t owner,
                                enum frame_use use, unsigned order)
{
    f->user = NULL;
    atomic_store_explicit(&f->type, 0, memory_order_relaxed);
    atomic_store_explicit(&f->owner, owner, memory_order_relaxed);
    f->use = (uint8_t)use;
    f->order = (uint8_t)order;
    /* Last: who sees the reference sees the owner. */
    atomic_store_explicit(&f->refs, refs, memory_order_release);
}

struct frame *page_take(unsigned order, enum frame_use use)
{
    struct frame *f = take_block(order);

    if (unlikely(f == NULL)) {
        return NULL;
    }
    block_allocated(f, order);
    frame_set_up(f, 1, DOMID_XEN, use, order);
    for (uint64_t i = 1; i < UINT64_C(1) << order; i++) {
        frame_set_up(f + i, 0, DOMID_XEN, use, 0);
    }
    count_use(use, INT64_C(1) << order);
    return f;
}

struct frame *page_alloc(unsigned order, enum frame_use use)
{
    if (unlikely(arch_alloc_should_fail())) {
        return NULL;
    }
    return page_take(order, use);
}

void page_free(struct frame *f, unsigned order)
{
    BUG_ON(f->order != order || f->owner != DOMID_XEN ||
           atomic_load_explicit(&f->refs, memory_order_relaxed) != 1);
    atomic_store_explicit(&f->refs, 0, memory_order_relaxed);
    count_use((enum frame_use)f->use, -(INT64_C(1) << order));
    block_freed(f, order);
    if (order == 0) {
        f->use = FRAME_FREE;
        cache_push(f);
        return;
    }
    for (uint64_t i = 0; i < UINT64_C(1) << order; i++) {
        f[i].use = FRAME_FREE;
    }
    buddy_give(f, order);
}

struct frame *page_alloc_owned(domid_t owner, unsigned order)
{
    uint64_t nr = UINT64_C(1) << MIN(order, 63);
    struct frame *f;

    if (unlikely(arch_alloc_should_fail()) || !owner_charge(owner, nr)) {
        return NULL;
    }
    f = take_block(order);
    if (unlikely(f == NULL)) {
        owner_uncharge(owner, nr);
        return NULL;
    }
    block_allocated(f, order);
    for (uint64_t i = 0; i < nr; i++) {
        frame_set_up(f + i, FRAME_ALLOCATED | 1, owner, FRAME_GUEST, 0);
    }
    count_use(FRAME_GUEST, (int64_t)nr);
    return f;
}

void page_give_single(struct frame *f)
{
    enum frame_use use = (enum frame_use)f->use;

    if (use == FRAME_GUEST || use == FRAME_SHARED) {
        owner_uncharge(frame_owner(f), 1);
    }
    BUG_ON(f->order != 0 || use < FRAME_PERCPU);
    count_use(use, -1);
    block_freed(f, 0);
    f->use = FRAME_FREE;
    cache_push(f);
}

uint64_t page_nr_free(void)
{
    uint64_t n = buddy_nr_free();

    for (unsigned i = 0; i < MAX_CPUS; i++) {
        n += cache_len(&caches[i]);
    }
    return n;
}

void page_cache_drain(void)
{
    struct page_cache *c = &caches[arch_cpu()];

    if (cache_len(c) != 0) {
        spill(c, cache_len(c));
    }
}

void page_for_each_cached(void (*fn)(struct frame *f, void *arg), void *arg)
{
    for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
        for (unsigned i = 0; i < cache_len(&caches[cpu]); i++) {
            fn(caches[cpu].frames[i], arg);
        }
    }
}

void page_alloc_init(void)
{
    for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
        cache_set_len(&caches[cpu], 0);
    }
}
