/*
 * bench_kill_smp.c - two kills at once on two threads of this host, against
 * the same two on one: how many times the gfns a second. Of several runs of
 * each, taken in turn, the best, which nothing else on this host has
 * disturbed.
 *
 *     make build/host/fast/test/bench/bench_kill_smp
 *     bench_kill_smp [GFNS [RUNS]] > kill-smp.json
 *
 * What is killed: pages of its own; pages whose frames another domain shares;
 * gfns on one frame, each victim's another; and gfns that are all on one
 * frame, whose list only one of the two can change at a time. Of the last two
 * ten times GFNS, for they go fast.
 */
#define _GNU_SOURCE             /* sched_setaffinity() */
#include "domains.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/grace.h>
#include <quire/share.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define RAM_FRAMES (UINT64_C(1) << 20)
#define BASE (UINT64_C(1) << 20)
#define GFNS 100000
#define RUNS 7

enum kind { PRIVATE, PAIRS, OWN_FRAME, ONE_FRAME, NR_KINDS };
static const char *const kind_names[NR_KINDS] = {
    [PRIVATE] = "private", [PAIRS] = "pairs", [OWN_FRAME] = "frame_each",
    [ONE_FRAME] = "one_frame",
};

static uint64_t few = GFNS, gfns;
static struct domain *victims[2], *sources[2];
static ticks_t began[2], ended[2];

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "bench_kill_smp: %s failed\n", what);
        exit(1);
    }
}

static void share_one(struct domain *source, struct domain *client)
{
    share_handle_t handle;
    uint64_t done = 0;

    must(share_nominate(source->p2m, GFN(0), &handle) == 0, "share_nominate");
    must(share_add_physmap_range(source->p2m, GFN(0), handle, client->p2m,
                                 GFN(BASE), gfns, 1, &done, NULL) == 0,
         "share_add_physmap_range");
}

static void share_pairs(struct domain *source, struct domain *client)
{
    for (uint64_t i = 0; i < gfns; i++) {
        share_handle_t handle;

        must(share_nominate(source->p2m, GFN(i), &handle) == 0,
             "share_nominate");
        must(share_add_physmap(source->p2m, GFN(i), handle, client->p2m,
                               GFN(BASE + i)) == 0, "share_add_physmap");
    }
}

static struct domain *create(const char *name, uint64_t pages)
{
    struct domain_config c = test_config(name, pages);

    c.max_pages = pages + 64;
    return test_create(&c);
}

static void setup(enum kind kind)
{
    gfns = kind == PRIVATE || kind == PAIRS ? few : 10 * few;
    test_machine(RAM_FRAMES, 2);
    for (unsigned i = 0; i < 2; i++) {
        victims[i] = create("victim", kind == PRIVATE ? gfns : 1);
        sources[i] = create("source", kind == PAIRS ? gfns : 1);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (kind == PAIRS) {
            share_pairs(sources[i], victims[i]);
        } else if (kind != PRIVATE) {
            share_one(sources[kind == ONE_FRAME ? 0 : i], victims[i]);
        }
    }
}

/* As a CPU does it: a slice, then what is due after a grace period. */
static void kill_one(unsigned i)
{
    int err;

    began[i] = arch_now();
    do {
        struct work w = WORK_INIT;

        err = domain_kill(victims[i], &w);
        grace_quiesce();
    } while (err == -ERESTART);
    ended[i] = arch_now();
    must(err == 0, "domain_kill");
}

static _Atomic unsigned nr_ready;

/* A core for each, and both are there when they begin. */
static void kill_mine(void *arg)
{
    cpu_set_t core;

    (void)arg;
    CPU_ZERO(&core);
    CPU_SET(arch_cpu(), &core);
    must(sched_setaffinity(0, sizeof(core), &core) == 0, "two cores");
    atomic_fetch_add(&nr_ready, 1);
    while (atomic_load(&nr_ready) < 2) {
        arch_relax();
    }
    kill_one(arch_cpu());
}

/* Nanoseconds a gfn, for both victims together. */
static double measure(enum kind kind, unsigned threads)
{
    ticks_t took;

    setup(kind);
    atomic_store(&nr_ready, 0);
    if (threads == 2) {
        host_run_on_cpus(2, kill_mine, NULL);
    } else {
        kill_one(0);
        kill_one(1);
    }
    took = MAX(ended[0], ended[1]) - MIN(began[0], began[1]);
    for (unsigned i = 0; i < 2; i++) {
        domain_put(victims[i]);
        test_kill(sources[i]);
    }
    test_settle();
    return (double)took * 1e9 / (double)arch_tick_hz() / (double)(2 * gfns);
}

static void print(enum kind kind, const double best[2])
{
    for (unsigned t = 0; t < 2; t++) {
        printf("%s\n {\"bench\":\"host\",\"operation\":\"destroy_at_once\","
               "\"frames\":\"%s\",\"gfns\":%lu,\"threads\":%u,"
               "\"nanoseconds_per_gfn\":%.3f",
               kind == 0 && t == 0 ? "" : ",", kind_names[kind], gfns, t + 1,
               best[t]);
        if (t == 1) {
            printf(",\"count_throughput_ratio\":%.3f", best[0] / best[1]);
        }
        printf("}");
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    uint64_t runs = argc > 2 ? strtoull(argv[2], NULL, 0) : RUNS;

    few = argc > 1 ? strtoull(argv[1], NULL, 0) : GFNS;
    must(few > 0 && few <= RAM_FRAMES / 4 && runs > 0,
         "GFNS (1 .. 262144) and RUNS (at least 1)");
    printf("{\"bench\":\"host\",\"version\":1,\"unit\":\"nanoseconds\","
           "\"rows\":[");
    for (int kind = 0; kind < NR_KINDS; kind++) {
        double best[2] = { 0, 0 };

        for (uint64_t run = 0; run < 2 * runs; run++) {
            double ns = measure((enum kind)kind, 1 + run % 2);

            if (run < 2 || ns < best[run % 2]) {
                best[run % 2] = ns;
            }
        }
        print((enum kind)kind, best);
    }
    printf("\n]}\n");
    return 0;
}
