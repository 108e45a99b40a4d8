/*
 * pvh.c - what a PVH guest finds in memory and in its registers.
 *
 *     RAM   | image segments | modules, each on a page | start_info,
 *                                                        memmap, modlist,
 *                                                        command lines |
 *
 * Everything is placed upwards from the image's end, inside the range of RAM
 * that holds the image and below 4G; what follows it is the guest's to use.
 */
#include "build.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/heap.h>
#include <quire/print.h>
#include <quire/string.h>

#define COST_COPY_PAGE 3000

static int refuse(struct domain_build *b, const char *text, const char *name)
{
    print_to(b->why, DOMAIN_WHY_MAX, "%s: %s", name, text);
    return -ENOEXEC;
}

/* Whether [@start, @start + @len) is inside one range of RAM. */
static bool is_ram(const struct domain *d, gpa_t start, uint64_t len)
{
    for (unsigned i = 0; i < d->config.nr_ranges; i++) {
        gpa_t first = gfn_to_gpa(d->config.ranges[i].start);
        uint64_t size = d->config.ranges[i].nr << PAGE_SHIFT;

        if (start >= first && start - first < size &&
            len <= size - (start - first)) {
            return true;
        }
    }
    return false;
}

/* Copy on from @b->done: page by page of the guest. */
static int copy_in(struct domain *d, struct domain_build *b, gpa_t gpa,
                   const uint8_t *from, uint64_t size, struct work *w)
{
    while (b->done < size) {
        gpa_t to = gpa + b->done;
        size_t n = (size_t)MIN(size - b->done, PAGE_SIZE - (to & PAGE_MASK));
        size_t done;
        int err = guest_write_gpa(d->p2m, to, from + b->done, n, &done);

        if (err != 0) {
            return err;
        }
        b->done += n;
        if (work_spend(w, COST_COPY_PAGE) && b->done < size) {
            return -ERESTART;
        }
    }
    return 0;
}

static int parse_image(struct domain *d, struct domain_build *b)
{
    const char *name = d->config.image;
    const struct boot_module *m = boot_module_find(name);
    char why[DOMAIN_WHY_MAX];

    if (m == NULL) {
        refuse(b, "no such boot module", name);
        return -ENOENT;
    }
    if (elf_parse(&b->elf, m->data, m->size, why) != 0) {
        return refuse(b, why, name);
    }
    for (unsigned i = 0; i < b->elf.nr_segments; i++) {
        const struct elf_segment *s = &b->elf.segment[i];

        if (!is_ram(d, s->paddr, s->mem_size)) {
            return refuse(b, "a segment lies outside the domain's RAM", name);
        }
    }
    return 0;
}

int build_image(struct domain *d, struct domain_build *b, struct work *w)
{
    int err = 0;

    if (d->config.image == NULL) {
        return 0;
    }
    if (b->elf.nr_segments == 0) {
        err = parse_image(d, b);
    }
    while (err == 0 && b->item < b->elf.nr_segments) {
        const struct elf_segment *s = &b->elf.segment[b->item];

        err = copy_in(d, b, s->paddr, b->elf.data + s->offset, s->file_size,
                      w);
        if (err == 0) {
            b->item++;
            b->done = 0;
        }
    }
    b->next = (b->elf.end + PAGE_MASK) & ~PAGE_MASK;
    return err;
}

int build_modules(struct domain *d, struct domain_build *b, struct work *w)
{
    for (; b->item < d->config.nr_modules; b->item++, b->done = 0) {
        const char *name = d->config.modules[b->item];
        const struct boot_module *m = boot_module_find(name);
        int err;

        if (m == NULL) {
            refuse(b, "no such boot module", name);
            return -ENOENT;
        }
        if (!is_ram(d, b->next, m->size) ||
            (b->next + m->size) >> 32 != 0) {
            return refuse(b, "no room in RAM after the image", name);
        }
        err = copy_in(d, b, b->next, m->data, m->size, w);
        if (err != 0) {
            return err;
        }
        b->module[b->item] = m;
        b->module_gpa[b->item] = b->next;
        b->next = (b->next + m->size + PAGE_MASK) & ~PAGE_MASK;
    }
    return 0;
}

/* The one block that holds all tables and texts, built here and copied. */
struct block {
    struct hvm_start_info info;
    struct hvm_memmap_table_entry memmap[MAX_RANGES];
    struct hvm_modlist_entry module[4];
    char cmdline[DOMAIN_CMDLINE_MAX];
    char args[4][256];
};

static void fill_block(struct block *k, const struct domain *d,
                       const struct domain_build *b)
{
    gpa_t at = b->start_info;
    const struct domain_config *c = &d->config;

    k->info = (struct hvm_start_info){
        .magic = XEN_HVM_START_MAGIC_VALUE,
        .version = XEN_HVM_START_VERSION,
        .flags = c->privileged ? SIF_PRIVILEGED : 0,
        .nr_modules = c->nr_modules,
        .cmdline_paddr = at + offsetof(struct block, cmdline),
        .memmap_paddr = at + offsetof(struct block, memmap),
        .memmap_entries = c->nr_ranges,
    };
    for (unsigned i = 0; i < c->nr_ranges; i++) {
        k->memmap[i].addr = gfn_to_gpa(c->ranges[i].start);
        k->memmap[i].size = c->ranges[i].nr << PAGE_SHIFT;
        k->memmap[i].type = XEN_HVM_MEMMAP_TYPE_RAM;
    }
    if (c->nr_modules != 0) {
        k->info.modlist_paddr = at + offsetof(struct block, module);
    }
    for (unsigned i = 0; i < c->nr_modules; i++) {
        print_to(k->args[i], sizeof(k->args[i]), "%s",
                 b->module[i]->args != NULL ? b->module[i]->args : "");
        k->module[i].paddr = b->module_gpa[i];
        k->module[i].size = b->module[i]->size;
        k->module[i].cmdline_paddr = at + offsetof(struct block, args) +
                                     i * sizeof(k->args[i]);
    }
    print_to(k->cmdline, sizeof(k->cmdline), "%s", c->cmdline);
}

int build_start_info(struct domain *d, struct domain_build *b)
{
    struct block *k;
    size_t done;
    int err;

    if (d->config.image == NULL) {
        return 0;
    }
    if (!is_ram(d, b->next, sizeof(*k)) ||
        (b->next + sizeof(*k)) >> 32 != 0) {
        return refuse(b, "no room for start_info after it", d->config.image);
    }
    k = heap_zalloc(sizeof(*k));
    if (k == NULL) {
        print_to(b->why, DOMAIN_WHY_MAX, "no memory for start_info");
        return -ENOMEM;
    }
    b->start_info = b->next;
    fill_block(k, d, b);
    err = guest_write_gpa(d->p2m, b->start_info, k, sizeof(*k), &done);
    heap_free(k);
    return err;
}

void pvh_entry_state(struct vcpu_state *s, uint64_t entry, gpa_t start_info)
{
    /* 12-bit attributes: type, S, DPL, P | AVL, L, D/B, G. */
    struct vcpu_segment data = { 0, 0xc93, UINT32_MAX, 0 };
    uint16_t fcw = 0x37f;
    uint32_t mxcsr = 0x1f80;

    memset(s, 0, sizeof(*s));
    for (unsigned i = 0; i < NR_SEGS; i++) {
        s->seg[i] = data;
    }
    s->seg[SEG_CS].attr = 0xc9b;
    s->seg[SEG_LDTR] = (struct vcpu_segment){ 0, 0x082, 0xffff, 0 };
    s->seg[SEG_TR] = (struct vcpu_segment){ 0, 0x08b, 0x67, 0 };
    s->regs.rip = entry;
    s->regs.rbx = start_info;
    s->regs.rflags = 2;
    s->cr0 = 0x11;                          /* PE, ET */
    s->dr6 = 0xffff0ff0;
    s->dr7 = 0x400;
    s->pat = UINT64_C(0x0007040600070406);
    memcpy(s->fpu, &fcw, sizeof(fcw));
    memcpy(s->fpu + 24, &mxcsr, sizeof(mxcsr));
}
