/*
 * test_guest_walk.c - walks of tables built in a little memory, for each
 * paging mode, and every combination of rights against the rule as the manual
 * states it (APM vol. 2, 5.6).
 */
#include <quire/guest_walk.h>
#include <string.h>

#include "test.h"

#define P UINT64_C(1)
#define W UINT64_C(2)
#define U UINT64_C(4)
#define A UINT64_C(0x20)
#define PS (UINT64_C(1) << 7)
#define NX (UINT64_C(1) << 63)
#define CR0 UINT64_C(0x80000001)
#define WP (UINT64_C(1) << 16)
#define PSE (UINT64_C(1) << 4)
#define PAE (UINT64_C(1) << 5)
#define SMEP (UINT64_C(1) << 20)
#define SMAP (UINT64_C(1) << 21)
#define LONG UINT64_C(0x500)
#define NXE (UINT64_C(1) << 11)
#define AC (UINT64_C(1) << 18)

static uint8_t ram[0x8000];     /* tables at 0x1000, 0x2000 ... */

static int read_ram(void *ctx, gpa_t gpa, void *buf, unsigned len)
{
    (void)ctx;
    CHECK(len == 4 || len == 8);
    if (gpa + len > sizeof(ram)) {
        return -ENOENT;
    }
    memcpy(buf, ram + gpa, len);
    return 0;
}

static void set(gpa_t table, unsigned index, uint64_t e)
{
    memcpy(ram + table + index * 8, &e, 8);
}

static void set_32(gpa_t table, unsigned index, uint32_t e)
{
    memcpy(ram + table + index * 4, &e, 4);
}

static struct guest_walk w;

static int walk(const struct guest_paging *pg, gva_t a, unsigned access)
{
    return guest_walk(pg, a, access, read_ram, NULL, &w);
}

/* 4-level tables for one address; each level grants everything. */
#define GVA UINT64_C(0xffff808040403123)
static struct guest_paging long_mode(void)
{
    memset(ram, 0, sizeof(ram));
    set(0x1000, 257, 0x2000 | P | W | U);
    set(0x2000, 1, 0x3000 | P | W | U);
    set(0x3000, 2, 0x4000 | P | W | U);
    set(0x4000, 3, 0xabc000 | P | W | U);
    return (struct guest_paging){ .cr0 = CR0 | WP, .cr3 = 0x1000,
                                  .cr4 = PAE, .efer = LONG | NXE,
                                  .phys_bits = 40 };
}

TEST(no_paging)
{
    struct guest_paging pg = { .cr0 = 1 };
    CHECK_EQ(walk(&pg, 0x123456789, P2M_W), 0);
    CHECK_EQ(w.gpa, 0x23456789);
    CHECK_EQ(w.nr, 0);
}

TEST(four_levels)
{
    struct guest_paging pg = long_mode();
    CHECK_EQ(walk(&pg, GVA, P2M_R), 0);
    CHECK_EQ(w.gpa, 0xabc123);
    CHECK_EQ(w.order, 0);
    CHECK_EQ(w.nr, 4);
    CHECK_EQ(w.entry_gpa[0], 0x1000 + 257 * 8);
    CHECK_EQ(w.entry[3], 0xabc000 | P | W | U);
    CHECK_EQ(w.rights, P2M_R | P2M_W | P2M_X);
    CHECK_EQ(walk(&pg, UINT64_C(0x0000808040403123), P2M_R), -ERANGE);
    /* A hole under a table is the reader's error, not a page fault. */
    set(0x3000, 2, 0x40000000 | P | W | U);
    CHECK_EQ(walk(&pg, GVA, P2M_R), -ENOENT);
    CHECK_EQ(w.nr, 3);
}

TEST(large_pages)
{
    struct guest_paging pg = long_mode();
    set(0x3000, 2, 0x600000 | P | W | U | PS);
    CHECK_EQ(walk(&pg, GVA, P2M_R), 0);
    CHECK_EQ(w.gpa, 0x603123);
    CHECK_EQ(w.order, 9);
    set(0x3000, 2, 0x600000 | P | W | U | PS | 1 << 12);    /* PAT: fine */
    CHECK_EQ(walk(&pg, GVA, P2M_R), 0);
    CHECK_EQ(w.gpa, 0x603123);
    set(0x3000, 2, 0x600000 | P | W | U | PS | 1 << 13);
    CHECK_EQ(walk(&pg, GVA, P2M_R), -EFAULT);
    CHECK_EQ(w.error, PF_P | PF_RSV);
    set(0x2000, 1, 0x40000000 | P | W | U | PS);
    CHECK_EQ(walk(&pg, GVA, P2M_R), 0);
    CHECK_EQ(w.gpa, 0x40403123);
    CHECK_EQ(w.order, 18);
    set(0x2000, 1, 0x40000000 | P | W | U | PS | 1 << 21);
    CHECK_EQ(walk(&pg, GVA, P2M_R), -EFAULT);
    set(0x1000, 257, 0x2000 | P | W | U | PS);
    CHECK_EQ(walk(&pg, GVA, P2M_R), -EFAULT);
    CHECK_EQ(w.error, PF_P | PF_RSV);
}

TEST(reserved_bits)
{
    for (unsigned level = 0; level < 4; level++) {
        static const struct { gpa_t table; unsigned index; } at[4] = {
            { 0x1000, 257 }, { 0x2000, 1 }, { 0x3000, 2 }, { 0x4000, 3 } };
        struct guest_paging pg = long_mode();
        uint64_t e;
        memcpy(&e, ram + at[level].table + at[level].index * 8, 8);
        set(at[level].table, at[level].index, e | UINT64_C(1) << 40);
        CHECK_EQ(walk(&pg, GVA, P2M_W), -EFAULT);
        CHECK_EQ(w.error, PF_P | PF_RSV | PF_W);
        set(at[level].table, at[level].index, e | UINT64_C(1) << 52);
        CHECK_EQ(walk(&pg, GVA, P2M_W), 0);     /* available to software */
        set(at[level].table, at[level].index, e | NX);
        CHECK_EQ(walk(&pg, GVA, P2M_R), 0);
        CHECK_EQ(walk(&pg, GVA, P2M_X), -EFAULT);
        CHECK_EQ(w.error, PF_P | PF_ID);
        pg.efer &= ~NXE;
        CHECK_EQ(walk(&pg, GVA, P2M_X), -EFAULT);
        CHECK_EQ(w.error, PF_P | PF_RSV);       /* no NXE: no I/D either */
        set(at[level].table, at[level].index, e & ~P);
        CHECK_EQ(walk(&pg, GVA, P2M_W), -EFAULT);
        CHECK_EQ(w.error, PF_W);
        CHECK_EQ(w.nr, level + 1);
    }
}

TEST(legacy_pae)
{
    struct guest_paging pg = { .cr0 = CR0, .cr3 = 0x1020, .cr4 = PAE,
                               .efer = NXE, .phys_bits = 40 };
    memset(ram, 0, sizeof(ram));
    set(0x1020, 3, 0x2000 | P);             /* no U or W there */
    set(0x2000, 1, 0x3000 | P | W | U);
    set(0x3000, 2, UINT64_C(0x123456000) | P | W | U | NX);
    pg.cpl = 3;
    CHECK_EQ(walk(&pg, 0xc0202fff, P2M_W), 0);
    CHECK(w.gpa == UINT64_C(0x123456fff));
    CHECK_EQ(w.rights, P2M_R | P2M_W);
    /* The upper half of a 64-bit address does not exist here. */
    CHECK_EQ(walk(&pg, UINT64_C(0xdead0000c0202fff), P2M_W), 0);
    set(0x3000, 2, UINT64_C(1) << 52 | P | W | U);
    CHECK_EQ(walk(&pg, 0xc0202fff, P2M_W), -EFAULT);
    CHECK_EQ(w.error, PF_P | PF_W | PF_U | PF_RSV);
    set(0x1020, 3, 0x2000 | P | A);         /* as QEMU leaves it */
    CHECK_EQ(walk(&pg, 0xc0202fff, P2M_R), -EFAULT);
    CHECK(w.nr > 1);
    set(0x1020, 3, 0x2000 | P | W);         /* W is reserved in a PDPTE */
    CHECK_EQ(walk(&pg, 0xc0202fff, P2M_R), -EFAULT);
    CHECK_EQ(w.error, PF_P | PF_U | PF_RSV);
    set(0x1020, 3, 0);
    CHECK_EQ(walk(&pg, 0xc0202fff, P2M_R), -EFAULT);
    CHECK_EQ(w.error, PF_U);
}

TEST(two_levels)
{
    struct guest_paging pg = { .cr0 = CR0, .cr3 = 0x1000, .cr4 = PSE };
    memset(ram, 0, sizeof(ram));
    set_32(0x1000, 0x300, 0x2000 | P | W | U);
    set_32(0x2000, 5, 0xfffff000 | P | W);
    CHECK_EQ(walk(&pg, 0xc0005abc, P2M_W), 0);
    CHECK_EQ(w.gpa, 0xfffffabc);
    CHECK_EQ(w.nr, 2);
    pg.efer = NXE;      /* no NX in these tables, so no I/D in the error */
    pg.cpl = 3;
    CHECK_EQ(walk(&pg, 0xc0005abc, P2M_X), -EFAULT);
    CHECK_EQ(w.error, PF_P | PF_U);
    pg.cpl = 0;
    set_32(0x1000, 0x300, 0x00c00000 | P | W | PS | 3 << 13);
    CHECK_EQ(walk(&pg, 0xc0005abc, P2M_R), 0);
    CHECK(w.gpa == UINT64_C(0x300c05abc));      /* PSE-36 */
    CHECK_EQ(w.order, 10);
    set_32(0x1000, 0x300, 0x00c00000 | P | W | PS | 1 << 21);
    CHECK_EQ(walk(&pg, 0xc0005abc, P2M_R), -EFAULT);
    CHECK_EQ(w.error, PF_P | PF_RSV);
    pg.cr4 = 0;                                 /* no PSE: PS is ignored */
    set_32(0x1000, 0x300, 0x2000 | P | W | PS);
    CHECK_EQ(walk(&pg, 0xc0005abc, P2M_R), 0);
    CHECK_EQ(w.gpa, 0xfffffabc);
}

/* The rule, in the manual's order, for one access. */
static bool may(unsigned access, bool user, bool system, uint64_t pte,
                const struct guest_paging *pg)
{
    bool page_u = (pte & U) != 0, page_w = (pte & W) != 0;
    if (user && !page_u) {
        return false;
    }
    if (access == P2M_X) {
        return (pte & NX) == 0 &&
               !(!user && page_u && (pg->cr4 & SMEP) != 0);
    }
    if (!user && page_u && (pg->cr4 & SMAP) != 0 &&
        (system || (pg->rflags & AC) == 0)) {
        return false;
    }
    return access == P2M_R || page_w || (!user && (pg->cr0 & WP) == 0);
}

TEST(rights_in_every_combination)
{
    static const unsigned accesses[] = { P2M_R, P2M_W, P2M_X };
    for (unsigned k = 0; k < 1 << 12; k++) {
        struct guest_paging pg = long_mode();
        uint64_t pte = (k & 1 ? W : 0) | (k & 2 ? U : 0) | (k & 4 ? NX : 0);
        bool at_top = (k & 8) != 0, system = (k & 16) != 0;
        unsigned access = accesses[(k >> 10) % 3];
        pg.cr0 = CR0 | (k & 32 ? WP : 0);
        pg.cr4 |= (k & 64 ? SMEP : 0) | (k & 128 ? SMAP : 0);
        pg.rflags = k & 256 ? AC : 0;
        pg.cpl = k & 512 ? 3 : 0;
        /* One level lacks what the page lacks; which one does not matter. */
        if (at_top) {
            set(0x1000, 257, 0x2000 | P | pte);
        } else {
            set(0x4000, 3, 0xabc000 | P | pte);
        }
        bool user = pg.cpl == 3 && !system;
        int err = walk(&pg, GVA, access | (system ? GUEST_WALK_SYSTEM : 0));
        CHECK_EQ(err, may(access, user, system, pte, &pg) ? 0 : -EFAULT);
        if (err != 0) {
            CHECK_EQ(w.error, PF_P | (access == P2M_W ? PF_W : 0) |
                              (user ? PF_U : 0) |
                              (access == P2M_X ? PF_ID : 0));
        }
        CHECK_EQ(w.rights & access, err == 0 ? access : 0);
    }
}
