/*
 * bench_spte_rmap.c - the reverse map of shadow entries on this host: one
 * gfn mapped N times, its sptes added, looked at and removed in order, in
 * reverse and at random, in each of the three forms.
 *
 *     make build/host/fast/test/bench/bench_spte_rmap
 *     build/host/fast/test/bench/bench_spte_rmap [--json]
 *
 * Nanoseconds an operation, the least of several rounds. A removal that
 * would take over LIMIT steps in all is left out, and says so.
 */
#include "host.h"

#include <quire/rng.h>
#include <quire/spte_rmap.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_SPTES 100000
#define PAGES ((MAX_SPTES + SPTES_PER_PAGE - 1) / SPTES_PER_PAGE)
#define LIMIT 1e9

enum order { FORWARD, REVERSE, RANDOM, NR_ORDERS };
static const char *const order_names[] = { "forward", "reverse", "random" };

static spte_ref_t refs[MAX_SPTES];        /* in the order of adding */
static spte_ref_t removal[MAX_SPTES];
static spte_ref_t pages[PAGES];
static head_ref_t heads;
static volatile uint64_t sink;

struct result { double add, step, remove; uint64_t bytes; };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void prepare(unsigned n, enum order order)
{
    struct rng r;

    rng_seed(&r, n);
    for (unsigned i = 0; i < n; i++) {
        removal[i] = refs[order == REVERSE ? n - 1 - i : i];
    }
    for (unsigned i = n; order == RANDOM && i > 1; i--) {
        unsigned k = (unsigned)rng_below(&r, i);
        spte_ref_t s = removal[i - 1];

        removal[i - 1] = removal[k];
        removal[k] = s;
    }
}

/* The trace on as many chains as it takes to be measurable. */
static struct result once(unsigned n, bool removes)
{
    unsigned chains = n < 512 ? 512 / n : 1, total = chains * n;
    struct result res = { 0 };
    struct spte_iter it;
    double start = now();
    uint64_t sum = 0;

    for (unsigned i = 0; i < total; i++) {
        if (spte_rmap_add(heads + i / n, refs[i]) != 0) {
            abort();
        }
    }
    res.add = (now() - start) / total;
    res.bytes = spte_rmap_bytes();
    start = now();
    for (unsigned c = 0; c < chains; c++) {
        for (spte_ref_t s = spte_rmap_first(&it, heads + c); s != 0;
             s = spte_rmap_next(&it)) {
            sum += s;
        }
    }
    sink = sum;
    res.step = (now() - start) / total;
    start = now();
    if (removes) {
        for (unsigned i = 0; i < total; i++) {
            unsigned c = i / n;     /* each chain in the same order */

            spte_rmap_remove(c == 0 ? removal[i % n]
                                    : refs[c * n] + (removal[i % n] -
                                                     refs[0]));
        }
        res.remove = (now() - start) / total;
    }
    for (unsigned c = 0; c < chains; c++) {
        spte_ref_t s;

        while ((s = spte_rmap_first(&it, heads + c)) != 0) {
            spte_rmap_remove(s);
        }
    }
    return res;
}

static void measure(enum spte_rmap_form form, unsigned n, enum order order,
                    bool json)
{
    double steps = (double)n * n / 2;
    bool removes = form == SPTE_RMAP_SIBLING || order == REVERSE ||
                   steps < LIMIT;
    unsigned rounds = n < MAX_SPTES ? 200 : removes && steps < LIMIT ? 10 : 5;
    struct result best;

    prepare(n, order);
    best = once(n, removes);
    for (unsigned i = 0; i < rounds; i++) {
        struct result r = once(n, removes);

        best.add = r.add < best.add ? r.add : best.add;
        best.step = r.step < best.step ? r.step : best.step;
        best.remove = r.remove < best.remove ? r.remove : best.remove;
    }
    if (json) {
        printf("{\"form\": \"%s\", \"n\": %u, \"order\": \"%s\", "
               "\"add_ns\": %.2f, \"step_ns\": %.2f, \"remove_ns\": %s%.2f%s, "
               "\"bytes\": %lu}\n", spte_rmap_form_name(form), n,
               order_names[order], best.add, best.step,
               removes ? "" : "\"skipped ", best.remove, removes ? "" : "\"",
               best.bytes);
        return;
    }
    printf("%-8s %7u  %-8s %8.2f %8.2f ", spte_rmap_form_name(form), n,
           order_names[order], best.add, best.step);
    if (removes) {
        printf("%10.2f\n", best.remove);
    } else {
        printf("%10s\n", "skipped");
    }
}

int main(int argc, char **argv)
{
    static const unsigned counts[] = { 1, 2, 16, 1000, 100000 };
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;

    if (!json) {
        printf("form           n  order         add     step     remove   "
               "(ns an operation)\n");
    }
    for (unsigned form = 0; form < NR_SPTE_RMAP_FORMS; form++) {
        host_machine_init(1 << 14, 1);
        spte_rmap_use((enum spte_rmap_form)form);
        heads = spte_heads_create();
        for (unsigned i = 0; i < PAGES; i++) {
            pages[i] = spte_page_create();
        }
        for (unsigned i = 0; i < MAX_SPTES; i++) {
            refs[i] = pages[i / SPTES_PER_PAGE] + i % SPTES_PER_PAGE;
        }
        for (unsigned i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
            for (unsigned o = 0; o < NR_ORDERS; o++) {
                measure((enum spte_rmap_form)form, counts[i], (enum order)o,
                        json);
            }
        }
        for (unsigned i = 0; i < PAGES; i++) {
            spte_page_destroy(pages[i]);
        }
        spte_heads_destroy(heads);
    }
    return 0;
}
