/*
 * elf.c - what of an ELF image concerns the loader, every field checked.
 *
 * The image comes from a user and may be anything. Nothing of it is read
 * before it is known to lie inside the image; every refusal says why. Loaded
 * are the PT_LOAD segments, at their physical addresses; the entry is that of
 * the Xen note PHYS32_ENTRY (PVH), in a PT_NOTE segment.
 */
#include "build.h"

#include <public/xen/elfnote.h>
#include <quire/errno.h>
#include <quire/print.h>
#include <quire/string.h>

#define PT_LOAD 1
#define PT_NOTE 4
#define EM_386 3
#define EM_X86_64 62

struct ehdr32 {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version, entry, phoff, shoff, flags;
    uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
struct ehdr64 {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, phoff, shoff;
    uint32_t flags;
    uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
struct phdr32 { uint32_t type, offset, vaddr, paddr, filesz, memsz, flags,
                         align; };
struct phdr64 { uint32_t type, flags;
                uint64_t offset, vaddr, paddr, filesz, memsz, align; };
struct note { uint32_t namesz, descsz, type; };
static_assert(sizeof(struct ehdr32) == 52, "ELF32 header");
static_assert(sizeof(struct ehdr64) == 64, "ELF64 header");
static_assert(sizeof(struct phdr32) == 32, "ELF32 program header");
static_assert(sizeof(struct phdr64) == 56, "ELF64 program header");

struct header { uint64_t phoff; unsigned phnum, phentsize; bool is_64; };

static int refuse(char *why, const char *text)
{
    print_to(why, DOMAIN_WHY_MAX, "%s", text);
    return -ENOEXEC;
}

/* Copy @len bytes at @offset, if they are inside. */
static bool take(const struct elf_image *elf, uint64_t offset, void *out,
                 uint64_t len)
{
    if (offset > elf->size || len > elf->size - offset) {
        return false;
    }
    memcpy(out, elf->data + offset, len);
    return true;
}

static int parse_header(const struct elf_image *elf, struct header *h,
                        char *why)
{
    struct ehdr64 e;
    struct ehdr32 e32;
    uint16_t type, machine;

    if (!take(elf, 0, &e32, sizeof(e32)) ||
        memcmp(e32.ident, "\177ELF", 4) != 0) {
        return refuse(why, "not an ELF file (a compressed kernel? give its "
                      "vmlinux)");
    }
    h->is_64 = e32.ident[4] == 2;
    if (e32.ident[4] < 1 || e32.ident[4] > 2 || e32.ident[5] != 1) {
        return refuse(why, "not a little-endian ELF32 or ELF64");
    }
    if (h->is_64) {
        if (!take(elf, 0, &e, sizeof(e))) {
            return refuse(why, "ELF header cut off");
        }
        type = e.type;
        machine = e.machine;
        *h = (struct header){ e.phoff, e.phnum, e.phentsize, true };
    } else {
        type = e32.type;
        machine = e32.machine;
        *h = (struct header){ e32.phoff, e32.phnum, e32.phentsize, false };
    }
    if (machine != EM_386 && machine != EM_X86_64) {
        return refuse(why, "not an x86 image");
    }
    if (type != 2 && type != 3) {
        return refuse(why, "not an executable ELF");
    }
    if (h->phentsize != (h->is_64 ? sizeof(struct phdr64)
                                  : sizeof(struct phdr32))) {
        return refuse(why, "program headers of an unknown size");
    }
    return 0;
}

static bool take_phdr(const struct elf_image *elf, const struct header *h,
                      unsigned i, struct phdr64 *p)
{
    uint64_t at = h->phoff + (uint64_t)i * h->phentsize;
    struct phdr32 p32;

    if (at < h->phoff) {
        return false;
    }
    if (h->is_64) {
        return take(elf, at, p, sizeof(*p));
    }
    if (!take(elf, at, &p32, sizeof(p32))) {
        return false;
    }
    *p = (struct phdr64){ p32.type, p32.flags, p32.offset, p32.vaddr,
                          p32.paddr, p32.filesz, p32.memsz, p32.align };
    return true;
}

static int add_segment(struct elf_image *elf, const struct phdr64 *p,
                       char *why)
{
    uint64_t limit = UINT64_C(1) << (P2M_GFN_BITS + PAGE_SHIFT);

    if (p->memsz == 0) {
        return 0;
    }
    if (p->offset > elf->size || p->filesz > elf->size - p->offset) {
        return refuse(why, "a segment lies outside the file");
    }
    if (p->filesz > p->memsz) {
        return refuse(why, "a segment is larger in the file than in memory");
    }
    if (p->paddr >= limit || p->memsz > limit - p->paddr) {
        return refuse(why, "a segment lies beyond physical memory");
    }
    if (elf->nr_segments == ELF_MAX_SEGMENTS) {
        return refuse(why, "more than 32 segments");
    }
    elf->segment[elf->nr_segments++] = (struct elf_segment){
        p->offset, p->paddr, p->filesz, p->memsz };
    elf->start = MIN(elf->start, p->paddr);
    elf->end = MAX(elf->end, p->paddr + p->memsz);
    return 0;
}

/* Look for the PVH entry among the notes of one segment. */
static void scan_notes(struct elf_image *elf, const struct phdr64 *p)
{
    uint64_t at = p->offset, left = p->filesz;
    struct note n;

    if (at > elf->size || left > elf->size - at) {
        return;
    }
    while (left >= sizeof(n) && take(elf, at, &n, sizeof(n))) {
        uint64_t name = (n.namesz + UINT64_C(3)) & ~UINT64_C(3);
        uint64_t desc = (n.descsz + UINT64_C(3)) & ~UINT64_C(3);
        uint64_t whole = sizeof(n) + name + desc;

        if (whole > left) {
            return;
        }
        if (n.type == XEN_ELFNOTE_PHYS32_ENTRY && n.namesz == 4 &&
            memcmp(elf->data + at + sizeof(n), "Xen", 4) == 0 &&
            (n.descsz == 4 || n.descsz == 8)) {
            elf->entry = 0;
            memcpy(&elf->entry, elf->data + at + sizeof(n) + name, n.descsz);
        }
        at += whole;
        left -= whole;
    }
}

static bool is_loaded(const struct elf_image *elf, uint64_t paddr)
{
    for (unsigned i = 0; i < elf->nr_segments; i++) {
        const struct elf_segment *s = &elf->segment[i];

        if (paddr >= s->paddr && paddr - s->paddr < s->file_size) {
            return true;
        }
    }
    return false;
}

int elf_parse(struct elf_image *elf, const void *data, uint64_t size,
              char *why)
{
    struct header h;
    struct phdr64 p;
    int err;

    *elf = (struct elf_image){ .data = data, .size = size,
                               .start = UINT64_MAX, .entry = UINT64_MAX };
    err = parse_header(elf, &h, why);
    for (unsigned i = 0; i < h.phnum && err == 0; i++) {
        if (!take_phdr(elf, &h, i, &p)) {
            return refuse(why, "program headers lie outside the file");
        }
        if (p.type == PT_LOAD) {
            err = add_segment(elf, &p, why);
        } else if (p.type == PT_NOTE) {
            scan_notes(elf, &p);
        }
    }
    if (err != 0) {
        return err;
    }
    if (elf->nr_segments == 0) {
        return refuse(why, "nothing to load in it");
    }
    if (elf->entry == UINT64_MAX) {
        return refuse(why, "no PVH entry (ELF note \"Xen\" type 18)");
    }
    if (elf->entry >> 32 != 0 || !is_loaded(elf, elf->entry)) {
        return refuse(why, "the PVH entry is outside the loaded segments");
    }
    return 0;
}
