/* test_heap.c - objects do not overlap, come back, and misuse is seen. */
#include "test.h"

#include "host.h"

#include <quire/arch.h>
#include <quire/frame_table.h>
#include <quire/heap.h>
#include <quire/page_alloc.h>
#include <quire/rng.h>
#include <string.h>

static uint64_t heap_frames(void)
{
    struct mem_totals t;

    mem_totals_get(&t);
    return t.frames[FRAME_HEAP];
}

TEST(every_size_is_usable_and_its_own)
{
    static unsigned char *p[3000];
    struct heap_stats s;

    host_machine_init(1 << 12, 1);
    for (unsigned size = 0; size < 3000; size++) {
        p[size] = heap_alloc(size);
        CHECK(p[size] != NULL);
        CHECK_EQ((uintptr_t)p[size] % 16, 0);
        memset(p[size], (int)(size % 251), size);
    }
    CHECK_EQ(heap_audit(), 0);
    CHECK_EQ(mem_audit(), 0);
    heap_stats_get(&s);
    CHECK_EQ(s.objects, 3000);
    CHECK_EQ(s.large_frames, 3000 - 2017);
    CHECK_EQ(s.slabs + s.large_frames, heap_frames());
    for (unsigned size = 0; size < 3000; size++) {
        for (unsigned i = 0; i < size; i++) {
            CHECK_EQ(p[size][i], size % 251);
        }
        heap_free(p[size]);
    }
    heap_free(NULL);
    heap_stats_get(&s);
    CHECK_EQ(s.objects, 0);
    CHECK_EQ(s.bytes, 0);
    heap_cache_drain();
    CHECK_EQ(heap_frames(), 0);
    CHECK_EQ(heap_audit(), 0);
    CHECK_EQ(mem_audit(), 0);
}

/* Of several sizes at once, none of which waits in a magazine. */
TEST(many_objects_go_at_once)
{
    static void *p[300];
    struct heap_stats s;

    host_machine_init(1 << 12, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
        p[i] = heap_alloc(i % 3 == 0 ? 64 : i % 3 * 500);
        CHECK(p[i] != NULL);
    }
    heap_cache_drain();
    heap_free_many(p, 0);
    heap_free_many(p + 100, 100);
    CHECK_EQ(heap_audit(), 0);
    heap_stats_get(&s);
    CHECK_EQ(s.objects, 200);
    heap_free_many(p, 100);
    heap_free_many(p + 200, 100);
    CHECK_EQ(heap_frames(), 0);
    CHECK_EQ(heap_audit(), 0);
    CHECK_EQ(mem_audit(), 0);
}

TEST(large_objects_are_whole_frames)
{
    static const size_t sizes[] = { 2017, 4096, 4097, 8192, 8193, 100000 };
    static const unsigned frames[] = { 1, 1, 2, 2, 4, 32 };
    uint64_t free;

    host_machine_init(1 << 12, 1);
    free = page_nr_free();
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        void *p = heap_alloc(sizes[i]);

        CHECK(p != NULL);
        memset(p, 1, sizes[i]);
        CHECK_EQ(page_nr_free(), free - frames[i]);
        CHECK_EQ(heap_audit(), 0);
        heap_free(p);
        CHECK_EQ(page_nr_free(), free);
    }
    CHECK(heap_alloc(SIZE_MAX) == NULL);
    CHECK(heap_alloc(UINT64_C(1) << 40) == NULL);
}

TEST(zeroed_means_zeroed)
{
    unsigned char *p;

    host_machine_init(1 << 12, 1);
    p = heap_alloc(300);
    CHECK(p != NULL);
    memset(p, 0xff, 300);
    heap_free(p);
    p = heap_zalloc(300);
    CHECK(p != NULL);
    for (unsigned i = 0; i < 300; i++) {
        CHECK_EQ(p[i], 0);
    }
    heap_free(p);
}

/* Out of frames is NULL, not a crash; and nothing is lost by it. */
TEST(exhaustion_and_injected_failures)
{
    void **chain = NULL, **p;
    uint64_t n = 0, free;

    host_machine_init(200, 1);
    free = page_nr_free();
    host_fail_alloc_at(1);
    CHECK(heap_alloc(100) == NULL);
    host_fail_alloc_at(2);
    p = heap_zalloc(5000);
    CHECK(p != NULL);
    CHECK(heap_zalloc(100) == NULL);
    heap_free(p);
    while ((p = heap_alloc(64)) != NULL) {
        *p = chain;
        chain = p;
        n++;
    }
    CHECK_EQ(n, free * 63);
    CHECK_EQ(page_nr_free(), 0);
    CHECK_EQ(heap_audit(), 0);
    CHECK_EQ(mem_audit(), 0);
    while ((p = chain) != NULL) {
        chain = *p;
        heap_free(p);
    }
    heap_cache_drain();
    CHECK_EQ(page_nr_free(), free);
    CHECK_EQ(heap_audit(), 0);
}

static void free_twice(void *arg)
{
    heap_free(arg);
    heap_free(arg);
}

static void free_inside_a_frame(void *arg)
{
    struct frame *f = page_alloc(0, FRAME_TABLE);

    (void)arg;
    heap_free((char *)arch_map_frame(frame_to_mfn(f)) + 64);
}

static void free_a_table(void *arg)
{
    struct frame *f = page_alloc(0, FRAME_TABLE);

    (void)arg;
    heap_free(arch_map_frame(frame_to_mfn(f)));
}

__attribute__((no_sanitize("address")))
static void write_after_free(void *arg)
{
    volatile uint64_t *p = arg;

    heap_free(arg);
    p[7] = 1;
    if (heap_alloc(64) == NULL) {
        return;
    }
}

TEST(misuse_stops_the_machine)
{
    void *p;

    host_machine_init(1 << 12, 1);
    p = heap_alloc(64);
    CHECK(host_expect_panic(free_twice, p, "freed twice"));
    CHECK(host_expect_panic(free_inside_a_frame, NULL, "BUG: s->magic"));
    CHECK(host_expect_panic(free_a_table, NULL, "BUG: f->use"));
    CHECK(host_expect_panic(write_after_free, p, "write after free"));
    heap_free(p);
}

#ifdef __SANITIZE_ADDRESS__
static void overrun(void *arg)
{
    ((volatile char *)arg)[40] = 1;
}

static void read_freed(void *arg)
{
    heap_free(arg);
    (void)((volatile char *)arg)[0];
}

TEST(the_sanitizer_sees_slack_and_freed_objects)
{
    void *p;

    host_machine_init(1 << 12, 1);
    p = heap_alloc(40);
    CHECK(freopen("/dev/null", "w", stderr) != NULL);
    CHECK_EQ(host_run_until_death(overrun, p, NULL, 0), HOST_CRASHED);
    CHECK_EQ(host_run_until_death(read_freed, p, NULL, 0), HOST_CRASHED);
    heap_free(p);
}
#endif

/* The insides of a slab, as far as damaging one needs them. */
struct slab_head { void *next, *prev, *free; uint32_t magic;
                   uint16_t class, capacity, nr_free, fresh; };

TEST(audit_finds_each_kind_of_damage)
{
    struct slab_head *s;
    struct frame *f;
    void *p, *other;

    host_machine_init(1 << 12, 1);
    p = heap_alloc(64);
    other = heap_alloc(64);
    CHECK(p != NULL && other != NULL);
    heap_free(other);
    heap_cache_drain();         /* now the slab has a chain */
    s = (struct slab_head *)((uintptr_t)p & ~(uintptr_t)4095);
    CHECK_EQ(s->capacity, 63);
    CHECK_EQ(heap_audit(), 0);

#define AUDIT_FINDS(name, damage, repair) \
    do { \
        damage; \
        host_console_clear(); \
        CHECK(heap_audit() != 0); \
        CHECK(strstr(host_console_text(), "(E) " name ": ") != NULL); \
        repair; \
        CHECK_EQ(heap_audit(), 0); \
    } while (0)
    AUDIT_FINDS("E1", s->magic++, s->magic--);
    AUDIT_FINDS("E1", s->class++, s->class--);
    AUDIT_FINDS("E1", s->nr_free++, s->nr_free--);
    AUDIT_FINDS("E1", s->fresh += 63, s->fresh -= 63);
    AUDIT_FINDS("E1", s->free = (char *)s->free + 8,
                s->free = (char *)s->free - 8);
    AUDIT_FINDS("E1", s->free = (char *)s->free + 60 * 64,
                s->free = (char *)s->free - 60 * 64);
    AUDIT_FINDS("E2", s->fresh++; s->nr_free--, s->fresh--; s->nr_free++);
    f = page_alloc(0, FRAME_TABLE);
    AUDIT_FINDS("E2", f->use = FRAME_HEAP, f->use = FRAME_TABLE);
    heap_free(p);
}

/* What one CPU allocates another frees. */
static void *_Atomic slot[64];

static void swap_objects(void *arg)
{
    struct rng r;

    (void)arg;
    rng_seed(&r, test_seed + arch_cpu());
    for (uint64_t i = 0; i < 5000 * test_rounds; i++) {
        size_t size = 8 + rng_below(&r, 400);
        uint64_t *p = heap_alloc(size);

        if (p != NULL) {
            memset(p, 0x55, size);
        }
        heap_free(atomic_exchange(&slot[rng_below(&r, 64)], p));
    }
    heap_cache_drain();
}

TEST(objects_pass_between_cpus)
{
    struct heap_stats s;

    host_machine_init(1 << 12, 4);
    host_run_on_cpus(4, swap_objects, NULL);
    CHECK_EQ(heap_audit(), 0);
    for (unsigned i = 0; i < 64; i++) {
        heap_free(atomic_exchange(&slot[i], NULL));
    }
    heap_cache_drain();
    heap_stats_get(&s);
    CHECK_EQ(s.objects, 0);
    CHECK_EQ(heap_frames(), 0);
    CHECK_EQ(heap_audit(), 0);
    CHECK_EQ(mem_audit(), 0);
}
