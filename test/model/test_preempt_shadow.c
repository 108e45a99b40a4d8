/*
 * test_preempt_shadow.c - the preemption matrix (preempt.h) of the shadow:
 * loads that compare tables, changes of gfns that are mapped often, its
 * audit, its end.
 */
#include "preempt.h"
#include "test.h"
#include "test_shadow.h"

enum { GFNS = 64, PML4 = 1, PDPT = 2, PD = 3, PT = 4, DATA = 16, TABLES = 6,
       FIRST_TABLE = 32, ENTRIES = 16 };

static struct p2m *p;
static struct shadow *s;
static struct shadow_vcpu sv;
static struct guest_paging pg;
static struct shadow_audit audit;

static uint64_t *word(uint64_t gfn, unsigned i)
{
    return (uint64_t *)arch_map_frame(p2m_lookup(p, GFN(gfn)).mfn) + i;
}

static enum shadow_result access(gva_t gva, uint32_t error)
{
    struct npf npf;
    uint32_t pf_error;

    return shadow_fault(s, &sv, &pg, gva, error, &npf, &pf_error);
}

static uint64_t table(unsigned t)
{
    return t == 0 ? PT : FIRST_TABLE + t;
}

static void map_all(void)
{
    for (unsigned t = 0; t < TABLES; t++) {
        for (unsigned i = 0; i < ENTRIES; i++) {
            CHECK_EQ(access((gva_t)t << 21 | i << 12, PF_W), SHADOW_RETRY);
        }
    }
}

/* Six tables that all map the same few gfns. */
static void begin(void)
{
    test_machine(4096, 1);
    p = test_p2m_create(1);
    for (unsigned g = 0; g < GFNS; g++) {
        arch_page_zero(arch_map_frame(test_p2m_populate(p, g, 0)));
    }
    s = shadow_create(p, SHADOW_PAGES_MIN, 40);
    CHECK(s != NULL);
    CHECK_EQ(shadow_vcpu_init(s, &sv), 0);
    *word(PML4, 0) = PDPT << 12 | E_P | E_W | E_U;
    *word(PDPT, 0) = PD << 12 | E_P | E_W | E_U;
    for (unsigned t = 0; t < TABLES; t++) {
        *word(PD, t) = table(t) << 12 | E_P | E_W | E_U;
        for (unsigned i = 0; i < ENTRIES; i++) {
            *word(table(t), i) = (DATA + i % 3) << 12 | E_P | E_W | E_U;
        }
    }
    pg = (struct guest_paging){ .cr0 = T_PG | T_WP, .cr3 = PML4 << 12,
                                .cr4 = T_PAE, .efer = T_LONG | T_NXE,
                                .phys_bits = 40, .p2m = p };
    CHECK_EQ(shadow_load(s, &sv, &pg, NULL), 0);
    map_all();
    memset(&audit, 0, sizeof(audit));
}

/* What the processor sees, and what it takes. */
static uint64_t reply(void)
{
    uint64_t d = 0;

    CHECK_EQ(shadow_audit(s), 0);
    d = preempt_mix(d, shadow_nr_pages(s));
    for (unsigned t = 0; t < TABLES; t++) {
        for (unsigned i = 0; i < ENTRIES; i++) {
            struct test_translation at = { .mfn = MFN_INVALID };
            bool is_there = test_hw_walk(&pg, shadow_cr3(&sv),
                                         (gva_t)t << 21 | i << 12, &at);

            d = preempt_mix(d, (uint64_t)is_there << 3 | at.w << 2 |
                               at.u << 1 | at.nx);
        }
    }
    return d;
}

static void end(void)
{
    CHECK_EQ(shadow_audit(s), 0);
    shadow_vcpu_fini(s, &sv);
    CHECK_EQ(shadow_destroy(s, NULL), 0);
    test_p2m_destroy(p);
    test_p2m_all_gone();
}

/* The guest writes its tables, which go out of sync; then it flushes. */
static void begin_unsync(void)
{
    begin();
    for (unsigned t = 0; t < TABLES; t++) {
        *word(PT, 40 + t) = table(t) << 12 | E_P | E_W | E_U;
        CHECK_EQ(access((40 + t) << 12, PF_W), SHADOW_RETRY);
        *word(table(t), 5) = 0;
        *word(table(t), 6) &= ~E_W;
    }
    for (unsigned gfn = PDPT; gfn <= PD; gfn++) {
        *word(PT, 50 + gfn) = (uint64_t)gfn << 12 | E_P | E_W | E_U;
        CHECK_EQ(access((50 + gfn) << 12, PF_W), SHADOW_RETRY);
        *word(gfn, 100) = 0;
    }
    CHECK(shadow_stats(s)->unsyncs > 0);
}

static int step_load(struct work *w)
{
    return shadow_load(s, &sv, &pg, w);
}

TEST(each_check_of_shadow_load)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_unsync, .step = step_load, .end = end,
        .reply = reply, .is_short = true });
}

static int step_invlpg(struct work *w)
{
    return shadow_invlpg(s, &sv, &pg, 0x5000, w);
}

TEST(each_check_of_shadow_invlpg)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_unsync, .step = step_invlpg, .end = end,
        .reply = reply, .is_short = true });
}

static int step_prepare(struct work *w)
{
    return shadow_prepare_change(s, GFN(DATA), w);
}

static void begin_often(void)
{
    begin();
    for (unsigned t = 0; t < TABLES; t++) {
        for (unsigned i = 0; i < 512; i++) {
            *word(table(t), i) = DATA << 12 | E_P | E_W | E_U;
            CHECK_EQ(access((gva_t)t << 21 | i << 12, PF_W), SHADOW_RETRY);
        }
    }
}

/* How many are left is its own business, as long as they are few. */
static uint64_t reply_few(void)
{
    unsigned nr = 0;

    CHECK_EQ(shadow_audit(s), 0);
    for (unsigned t = 0; t < TABLES; t++) {
        for (unsigned i = 0; i < 512; i++) {
            struct test_translation at;

            nr += test_hw_walk(&pg, shadow_cr3(&sv),
                               (gva_t)t << 21 | i << 12, &at);
        }
    }
    return nr <= 512;
}

TEST(each_check_of_shadow_prepare_change)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_often, .step = step_prepare, .end = end,
        .reply = reply_few, .is_short = true, .one_in = 7 });
}

/* The same, as whoever is about to change the map asks for it. */
static int step_p2m_prepare(struct work *w)
{
    return p2m_prepare(p, GFN(DATA - 1), 3, w);
}

TEST(each_check_of_p2m_prepare)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_often, .step = step_p2m_prepare, .end = end,
        .reply = reply_few, .is_short = true, .one_in = 7 });
}

static int step_audit(struct work *w)
{
    return shadow_audit_run(&audit, s, w);
}

static uint64_t reply_audit(void)
{
    return audit.bad;
}

TEST(each_check_of_shadow_audit)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_unsync, .step = step_audit, .end = end,
        .reply = reply_audit, .by_itself = true });
}

static void begin_end(void)
{
    begin();
    shadow_vcpu_fini(s, &sv);
}

static int step_destroy(struct work *w)
{
    return shadow_destroy(s, w);
}

static void end_map(void)
{
    test_p2m_destroy(p);
    test_p2m_all_gone();
}

TEST(each_check_of_shadow_destroy)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_end, .step = step_destroy, .end = end_map });
}
