/* test_page.c - blocks, caches, exhaustion, poison; on several CPUs too. */
#include "test.h"

#include "host.h"

#include <quire/arch.h>
#include <quire/frame_table.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>
#include <quire/rng.h>
#include <string.h>

TEST(blocks_are_aligned_and_come_back_whole)
{
    uint64_t free;

    host_machine_init(1 << 13, 1);
    free = page_nr_free();
    for (unsigned order = 0; order <= 11; order++) {
        struct frame *f = page_alloc(order, FRAME_TABLE);

        CHECK(f != NULL);
        CHECK_EQ(frame_to_mfn(f).n & ((1u << order) - 1), 0);
        CHECK_EQ(page_nr_free(), free - (1u << order));
        CHECK_EQ(frame_refs(f), 1);
        CHECK_EQ(frame_owner(f), DOMID_XEN);
        CHECK_EQ(mem_audit(), 0);
        page_free(f, order);
        CHECK_EQ(page_nr_free(), free);
    }
    CHECK_EQ(mem_audit(), 0);
}

/* Whatever was split comes together again: one block of half the machine. */
TEST(single_frames_coalesce)
{
    static struct frame *f[1 << 13];
    unsigned n = 0;

    host_machine_init(1 << 13, 1);
    while ((f[n] = page_alloc(0, FRAME_HEAP)) != NULL) {
        n++;
    }
    CHECK_EQ(page_nr_free(), 0);
    CHECK_EQ(n, (1 << 13) - (1 << 13) * 32 / 4096 - 1);
    /* First those with even numbers: no two of them are buddies. */
    for (unsigned odd = 0; odd < 2; odd++) {
        for (unsigned i = 0; i < n; i++) {
            if (frame_to_mfn(f[i]).n % 2 == odd) {
                page_free(f[i], 0);
            }
        }
        CHECK(odd != 0 || page_alloc(1, FRAME_HEAP) == NULL);
    }
    CHECK_EQ(page_nr_free(), n);
    CHECK_EQ(mem_audit(), 0);
    CHECK(page_alloc(12, FRAME_HEAP) != NULL);
    CHECK(page_alloc(12, FRAME_HEAP) == NULL);
    CHECK(page_alloc(PAGE_ORDER_MAX + 1, FRAME_HEAP) == NULL);
    CHECK(page_alloc(64, FRAME_HEAP) == NULL);
    CHECK_EQ(mem_audit(), 0);
}

/* Small blocks at first, then whole batches, whatever was left over. */
TEST(single_frames_come_in_rows)
{
    struct frame *last = NULL;
    unsigned rows = 0;

    host_machine_init(1 << 13, 1);
    for (unsigned i = 0; i < 2048; i++) {
        struct frame *f = page_alloc(0, FRAME_HEAP);

        CHECK(f != NULL);
        rows += f != last + 1;
        last = f;
    }
    CHECK(rows <= 2048 / 32 + 16);
}

TEST(owned_blocks_are_given_back_one_by_one)
{
    struct frame *f;
    uint64_t free;

    host_machine_init(1 << 13, 1);
    CHECK_EQ(owner_claim(1, NULL, 4096), 1);
    free = page_nr_free();
    f = page_alloc_owned(1, PAGE_ORDER_2M);
    CHECK(f != NULL);
    CHECK_EQ(owner_get(1)->pages, 512);
    for (unsigned i = 0; i < 512; i++) {
        CHECK_EQ(frame_refs(f + i), 1);
        CHECK_EQ(frame_owner(f + i), 1);
        CHECK(frame_is_exclusive(f + i));
    }
    CHECK_EQ(mem_audit(), 0);
    for (unsigned i = 0; i < 512; i++) {
        frame_put_allocated(f + (i * 37) % 512);
    }
    CHECK_EQ(owner_get(1)->pages, 0);
    CHECK_EQ(page_nr_free(), free);
    page_cache_drain();
    CHECK_EQ(page_nr_free(), free);
    CHECK(page_alloc(12, FRAME_HEAP) != NULL);
    CHECK_EQ(mem_audit(), 0);
}

/* The only big block is free, but some of its frames are in the cache. */
TEST(a_big_block_drains_the_cache_first)
{
    static struct frame *upper[1 << 12];
    unsigned n = 0;
    struct frame *f;

    host_machine_init(1 << 13, 1);
    while ((f = page_alloc(0, FRAME_HEAP)) != NULL) {
        if (frame_to_mfn(f).n >= 1 << 12) {
            upper[n++] = f;
        }
    }
    CHECK_EQ(n, 1 << 12);
    while (n != 0) {
        page_free(upper[--n], 0);
    }
    CHECK(page_alloc(12, FRAME_HEAP) != NULL);
    CHECK_EQ(page_nr_free(), 0);
    CHECK_EQ(mem_audit(), 0);
}

TEST(injected_failures_change_nothing)
{
    uint64_t free, before;

    host_machine_init(1 << 12, 1);
    CHECK_EQ(owner_claim(1, NULL, 4096), 1);
    free = page_nr_free();
    before = host_alloc_count();
    host_fail_alloc_at(1);
    CHECK(page_alloc(0, FRAME_HEAP) == NULL);
    CHECK(host_alloc_failed());
    host_fail_alloc_at(1);
    CHECK(page_alloc_owned(1, 3) == NULL);
    CHECK_EQ(owner_get(1)->pages, 0);
    CHECK_EQ(page_nr_free(), free);
    host_fail_alloc_at(3);
    CHECK(page_alloc(0, FRAME_HEAP) != NULL);
    CHECK(page_alloc(0, FRAME_HEAP) != NULL && !host_alloc_failed());
    CHECK(page_alloc(0, FRAME_HEAP) == NULL);
    CHECK(page_alloc(0, FRAME_HEAP) != NULL);
    CHECK_EQ(host_alloc_count() - before, 6);
    CHECK_EQ(mem_audit(), 0);
}

/* A charge is taken back when there is no memory after all. */
TEST(exhaustion_charges_nobody)
{
    host_machine_init(1 << 10, 1);
    CHECK_EQ(owner_claim(1, NULL, 4096), 1);
    while (page_alloc(0, FRAME_HEAP) != NULL) {
    }
    CHECK(page_alloc_owned(1, 0) == NULL);
    CHECK(page_alloc_owned(1, 4) == NULL);
    CHECK_EQ(owner_get(1)->pages, 0);
    CHECK_EQ(mem_audit(), 0);
}

static void free_twice(void *arg)
{
    page_free(arg, 0);
    page_free(arg, 0);
}

static void free_wrong_order(void *arg)
{
    page_free(arg, 1);
}

/* Through host_ram: what the sanitizer would see at once, hardware would not.
 * A stale mapping writes so. */
__attribute__((no_sanitize("address")))
static void write_after_free(void *arg)
{
    struct frame *f = arg;
    volatile uint64_t *page = arch_map_frame(frame_to_mfn(f));

    page_free(f, 0);
    page[511] = 0;
    page_alloc(0, FRAME_HEAP);
}

static void read_after_free(void *arg)
{
    struct frame *f = arg;
    volatile uint64_t *page = arch_map_frame(frame_to_mfn(f));

    page_free(f, 0);
    (void)page[7];
}

TEST(misuse_stops_the_machine)
{
    struct frame *f;

    host_machine_init(1 << 12, 1);
    f = page_alloc(0, FRAME_HEAP);
    CHECK(host_expect_panic(free_twice, f, "BUG"));
    CHECK(host_expect_panic(free_wrong_order, f, "BUG"));
    CHECK(host_expect_panic(write_after_free, f, "write after free: mfn"));
#ifdef __SANITIZE_ADDRESS__
    /* Its report goes to stderr: out of the way. */
    CHECK(freopen("/dev/null", "w", stderr) != NULL);
    CHECK_EQ(host_run_until_death(read_after_free, f, NULL, 0),
             HOST_CRASHED);
#else
    (void)read_after_free;
#endif
    page_free(f, 0);
}

/* A fresh page does not come as zeros, which would hide a missing clear. */
TEST(fresh_pages_are_junk)
{
    struct frame *f;

    host_machine_init(1 << 12, 1);
    f = page_alloc(1, FRAME_HEAP);
    CHECK(f != NULL);
    CHECK(*(uint64_t *)arch_map_frame(frame_to_mfn(f)) != 0);
    CHECK(*(uint64_t *)arch_map_frame(frame_to_mfn(f + 1)) != 0);
}

static void churn(void *arg)
{
    struct { struct frame *f; unsigned order; } held[40] = { { 0 } };
    domid_t me = (domid_t)arch_cpu();
    struct rng r;

    (void)arg;
    rng_seed(&r, test_seed + me);
    for (uint64_t i = 0; i < 4000 * test_rounds; i++) {
        unsigned k = (unsigned)rng_below(&r, ARRAY_SIZE(held));
        unsigned order = (unsigned)rng_below(&r, 4);

        if (held[k].f != NULL) {
            if (held[k].f->use == FRAME_HEAP) {
                page_free(held[k].f, held[k].order);
            } else {
                for (unsigned j = 0; j < 1u << held[k].order; j++) {
                    frame_put_allocated(held[k].f + j);
                }
            }
            held[k].f = NULL;
        } else {
            held[k].order = order;
            held[k].f = rng_below(&r, 2) ? page_alloc(order, FRAME_HEAP) :
                        page_alloc_owned(me, order);
            if (held[k].f != NULL) {
                memset(arch_map_frame(frame_to_mfn(held[k].f)), me,
                       PAGE_SIZE);
            }
        }
    }
    for (unsigned k = 0; k < ARRAY_SIZE(held); k++) {
        if (held[k].f != NULL && held[k].f->use == FRAME_HEAP) {
            page_free(held[k].f, held[k].order);
        } else if (held[k].f != NULL) {
            for (unsigned j = 0; j < 1u << held[k].order; j++) {
                frame_put_allocated(held[k].f + j);
            }
        }
    }
}

TEST(four_cpus_give_everything_back)
{
    uint64_t free;

    host_machine_init(1500, 4);
    free = page_nr_free();
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(owner_claim((domid_t)i, NULL, 100), i);
    }
    host_run_on_cpus(4, churn, NULL);
    CHECK_EQ(page_nr_free(), free);
    CHECK_EQ(mem_audit(), 0);
}
