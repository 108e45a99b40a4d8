/*
 * test_kill_states.c - a kill of a domain in each state that it can be in by
 * itself: paused, crashed, waiting for memory, dying already, half-built.
 */
#include "test_kill.h"

#include "../../common/domain/domain_life.h"

#include <quire/oom.h>
#include <quire/owner.h>

static void nothing(void) { }
static void paused(void) { CHECK_EQ(domain_pause(d), 0); }
static void crashed(void) { domain_crash(d, "by the test"); }
static void shut_down(void) { domain_shutdown(d, SHUTDOWN_POWEROFF); }
static void suspended(void) { domain_shutdown(d, SHUTDOWN_SUSPEND); }

TEST(as_it_was_made) { in_each_way(nothing); }
TEST(paused) { in_each_way(paused); }
TEST(crashed) { in_each_way(crashed); }
TEST(shut_down) { in_each_way(shut_down); }
TEST(suspended) { in_each_way(suspended); }

/* In each stage of another's kill, who does not come back. */
static int64_t first_slice;

static void dying(void)
{
    struct work w = { .left = first_slice };

    (void)!domain_kill(d, &w);
}

TEST(dying_already)
{
    for (first_slice = 1; first_slice < 9000; first_slice += 790) {
        in_each_way(dying);
    }
}

/* Asked for a third time while its own task has it in a queue. */
static void killed_async(void)
{
    domain_kill_async(d);
    domain_kill_async(d);
    first_slice = 300;
    dying();
}

TEST(killed_by_its_task_too) { in_each_way(killed_async); }

/* The one who asked has gone; thousands of things happen; it still goes. */
TEST(left_for_a_long_time)
{
    struct work w = { .left = 2000 };

    world();
    CHECK_EQ(domain_kill(d, &w), -ERESTART);
    bustle(4000);
    CHECK_EQ(atomic_load(&d->state), DOMAIN_DYING);
    domain_kill_async(d);
    CHECK(test_run_idle());
    CHECK_EQ(atomic_load(&d->state), DOMAIN_DEAD);
    domid_t id = d->id;

    domain_put(d);
    d = NULL;
    test_settle();
    check_id(id);
    end();
}

/* Somebody on another CPU has its vCPUs and events in hand for a slice. */
TEST(visited)
{
    world();
    CHECK(domain_visit(d));
    CHECK_EQ(domain_kill(d, NULL), -ERESTART);
    CHECK_EQ(domain_kill(d, NULL), -ERESTART);
    CHECK_EQ(atomic_load(&d->kill_stage), KILL_DESCHEDULE);
    CHECK(!domain_visit(d));
    domain_leave(d);
    kill_in(INT64_MAX, 0);
    end();
}

/* ---- waiting for memory -------------------------------------------------- */

static struct script_step steps[PAGES + 1];

static void parked(void)
{
    uint64_t pages = atomic_load(&owner_get(d->id)->pages);

    for (unsigned g = 0; g < PAGES; g++) {
        steps[g] = (struct script_step){ .op = SCRIPT_WRITE, .value = g,
                                         .gpa = gfn_to_gpa(GFN(g)) };
    }
    steps[PAGES] = (struct script_step){ .op = SCRIPT_SHUTDOWN };
    CHECK_EQ(owner_set_max(d->id, pages + 1), 0);
    test_start(d, steps, PAGES + 1);
    CHECK(test_run_idle());
    CHECK_EQ(atomic_load(&d->oom.nr_parked), 1);
}

TEST(waiting_for_memory) { in_each_way(parked); }

/* ---- in creation --------------------------------------------------------- */

static struct domain *being_made;
static struct domain_config config;

static int go_on(int64_t units)
{
    struct work w = { .left = units };
    int err = domain_create(&config, &being_made, NULL, &w);

    CHECK_EQ(nr_locks_held(), 0);
    return err;
}

/* Killed after @at slices of its creation: its creator undoes it. */
static bool killed_in_creation(unsigned at)
{
    struct work w = { .left = 1 };
    int err = -ERESTART;

    world();
    kill_in(INT64_MAX, 0);
    config = test_config("half", PAGES);
    config.nr_vcpus = 2;
    being_made = NULL;
    for (unsigned i = 0; i < at && err == -ERESTART; i++) {
        err = go_on(1);
    }
    if (err == -ERESTART) {
        CHECK_EQ(domain_kill(being_made, &w), -ERESTART);
        CHECK_EQ(domain_kill(being_made, &w), -ERESTART);
        while ((err = go_on(1)) == -ERESTART) {
            bustle(1);
        }
        CHECK_EQ(err, -EINTR);
        CHECK(being_made == NULL);
        end();
        return true;
    }
    CHECK_EQ(err, 0);
    domain_get(being_made);
    test_kill(being_made);
    end();
    return false;
}

TEST(in_creation)
{
    unsigned at = 1;

    while (killed_in_creation(at)) {
        at++;
    }
    CHECK(at > PAGES);
}

/* The creation itself fails, at each allocation; it is killed as well. */
TEST(a_creation_that_fails)
{
    bool failed = true;

    for (unsigned n = 1; failed; n++) {
        struct work w = { .left = 1 };
        int err;

        world();
        kill_in(INT64_MAX, 0);
        config = test_config("half", PAGES);
        being_made = NULL;
        host_fail_alloc_at(n);
        while ((err = go_on(1)) == -ERESTART) {
            if (host_alloc_failed() && being_made != NULL) {
                /* Its undoing is a kill: this may be its last slice. */
                (void)!domain_kill(being_made, &w);
            }
        }
        failed = host_alloc_failed();
        host_fail_alloc_at(0);
        if (err == 0) {
            domain_get(being_made);
            test_kill(being_made);
        } else {
            CHECK(failed);
        }
        end();
    }
}
