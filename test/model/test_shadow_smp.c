/*
 * test_shadow_smp.c - four CPUs, each with a vCPU of one guest in long mode,
 * store random entries through whatever maps their tables, load CR3 and flush
 * addresses, while frames are shared and unshared and Quire writes to tables.
 * At the end all is synced, and the audit sees whether a write to a table went
 * unnoticed, or an spte outlived its frame; the sanitizers see races.
 */
#include "test_shadow.h"

#include <string.h>

enum { CPUS = 4, GFNS = 32, TABLES = 10, STEPS = 3000 };

static struct p2m *p;
static struct shadow *s;
static _Atomic uint64_t nr_stores;

static struct cpu {
    struct shadow_vcpu sv;
    struct guest_paging pg;
    struct rng r;
} cpus[CPUS];

static uint64_t random_entry(struct rng *r)
{
    return (rng_below(r, 3) == 0 ? rng_below(r, GFNS)
                                 : rng_below(r, TABLES)) << 12 |
           E_P | E_U | (rng_below(r, 9) != 0 ? E_W : 0) |
           (rng_below(r, 2) != 0 ? E_A | E_D : 0);
}

static gva_t random_address(struct rng *r)
{
    return rng_below(r, 3) << 12 | rng_below(r, 2) << 21 |
           rng_below(r, 2) << 30;
}

static void load(struct cpu *c)
{
    struct work w = WORK_INIT;

    while (shadow_load(s, &c->sv, &c->pg, &w) == -ERESTART) {
        w.left = WORK_SLICE;
    }
}

/* A store, if the shadow allows it: the guest's part, up to its #VMEXIT. */
static bool try_store(struct cpu *c, gva_t gva)
{
    struct test_translation t;
    bool is_done = false;

    for (;;) {
        if (shadow_is_stale(&c->sv)) {
            load(c);
        }
        (void)p2m_guest_enter(p);
        if (!shadow_is_stale(&c->sv)) {
            break;
        }
        p2m_guest_leave();
    }
    if (test_hw_walk(&c->pg, shadow_cr3(&c->sv), gva, &t) &&
        test_hw_allows(&c->pg, &t, P2M_W)) {
        uint64_t *at = (uint64_t *)arch_map_frame(t.mfn) +
                       rng_below(&c->r, 3);

        __atomic_store_n(at, random_entry(&c->r), __ATOMIC_SEQ_CST);
        is_done = true;
    }
    p2m_guest_leave();
    return is_done;
}

static void change(uint64_t gfn, bool is_share)
{
    struct frame *f = page_alloc_owned(1, 0);
    struct p2m_batch b;
    struct p2m_entry e;

    p2m_batch_begin(&b, p);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(gfn), 1, 0), 0);
    e = p2m_lookup_locked(p, GFN(gfn));
    if (is_share) {
        p2m_set(&b, GFN(gfn), e.mfn, 0, p2m_ram_shared);
    } else if (e.type == p2m_ram_shared && f != NULL) {
        arch_page_copy(arch_map_frame(frame_to_mfn(f)),
                       arch_map_frame(e.mfn));
        p2m_set(&b, GFN(gfn), frame_to_mfn(f), 0, p2m_ram_rw);
        CHECK_EQ(frame_get(mfn_to_frame(e.mfn), 1), 0);
        frame_put_allocated(mfn_to_frame(e.mfn));
        p2m_batch_put_frame(&b, mfn_to_frame(e.mfn));
        f = NULL;
    }
    p2m_batch_end(&b);
    if (f != NULL) {
        frame_put_allocated(f);
    }
}

static void access(struct cpu *c)
{
    gva_t gva = random_address(&c->r);
    uint32_t error;
    struct npf npf;

    for (unsigned i = 0; i < 100; i++) {
        if (try_store(c, gva)) {
            nr_stores++;
            return;
        }
        switch (shadow_fault(s, &c->sv, &c->pg, gva, PF_W, &npf, &error)) {
        case SHADOW_RETRY:
            break;
        case SHADOW_P2M:
            if (npf.gpa >> 12 >= GFNS) {
                return;
            }
            change(npf.gpa >> 12, false);
            break;
        default:
            return;
        }
    }
}

/* Quire itself, past the rights of sptes. */
static void write_behind(struct cpu *c)
{
    gfn_t gfn = GFN(rng_below(&c->r, TABLES));
    struct p2m_entry e;
    bool is_done = false;

    CHECK(p2m_access_begin(p));
    e = p2m_lookup(p, gfn);
    if ((p2m_rights(e.type, e.tracking) & P2M_W) != 0) {
        uint64_t *at = (uint64_t *)arch_map_frame(e.mfn) +
                       rng_below(&c->r, 3);

        __atomic_store_n(at, random_entry(&c->r), __ATOMIC_SEQ_CST);
        is_done = true;
    }
    p2m_access_end();
    if (is_done) {
        shadow_written(s, gfn);
    }
}

static void run(void *arg)
{
    struct cpu *c = &cpus[arch_cpu()];

    (void)arg;
    for (unsigned i = 0; i < STEPS; i++) {
        uint64_t kind = rng_below(&c->r, 21);

        if (kind < 15) {
            access(c);
        } else if (kind < 17) {
            c->pg.cr3 = rng_below(&c->r, TABLES) << 12;
            load(c);
        } else if (kind < 19) {
            while (shadow_invlpg(s, &c->sv, &c->pg, random_address(&c->r),
                                 NULL) < 0) {
                arch_relax();
            }
        } else if (kind < 20) {
            change(rng_below(&c->r, GFNS), true);
        } else {
            write_behind(c);
        }
        grace_quiesce();
    }
}

TEST(four_cpus)
{
    struct rng r;

    host_machine_init(1 << 12, CPUS);
    rng_seed(&r, test_seed);
    p = test_p2m_create(1);
    for (unsigned g = 0; g < GFNS; g++) {
        uint64_t *page = arch_map_frame(test_p2m_populate(p, g, 0));

        arch_page_zero(page);
        for (unsigned i = 0; i < 3; i++) {
            page[i] = random_entry(&r);
        }
    }
    s = shadow_create(p, SHADOW_PAGES_MIN, 40);
    CHECK(s != NULL);
    for (unsigned i = 0; i < CPUS; i++) {
        rng_seed(&cpus[i].r, test_seed + i);
        CHECK_EQ(shadow_vcpu_init(s, &cpus[i].sv), 0);
        cpus[i].pg = (struct guest_paging){
            .cr0 = T_PG | T_WP, .cr3 = 1 << 12, .cr4 = T_PAE,
            .efer = T_LONG, .phys_bits = 40, .p2m = p,
        };
        load(&cpus[i]);
    }
    host_run_on_cpus(CPUS, run, NULL);
    CHECK(nr_stores > STEPS / 4);
    load(&cpus[0]);
    CHECK_EQ(shadow_audit(s), 0);
    for (unsigned i = 0; i < CPUS; i++) {
        shadow_vcpu_fini(s, &cpus[i].sv);
    }
    CHECK_EQ(shadow_destroy(s, NULL), 0);
    for (unsigned g = 0; g < GFNS; g++) {
        change(g, false);
    }
    test_p2m_destroy(p);
    test_p2m_all_gone();
}
