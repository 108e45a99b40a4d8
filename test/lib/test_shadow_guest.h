/*
 * test_shadow_guest.h - a small 4-level guest with a shadow, for tests that go
 * step by step: 64 gfns, tables for the first 2M of addresses, and one vCPU.
 */
#pragma once

#include "test_shadow.h"

enum { GFNS = 64, PML4 = 1, PDPT = 2, PD = 3, PT = 4, DATA = 16 };

static struct p2m *p;
static struct shadow *s;
static struct shadow_vcpu sv;
static struct guest_paging pg;
static struct npf npf;
static uint32_t pf_error;

static inline mfn_t mfn_of(uint64_t gfn)
{
    return p2m_lookup(p, GFN(gfn)).mfn;
}

static inline uint64_t *word(uint64_t gfn, unsigned i)
{
    return (uint64_t *)arch_map_frame(mfn_of(gfn)) + i;
}

static inline void load(void)
{
    CHECK_EQ(shadow_load(s, &sv, &pg, NULL), 0);
}

/* Tables for gva 0 .. 2M-1: page i is at gfn DATA + i. */
static inline void begin_on(unsigned cpus)
{
    host_machine_init(1 << 13, cpus);
    p = test_p2m_create(1);
    for (unsigned g = 0; g < GFNS; g++) {
        arch_page_zero(arch_map_frame(test_p2m_populate(p, g, 0)));
    }
    s = shadow_create(p, SHADOW_PAGES_MIN, 40);
    CHECK(s != NULL);
    CHECK_EQ(shadow_vcpu_init(s, &sv), 0);
    *word(PML4, 0) = PDPT << 12 | E_P | E_W | E_U;
    *word(PDPT, 0) = PD << 12 | E_P | E_W | E_U;
    *word(PD, 0) = PT << 12 | E_P | E_W | E_U;
    for (unsigned i = 0; i < 16; i++) {
        *word(PT, i) = (uint64_t)(DATA + i) << 12 | E_P | E_W | E_U;
    }
    pg = (struct guest_paging){ .cr0 = T_PG | T_WP, .cr3 = PML4 << 12,
                                .cr4 = T_PAE, .efer = T_LONG | T_NXE,
                                .phys_bits = 40, .p2m = p };
    load();
}

static inline void begin(void)
{
    begin_on(1);
}

static inline void finish(void)
{
    CHECK_EQ(shadow_audit(s), 0);
    shadow_vcpu_fini(s, &sv);
    CHECK_EQ(shadow_destroy(s, NULL), 0);
    test_p2m_destroy(p);
    test_p2m_all_gone();
}

static inline enum shadow_result access(gva_t gva, uint32_t error)
{
    return shadow_fault(s, &sv, &pg, gva, error, &npf, &pf_error);
}

/* As the processor sees it now; page ~0: nothing. */
static inline struct test_translation look(gva_t gva)
{
    struct test_translation t;

    if (!test_hw_walk(&pg, shadow_cr3(&sv), gva, &t)) {
        t.mfn = MFN_INVALID;
    }
    return t;
}

/* The guest may write table @gfn from now on, through page 10. */
static inline void let_write(uint64_t gfn)
{
    *word(PT, 10) = gfn << 12 | E_P | E_W;
    CHECK_EQ(access(0xa000, PF_W), SHADOW_RETRY);
    CHECK(look(0xa000).w);
}
