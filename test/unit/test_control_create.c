/* test_control_create.c - create and fork through the channel: what they
 * refuse, names, and that of many either all come or none. */
#include "test_control.h"

#define FRAMES 16384
#define BIG_FRAMES 65536

static void boot(void)
{
    control_boot(FRAMES, 1, NULL);
}

static uint64_t free_frames(void)
{
    return field(ask("memory"), "free_frames");
}

TEST(create_refuses)
{
    uint64_t before;

    boot();
    before = free_frames();
    ASK_FAILS("create mem=1", "EINVAL", "whole pages");
    ASK_FAILS("create mem=0", "EINVAL", "whole pages");
    ASK_FAILS("create mem=1M ranges=0:1M", "EINVAL", "not both");
    ASK_FAILS("create ranges=0", "EINVAL", "START:SIZE");
    ASK_FAILS("create ranges=1:4K", "EINVAL", "whole pages");
    ASK_FAILS("create vcpus=0", "ERANGE", "1 .. 32");
    ASK_FAILS("create vcpus=x", "EINVAL", "not a number");
    ASK_FAILS("create image=nothing", "ENOENT", "nothing");
    ASK_FAILS("create modules=a,b", "ENOENT", "named a");
    ASK_FAILS("create name=1st", "EINVAL", "digit");
    ASK_FAILS("create name=all", "EINVAL", "all");
    ASK_FAILS("create name=a234567890123456789012345678901234567890",
              "E2BIG", "31");
    ASK_FAILS("create leaves=kvm", "EINVAL", "xen or none");
    ASK_FAILS("create id=1 count=2", "EINVAL", "single");
    ASK_FAILS("create id=4096", "ERANGE", "4095");
    ASK_FAILS("create mem=1G", "ENOMEM", "");
    CHECK_EQ(field(ask("memory"), "domains"), 0);
    CHECK_EQ(free_frames(), before);
}

TEST(create_many_is_all_or_none)
{
    uint64_t before;
    const char *a;

    boot();
    before = free_frames();
    ASK_FAILS("create name=d{i} mem=8M count=20", "ENOMEM", "d");
    CHECK_EQ(field(ask("memory"), "domains"), 0);
    CHECK_EQ(free_frames(), before);
    a = ask("create name=d{i} mem=1M count=3 first=5 paused=1");
    CHECK(is_ok(a) && strstr(a, "\"domains\":[0,1,2]") != NULL);
    ASK_OK("info d5");
    ASK_OK("info d7");
    ASK_FAILS("info d8", "ESRCH", "d8");
    CHECK_EQ(field(ask("unpause all"), "domains"), 3);
    CHECK_EQ(field(ask("destroy all"), "domains"), 3);
    CHECK_EQ(free_frames(), before);
}

/* What an id is now: whether domain @id is named @name. */
static bool is_named(domid_t id, const char *name)
{
    struct domain *d = domain_find(id);
    bool is = d != NULL && strcmp(d->config.name, name) == 0;

    if (d != NULL) {
        domain_put(d);
    }
    return is;
}

/* Whether there is a domain @id, be it in creation. */
static bool is_there(domid_t id)
{
    struct domain *d = domain_find_building(id);

    if (d != NULL) {
        domain_put(d);
    }
    return d != NULL;
}

/*
 * The last of many cannot be made, and meanwhile the first was destroyed and
 * its id used again: the domain that has it now is somebody else's.
 */
static void undo_spares_others(const char *command, const char *text)
{
    host_control_clear();
    host_control_feed("bg ");
    host_control_feed(command);
    host_control_feed("\n");
    control_answer();
    /* The last has its id: nobody but us asks for one from now on. */
    for (unsigned i = 0; !is_there(3); i++) {
        CHECK(i < CONTROL_PASSES);
        run_loop_once();
    }
    ASK_OK("destroy x0");
    ASK_OK("create name=mine id=1 mem=64K");
    /* Not undone yet: otherwise the test would show nothing. */
    CHECK(is_there(2));
    ASK_FAILS("join 1", "EEXIST", text);
    CHECK(is_named(1, "mine"));
    CHECK_EQ(field(ask("memory"), "domains"), 2);
    ASK_OK("destroy mine");
}

TEST(undo_spares_who_has_the_id_now)
{
    uint64_t before;

    control_boot(BIG_FRAMES, 1, NULL);
    before = free_frames();
    ASK_OK("create name=x3 id=0 mem=1M");
    undo_spares_others("create name=x{i} mem=16M count=4", "named x3");
    ASK_OK("destroy all");
    ASK_OK("create name=x3 id=0 mem=16M");
    undo_spares_others("fork x3 name=x{i} count=4", "named x3");
    ASK_OK("destroy all");
    CHECK_EQ(free_frames(), before);
}

TEST(names_must_be_one_domains_alone)
{
    boot();
    ASK_FAILS("create name=twin mem=1M count=2", "EEXIST", "{i}");
    CHECK_EQ(field(ask("memory"), "domains"), 0);
    ASK_FAILS("create name=b\xc3\xa4r mem=1M", "EINVAL", "ASCII");
    ASK_OK("create name=twin mem=1M");
    ASK_FAILS("create name=twin mem=1M", "EEXIST", "domain 0 is named twin");
    ASK_FAILS("fork twin name=twin", "EEXIST", "domain 0 is named twin");
    ASK_FAILS("fork twin name=t\x7f", "EINVAL", "ASCII");
    /* Without a name, each gets one that is free. */
    ASK_OK("create mem=1M count=2");
    ASK_OK("info domain");
    ASK_OK("info domain-2");
    ASK_OK("fork twin id=9");
    ASK_OK("info twin-9");
    ASK_OK("destroy all");
}

/* What the toolstack has set since, and not what it was created with. */
TEST(a_fork_inherits_what_is_current)
{
    boot();
    ASK_OK("create name=p mem=1M id=3 oom=wait group=5");
    ASK_OK("set-oom p policy=kill");
    ASK_OK("set-max p max=3M");
    ASK_OK("scan-domain p on");
    ASK_OK("fork p name=f");
    CHECK(strstr(ask("info f"), "\"oom\":\"kill\"") != NULL);
    CHECK_EQ(field(ask("info f"), "max_frames"), 768);
    CHECK(strstr(ask("info f"), "\"scanned\":true") != NULL);
    CHECK_EQ(field(ask("fork-info f"), "parent"), 3);
    /* The parent's id is another's: it is not the parent. */
    ASK_OK("destroy p");
    CHECK(strstr(ask("fork-info f"), "\"parent\":null") != NULL);
    ASK_OK("create name=q mem=1M id=3");
    CHECK(strstr(ask("fork-info f"), "\"parent\":null") != NULL);
    ASK_OK("destroy all");
}

TEST(ranges_of_memory)
{
    const char *a;

    boot();
    ASK_OK("create name=r ranges=0:640K,1M:1M,4G:8K max=4M");
    a = ask("info r");
    CHECK_EQ(field(a, "ram_rw"), 160 + 256 + 2);
    CHECK_EQ(field(a, "max_frames"), 1024);
    ASK_FAILS("hash r gfn=160", "ENOENT", "gfn 160");
    ASK_OK("hash r gfn=0x100000 count=2");
    ASK_OK("destroy r");
}
