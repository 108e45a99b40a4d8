/*
 * test_preempt.c - the preemption matrix (preempt.h) of maps and sharing:
 * relinquish, the ways in which frames become shared, and the audits.
 * docs/design/preemption.md lists which case drives which function.
 */
#include "preempt.h"
#include "test.h"

#include <quire/scan.h>

static struct p2m *from, *to, *third;
static uint64_t done;
static share_handle_t handle[2];
static struct share_merge merge;
static struct share_range range;
static gfn_t cursor;

static void populate(struct p2m *p, uint64_t gfn, unsigned nr,
                     uint64_t value)
{
    for (unsigned i = 0; i < nr; i++) {
        test_share_populate(p, gfn + i, value + i);
    }
}

/* Three maps: two that differ and one that shares some with both. */
static void world(void)
{
    test_share_machine(4096, 1);
    from = test_p2m_create(1);
    to = test_p2m_create(2);
    third = test_p2m_create(3);
    populate(from, 0, 24, 100);
    populate(to, 0, 24, 200);
    populate(third, 0, 24, 300);
    done = 0;
    cursor = GFN(0);
    memset(&merge, 0, sizeof(merge));
    memset(&range, 0, sizeof(range));
}

static void finish(void)
{
    test_share_kill(from);
    test_share_kill(to);
    test_share_kill(third);
    test_share_all_gone();
}

/* Sharers 1000 .. 1000 + @nr - 1 of @p for gfn @gfn of `from`. */
static void add_sharers(struct p2m *p, uint64_t gfn, uint64_t nr)
{
    uint64_t added = 0;

    CHECK_EQ(share_add_physmap_range(from, GFN(gfn), test_nominate(from, gfn),
                                     p, GFN(1000), nr, 1, &added, NULL), 0);
}

/* ---- p2m_relinquish() -------------------------------------------------- */

static void begin_relinquish(void)
{
    world();
    add_sharers(to, 0, 90);
    CHECK_EQ(test_share(from, 1, to, 1), 0);
    CHECK_EQ(test_share(from, 2, to, 2), 0);
    for (unsigned i = 0; i < 8; i++) {
        CHECK_EQ(test_share(from, 10 + i, to, 10 + i), 0);
    }
    (void)test_p2m_populate(to, 0x1000, P2M_ORDER_2M);
    CHECK_EQ(test_p2m_set(to, 0x40000, MFN_INVALID, P2M_ORDER_1G, p2m_pod),
             0);
    for (unsigned i = 0; i < 6; i++) {
        CHECK_EQ(test_p2m_set(to, 0x90000 + 999 * i, MFN_INVALID, 0,
                              p2m_mmio_dm), 0);
        test_share_populate(to, UINT64_C(1) << 30 | i << 10, i);
    }
    p2m_flush(to);
    to->no_users = true;
}

static int step_relinquish(struct work *w)
{
    return p2m_relinquish(to, &cursor, test_share_drop_group, w);
}

/* Somebody else writes to pages that the dying map shares with it. */
static void write_source(unsigned i)
{
    test_share_write(from, i < 2 ? i : 8 + i, 5000 + i);
}

TEST(each_check_of_p2m_relinquish)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_relinquish, .step = step_relinquish,
        .other = write_source, .end = finish });
}

/* ---- one merge of two sets of sharers ----------------------------------- */

static void begin_merge(void)
{
    world();
    add_sharers(to, 0, 70);
    handle[0] = test_nominate(third, 0);
    handle[1] = test_nominate(from, 0);
    done = 0;
    CHECK_EQ(share_add_physmap_range(third, GFN(0), handle[0], third,
                                     GFN(1000), 30, 3, &done, NULL), 0);
}

static int step_merge(struct work *w)
{
    return share_frames(third, GFN(0), handle[0], from, GFN(0), handle[1],
                        &merge, w);
}

/* Sharers of either side leave; those two that are named stay. */
static void write_sharer(unsigned i)
{
    if (i % 2 == 0) {
        test_share_write(third, 1000 + 3 * i, 6000 + i);
    } else {
        test_share_write(to, 1000 + 5 * i, 6000 + i);
    }
}

TEST(each_check_of_share_frames)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_merge, .step = step_merge, .other = write_sharer,
        .end = finish });
}

/* ---- ranges -------------------------------------------------------------- */

static void begin_range(void)
{
    world();
    add_sharers(third, 3, 40);
    CHECK_EQ(test_share(from, 5, to, 5), 0);
    CHECK_EQ(test_p2m_set(to, 24, MFN_INVALID, 0, p2m_mmio_dm), 0);
    populate(from, 24, 1, 1);
}

static int step_range(struct work *w)
{
    return share_range(from, GFN(0), to, GFN(0), 26, &range, w);
}

static void write_third(unsigned i)
{
    test_share_write(third, 1000 + 2 * i, 7000 + i);
}

static uint64_t reply_range(void)
{
    return range.done << 40 | range.shared << 20 | range.already << 10 |
        range.refused;
}

static void begin_range_of_private(void)
{
    world();
    (void)test_p2m_populate(to, 0x1000, P2M_ORDER_2M);
    test_fill(p2m_lookup(to, GFN(0x1003)).mfn, 9);
}

/* A superpage in the way: split, pair by pair. */
static int step_range_in_superpage(struct work *w)
{
    return share_range(from, GFN(0), to, GFN(0x1000), 20, &range, w);
}

TEST(each_check_of_share_range)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_range, .step = step_range, .other = write_third,
        .end = finish, .reply = reply_range });
    preempt_matrix(&(struct preempt_case){
        .begin = begin_range_of_private, .step = step_range_in_superpage,
        .end = finish, .reply = reply_range });
}

static void begin_add(void)
{
    world();
    handle[0] = test_nominate(from, 0);
    add_sharers(third, 0, 20);
}

/* The reverse map grows from a few to a table of groups on the way. */
static int step_add(struct work *w)
{
    return share_add_physmap_range(from, GFN(0), handle[0], to, GFN(5000),
                                   150, 9, &done, w);
}

static uint64_t reply_done(void)
{
    return done;
}

TEST(each_check_of_share_add_physmap_range)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_add, .step = step_add, .other = write_third,
        .end = finish, .reply = reply_done });
}

/* It ends at a gfn that is in the way: not before, not after. */
static void begin_add_in_the_way(void)
{
    begin_add();
    populate(to, 5000 + 9 * 100, 1, 1);
}

TEST(each_check_of_share_add_physmap_range_refused)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_add_in_the_way, .step = step_add, .end = finish,
        .reply = reply_done });
}

static void begin_add_range(void)
{
    world();
    for (unsigned i = 0; i < 24; i++) {
        (void)test_nominate(from, i);
    }
    add_sharers(third, 4, 20);
}

static int step_add_range(struct work *w)
{
    return share_add_range(from, GFN(0), to, GFN(500), 24, &done, w);
}

TEST(each_check_of_share_add_range)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_add_range, .step = step_add_range,
        .other = write_third, .end = finish, .reply = reply_done });
}

/* ---- audits ------------------------------------------------------------ */

static struct mem_audit mem;
static struct heap_audit heap;
static struct p2m_audit map;
static struct share_audit share;

static void begin_audit(void)
{
    begin_relinquish();
    to->no_users = false;
    memset(&mem, 0, sizeof(mem));
    memset(&heap, 0, sizeof(heap));
    memset(&map, 0, sizeof(map));
    memset(&share, 0, sizeof(share));
}

static int step_mem(struct work *w) { return mem_audit_run(&mem, w); }
static int step_heap(struct work *w) { return heap_audit_run(&heap, w); }
static int step_map(struct work *w) { return p2m_audit_run(&map, to, w); }
static int step_share(struct work *w) { return share_audit(&share, w); }

static uint64_t reply_audit(void)
{
    return mem.bad + heap.bad + map.bad + share.bad;
}

static void audit_matrix(int (*step)(struct work *w), unsigned one_in)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_audit, .step = step, .end = finish,
        .reply = reply_audit, .by_itself = true, .one_in = one_in });
}

TEST(each_check_of_mem_audit) { audit_matrix(step_mem, 13); }
TEST(each_check_of_heap_audit) { audit_matrix(step_heap, 7); }
TEST(each_check_of_p2m_audit) { audit_matrix(step_map, 3); }
TEST(each_check_of_share_audit) { audit_matrix(step_share, 7); }

/* ---- the scanner --------------------------------------------------------- */

static void begin_scan(void)
{
    world();
    for (unsigned i = 0; i < 6; i++) {
        test_fill(p2m_lookup(from, GFN(i)).mfn, 42);
        test_fill(p2m_lookup(to, GFN(i)).mfn, 42);
        test_fill(p2m_lookup(third, GFN(i)).mfn, 43);
    }
    scan_domain_add(from);
    scan_domain_add(to);
    scan_domain_add(third);
    scan_knobs.pages_to_scan = 1000;
    scan_knobs.run = SCAN_RUN;
}

/* Until the third pass is over. */
static int step_scan(struct work *w)
{
    struct scan_stats t;
    int err;

    scan_stats_get(&t);
    if (t.full_scans >= 3) {
        return 0;
    }
    err = scan_run(w);
    return err == 0 ? step_scan(w) : err;
}

static void stop_scan(void)
{
    scan_knobs.run = SCAN_STOP;
    while (scan_has_work()) {
        (void)!scan_run(NULL);
    }
}

static void end_scan(void)
{
    stop_scan();
    finish();
}

static uint64_t reply_scan(void)
{
    struct scan_stats t;

    scan_stats_get(&t);
    return t.merged << 32 | t.pages_sharing << 16 | t.pages_unshared;
}

TEST(each_check_of_scan_run)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_scan, .step = step_scan, .end = end_scan,
        .reply = reply_scan });
}

static void begin_unmerge(void)
{
    begin_scan();
    while (step_scan(NULL) != 0) {
        continue;
    }
    scan_set_run(SCAN_UNMERGE);
}

static int step_unmerge(struct work *w)
{
    int err = 0;

    while (err == 0 && scan_has_work()) {
        err = scan_run(w);
    }
    return err;
}

static void write_merged(unsigned i)
{
    if (i < 3) {
        test_share_write(to, i, 8000 + i);
    }
}

TEST(each_check_of_scan_unmerge)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_unmerge, .step = step_unmerge, .other = write_merged,
        .end = end_scan });
}
