/* multiboot.c - the boot loader's information; see multiboot.h. */
#include "multiboot.h"

#include <quire/arch.h>
#include <quire/cmdline.h>
#include <quire/domain.h>
#include <quire/log.h>
#include <quire/panic.h>
#include <quire/string.h>

#include "layout.h"

#define MBI_CMDLINE (1u << 2)
#define MBI_MODULES (1u << 3)
#define MBI_MMAP (1u << 6)
#define MMAP_RAM 1
#define LOW_END UINT64_C(0x100000)  /* firmware and trampoline: left alone */

struct mbi {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline;
    uint32_t nr_modules, modules, syms[4], mmap_length, mmap;
};
struct mbi_module { uint32_t start, end, string, reserved; };
struct mbi_mmap { uint32_t size; uint64_t base, length; uint32_t type; }
    __attribute__((packed));

extern const uint8_t image_start[], image_end[];

static char cmdline[2048];
static char module_text[MAX_MODULES][1024];

static const void *at(uint64_t addr)
{
    return (const void *)(DIRECTMAP + addr);
}

static void copy_text(char *to, size_t size, uint64_t from, const char *what)
{
    const char *s = at(from);
    size_t n = 0;

    for (; n + 1 < size && s[n] != '\0'; n++) {
        to[n] = s[n];
    }
    to[n] = '\0';
    if (s[n] != '\0') {
        log_warn("%s cut after %zu bytes: %.32s...", what, n, to);
    }
}

/* Insert [start, end) in order; overlapping neighbours become one. */
static unsigned insert_range(struct ram_range *r, unsigned n, unsigned max,
                             uint64_t start, uint64_t end)
{
    unsigned i = 0, j;

    if (start >= end) {
        return n;
    }
    while (i < n && r[i].start.n + r[i].nr < start) {
        i++;
    }
    for (j = i; j < n && r[j].start.n <= end; j++) {
        start = MIN(start, r[j].start.n);
        end = MAX(end, r[j].start.n + r[j].nr);
    }
    if (i == j && n == max) {
        log_warn("memory map: more than %u ranges, [0x%lx, 0x%lx) left out",
                 max, start, end);
        return n;
    }
    memmove(&r[i + 1], &r[j], (n - j) * sizeof(*r));
    r[i] = (struct ram_range){ MFN(start), end - start };
    return n - (j - i) + 1;
}

static void read_memory_map(const struct mbi *m, struct boot_info *info)
{
    uint64_t p = m->mmap, end = (uint64_t)m->mmap + m->mmap_length;

    if ((m->flags & MBI_MMAP) == 0) {
        panic("the boot loader gave no memory map");
    }
    while (p + sizeof(struct mbi_mmap) <= end) {
        const struct mbi_mmap *e = at(p);
        uint64_t first = (e->base + PAGE_MASK) >> PAGE_SHIFT;
        uint64_t last;

        if (__builtin_add_overflow(e->base, e->length, &last)) {
            last = UINT64_MAX;
        }
        last >>= PAGE_SHIFT;
        first = MAX(first, LOW_END >> PAGE_SHIFT);
        last = MIN(last, (uint64_t)DIRECTMAP_GIB << (30 - PAGE_SHIFT));
        if (e->type == MMAP_RAM) {
            info->nr_ram = insert_range(info->ram, info->nr_ram,
                                        MAX_RAM_RANGES, first, last);
        }
        p += e->size + sizeof(e->size);
    }
    if (info->nr_ram == 0) {
        panic("the memory map has no RAM above 1 MiB");
    }
    info->ram_end = mfn_to_maddr(info->ram[info->nr_ram - 1].start) +
                    (info->ram[info->nr_ram - 1].nr << PAGE_SHIFT);
}

static void reserve(struct boot_info *info, uint64_t start, uint64_t end)
{
    info->nr_reserved = insert_range(info->reserved, info->nr_reserved,
                                     ARRAY_SIZE(info->reserved),
                                     start >> PAGE_SHIFT,
                                     (end + PAGE_MASK) >> PAGE_SHIFT);
}

/* QEMU puts the kernel's path in front of the options, GRUB 2 does not. An
 * option is name=value, a path has no equals sign. */
static const char *skip_path(const char *line)
{
    const char *end = line;

    while (*end != '\0' && *end != ' ' && *end != '=') {
        end++;
    }
    return *end == '=' ? line : end;
}

void multiboot_read(maddr_t mbi, struct boot_info *info)
{
    const struct mbi *m = at(mbi);
    const struct mbi_module *mods = at(m->modules);

    read_memory_map(m, info);
    reserve(info, (uint64_t)image_start, (uint64_t)image_end);
    if ((m->flags & MBI_MODULES) != 0) {
        for (unsigned i = 0; i < MIN(m->nr_modules, MAX_MODULES); i++) {
            reserve(info, mods[i].start, mods[i].end);
        }
    }
    if ((m->flags & MBI_CMDLINE) != 0) {
        copy_text(cmdline, sizeof(cmdline), m->cmdline, "command line");
    }
    cmdline_set(skip_path(cmdline));
}

/* "path/name args": the name is what follows the last slash. */
static void register_module(const struct mbi_module *mod, char *text)
{
    char *name = text, *p = text;
    struct boot_module out;

    for (; *p != '\0' && *p != ' '; p++) {
        if (*p == '/') {
            name = p + 1;
        }
    }
    if (*p != '\0') {
        *p++ = '\0';
    }
    out = (struct boot_module){ name, p, at(mod->start),
                                mod->end - mod->start };
    boot_module_register(&out);
}

void multiboot_modules(maddr_t mbi)
{
    const struct mbi *m = at(mbi);
    const struct mbi_module *mods = at(m->modules);

    if ((m->flags & MBI_MODULES) == 0) {
        return;
    }
    if (m->nr_modules > MAX_MODULES) {
        log_warn("%u boot modules, the first %u are used", m->nr_modules,
                 MAX_MODULES);
    }
    for (unsigned i = 0; i < MIN(m->nr_modules, MAX_MODULES); i++) {
        if (mods[i].end < mods[i].start) {
            log_warn("boot module %u ends before it starts", i);
            continue;
        }
        copy_text(module_text[i], sizeof(module_text[i]), mods[i].string,
                  "module string");
        register_module(&mods[i], module_text[i]);
    }
}
