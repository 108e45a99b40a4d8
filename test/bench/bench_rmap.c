/*
 * bench_rmap.c - what a reverse map costs on this host: nanoseconds an
 * operation and bytes a pair, one JSON document.
 *
 *     make build/host/fast/test/bench/bench_rmap
 *     bench_rmap                              the whole table
 *     bench_rmap FORM PATTERN ORDER N         one row, for perf and callgrind
 *
 * The traces are bench-rmap's. A form whose operation grows with the pairs is
 * stopped after so many operations that the row says: ops.
 */
#include "host.h"

#include <quire/rmap_trace.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECONDS_PER_PHASE 2
#define BATCH 64

struct phase { const char *name; uint64_t ops; double ns; };

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void operate(struct rmap *map, unsigned phase, struct rmap_pair p)
{
    if (phase == 0) {
        if (rmap_insert(map, p) != 0) {
            fprintf(stderr, "bench_rmap: out of memory\n");
            exit(1);
        }
    } else if (phase == 1) {
        if (!rmap_has(map, p)) {
            abort();
        }
    } else {
        rmap_remove(map, p);
    }
}

/* One phase in batches whose pairs are made before the clock is read. */
static void run_phase(struct rmap *map, const struct rmap_trace *t,
                      unsigned phase, struct phase *out)
{
    struct rmap_pair pairs[BATCH];

    while (out->ops < t->n &&
           (phase == 0 || out->ns < SECONDS_PER_PHASE * 1e9)) {
        unsigned n = (unsigned)MIN(BATCH, t->n - out->ops);
        double start;

        for (unsigned i = 0; i < n; i++) {
            uint64_t turn = out->ops + i;

            pairs[i] = rmap_trace_pair(t, phase == 0 ? turn :
                                       rmap_trace_turn(t, turn));
        }
        start = now_ns();
        for (unsigned i = 0; i < n; i++) {
            operate(map, phase, pairs[i]);
        }
        out->ns += now_ns() - start;
        out->ops += n;
    }
}

static void row(enum rmap_form form, const struct rmap_trace *t)
{
    static bool first = true;
    struct phase phases[3] = { { .name = "insert" }, { .name = "find" },
                               { .name = "remove" } };
    uint64_t bytes = 0;
    struct rmap map;

    host_machine_init(UINT64_C(1) << 18, 1);
    rmap_setup(1, form);
    rmap_init(&map);
    for (unsigned i = 0; i < 3; i++) {
        run_phase(&map, t, i, &phases[i]);
        bytes = i == 0 ? rmap_bytes() : bytes;
    }
    rmap_fini(&map);
    printf("%s\n  {\"form\": \"%s\", \"pattern\": \"%s\", \"order\": \"%s\", "
           "\"n\": %lu, \"bytes_per_pair\": %.6f", first ? "" : ",",
           rmap_form_name(form), rmap_pattern_names[t->pattern],
           rmap_order_names[t->order], t->n, (double)bytes / (double)t->n);
    for (unsigned i = 0; i < 3; i++) {
        printf(", \"%s_ops\": %lu, \"%s_ns\": %.6f", phases[i].name,
               phases[i].ops, phases[i].name,
               phases[i].ns / (double)phases[i].ops);
    }
    printf("}");
    first = false;
}

static unsigned index_of(const char *name, const char *const *names,
                         unsigned nr)
{
    for (unsigned i = 0; i < nr; i++) {
        if (strcmp(name, names[i]) == 0) {
            return i;
        }
    }
    fprintf(stderr, "bench_rmap: what is %s?\n", name);
    exit(2);
}

static void all_rows(void)
{
    static const uint64_t sizes[] = {
        1000, 10000, 100000, 1000000, 10000000,
    };

    for (unsigned form = 0; form < RMAP_NR_FORMS; form++) {
        for (unsigned p = 0; p < RMAP_NR_PATTERNS; p++) {
            for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
                struct rmap_trace t = { p, RMAP_FORWARD, sizes[i], 1 };

                row(form, &t);
                t.order = RMAP_SHUFFLED;
                row(form, &t);
            }
        }
    }
}

int main(int argc, char **argv)
{
    printf("{\"bench\": \"rmap_host\", \"unit\": \"ns\", \"rows\": [");
    if (argc == 5) {
        struct rmap_trace t = {
            index_of(argv[2], rmap_pattern_names, RMAP_NR_PATTERNS),
            index_of(argv[3], rmap_order_names, RMAP_NR_ORDERS),
            strtoull(argv[4], NULL, 0), 1 };
        int form = rmap_form_find(argv[1]);

        if (form < 0 || t.n == 0 || t.n > RMAP_TRACE_MAX) {
            fprintf(stderr, "bench_rmap: FORM PATTERN ORDER N\n");
            return 2;
        }
        row(form, &t);
    } else {
        all_rows();
    }
    printf("\n]}\n");
    return 0;
}
