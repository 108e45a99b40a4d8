/*
 * test_oom.c - vCPUs that wait for memory: parked with their write not done,
 * resumed in their turn when there is some, killed instead, paused, forgotten.
 */
#include "domains.h"
#include "test.h"

#include <public/xen/hvm.h>
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/event.h>
#include <quire/fork.h>
#include <quire/grace.h>
#include <quire/heap.h>
#include <quire/notice.h>
#include <quire/oom.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>
#include <quire/pressure.h>
#include <string.h>
#include <time.h>

#define PAGES 8u
#define MAX_WRITERS 6u

static struct domain *source, *writer[MAX_WRITERS];
static struct frame *hog;
static struct script_step steps[MAX_WRITERS][PAGES + 1];

/* Everything that is free, but for the reserve, so that nothing is left. */
static void take_all(void)
{
    struct frame *f;

    page_cache_drain();
    heap_cache_drain();
    while ((f = page_alloc(0, FRAME_HEAP)) != NULL) {
        f->user = hog;
        hog = f;
    }
}

static void give_back(unsigned nr)
{
    for (unsigned i = 0; i < nr && hog != NULL; i++) {
        struct frame *f = hog;

        hog = f->user;
        page_free(f, 0);
    }
}

/* Domain @i has the pages of the source, and nothing of its own. */
static void share_with(struct domain *d)
{
    for (unsigned g = 0; g < PAGES; g++) {
        struct share_merge m = { 0 };
        share_handle_t from, to;

        CHECK_EQ(share_nominate(source->p2m, GFN(g), &from), 0);
        CHECK_EQ(share_nominate(d->p2m, GFN(g), &to), 0);
        CHECK_EQ(share_frames(source->p2m, GFN(g), from, d->p2m, GFN(g), to,
                              &m, NULL), 0);
    }
}

/* @nr domains that share all their pages; each script writes every page. */
static void boot_on(unsigned cpus, unsigned nr, enum oom_policy policy)
{
    struct domain_config c = test_config("source", PAGES);

    hog = NULL;
    test_machine(4096, cpus);
    source = test_create(&c);
    for (unsigned i = 0; i < nr; i++) {
        c = test_config("writer", PAGES);
        c.oom = policy;
        writer[i] = test_create(&c);
        share_with(writer[i]);
        for (unsigned g = 0; g < PAGES; g++) {
            steps[i][g] = (struct script_step){
                .op = SCRIPT_WRITE, .gpa = gfn_to_gpa(GFN(g)) + 8 * i,
                .value = 1000 * i + g };
        }
        steps[i][PAGES] = (struct script_step){ .op = SCRIPT_SHUTDOWN };
    }
}

static void boot(unsigned nr, enum oom_policy policy)
{
    boot_on(1, nr, policy);
}

static void start(unsigned i)
{
    test_start(writer[i], steps[i], PAGES + 1);
}

static void check_audits(void)
{
    CHECK_EQ(oom_audit(), 0);
    CHECK_EQ(domain_audit(), 0);
}

/* What domain @i must have written. */
static void check_contents(unsigned i)
{
    for (unsigned g = 0; g < PAGES; g++) {
        uint64_t word = 0;

        CHECK_EQ(guest_read_gpa(writer[i]->p2m, gfn_to_gpa(GFN(g)) + 8 * i,
                                &word, sizeof(word)), 0);
        CHECK_EQ(word, 1000 * i + g);
    }
}

static void end(unsigned nr)
{
    give_back(UINT32_MAX);
    for (unsigned i = 0; i < nr; i++) {
        test_kill(writer[i]);
    }
    test_kill(source);
    CHECK(test_run_idle());
    test_settle();
    struct oom_stats s;

    oom_stats_get(&s);
    CHECK_EQ(s.waiting, 0);
    CHECK_EQ(s.promised, 0);
    CHECK_EQ(oom_audit(), 0);
    CHECK_EQ(mem_audit(), 0);
}

static unsigned parked(unsigned i)
{
    return atomic_load(&writer[i]->oom.nr_parked);
}

static bool has_shut_down(unsigned i)
{
    return atomic_load(&writer[i]->state) == DOMAIN_SHUTDOWN;
}

TEST(a_write_waits_for_a_frame_and_is_done_by_itself)
{
    struct notice n;

    boot(1, OOM_WAIT);
    take_all();
    start(0);
    CHECK(test_run_idle());
    CHECK_EQ(parked(0), 1);
    CHECK_EQ(atomic_load(&writer[0]->state), DOMAIN_RUNNING);
    CHECK_EQ(writer[0]->pause_count, 0);
    CHECK_EQ(writer[0]->crash_reason[0], 0);
    CHECK(notice_get(1, &n));
    CHECK_EQ(n.kind, NOTICE_OOM_WAIT);
    CHECK_EQ(n.gfn.n, 0);
    CHECK(!n.is_limit);
    check_audits();
    for (unsigned g = 1; g < PAGES; g++) {
        give_back(1);
        CHECK(test_run_idle());
        CHECK_EQ(parked(0), 1);
        CHECK_EQ(writer[0]->vcpus[0]->oom.gfn.n, g);
        check_audits();
    }
    give_back(1);
    CHECK(test_run_idle());
    CHECK_EQ(parked(0), 0);
    CHECK(has_shut_down(0));
    CHECK_EQ(atomic_load(&writer[0]->oom.parks), PAGES);
    CHECK_EQ(atomic_load(&writer[0]->oom.resumes), PAGES);
    check_contents(0);
    end(1);
}

TEST(the_first_to_wait_is_the_first_to_go_on)
{
    boot(4, OOM_WAIT);
    take_all();
    for (unsigned i = 0; i < 4; i++) {
        start(i);
        CHECK(test_run_idle());
    }
    /* One frame at a time goes round: nobody is two pages ahead. */
    for (unsigned n = 0; n < 4 * PAGES; n++) {
        for (unsigned i = 0; i < 4; i++) {
            CHECK_EQ(atomic_load(&writer[i]->oom.resumes),
                     n / 4 + (i < n % 4));
        }
        give_back(1);
        CHECK(test_run_idle());
        check_audits();
    }
    for (unsigned i = 0; i < 4; i++) {
        CHECK(has_shut_down(i));
        check_contents(i);
    }
    end(4);
}

/* Who comes later must not take what is promised to those who wait. */
TEST(a_newcomer_goes_behind)
{
    boot(2, OOM_WAIT);
    take_all();
    start(0);
    CHECK(test_run_idle());
    start(1);               /* runs before the pump has handed out */
    give_back(1);
    CHECK(test_run_idle());
    CHECK_EQ(atomic_load(&writer[0]->oom.resumes), 1);
    CHECK_EQ(atomic_load(&writer[1]->oom.resumes), 0);
    CHECK_EQ(atomic_load(&writer[1]->p2m->share.copies), 0);
    end(2);
}

TEST(at_its_own_limit_it_waits_for_that)
{
    struct owner *o;
    struct notice n;
    uint64_t pages;

    boot(2, OOM_WAIT);
    o = owner_get(writer[0]->id);
    pages = atomic_load(&o->pages);
    CHECK_EQ(owner_set_max(writer[0]->id, pages), 0);
    start(0);
    start(1);
    CHECK(test_run_idle());
    CHECK_EQ(parked(0), 1);
    CHECK(has_shut_down(1));        /* nobody else is concerned */
    CHECK(notice_get(1, &n));
    CHECK(n.is_limit);
    check_audits();
    CHECK_EQ(owner_set_max(writer[0]->id, pages + 3), 0);
    CHECK(test_run_idle());
    CHECK_EQ(parked(0), 1);
    CHECK_EQ(atomic_load(&o->pages), pages + 3);
    check_audits();
    /* Room by giving up a page of its own. */
    CHECK_EQ(domain_remove_gfn(writer[0], GFN(0)), 0);
    CHECK(test_run_idle());
    CHECK_EQ(writer[0]->vcpus[0]->oom.gfn.n, 4);
    CHECK_EQ(owner_set_max(writer[0]->id, UINT64_MAX), 0);
    CHECK(test_run_idle());
    CHECK(has_shut_down(0));
    end(2);
}

TEST(a_pause_is_independent_of_it)
{
    boot(2, OOM_WAIT);
    take_all();
    start(0);
    CHECK(test_run_idle());
    start(1);
    CHECK(test_run_idle());
    CHECK_EQ(domain_pause(writer[0]), 0);
    give_back(2);
    CHECK(test_run_idle());
    /* The paused one stays where it was, the other passes. */
    CHECK_EQ(parked(0), 1);
    CHECK_EQ(atomic_load(&writer[0]->vcpus[0]->oom.state), OOM_STALLED);
    CHECK_EQ(atomic_load(&writer[1]->p2m->share.copies), 2);
    CHECK_EQ(parked(1), 1);
    check_audits();
    /* Unpaused, it is first again. */
    CHECK_EQ(domain_unpause(writer[0]), 0);
    CHECK_EQ(domain_unpause(writer[0]), -EINVAL);
    CHECK(test_run_idle());
    CHECK_EQ(parked(0), 1);
    give_back(1);
    CHECK(test_run_idle());
    CHECK_EQ(atomic_load(&writer[0]->oom.resumes), 1);
    check_audits();
    end(2);
}

TEST(a_kill_makes_room_for_the_others)
{
    boot(3, OOM_WAIT);
    take_all();
    for (unsigned i = 0; i < 3; i++) {
        start(i);
        CHECK(test_run_idle());
    }
    give_back(PAGES);
    CHECK(test_run_idle());
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(parked(i), 1);
    }
    check_audits();
    domain_get(writer[0]);
    test_kill(writer[0]);
    CHECK_EQ(parked(0), 0);
    check_audits();
    CHECK(test_run_idle());
    CHECK(has_shut_down(1) || parked(1) == 1);
    CHECK(atomic_load(&writer[1]->oom.resumes) +
          atomic_load(&writer[2]->oom.resumes) >= 2);
    end(3);
}

TEST(by_policy_it_is_killed)
{
    struct notice n;
    unsigned kills = 0;

    boot(2, OOM_KILL);
    oom_set_policy(writer[1], OOM_WAIT);
    take_all();
    start(1);
    CHECK(test_run_idle());
    CHECK_EQ(parked(1), 1);
    start(0);
    CHECK(test_run_idle());
    CHECK_EQ(atomic_load(&writer[0]->state), DOMAIN_DEAD);
    CHECK(strstr(writer[0]->crash_reason, "oom=kill") != NULL);
    for (uint64_t i = 1; notice_get(i, &n); i++) {
        kills += n.kind == NOTICE_OOM_KILL && n.domain == writer[0]->id;
    }
    CHECK_EQ(kills, 1);
    /* One that waits already. */
    oom_set_policy(writer[1], OOM_KILL);
    CHECK(test_run_idle());
    CHECK_EQ(atomic_load(&writer[1]->state), DOMAIN_DEAD);
    end(2);
}

/* It runs elsewhere than it wrote: a promise does not last for ever. */
TEST(a_promise_that_is_not_used_lapses)
{
    struct oom_stats s;

    boot(2, OOM_WAIT);
    take_all();
    start(0);
    CHECK(test_run_idle());
    vcpu_set_online(writer[0]->vcpus[0], false);
    start(1);
    CHECK(test_run_idle());
    give_back(1);
    for (unsigned i = 0; i < 100000 && parked(1) != 0; i++) {
        run_loop_once();
        arch_relax();
        oom_stats_get(&s);
        if (s.lapsed == 1 && s.promised == 0) {
            break;
        }
        struct timespec ms = { 0, 1000000 };

        nanosleep(&ms, NULL);
    }
    CHECK_EQ(s.lapsed, 1);
    CHECK(test_run_idle());
    CHECK_EQ(atomic_load(&writer[1]->oom.resumes), 1);
    vcpu_set_online(writer[0]->vcpus[0], true);
    end(2);
}

/* No memory at any allocation of the fault: it waits, tries again, and in the
 * end has written. */
TEST(each_allocation_failed)
{
    for (unsigned nth = 1; nth < 4; nth++) {
        boot(1, OOM_WAIT);
        host_fail_alloc_at(nth);
        start(0);
        for (unsigned i = 0; i < 1000 && !has_shut_down(0); i++) {
            struct timespec ms = { 0, 1000000 };

            if (!run_loop_once()) {
                nanosleep(&ms, NULL);
            }
        }
        host_fail_alloc_at(0);
        CHECK(has_shut_down(0));
        CHECK_EQ(atomic_load(&writer[0]->oom.parks), 1);
        check_contents(0);
        end(1);
    }
}

/* It had a frame and failed all the same: not at once again, but again. */
TEST(a_promise_that_was_too_little_is_tried_again)
{
    struct timespec ms = { 0, 1000000 };

    boot(1, OOM_WAIT);
    take_all();
    start(0);
    CHECK(test_run_idle());
    host_fail_alloc_at(1);
    give_back(1);
    CHECK(test_run_idle());
    host_fail_alloc_at(0);
    CHECK_EQ(parked(0), 1);
    CHECK_EQ(page_nr_available(), 1);
    check_audits();
    for (unsigned i = 0;
         i < 5000 && atomic_load(&writer[0]->oom.resumes) == 0; i++) {
        if (!run_loop_once()) {
            nanosleep(&ms, NULL);
        }
    }
    CHECK_EQ(atomic_load(&writer[0]->oom.resumes), 1);
    CHECK(test_run_idle());
    end(1);
}

/* The child begins with the write that its parent waits to do, and waits for
 * nothing itself. */
TEST(a_fork_of_one_that_waits)
{
    struct fork_config c = { .name = "child", .id = DOMID_INVALID };
    struct domain *child = NULL;
    char why[DOMAIN_WHY_MAX];

    boot(1, OOM_WAIT);
    uint64_t pages = atomic_load(&owner_get(writer[0]->id)->pages);

    CHECK_EQ(owner_set_max(writer[0]->id, pages), 0);
    start(0);
    CHECK(test_run_idle());
    CHECK_EQ(parked(0), 1);
    CHECK_EQ(domain_fork(writer[0], &c, &child, why, NULL), 0);
    domain_get(child);
    CHECK_EQ(atomic_load(&child->oom.nr_parked), 0);
    CHECK_EQ(child->vcpus[0]->regs.rip, writer[0]->vcpus[0]->regs.rip);
    check_audits();
    test_script(child, 0, steps[0], PAGES + 1);
    CHECK_EQ(owner_set_max(child->id, UINT64_MAX), 0);
    CHECK_EQ(domain_unpause(child), 0);
    CHECK(test_run_idle());
    CHECK_EQ(atomic_load(&child->state), DOMAIN_SHUTDOWN);
    CHECK_EQ(parked(0), 1);
    CHECK_EQ(owner_set_max(writer[0]->id, UINT64_MAX), 0);
    CHECK(test_run_idle());
    CHECK(has_shut_down(0));
    check_contents(0);
    test_kill(child);
    end(1);
}

/* CPU 1 has freed, and kept, what CPU 0's domain waits for. */
static _Atomic int hoard;

static void hoarder(void *arg)
{
    (void)arg;
    grace_enter();
    if (arch_cpu() == 1) {
        give_back(PAGES);
        atomic_store(&hoard, 1);
    }
    while (atomic_load(&hoard) == 0) {
        arch_relax();
    }
    if (arch_cpu() == 0) {
        for (unsigned i = 0; i < 200000 && !has_shut_down(0); i++) {
            run_loop_once();
            arch_relax();
        }
        atomic_store(&hoard, 2);
    }
    while (atomic_load(&hoard) != 2) {
        run_loop_once();
    }
    grace_leave();
}

TEST(what_another_cpu_keeps_is_found)
{
    boot_on(2, 1, OOM_WAIT);
    take_all();
    atomic_store(&hoard, 0);
    writer[0]->vcpus[0]->cpu = 0;
    test_script(writer[0], 0, steps[0], PAGES + 1);
    CHECK_EQ(domain_unpause(writer[0]), 0);
    host_run_on_cpus(2, hoarder, NULL);
    grace_enter();
    CHECK(has_shut_down(0));
    CHECK(atomic_load(&writer[0]->oom.parks) > 0);
    check_contents(0);
    end(1);
}

TEST(notices_are_numbered_and_the_oldest_are_lost)
{
    struct notice n = { .kind = NOTICE_SHUTDOWN, .domain = 7 };

    test_machine(1024, 1);
    CHECK(!notice_get(0, &n));
    CHECK_EQ(notice_last(), 0);
    for (unsigned i = 0; i < NOTICE_RING + 10; i++) {
        n.value = i;
        notice_add(&n);
    }
    CHECK_EQ(notice_last(), NOTICE_RING + 10);
    CHECK(notice_get(1, &n));
    CHECK_EQ(n.number, 11);
    CHECK_EQ(n.value, 10);
    CHECK(notice_get(NOTICE_RING + 10, &n));
    CHECK_EQ(n.value, NOTICE_RING + 9);
    CHECK(!notice_get(NOTICE_RING + 11, &n));
}
