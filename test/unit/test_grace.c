/* test_grace.c - nothing is freed under a reader; everything is in the end.
 * Also tasks, which the same run loop drives. */
#include "test.h"

#include "host.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/grace.h>
#include <quire/heap.h>
#include <quire/task.h>

struct thing { struct grace_head grace; unsigned n; };

static unsigned order[8], nr_ran;

static void ran(struct grace_head *h)
{
    order[nr_ran++] = container_of(h, struct thing, grace)->n;
}

TEST(callbacks_run_in_turn_after_the_only_cpu_was_quiescent)
{
    struct thing t[3] = { { .n = 1 }, { .n = 2 }, { .n = 3 } };

    host_machine_init(512, 1);
    nr_ran = 0;
    for (unsigned i = 0; i < 3; i++) {
        grace_defer(&t[i].grace, ran);
    }
    CHECK_EQ(grace_nr_pending(), 3);
    CHECK_EQ(nr_ran, 0);
    for (unsigned i = 0; i < 3 && nr_ran < 3; i++) {
        grace_quiesce();
    }
    CHECK_EQ(nr_ran, 3);
    CHECK_EQ(order[0] * 100 + order[1] * 10 + order[2], 123);
    CHECK_EQ(grace_nr_pending(), 0);
}

/* CPU 1 is played by this thread under another number. */
static void as_cpu(unsigned cpu, void (*fn)(void))
{
    unsigned self = host_cpu;

    host_cpu = cpu;
    fn();
    host_cpu = self;
}

static void quiesce_many(void)
{
    for (unsigned i = 0; i < 10; i++) {
        grace_quiesce();
    }
}

TEST(a_reader_holds_callbacks_up_until_quiescent_or_away)
{
    struct thing t = { .n = 7 };

    host_machine_init(512, 2);
    nr_ran = 0;
    as_cpu(1, grace_enter);
    grace_defer(&t.grace, ran);
    quiesce_many();
    CHECK_EQ(nr_ran, 0);
    as_cpu(1, grace_quiesce);
    quiesce_many();
    CHECK_EQ(nr_ran, 1);

    grace_defer(&t.grace, ran);
    quiesce_many();
    CHECK_EQ(nr_ran, 1);
    as_cpu(1, grace_leave);
    quiesce_many();
    CHECK_EQ(nr_ran, 2);

    /* One that comes back later cannot have the old pointer. */
    grace_defer(&t.grace, ran);
    as_cpu(1, grace_enter);
    as_cpu(1, grace_leave);
    quiesce_many();
    CHECK_EQ(nr_ran, 3);
}

static void defer_again(struct grace_head *h)
{
    struct thing *t = container_of(h, struct thing, grace);

    if (t->n-- != 0) {
        grace_defer(h, defer_again);
    }
    nr_ran++;
}

TEST(a_callback_may_defer)
{
    struct thing t = { .n = 5 };

    host_machine_init(512, 1);
    nr_ran = 0;
    grace_defer(&t.grace, defer_again);
    for (unsigned i = 0; i < 20; i++) {
        grace_quiesce();
    }
    CHECK_EQ(nr_ran, 6);
}

/*
 * Readers follow a shared pointer that writers replace; what is replaced is
 * overwritten when freed. A reader that sees the filling was betrayed.
 */
#define ALIVE UINT64_C(0x600d)
struct node { _Atomic uint64_t state; struct grace_head grace; };
static struct node *_Atomic shared;
static _Atomic uint64_t betrayed;
static uint64_t rounds;

static void free_node(struct grace_head *h)
{
    struct node *n = container_of(h, struct node, grace);

    n->state = 0;
    heap_free(n);
}

static void replace(void)
{
    struct node *n = heap_alloc(sizeof(*n)), *old;

    if (n == NULL) {
        return;
    }
    n->state = ALIVE;
    old = atomic_exchange(&shared, n);
    if (old != NULL) {
        grace_defer(&old->grace, free_node);
    }
}

static void read_and_replace(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < rounds; i++) {
        struct node *n = shared;

        for (unsigned k = 0; k < 3; k++) {
            if (n != NULL && n->state != ALIVE) {
                betrayed++;
            }
            arch_relax();
        }
        if (i % 4 == arch_cpu() % 4) {
            replace();
        }
        if (i % 16 == 5) {
            grace_leave();
            arch_relax();
            grace_enter();
        } else {
            grace_quiesce();
        }
    }
}

TEST(readers_on_four_cpus_are_never_betrayed)
{
    host_machine_init(4096, 4);
    shared = NULL;
    betrayed = 0;
    rounds = 3000 * test_rounds;
    host_run_on_cpus(4, read_and_replace, NULL);
    CHECK_EQ(betrayed, 0);
    heap_free(shared);
    host_machine_init(512, 1);
    CHECK_EQ(grace_nr_pending(), 0);
}

struct job { struct task task; int slices; unsigned runs; };

static int slice(struct task *t, struct work *w)
{
    struct job *j = container_of(t, struct job, task);

    CHECK_EQ(w->left, WORK_SLICE);
    j->runs++;
    return --j->slices > 0 ? -ERESTART : 0;
}

TEST(tasks_take_turns_by_slices)
{
    struct job a = { { .run = slice }, 3, 0 }, b = { { .run = slice }, 1, 0 };

    CHECK(!task_is_pending());
    CHECK(!task_run_one());
    task_queue(&a.task, 0);
    task_queue(&b.task, 0);
    CHECK(task_is_pending());
    CHECK(task_run_one());
    CHECK_EQ(a.runs, 1);
    CHECK(task_run_one());
    CHECK_EQ(b.runs, 1);
    CHECK(task_run_one() && task_run_one());
    CHECK_EQ(a.runs, 3);
    CHECK(!task_run_one());
}

static int expiring(struct task *t, struct work *w)
{
    struct job *j = container_of(t, struct job, task);

    for (;;) {
        j->runs++;
        if (work_spend(w, 1000)) {
            return 0;
        }
    }
}

TEST(a_slice_is_worth_its_units)
{
    struct job a = { { .run = expiring }, 0, 0 };

    task_queue(&a.task, 0);
    CHECK(task_run_one());
    CHECK_EQ(a.runs, WORK_SLICE / 1000);
    CHECK(!work_spend(NULL, INT64_MAX));
}
