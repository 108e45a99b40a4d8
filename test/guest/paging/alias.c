/*
 * alias.c - one frame mapped many times: what its mappings cost whoever
 * shares it, and the guest that writes to it then.
 *
 * Phases, each reported and then waited behind: 3 all `alias` mappings of
 * `gfn` have been written through; 5 and, after that, read; 7 one has been
 * written. All of them show what was written last, whichever wrote it.
 */
#include "alias.h"
#include "guest.h"

#define ENTRY UINT64_C(0x63)            /* P, W, A, D */
#define SLOT 2                          /* of the top table */
#define TABLES (GUEST_FREE_GFN + 0x280) /* gfn of the first */
#define PER_TABLE 512

static volatile uint64_t *alias(uint64_t i)
{
    return (volatile uint64_t *)(uintptr_t)(((uint64_t)SLOT << 39) +
                                            i * PAGE_SIZE);
}

static void build(uint64_t gfn, uint64_t nr)
{
    uint64_t *pdpt = gfn_ptr(TABLES), *pd = gfn_ptr(TABLES + 1);
    uint64_t *root = gfn_ptr(read_cr3() >> PAGE_SHIFT);

    memset(pdpt, 0, PAGE_SIZE);
    memset(pd, 0, PAGE_SIZE);
    pdpt[0] = (TABLES + 1) << PAGE_SHIFT | ENTRY;
    for (uint64_t i = 0; i < nr; i++) {
        uint64_t table = TABLES + 2 + i / PER_TABLE;
        uint64_t *pt = gfn_ptr(table);

        if (i % PER_TABLE == 0) {
            memset(pt, 0, PAGE_SIZE);
            pd[i / PER_TABLE] = table << PAGE_SHIFT | ENTRY;
        }
        pt[i % PER_TABLE] = gfn << PAGE_SHIFT | ENTRY;
    }
    root[SLOT] = TABLES << PAGE_SHIFT | ENTRY;
    write_cr3(read_cr3());
}

static void read_all(uint64_t nr, uint64_t expected)
{
    uint64_t wrong = 0;

    for (uint64_t i = 0; i < nr; i++) {
        wrong += alias(i)[0] != expected;
    }
    CHECK(wrong == 0, "%lu of %lu mappings have not %lu", wrong, nr,
          expected);
}

static void next_phase(uint64_t phase)
{
    guest_phase_report(phase);
    guest_phase_wait(phase + 1);
}

void alias_run(void)
{
    uint64_t nr = option_u64("alias", 1), gfn = option_u64("gfn", 0);
    uint64_t end = TABLES + 2 + (nr + PER_TABLE - 1) / PER_TABLE;

    CHECK(nr <= PER_TABLE * PER_TABLE && gfn >= end &&
          memory_run(gfn) != 0, "alias=%lu gfn=%lu: no such", nr, gfn);
    if (guest_failures() != 0) {
        return;
    }
    build(gfn, nr);
    for (uint64_t i = 0; i < nr; i++) {
        alias(i)[0] = i;
    }
    next_phase(3);
    read_all(nr, nr - 1);
    next_phase(5);
    alias(0)[0] = nr;
    next_phase(7);
    read_all(nr, nr);
}
