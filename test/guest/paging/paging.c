/*
 * paging - what paging costs, seen from inside: the same few operations many
 * times over, in ticks each (instructions, under icount). With paging=shadow
 * each of them exits; with nested paging only the loads of CR3 do. What the
 * operation itself takes, and a guest's own handler, is the difference.
 *
 * Figures: 0 how many of each; ticks a piece, of 1 the first touch of a page
 * that is mapped, accessed and dirty; 2 of a page that is not mapped, the
 * guest's handler included; 3 a load of CR3 with one of two roots in turn;
 * 4 INVLPG of a page just touched; 5 a store to an entry of a table, and the
 * flush after it; 6 the second touch. Each kind is between two phases: from 3
 * on, a phase is reported, then the next waited for. With `alias=` it does
 * what alias.c says instead.
 */
#include "alias.h"
#include "guest.h"

#define COUNT 256
#define ENTRY UINT64_C(0x63)            /* P, W, A, D */
#define WINDOW (UINT64_C(1) << 39)      /* gva: a top entry of its own */
#define DATA (GUEST_FREE_GFN + 16)      /* gfn of the first page */

enum { ROOT_A = GUEST_FREE_GFN, ROOT_B, PDPT, PD, PT };

static volatile uint64_t *page(unsigned i)
{
    return (volatile uint64_t *)(uintptr_t)(WINDOW + (uint64_t)i * PAGE_SIZE);
}

static uint64_t *table(uint64_t gfn)
{
    return gfn_ptr(gfn);
}

/* Where page @i is after edit_entries(): each has changed with its neighbour. */
static uint64_t gfn_of(unsigned i)
{
    return (DATA + i) ^ 1;
}

/* Two roots: what there was, and the window. */
static void build(void)
{
    for (uint64_t gfn = ROOT_A; gfn <= PT; gfn++) {
        memset(gfn_ptr(gfn), 0, PAGE_SIZE);
    }
    for (uint64_t root = ROOT_A; root <= ROOT_B; root++) {
        memcpy(gfn_ptr(root), gfn_ptr(read_cr3() >> PAGE_SHIFT), PAGE_SIZE);
        table(root)[1] = (uint64_t)PDPT << PAGE_SHIFT | ENTRY;
    }
    table(PDPT)[0] = (uint64_t)PD << PAGE_SHIFT | ENTRY;
    table(PD)[0] = (uint64_t)PT << PAGE_SHIFT | ENTRY;
    for (unsigned i = 0; i <= COUNT; i++) {
        table(PT)[i] = (DATA + i) << PAGE_SHIFT | ENTRY;
    }
    for (unsigned i = 0; i < 4; i++) {      /* a shadow for each table */
        write_cr3((ROOT_A + i % 2) << PAGE_SHIFT);
        page(COUNT)[0] = 1;
    }
}

static void touch(void *p)
{
    *(volatile uint64_t *)p = 1;
}

static void touch_all(unsigned figure)
{
    uint64_t start = rdtsc();

    for (unsigned i = 0; i < COUNT; i++) {
        touch((void *)(uintptr_t)page(i));
    }
    guest_figure(figure, (rdtsc() - start) / COUNT);
}

static void first_touches(void)
{
    touch_all(1);
    touch_all(6);
}

/* The entries behind the last one are absent. */
static void fault_all(void)
{
    struct guard g = { 0 };
    unsigned wrong = 0;
    uint64_t start = rdtsc();

    for (unsigned i = 0; i < COUNT; i++) {
        void *p = (void *)(uintptr_t)page(COUNT + 1 + i % 128);

        wrong += !guard_run(&g, touch, p) || g.vector != 14 ||
                 g.cr2 != (uintptr_t)p || g.error != 2;
    }
    guest_figure(2, (rdtsc() - start) / COUNT);
    CHECK(wrong == 0, "%u of %u faults were others", wrong, COUNT);
}

static void switch_roots(void)
{
    uint64_t start = rdtsc();

    for (unsigned i = 0; i < COUNT; i++) {
        write_cr3((ROOT_A + i % 2) << PAGE_SHIFT);
    }
    guest_figure(3, (rdtsc() - start) / COUNT);
}

static void flush_pages(void)
{
    uint64_t start = rdtsc();

    for (unsigned i = 0; i < COUNT; i++) {
        invlpg((const void *)(uintptr_t)page(i));
    }
    guest_figure(4, (rdtsc() - start) / COUNT);
}

/* As a guest's kernel takes pages away and gives them back. */
static void edit_entries(void)
{
    uint64_t start = rdtsc();

    for (unsigned i = 0; i < COUNT; i++) {
        table(PT)[i] ^= (uint64_t)1 << PAGE_SHIFT;
        write_cr3((uint64_t)ROOT_A << PAGE_SHIFT);
    }
    guest_figure(5, (rdtsc() - start) / COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        table(gfn_of(i))[0] = 1000 + i;
    }
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK(page(i)[0] == 1000 + i, "page %u has %lu", i, page(i)[0]);
    }
}

static void measure(void)
{
    static void (*const operations[])(void) = {
        first_touches, fault_all, switch_roots, flush_pages, edit_entries,
    };

    guest_figure(0, COUNT);
    build();
    for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
        guest_phase_report(3 + 2 * i);
        guest_phase_wait(4 + 2 * i);
        operations[i]();
    }
    guest_phase_report(3 + 2 * ARRAY_SIZE(operations));
    guest_phase_wait(4 + 2 * ARRAY_SIZE(operations));
}

void guest_main(void)
{
    CHECK(memory_run(GUEST_FREE_GFN) > 16 + 2 * COUNT, "too little memory");
    guest_phase_report(1);
    guest_phase_wait(2);
    if (option_u64("alias", 0) != 0) {
        alias_run();
    } else {
        measure();
    }
    guest_finish("paging");
}
