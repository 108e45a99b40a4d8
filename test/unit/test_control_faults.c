/* test_control_faults.c - whatever is typed, and whichever allocation fails:
 * every line has one well-formed reply, and nothing is lost or left. */
#include "test_control.h"

#include <quire/heap.h>
#include <quire/rng.h>

#define FRAMES 16384

static const char *const script[] = {
    "create name=f{i} mem=1M count=2 max=4M paused=1",
    "fill f0 gfn=0 count=20 word=5",
    "fill f1 gfn=0 count=20 word=5",
    "share f0 0 f1 0 count=30 equal=1",
    "add-physmap f0 1 f1 1024 count=20",
    "populate f0 gfn=300 count=4",
    "depopulate f1 gfn=1 count=3",
    "write f1 gpa=0 data=00",
    "fill f1 gfn=5 count=3 word=9",
    "unshare f0 gfn=0 count=256",
    "bg hash f0 gfn=0 count=200 each=1",
    "join 1",
    "stats all",
    "info f0",
};

/* Nothing is left of the domains; the audits agree. */
static void check_clean(uint64_t free_before)
{
    ASK_OK("destroy all");
    CHECK_EQ(field(ask("audit"), "violations"), 0);
    CHECK_EQ(field(ask("memory"), "free_frames"), free_before);
    CHECK_EQ(field(host_control_text(), "domains"), 0);
}

TEST(each_allocation_fails_once)
{
    bool failed = true;

    for (uint64_t n = 1; failed; n += test_rounds > 1 ? 1 : 1 + n / 16) {
        uint64_t before;

        control_boot(FRAMES, 1, NULL);
        before = field(ask("memory"), "free_frames");
        host_fail_alloc_at(n);
        for (unsigned i = 0; i < ARRAY_SIZE(script); i++) {
            const char *a = ask(script[i]);

            if (!is_reply(a)) {
                test_fail(__FILE__, __LINE__, "allocation %llu: %s: %.300s",
                          (unsigned long long)n, script[i], a);
            }
        }
        failed = host_alloc_failed();
        host_fail_alloc_at(0);
        check_clean(before);
    }
}

static const char *const words[] = {
    "help", "version", "create", "list", "info", "pause", "unpause",
    "resume", "destroy", "wait", "allow", "read", "write", "fill", "hash",
    "nominate", "share", "add-physmap", "unshare", "debug-gfn", "stats",
    "audit", "memory", "modules", "latency", "loglevel", "sleep", "bg",
    "join", "jobs", "populate", "depopulate",
    "f0", "f1", "f2", "0", "1", "2", "3", "255", "256", "300", "all", "@0",
    "0xfffffffff", "18446744073709551615", "-1", "\"", "\\", "=", "x=",
    "gfn=0", "gfn=1", "gfn=250", "gfn=0xffffffff0", "gfn=@1", "count=3",
    "count=40", "count=0", "stride=2", "stride=0xffffffffffffffff", "skip=1",
    "skip=2", "equal=1", "word=7", "word=0", "each=1", "gpa=0", "gpa=4095",
    "gpa=0x100000", "len=1", "len=5000", "data=00", "data=ff00ff", "data=z",
    "phase=0", "phase=1", "verdict=1", "state=shutdown", "timeout_ms=1",
    "ms=0", "ms=1", "name=f0", "name=f{i}", "mem=1M", "mem=256K", "mem=3",
    "ranges=0:64K,1M:64K", "ranges=0:64K,0:64K", "ranges=,", "vcpus=2",
    "id=5", "max=4K", "paused=1", "superpages=1", "leaves=none", "shandle=1",
    "chandle=2", "reset=1", "privileged=1", "count=2", "first=2", "# x",
};

static void random_line(struct rng *r, char *line, size_t size)
{
    unsigned nr = (unsigned)rng_below(r, 7);
    size_t used = 0;

    /* Mostly a command first, so that something happens. */
    line[0] = '\0';
    for (unsigned i = 0; i <= nr && used < size; i++) {
        uint64_t k = i == 0 && rng_below(r, 8) != 0 ? rng_below(r, 32) :
            rng_below(r, ARRAY_SIZE(words));

        used += (size_t)snprintf(line + used, size - used, "%s ", words[k]);
    }
    if (rng_below(r, 20) == 0 && used > 1) {
        line[rng_below(r, used - 1)] = (char)(1 + rng_below(r, 255));
    }
}

/* A line with a reply, as the channel sees it; newlines may be inside. */
static bool wants_reply(const char *line)
{
    line += strspn(line, " \t");
    return *line != '\0' && *line != '#';
}

TEST(any_line_has_one_reply)
{
    struct rng r;
    uint64_t before;
    char line[512];

    rng_seed(&r, test_seed);
    control_boot(FRAMES, 1, NULL);
    before = field(ask("memory"), "free_frames");
    for (unsigned i = 0; i < 3000 * test_rounds; i++) {
        const char *a;

        random_line(&r, line, sizeof(line));
        if (strpbrk(line, "\r\n") != NULL || !wants_reply(line) ||
            strstr(line, "join") != NULL) {
            continue;
        }
        a = ask(line);
        if (!is_reply(a)) {
            test_fail(__FILE__, __LINE__, "line %u: %s: %.300s", i, line, a);
        }
        if (i % 16 == 0) {
            for (unsigned j = 1; j <= 16; j++) {
                snprintf(line, sizeof(line), "join %u", j);
                CHECK(is_reply(ask(line)));
            }
        }
        if (i % 200 == 0) {
            ASK_OK("destroy all");
            CHECK_EQ(field(ask("audit"), "violations"), 0);
        }
    }
    for (unsigned j = 1; j <= 16; j++) {
        snprintf(line, sizeof(line), "join %u", j);
        CHECK(is_reply(ask(line)));
    }
    check_clean(before);
}
