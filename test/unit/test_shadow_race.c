/*
 * test_shadow_race.c - what another CPU may do in the middle of a step of the
 * shadow, at the worst moment: change the p2m and not have told of it yet,
 * write a table between two slices of its comparison, or write it just before
 * the flush that the step makes has reached it.
 */
#include "../../common/shadow/pages.h"
#include "test_shadow_guest.h"

/* ---- a change of the p2m that the listener does not know of ------------- */

/* @gfn gets a frame of its own; its contents go with it. */
static struct frame *move(struct p2m_batch *b, uint64_t gfn)
{
    struct frame *was = mfn_to_frame(mfn_of(gfn));
    struct frame *f = page_alloc_owned(1, 0);

    CHECK(f != NULL);
    arch_page_copy(arch_map_frame(frame_to_mfn(f)), word(gfn, 0));
    p2m_batch_begin(b, p);
    CHECK_EQ(p2m_batch_reserve(b, GFN(gfn), 1, 0), 0);
    p2m_set(b, GFN(gfn), frame_to_mfn(f), 0, p2m_ram_rw);
    CHECK_EQ(frame_get(was, 1), 0);
    frame_put_allocated(was);
    p2m_batch_put_frame(b, was);
    return was;
}

TEST(a_chain_is_of_one_frame)
{
    struct p2m_batch b;

    begin();
    *word(PT, 1) = *word(PT, 0);        /* two addresses of one gfn */
    CHECK_EQ(access(0, PF_W), SHADOW_RETRY);
    (void)move(&b, DATA);
    /* Else the listener would find the new frame first, and be content. */
    CHECK_EQ(access(0x1000, PF_W), SHADOW_RETRY);
    CHECK(mfn_eq(look(0x1000).mfn, MFN_INVALID));
    p2m_batch_end(&b);
    CHECK(mfn_eq(look(0).mfn, MFN_INVALID));
    CHECK_EQ(access(0x1000, PF_W), SHADOW_RETRY);
    CHECK(mfn_eq(look(0x1000).mfn, mfn_of(DATA)));
    finish();
}

TEST(a_table_has_moved)
{
    struct p2m_batch b;
    struct frame *was;
    uint64_t *old;

    begin();
    CHECK_EQ(access(0x3000, 0), SHADOW_RETRY);
    was = move(&b, PT);
    old = (uint64_t *)arch_map_frame(frame_to_mfn(was)) + 4;
    /* Bits of a processor go where the table is now, */
    CHECK_EQ(access(0x4000, PF_W), SHADOW_RETRY);
    CHECK_EQ(*old & (E_A | E_D), 0);
    CHECK_EQ(*word(PT, 4) & (E_A | E_D), E_A | E_D);
    /* and what it says there counts. */
    *word(PT, 5) = *word(PT, 3);
    old[1] = 0;
    CHECK_EQ(access(0x5000, PF_W), SHADOW_RETRY);
    p2m_batch_end(&b);
    CHECK_EQ(access(0x5000, PF_W), SHADOW_RETRY);
    CHECK(mfn_eq(look(0x5000).mfn, mfn_of(DATA + 3)));
    finish();
}

/* ---- writes by the other vCPU ------------------------------------------- */

TEST(written_between_two_slices)
{
    struct work w = { .left = WORK_SLICE, .force_at = 2 };

    begin();
    CHECK_EQ(access(0, PF_W), SHADOW_RETRY);
    CHECK_EQ(access(0x1000, PF_W), SHADOW_RETRY);
    let_write(PT);
    CHECK_EQ(shadow_load(s, &sv, &pg, &w), -ERESTART);
    /* Write-protected for the comparison, so this is a fault, not a write
     * that nobody sees: it begins anew. */
    CHECK(!look(0xa000).w);
    CHECK_EQ(access(0xa000, PF_P | PF_W), SHADOW_RETRY);
    CHECK(look(0xa000).w);
    *word(PT, 0) = 0;
    load();
    CHECK(mfn_eq(look(0).mfn, MFN_INVALID));
    finish();
}

static struct { gva_t gva; uint64_t *at, value; } late;
static _Atomic bool has_entered;

/* CPU 1 is in the guest, with a translation to write the table by, and does
 * so when CPU 0 is already waiting for it in a flush. CPU 0 faults. */
static void write_late(void *arg)
{
    uint64_t generation;

    (void)arg;
    if (arch_cpu() == 0) {
        while (!has_entered) {
            arch_relax();
        }
        CHECK_EQ(access(late.gva, 0), SHADOW_RETRY);
        return;
    }
    generation = p2m_guest_enter(p);
    has_entered = true;
    while (p->generation == generation) {
        arch_relax();
    }
    __atomic_store_n(late.at, late.value, __ATOMIC_SEQ_CST);
    p2m_guest_leave();
}

static void fault_while_written(gva_t gva, uint64_t *at, uint64_t value)
{
    late.gva = gva;
    late.at = at;
    late.value = value;
    has_entered = false;
    host_run_on_cpus(2, write_late, NULL);
    CHECK_EQ(shadow_audit(s), 0);
}

TEST(written_before_the_flush_of_a_new_page)
{
    begin_on(2);
    *word(PD, 1) = PD << 12 | E_P | E_W | E_U;
    let_write(DATA + 4);
    /* It becomes a table that this CPU may write. */
    *word(DATA + 4, 0) = (DATA + 5) << 12 | E_P | E_W | E_U | E_A;
    *word(PD, 2) = (DATA + 4) << 12 | E_P | E_W | E_U;
    fault_while_written(0x400000, word(DATA + 4, 0),
                        (DATA + 6) << 12 | E_P | E_W | E_U | E_A);
    CHECK_EQ(access(0x400000, 0), SHADOW_RETRY);
    CHECK(mfn_eq(look(0x400000).mfn, mfn_of(DATA + 6)));
    finish();
}

TEST(written_before_the_flush_of_a_comparison)
{
    begin_on(2);
    *word(PD, 0) |= E_A;
    *word(PDPT, 1) = *word(PDPT, 0);
    /* Everything is there but the link from PD to the table at DATA + 4,
     * which PD, out of sync, is about to point at in its entry 1. */
    *word(PD, 2) = (DATA + 4) << 12 | E_P | E_W | E_U;
    *word(DATA + 4, 0) = (DATA + 5) << 12 | E_P | E_W | E_U;
    CHECK_EQ(access(0x400000, 0), SHADOW_RETRY);
    let_write(PD);
    *word(PD, 1) = (DATA + 4) << 12 | E_P | E_W | E_U | E_A;
    fault_while_written(0x200000, word(PD, 1), 0);
    CHECK_EQ(access(0x200000, 0), SHADOW_INJECT);
    finish();
}

/* ---- a table withdrawn between the read of its entry and its page -------- */

static _Atomic bool has_faulted;
static enum shadow_result late_result;

static void withdraw_meanwhile(void *arg)
{
    struct p2m_batch b;
    struct frame *was;
    uint64_t generation;

    (void)arg;
    if (arch_cpu() == 0) {
        while (!has_entered) {
            arch_relax();
        }
        late_result = access(0x400000, 0);
        has_faulted = true;
        return;
    }
    generation = p2m_guest_enter(p);
    has_entered = true;
    while (p->generation == generation) {
        arch_relax();
    }
    was = mfn_to_frame(mfn_of(DATA + 4));
    p2m_batch_begin(&b, p);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(DATA + 4), 1, 0), 0);
    p2m_set(&b, GFN(DATA + 4), MFN_INVALID, 0, p2m_invalid);
    CHECK_EQ(frame_get(was, 1), 0);
    frame_put_allocated(was);
    p2m_batch_put_frame(&b, was);
    p2m_guest_leave();
    while (!has_faulted) {
        arch_relax();
    }
    p2m_batch_end(&b);
}

TEST(a_table_is_withdrawn_before_its_page_is_made)
{
    begin_on(2);
    *word(PD, 1) = PD << 12 | E_P | E_W | E_U;
    let_write(DATA + 4);
    *word(DATA + 4, 0) = (DATA + 5) << 12 | E_P | E_W | E_U | E_A;
    *word(PD, 2) = (DATA + 4) << 12 | E_P | E_W | E_U;
    has_entered = has_faulted = false;
    host_run_on_cpus(2, withdraw_meanwhile, NULL);
    CHECK_EQ(late_result, SHADOW_RETRY);
    CHECK_EQ(shadow_audit(s), 0);
    CHECK(mfn_eq(look(0x400000).mfn, MFN_INVALID));
    CHECK_EQ(access(0x400000, 0), access(0x401000, 0));
    load();
    CHECK(mfn_eq(look(0x400000).mfn, MFN_INVALID));
    CHECK_EQ(shadow_audit(s), 0);
    finish();
}

/* ---- a guest that moves one page about ---------------------------------- */

static void heads_stay_few(uint64_t stride)
{
    uint64_t first, most = 0, prev = DATA, g = 0x1000;
    mfn_t mfn;

    begin();
    CHECK_EQ(access(0, PF_W), SHADOW_RETRY);
    CHECK_EQ(access(0x1000, PF_W), SHADOW_RETRY);   /* stays */
    first = shadow_bytes(s);
    mfn = mfn_of(DATA);
    for (unsigned n = 0; n < 120; n++, g += stride) {
        struct p2m_batch b;

        p2m_batch_begin(&b, p);
        CHECK_EQ(p2m_batch_reserve(&b, GFN(g), 1, 0), 0);
        p2m_set(&b, GFN(prev), MFN_INVALID, 0, p2m_invalid);
        p2m_set(&b, GFN(g), mfn, 0, p2m_ram_rw);
        p2m_batch_end(&b);
        prev = g;
        *word(PT, 0) = g << 12 | E_P | E_W | E_U;
        load();
        CHECK_EQ(access(0, PF_W), SHADOW_RETRY);
        CHECK(mfn_eq(look(0).mfn, mfn));
        CHECK_EQ(shadow_audit(s), 0);
        most = MAX(most, shadow_bytes(s));
    }
    finish();
    CHECK(most < first + 65536);
}

TEST(heads_of_gfns_no_longer_mapped_go)
{
    heads_stay_few(UINT64_C(1) << 9);
    heads_stay_few(UINT64_C(1) << 19);
}
