/* paging.c - the hypervisor's own page tables; the layout is in paging.h. */
#include "paging.h"

#include <quire/panic.h>

#include "cpu_ops.h"
#include "layout.h"

#define PTE_P (UINT64_C(1) << 0)
#define PTE_W (UINT64_C(1) << 1)
#define PTE_UC (UINT64_C(3) << 3)       /* PCD and PWT */
#define PTE_PS (UINT64_C(1) << 7)
#define PTE_NX (UINT64_C(1) << 63)

#define GIB (UINT64_C(1) << 30)
#define MIB2 (UINT64_C(1) << 21)
#define IMAGE_TABLES 16                 /* 2 MiB each: the image's limit */
#define DEVICES_START UINT64_C(0xe0000000)

extern const uint8_t image_start[], text_end[], rodata_end[], image_end[];

typedef uint64_t table_t[512];

alignas(4096) table_t final_pml4;
static alignas(4096) table_t low_pdpt, low_pd, low_pt[IMAGE_TABLES];
static alignas(4096) table_t direct_pdpt, direct_pd_3g;

static uint64_t *low_entry(uint64_t addr)
{
    return &low_pt[addr / MIB2][addr / PAGE_SIZE % 512];
}

static void map_image(void)
{
    uint64_t end = (uint64_t)image_end;

    if (end > IMAGE_TABLES * MIB2) {
        panic("the image ends at 0x%lx, above 0x%lx", (unsigned long)end,
              (unsigned long)(IMAGE_TABLES * MIB2));
    }
    for (uint64_t a = (uint64_t)image_start; a < end; a += PAGE_SIZE) {
        uint64_t rights = PTE_P | PTE_W | PTE_NX;

        if (a < (uint64_t)text_end) {
            rights = PTE_P;
        } else if (a < (uint64_t)rodata_end) {
            rights = PTE_P | PTE_NX;
        }
        *low_entry(a) = a | rights;
    }
    *low_entry(TRAMPOLINE) = TRAMPOLINE | PTE_P;
    for (unsigned i = 0; i < IMAGE_TABLES; i++) {
        low_pd[i] = (uint64_t)low_pt[i] | PTE_P | PTE_W;
    }
    low_pdpt[0] = (uint64_t)low_pd | PTE_P | PTE_W;
    final_pml4[0] = (uint64_t)low_pdpt | PTE_P | PTE_W;
}

static void map_direct(maddr_t end)
{
    uint64_t gib = MAX((end + GIB - 1) / GIB, UINT64_C(4));

    for (uint64_t i = 0; i < gib; i++) {
        direct_pdpt[i] = i * GIB | PTE_P | PTE_W | PTE_PS | PTE_NX;
    }
    for (uint64_t i = 0; i < 512; i++) {
        uint64_t a = 3 * GIB + i * MIB2;

        direct_pd_3g[i] = a | PTE_P | PTE_W | PTE_PS | PTE_NX |
                          (a >= DEVICES_START ? PTE_UC : 0);
    }
    direct_pdpt[3] = (uint64_t)direct_pd_3g | PTE_P | PTE_W;
    final_pml4[256] = (uint64_t)direct_pdpt | PTE_P | PTE_W;
}

void paging_init(maddr_t end)
{
    map_image();
    map_direct(MIN(end, DIRECTMAP_GIB * GIB));
    paging_load();
}

void paging_load(void)
{
    write_cr3((uint64_t)final_pml4);
}

void paging_unmap_image_page(const void *page)
{
    *low_entry((uint64_t)page) = 0;
    __asm__ volatile("invlpg (%0)" : : "r"(page) : "memory");
}
