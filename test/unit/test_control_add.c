/* test_control_add.c - add-range and add-random: replies, refusals, and that
 * nothing is left of what they did. */
#include "test_control.h"

static uint64_t boot(void)
{
    uint64_t before;

    control_boot(1 << 15, 1, NULL);
    before = field(ask("memory"), "free_frames");
    ASK_OK("create name=a mem=1M paused=1");
    ASK_OK("create name=b mem=1M paused=1");
    return before;
}

static void finish(uint64_t before)
{
    CHECK_EQ(field(ask("audit"), "violations"), 0);
    ASK_OK("destroy b");
    CHECK_EQ(field(ask("audit"), "violations"), 0);
    ASK_OK("destroy a");
    CHECK_EQ(field(ask("memory"), "free_frames"), before);
}

TEST(add_range)
{
    uint64_t before = boot();

    ASK_FAILS("add-range a 0 b 4096 count=10", "EINVAL", "nominate it");
    ASK_OK("nominate a gfn=0 count=100");
    CHECK_EQ(field(ask("add-range a 0 b 4096 count=100"), "added"), 100);
    CHECK_EQ(field(ask("debug-gfn b gfn=4195"), "sharers"), 2);
    ASK_FAILS("add-range a 0 b 4000 count=100", "EBUSY", "client gfn 4096");
    ASK_FAILS("add-range a 90 b 8192 count=20", "EINVAL", "source gfn 100");
    ASK_FAILS("add-range a 0 b 68719476735 count=2", "ERANGE", "do not fit");
    ASK_FAILS("add-range a 0 b 0 count=0", "ERANGE", "count");
    finish(before);
}

TEST(add_random)
{
    uint64_t before = boot();

    CHECK_EQ(field(ask("add-random a 0 b 4096 count=3000 span=4000"),
                   "added"), 3000);
    CHECK_EQ(field(ask("debug-gfn a gfn=0"), "sharers"), 3001);
    /* All of a span is drawn once each, whatever its size. */
    CHECK_EQ(field(ask("add-random a 1 b 65536 count=777 span=777"), "added"),
             777);
    CHECK(strstr(ask("debug-gfn b gfn=66313"), "\"hole\"") != NULL);
    ASK_FAILS("add-random a 0 b 4096 count=4000 span=4000", "EBUSY", "hole");
    ASK_FAILS("add-random a 0 b 4096 count=5 span=4", "ERANGE", "at most");
    ASK_FAILS("add-random a 0 b 68719476735 span=2", "ERANGE", "must fit");
    ASK_FAILS("add-random a 5000 b 4096", "ENOENT", "source gfn 5000");
    finish(before);
}

static bool is_private(const char *domain, unsigned gfn)
{
    char line[64];

    snprintf(line, sizeof(line), "debug-gfn %s gfn=%u", domain, gfn);
    return strstr(ask(line), "\"ram_rw\"") != NULL;
}

/* What a command has nominated in vain is private again. */
TEST(failures_leave_no_page_nominated)
{
    uint64_t before = boot();

    ASK_OK("create name=c mem=1M paused=1 group=7");
    ASK_FAILS("add-physmap a 1 c 4096", "EPERM", "trust");
    ASK_FAILS("add-physmap a 1 b 5", "EBUSY", "hole");
    ASK_FAILS("add-random a 1 c 4096", "EPERM", "trust");
    ASK_FAILS("share a 1 c 1", "EPERM", "trust");
    ASK_FAILS("share a 1 b 4096", "ENOENT", "client");
    ASK_FAILS("share a 4096 b 1", "ENOENT", "source's: a hole");
    ASK_FAILS("share a 1 a 1", "EEXIST", "same");
    ASK_FAILS("share a 1 b 1 shandle=12345", "ENOEXEC", "stale");
    CHECK_EQ(field(ask("range-share a 1 b 4096"), "refused"), 1);
    CHECK_EQ(field(ask("range-share a 1 a 1"), "already"), 1);
    CHECK(is_private("a", 1) && is_private("b", 1) && is_private("c", 1));
    /* Another's nomination stays, and so does what is shared. */
    ASK_OK("nominate a gfn=2");
    ASK_FAILS("share a 2 c 2", "EPERM", "trust");
    CHECK(!is_private("a", 2) && is_private("c", 2));
    ASK_OK("populate b gfn=4098");
    ASK_FAILS("add-physmap a 3 b 4096 count=9", "EBUSY", "gfn 4098");
    CHECK(!is_private("a", 3));
    ASK_OK("destroy c");
    finish(before);
}
