/*
 * paging.c - the hypervisor's own page tables; the layout is in paging.h.
 *
 * The image appears twice, at its own address and in the direct map, both
 * times by 4K pages; only the first is executable and neither lets text or
 * rodata be written. The rest of the direct map is 1G and 2M pages.
 */
#include "paging.h"

#include <quire/panic.h>

#include "cpu_ops.h"
#include "layout.h"

#define PTE_P (UINT64_C(1) << 0)
#define PTE_W (UINT64_C(1) << 1)
#define PTE_UC (UINT64_C(3) << 3)       /* PCD and PWT */
#define PTE_PS (UINT64_C(1) << 7)
#define PTE_NX (UINT64_C(1) << 63)
#define PTE_TABLE (PTE_P | PTE_W)
#define PTE_DATA (PTE_P | PTE_W | PTE_NX)

#define GIB (UINT64_C(1) << 30)
#define MIB2 (UINT64_C(1) << 21)
#define IMAGE_TABLES 16                 /* 2 MiB each: the image's limit */
#define DEVICES_START UINT64_C(0xe0000000)

extern const uint8_t image_start[], text_end[], rodata_end[], image_end[];

typedef uint64_t table_t[512];

alignas(4096) table_t final_pml4;
static alignas(4096) table_t low_pdpt, low_pd, low_pt[IMAGE_TABLES];
static alignas(4096) table_t direct_pdpt, direct_pd_0g, direct_pd_3g;
static alignas(4096) table_t direct_pt[IMAGE_TABLES];

static uint64_t *entry_of(table_t *pt, uint64_t addr)
{
    return &pt[addr / MIB2][addr / PAGE_SIZE % 512];
}

static void map_image(void)
{
    uint64_t end = (uint64_t)image_end;

    if (end > IMAGE_TABLES * MIB2) {
        panic("the image ends at 0x%lx, above 0x%lx", end,
              IMAGE_TABLES * MIB2);
    }
    for (uint64_t a = (uint64_t)image_start; a < end; a += PAGE_SIZE) {
        uint64_t rights = PTE_DATA;

        if (a < (uint64_t)text_end) {
            rights = PTE_P;
        } else if (a < (uint64_t)rodata_end) {
            rights = PTE_P | PTE_NX;
        }
        *entry_of(low_pt, a) = a | rights;
        *entry_of(direct_pt, a) = a | rights | PTE_NX;
    }
    *entry_of(low_pt, TRAMPOLINE) = TRAMPOLINE | PTE_P;
    for (unsigned i = 0; i < IMAGE_TABLES; i++) {
        low_pd[i] = (uint64_t)low_pt[i] | PTE_TABLE;
    }
    low_pdpt[0] = (uint64_t)low_pd | PTE_TABLE;
    final_pml4[0] = (uint64_t)low_pdpt | PTE_TABLE;
}

/* The first GiB, the image's rights already in direct_pt. */
static void map_direct_low(void)
{
    for (uint64_t a = 0; a < IMAGE_TABLES * MIB2; a += PAGE_SIZE) {
        if (a < (uint64_t)image_start || a >= (uint64_t)image_end) {
            *entry_of(direct_pt, a) = a | PTE_DATA;
        }
    }
    for (uint64_t i = 0; i < 512; i++) {
        direct_pd_0g[i] = i < IMAGE_TABLES
                        ? (uint64_t)direct_pt[i] | PTE_TABLE
                        : i * MIB2 | PTE_DATA | PTE_PS;
    }
    direct_pdpt[0] = (uint64_t)direct_pd_0g | PTE_TABLE;
}

/* The fourth, which has the APICs and other devices at its end. */
static void map_direct_devices(void)
{
    for (uint64_t i = 0; i < 512; i++) {
        uint64_t a = 3 * GIB + i * MIB2;

        direct_pd_3g[i] = a | PTE_DATA | PTE_PS |
                          (a >= DEVICES_START ? PTE_UC : 0);
    }
    direct_pdpt[3] = (uint64_t)direct_pd_3g | PTE_TABLE;
}

void paging_init(maddr_t end)
{
    uint64_t gib = MIN(MAX((end + GIB - 1) / GIB, UINT64_C(4)),
                       (uint64_t)DIRECTMAP_GIB);

    map_image();
    for (uint64_t i = 0; i < gib; i++) {
        direct_pdpt[i] = i * GIB | PTE_DATA | PTE_PS;
    }
    map_direct_low();
    map_direct_devices();
    final_pml4[256] = (uint64_t)direct_pdpt | PTE_TABLE;
    write_cr3((uint64_t)final_pml4);
}

static void unmap(table_t *pt, uint64_t offset, uint64_t addr)
{
    *entry_of(pt, addr) = 0;
    __asm__ volatile("invlpg (%0)" : : "r"(offset + addr) : "memory");
}

void paging_unmap_image_page(const void *page)
{
    unmap(low_pt, 0, (uint64_t)page);
    unmap(direct_pt, DIRECTMAP, (uint64_t)page);
}
