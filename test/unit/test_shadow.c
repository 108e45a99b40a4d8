/*
 * test_shadow.c - a shadow step by step: one 4-level guest whose tables map
 * what the test says; each invariant of the audit broken on purpose; long
 * chains and stretches.
 */
#include "../../common/shadow/pages.h"
#include "test_shadow_guest.h"

#include <quire/p2m_slot.h>

#include <string.h>

TEST(a_read_then_a_write)
{
    begin();
    CHECK_EQ(access(0x3000, 0), SHADOW_RETRY);
    CHECK(mfn_eq(look(0x3000).mfn, mfn_of(DATA + 3)));
    CHECK(!look(0x3000).w && look(0x3000).u);
    CHECK_EQ(*word(PT, 3) & (E_A | E_D), E_A);
    CHECK_EQ(access(0x3000, PF_P | PF_W), SHADOW_RETRY);
    CHECK(look(0x3000).w);
    CHECK_EQ(*word(PT, 3) & (E_A | E_D), E_A | E_D);
    CHECK_EQ(access(0x10000, 0), SHADOW_INJECT);
    CHECK_EQ(pf_error, 0);
    *word(PT, 7) |= UINT64_C(1) << 45;
    CHECK_EQ(access(0x7000, 0), SHADOW_INJECT);
    CHECK_EQ(pf_error, PF_P | PF_RSV);
    *word(PT, 8) &= ~E_W;
    CHECK_EQ(access(0x8000, PF_W), SHADOW_INJECT);
    CHECK_EQ(pf_error, PF_P | PF_W);
    *word(PT, 8) |= E_NX;
    CHECK_EQ(access(0x8000, PF_ID), SHADOW_INJECT);
    CHECK_EQ(pf_error, PF_P | PF_ID);
    CHECK_EQ(shadow_nr_pages(s), 4);
    finish();
}

TEST(holes_and_shared_tables_go_the_p2m_way)
{
    begin();
    *word(PT, 0) = UINT64_C(1000) << 12 | E_P | E_W;
    CHECK_EQ(access(0, PF_W), SHADOW_P2M);
    CHECK(npf.gpa == 1000 << 12 && !npf.in_walk && npf.access == P2M_W);
    CHECK_EQ(test_p2m_set(p, PT, mfn_of(PT), 0, p2m_ram_shared), 0);
    CHECK_EQ(access(0x1010, 0), SHADOW_P2M);
    CHECK(npf.gpa == (PT << 12) + 8 && npf.in_walk && npf.access == P2M_W);
    CHECK_EQ(*word(PT, 1) & E_A, 0);
    CHECK_EQ(test_p2m_set(p, PT, mfn_of(PT), 0, p2m_ram_rw), 0);
    CHECK_EQ(access(0x1010, 0), SHADOW_RETRY);
    finish();
}

TEST(a_table_is_written)
{
    begin();
    *word(PT, 0) = PT << 12 | E_P | E_W;            /* maps itself */
    CHECK_EQ(access(0x2000, PF_W), SHADOW_RETRY);
    CHECK_EQ(access(0, 0), SHADOW_RETRY);
    CHECK(!look(0).w);
    CHECK_EQ(shadow_stats(s)->unsyncs, 0);
    CHECK_EQ(access(0, PF_P | PF_W), SHADOW_RETRY);
    CHECK(look(0).w);
    CHECK_EQ(shadow_stats(s)->unsyncs, 1);
    *word(PT, 2) = 0;
    CHECK(look(0x2000).w);                          /* not flushed yet */
    CHECK_EQ(shadow_invlpg(s, &sv, &pg, 0x3000, NULL), 0);
    CHECK(look(0x2000).w);
    CHECK_EQ(shadow_invlpg(s, &sv, &pg, 0x2000, NULL), 0);
    CHECK(mfn_eq(look(0x2000).mfn, MFN_INVALID));
    *word(PT, 0) &= ~E_D;
    load();
    CHECK(!look(0).w);
    CHECK_EQ(shadow_stats(s)->syncs, 1);
    finish();
}

TEST(what_is_out_of_sync_is_looked_at)
{
    uint64_t flushes;

    begin();
    *word(PT, 5) &= ~E_U;
    *word(PD, 1) = PT << 12 | E_P | E_W | E_U;
    CHECK_EQ(access(0x5000, 0), SHADOW_RETRY);
    CHECK_EQ(access(0x2000, PF_W), SHADOW_RETRY);
    let_write(PT);
    /* No U would leave the supervisor more under SMEP. */
    *word(PT, 5) |= E_U;
    CHECK_EQ(shadow_invlpg(s, &sv, &pg, 0x5000, NULL), 0);
    CHECK(mfn_eq(look(0x5000).mfn, MFN_INVALID));
    /* Flushed at one address, and linked where it was not. */
    *word(PT, 2) = 0;
    CHECK_EQ(access(0x203000, 0), SHADOW_RETRY);
    CHECK(mfn_eq(look(0x202000).mfn, MFN_INVALID));
    /* Another processor may still write there, and it becomes a table. */
    *word(PD, 2) = (DATA + 2) << 12 | E_P | E_W | E_U;
    *word(DATA + 2, 0) = (DATA + 4) << 12 | E_P | E_W | E_U;
    flushes = shadow_stats(s)->flushes;
    CHECK_EQ(access(0x400000, 0), SHADOW_RETRY);
    CHECK_EQ(shadow_stats(s)->flushes, flushes + 1);
    /* INVLPG drops upper entries wherever they are. */
    *word(PT, 10) = 0;
    load();
    let_write(PD);
    *word(PD, 2) = 0;
    CHECK_EQ(shadow_invlpg(s, &sv, &pg, 0x5000, NULL), 0);
    CHECK(mfn_eq(look(0x400000).mfn, MFN_INVALID));
    finish();
}

TEST(compared_in_slices)
{
    struct work w = { .left = WORK_SLICE, .force_at = 2 };

    begin();
    CHECK_EQ(access(0, PF_W), SHADOW_RETRY);
    CHECK_EQ(access(0x1000, PF_W), SHADOW_RETRY);
    let_write(PT);
    CHECK_EQ(shadow_load(s, &sv, &pg, &w), -ERESTART);
    /* Between two slices the other vCPU writes what was compared. */
    *word(PT, 0) = 0;
    shadow_written(s, GFN(PT));
    load();
    CHECK(mfn_eq(look(0).mfn, MFN_INVALID));
    finish();
}

TEST(cr0_wp_is_clear)
{
    begin();
    pg.cr0 &= ~T_WP;
    pg.cr4 |= T_SMEP;
    *word(PT, 5) &= ~E_W;
    load();
    CHECK_EQ(access(0x5000, PF_W), SHADOW_RETRY);
    CHECK(look(0x5000).w && !look(0x5000).u && look(0x5000).nx);
    pg.cpl = 3;
    CHECK_EQ(access(0x5000, PF_P | PF_U | PF_W), SHADOW_INJECT);
    CHECK_EQ(pf_error, PF_P | PF_U | PF_W);
    CHECK_EQ(access(0x5000, PF_P | PF_U), SHADOW_RETRY);
    CHECK(!look(0x5000).w && look(0x5000).u && !look(0x5000).nx);
    pg.cpl = 0;
    finish();
}

TEST(two_halves_of_4M)
{
    begin();
    (void)test_p2m_populate(p, 515, 0);
    pg = (struct guest_paging){ .cr0 = T_PG | T_WP, .cr3 = PML4 << 12,
                                .cr4 = T_PSE, .phys_bits = 40, .p2m = p };
    *(uint32_t *)(void *)word(PML4, 0) = E_P | E_W | E_PS;
    load();
    CHECK_EQ(access(0x203000, 0), SHADOW_RETRY);
    CHECK(!look(0x203000).w);                       /* not dirty yet */
    CHECK_EQ(access(0x203000, PF_P | PF_W), SHADOW_RETRY);
    CHECK(mfn_eq(look(0x203000).mfn, mfn_of(515)) && look(0x203000).w);
    CHECK_EQ(access(0x5000, 0), SHADOW_RETRY);
    CHECK(mfn_eq(look(0x5000).mfn, mfn_of(5)));
    CHECK_EQ(shadow_invlpg(s, &sv, &pg, 0x5000, NULL), 1);
    finish();
}

/* Many sptes for one gfn: 32 tables of which each maps it 16 times. */
static void map_often(void)
{
    for (unsigned t = 0; t < 32; t++) {
        *word(PD, t) = (uint64_t)(t == 0 ? PT : 31 + t) << 12 |
                       E_P | E_W | E_U | E_A;
        for (unsigned i = 0; i < 16; i++) {
            *word(t == 0 ? PT : 31 + t, i) = DATA << 12 | E_P | E_W | E_U |
                                              E_A | E_D;
            CHECK_EQ(access((gva_t)t << 21 | i << 12, PF_W), SHADOW_RETRY);
        }
    }
}

static uint64_t chain_length(uint64_t gfn)
{
    uint64_t n;

    CHECK_EQ(spte_rmap_audit(heads_find(s, GFN(gfn)), 100000, &n), 0);
    return n;
}

TEST(a_gfn_mapped_often)
{
    struct work w = WORK_INIT;
    unsigned n = 1;

    begin();
    map_often();
    CHECK_EQ(chain_length(DATA), 512);
    while (shadow_prepare_change(s, GFN(DATA), &w) == -ERESTART) {
        w.left = WORK_SLICE;
        CHECK(++n < 10);
    }
    CHECK(n > 1);
    CHECK(chain_length(DATA) <= 256);
    map_often();
    CHECK_EQ(test_p2m_set(p, DATA, mfn_of(DATA), 0, p2m_ram_shared), 0);
    CHECK_EQ(chain_length(DATA), 512);      /* still there, but read-only */
    CHECK(!look(0x1000).w);
    CHECK_EQ(test_p2m_set(p, DATA, mfn_of(DATA), 0, p2m_ram_rw), 0);
    map_often();
    /* Now it becomes a table: too many to walk, so some faults more. */
    *word(PDPT, 1) = DATA << 12 | E_P | E_W | E_U;
    *word(DATA, 0) = PT << 12 | E_P | E_W | E_U;
    for (n = 0; mfn_eq(look(1 << 30).mfn, MFN_INVALID); n++) {
        CHECK(n < 10);
        CHECK_EQ(access(1 << 30, 0), SHADOW_RETRY);
        CHECK_EQ(shadow_audit(s), 0);
    }
    CHECK(n > 1);
    finish();
}

static uint64_t nr_parents(uint64_t gfn)
{
    uint64_t all = 0, n;

    for (struct shadow_page *sp = s->hash[hash_of(s, GFN(gfn))]; sp != NULL;
         sp = sp->hash_next) {
        CHECK_EQ(spte_rmap_audit(spte_head_ref(&sp->parents), 100000, &n),
                 0);
        all += sp->gfn.n == gfn ? n : 0;
    }
    return all;
}

/* The same table, 512 times below each of two PDs. */
static void link_often(void)
{
    for (unsigned i = 0; i < 512; i++) {
        *word(PD, i) = *word(DATA, i) = PT << 12 | E_P | E_W | E_U | E_A;
    }
    *word(PDPT, 1) = DATA << 12 | E_P | E_W | E_U | E_A;
    *word(PT, 1) = (DATA + 1) << 12 | E_P | E_A;
    for (unsigned i = 0; i < 1024; i++) {
        CHECK_EQ(access((gva_t)i << 21 | 0x1000, 0), SHADOW_RETRY);
    }
}

TEST(a_table_linked_often)
{
    struct work w = WORK_INIT;
    struct frame *table;
    unsigned n = 1;

    begin();
    link_often();
    table = mfn_to_frame(mfn_of(PT));
    CHECK_EQ(nr_parents(PT), 1024);
    while (p2m_prepare(p, GFN(PT), 1, &w) == -ERESTART) {
        CHECK(w.left > -200);
        CHECK_EQ(shadow_audit(s), 0);
        w.left = WORK_SLICE;
        n++;
    }
    CHECK(n > 5);
    CHECK(nr_parents(PT) <= MAX_CHAIN);
    CHECK_EQ(test_p2m_set(p, PT, MFN_INVALID, 0, p2m_invalid), 0);
    CHECK_EQ(nr_parents(PT), 0);
    frame_put_allocated(table);
    finish();
}

/* A range is prepared as a whole. */
TEST(a_range_mapped_often)
{
    struct work w = WORK_INIT;
    uint64_t all = 0;
    unsigned n = 1;

    begin();
    map_often();
    for (unsigned t = 0; t < 8; t++) {
        for (unsigned i = 0; i < 16; i++) {
            *word(t == 0 ? PT : 31 + t, i) = (DATA + 1 + t % 4) << 12 |
                                             E_P | E_A;
        }
    }
    load();
    shadow_written(s, GFN(PT));
    for (unsigned t = 1; t < 8; t++) {
        shadow_written(s, GFN(31 + t));
    }
    load();
    for (unsigned i = 0; i < 8 * 16; i++) {
        CHECK_EQ(access((gva_t)(i / 16) << 21 | i % 16 << 12, 0),
                 SHADOW_RETRY);
    }
    CHECK_EQ(chain_length(DATA), 24 * 16);
    CHECK_EQ(chain_length(DATA + 1), 2 * 16);
    while (p2m_prepare(p, GFN(DATA), 16, &w) == -ERESTART) {
        w.left = WORK_SLICE;
        n++;
    }
    CHECK(n > 1);
    for (unsigned i = 0; i < 16; i++) {
        all += chain_length(DATA + i);
    }
    CHECK(all >= MAX_CHAIN / 2 && all <= MAX_CHAIN);
    finish();
}

static unsigned nr_handled;

static enum p2m_fault_result to_private(const struct p2m_slot *slot,
                                        struct npf *f, mfn_t mfn)
{
    (void)f;
    nr_handled++;
    CHECK(chain_length(DATA) <= MAX_CHAIN);
    p2m_slot_set_private(slot, mfn);
    return P2M_FAULT_RETRY;
}

TEST(a_fault_on_a_gfn_mapped_often)
{
    struct npf f = { .gpa = DATA << 12, .access = P2M_W, .present = true };

    begin();
    map_often();
    CHECK_EQ(test_p2m_set(p, DATA, mfn_of(DATA), 0, p2m_ram_shared), 0);
    p2m_register_locked_fault(p2m_ram_shared, to_private);
    nr_handled = 0;
    CHECK_EQ(p2m_fault(p, &f), P2M_FAULT_RETRY);
    CHECK_EQ(nr_handled, 0);
    for (unsigned i = 0; i < 10 && nr_handled == 0; i++) {
        CHECK_EQ(p2m_fault(p, &f), P2M_FAULT_RETRY);
    }
    CHECK_EQ(nr_handled, 1);
    finish();
}

TEST(end_in_slices)
{
    unsigned n = 0;
    int err;

    begin();
    map_often();
    shadow_vcpu_fini(s, &sv);
    do {
        struct work w = WORK_INIT;

        err = shadow_destroy(s, &w);
        CHECK(w.left > -3000);
        n++;
    } while (err == -ERESTART);
    CHECK_EQ(err, 0);
    CHECK(n > 5);
    test_p2m_destroy(p);
    test_p2m_all_gone();
}

TEST(a_table_written_and_not_used)
{
    struct shadow_info i;

    begin();
    for (unsigned n = 0; n < 100; n++) {        /* used in between: it stays */
        shadow_written(s, GFN(PT));
        load();
        CHECK_EQ(access(0x2000, PF_W), SHADOW_RETRY);
    }
    CHECK_EQ(shadow_stats(s)->drops, 0);
    for (unsigned n = 0; n < 8; n++) {
        CHECK(look(0x2000).w);
        shadow_written(s, GFN(PT));
        shadow_written(s, GFN(PML4));           /* a root stays */
        load();
    }
    CHECK_EQ(shadow_stats(s)->drops, 1);
    shadow_info(s, &i);
    CHECK(i.by_level[0] == 0 && i.by_level[3] == 1 && i.unsync == 0);
    CHECK(mfn_eq(look(0x2000).mfn, MFN_INVALID));
    CHECK_EQ(access(0x2000, PF_W), SHADOW_RETRY);
    CHECK(look(0x2000).w);
    finish();
}

/* The page that the fault wants is the one that is given up meanwhile. */
TEST(a_table_given_up_when_found)
{
    begin();
    *word(PD, 1) = *word(PD, 0);
    CHECK_EQ(access(0x2000, PF_W), SHADOW_RETRY);
    for (unsigned n = 0; n < 7; n++) {
        shadow_written(s, GFN(PT));
        load();
    }
    shadow_written(s, GFN(PT));
    CHECK_EQ(access(0x202000, PF_W), SHADOW_RETRY);
    CHECK_EQ(shadow_stats(s)->drops, 1);
    CHECK_EQ(shadow_audit(s), 0);
    CHECK_EQ(access(0x202000, PF_W), SHADOW_RETRY);
    CHECK(look(0x202000).w);
    finish();
}

TEST(the_numbers)
{
    struct shadow_info i;
    struct frame *table;

    begin();
    CHECK_EQ(access(0x2000, PF_W), SHADOW_RETRY);
    let_write(PT);
    shadow_info(s, &i);
    CHECK(i.limit == SHADOW_PAGES_MIN && i.pages == 4 && i.unsync == 1);
    CHECK(i.by_level[0] == 1 && i.by_level[3] == 1 && i.dying == 0);
    CHECK(i.bytes > 4 * 2 * PAGE_SIZE);
    CHECK_EQ(shadow_stats(s)->zaps, 0);
    *word(PT, 2) = 0;
    load();
    CHECK_EQ(shadow_stats(s)->zaps, 1);
    table = mfn_to_frame(mfn_of(PT));
    CHECK_EQ(test_p2m_set(p, PT, MFN_INVALID, 0, p2m_invalid), 0);
    frame_put_allocated(table);
    shadow_info(s, &i);
    CHECK(i.pages == 4 && i.by_level[0] == 0 && i.dying == 1);
    finish();
}

/* ---- the audit can fail ------------------------------------------------- */

static uint64_t *leaf_spte(gva_t gva)
{
    struct shadow_page *sp = sv.root;

    while (sp->role.level > 1) {
        sp = page_at(spte_mfn(*spte_at(sp->sptes + (gva >> (3 + 9 *
                     sp->role.level) & 511))));
    }
    return spte_at(sp->sptes + (gva >> 12 & 511));
}

/* @change, and the audit says @name; and not once it is undone. */
static void expect(const char *name, uint64_t *at, uint64_t change)
{
    uint64_t was = *at;

    CHECK_EQ(shadow_audit(s), 0);
    host_console_clear();
    *at = was ^ change;
    CHECK(shadow_audit(s) != 0);
    CHECK(strstr(host_console_text(), name) != NULL);
    *at = was;
    CHECK_EQ(shadow_audit(s), 0);
}

TEST(each_invariant_can_fail)
{
    struct shadow_page *leaf;
    uint64_t *spte, mfns;

    begin();
    *word(PT, 9) = PT << 12 | E_P | E_W;
    CHECK_EQ(access(0x9000, 0), SHADOW_RETRY);
    CHECK_EQ(access(0x6000, PF_W), SHADOW_RETRY);
    CHECK_EQ(access(0x7000, 0), SHADOW_RETRY);
    CHECK_EQ(test_p2m_set(p, DATA + 7, mfn_of(DATA + 7), 0, p2m_ram_shared),
             0);
    spte = leaf_spte(0x6000);
    leaf = page_at(arch_virt_to_mfn(spte));
    mfns = (*spte ^ mfn_of(DATA + 8).n << 12) & E_ADDR;
    expect("H5", spte, mfns);
    expect("H5", spte, *spte);
    expect("H5", leaf_spte(0x8000), *spte);
    expect("H7", leaf_spte(0x9000), SPTE_W);
    expect("H7", leaf_spte(0x7000), SPTE_W);
    expect("H8", word(PT, 6), E_W);
    expect("H8", word(PT, 6), E_U);
    expect("H8", word(PT, 6), E_NX);
    expect("H8", word(PT, 6), E_D);
    expect("H8", word(PT, 6), E_A);
    expect("H8", word(PT, 6), UINT64_C(1) << 12);
    expect("H8", word(PD, 0), UINT64_C(1) << 12);
    expect("H8", word(PD, 0), E_NX);
    expect("H6", spte_at(sv.root->sptes), mfn_to_maddr(page_mfn(leaf)) ^
                 (*spte_at(sv.root->sptes) & E_ADDR));
    expect("H6", spte_at(sv.root->sptes + 1), *spte_at(sv.root->sptes));
    expect("H1", (uint64_t *)arch_map_frame(MFN(page_mfn(leaf).n + 1)) + 6,
           UINT64_C(1) << 40);

    leaf->nr_present++;
    CHECK(shadow_audit(s) != 0);
    leaf->nr_present--;
    leaf->unsync = true;
    CHECK(shadow_audit(s) != 0);
    leaf->unsync = false;
    s->nr_unsync++;
    CHECK(shadow_audit(s) != 0);
    s->nr_unsync--;
    s->nr_pages++;
    CHECK(shadow_audit(s) != 0);
    s->nr_pages--;
    sv.root->pins = 0;
    CHECK(shadow_audit(s) != 0);
    sv.root->pins = 1;
    leaf->dead = true;
    CHECK(shadow_audit(s) != 0);
    leaf->dead = false;
    CHECK_EQ(test_p2m_set(p, DATA + 7, mfn_of(DATA + 7), 0, p2m_ram_rw), 0);
    finish();
}

TEST(the_audit_in_slices)
{
    struct shadow_audit a = { 0 };
    unsigned n = 0;
    int err;

    begin();
    map_often();
    do {
        struct work w = WORK_INIT;

        err = shadow_audit_run(&a, s, &w);
        CHECK(w.left > -7600);
        if (++n == 5) {         /* a change meanwhile: it starts again */
            *word(PT, 0) = DATA << 12 | E_P;
            shadow_written(s, GFN(PT));
        }
    } while (err == -ERESTART);
    CHECK_EQ(a.bad, 0);
    CHECK(n > 10 && a.restarts == 1);
    load();
    finish();
}
