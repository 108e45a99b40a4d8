/*
 * test_shadow.h - what tests of the shadow begin and end with, and a
 * processor that walks shadow pages: its rules, and nothing else.
 */
#pragma once

#include "test_p2m.h"

#include <quire/shadow.h>

#define E_P UINT64_C(1)
#define E_W UINT64_C(2)
#define E_U UINT64_C(4)
#define E_A UINT64_C(0x20)
#define E_D UINT64_C(0x40)
#define E_PS UINT64_C(0x80)
#define E_NX (UINT64_C(1) << 63)
#define E_ADDR UINT64_C(0x000ffffffffff000)
#define T_PG UINT64_C(0x80000001)
#define T_WP UINT64_C(0x10000)
#define T_PSE UINT64_C(0x10)
#define T_PAE UINT64_C(0x20)
#define T_SMEP (UINT64_C(1) << 20)
#define T_SMAP (UINT64_C(1) << 21)
#define T_LONG UINT64_C(0x500)
#define T_NXE UINT64_C(0x800)
#define T_AC UINT64_C(0x40000)

/* What a TLB entry holds. */
struct test_translation { mfn_t mfn; bool w, u, nx; };

/** test_hw_walk() - of the tables at @cr3, with A and D already set. False: not
 *  present. Reserved bits are a failure of the test. */
static inline bool test_hw_walk(const struct guest_paging *pg, maddr_t cr3,
                                gva_t gva, struct test_translation *t)
{
    bool is_long = (pg->efer & 0x400) != 0;

    *t = (struct test_translation){ MFN(cr3 >> 12), true, true, false };
    CHECK(is_long || cr3 >> 32 == 0);
    for (unsigned level = is_long ? 4 : 3; level > 0; level--) {
        const uint64_t *table = arch_map_frame(t->mfn);
        unsigned i = gva >> (3 + 9 * level) & 511;
        uint64_t e;

        if (!is_long && level == 3) {
            i &= 3;
        }
        e = __atomic_load_n(&table[i], __ATOMIC_ACQUIRE);
        if ((e & E_P) == 0) {
            return false;
        }
        t->mfn = MFN((e & E_ADDR) >> 12);
        CHECK(mfn_is_ram(t->mfn));
        if (!is_long && level == 3) {
            CHECK_EQ(e & ~E_ADDR, E_P);
            continue;
        }
        CHECK_EQ(e & (UINT64_C(0x7ff) << 52), 0);
        CHECK_EQ(e & (E_PS | 0x118), 0);
        CHECK((e & E_A) != 0 && (level > 1 || (e & E_D) != 0));
        t->w = t->w && (e & E_W) != 0;
        t->u = t->u && (e & E_U) != 0;
        t->nx = t->nx || (e & E_NX) != 0;
    }
    return true;
}

/** test_hw_allows() - CR0.WP and EFER.NXE are set in shadow mode. */
static inline bool test_hw_allows(const struct guest_paging *pg,
                                  const struct test_translation *t,
                                  unsigned access)
{
    bool is_paged = (pg->cr0 >> 31 & 1) != 0;

    if ((access == P2M_W && !t->w) || (access == P2M_X && t->nx)) {
        return false;
    }
    if (pg->cpl == 3) {
        return t->u;
    }
    if (t->u && is_paged && access == P2M_X) {
        return (pg->cr4 & T_SMEP) == 0;
    }
    return !(t->u && is_paged && (pg->cr4 & T_SMAP) != 0 &&
             (pg->rflags & T_AC) == 0 && access != P2M_X);
}
