/* acpi.c - RSDP -> RSDT -> MADT, each checked before it is believed. */
#include "acpi.h"

#include <quire/string.h>

#include "layout.h"

#define TABLE_MAX (1u << 20)

struct rsdp { char signature[8]; uint8_t sum; char oem[6]; uint8_t revision;
              uint32_t rsdt; } __attribute__((packed));
struct header { char signature[4]; uint32_t length; uint8_t revision, sum;
                char oem[6], oem_table[8]; uint32_t oem_revision, creator,
                creator_revision; } __attribute__((packed));
static_assert(sizeof(struct rsdp) == 20, "ACPI 1.0, 5.2.5.3");
static_assert(sizeof(struct header) == 36, "ACPI 5.2.6");

#define MADT_LOCAL_APIC 0

static const void *at(uint64_t addr) { return (const void *)(DIRECTMAP + addr); }

static bool is_summed(const void *p, uint32_t n)
{
    const uint8_t *b = p;
    uint8_t sum = 0;

    for (uint32_t i = 0; i < n; i++) {
        sum = (uint8_t)(sum + b[i]);
    }
    return sum == 0;
}

static const struct rsdp *search_rsdp(uint64_t start, uint64_t end)
{
    for (uint64_t a = start; a < end; a += 16) {
        const struct rsdp *r = at(a);

        if (memcmp(r->signature, "RSD PTR ", 8) == 0 &&
            is_summed(r, sizeof(*r))) {
            return r;
        }
    }
    return NULL;
}

/* In the first KiB of the extended BIOS data area, whose segment is the word
 * at 0x40e, or in the BIOS itself (ACPI 5.2.5.1). */
static const struct rsdp *find_rsdp(void)
{
    uint64_t ebda = (uint64_t)*(const uint16_t *)at(0x40e) << 4;
    const struct rsdp *r = NULL;

    if (ebda >= 0x80000 && ebda <= 0xa0000 - 1024) {
        r = search_rsdp(ebda, ebda + 1024);
    }
    return r != NULL ? r : search_rsdp(0xe0000, 0x100000);
}

static const struct header *find_table(const struct rsdp *r, const char *name)
{
    const struct header *root = at(r->rsdt);
    const uint8_t *entry = (const uint8_t *)(root + 1);

    if (memcmp(root->signature, "RSDT", 4) != 0 || root->length > TABLE_MAX ||
        root->length < sizeof(*root) || !is_summed(root, root->length)) {
        return NULL;
    }
    for (; entry + 4 <= (const uint8_t *)root + root->length; entry += 4) {
        const struct header *t;
        uint32_t addr;

        memcpy(&addr, entry, 4);
        t = at(addr);
        if (memcmp(t->signature, name, 4) == 0 && t->length <= TABLE_MAX &&
            t->length >= sizeof(*t) && is_summed(t, t->length)) {
            return t;
        }
    }
    return NULL;
}

unsigned acpi_find_cpus(uint32_t *ids, unsigned max)
{
    const struct rsdp *r = find_rsdp();
    const struct header *madt = r != NULL ? find_table(r, "APIC") : NULL;
    const uint8_t *p, *end;
    unsigned n = 0;

    if (madt == NULL) {
        return 0;
    }
    p = (const uint8_t *)(madt + 1) + 8;
    end = (const uint8_t *)madt + madt->length;
    while (p + 2 <= end && p[1] >= 2 && p + p[1] <= end) {
        /* type, length, processor id, APIC id, flags (bit 0: enabled) */
        if (p[0] == MADT_LOCAL_APIC && p[1] >= 8 && (p[4] & 1) != 0 &&
            n < max) {
            ids[n++] = p[3];
        }
        p += p[1];
    }
    return n;
}
