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
#include <quire/pressure.h>
#include <quire/string.h>
#include <quire/work.h>

#define CACHE_BATCH 32      /* frames, from the buddy */
#define SPILL_BATCH 8       /* ... and to it: each may join a dozen blocks */

/* Units: a batch from the buddy; a run of frames to it. */
#define COST_BATCH 1000
#define COST_RUN 280

struct page_cache {
    cache_aligned _Atomic unsigned n;   /* own CPU writes, any reads */
    enum page_need need;                /* own CPU only */
    struct frame *frames[PAGE_CACHE_MAX];
};
static_assert(sizeof(struct page_cache) == 512, "a shift to index");

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

enum page_need page_need_set(enum page_need need)
{
    struct page_cache *c = &caches[arch_cpu()];
    enum page_need last = c->need;

    c->need = need;
    return last;
}

/* The frames that an allocation must leave. */
static uint64_t floor_of(const struct page_cache *c, bool is_owned)
{
    uint64_t reserve = page_reserve();

    if (c->need == PAGE_URGENT) {
        return 0;
    }
    return is_owned && c->need == PAGE_NORMAL
               ? reserve + atomic_load(&pressure.held) : reserve;
}

/* What is short is not kept for later: one frame at a time. */
static unsigned batch_of(const struct page_cache *c)
{
    return atomic_load(&pressure.on) || c->need == PAGE_URGENT ? 1
                                                               : CACHE_BATCH;
}

static slow_path bool refill(struct page_cache *c, bool is_owned)
{
    work_charge(COST_BATCH);
    cache_set_len(c, buddy_take_singles(c->frames, batch_of(c),
                                        floor_of(c, is_owned)));
    return cache_len(c) != 0;
}

static slow_path void spill(struct page_cache *c, unsigned n)
{
    unsigned keep = cache_len(c) - n;

    work_charge(COST_RUN * buddy_give_singles(c->frames + keep, n));
    cache_set_len(c, keep);
}

/* @n is the length, not 0. */
fast_path struct frame *cache_pop(struct page_cache *c, unsigned n)
{
    cache_set_len(c, n - 1);
    return c->frames[n - 1];
}

static slow_path void cache_push_full(struct page_cache *c, struct frame *f)
{
    spill(c, SPILL_BATCH);
    c->frames[PAGE_CACHE_MAX - SPILL_BATCH] = f;
    cache_set_len(c, PAGE_CACHE_MAX - SPILL_BATCH + 1);
}

fast_path void cache_push(struct frame *f)
{
    struct page_cache *c = &caches[arch_cpu()];
    unsigned n = cache_len(c);

    if (unlikely(n == PAGE_CACHE_MAX)) {
        cache_push_full(c, f);
        return;
    }
    c->frames[n] = f;
    cache_set_len(c, n + 1);
}

/* More than one frame. This CPU's own cache may hold the rest of a block. */
static struct frame *take_block(unsigned order, bool is_owned)
{
    uint64_t floor = floor_of(&caches[arch_cpu()], is_owned);
    struct frame *f;

    if (order > PAGE_ORDER_MAX) {
        return NULL;
    }
    f = buddy_take(order, floor);
    if (f == NULL) {
        page_cache_drain();
        f = buddy_take(order, floor);
    }
    return f;
}

fast_path void frame_set_up(struct frame *f, uint64_t refs, domid_t owner,
                            enum frame_use use, unsigned order)
{
    f->user = NULL;
    atomic_store_explicit(&f->type, 0, memory_order_relaxed);
    atomic_store_explicit(&f->owner, owner, memory_order_relaxed);
    frame_set_use(f, use);
    f->order = (uint8_t)order;
    /* Last: who sees the reference sees the owner. */
    atomic_store_explicit(&f->refs, refs, memory_order_release);
}

fast_path struct frame *take_one(struct page_cache *c, unsigned n,
                                 enum frame_use use)
{
    struct frame *f = cache_pop(c, n);

    block_allocated(f, 0);
    frame_set_up(f, 1, DOMID_XEN, use, 0);
    count_use(use, 1);
    return f;
}

/* A block, or a single frame with the cache empty. */
static slow_path struct frame *take_slowly(unsigned order, enum frame_use use)
{
    struct page_cache *c = &caches[arch_cpu()];
    struct frame *f;

    if (order == 0) {
        return refill(c, false) ? take_one(c, cache_len(c), use) : NULL;
    }
    f = take_block(order, false);
    if (f == NULL) {
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

struct frame *page_take(unsigned order, enum frame_use use)
{
    struct page_cache *c = &caches[arch_cpu()];
    unsigned n = cache_len(c);

    if (unlikely(order != 0 || n == 0)) {
        return take_slowly(order, use);
    }
    return take_one(c, n, use);
}

struct frame *page_alloc(unsigned order, enum frame_use use)
{
    if (unlikely(arch_alloc_should_fail())) {
        return NULL;
    }
    return page_take(order, use);
}

static slow_path void give_many(struct frame *f, unsigned order)
{
    count_use((enum frame_use)f->use, -(INT64_C(1) << order));
    block_freed(f, order);
    for (uint64_t i = 0; i < UINT64_C(1) << order; i++) {
        frame_set_use(f + i, FRAME_FREE);
    }
    buddy_give(f, order);
}

/* A single frame that nobody refers to any more. */
fast_path void give_one(struct frame *f, enum frame_use use)
{
    count_use(use, -1);
    block_freed(f, 0);
    frame_set_use(f, FRAME_FREE);
    cache_push(f);
}

void page_free(struct frame *f, unsigned order)
{
    BUG_ON(f->order != order || frame_owner(f) != DOMID_XEN ||
           atomic_load_explicit(&f->refs, memory_order_relaxed) != 1);
    atomic_store_explicit(&f->refs, 0, memory_order_relaxed);
    if (unlikely(order != 0)) {
        give_many(f, order);
    } else {
        give_one(f, (enum frame_use)f->use);
    }
    pressure_check(DOMID_XEN);
}

void page_free_many(struct frame *const *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        BUG_ON(f[i]->order != 0 || frame_owner(f[i]) != DOMID_XEN ||
               f[i]->use != f[0]->use ||
               atomic_load_explicit(&f[i]->refs, memory_order_relaxed) != 1);
        atomic_store_explicit(&f[i]->refs, 0, memory_order_relaxed);
        block_freed(f[i], 0);
    }
    count_use((enum frame_use)f[0]->use, -(int64_t)n);
    for (unsigned i = 0; i < n; i++) {
        frame_set_use(f[i], FRAME_FREE);
    }
    work_charge(COST_RUN * buddy_give_singles(f, n));
    pressure_check(DOMID_XEN);
}

fast_path struct frame *take_one_owned(struct page_cache *c, unsigned n,
                                       domid_t owner)
{
    struct frame *f = cache_pop(c, n);

    block_allocated(f, 0);
    frame_set_up(f, FRAME_ALLOCATED | 1, owner, FRAME_GUEST, 0);
    count_use(FRAME_GUEST, 1);
    return f;
}

/* The owner has been charged. */
static struct frame *take_block_owned(domid_t owner, unsigned order)
{
    struct frame *f = take_block(order, true);

    if (f == NULL) {
        owner_uncharge(owner, UINT64_C(1) << order);
        return NULL;
    }
    block_allocated(f, order);
    return f;
}

struct frame *page_block_take(domid_t owner, unsigned order)
{
    ASSERT(order >= PAGE_ORDER_2M);
    if (arch_alloc_should_fail() || order > PAGE_ORDER_MAX ||
        !owner_charge(owner, UINT64_C(1) << order)) {
        return NULL;
    }
    return take_block_owned(owner, order);
}

void page_block_set_up(struct frame *f, uint64_t nr, domid_t owner)
{
    frame_set_up_whole(f, nr, owner);
    count_use(FRAME_GUEST, (int64_t)nr);
}

void page_block_give_back(struct frame *f, unsigned order, domid_t owner)
{
    owner_uncharge(owner, UINT64_C(1) << order);
    block_freed(f, order);
    buddy_give(f, order);
}

/* As take_slowly(); the owner has been charged. */
static slow_path struct frame *take_owned_slowly(domid_t owner, unsigned order)
{
    struct page_cache *c = &caches[arch_cpu()];
    struct frame *f;

    if (order == 0) {
        if (refill(c, true)) {
            return take_one_owned(c, cache_len(c), owner);
        }
        owner_uncharge(owner, 1);
        return NULL;
    }
    f = take_block_owned(owner, order);
    if (f == NULL) {
        return NULL;
    }
    if (order >= PAGE_ORDER_2M) {
        page_block_set_up(f, UINT64_C(1) << order, owner);
        return f;
    }
    for (uint64_t i = 0; i < UINT64_C(1) << order; i++) {
        frame_set_up(f + i, FRAME_ALLOCATED | 1, owner, FRAME_GUEST, 0);
    }
    count_use(FRAME_GUEST, INT64_C(1) << order);
    return f;
}

struct frame *page_alloc_owned(domid_t owner, unsigned order)
{
    struct page_cache *c = &caches[arch_cpu()];
    unsigned n = cache_len(c);

    if (unlikely(arch_alloc_should_fail()) || order > PAGE_ORDER_MAX ||
        !owner_charge(owner, UINT64_C(1) << order)) {
        return NULL;
    }
    if (unlikely(order != 0 || n == 0)) {
        return take_owned_slowly(owner, order);
    }
    return take_one_owned(c, n, owner);
}

void page_give_single(struct frame *f)
{
    enum frame_use use = (enum frame_use)f->use;
    domid_t owner = frame_owner(f);

    if (use == FRAME_GUEST || use == FRAME_SHARED) {
        owner_uncharge(owner, 1);
    }
    BUG_ON(f->order != 0 || use < FRAME_PERCPU);
    give_one(f, use);
    pressure_check(owner);
}

void page_give_runs(const struct frame_run *r, unsigned n)
{
#ifdef QUIRE_DEBUG
    for (unsigned i = 0; i < n; i++) {
        for (uint32_t k = 0; k < r[i].nr; k++) {
            block_freed(frame_table + r[i].start + k, 0);
        }
    }
#endif
    buddy_give_runs(r, n);
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

struct frame *page_cached(unsigned i)
{
    const struct page_cache *c = &caches[i / PAGE_CACHE_MAX];

    i %= PAGE_CACHE_MAX;
    return i < cache_len(c) ? c->frames[i] : NULL;
}

void page_alloc_init(void)
{
    for (unsigned cpu = 0; cpu < MAX_CPUS; cpu++) {
        cache_set_len(&caches[cpu], 0);
        caches[cpu].need = PAGE_NORMAL;
    }
    pressure_init();
}
