/*
 * test_domain.c - a domain's life: created, run, paused, shut down, crashed,
 * killed; what creation refuses; and that nothing is left behind.
 */
#include "domains.h"
#include "test.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/owner.h>
#include <quire/page_alloc.h>
#include <string.h>

static struct domain *make(uint64_t pages)
{
    struct domain_config c = test_config("t", pages);

    return test_create(&c);
}

TEST(created_run_and_killed)
{
    static const struct script_step steps[] = {
        { .op = SCRIPT_WRITE, .gpa = 0x1000, .value = 42 },
        { .op = SCRIPT_EXPECT, .gpa = 0x1000, .value = 42 },
        { .op = SCRIPT_EXPECT, .gpa = 0x2000, .value = 0 },
        { .op = SCRIPT_HLT },
    };
    test_machine(4096, 1);
    test_settle();
    uint64_t nr_free = page_nr_free();
    struct domain *d = make(64);

    CHECK_EQ(atomic_load(&owner_get(d->id)->pages), 65);
    test_start(d, steps, ARRAY_SIZE(steps));
    CHECK(test_run_until(d, DOMAIN_SHUTDOWN));
    CHECK_EQ(d->shutdown, SHUTDOWN_POWEROFF);
    CHECK_EQ(d->vcpus[0]->nr_exits[EXIT_HLT], 1);
    CHECK_EQ(domain_audit(), 0);
    test_kill(d);
    test_settle();
    CHECK_EQ(page_nr_free(), nr_free);
    CHECK_EQ(domain_count(), 0);
    CHECK_EQ(domain_nr_unfreed(), 0);
}

TEST(id_is_reusable_after_the_last_reference)
{
    test_machine(4096, 1);
    struct domain_config c = test_config("first", 4);

    c.id = 7;
    struct domain *d = test_create(&c);
    struct domain *second = NULL;
    char why[DOMAIN_WHY_MAX];

    CHECK_EQ(d->id, 7);
    CHECK_EQ(domain_create(&c, &second, why, NULL), -EEXIST);
    CHECK(domain_find(7) == d);
    domain_put(d);
    CHECK_EQ(domain_kill(d, NULL), 0);
    CHECK(domain_find(7) == NULL);
    CHECK_EQ(domain_create(&c, &second, why, NULL), -EEXIST);
    domain_put(d);
    test_settle();
    CHECK_EQ(domain_create(&c, &second, why, NULL), 0);
    domain_get(second);
    test_kill(second);
    test_settle();
}

TEST(a_frame_held_by_others_keeps_the_id)
{
    test_machine(4096, 1);
    struct domain_config c = test_config("held", 4);

    c.id = 9;
    struct domain *d = test_create(&c), *next = NULL;
    struct frame *f = mfn_to_frame(p2m_lookup(d->p2m, GFN(2)).mfn);

    CHECK_EQ(frame_get(f, 9), 0);
    test_kill(d);
    test_settle();
    CHECK_EQ(domain_nr_unfreed(), 0);
    CHECK_EQ(domain_create(&c, &next, NULL, NULL), -EEXIST);
    frame_put(f);
    CHECK_EQ(domain_create(&c, &next, NULL, NULL), 0);
    domain_get(next);
    test_kill(next);
    test_settle();
}

TEST(pauses_are_counted_and_stop_it)
{
    static const struct script_step loop[] = {
        { .op = SCRIPT_ADD, .gpa = 0x1000, .value = 1 },
        { .op = SCRIPT_PAUSE },
        { .op = SCRIPT_JUMP, .value = 0 },
    };
    test_machine(4096, 1);
    struct domain *d = make(4);
    uint64_t before, now;

    test_start(d, loop, ARRAY_SIZE(loop));
    for (unsigned i = 0; i < 10; i++) {
        run_loop_once();
    }
    CHECK_EQ(domain_pause(d), 0);
    CHECK_EQ(domain_pause(d), 0);
    CHECK_EQ(guest_read_gpa(d->p2m, 0x1000, &before, 8), 0);
    CHECK(before > 0);
    CHECK_EQ(domain_unpause(d), 0);
    CHECK(test_run_idle());
    CHECK_EQ(guest_read_gpa(d->p2m, 0x1000, &now, 8), 0);
    CHECK_EQ(now, before);
    CHECK_EQ(domain_unpause(d), 0);
    run_loop_once();
    CHECK_EQ(guest_read_gpa(d->p2m, 0x1000, &now, 8), 0);
    CHECK_EQ(now, before + 1);
    CHECK_EQ(domain_unpause(d), -EINVAL);
    test_kill(d);
    test_settle();
}

TEST(suspend_resumes_and_crash_does_not)
{
    static const struct script_step forever[] = {
        { .op = SCRIPT_PAUSE }, { .op = SCRIPT_JUMP, .value = 0 },
    };
    test_machine(4096, 1);
    struct domain *d = make(4);

    test_start(d, forever, 2);
    domain_shutdown(d, SHUTDOWN_SUSPEND);
    CHECK(test_run_idle());
    CHECK_EQ(domain_resume(d), 0);
    CHECK_EQ(domain_resume(d), -EINVAL);
    CHECK(run_loop_once());
    domain_crash(d, "said %d", 5);
    CHECK_EQ(d->shutdown, SHUTDOWN_CRASH);
    CHECK(strcmp(d->crash_reason, "said 5") == 0);
    CHECK_EQ(domain_resume(d), -EINVAL);
    domain_shutdown(d, SHUTDOWN_POWEROFF);      /* too late */
    CHECK_EQ(d->shutdown, SHUTDOWN_CRASH);
    test_kill(d);
    test_settle();
}

TEST(crash_of_one_leaves_the_other)
{
    static const struct script_step bad[] = { { .op = SCRIPT_INVALID } };
    static const struct script_step triple[] = { { .op = SCRIPT_SHUTDOWN } };
    static const struct script_step walk[] = {
        { .op = SCRIPT_WALK, .gpa = UINT64_C(1) << 33 } };
    static const struct script_step good[] = {
        { .op = SCRIPT_PAUSE }, { .op = SCRIPT_PAUSE }, { .op = SCRIPT_PAUSE }, { .op = SCRIPT_HLT },
    };
    test_machine(4096, 1);
    struct domain *d[4] = { make(4), make(4), make(4), make(4) };

    test_start(d[0], bad, 1);
    test_start(d[1], triple, 1);
    test_start(d[2], walk, 1);
    test_start(d[3], good, ARRAY_SIZE(good));
    CHECK(test_run_until(d[3], DOMAIN_SHUTDOWN));
    CHECK_EQ(d[3]->shutdown, SHUTDOWN_POWEROFF);
    CHECK_EQ(d[0]->shutdown, SHUTDOWN_CRASH);
    CHECK_EQ(d[1]->shutdown, SHUTDOWN_REBOOT);
    CHECK_EQ(d[2]->shutdown, SHUTDOWN_CRASH);
    CHECK_EQ(domain_audit(), 0);
    for (unsigned i = 0; i < 4; i++) {
        test_kill(d[i]);
    }
    test_settle();
}

static void refused(struct domain_config c, int err, const char *reason)
{
    struct domain *d = NULL;
    char why[DOMAIN_WHY_MAX] = "";

    CHECK_EQ(domain_create(&c, &d, why, NULL), err);
    CHECK(d == NULL);
    if (strstr(why, reason) == NULL) {
        test_fail(__FILE__, __LINE__, "the reason is \"%s\"", why);
    }
}

TEST(what_creation_refuses)
{
    test_machine(4096, 1);
    struct domain_config c = test_config("c", 4), x;

    x = c; x.nr_vcpus = 0; refused(x, -EINVAL, "vCPU");
    x = c; x.nr_vcpus = MAX_VCPUS + 1; refused(x, -EINVAL, "vCPU");
    x = c; x.ranges[0].nr = 100000; refused(x, -ENOMEM, "are free");
    x = c; x.max_pages = 4; refused(x, -ENOMEM, "max is 4");
    x = c; x.id = MAX_DOMAINS; refused(x, -EINVAL, "4096");
    x = c; x.image = "none"; refused(x, -ENOENT, "no such boot module");
    x = c; x.nr_modules = 1; x.modules[0] = "m";
    refused(x, -EINVAL, "without an image");
    x = c; x.nr_ranges = 2; x.ranges[1] = (struct domain_range){ GFN(3), 4 };
    refused(x, -EINVAL, "overlap");
    x = c; x.ranges[0].start = GFN(UINT64_C(1) << 36);
    refused(x, -EINVAL, "48 bits");
    x = c; x.ranges[0].nr = UINT64_MAX; refused(x, -EINVAL, "48 bits");
    x = c; x.nr_ranges = MAX_RANGES + 1; refused(x, -EINVAL, "too many");
    test_settle();
    CHECK_EQ(domain_nr_unfreed(), 0);
}

TEST(memory_around_the_hole)
{
    struct domain_config c;

    CHECK_EQ(domain_config_memory(&c, UINT64_C(64) << 20), 0);
    CHECK_EQ(c.nr_ranges, 1);
    CHECK_EQ(c.ranges[0].nr, 16384);
    CHECK_EQ(domain_config_memory(&c, UINT64_C(6) << 30), 0);
    CHECK_EQ(c.nr_ranges, 2);
    CHECK_EQ(c.ranges[0].nr, MMIO_HOLE_START >> 12);
    CHECK_EQ(c.ranges[1].start.n, UINT64_C(1) << 20);
    CHECK_EQ(c.ranges[0].nr + c.ranges[1].nr, UINT64_C(6) << 18);
    CHECK_EQ(domain_config_memory(&c, 0), -EINVAL);
    CHECK_EQ(domain_config_memory(&c, 4097), -EINVAL);
}

/* What a listener, who runs before the flush, sees of the other sharer. */
static struct domain *other;
static uint64_t sharers_at_change;

static void on_change(struct p2m_listener *l, struct p2m *p, gfn_t gfn,
                      uint64_t nr)
{
    struct share_info info = { .sharers = 0 };

    (void)l;
    (void)p;
    (void)nr;
    /* The other's id is the larger one, so its lock may follow ours. */
    if (share_debug_gfn(other->p2m, gfn, &info) == 0) {
        sharers_at_change = info.sharers;
    }
}

/*
 * While a CPU may still read the page of a shared gfn that is being removed,
 * its pair must stay: without it the other sharer would be the last, keep the
 * frame and write.
 */
TEST(a_removed_gfn_is_flushed_before_its_pair_goes)
{
    struct p2m_listener listener = { .changed = on_change };
    struct domain *d;
    struct share_merge m = { 0 };
    share_handle_t h, k;

    test_machine(4096, 1);
    d = make(16);
    other = make(16);
    CHECK(d->id < other->id);
    CHECK_EQ(share_nominate(d->p2m, GFN(3), &h), 0);
    CHECK_EQ(share_nominate(other->p2m, GFN(3), &k), 0);
    CHECK_EQ(share_frames(d->p2m, GFN(3), h, other->p2m, GFN(3), k, &m,
                          NULL), 0);
    p2m_add_listener(d->p2m, &listener);
    sharers_at_change = 0;
    CHECK_EQ(domain_remove_gfn(d, GFN(3)), 0);
    CHECK_EQ(sharers_at_change, 2);
    p2m_remove_listener(d->p2m, &listener);
    test_kill(d);
    test_kill(other);
}

TEST(superpages_where_aligned)
{
    static const struct script_step steps[] = {
        { .op = SCRIPT_EXPECT, .gpa = UINT64_C(513) << 12, .value = 0 },
        { .op = SCRIPT_HLT },
    };
    test_machine(8192, 1);
    uint64_t nr_free = page_nr_free();
    struct domain_config c = test_config("super", 512 * 3 + 10);
    struct work w = WORK_INIT;
    struct domain *d = NULL;

    c.superpages = true;
    c.ranges[0].start = GFN(5);
    while (domain_create(&c, &d, NULL, &w) == -ERESTART) {
        w = (struct work)WORK_INIT;
    }
    domain_get(d);
    CHECK_EQ(p2m_lookup(d->p2m, GFN(5)).order, P2M_ORDER_4K);
    CHECK_EQ(p2m_lookup(d->p2m, GFN(512)).order, P2M_ORDER_2M);
    CHECK_EQ(p2m_lookup(d->p2m, GFN(1535)).order, P2M_ORDER_2M);
    CHECK_EQ(p2m_lookup(d->p2m, GFN(1536)).order, P2M_ORDER_4K);
    for (uint64_t i = 5; i < 512 * 3 + 15; i++) {
        uint64_t word[512];

        CHECK_EQ(guest_read_gpa(d->p2m, i << 12, word, 4096), 0);
        for (unsigned k = 0; k < 512; k++) {
            CHECK_EQ(word[k], 0);
        }
    }
    CHECK_EQ(domain_audit(), 0);
    test_start(d, steps, ARRAY_SIZE(steps));
    CHECK(test_run_until(d, DOMAIN_SHUTDOWN));
    CHECK_EQ(domain_remove_gfn(d, GFN(600)), 0);
    CHECK_EQ(domain_remove_gfn(d, GFN(600)), -ENOENT);
    CHECK_EQ(domain_audit(), 0);
    test_kill(d);
    test_settle();
    CHECK_EQ(page_nr_free(), nr_free);
}

/* Whatever allocation fails, creation says so and leaves nothing behind. */
TEST(every_failing_allocation_is_undone)
{
    test_machine(4096, 1);
    struct domain_config c = test_config("fails", 700);

    c.nr_vcpus = 3;
    for (uint64_t n = 1; n < 10000; n++) {
        struct domain *d = NULL;
        char why[DOMAIN_WHY_MAX] = "";

        test_settle();
        uint64_t nr_free = page_nr_free();
        host_fail_alloc_at(n);
        int err = domain_create(&c, &d, why, NULL);
        bool has_failed = host_alloc_failed();
        host_fail_alloc_at(0);
        if (err == 0) {
            domain_get(d);
            CHECK_EQ(domain_audit(), 0);
            test_kill(d);
        } else {
            CHECK_EQ(err, -ENOMEM);
            CHECK(why[0] != '\0');
        }
        test_settle();
        CHECK_EQ(page_nr_free(), nr_free);
        CHECK_EQ(domain_nr_unfreed(), 0);
        if (!has_failed) {
            CHECK(n > 700);
            return;
        }
    }
    CHECK(false);
}

TEST(a_thousand_domains_leave_nothing)
{
    test_machine(4096, 1);
    test_settle();
    uint64_t nr_free = page_nr_free();

    for (unsigned i = 0; i < 1000; i++) {
        struct domain *d = make(16 + i % 7);

        if (i % 2 == 0) {
            domain_kill_async(d);
            domain_kill_async(d);
            domain_put(d);
            CHECK(test_run_idle());
        } else {
            test_kill(d);
        }
    }
    test_settle();
    CHECK_EQ(page_nr_free(), nr_free);
    CHECK_EQ(mem_audit(), 0);
}

TEST(many_at_once)
{
    test_machine(32768, 1);
    test_settle();
    uint64_t nr_free = page_nr_free();
    unsigned n = 0;

    for (; n < 500; n++) {
        domain_put(make(8));
    }
    CHECK_EQ(domain_count(), 500);
    CHECK_EQ(domain_audit(), 0);
    for (struct domain *d = domain_next(0); d != NULL; n--) {
        domid_t id = d->id;

        domain_kill_async(d);
        domain_put(d);
        d = domain_next((domid_t)(id + 1));
    }
    CHECK_EQ(n, 0);
    CHECK(test_run_idle());
    CHECK_EQ(domain_count(), 0);
    test_settle();
    CHECK_EQ(page_nr_free(), nr_free);
}
