/*
 * bench_shadow.c - 200 of each of the shadow's common steps, to be counted by
 * callgrind, which has the instructions in and below one function:
 *
 *     valgrind --tool=callgrind --toggle-collect=shadow_fault \
 *         build/host/fast/test/bench/bench_shadow hidden
 *
 * and so on: hidden, injected (shadow_fault), switches (shadow_load).
 */
#include "../lib/test_shadow.h"

enum { TIMES = 200, GFNS = 1024, DATA = 256 };

static struct p2m *p;
static struct shadow *s;
static struct shadow_vcpu sv;
static struct guest_paging pg;

static uint64_t *word(uint64_t gfn, unsigned i)
{
    return (uint64_t *)arch_map_frame(p2m_lookup(p, GFN(gfn)).mfn) + i;
}

/* Two address spaces, with roots at gfns 1 and 5; accessed, dirty. */
static void begin(void)
{
    const uint64_t all = E_P | E_W | E_U | E_A | E_D;

    host_machine_init(1 << 14, 1);
    p = test_p2m_create(1);
    for (unsigned g = 0; g < GFNS; g++) {
        arch_page_zero(arch_map_frame(test_p2m_populate(p, g, 0)));
    }
    s = shadow_create(p, 256, 40);
    CHECK(s != NULL);
    CHECK_EQ(shadow_vcpu_init(s, &sv), 0);
    for (uint64_t root = 1; root < 9; root += 4) {
        for (uint64_t level = 0; level < 3; level++) {
            *word(root + level, 0) = (root + level + 1) << 12 | all;
        }
        for (uint64_t i = 0; i <= TIMES; i++) {
            *word(root + 3, (unsigned)i) = (DATA + i) << 12 | all;
        }
    }
    pg = (struct guest_paging){ .cr0 = T_PG | T_WP, .cr4 = T_PAE,
                                .efer = T_LONG | T_NXE, .phys_bits = 40,
                                .p2m = p };
}

static void load(uint64_t root)
{
    pg.cr3 = root << 12;
    CHECK_EQ(shadow_load(s, &sv, &pg, NULL), 0);
}

static enum shadow_result fault(unsigned page)
{
    struct npf npf;
    uint32_t error;

    return shadow_fault(s, &sv, &pg, (gva_t)page << 12, PF_W, &npf, &error);
}

TEST(hidden)
{
    begin();
    load(1);
    for (unsigned i = 0; i < TIMES; i++) {
        CHECK_EQ(fault(i), SHADOW_RETRY);
    }
}

TEST(injected)
{
    begin();
    load(1);
    CHECK_EQ(fault(0), SHADOW_RETRY);
    for (unsigned i = 1; i < TIMES; i++) {
        CHECK_EQ(fault(300), SHADOW_INJECT);
    }
}

TEST(switches)
{
    begin();
    for (unsigned i = 0; i < TIMES; i++) {
        load(i % 2 == 0 ? 1 : 5);
    }
}
