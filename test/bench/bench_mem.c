/*
 * bench_mem.c - what the memory's hot paths cost on this host.
 *
 *     make build/host/fast/test/bench/bench_mem
 *     build/host/fast/test/bench/bench_mem            all, nanoseconds
 *     bench_mem NAME ROUNDS                           one, for callgrind
 *
 * For instructions, run one under `valgrind --tool=callgrind` with two
 * numbers of rounds; the difference of the totals over that of the rounds is
 * the figure, the loop's own (about ten) included.
 */
#include "host.h"

#include <quire/arch.h>
#include <quire/frame_table.h>
#include <quire/heap.h>
#include <quire/lock.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>
#include <quire/string.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 1000000
#define BULK 1000

static struct spinlock lock = SPINLOCK_INIT(P2M, 1);
static struct frame *frames[BULK];
static void *objects[BULK];
static alignas(4096) char page_a[4096], page_b[4096];
static volatile uint64_t sink;

static void single_frame(void)
{
    page_free(page_alloc(0, FRAME_TABLE), 0);
}

static void owned_frame(void)
{
    frame_put_allocated(page_alloc_owned(1, 0));
}

/* Far more than a cache holds: the buddy's share is in it. */
static void bulk_frames(void)
{
    for (unsigned i = 0; i < BULK; i++) {
        frames[i] = page_alloc(0, FRAME_TABLE);
    }
    for (unsigned i = 0; i < BULK; i++) {
        page_free(frames[i], 0);
    }
}

static void object(void)
{
    heap_free(heap_alloc(32));
}

static void bulk_objects(void)
{
    for (unsigned i = 0; i < BULK; i++) {
        objects[i] = heap_alloc(32);
    }
    for (unsigned i = 0; i < BULK; i++) {
        heap_free(objects[i]);
    }
}

static void lock_unlock(void)
{
    spin_lock(&lock);
    spin_unlock(&lock);
}

static void get_put(void)
{
    if (frame_get(frames[0], 1) == 0) {
        frame_put(frames[0]);
    }
}

static void copy(void)
{
    page_copy(page_a, page_b);
}

static void hash(void)
{
    sink += page_hash(page_a);
}

static const struct bench { const char *name; void (*fn)(void); unsigned per; }
benches[] = {
    { "single_frame", single_frame, 1 }, { "owned_frame", owned_frame, 1 },
    { "bulk_frames", bulk_frames, BULK }, { "object", object, 1 },
    { "bulk_objects", bulk_objects, BULK }, { "lock_unlock", lock_unlock, 1 },
    { "get_put", get_put, 1 }, { "page_copy", copy, 1 },
    { "page_hash", hash, 1 },
};

/* Ticks; not their length, whose calibration would spoil a count. */
static ticks_t run(const struct bench *b, uint64_t rounds)
{
    ticks_t start;

    host_machine_init(1 << 16, 1);
    if (owner_claim(1, NULL, 1 << 16) != 1) {
        abort();
    }
    frames[0] = page_alloc_owned(1, 0);
    start = arch_now();
    for (uint64_t i = 0; i < rounds; i++) {
        b->fn();
    }
    return arch_now() - start;
}

static void measure(const struct bench *b)
{
    uint64_t rounds = ROUNDS / b->per;
    double ns = (double)run(b, rounds) * 1e9 / (double)arch_tick_hz();

    printf("%-14s %8.1f ns\n", b->name, ns / (double)rounds / b->per);
}

/* A machine of 8 GiB with a hole below 4G, as QEMU's. */
static void boot(void)
{
    const struct ram_range ram[] = { { MFN(0), 3u << 18 },
                                     { MFN(4u << 18), 5u << 18 } };
    ticks_t start;

    host_ram_init(9u << 18, 1);
    start = arch_now();
    frame_table_init(ram, 2, NULL, 0);
    printf("%-14s %8.1f ms for 8 GiB\n", "boot",
           (double)(arch_now() - start) * 1e3 / (double)arch_tick_hz());
}

int main(int argc, char **argv)
{
    for (unsigned i = 0; i < ARRAY_SIZE(benches); i++) {
        if (argc == 3 && strcmp(argv[1], benches[i].name) == 0) {
            run(&benches[i], strtoull(argv[2], NULL, 0));
            return 0;
        }
        if (argc == 1) {
            measure(&benches[i]);
        }
    }
    if (argc == 1) {
        boot();
        return 0;
    }
    fprintf(stderr, "usage: bench_mem [NAME ROUNDS]\n");
    return 2;
}
