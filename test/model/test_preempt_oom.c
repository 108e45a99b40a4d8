/*
 * test_preempt_oom.c - the preemption matrix (preempt.h) of memory that comes
 * free while vCPUs wait for it: the pump and the drains, and a kill of those
 * who wait.
 */
#include "preempt.h"
#include "test.h"

#include <quire/oom.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>
#include <quire/task.h>

enum { PAGES = 6, WRITERS = 5 };

static struct domain *source, *writer[WRITERS];
static struct script_step steps[WRITERS][PAGES + 1];
static struct frame *hog;

static void take_all(void)
{
    struct frame *f;

    page_cache_drain();
    heap_cache_drain();
    hog = NULL;
    while ((f = page_alloc(0, FRAME_PERCPU)) != NULL) {
        f->user = hog;
        hog = f;
    }
}

static void give_back(void)
{
    while (hog != NULL) {
        struct frame *f = hog;

        hog = f->user;
        page_free(f, 0);
    }
}

/* Writers of pages that they share; the last one is at its own limit. */
static void begin_parked(void)
{
    test_machine(2048, 1);
    struct domain_config c = test_config("source", PAGES);

    source = test_create(&c);
    for (unsigned i = 0; i < WRITERS; i++) {
        c = test_config("writer", PAGES);
        writer[i] = test_create(&c);
        for (unsigned g = 0; g < PAGES; g++) {
            CHECK_EQ(test_share(source->p2m, g, writer[i]->p2m, g), 0);
            steps[i][g] = (struct script_step){
                .op = SCRIPT_WRITE, .gpa = gfn_to_gpa(GFN(g)) + 8 * i,
                .value = 1000 * i + g };
        }
        steps[i][PAGES] = (struct script_step){ .op = SCRIPT_SHUTDOWN };
    }
    CHECK_EQ(owner_set_max(writer[WRITERS - 1]->id,
                           owner_get(writer[WRITERS - 1]->id)->pages), 0);
    take_all();
    for (unsigned i = 0; i < WRITERS; i++) {
        test_start(writer[i], steps[i], PAGES + 1);
    }
    CHECK(test_run_idle());
    for (unsigned i = 0; i < WRITERS; i++) {
        CHECK_EQ(atomic_load(&writer[i]->oom.nr_parked), 1);
    }
    CHECK_EQ(oom_audit(), 0);
}

static void begin_free(void)
{
    begin_parked();
    give_back();
    CHECK_EQ(owner_set_max(writer[WRITERS - 1]->id, UINT64_MAX), 0);
}

/* Tasks one slice at a time; the vCPUs when there is none. */
static int step_all(struct work *w)
{
    do {
        oom_poll();
        grace_quiesce();
        if (task_is_pending()) {
            CHECK(task_run_slice(w));
            CHECK_EQ(oom_audit(), 0);
            return -ERESTART;
        }
    } while (run_loop_once());
    return 0;
}

static uint64_t reply(void)
{
    uint64_t d = 0;

    CHECK_EQ(oom_audit(), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        if (writer[i] != NULL) {
            d = preempt_mix(d, atomic_load(&writer[i]->oom.resumes) << 16 |
                               atomic_load(&writer[i]->oom.nr_parked));
        }
    }
    return d;
}

static void end(void)
{
    struct oom_stats s;

    give_back();
    for (unsigned i = 0; i < WRITERS; i++) {
        if (writer[i] != NULL) {
            test_kill(writer[i]);
        }
    }
    test_kill(source);
    CHECK(test_run_idle());
    test_settle();
    oom_stats_get(&s);
    CHECK_EQ(s.waiting + s.promised, 0);
    CHECK_EQ(mem_audit(), 0);
    CHECK_EQ(domain_nr_unfreed(), 0);
}

TEST(each_check_of_the_pump)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_free, .step = step_all, .end = end, .reply = reply,
        .is_short = true });
}

/* The first of those who wait dies; what it leaves is the others'. */
static int step_kill(struct work *w)
{
    int err = 0;

    if (writer[0] != NULL) {
        err = domain_kill(writer[0], w);
        CHECK_EQ(oom_audit(), 0);
        if (err == 0) {
            domain_put(writer[0]);
            writer[0] = NULL;
        }
    }
    return err;
}

TEST(each_check_of_killing_who_waits)
{
    preempt_matrix(&(struct preempt_case){
        .begin = begin_parked, .step = step_kill, .end = end,
        .reply = reply, .by_itself = true });
}
