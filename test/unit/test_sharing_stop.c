/* test_sharing_stop.c - a vCPU that stops in the middle of an
 * XENMEM_sharing_op: down, shut down, crashed, killed, or back again. */
#include "test_sharing.h"

#include "../../common/domain/policy.h"

#include <public/xen/vcpu.h>
#include <quire/rng.h>

static _Atomic bool has_run;

/* This CPU's tasks, a unit at a time, until there are none. */
static void run_tasks_here(void *unused)
{
    struct work w;

    (void)unused;
    do {
        w = (struct work){ .left = 1 };
        if (task_is_pending()) {
            atomic_store(&has_run, true);
        }
    } while (task_run_slice(&w));
    heap_cache_drain();
    page_cache_drain();
}

/* Those of both, and what they have queued on each other. */
static void run_tasks(void)
{
    do {
        atomic_store(&has_run, false);
        host_run_on_cpus(2, run_tasks_here, NULL);
    } while (atomic_load(&has_run));
}

static void go_down(void)
{
    vcpu_go_down(caller_vcpu);
}

static void go_down_by_another(void)
{
    struct vcpu *first = caller_vcpu;

    caller_vcpu = caller->vcpus[1];
    set_mode(caller_vcpu, false);
    CHECK_EQ(call2(__HYPERVISOR_vcpu_op, VCPUOP_down, 0), 0);
    caller_vcpu = first;
}

static void shut_down(void)
{
    domain_shutdown(caller, SHUTDOWN_SUSPEND);
}

static void crash(void)
{
    domain_crash(caller, "on purpose");
}

static void (*const ways[])(void) = { go_down, go_down_by_another, shut_down,
                                      crash };

TEST(a_merge_of_who_stops)
{
    for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
        uint64_t sh, ch;

        begin();
        (void)half_a_merge(&sh, &ch);
        ways[i]();
        run_tasks();
        CHECK(caller_vcpu->sharing == NULL);
        CHECK_EQ(atomic_load(&caller_vcpu->pause_count),
                 1u + (i >= 2 || i == 0));
        audit_all();
        end_domain(&caller);
        make_caller(true, false);
        merge_the_rest();
        end();
    }
}

/* Whatever slice of the fork it was in. */
TEST(a_fork_of_who_stops)
{
    bool over = false;

    for (unsigned slices = 1; !over; slices++) {
        struct xen_mem_sharing_op op;
        int64_t r = -ERESTART;

        begin();
        op = fork_op(a, 0);
        for (unsigned i = 0; i < slices && r == -ERESTART; i++) {
            struct work w = { .left = 1 };

            r = sharing_op_run(caller_vcpu, &op, &w);
        }
        over = r == 0;
        ways[slices % ARRAY_SIZE(ways)]();
        run_tasks();
        if (over) {
            test_kill(domain_find(op.domain));
        }
        CHECK(caller_vcpu->sharing == NULL);
        CHECK_EQ(a->nr_forking, 0);
        CHECK_EQ(atomic_load(&caller->nr_pausing), 0);
        CHECK_EQ(domain_count(), 3);
        end();
    }
}

/* It is back before the task has looked, or later: it begins again. */
TEST(who_comes_back)
{
    struct xen_mem_sharing_op op;

    for (unsigned late = 0; late < 2; late++) {
        struct work w = { .left = 1 };
        uint64_t r;

        begin();
        op = fork_op(a, 0);
        r = (uint64_t)sharing_op_run(caller_vcpu, &op, &w);
        CHECK_EQ((int64_t)r, -ERESTART);
        domain_shutdown(caller, SHUTDOWN_SUSPEND);
        if (late != 0) {
            run_tasks();
        }
        CHECK_EQ(domain_resume(caller), 0);
        run_tasks();
        CHECK((caller_vcpu->sharing == NULL) == (late != 0));
        CHECK_EQ(atomic_load(&caller_vcpu->pause_count), 1);
        CHECK_EQ(op_all(&op), 0);
        test_kill(domain_find(op.domain));
        end();
    }
}

/* One is stopped while the task is at another: it is not forgotten. */
TEST(two_that_stop)
{
    for (unsigned slices = 0; slices < 12; slices++) {
        struct xen_mem_sharing_op op, other;
        struct work w;

        begin();
        op = fork_op(a, 0);
        other = fork_op(b, 0);
        for (unsigned i = 0; i < 5; i++) {
            w = (struct work){ .left = 1 };
            CHECK_EQ(sharing_op_run(caller->vcpus[0], &op, &w), -ERESTART);
            w = (struct work){ .left = 1 };
            CHECK_EQ(sharing_op_run(caller->vcpus[1], &other, &w),
                     -ERESTART);
        }
        set_mode(caller->vcpus[0], false);
        vcpu_go_down(caller->vcpus[1]);
        for (unsigned i = 0; i < slices; i++) {
            w = (struct work){ .left = 1 };
            (void)task_run_slice(&w);
        }
        vcpu_go_down(caller->vcpus[0]);
        run_tasks();
        CHECK(caller->vcpus[0]->sharing == NULL);
        CHECK(caller->vcpus[1]->sharing == NULL);
        CHECK_EQ(a->nr_forking, 0);
        CHECK_EQ(b->nr_forking, 0);
        end();
    }
}

/* The task has begun, or has not, when the domain is killed. */
TEST(killed_while_it_is_given_up)
{
    for (unsigned slices = 0; slices < 12; slices++) {
        struct xen_mem_sharing_op op;
        struct work w = { .left = 1 };

        begin();
        op = fork_op(a, 0);
        for (unsigned i = 0; i < 5; i++) {
            w.left = 1;
            CHECK_EQ(sharing_op_run(caller_vcpu, &op, &w), -ERESTART);
        }
        crash();
        for (unsigned i = 0; i < slices; i++) {
            w.left = 1;
            (void)task_run_slice(&w);
        }
        while (domain_kill(caller, &w) != 0) {
            w.left = 1;
        }
        CHECK_EQ(a->nr_forking, 0);
        CHECK_EQ(domain_count(), 2);
        run_tasks();
        end();
    }
}

/* From DYING on it is the kill's, but not before the task is out of a slice
 * that began earlier. */
TEST(the_kill_takes_over)
{
    struct xen_mem_sharing_op op;
    struct work w = { .left = 1 };

    begin();
    op = fork_op(a, 0);
    for (unsigned i = 0; i < 5; i++) {
        w.left = 1;
        CHECK_EQ(sharing_op_run(caller_vcpu, &op, &w), -ERESTART);
    }
    go_down();
    w.left = 1;
    CHECK_EQ(domain_kill(caller, &w), -ERESTART);
    CHECK_EQ(atomic_load(&caller->state), DOMAIN_DYING);
    run_tasks();
    CHECK(caller_vcpu->sharing != NULL);
    atomic_store(&caller->sharing_stop.busy, true);
    for (unsigned i = 0; i < 100; i++) {
        w.left = 1;
        CHECK_EQ(domain_kill(caller, &w), -ERESTART);
    }
    CHECK(caller_vcpu->sharing != NULL);
    atomic_store(&caller->sharing_stop.busy, false);
    end();
}

static _Atomic bool has_begun, is_killed;
static unsigned head_start;     /* of the task */

/* The task is CPU 0's, the kill the other's, as they come. */
static void kill_or_give_up(void *unused)
{
    struct work w = { .left = 1 };

    (void)unused;
    if (arch_cpu() == 0) {
        while (!atomic_load(&has_begun)) {
            arch_relax();
        }
        while (!atomic_load(&is_killed)) {
            run_tasks_here(NULL);
        }
        return;
    }
    atomic_store(&has_begun, true);
    for (unsigned i = 0; i < head_start; i++) {
        arch_relax();
    }
    while (domain_kill(caller, &w) != 0) {
        w.left = 1;
    }
    atomic_store(&is_killed, true);
}

TEST(killed_from_another_cpu)
{
    struct rng r;

    rng_seed(&r, test_seed);
    for (unsigned round = 0; round < 100 * test_rounds; round++) {
        struct xen_mem_sharing_op op;
        struct work w;

        begin();
        op = fork_op(a, 0);
        for (unsigned i = 0; i < 2 + round % 8; i++) {
            w = (struct work){ .left = 1 };
            CHECK_EQ(sharing_op_run(caller_vcpu, &op, &w), -ERESTART);
        }
        crash();
        atomic_store(&has_begun, false);
        atomic_store(&is_killed, false);
        head_start = (unsigned)rng_below(&r, 100);
        host_run_on_cpus(2, kill_or_give_up, NULL);
        run_tasks();
        CHECK_EQ(a->nr_forking, 0);
        CHECK_EQ(domain_count(), 2);
        end();
    }
}
