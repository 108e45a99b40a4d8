/*
 * memory.c - the memory map as PVH gave it, and page tables for what lies
 * above the 4 GiB that entry.S maps.
 */
#include "guest.h"

#define MAX_MEMMAP 16
#define MAX_MODULES 4
#define PTE_P UINT64_C(1)
#define PTE_W UINT64_C(2)
#define PTE_TABLE UINT64_C(0x003)
#define PTE_LARGE UINT64_C(0x0e3)
#define PTE_ADDR UINT64_C(0x000ffffffffff000)
#define SIZE_2M (UINT64_C(1) << 21)
#define WINDOW UINT64_C(0x7e0000000000)

extern uint64_t boot_pml4[512], boot_pt[512];
extern uint8_t image_end[];

static struct hvm_memmap_table_entry map[MAX_MEMMAP];
static unsigned nr_ranges;
static struct hvm_modlist_entry modules[MAX_MODULES];
static unsigned nr_modules;
static uint64_t next_table;

/* Tables grow from the image's end up to the guest's free pages. */
static uint64_t *table_alloc(void)
{
    if (next_table == 0) {
        next_table = GVA(image_end);
    }
    uint64_t *t = (uint64_t *)(uintptr_t)next_table;

    if (next_table >> PAGE_SHIFT >= GUEST_FREE_GFN) {
        guest_fail("no room for page tables");
        guest_finish("start");
    }
    next_table += PAGE_SIZE;
    memset(t, 0, PAGE_SIZE);
    return t;
}

static uint64_t *table_below(uint64_t *entry)
{
    if ((*entry & PTE_P) == 0) {
        *entry = GVA(table_alloc()) | PTE_TABLE;
    }
    return (uint64_t *)(uintptr_t)(*entry & PTE_ADDR);
}

void memory_map(uint64_t gpa, uint64_t size)
{
    for (uint64_t a = gpa & -SIZE_2M; a < gpa + size; a += SIZE_2M) {
        uint64_t *pdpt = table_below(&boot_pml4[a >> 39 & 511]);
        uint64_t *pd = table_below(&pdpt[a >> 30 & 511]);

        if ((pd[a >> 21 & 511] & PTE_P) == 0) {
            pd[a >> 21 & 511] = a | PTE_LARGE;
        }
    }
}

/* Far from anything that is mapped one to one, so it has a table of its own,
 * made at the first call. */
void *memory_window(uint64_t gpa)
{
    uint64_t *pdpt = table_below(&boot_pml4[WINDOW >> 39 & 511]);
    uint64_t *pd = table_below(&pdpt[WINDOW >> 30 & 511]);

    pd[0] = (gpa & -SIZE_2M) | PTE_LARGE;
    pd[1] = ((gpa & -SIZE_2M) + SIZE_2M) | PTE_LARGE;
    invlpg((void *)(uintptr_t)WINDOW);
    invlpg((void *)(uintptr_t)(WINDOW + SIZE_2M));
    return (void *)(uintptr_t)(WINDOW + (gpa & (SIZE_2M - 1)));
}

void memory_protect(uint64_t gfn, bool is_writable)
{
    boot_pt[gfn] = (boot_pt[gfn] & ~PTE_W) | (is_writable ? PTE_W : 0);
    invlpg(gfn_ptr(gfn));
}

void memory_init(const struct hvm_start_info *si)
{
    const struct hvm_memmap_table_entry *e = (const void *)si->memmap_paddr;

    nr_modules = MIN(si->nr_modules, MAX_MODULES);
    memcpy(modules, (const void *)(uintptr_t)si->modlist_paddr,
           nr_modules * sizeof(modules[0]));
    nr_ranges = MIN(si->memmap_entries, MAX_MEMMAP);
    memcpy(map, e, nr_ranges * sizeof(map[0]));
    for (unsigned i = 0; i < nr_ranges; i++) {
        if (map[i].type == XEN_HVM_MEMMAP_TYPE_RAM) {
            memory_map(map[i].addr, map[i].size);
        }
    }
}

void memory_drop_null(void)
{
    boot_pt[0] = 0;
    invlpg(NULL);
}

unsigned memory_nr_ranges(void)
{
    return nr_ranges;
}

const struct hvm_memmap_table_entry *memory_range(unsigned i)
{
    return &map[i];
}

unsigned memory_nr_modules(void)
{
    return nr_modules;
}

const struct hvm_modlist_entry *memory_module(unsigned i)
{
    return &modules[i];
}

uint64_t memory_run(uint64_t gfn)
{
    uint64_t end = gfn << PAGE_SHIFT, start = end;
    bool grown;

    do {
        grown = false;
        for (unsigned i = 0; i < nr_ranges; i++) {
            if (map[i].type == XEN_HVM_MEMMAP_TYPE_RAM && map[i].addr <= end
                && end < map[i].addr + map[i].size) {
                end = map[i].addr + map[i].size;
                grown = true;
            }
        }
    } while (grown);
    return (end - start) >> PAGE_SHIFT;
}

uint64_t memory_top(void)
{
    uint64_t top = 0;

    for (unsigned i = 0; i < nr_ranges; i++) {
        if (map[i].type == XEN_HVM_MEMMAP_TYPE_RAM) {
            top = MAX(top, map[i].addr + map[i].size);
        }
    }
    return top >> PAGE_SHIFT;
}
