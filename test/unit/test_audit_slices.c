/*
 * test_audit_slices.c - the audits in slices: whatever the slices, they find
 * what an audit in one go finds; they end; and what others allocate, free and
 * map in between does not look like damage.
 */
#include "test_share.h"

#include "../../common/p2m/table.h"

#include <string.h>

static struct p2m *world(void)
{
    share_handle_t h;
    struct p2m *p;

    host_machine_init(1 << 13, 1);
    share_init(1, RMAP_LIST);
    p = test_p2m_create(3);
    for (uint64_t g = 0; g < 700; g += 1 + g % 3) {
        (void)test_p2m_populate(p, g, 0);
    }
    (void)test_p2m_populate(p, 0x1000, P2M_ORDER_2M);
    CHECK_EQ(test_p2m_set(p, 0x40000, MFN_INVALID, P2M_ORDER_1G, p2m_pod), 0);
    for (uint64_t g = 0; g < 30; g += 1 + g % 3) {
        CHECK_EQ(share_nominate(p, GFN(g), &h), 0);
    }
    /* Free blocks of many sizes, and a cache that is not empty. */
    struct frame *f[200];

    for (unsigned i = 0; i < 200; i++) {
        f[i] = page_alloc(0, FRAME_PERCPU);
    }
    for (unsigned i = 0; i < 200; i += 2) {
        page_free(f[i], 0);
    }
    for (unsigned i = 1; i < 200; i += 2) {
        page_free(f[i], 0);
    }
    return p;
}

/* What goes on between two slices. */
static void nothing(struct p2m *p, uint64_t i)
{
    (void)p;
    (void)i;
}

#define BUSY 30

static void allocate(struct p2m *p, uint64_t i)
{
    static struct frame *f[8];
    static void *o[8];
    unsigned k = i % 8;

    if (i > BUSY) {
        return;         /* quiet at last: one of the passes sees all alike */
    }
    if (f[k] != NULL) {
        page_free(f[k], 0);
        heap_free(o[k]);
        f[k] = NULL;
    } else {
        f[k] = page_alloc(0, FRAME_PERCPU);
        o[k] = heap_alloc(16 + 64 * k);
    }
    if (i % 4 == 0) {
        CHECK_EQ(test_p2m_set(p, 0x90000 + i / 4 % 2, MFN_INVALID, 0,
                              i & 8 ? p2m_mmio_dm : p2m_invalid), 0);
    }
    if (i == BUSY) {
        for (unsigned j = 0; j < 8; j++) {
            if (f[j] != NULL) {
                page_free(f[j], 0);
                heap_free(o[j]);
                f[j] = NULL;
            }
        }
    }
}

/* All three, with slices of @units or stopped at check @at; violations. */
static unsigned audit(struct p2m *p, int64_t units, uint64_t at,
                      void (*between)(struct p2m *p, uint64_t i),
                      uint64_t *checks)
{
    struct mem_audit m = { 0 };
    struct heap_audit h = { 0 };
    struct p2m_audit a = { 0 };
    struct work w = { .left = units, .force_at = at };
    uint64_t i = 0;

    while (mem_audit_run(&m, &w) != 0) {
        CHECK_EQ(nr_locks_held(), 0);
        between(p, i++);
        w.left = units;
    }
    i = 0;
    while (heap_audit_run(&h, &w) != 0) {
        CHECK_EQ(nr_locks_held(), 0);
        between(p, i++);
        w.left = units;
    }
    i = 0;
    while (p2m_audit_run(&a, p, &w) != 0) {
        CHECK_EQ(nr_locks_held(), 0);
        between(p, i++);
        w.left = units;
    }
    if (checks != NULL) {
        *checks = w.checks;
    }
    return m.bad + h.bad + a.bad;
}

TEST(any_slicing_finds_the_same)
{
    static const int64_t units[] = { 1, 3000, 8000, INT64_MAX };
    struct p2m *p = world();
    struct frame *f = page_alloc(0, FRAME_TABLE);
    unsigned found = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
        CHECK_EQ(audit(p, units[i], 0, nothing, NULL), 0);
        f->use = FRAME_HEAP;            /* M1 twice, E2 */
        p->count[p2m_ram_rw]++;         /* P2 */
        unsigned bad = audit(p, units[i], 0, nothing, NULL);

        CHECK(bad >= 4 && (i == 0 || bad == found));
        found = bad;
        f->use = FRAME_TABLE;
        p->count[p2m_ram_rw]--;
    }
    page_free(f, 0);
    test_share_kill(p);
    test_p2m_all_gone();
}

TEST(stopped_at_every_check)
{
    struct p2m *p = world();
    uint64_t checks = 1;

    for (uint64_t at = 1; at <= checks; at += 1 + at / 40) {
        CHECK_EQ(audit(p, INT64_MAX, at, nothing, &checks), 0);
    }
    CHECK(checks > 300);
    test_share_kill(p);
    test_p2m_all_gone();
}

TEST(what_others_do_is_no_damage)
{
    struct p2m *p = world();

    for (int64_t units = 1; units < 3000; units = units * 3 + 100) {
        CHECK_EQ(audit(p, units, 0, allocate, NULL), 0);
    }
    for (uint64_t i = 0; i <= BUSY; i++) {
        allocate(p, i);
    }
    test_share_kill(p);
    test_p2m_all_gone();
}
