/*
 * test_fork.c - what a fork begins with besides its memory, what it refuses,
 * that failing or being preempted anywhere leaves nothing behind, and how it
 * goes with superpages, held pages and killers.
 */
#include "test.h"
#include "test_fork.h"
#include "../../common/domain/domain_life.h"
#include "../../common/share/base.h"

#include <quire/page_alloc.h>
#include <string.h>

static struct domain *make(const char *name, uint64_t pages, unsigned vcpus)
{
    struct domain_config c = test_config(name, pages);
    struct domain *d;

    c.nr_vcpus = vcpus;
    c.max_pages = pages + 64;
    d = test_create(&c);
    for (uint64_t g = 0; g < pages; g++) {
        test_fill(p2m_lookup(d->p2m, GFN(g)).mfn, 1000 + g);
    }
    return d;
}

static struct domain *fork_of(struct domain *d, const char *name)
{
    struct domain *child;

    CHECK_EQ(test_fork(d, name, 0, 0, &child), 0);
    return child;
}

static bool holds(struct domain *d, uint64_t gfn, uint64_t value)
{
    return test_gfn_is(d->p2m, gfn, value);
}

static struct shared_info *shared_page(struct domain *d)
{
    return arch_map_frame(frame_to_mfn(evtchn_shared_frame(d->events)));
}

/* One after the other, each in slices of one unit. */
static void end(struct domain **d, unsigned nr)
{
    for (unsigned i = 0; i < nr; i++) {
        struct work w;

        do {
            w = (struct work){ .left = 1 };
        } while (domain_kill(d[i], &w) != 0);
        domain_put(d[i]);
        test_settle();
        test_fork_audit();
    }
    CHECK(test_run_idle());     /* what failed allocations have set off */
    test_settle();
    CHECK_EQ(test_heap_objects(), 0);
    test_share_all_gone();
}

TEST(each_goes_its_own_way)
{
    struct domain *d[3];

    test_machine(4096, 1);
    d[0] = make("parent", 20, 1);
    d[1] = fork_of(d[0], "child");
    test_share_write(d[0]->p2m, 3, 1);
    test_share_write(d[1]->p2m, 3, 2);
    test_share_write(d[1]->p2m, 4, 3);
    d[2] = fork_of(d[1], "grandchild");
    test_share_write(d[1]->p2m, 4, 4);
    CHECK(holds(d[0], 3, 1) && holds(d[0], 4, 1004));
    CHECK(holds(d[1], 3, 2) && holds(d[1], 4, 4));
    CHECK(holds(d[2], 3, 2) && holds(d[2], 4, 3) && holds(d[2], 5, 1005));
    CHECK_EQ(strcmp(d[2]->config.name, "grandchild"), 0);
    test_fork_audit();
    end(d, 3);
}

/* Neither the parent's writes after the fork nor its end reach what the fork
 * goes back to. */
TEST(a_reset_needs_no_parent)
{
    struct domain *d[2];
    struct fork_info info;
    uint64_t done = 0;

    test_machine(4096, 1);
    d[0] = make("parent", 20, 1);
    d[1] = fork_of(d[0], "child");
    test_share_write(d[1]->p2m, 3, 1);
    test_share_write(d[0]->p2m, 3, 2);      /* the last sharer, but for us */
    test_share_write(d[0]->p2m, 4, 3);
    test_share_write(d[1]->p2m, 4, 4);
    test_kill(d[0]);
    test_settle();
    test_share_write(d[1]->p2m, 5, 5);
    CHECK_EQ(domain_remove_gfn(d[1], GFN(6)), 0);
    CHECK_EQ(domain_populate(d[1], GFN(30), 2, &done, NULL), 0);
    CHECK_EQ(domain_fork_info(d[1], &info), 0);
    CHECK_EQ(info.dirty, 4);
    CHECK_EQ(info.gfns, 20);
    test_fork_audit();
    CHECK_EQ(test_reset(d[1], RESET_ALL, 1), 0);
    for (uint64_t g = 0; g < 20; g++) {
        CHECK(holds(d[1], g, 1000 + g));
        CHECK_EQ(p2m_lookup(d[1]->p2m, GFN(g)).type, p2m_ram_shared);
    }
    CHECK_EQ(p2m_lookup(d[1]->p2m, GFN(30)).type, p2m_invalid);
    CHECK_EQ(p2m_lookup(d[1]->p2m, GFN(31)).type, p2m_invalid);
    CHECK_EQ(domain_fork_info(d[1], &info), 0);
    CHECK_EQ(info.dirty, 0);
    CHECK_EQ(info.reset_pages, 4);
    end(&d[1], 1);
}

TEST(its_vcpus_are_as_the_parents_were)
{
    struct domain *d[2];
    struct vcpu_state s, now;

    test_machine(4096, 1);
    d[0] = make("parent", 4, 3);
    memset(&s, 0, sizeof(s));
    s.regs.rip = 0x1234;
    s.regs.r13 = 77;
    s.cr3 = 0x5000;
    s.tsc_offset = 99;
    s.fpu[33] = 5;
    s.event_inject = UINT64_C(1) << 63 | 0x30;
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(arch_vcpu_set_state(d[0]->vcpus[i], &s), 0);
        d[0]->vcpus[i]->initialised = true;
    }
    atomic_store(&d[0]->vcpus[1]->online, true);
    atomic_store(&d[0]->vcpus[1]->blocked, true);
    d[0]->params[3] = 8;
    atomic_store(&d[0]->phase, 5);
    atomic_store(&d[0]->verdict, 1);
    d[1] = fork_of(d[0], "child");
    for (unsigned round = 0; round < 2; round++) {
        arch_vcpu_get_state(d[1]->vcpus[1], &now);
        CHECK_EQ(memcmp(&s, &now, sizeof(s)), 0);
        CHECK(d[1]->vcpus[0]->initialised && !d[1]->vcpus[2]->initialised);
        CHECK(atomic_load(&d[1]->vcpus[1]->online));
        CHECK(atomic_load(&d[1]->vcpus[1]->blocked));
        CHECK(!atomic_load(&d[1]->vcpus[0]->online));
        CHECK_EQ(d[1]->params[3], 8);
        CHECK_EQ(atomic_load(&d[1]->phase), 5);
        CHECK_EQ(atomic_load(&d[1]->verdict), 0);
        /* All of it is changed, and comes back. */
        now.regs.r13 = 0;
        CHECK_EQ(arch_vcpu_set_state(d[1]->vcpus[1], &now), 0);
        vcpu_set_online(d[1]->vcpus[1], false);
        d[1]->params[3] = 9;
        atomic_store(&d[1]->phase, 6);
        atomic_store(&d[1]->verdict, 2);
        domain_crash(d[1], "by the test");
        CHECK_EQ(test_reset(d[1], XENMEM_FORK_RESET_STATE, 1), 0);
        CHECK_EQ(atomic_load(&d[1]->state), DOMAIN_RUNNING);
    }
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(atomic_load(&d[1]->vcpus[i]->pause_count), 1);
        CHECK_EQ(atomic_load(&d[0]->vcpus[i]->pause_count), 1);
    }
    end(d, 2);
}

TEST(events_go_with_it)
{
    evtchn_port_t ipi, virq, unbound, remote, bound;
    struct evtchn_status st;
    struct domain *d[3];
    struct frame *f;

    test_machine(4096, 1);
    d[0] = make("parent", 8, 2);
    d[1] = make("peer", 4, 1);
    CHECK_EQ(evtchn_bind_ipi(d[0]->events, 1, &ipi), 0);
    CHECK_EQ(evtchn_bind_virq(d[0]->events, VIRQ_TIMER, 1, &virq), 0);
    CHECK_EQ(evtchn_alloc_unbound(d[0]->events, 9, &unbound), 0);
    CHECK_EQ(evtchn_alloc_unbound(d[1]->events, d[0]->id, &remote), 0);
    CHECK_EQ(evtchn_bind_interdomain(d[0]->events, d[1]->events, remote, 0,
                                     &bound), 0);
    evtchn_set_callback(d[0]->events, 0x41, false);
    CHECK_EQ(domain_map_shared_info(d[0], GFN(6)), 0);
    CHECK_EQ(domain_pin_gfn(d[0], GFN(7), &f), 0);
    CHECK_EQ(evtchn_move_info(d[0]->vcpus[1], (struct vcpu_info *)(void *)
                 ((uint8_t *)arch_map_frame(frame_to_mfn(f)) + 64), f), 0);
    timer_set(&d[0]->vcpus[1]->events->oneshot, arch_now() + (1ull << 50));
    shared_page(d[0])->wc_sec = 4711;

    d[2] = fork_of(d[0], "child");
    for (unsigned round = 0; round < 2; round++) {
        struct vcpu_events *ev = d[2]->vcpus[1]->events;

        st = (struct evtchn_status){ .port = ipi };
        CHECK_EQ(evtchn_status(d[2]->events, &st), 0);
        CHECK_EQ(st.status, EVTCHNSTAT_ipi);
        st = (struct evtchn_status){ .port = bound };
        CHECK_EQ(evtchn_status(d[2]->events, &st), 0);
        CHECK_EQ(st.status, EVTCHNSTAT_unbound);
        CHECK_EQ(st.u.unbound.dom, d[1]->id);
        CHECK_EQ(ev->virq[VIRQ_TIMER], virq);
        CHECK(ev->oneshot.armed);
        CHECK_EQ(ev->oneshot.when, d[0]->vcpus[1]->events->oneshot.when);
        CHECK_EQ(shared_page(d[2])->wc_sec, 4711);
        CHECK(mfn_eq(p2m_lookup(d[2]->p2m, GFN(6)).mfn,
                     frame_to_mfn(evtchn_shared_frame(d[2]->events))));
        /* Its vcpu_info is in a page of its own, where the parent's is. */
        CHECK(ev->info_frame ==
              mfn_to_frame(p2m_lookup(d[2]->p2m, GFN(7)).mfn));
        CHECK(ev->info_frame != f);
        CHECK_EQ((uintptr_t)atomic_load(&ev->info) & PAGE_MASK, 64);
        test_fork_audit();
        /* Changed, and brought back. */
        timer_cancel(&ev->oneshot);
        CHECK_EQ(evtchn_close(d[2]->events, ipi), 0);
        shared_page(d[2])->wc_sec = 0;
        CHECK_EQ(domain_remove_gfn(d[2], GFN(6)), 0);
        CHECK_EQ(test_reset(d[2], RESET_ALL, 1), 0);
    }
    /* The parent's end is still the parent's. */
    st = (struct evtchn_status){ .port = bound };
    CHECK_EQ(evtchn_status(d[0]->events, &st), 0);
    CHECK_EQ(st.status, EVTCHNSTAT_interdomain);
    end(d, 3);
}

TEST(flags)
{
    struct domain *d[3];
    struct frame *f;

    test_machine(4096, 1);
    d[0] = make("parent", 8, 1);
    CHECK_EQ(domain_pin_gfn(d[0], GFN(7), &f), 0);
    CHECK_EQ(test_fork(d[0], "x", XENMEM_FORK_WITH_IOMMU_ALLOWED, 0, &d[1]),
             -EOPNOTSUPP);
    CHECK_EQ(test_fork(d[0], "x", 8, 0, &d[1]), -EINVAL);
    CHECK_EQ(test_fork(d[0], "b", XENMEM_FORK_BLOCK_INTERRUPTS, 0, &d[1]), 0);
    CHECK_EQ(test_fork(d[0], "s", XENMEM_FORK_SKIP_SPECIAL_PAGES, 0, &d[2]),
             0);
    CHECK(d[1]->vcpus[0]->irqs_blocked && !d[2]->vcpus[0]->irqs_blocked);
    CHECK(holds(d[1], 7, 1007));
    CHECK_EQ(p2m_lookup(d[2]->p2m, GFN(7)).type, p2m_invalid);
    domain_unpin_frame(f);
    end(d, 3);
}

TEST(what_cannot_be_forked_or_reset)
{
    struct domain *d = NULL, *child;
    struct fork_config c = { .id = 1 };
    char why[DOMAIN_WHY_MAX];

    test_machine(4096, 1);
    d = make("parent", 8, 1);
    c.id = d->id;
    child = NULL;
    CHECK_EQ(domain_fork(d, &c, &child, why, NULL), -EEXIST);
    CHECK(child == NULL);
    CHECK_EQ(test_reset(d, RESET_ALL, 0), -EINVAL);
    child = fork_of(d, "child");
    CHECK_EQ(test_reset(child, 0, 0), -EINVAL);
    CHECK_EQ(test_reset(child, 4, 0), -EINVAL);
    domain_put(child);
    test_kill(child);
    test_settle();
    domain_crash(d, "by the test");
    CHECK_EQ(test_fork(d, "x", 0, 0, &child), -EINVAL);
    CHECK_EQ(d->nr_forking, 0);
    domain_get(d);
    test_kill(d);
    CHECK_EQ(test_fork(d, "x", 0, 0, &child), -ESRCH);
    domain_put(d);
    CHECK(test_run_idle());
    test_settle();
    CHECK_EQ(test_heap_objects(), 0);
}

TEST(superpages_are_split)
{
    struct domain_config c = test_config("big", 1024);
    struct domain *d[2];

    test_machine(8192, 1);
    c.superpages = true;
    d[0] = test_create(&c);
    CHECK_EQ(p2m_lookup(d[0]->p2m, GFN(600)).order, P2M_ORDER_2M);
    test_fill(p2m_lookup(d[0]->p2m, GFN(600)).mfn, 6);
    CHECK_EQ(test_fork(d[0], "child", 0, 1, &d[1]), 0);
    CHECK_EQ(d[1]->p2m->count[p2m_ram_shared], 1024);
    CHECK(holds(d[1], 600, 6));
    test_share_write(d[0]->p2m, 600, 7);
    CHECK(holds(d[1], 600, 6));
    test_fork_audit();
    end(d, 2);
}

/* The n-th allocation of a fork and of a reset fails, for every n. */
TEST(every_allocation_fails_once)
{
    struct domain *d, *child;
    bool is_over = false;

    test_machine(4096, 1);
    d = make("parent", 12, 2);
    for (uint64_t n = 1; !is_over; n++) {
        uint64_t pages = atomic_load(&owner_get(d->id)->pages);
        int err;

        host_fail_alloc_at(n);
        err = test_fork(d, "child", 0, 0, &child);
        is_over = !host_alloc_failed();
        host_fail_alloc_at(0);
        CHECK_EQ(err, is_over ? 0 : -ENOMEM);
        test_settle();
        if (!is_over) {
            CHECK_EQ(domain_count(), 1);
            CHECK_EQ(atomic_load(&owner_get(d->id)->pages), pages);
            CHECK_EQ(d->p2m->count[p2m_ram_shared], 0);
            CHECK_EQ(atomic_load(&d->vcpus[0]->pause_count), 1);
        }
        test_fork_audit();
    }
    is_over = false;
    for (uint64_t n = 1; !is_over; n++) {
        int err;

        for (uint64_t g = 0; g < 12; g++) {
            test_share_write(child->p2m, g, 7 * g);
        }
        host_fail_alloc_at(n);
        err = test_reset(child, RESET_ALL, 0);
        is_over = !host_alloc_failed();
        host_fail_alloc_at(0);
        CHECK(err == 0 || (err == -ENOMEM && !is_over));
        CHECK(err == 0 || child->fork != NULL);
        CHECK_EQ(err == 0 ? 0 : test_reset(child, RESET_ALL, 0), 0);
        for (uint64_t g = 0; g < 12; g++) {
            CHECK(holds(child, g, 1000 + g));
        }
        test_fork_audit();
    }
    end((struct domain *[]){ child, d }, 2);
}

/* Forced to stop at the k-th check, for every k; between the slices either
 * goes on or one of the two is killed. */
static void preempted(unsigned victim, bool is_reset)
{
    for (uint64_t k = 1;; k++) {
        struct fork_config c = { .id = DOMID_INVALID };
        struct work w = { .left = INT64_MAX, .force_at = k };
        struct domain *d[2] = { make("p", 6, 1), NULL };
        int err = domain_fork(d[0], &c, &d[1], NULL, is_reset ? NULL : &w);

        if (is_reset) {
            CHECK_EQ(err, 0);
            test_share_write(d[1]->p2m, 2, 5);
            err = domain_fork_reset(d[1], RESET_ALL, &w);
        }
        if (err != -ERESTART) {
            CHECK_EQ(err, 0);
            test_kill(d[0]);
            domain_get(d[1]);
            test_kill(d[1]);
            break;
        }
        domain_get(d[1]);
        if (victim < 2) {
            w = (struct work){ .left = 1 };
            CHECK(domain_kill(d[victim], &w) == -ERESTART);
        }
        err = is_reset ? test_reset(d[1], RESET_ALL, 1) : -ERESTART;
        if (!is_reset) {
            struct domain *child = d[1];

            while (err == -ERESTART) {
                w = (struct work){ .left = 1 };
                err = domain_fork(d[0], &c, &child, NULL, &w);
            }
            CHECK_EQ(err, victim == 0 ? -ESRCH : victim == 1 ? -EINTR : 0);
        } else {
            CHECK_EQ(err, victim == 1 ? -ESRCH : 0);
        }
        for (unsigned i = 0; i < 2; i++) {
            if (atomic_load(&d[i]->state) != DOMAIN_DEAD) {
                test_kill(d[i]);
            } else {
                domain_put(d[i]);
            }
        }
        test_settle();
        test_fork_audit();
        CHECK_EQ(test_heap_objects(), 0);
    }
    CHECK(test_run_idle());
    test_settle();
    CHECK_EQ(test_heap_objects(), 0);
}

TEST(a_fork_preempted_at_every_check)
{
    test_machine(4096, 1);
    preempted(2, false);
}

TEST(its_parent_killed_at_every_check)
{
    test_machine(4096, 1);
    preempted(0, false);
}

TEST(killed_while_it_is_forked_at_every_check)
{
    test_machine(4096, 1);
    preempted(1, false);
}

TEST(a_reset_preempted_at_every_check)
{
    test_machine(4096, 1);
    preempted(2, true);
}

TEST(killed_while_it_is_reset_at_every_check)
{
    test_machine(4096, 1);
    preempted(1, true);
}

/* The parent does not run while it is forked, and a fork not while it is
 * reset, whatever the toolstack unpauses; both do afterwards. */
/* B1, of a count and of a map that are not what they say. */
TEST(the_audit_sees_what_a_fork_keeps)
{
    struct domain *d[2] = { make("p", 6, 1), NULL };
    struct share_base *base;

    d[1] = fork_of(d[0], "c");
    test_share_write(d[1]->p2m, 2, 5);
    base = d[1]->p2m->base;
    CHECK_EQ(domain_audit(), 0);
    base->nr_saved++;
    CHECK_EQ(domain_audit(), 1);
    base->nr_saved--;
    base->leaves[0]->saved_map[0] ^= 2;
    CHECK_EQ(domain_audit(), 1);
    base->leaves[0]->saved_map[0] ^= 2;
    end(d, 2);
}

TEST(nobody_runs_meanwhile)
{
    static const struct script_step steps[] = {
        { .op = SCRIPT_ADD, .gpa = 0x1000, .value = 1 },
        { .op = SCRIPT_CPUID },
        { .op = SCRIPT_JUMP, .value = 0 },
    };
    struct fork_config c = { .id = DOMID_INVALID };
    struct work w = { .left = 1 };
    struct domain *d[2];
    uint64_t *word;

    test_machine(4096, 1);
    d[0] = make("parent", 8, 1);
    d[1] = NULL;
    test_start(d[0], steps, ARRAY_SIZE(steps));
    run_loop_once();
    word = arch_map_frame(p2m_lookup(d[0]->p2m, GFN(1)).mfn);
    CHECK_EQ(domain_fork(d[0], &c, &d[1], NULL, &w), -ERESTART);

    uint64_t before = *word;

    CHECK_EQ(domain_unpause(d[0]), -EINVAL);
    CHECK(test_run_idle());
    CHECK_EQ(*word, before);
    while (domain_fork(d[0], &c, &d[1], NULL, &w) != 0) {
        w.left = 1;
    }
    domain_get(d[1]);
    run_loop_once();
    word = arch_map_frame(p2m_lookup(d[0]->p2m, GFN(1)).mfn);
    CHECK(*word > before);
    word = arch_map_frame(p2m_lookup(d[1]->p2m, GFN(1)).mfn);
    CHECK_EQ(*word, before);
    end((struct domain *[]){ d[0], d[1] }, 2);
}
