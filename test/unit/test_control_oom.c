/* test_control_oom.c - set-oom, set-max, events, and what create, info and
 * stats say of memory that is short. */
#include "test_control.h"

#include <quire/errno.h>
#include <quire/notice.h>
#include <quire/oom.h>
#include <quire/owner.h>
#include <quire/pressure.h>

static void boot(void)
{
    control_boot(4096, 1, NULL);
    control_answer();
}

TEST(policies)
{
    boot();
    ASK_OK("create name=a mem=1M paused=1");
    ASK_OK("create name=b mem=1M paused=1 oom=kill");
    ASK_FAILS("create name=c mem=1M oom=panic", "EINVAL", "wait or kill");
    CHECK(strstr(ask("info a"), "\"oom\":\"wait\"") != NULL);
    CHECK(strstr(ask("info b"), "\"oom\":\"kill\"") != NULL);
    ASK_FAILS("set-oom a", "EINVAL", "policy= is missing");
    ASK_FAILS("set-oom a policy=both", "EINVAL", "wait or kill");
    ASK_FAILS("set-oom nobody policy=kill", "ESRCH", "nobody");
    ASK_OK("set-oom a policy=kill");
    CHECK(strstr(ask("info a"), "\"oom\":\"kill\"") != NULL);
    CHECK_EQ(field(ask("set-oom all policy=wait"), "domains"), 2);
    CHECK(strstr(ask("info b"), "\"oom\":\"wait\"") != NULL);
    CHECK(strstr(ask("info b"), "\"waits_for_memory\":\"no\"") != NULL);
    CHECK_EQ(field(ask("stats all"), "waiting"), 0);
    ASK_OK("destroy all");
}

TEST(limits)
{
    boot();
    ASK_FAILS("create name=a mem=1M max=0", "EINVAL", "at least one");
    ASK_FAILS("create name=a mem=1M max=5000", "EINVAL", "whole pages");
    ASK_FAILS("bg audit", "EINVAL", "foreground");
    ASK_FAILS("bg   join 1", "EINVAL", "foreground");
    ASK_FAILS("bg bg list", "EINVAL", "foreground");
    ASK_OK("create name=a mem=1M paused=1");
    CHECK_EQ(field(ask("list"), "parked_vcpus"), 0);
    ASK_FAILS("set-max a", "EINVAL", "max= is missing");
    ASK_FAILS("set-max a max=5000", "EINVAL", "whole pages");
    ASK_FAILS("set-max a max=much", "EINVAL", "not a number");
    CHECK_EQ(field(ask("set-max a max=64K"), "max_frames"), 16);
    CHECK_EQ(field(ask("info a"), "max_frames"), 16);
    /* What it has it keeps, and gets no more. */
    CHECK(field(ask("info a"), "private_frames") > 16);
    ASK_FAILS("populate a gfn=1000", "ENOMEM", "");
    ASK_OK("set-max a max=2M");
    ASK_OK("populate a gfn=1000");
    ASK_OK("destroy a");
}

static void tell(domid_t domain)
{
    struct notice n = { .kind = NOTICE_OOM_WAIT, .domain = domain,
                        .vcpu = 1, .gfn = GFN(77), .is_limit = true };

    notice_add(&n);
}

TEST(what_has_happened)
{
    const char *t;

    boot();
    t = ask("events");
    CHECK(is_ok(t));
    CHECK_EQ(field(t, "next"), 1);
    ASK_FAILS("events since=2", "ERANGE", "number 1");
    ASK_FAILS("events since=0", "ERANGE", "");
    ASK_FAILS("events count=1000", "ERANGE", "");
    for (unsigned i = 0; i < 3; i++) {
        tell((domid_t)(10 + i));
    }
    t = ask("events since=2 count=1");
    CHECK(is_ok(t));
    CHECK_EQ(field(t, "number"), 2);
    CHECK_EQ(field(t, "domain"), 11);
    CHECK_EQ(field(t, "vcpu"), 1);
    CHECK_EQ(field(t, "gfn"), 77);
    CHECK_EQ(field(t, "next"), 3);
    CHECK_EQ(field(t, "lost"), 0);
    CHECK(strstr(t, "\"kind\":\"oom-wait\"") != NULL);
    CHECK(strstr(t, "\"lacks\":\"limit\"") != NULL);
    for (unsigned i = 0; i < NOTICE_RING; i++) {
        tell(5);
    }
    t = ask("events since=2");
    CHECK(is_ok(t));
    CHECK_EQ(field(t, "lost"), 2);
    CHECK_EQ(field(t, "next"), NOTICE_RING + 4);
}

/* It waits for the first, in the background too; or until it is too late. */
TEST(waiting_for_what_will_happen)
{
    boot();
    CHECK_EQ(field(ask("events wait_ms=3"), "next"), 1);
    ASK_OK("create name=a mem=1M paused=1");
    ASK_OK("bg events wait_ms=60000");
    ASK_OK("list");
    struct domain *d = domain_find(0);

    domain_crash(d, "test");
    domain_put(d);
    const char *t = ask("join 1");

    CHECK(is_ok(t));
    CHECK(strstr(t, "\"kind\":\"crash\"") != NULL);
    CHECK_EQ(field(t, "next"), 2);
    ASK_OK("destroy all");
}

/* Not a frame left but the reserve: one can look, and destroy. */
TEST(the_channel_answers_without_memory)
{
    struct frame *f, *hog = NULL;

    boot();
    ASK_OK("create name=a{i} mem=64K paused=1 count=40");
    page_reserve_set(OOM_RESERVE);
    page_cache_drain();
    while ((f = page_alloc(0, FRAME_HEAP)) != NULL) {
        f->user = hog;
        hog = f;
    }
    ASK_OK("list");
    ASK_OK("stats all");
    ASK_OK("bg list");
    ASK_OK("join 1");
    ASK_FAILS("create name=b mem=1M", "ENOMEM", "");
    ASK_OK("audit");
    ASK_OK("destroy a3");
    ASK_OK("destroy all");
    while (hog != NULL) {
        f = hog;
        hog = f->user;
        page_free(f, 0);
    }
    CHECK_EQ(mem_audit(), 0);
}
