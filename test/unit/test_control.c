/* test_control.c - the channel from its bytes to its replies: lines, jobs,
 * batches, and every command at least once, refusals included. */
#include "test_control.h"

#include <quire/errno.h>
#include <quire/heap.h>

#define FRAMES 16384

static void boot(void)
{
    control_boot(FRAMES, 1, NULL);
}

/* Nothing may be left: call at the end of a test that began with boot(). */
static uint64_t free_frames(void)
{
    return field(ask("memory"), "free_frames");
}

TEST(greeting_comes_unasked)
{
    boot();
    CHECK(strcmp(host_control_text(),
                 "{\"ok\":true,\"ready\":\"quire\"}\n") == 0);
}

TEST(lines_that_are_no_commands)
{
    char *longest = malloc(9000);

    boot();
    ASK_FAILS("frobnicate", "ENOSYS", "try help");
    ASK_FAILS("list extra", "EINVAL", "usage: list");
    ASK_FAILS("create colour=red", "EINVAL", "takes no colour=");
    ASK_FAILS("create colour=red", "EINVAL", "[first=N]\"");
    ASK_FAILS("create id=1 id=2", "EINVAL", "id= is given twice");
    ASK_FAILS("wait all verdict=1", "ESRCH", "no domain to wait for");
    ASK_FAILS("create name=\"open", "EINVAL", "quote");
    ASK_FAILS("destroy", "EINVAL", "usage: destroy DOMAIN|all");
    ASK_FAILS("info 4096", "EINVAL", "0 .. 4095");
    ASK_FAILS("info 7", "ESRCH", "no domain 7");
    ASK_FAILS("info nobody", "ESRCH", "nobody");
    ASK_FAILS("\x01", "EINVAL", "control character");
    memset(longest, 'x', 8999);
    longest[8999] = '\0';
    ASK_FAILS(longest, "E2BIG", "767");
    ASK_OK("version");
    free(longest);
}

TEST(blank_lines_have_no_reply)
{
    boot();
    CHECK_EQ(field(ask("\n  \n# a comment\r\n \t# more\nversion"), "cpus"), 1);
    CHECK(strchr(host_control_text(), '\n') ==
          host_control_text() + strlen(host_control_text()) - 1);
}

TEST(help_knows_every_command)
{
    const char *all;
    char *copy;

    boot();
    all = ask("help");
    CHECK(is_ok(all));
    copy = strdup(all);
    for (const char *at = copy; (at = strstr(at, "\"name\":\"")) != NULL;) {
        char line[64];

        at += 8;
        snprintf(line, sizeof(line), "help %.*s",
                 (int)(strchr(at, '"') - at), at);
        ASK_OK(line);
    }
    CHECK(strstr(copy, "\"add-physmap\"") != NULL);
    free(copy);
    ASK_FAILS("help nothing", "ENOENT", "nothing");
}

TEST(create_list_info_destroy)
{
    const char *a;
    uint64_t before;

    boot();
    before = free_frames();
    CHECK_EQ(field(ask("create name=first mem=1M"), "domain"), 0);
    CHECK_EQ(field(ask("create name=second mem=2M id=9 vcpus=3"), "domain"),
             9);
    a = ask("list");
    CHECK(is_ok(a));
    CHECK(strstr(a, "\"name\":\"first\"") != NULL);
    CHECK(strstr(a, "\"name\":\"second\"") != NULL);
    a = ask("info second");
    CHECK(is_ok(a));
    CHECK_EQ(field(a, "domain"), 9);
    CHECK_EQ(field(a, "ram_rw"), 512);
    CHECK_EQ(field(a, "vcpus"), 3);
    ASK_FAILS("create name=third mem=1M id=9", "EEXIST", "9");
    ASK_FAILS("create mem=1M id=9", "EEXIST", "\"domain 9 exists");
    CHECK_EQ(field(ask("destroy first"), "gfns"), 256);
    ASK_FAILS("info first", "ESRCH", "first");
    CHECK_EQ(field(ask("destroy all"), "gfns"), 512);
    CHECK_EQ(field(ask("destroy all"), "domains"), 0);
    CHECK_EQ(free_frames(), before);
}

TEST(pause_and_resume)
{
    boot();
    ASK_OK("create name=p mem=1M");
    CHECK_EQ(field(ask("pause p"), "domains"), 1);
    CHECK_EQ(field(ask("info p"), "pauses"), 1);
    ASK_OK("unpause p");
    ASK_FAILS("unpause p", "EINVAL", "not paused");
    ASK_FAILS("resume p", "EINVAL", "not suspended");
    ASK_OK("create name=q mem=1M paused=1");
    CHECK_EQ(field(ask("unpause all"), "domains"), 1);
    CHECK_EQ(field(ask("pause all"), "domains"), 2);
    CHECK_EQ(field(ask("resume all"), "domains"), 0);
    CHECK_EQ(field(ask("allow all phase=3"), "domains"), 2);
    CHECK_EQ(field(ask("info q"), "pauses"), 1);
    ASK_OK("destroy all");
}

TEST(memory_read_and_written)
{
    const char *a;

    boot();
    ASK_OK("create name=m mem=1M paused=1");
    ASK_OK("write m gpa=0x2ffc data=0011223344556677");
    a = ask("read m gpa=0x2ffa len=12");
    CHECK(is_ok(a));
    CHECK(strstr(a, "\"data\":\"000000112233445566770000\"") != NULL);
    ASK_FAILS("write m gpa=0 data=", "EINVAL", "hex");
    ASK_FAILS("write m gpa=0 data=123", "EINVAL", "hex");
    ASK_FAILS("write m data=12", "EINVAL", "gpa= is missing");
    ASK_FAILS("write m gpa=0xffffe data=11223344", "ENOENT", "0x100000");
    ASK_FAILS("read m gpa=1M", "ENOENT", "a hole");
    ASK_FAILS("read m gpa=0xfffff len=2", "ENOENT", "gpa 0x100000: a hole");
    ASK_FAILS("fill m gfn=256", "ENOENT", "gfn 256: a hole");
    ASK_FAILS("read m gpa=0 len=17M", "ERANGE", "len");
    a = ask("read m gpa=0xff000 len=8K");
    CHECK(is_reply(a) && !is_ok(a));
    CHECK_EQ(field(a, "done"), 4096);
    a = ask("read m gpa=0 len=64K");
    CHECK(is_ok(a) && strlen(a) > 131072);
    ASK_OK("destroy m");
}

/* The hash in a reply: "0x" and 16 digits. */
static const char *hash_in(const char *reply)
{
    static char text[2][19];
    static unsigned turn;
    const char *at = strstr(reply, "\"hash\":\"");

    turn ^= 1;
    snprintf(text[turn], sizeof(text[turn]), "%s",
             at != NULL ? at + 8 : "none");
    return text[turn];
}

TEST(fill_and_hash)
{
    char first[19];

    boot();
    ASK_OK("create name=a{i} mem=1M count=2 paused=1");
    ASK_OK("fill a0 gfn=1 count=100 stride=2 word=0x1122334455667788");
    ASK_OK("fill a1 gfn=2 count=100 stride=2 word=0x1122334455667788");
    CHECK(strstr(ask("read a0 gpa=0x3ff8 len=16"),
                 "\"88776655443322110000000000000000\"") != NULL);
    snprintf(first, sizeof(first), "%s",
             hash_in(ask("hash a0 gfn=1 count=50 stride=4")));
    CHECK(strncmp(first, "0x", 2) == 0);
    CHECK_EQ(strcmp(first, hash_in(ask("hash a1 gfn=2 count=50 stride=4"))),
             0);
    CHECK(strcmp(first, hash_in(ask("hash a1 gfn=1 count=50 stride=4"))) != 0);
    CHECK(is_ok(ask("hash a0 gfn=0 count=256 each=1")));
    CHECK_EQ(field(host_control_text(), "pages"), 256);
    ASK_FAILS("hash a0 gfn=200 count=100", "ENOENT", "gfn 256");
    CHECK_EQ(field(host_control_text(), "done"), 56);
    CHECK_EQ(field(ask("hash a0 gfn=200 count=100 skip=1"), "ENOENT"), 44);
    ASK_FAILS("hash a0", "EINVAL", "gfn= is missing");
    ASK_FAILS("hash a0 gfn=0 count=0", "ERANGE", "count");
    ASK_FAILS("hash a0 gfn=0xfffffffff count=2", "ERANGE", "36 bits");
    ASK_OK("destroy all");
}

TEST(populate_and_depopulate)
{
    uint64_t before, free;

    boot();
    before = free_frames();
    ASK_OK("create name=h mem=1M max=8M paused=1");
    free = free_frames();
    ASK_FAILS("populate h gfn=255", "EEXIST", "255: is not a hole");
    CHECK_EQ(field(ask("populate h gfn=250 count=10 skip=1"), "populated"),
             4);
    ASK_OK("hash h gfn=256 count=4");
    CHECK_EQ(field(ask("depopulate h gfn=0 count=260"), "depopulated"), 260);
    CHECK(free_frames() > free);
    ASK_FAILS("depopulate h gfn=0", "ENOENT", "gfn 0");
    ASK_OK("set-max h max=4K");
    ASK_FAILS("populate h gfn=0 count=2", "ENOMEM", "own limit of 1 frames");
    ASK_OK("destroy h");
    CHECK_EQ(free_frames(), before);
}

static void two_alike(void)
{
    ASK_OK("create name=s{i} mem=1M count=2 paused=1 max=4M");
    for (unsigned i = 0; i < 2; i++) {
        char line[128];

        snprintf(line, sizeof(line), "fill s%u gfn=0 count=64 word=7", i);
        ASK_OK(line);
        snprintf(line, sizeof(line), "fill s%u gfn=64 count=64 word=%u", i,
                 100 + i);
        ASK_OK(line);
    }
}

TEST(share_what_is_equal)
{
    const char *a;
    uint64_t before;

    boot();
    before = free_frames();
    two_alike();
    a = ask("share s0 0 s1 0 count=200 equal=1");
    CHECK(is_ok(a));
    CHECK_EQ(field(a, "shared"), 136);
    CHECK_EQ(field(a, "unequal"), 64);
    a = ask("share s0 0 s1 0 count=10 equal=1");
    CHECK_EQ(field(a, "shared"), 0);
    CHECK_EQ(field(a, "already"), 10);
    CHECK_EQ(field(ask("debug-gfn s1 gfn=5"), "sharers"), 2);
    a = ask("stats all");
    CHECK(is_ok(a));
    CHECK_EQ(field(a, "saved_frames"), 136);
    CHECK_EQ(field(strstr(a, "\"domain\":1"), "saved_frames"), 68);
    CHECK_EQ(field(strstr(a, "],\"unshare_ticks\""), "count"), 0);
    CHECK_EQ(field(ask("audit"), "violations"), 0);
    ASK_OK("write s1 gpa=0x5000 data=ff");
    CHECK(strstr(ask("read s0 gpa=0x5000 len=1"), "\"07\"") != NULL);
    CHECK_EQ(field(ask("unshare s0 gfn=0 count=256"), "private"), 256);
    CHECK_EQ(field(ask("audit"), "violations"), 0);
    ASK_OK("destroy s0");
    CHECK(strstr(ask("read s1 gpa=0x6000 len=1"), "\"07\"") != NULL);
    ASK_OK("destroy s1");
    CHECK_EQ(field(ask("audit"), "violations"), 0);
    CHECK_EQ(free_frames(), before);
}

/* Changes the client's page 5 when the source's p2m changes: between the two
 * comparisons of equal=1. */
static struct frame *meddled;

static void meddle(struct p2m_listener *l, struct p2m *p, gfn_t gfn,
                   uint64_t nr)
{
    uint8_t *page = arch_map_frame(frame_to_mfn(meddled));

    (void)l, (void)p, (void)gfn, (void)nr;
    page[100] = 1;
    arch_unmap_frame(page);
}

TEST(a_page_that_changes_while_it_is_compared)
{
    struct p2m_listener l = { .changed = meddle };
    struct domain *d0, *d1;
    const char *a;

    boot();
    two_alike();
    d0 = domain_find(0);
    d1 = domain_find(1);
    meddled = mfn_to_frame(p2m_lookup(d1->p2m, GFN(5)).mfn);
    p2m_add_listener(d0->p2m, &l);
    a = ask("share s0 5 s1 5 equal=1");
    p2m_remove_listener(d0->p2m, &l);
    CHECK(is_ok(a));
    CHECK_EQ(field(a, "shared"), 0);
    CHECK_EQ(field(a, "unequal"), 1);
    /* Neither is left nominated. */
    CHECK_EQ(p2m_lookup(d0->p2m, GFN(5)).type, p2m_ram_rw);
    CHECK_EQ(p2m_lookup(d1->p2m, GFN(5)).type, p2m_ram_rw);
    domain_put(d0);
    domain_put(d1);
    CHECK(strstr(ask("read s0 gpa=0x5064 len=1"), "\"00\"") != NULL);
    CHECK(strstr(ask("read s1 gpa=0x5064 len=1"), "\"01\"") != NULL);
    ASK_OK("destroy all");
}

TEST(audit_leaves_domains_as_they_were)
{
    boot();
    ASK_OK("create name=a mem=1M");
    ASK_OK("create name=b mem=1M paused=1");
    CHECK_EQ(field(ask("audit"), "violations"), 0);
    CHECK_EQ(field(ask("info a"), "pauses"), 0);
    CHECK_EQ(field(ask("info b"), "pauses"), 1);
    ASK_OK("destroy all");
}

TEST(share_by_handle)
{
    char line[128];
    uint64_t sh, ch;

    boot();
    two_alike();
    sh = field(ask("nominate s0 gfn=3"), "handle");
    ch = field(ask("nominate s1 gfn=4"), "handle");
    snprintf(line, sizeof(line), "share s0 3 s1 4 shandle=%lu chandle=%lu",
             ch, sh);
    CHECK(!is_ok(ask(line)));
    snprintf(line, sizeof(line), "share s0 3 s1 4 shandle=%lu chandle=%lu",
             sh, ch);
    ASK_OK(line);
    CHECK_EQ(field(ask("debug-gfn s0 gfn=3"), "sharers"), 2);
    ASK_FAILS(line, "EBADF", "client");
    ASK_FAILS("share s0 3 s1 4 count=2 shandle=1", "EINVAL", "count=");
    ASK_FAILS("share s0 300 s1 4", "ENOENT", "a hole");
    CHECK_EQ(field(ask("audit"), "violations"), 0);
    ASK_OK("destroy all");
}

TEST(one_frame_at_many_holes)
{
    uint64_t before;

    boot();
    before = free_frames();
    two_alike();
    CHECK_EQ(field(ask("add-physmap s0 1 s1 1024 count=3000 stride=2"),
                   "added"), 3000);
    ASK_FAILS("add-physmap s0 1 s1 1022 count=5", "EBUSY", "gfn 1024");
    CHECK_EQ(field(host_control_text(), "done"), 2);
    CHECK_EQ(field(ask("debug-gfn s1 gfn=1024"), "sharers"), 3003);
    CHECK_EQ(field(ask("audit"), "violations"), 0);
    CHECK_EQ(field(ask("destroy s1"), "gfns"), 256 + 3002);
    ASK_OK("destroy s0");
    CHECK_EQ(free_frames(), before);
}

TEST(figures_stand_for_numbers)
{
    struct domain *d;

    boot();
    two_alike();
    d = domain_find(0);
    d->figure[0] = 10;
    d->figure[1] = 20;
    domain_put(d);
    CHECK_EQ(field(ask("share s0 @0 s1 @0 count=@1 equal=1"), "shared"), 20);
    CHECK_EQ(field(ask("debug-gfn s0 gfn=@1"), "gfn"), 20);
    ASK_FAILS("hash s0 gfn=@32", "EINVAL", "figure");
    ASK_OK("destroy all");
}

/* A guest may change a figure while a command that named it is under way. */
TEST(a_figure_is_read_once)
{
    struct domain *d;

    boot();
    ASK_OK("create name=m mem=1M paused=1");
    d = domain_find(0);
    d->figure[1] = 65536;
    host_control_clear();
    host_control_feed("read m gpa=0 len=@1\n");
    for (unsigned i = 0; strlen(host_control_text()) < 3000; i++) {
        CHECK(i < CONTROL_PASSES);
        run_loop_once();
    }
    d->figure[1] = 0;
    CHECK(is_ok(control_answer()));
    CHECK(strlen(host_control_text()) > 131072);
    domain_put(d);
    ASK_OK("destroy all");
}

TEST(wait_for_guests)
{
    struct domain *d;

    boot();
    ASK_OK("create name=w{i} mem=1M count=2 paused=1");
    ASK_FAILS("wait w0", "EINVAL", "one of");
    ASK_FAILS("wait w0 phase=1 verdict=1", "EINVAL", "one of");
    ASK_FAILS("wait w0 state=running", "EINVAL", "shutdown");
    ASK_FAILS("wait w0 phase=1 timeout_ms=20", "ETIMEDOUT", "phase 0");
    d = domain_find(0);
    atomic_store(&d->phase, 5);
    CHECK_EQ(field(ask("wait w0 phase=5"), "domains"), 1);
    ASK_FAILS("wait all phase=4 timeout_ms=20", "ETIMEDOUT", "w1");
    ASK_OK("allow all phase=9");
    CHECK_EQ(d->phase_allowed, 9);
    ASK_FAILS("allow all", "EINVAL", "phase=");
    atomic_store(&d->verdict, 2);
    CHECK_EQ(field(ask("wait w0 verdict=1"), "failed"), 1);
    domain_crash(d, "on purpose");
    domain_put(d);
    ASK_FAILS("wait w0 phase=6", "EIO", "on purpose");
    ASK_OK("wait w0 state=shutdown");
    ASK_OK("destroy all");
}

TEST(jobs_in_the_background)
{
    const char *a;

    boot();
    ASK_OK("create name=b mem=4M paused=1");
    CHECK_EQ(field(ask("bg hash b gfn=0 count=1024 each=1"), "job"), 1);
    CHECK_EQ(field(ask("bg sleep ms=50"), "job"), 2);
    ASK_FAILS("audit", "EBUSY", "join");
    a = ask("jobs");
    CHECK(is_ok(a) && strstr(a, "\"command\":\"sleep\"") != NULL);
    a = ask("join 1");
    CHECK(is_ok(a));
    CHECK_EQ(field(a, "pages"), 1024);
    ASK_FAILS("join 1", "ESRCH", "no job 1");
    ASK_OK("join 2");
    CHECK_EQ(field(ask("bg info nobody"), "job"), 1);
    ASK_FAILS("join 1", "ESRCH", "nobody");
    ASK_FAILS("bg join 1", "EINVAL", "foreground");
    ASK_FAILS("join 17", "ERANGE", "16");
    ASK_FAILS("bg", "EINVAL", "usage");
    ASK_OK("destroy all");
}

TEST(sixteen_jobs_at_most)
{
    char line[32];

    boot();
    for (unsigned i = 1; i <= 16; i++) {
        CHECK_EQ(field(ask("bg sleep ms=1"), "job"), i);
    }
    ASK_FAILS("bg sleep", "EBUSY", "16 jobs");
    for (unsigned i = 16; i >= 1; i--) {
        snprintf(line, sizeof(line), "join %u", i);
        ASK_OK(line);
    }
}

TEST(numbers_of_a_shadow)
{
    const char *reply;

    boot();
    ASK_OK("create name=n mem=1M paused=1");
    ASK_FAILS("shadow n", "ENOENT", "nested paging");
    ASK_OK("create name=s mem=1M paused=1 paging=shadow shadow_pages=100");
    reply = ask("shadow s");
    CHECK_EQ(field(reply, "limit"), 100);
    CHECK_EQ(field(reply, "pages"), 0);
    CHECK(strstr(reply, "\"by_level\":[0,0,0,0]") != NULL);
    CHECK(field(reply, "bytes") > PAGE_SIZE);
    ASK_OK("destroy all");
}

TEST(the_rest)
{
    char line[64];

    boot();
    CHECK_EQ(field(ask("loglevel 1"), "level"), 1);
    ASK_FAILS("loglevel 4", "ERANGE", "3");
    ASK_OK("latency reset=1");
    ASK_OK("modules");
    ASK_OK("sleep ms=2");
    ASK_FAILS("sleep ms=x", "EINVAL", "number");
    ASK_FAILS("debug-gfn 0 gfn=1", "ESRCH", "0");
    ASK_FAILS("debug-mfn", "EINVAL", "mfn=");
    ASK_FAILS("debug-mfn mfn=99999999", "ERANGE", "0 ..");
    ASK_OK("create name=s0 mem=1M");
    ASK_OK("nominate s0 gfn=3 count=1");
    (void)snprintf(line, sizeof(line), "debug-mfn mfn=%lu",
                   field(ask("debug-gfn s0 gfn=3"), "mfn"));
    CHECK_EQ(field(ask(line), "sharers"), 1);
    CHECK(strstr(ask(line), "\"shared\"") != NULL);
    ASK_OK("destroy all");
}

/* ---- batches ------------------------------------------------------------ */
static void run_batch(void *text)
{
    control_boot(FRAMES, 1, text);
    for (;;) {
        run_loop_once();
    }
}

TEST(a_batch_ends_the_machine)
{
    static char good[] = "# list\nversion\n\ncreate mem=1M\ndestroy all";
    static char bad[] = "version\ninfo 3\nversion\n";
    static char nothing[] = "";
    static char joined[] = "bg info 3\njoin 1\n";
    static char early[] = "info 3\nshutdown\nfrobnicate\n";
    char log[4096];

    CHECK_EQ(host_run_until_death(run_batch, good, log, sizeof(log)), 0);
    CHECK_EQ(host_run_until_death(run_batch, bad, log, sizeof(log)), 1);
    CHECK(strstr(log, "a command failed") != NULL);
    CHECK_EQ(host_run_until_death(run_batch, early, log, sizeof(log)), 1);
    CHECK(strstr(log, "shutdown by the control channel") != NULL);
    CHECK_EQ(host_run_until_death(run_batch, joined, log, sizeof(log)), 1);
    CHECK_EQ(host_run_until_death(run_batch, nothing, log, sizeof(log)), 0);
}

/* Comments alone must not put the machine to sleep before the next line. */
TEST(a_batch_of_long_comments)
{
    static char text[4096];
    char log[4096];

    memset(text, '#', sizeof(text));
    for (size_t i = 700; i < sizeof(text); i += 700) {
        text[i] = '\n';         /* a line has its limit */
    }
    memcpy(text + sizeof(text) - 10, "\nversion\n", 10);
    CHECK_EQ(host_run_until_death(run_batch, text, log, sizeof(log)), 0);
}
