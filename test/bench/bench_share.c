/*
 * bench_share.c - what many sharers of one frame cost on this host: adding
 * them, unsharing some, destroying their domain. Nanoseconds a gfn, and cache
 * misses where the processor counts them for us; of three runs the least.
 *
 *     make build/host/fast/test/bench/bench_share
 *     bench_share [FORM [SHARERS ...]] > host.json
 *
 * The same document as `quire bench --json`, unit nanoseconds. Dense gfns are
 * neighbours; random ones are drawn from 64 GiB, in the order of the draw.
 */
#include "host.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/grace.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>
#include <quire/share.h>

#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RAM_FRAMES (UINT64_C(1) << 19)
#define SPAN_BITS 24            /* random gfns: of 2^24 */
#define BASE (UINT64_C(1) << 20)
#define UNSHARES 1000
#define RUNS 3

static struct p2m *source, *client;
static share_handle_t handle;
static int misses_fd = -1;
static bool is_random, is_first = true;

static void must(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "bench_share: %s failed\n", what);
        exit(1);
    }
}

/* ---- the clock and the counter ---- */
struct mark { ticks_t when; uint64_t misses; };

static void misses_open(void)
{
    struct perf_event_attr a = {
        .type = PERF_TYPE_HARDWARE, .size = sizeof(a),
        .config = PERF_COUNT_HW_CACHE_MISSES, .exclude_kernel = 1,
    };

    misses_fd = (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
}

static struct mark now(void)
{
    struct mark m = { .misses = 0 };

    if (misses_fd >= 0) {
        must(read(misses_fd, &m.misses, sizeof(m.misses)) ==
             sizeof(m.misses), "reading the counter");
    }
    m.when = arch_now();
    return m;
}

/* One operation's figures: the least of several runs, which nothing else on
 * this host has disturbed. */
struct figure { const char *operation; double ns, misses; };

static void note(struct figure *f, const char *operation, struct mark from,
                 uint64_t n)
{
    struct mark to = now();
    double ns = (double)(to.when - from.when) * 1e9 / (double)arch_tick_hz() /
                (double)n;

    if (f->operation == NULL || ns < f->ns) {
        f->operation = operation;
        f->ns = ns;
        f->misses = (double)(to.misses - from.misses) / (double)n;
    }
}

static void print(const struct figure *f, const char *form, uint64_t sharers)
{
    printf("%s\n {\"bench\":\"host\",\"operation\":\"%s\",\"rmap\":\"%s\","
           "\"pattern\":\"%s\",\"sharers\":%lu,\"nanoseconds_per_gfn\":%.3f",
           is_first ? "" : ",", f->operation, form,
           is_random ? "random" : "dense", sharers, f->ns);
    if (misses_fd >= 0) {
        printf(",\"count_cache_misses_per_gfn\":%.3f", f->misses);
    }
    printf("}");
    is_first = false;
    fflush(stdout);
}

/* ---- two domains ---- */
static struct p2m *create(domid_t id)
{
    struct p2m *p;

    must(owner_claim(id, NULL, 1 << 20) == id, "claiming an id");
    p = p2m_create(id);
    must(p != NULL, "p2m_create");
    return p;
}

static void setup(enum rmap_form form)
{
    struct p2m_batch b;
    struct frame *f;

    host_machine_init(RAM_FRAMES, 1);
    share_init(1, form);
    source = create(1);
    client = create(2);
    f = page_alloc_owned(1, 0);
    must(f != NULL, "a frame");
    p2m_batch_begin(&b, source);
    must(p2m_batch_reserve(&b, GFN(0), 1, 0) == 0, "a table");
    p2m_set(&b, GFN(0), frame_to_mfn(f), 0, p2m_ram_rw);
    p2m_batch_end(&b);
    must(share_nominate(source, GFN(0), &handle) == 0, "share_nominate");
}

/* Multiplying by an odd number permutes the span. */
static gfn_t gfn_of(uint64_t i)
{
    return GFN(BASE + (is_random ? (i * UINT64_C(0x9e3779b1)) &
                       ((UINT64_C(1) << SPAN_BITS) - 1) : i));
}

static void add(uint64_t n)
{
    uint64_t done = 0;

    if (!is_random) {
        must(share_add_physmap_range(source, GFN(0), handle, client,
                                     GFN(BASE), n, 1, &done, NULL) == 0,
             "share_add_physmap_range");
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        must(share_add_physmap(source, GFN(0), handle, client,
                               gfn_of(i)) == 0, "share_add_physmap");
    }
}

/* This process's first touch of a page is the host's business: do it before. */
static void warm_frames(void)
{
    static struct frame *f[UNSHARES];

    for (unsigned i = 0; i < UNSHARES; i++) {
        f[i] = page_alloc(0, FRAME_TABLE);
        must(f[i] != NULL, "a frame");
        memset(arch_map_frame(frame_to_mfn(f[i])), 0, PAGE_SIZE);
    }
    for (unsigned i = UNSHARES; i-- > 0;) {
        page_free(f[i], 0);
    }
}

static void unshare(uint64_t n)
{
    for (uint64_t i = 0; i < UNSHARES; i++) {
        must(share_unshare(client, gfn_of(i * (n / UNSHARES))) == 0,
             "share_unshare");
    }
}

static void drop(struct p2m *p, const struct p2m_group *g)
{
    if (g->type == p2m_ram_shared) {
        share_drop_group(p, g);
        return;
    }
    for (uint64_t todo = g->map; todo != 0; todo &= todo - 1) {
        unsigned i = (unsigned)__builtin_ctzll(todo);

        frame_put_allocated(mfn_to_frame(p2m_group_mfn(g, i)));
    }
}

/* As a kill: nobody runs, then all of it goes, in slices. */
static void destroy(struct p2m *p)
{
    domid_t id = p->owner;
    gfn_t cursor = GFN(0);
    int err;

    p2m_flush(p);
    p->no_users = true;
    do {
        struct work w = WORK_INIT;

        err = p2m_relinquish(p, &cursor, drop, &w);
    } while (err == -ERESTART);
    must(err == 0, "p2m_relinquish");
    p2m_put(p);
    while (grace_nr_pending() != 0) {
        grace_quiesce();
    }
    must(owner_release(id) == 0, "owner_release");
}

static void measure(enum rmap_form form, uint64_t n)
{
    const char *name = rmap_form_name(form);
    struct figure figures[3] = { { .operation = NULL } };

    for (unsigned run = 0; run < RUNS; run++) {
        struct mark m;

        setup(form);
        m = now();
        add(n);
        note(&figures[0], "add_physmap", m, n);
        warm_frames();
        m = now();
        unshare(n);
        note(&figures[1], "unshare_copy", m, UNSHARES);
        m = now();
        destroy(client);
        note(&figures[2], "destroy", m, n);
        destroy(source);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(figures); i++) {
        print(&figures[i], name, n);
    }
}

int main(int argc, char **argv)
{
    static const uint64_t usual[] = { 1000, 100000, 10000000 };
    int form = argc > 1 ? rmap_form_find(argv[1]) : 0;

    if (form < 0) {
        fprintf(stderr, "usage: bench_share [FORM [SHARERS ...]], FORM one of");
        for (unsigned i = 0; i < RMAP_NR_FORMS; i++) {
            fprintf(stderr, " %s", rmap_form_name(i));
        }
        fprintf(stderr, "; SHARERS at least %u\n", UNSHARES);
        return 2;
    }
    misses_open();
    printf("{\"bench\":\"host\",\"version\":1,\"unit\":\"nanoseconds\","
           "\"rows\":[");
    for (int r = 0; r < 2; r++) {
        is_random = r == 1;
        for (int i = 0; i < (argc > 2 ? argc - 2 : 3); i++) {
            uint64_t n = argc > 2 ? strtoull(argv[i + 2], NULL, 0) : usual[i];

            must(n >= UNSHARES && n <= UINT64_C(1) << SPAN_BITS,
                 "SHARERS (1000 .. 16777216)");
            measure((enum rmap_form)form, n);
        }
    }
    printf("\n]}\n");
    return 0;
}
