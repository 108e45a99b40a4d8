/*
 * test_kill_trace.c - what is kept of the last kills: stages in their order,
 * slices within them, the oldest lost, and never more than there is room for.
 */
#include "domains.h"
#include "test.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/kill_trace.h>
#include <string.h>

static domid_t kill_in_slices(unsigned pages, uint64_t force_at)
{
    struct domain_config c = test_config("victim", pages);
    struct domain *d = test_create(&c);
    domid_t id = d->id;
    int err;

    do {
        struct work w = WORK_INIT;

        w.force_at = force_at;
        err = domain_kill(d, &w);
    } while (err == -ERESTART);
    CHECK_EQ(err, 0);
    domain_put(d);
    return id;
}

static struct kill_trace only(void)
{
    struct kill_trace t, after;

    memset(&t, 0, sizeof(t));
    CHECK(kill_trace_get(0, &t));
    CHECK(!kill_trace_get(t.number + 1, &after));
    return t;
}

/* Segments of @t: ascending, apart, within it. */
static void check_segments(const struct kill_trace *t)
{
    struct kill_trace_segment s[7];
    ticks_t before = t->start;
    unsigned n, all = 0;

    while ((n = kill_trace_segments(t->number, all, 7, s)) != 0) {
        for (unsigned i = 0; i < n; i++) {
            CHECK(s[i].start >= before && s[i].end >= s[i].start);
            before = s[i].end;
        }
        all += n;
    }
    CHECK(t->end == 0 || before <= t->end);
    CHECK_EQ(all, t->nr_segments);
    CHECK_EQ(all, (t->slices + t->per_segment - 1) / t->per_segment);
    CHECK(all <= KILL_TRACE_SEGMENTS);
}

TEST(stages_follow_one_another)
{
    test_machine(8192, 1);
    kill_trace_reset();
    domid_t id = kill_in_slices(64, 0);
    struct kill_trace t = only();
    ticks_t before = t.start;

    CHECK_EQ(t.domain, id);
    CHECK(t.gfns >= 64 && t.end > t.start);
    for (unsigned i = 0; i < KILL_DONE; i++) {
        CHECK(t.stage[i].slices >= 1);
        CHECK(t.stage[i].start >= before);
        CHECK(t.stage[i].end - t.stage[i].start >= t.stage[i].longest);
        CHECK(strlen(kill_stage_name((enum kill_stage)i)) > 2);
        before = t.stage[i].end;
    }
    CHECK(before <= t.end);
    check_segments(&t);
    test_settle();
}

TEST(slices_are_halved_when_there_are_many)
{
    static const unsigned pages[] = { 200, 256 * 64, 520 * 64 };

    for (unsigned i = 0; i < 3; i++) {
        test_machine(65536, 1);
        kill_trace_reset();
        (void)kill_in_slices(pages[i], 1);
        struct kill_trace t = only();

        CHECK(t.slices > pages[i] / 64);
        CHECK(i == 0 ? t.per_segment == 1 : t.per_segment > 1);
        CHECK(t.nr_segments > (i == 0 ? 1 : KILL_TRACE_SEGMENTS / 2 - 1));
        CHECK(t.stage[KILL_RAM].slices > pages[i] / 64);
        check_segments(&t);
        test_settle();
    }
}

TEST(the_oldest_is_lost)
{
    struct kill_trace t;
    domid_t ids[KILL_TRACES + 2];
    uint64_t from = 0;

    test_machine(8192, 1);
    kill_trace_reset();
    CHECK(!kill_trace_get(0, &t));
    for (unsigned i = 0; i < KILL_TRACES + 2; i++) {
        ids[i] = kill_in_slices(4, 0);
    }
    for (unsigned i = 2; i < KILL_TRACES + 2; i++) {
        CHECK(kill_trace_get(from, &t));
        CHECK_EQ(t.domain, ids[i]);
        from = t.number + 1;
    }
    CHECK(!kill_trace_get(from, &t));
    test_settle();
}

/* One that is interrupted while eight others come and go is noted no more,
 * and harms nobody's record. */
TEST(one_that_lasts_longer_loses_its_record)
{
    test_machine(8192, 1);
    kill_trace_reset();
    struct domain_config c = test_config("slow", 64);
    struct domain *slow = test_create(&c);
    struct work w = { .left = 1 };
    struct kill_trace t = { .number = 0 };
    uint64_t from = 0;
    unsigned n = 0;

    CHECK_EQ(domain_kill(slow, &w), -ERESTART);
    CHECK(kill_trace_get(0, &t));
    CHECK_EQ(t.domain, slow->id);
    CHECK_EQ(t.end, 0);
    for (unsigned i = 0; i < KILL_TRACES; i++) {
        (void)kill_in_slices(4, 0);
    }
    while (domain_kill(slow, NULL) == -ERESTART) {
    }
    for (; kill_trace_get(from, &t); from = t.number + 1) {
        CHECK(t.domain != slow->id);
        CHECK(t.end != 0 && t.gfns < 64);
        check_segments(&t);
        n++;
    }
    CHECK_EQ(n, KILL_TRACES);
    domain_put(slow);
    test_settle();
}
