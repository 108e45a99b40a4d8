/*
 * test_elf.c - the loader's reading of ELF images: the good ones, each
 * refusal with its reason, and every truncation and byte flip of a good one
 * under the address sanitizer.
 */
#include "../../common/domain/build.h"
#include "test.h"

#include <quire/errno.h>
#include <quire/rng.h>
#include <string.h>

/* A small ELF64: header, two program headers, a note, 32 bytes of code. */
struct image {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, phoff, shoff;
    uint32_t flags;
    uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
    struct { uint32_t type, flags;
             uint64_t offset, vaddr, paddr, filesz, memsz, align; } ph[2];
    struct { uint32_t namesz, descsz, type; char name[4];
             uint32_t entry; } note;
    uint8_t code[32];
};

static struct image good(void)
{
    struct image m;

    memset(&m, 0, sizeof(m));
    memcpy(m.ident, "\177ELF\2\1\1", 7);
    m.type = 2;
    m.machine = 62;
    m.phoff = offsetof(struct image, ph);
    m.phentsize = sizeof(m.ph[0]);
    m.phnum = 2;
    m.ph[0].type = 1;
    m.ph[0].offset = offsetof(struct image, code);
    m.ph[0].paddr = 0x100000;
    m.ph[0].filesz = sizeof(m.code);
    m.ph[0].memsz = 0x3000;
    m.ph[1].type = 4;
    m.ph[1].offset = offsetof(struct image, note);
    m.ph[1].filesz = 20;
    m.note.namesz = 4;
    m.note.descsz = 4;
    m.note.type = 18;
    memcpy(m.note.name, "Xen", 4);
    m.note.entry = 0x100010;
    return m;
}

/* Parse from a heap block of exactly that size, so that ASan sees the end. */
static int parse(const void *data, size_t size, struct elf_image *elf,
                 char *why)
{
    uint8_t *copy = malloc(size + 1);
    int err;

    memcpy(copy + 1, data, size);       /* and not aligned */
    why[0] = '\0';
    err = elf_parse(elf, copy + 1, size, why);
    free(copy);
    return err;
}

static void refused(const struct image *m, const char *reason)
{
    char why[DOMAIN_WHY_MAX];
    struct elf_image elf;

    CHECK_EQ(parse(m, sizeof(*m), &elf, why), -ENOEXEC);
    if (strstr(why, reason) == NULL) {
        test_fail(__FILE__, __LINE__, "the reason is \"%s\", not \"%s\"",
                  why, reason);
    }
}

TEST(elf64_is_read)
{
    struct image m = good();
    struct elf_image elf;
    char why[DOMAIN_WHY_MAX];

    CHECK_EQ(parse(&m, sizeof(m), &elf, why), 0);
    CHECK_EQ(elf.nr_segments, 1);
    CHECK_EQ(elf.segment[0].paddr, 0x100000);
    CHECK_EQ(elf.segment[0].file_size, 32);
    CHECK_EQ(elf.segment[0].mem_size, 0x3000);
    CHECK_EQ(elf.entry, 0x100010);
    CHECK_EQ(elf.start, 0x100000);
    CHECK_EQ(elf.end, 0x103000);
}

TEST(elf32_is_read)
{
    struct {
        uint8_t ident[16];
        uint16_t type, machine;
        uint32_t version, entry, phoff, shoff, flags;
        uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
        struct { uint32_t type, offset, vaddr, paddr, filesz, memsz, flags,
                          align; } ph[2];
        struct { uint32_t namesz, descsz, type; char name[4];
                 uint64_t entry; } __attribute__((packed)) note;
        uint8_t code[16];
    } m;
    struct elf_image elf;
    char why[DOMAIN_WHY_MAX];

    memset(&m, 0, sizeof(m));
    memcpy(m.ident, "\177ELF\1\1\1", 7);
    m.type = 2;
    m.machine = 3;
    m.phoff = (uint32_t)((char *)m.ph - (char *)&m);
    m.phentsize = sizeof(m.ph[0]);
    m.phnum = 2;
    m.ph[0].type = 1;
    m.ph[0].offset = (uint32_t)((char *)m.code - (char *)&m);
    m.ph[0].paddr = 0x200000;
    m.ph[0].filesz = m.ph[0].memsz = 16;
    m.ph[1].type = 4;
    m.ph[1].offset = (uint32_t)((char *)&m.note - (char *)&m);
    m.ph[1].filesz = 24;
    m.note.namesz = 4;
    m.note.descsz = 8;
    m.note.type = 18;
    memcpy(m.note.name, "Xen", 4);
    m.note.entry = 0x200004;
    CHECK_EQ(parse(&m, sizeof(m), &elf, why), 0);
    CHECK_EQ(elf.segment[0].paddr, 0x200000);
    CHECK_EQ(elf.entry, 0x200004);
}

TEST(each_refusal_has_its_reason)
{
    struct image m;

    m = good(); m.ident[0] = 'M'; refused(&m, "not an ELF");
    m = good(); m.ident[4] = 3; refused(&m, "little-endian");
    m = good(); m.ident[5] = 2; refused(&m, "little-endian");
    m = good(); m.machine = 183; refused(&m, "not an x86");
    m = good(); m.type = 1; refused(&m, "not an executable");
    m = good(); m.phentsize = 32; refused(&m, "unknown size");
    m = good(); m.phoff = sizeof(m) - 20; refused(&m, "headers lie outside");
    m = good(); m.phoff = UINT64_MAX - 8; refused(&m, "headers lie outside");
    m = good(); m.ph[0].offset = sizeof(m) - 8; refused(&m, "outside the file");
    m = good(); m.ph[0].offset = UINT64_MAX; refused(&m, "outside the file");
    m = good(); m.ph[0].filesz = UINT64_MAX; refused(&m, "outside the file");
    m = good(); m.ph[0].memsz = 8; refused(&m, "larger in the file");
    m = good(); m.ph[0].paddr = UINT64_MAX - 8; refused(&m, "beyond physical");
    m = good(); m.ph[0].memsz = UINT64_MAX; refused(&m, "beyond physical");
    m = good(); m.ph[0].type = 7; refused(&m, "nothing to load");
    m = good(); m.note.type = 17; refused(&m, "no PVH entry");
    m = good(); m.note.name[0] = 'Y'; refused(&m, "no PVH entry");
    m = good(); m.ph[1].filesz = 19; refused(&m, "no PVH entry");
    m = good(); m.note.descsz = UINT32_MAX; refused(&m, "no PVH entry");
    m = good(); m.note.entry = 0x100020; refused(&m, "outside the loaded");
}

TEST(every_truncation_is_refused)
{
    struct image m = good();
    struct elf_image elf;
    char why[DOMAIN_WHY_MAX];

    for (size_t n = 0; n < offsetof(struct image, code) + 32; n++) {
        CHECK_EQ(parse(&m, n, &elf, why), -ENOEXEC);
        CHECK(why[0] != '\0');
    }
}

/* Any damage: refused, or what it says lies inside the file. */
TEST(damage_never_reads_outside)
{
    struct rng r;
    struct elf_image elf;
    char why[DOMAIN_WHY_MAX];

    rng_seed(&r, test_seed);
    for (unsigned i = 0; i < 20000 * test_rounds; i++) {
        struct image m = good();

        for (unsigned k = 0; k <= rng_below(&r, 4); k++) {
            ((uint8_t *)&m)[rng_below(&r, sizeof(m))] =
                (uint8_t)rng_next(&r);
        }
        if (parse(&m, sizeof(m), &elf, why) != 0) {
            CHECK(why[0] != '\0');
            continue;
        }
        for (unsigned s = 0; s < elf.nr_segments; s++) {
            CHECK(elf.segment[s].offset <= sizeof(m));
            CHECK(elf.segment[s].file_size <=
                  sizeof(m) - elf.segment[s].offset);
            CHECK(elf.segment[s].file_size <= elf.segment[s].mem_size);
        }
        CHECK(elf.entry <= UINT32_MAX);
    }
}
