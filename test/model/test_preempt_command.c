/*
 * test_preempt_command.c - the preemption matrix (preempt.h) of the commands
 * of the control channel, and of the tasks that they set going: the same
 * reply and the same machine wherever their slices end.
 */
#include "preempt.h"
#include "test.h"
#include "test_control.h"

#include <quire/task.h>

static const char *command;
static char reply[1 << 16];
static bool is_fed;

static void begin(void)
{
    static const char *const lines[] = {
        "create name=a mem=256K max=512K paused=1",
        "create name=b mem=256K max=512K paused=1",
        "fill a gfn=0 count=20", "fill b gfn=8 count=20",
        "nominate a gfn=0 count=20", "share a 30 b 30 count=8",
        "add-physmap a 0 b 4096 count=70",
        "create name=s mem=64K paging=shadow paused=1",
        "fork b name=f", "pause f", "write f gpa=0x3000 data=55",
        "depopulate f gfn=4100 count=10",
        "kill-trace reset=1",       /* times, of earlier machines */
    };

    control_boot(4096, 1, NULL);
    for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
        ASK_OK(lines[i]);
    }
    CHECK(test_run_idle());
    host_control_clear();
    is_fed = false;
    reply[0] = '\0';
}

/* What is a time, counts slices or is never used again is another one each
 * time. */
static void drop_times(char *text)
{
    static const char *const keys[] = { "ticks\":", "ticks_per_op\":",
                                        "preemptions\":", "handle\":" };

    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
        for (char *at = text; (at = strstr(at, keys[i])) != NULL;) {
            char *from = at + strlen(keys[i]);
            size_t n = strspn(from, "0123456789");

            memmove(from, from + n, strlen(from + n) + 1);
            at = from;
        }
    }
    /* First, unless some of it had to go out before the end was known. */
    char *ok = strstr(text, "\"ok\":true");

    if (ok != NULL) {
        bool is_last = ok[9] == '}';

        ok -= is_last;
        memmove(ok, ok + 10, strlen(ok + 10) + 1);
    }
}

static bool has_answer(void)
{
    const char *text = host_control_text();
    size_t len = strlen(text);

    return len > 0 && text[len - 1] == '\n';
}

/* A slice of whatever the CPU has to do, until the reply is out. */
static int step(struct work *w)
{
    if (!is_fed) {
        host_control_feed(command);
        host_control_feed("\n");
        is_fed = true;
    }
    while (!task_is_pending()) {
        if (has_answer()) {
            snprintf(reply, sizeof(reply), "%s", host_control_text());
            drop_times(reply);
            return 0;
        }
        /* The port, timers, grace periods; and the tasks they queue. */
        (void)!control_poll();
        (void)!timer_run_due();
        grace_quiesce();
    }
    CHECK(task_run_slice(w));
    return -ERESTART;
}

static void end(void)
{
    ASK_OK("destroy all");
    CHECK(test_run_idle());
    test_settle();
    CHECK_EQ(domain_nr_unfreed(), 0);
    CHECK_EQ(domain_count(), 0);
}

static uint64_t reply_digest(void)
{
    uint64_t d = 0;

    for (const char *c = reply; *c != '\0'; c++) {
        d = preempt_mix(d, (uint64_t)(unsigned char)*c);
    }
    return d;
}

static void matrix(const char *const *lines, unsigned nr)
{
    for (unsigned i = 0; i < nr; i++) {
        command = lines[i];
        preempt_matrix(&(struct preempt_case){
            .name = command, .begin = begin, .step = step, .end = end,
            .reply = reply_digest, .by_itself = true, .is_short = true,
            .one_in = 3 });
    }
}

TEST(each_check_of_commands_on_domains)
{
    static const char *const lines[] = {
        "create name=c mem=256K paused=1",
        "create name=c{i} mem=64K count=3 paused=1",
        "create name=c mem=100M paused=1", "destroy a", "destroy all",
        "fork a name=g", "fork-reset f", "fork-info f", "list", "info b",
        "stats", "stats all", "shadow s", "pause all", "unpause f", "resume a",
        "allow all phase=3", "wait a state=shutdown timeout_ms=1",
        "set-oom all policy=kill", "set-max a max=128K",
    };

    matrix(lines, ARRAY_SIZE(lines));
}

TEST(each_check_of_commands_on_memory)
{
    static const char *const lines[] = {
        "nominate a gfn=0 count=64", "nominate a gfn=60 count=9 skip=1",
        "share a 40 b 40 count=10", "share a 8 b 8 count=30 equal=1",
        "range-share a 0 b 0 count=64", "unshare b gfn=4096 count=60",
        "add-physmap a 0 b 9000 count=80 stride=99",
        "add-range a 0 b 9000 count=20",
        "add-random a 0 b 9000 count=60 span=200",
        "populate a gfn=900 count=30", "depopulate b gfn=0 count=50",
        "read a gpa=0x1000 len=64", "write a gpa=0x1000 data=0011223344",
        "fill a gfn=0 count=40", "hash b gfn=0 count=40",
        "debug-gfn b gfn=4096", "debug-mfn mfn=9",
    };

    matrix(lines, ARRAY_SIZE(lines));
}

TEST(each_check_of_commands_on_the_machine)
{
    static const char *const lines[] = {
        "help", "help create", "version", "modules", "memory", "latency",
        "loglevel", "events", "jobs", "kill-trace", "audit", "sleep ms=0",
        "scan", "scan-domain a on",
        "bench-rmap form=hash256 n=300 order=random",
        "bench-spte-rmap n=40 order=random",
    };

    matrix(lines, ARRAY_SIZE(lines));
}
