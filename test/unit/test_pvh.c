/*
 * test_pvh.c - what a PVH guest finds: its image where it belongs, modules
 * and start_info after it, the memory map around the hole, its registers.
 */
#include "../../common/domain/build.h"
#include "domains.h"
#include "test.h"
#include "test_image.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/page_alloc.h>
#include <string.h>

static const char text_a[] = "first module";
static const char text_b[5000] = "second module";

static void register_modules(void)
{
    static bool done;
    const struct boot_module m[] = {
        { "kernel", "", image, sizeof(image) },
        { "a", "one two", text_a, sizeof(text_a) },
        { "b", NULL, text_b, sizeof(text_b) },
        { "junk", "", "not an image", 12 },
    };

    make_image();
    for (unsigned i = 0; i < ARRAY_SIZE(m) && !done; i++) {
        boot_module_register(&m[i]);
    }
    done = true;
}

static struct domain_config config(void)
{
    struct domain_config c = test_config("pvh", 1024);

    register_modules();
    c.image = "kernel";
    c.nr_modules = 2;
    c.modules[0] = "a";
    c.modules[1] = "b";
    c.nr_ranges = 2;
    c.ranges[1] = (struct domain_range){ GFN(0x100000), 16 };
    strcpy(c.cmdline, "seed=1 more words");
    return c;
}

static void read_gpa(struct domain *d, gpa_t gpa, void *buf, size_t len)
{
    CHECK_EQ(guest_read_gpa(d->p2m, gpa, buf, len), 0);
}

static void check_layout(struct domain *d)
{
    struct hvm_start_info info;
    struct hvm_memmap_table_entry map[2];
    struct hvm_modlist_entry mod[2];
    static uint8_t code[CODE + 100];
    static char text[5000];
    gpa_t at = d->vcpus[0]->regs.rbx;

    read_gpa(d, 0x100000, code, sizeof(code));
    CHECK(memcmp(code, image + 512, CODE) == 0);
    for (unsigned i = CODE; i < sizeof(code); i++) {
        CHECK_EQ(code[i], 0);
    }
    read_gpa(d, at, &info, sizeof(info));
    CHECK_EQ(info.magic, 0x336ec578);
    CHECK_EQ(info.version, 1);
    CHECK_EQ(info.nr_modules, 2);
    CHECK_EQ(info.memmap_entries, 2);
    CHECK_EQ(info.rsdp_paddr, 0);
    read_gpa(d, info.memmap_paddr, map, sizeof(map));
    CHECK_EQ(map[0].addr, 0);
    CHECK_EQ(map[0].size, 1024 << 12);
    CHECK_EQ(map[0].type, 1);
    CHECK_EQ(map[1].addr, UINT64_C(1) << 32);
    CHECK_EQ(map[1].size, 16 << 12);
    read_gpa(d, info.cmdline_paddr, text, 32);
    CHECK(strcmp(text, "seed=1 more words") == 0);
    read_gpa(d, info.modlist_paddr, mod, sizeof(mod));
    CHECK_EQ(mod[0].size, sizeof(text_a));
    CHECK_EQ(mod[0].paddr & PAGE_MASK, 0);
    CHECK(mod[0].paddr >= 0x100000 + CODE + 100);
    CHECK(mod[1].paddr >= mod[0].paddr + mod[0].size);
    CHECK(at >= mod[1].paddr + mod[1].size);
    read_gpa(d, mod[0].paddr, text, sizeof(text_a));
    CHECK(memcmp(text, text_a, sizeof(text_a)) == 0);
    read_gpa(d, mod[1].paddr, text, sizeof(text_b));
    CHECK(memcmp(text, text_b, sizeof(text_b)) == 0);
    read_gpa(d, mod[0].cmdline_paddr, text, 32);
    CHECK(strcmp(text, "one two") == 0);
    read_gpa(d, mod[1].cmdline_paddr, text, 1);
    CHECK_EQ(text[0], 0);
}

static void check_registers(struct domain *d)
{
    struct vcpu_state s;

    arch_vcpu_get_state(d->vcpus[0], &s);
    CHECK_EQ(s.regs.rip, 0x100004);
    CHECK_EQ(s.regs.rflags, 2);
    CHECK_EQ(s.cr0, 0x11);
    CHECK_EQ(s.cr4, 0);
    CHECK_EQ(s.efer, 0);
    CHECK_EQ(s.seg[SEG_CS].attr, 0xc9b);
    CHECK_EQ(s.seg[SEG_CS].base, 0);
    CHECK_EQ(s.seg[SEG_CS].limit, UINT32_MAX);
    CHECK_EQ(s.seg[SEG_DS].attr, 0xc93);
    CHECK_EQ(s.seg[SEG_SS].attr, 0xc93);
    CHECK_EQ(s.seg[SEG_TR].limit, 0x67);
    CHECK_EQ(s.fpu[0] | s.fpu[1] << 8, 0x37f);
    CHECK(atomic_load(&d->vcpus[0]->online));
    CHECK(!atomic_load(&d->vcpus[1]->online));
}

TEST(start_info_image_and_registers)
{
    test_machine(8192, 1);
    struct domain_config c = config();

    c.nr_vcpus = 2;
    struct domain *d = test_create(&c);

    check_layout(d);
    check_registers(d);
    CHECK_EQ(domain_audit(), 0);
    test_kill(d);
    test_settle();
}

/* The same, a unit of work at a time: the cursors lose nothing. */
TEST(built_in_the_smallest_slices)
{
    test_machine(8192, 1);
    struct domain_config c = config();
    struct domain *d = NULL;
    unsigned slices = 0;
    int err;

    do {
        struct work w = { .left = 1 };

        err = domain_create(&c, &d, NULL, &w);
        slices++;
    } while (err == -ERESTART);
    CHECK_EQ(err, 0);
    CHECK(slices > 1000);
    domain_get(d);
    check_layout(d);
    CHECK_EQ(domain_audit(), 0);
    test_kill(d);
    test_settle();
}

static void refused(const struct domain_config *c, int err,
                    const char *reason)
{
    struct domain *d = NULL;
    char why[DOMAIN_WHY_MAX] = "";
    uint64_t nr_free;

    test_settle();
    nr_free = page_nr_free();
    CHECK_EQ(domain_create(c, &d, why, NULL), err);
    if (strstr(why, reason) == NULL) {
        test_fail(__FILE__, __LINE__, "the reason is \"%s\"", why);
    }
    test_settle();
    CHECK_EQ(page_nr_free(), nr_free);
}

TEST(what_does_not_fit_is_refused)
{
    test_machine(8192, 1);
    struct domain_config c = config();

    c.ranges[0].nr = 0x102;             /* ends inside the segment */
    refused(&c, -ENOEXEC, "outside the domain's RAM");
    c.ranges[0].nr = 0x103;             /* nothing after it */
    refused(&c, -ENOEXEC, "no room in RAM after");
    c.ranges[0].nr = 0x106;             /* modules, but no start_info */
    refused(&c, -ENOEXEC, "no room for start_info");
    c = config();
    c.image = "junk";
    refused(&c, -ENOEXEC, "not an ELF");
    c = config();
    c.modules[1] = "absent";
    refused(&c, -ENOENT, "no such boot module");
}

TEST(killed_while_it_is_created)
{
    test_machine(8192, 1);
    test_settle();
    uint64_t nr_free = page_nr_free();
    struct domain_config c = config();

    c.id = 3;
    /* Not after its first slice: nobody finds it yet. */
    for (unsigned when = 2; when < 400; when += 13) {
        struct domain *d = NULL, *k = NULL;
        unsigned slices = 0;
        char why[DOMAIN_WHY_MAX];
        int err;

        do {
            struct work w = { .left = 1000 };

            err = domain_create(&c, &d, why, &w);
            if (++slices == when && err == -ERESTART) {
                CHECK(domain_find(3) == NULL);
                k = domain_find_building(3);
                CHECK(k == d);
                CHECK_EQ(domain_kill(k, NULL), -ERESTART);
            }
        } while (err == -ERESTART);
        if (k == NULL) {
            CHECK_EQ(err, 0);
            domain_get(d);
            test_kill(d);
        } else {
            CHECK_EQ(err, -EINTR);
            CHECK(strstr(why, "killed") != NULL);
            test_kill(k);
        }
        test_settle();
        CHECK_EQ(page_nr_free(), nr_free);
    }
}
