/*
 * test_p2m_relinquish.c - emptying a map by slices: every gfn once, in order,
 * out of the tables before it is dropped, whatever the slices; and the audit,
 * shown to see each kind of damage.
 */
#include "test_p2m.h"

#include "../../common/p2m/table.h"

static uint64_t dropped, last_gfn, promised_slice;

static void drop_and_check(struct p2m *p, gfn_t gfn,
                           const struct p2m_entry *e)
{
    CHECK(is_lock_held(&p->lock));
    CHECK(dropped == 0 || gfn.n > last_gfn);
    CHECK_EQ(e->order, 0);
    CHECK_EQ(p2m_lookup(p, gfn).type, p2m_invalid);
    last_gfn = gfn.n;
    dropped++;
    promised_slice++;
    test_drop(p, gfn, e);
}

static unsigned forms[3];
static bool is_slice_short;     /* ... and its groups have one entry each */

static void drop_group_and_check(struct p2m *p, const struct p2m_group *g)
{
    CHECK(g->map != 0);
    forms[g->form]++;
    CHECK(g->order != P2M_ORDER_4K || g->form != P2M_NEIGHBOURS ||
          g->first.n % 64 == 0);
    CHECK(g->order == P2M_ORDER_4K || g->map == 1);
    CHECK(g->form != P2M_SCATTERED || g->map >> 32 == 0);
    CHECK(!is_slice_short || g->form != P2M_NEIGHBOURS ||
          (g->map & (g->map - 1)) == 0);
    test_drop_each(p, g, drop_and_check);
}

static struct p2m *mixed_map(void)
{
    struct p2m *p = test_p2m_create(7);

    for (uint64_t g = 0; g < 1500; g += 1 + g % 3) {
        (void)test_p2m_populate(p, g, 0);
    }
    (void)test_p2m_populate(p, 0x1000, P2M_ORDER_2M);
    /* A dense one without frames. */
    for (uint64_t g = 0x38000; g < 0x38100; g++) {
        CHECK_EQ(test_p2m_set(p, g, MFN_INVALID, 0, p2m_pod), 0);
    }
    /* A thin table of two kinds. */
    for (uint64_t g = 0x30000; g < 0x30200; g += 11) {
        if (g % 7 != 0) {
            (void)test_p2m_populate(p, g, 0);
        } else {
            CHECK_EQ(test_p2m_set(p, g, MFN_INVALID, 0, p2m_pod), 0);
        }
    }
    /* Far apart: two of a table, of two kinds in a few of them. */
    for (uint64_t g = 0x20000; g < 0x28000; g += 256) {
        (void)test_p2m_populate(p, g, 0);
        if (g % 0x4000 == 0) {
            CHECK_EQ(test_p2m_set(p, g + 1, MFN_INVALID, 0, p2m_pod), 0);
        }
    }
    (void)test_p2m_populate(p, UINT64_C(0xffffff000), 0);
    CHECK_EQ(test_p2m_set(p, 0x40000, MFN_INVALID, P2M_ORDER_1G, p2m_pod), 0);
    CHECK_EQ(test_p2m_set(p, 0x90000, MFN_INVALID, 0, p2m_mmio_dm), 0);
    return p;
}

static uint64_t entries_of(const struct p2m *p)
{
    uint64_t n = 0;

    for (unsigned t = 0; t < NR_P2M_TYPES; t++) {
        n += p->count[t];
    }
    return n;
}

/* Relinquish with slices of @units; returns how many there were. */
static unsigned relinquish(struct p2m *p, int64_t units)
{
    uint64_t expect = entries_of(p);
    gfn_t cursor = GFN(0);
    unsigned slices = 0;
    int err;

    dropped = 0;
    is_slice_short = units == 1;
    p->no_users = true;
    do {
        struct work w = { .left = units };

        promised_slice = 0;
        err = p2m_relinquish(p, &cursor, drop_group_and_check, &w);
        CHECK(err == 0 || err == -ERESTART);
        CHECK(err == 0 || promised_slice >= 1 || entries_of(p) == 0);
        /* At least 150 units a group, of a superpage's 512 at most. */
        CHECK(promised_slice <= ((uint64_t)units / 150 + 1) * 512);
        /* A run, a sparse table or 2M is not cut. */
        CHECK(units != 1 || err == 0 || promised_slice <= 64 ||
              promised_slice == 512);
        CHECK_EQ(nr_locks_held(), 0);
        CHECK_EQ(dropped + entries_of(p) +
                 (p->dropping.entry ? p->dropping.end.n - cursor.n : 0),
                 expect);
        if (slices++ % 64 == 0) {
            CHECK_EQ(p2m_audit(p), 0);
        }
    } while (err == -ERESTART);
    is_slice_short = false;
    CHECK_EQ(dropped, expect);
    CHECK_EQ(p->nr_tables, 1);
    CHECK_EQ(p2m_audit(p), 0);
    return slices;
}

TEST(every_entry_once_whatever_the_slice)
{
    static const int64_t units[] = { 1, 1000, 8000, 1000000000 };
    unsigned before = UINT32_MAX;

    for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
        struct p2m *p;
        unsigned slices;

        host_machine_init(1 << 14, 1);
        p = mixed_map();
        slices = relinquish(p, units[i]);
        CHECK(slices < before);
        before = slices;
        p2m_put(p);
        test_drain_grace();
        CHECK_EQ(owner_release(7), 0);
        test_p2m_all_gone();
    }
    CHECK(before <= 2);
    for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
        CHECK(forms[i] != 0);
    }
}

TEST(what_lies_before_the_cursor_stays)
{
    struct p2m *p;
    gfn_t cursor = GFN(5);

    host_machine_init(1 << 14, 1);
    p = test_p2m_create(7);
    (void)test_p2m_populate(p, 3, 0);
    (void)test_p2m_populate(p, 7, 0);
    p->no_users = true;
    dropped = 0;
    CHECK_EQ(p2m_relinquish(p, &cursor, drop_group_and_check, NULL), 0);
    CHECK(dropped == 1 && last_gfn == 7 && cursor.n == 8);
    CHECK_EQ(p2m_lookup(p, GFN(3)).type, p2m_ram_rw);
    CHECK_EQ(p2m_audit(p), 0);
    test_p2m_destroy(p);
}

TEST(a_dying_map_takes_nothing_new)
{
    struct p2m *p;

    host_machine_init(1 << 14, 1);
    p = test_p2m_create(7);
    (void)test_p2m_populate(p, 1, 0);
    p->no_users = true;
    CHECK_EQ(test_p2m_set(p, 2, MFN(1), 0, p2m_mmio_direct), -ESRCH);
    test_p2m_destroy(p);
}

static void relinquish_in_use(void *arg)
{
    gfn_t cursor = GFN(0);

    (void)!p2m_relinquish(arg, &cursor, drop_group_and_check, NULL);
}

TEST(a_map_in_use_is_not_relinquished)
{
    struct p2m *p;

    host_machine_init(1 << 14, 1);
    p = test_p2m_create(7);
    CHECK(host_expect_panic(relinquish_in_use, p, "no_users"));
    test_p2m_destroy(p);
}

static void put_full(void *arg)
{
    p2m_put(arg);
}

TEST(a_full_map_is_not_freed)
{
    struct p2m *p;

    host_machine_init(1 << 14, 1);
    p = test_p2m_create(7);
    (void)test_p2m_populate(p, 1, 0);
    CHECK(host_expect_panic(put_full, p, "population"));
    test_p2m_destroy(p);
}

/* The audit must name what was damaged, and be quiet once it is mended. */
static bool audit_names(struct p2m *p, const char *name)
{
    char text[HOST_LOG_MAX];
    unsigned bad;

    host_console_clear();
    bad = p2m_audit(p);
    snprintf(text, sizeof(text), "%s", host_console_text());
    for (const char *s = text; *s != '\0'; s++) {
        if (s[0] == name[0] && s[1] == name[1] && bad != 0) {
            return true;
        }
    }
    printf("audit of %s: %u, %s\n", name, bad, text);
    return false;
}

static struct p2m_table *leaf_of(struct p2m *p, uint64_t gfn)
{
    mfn_t mfn = p->root;

    for (unsigned level = NPT_LEVELS; level > 1; level--) {
        mfn = npte_mfn(p2m_table_read(p2m_table_of(mfn),
                                      npt_index(gfn, level)));
    }
    return p2m_table_of(mfn);
}

TEST(the_audit_sees_each_kind_of_damage)
{
    struct p2m *p;
    struct p2m_table *t;
    struct frame *f;
    mfn_t m;
    npte_t e;

    host_machine_init(1 << 14, 1);
    p = test_p2m_create(7);
    m = test_p2m_populate(p, 5, 0);
    t = leaf_of(p, 5);
    e = p2m_table_read(t, 5);

    t->occupied[0] |= 2;
    CHECK(audit_names(p, "P1"));
    t->occupied[0] &= ~UINT64_C(2);
    t->population++;
    CHECK(audit_names(p, "P1"));
    t->population--;
    p->count[p2m_ram_ro]++;
    CHECK(audit_names(p, "P2"));
    p->count[p2m_ram_ro]--;
    p->nr_tables++;
    CHECK(audit_names(p, "P4"));
    p->nr_tables--;
    t->base++;
    CHECK(audit_names(p, "P4"));
    t->base--;

    CHECK_EQ(owner_claim(8, NULL, 10), 8);
    f = page_alloc_owned(8, 0);
    CHECK(f != NULL);
    (void)p2m_table_write(t, 5, npte_make(frame_to_mfn(f), p2m_ram_rw, 0, 1));
    CHECK(audit_names(p, "P3"));        /* another's */
    frame_put_allocated(f);
    CHECK(audit_names(p, "P3"));        /* nobody's */
    CHECK_EQ(owner_release(8), 0);
    (void)p2m_table_write(t, 5, npte_make(MFN(1 << 20), p2m_ram_rw, 0, 1));
    CHECK(audit_names(p, "P3"));        /* no RAM */
    (void)p2m_table_write(t, 5, npte_make(m, p2m_ram_shared, 0, 1));
    CHECK(audit_names(p, "P3"));        /* private frame mapped as shared */
    (void)p2m_table_write(t, 5, e & ~NPTE_W);
    CHECK(audit_names(p, "P5"));
    (void)p2m_table_write(t, 5,
                          npte_make(m, p2m_ram_ro, 0, 1) | NPTE_W);
    CHECK(audit_names(p, "P5"));

    (void)p2m_table_write(t, 5, e);
    CHECK_EQ(p2m_audit(p), 0);
    test_p2m_destroy(p);
}
