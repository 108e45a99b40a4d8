/*
 * test_frame_whole.c - blocks of 2M with one record: freed in one step, taken
 * apart by whoever looks at one frame, and both at once on several CPUs.
 */
#include "../../arch/host/host.h"
#include "../../common/mem/internal.h"
#include "test.h"

#include <quire/errno.h>
#include <quire/rng.h>

#define BLOCK 512u

static struct frame *block;

static void machine(unsigned cpus)
{
    host_machine_init(1 << 13, cpus);
    CHECK_EQ(owner_claim(1, NULL, 4096), 1);
    CHECK_EQ(owner_claim(2, NULL, 4096), 2);
    block = page_alloc_owned(1, PAGE_ORDER_2M);
    CHECK(block != NULL);
}

static bool is_whole(void)
{
    return (block->refs & FRAME_WHOLE) != 0;
}

TEST(one_record_speaks_for_all)
{
    uint64_t free;

    machine(1);
    free = page_nr_free();
    CHECK(is_whole());
    for (unsigned i = 0; i < BLOCK; i++) {
        CHECK_EQ(frame_refs(block + i), 1);
        CHECK_EQ(frame_owner(block + i), 1);
        CHECK_EQ(frame_use_of(block + i), FRAME_GUEST);
        CHECK(frame_is_exclusive(block + i));
    }
    CHECK_EQ(mem_audit(), 0);
    CHECK_EQ(frame_free_run(1, block, BLOCK), BLOCK);
    CHECK_EQ(owner_get(1)->pages, 0);
    CHECK_EQ(page_nr_free(), free + BLOCK);
    CHECK_EQ(mem_audit(), 0);
    CHECK_EQ(frame_get(block + 3, 1), -ESRCH);
    CHECK(!frame_is_exclusive(block + 3));
}

/* Each way to one frame's record; the others stay as they were. */
TEST(a_look_at_one_takes_it_apart)
{
    for (unsigned way = 0; way < 5; way++) {
        for (unsigned at = 0; at < BLOCK; at += 17) {
            struct frame *f;
            unsigned n;

            machine(1);
            f = block + at;
            if (way == 0) {
                CHECK_EQ(frame_get(f, 1), 0);
                frame_put(f);
            } else if (way == 1) {
                CHECK_EQ(frame_get(f, 2), -ESRCH);
            } else if (way == 2) {
                frame_put_allocated(f);
            } else if (way == 3) {
                CHECK(frame_try_share(f, 1));
                frame_move_pages(1, 1);
            } else {
                CHECK_EQ(frame_set_owner(f, 2), 0);
            }
            CHECK(!is_whole() || (at == 0 && way < 2));
            CHECK_EQ(mem_audit(), 0);
            for (n = 0; n < BLOCK; n++) {
                if (n != at || way < 2) {
                    frame_put_allocated(block + n);
                }
            }
            CHECK_EQ(owner_get(1)->pages, 0);
        }
    }
}

/* Held by somebody: that frame stays, the others go. */
TEST(a_held_frame_stays)
{
    for (unsigned at = 0; at < BLOCK; at += 73) {
        unsigned n;

        machine(1);
        CHECK_EQ(frame_get(block + at, 1), 0);
        n = frame_free_run(1, block, BLOCK);
        CHECK_EQ(n, at);
        CHECK_EQ(frame_refs(block + at), 2);
        frame_put_allocated(block + at);
        CHECK_EQ(frame_free_run(1, block + at + 1, BLOCK - at - 1),
                 BLOCK - at - 1);
        CHECK_EQ(owner_get(1)->pages, 1);
        CHECK_EQ(mem_audit(), 0);
        frame_put(block + at);
        CHECK_EQ(owner_get(1)->pages, 0);
        CHECK_EQ(mem_audit(), 0);
    }
}

static _Atomic unsigned nr_held, nr_ready;

/* CPU 0 frees the block, the others look for a frame of it. */
static void race(void *arg)
{
    struct rng r;

    (void)arg;
    rng_seed(&r, test_seed + arch_cpu() + nr_held);
    atomic_fetch_add(&nr_ready, 1);
    while (nr_ready % 4 != 0) {
        arch_relax();
    }
    if (arch_cpu() == 0) {
        for (uint64_t wait = rng_below(&r, 100); wait != 0; wait--) {
            arch_relax();
        }
        for (unsigned n = 0; n < BLOCK;) {
            n += frame_free_run(1, block + n, BLOCK - n);
            if (n < BLOCK) {
                frame_put_allocated(block + n);
                n++;
            }
        }
        return;
    }
    for (unsigned i = 0; i < 20; i++) {
        struct frame *f = block + rng_below(&r, BLOCK);

        if (frame_get(f, 1) == 0) {
            atomic_fetch_add(&nr_held, 1);
            frame_put(f);
        }
    }
}

TEST(it_dies_while_others_look)
{
    nr_held = 0;
    for (unsigned i = 0; i < 200 * test_rounds; i++) {
        machine(4);
        host_run_on_cpus(4, race, NULL);
        CHECK_EQ(owner_get(1)->pages, 0);
        CHECK_EQ(mem_audit(), 0);
    }
    CHECK(nr_held != 0);
}

/* CPU 1 is at the end of parting it, CPU 0 lets go of the first frame. */
static void let_go_meanwhile(void *arg)
{
    (void)arg;
    if (arch_cpu() == 0) {
        atomic_fetch_add(&nr_ready, 1);
        frame_put_allocated(block);
        return;
    }
    while (nr_ready == 0) {
        arch_relax();
    }
    for (unsigned i = 0; i < 10000; i++) {
        arch_relax();
    }
    atomic_fetch_and(&block->refs, ~FRAME_PARTING);
}

TEST(who_lets_go_waits_for_the_parting)
{
    machine(2);
    CHECK(frame_part(block));
    CHECK(!frame_part(block));
    atomic_fetch_or(&block->refs, FRAME_PARTING);
    nr_ready = 0;
    host_run_on_cpus(2, let_go_meanwhile, NULL);
    CHECK_EQ(owner_get(1)->pages, BLOCK - 1);
    CHECK_EQ(mem_audit(), 0);
}
