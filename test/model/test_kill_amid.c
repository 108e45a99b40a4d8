/*
 * test_kill_amid.c - a kill of a domain in the middle of what somebody does
 * with it, or of what it does to others: forks, resets, scans, audits,
 * foreign maps, a toolstack's calls, kills of others on the same frames.
 */
#include "test_caller.h"
#include "test_kill.h"

#include "../../common/domain/sharing_op.h"

#include <quire/scan.h>

static struct domain *being_made;
static int64_t progress;            /* units of it before the kill */

/* ---- somebody does something with it ------------------------------------- */

static const struct fork_config fork_config = { .id = DOMID_INVALID };

/* Fork the victim; when it is killed the fork ends with an error, or its
 * child is whole. */
static void forked(int64_t units, unsigned times)
{
    struct work w = { .left = progress };
    int err, killed;

    world();
    domid_t id = d->id;

    being_made = NULL;
    err = domain_fork(d, &fork_config, &being_made, NULL, &w);
    do {
        struct work k = { .left = units };

        killed = domain_kill(d, &k);
        w.left = units;
        if (err == -ERESTART) {
            err = domain_fork(d, &fork_config, &being_made, NULL, &w);
        }
        bustle(times);
    } while (err == -ERESTART || killed == -ERESTART);
    CHECK_EQ(killed, 0);
    if (err == 0) {
        other = being_made;
        domain_get(other);
        CHECK(test_gfn_is(other->p2m, 3, 1003));
    } else {
        CHECK(being_made == NULL);
    }
    domain_put(d);
    d = NULL;
    CHECK(test_run_idle());
    test_settle();
    preempt_audit();
    check_id(id);
    end();
}

TEST(being_forked)
{
    for (progress = 1; progress < 40000; progress = progress * 2 + 1700) {
        forked(1, 0);
        forked(3000, 3);
    }
}

/* A fork in the middle of a reset, its parent alive. */
static void half_reset(void)
{
    struct work w = { .left = progress };
    struct domain *child;

    CHECK_EQ(test_fork(d, "child", 0, 0, &child), 0);
    for (unsigned i = 0; i < PAGES; i += 2) {
        test_share_write(child->p2m, i, 7000 + i);
    }
    CHECK_EQ(domain_fork_reset(child, RESET_ALL, &w), -ERESTART);
    other = d;
    d = child;
}

TEST(being_reset)
{
    for (progress = 1; progress < 4000; progress += 600) {
        in_each_way(half_reset);
    }
}

/* Its parent instead. */
static void parent_of_half_reset(void)
{
    struct domain *child;

    half_reset();
    child = d;
    d = other;
    other = child;
}

TEST(the_parent_of_one_being_reset)
{
    progress = 1500;
    in_each_way(parent_of_half_reset);
}

/* Some slices of a scan, which then meets a map that is no more. */
static void scan_slice(int64_t units)
{
    struct work w = { .left = units };

    (void)!scan_run(&w);
}

static void scanned(void)
{
    scan_domain_add(keep->p2m);
    scan_domain_add(d->p2m);
    scan_knobs.pages_to_scan = 1000;
    scan_knobs.run = SCAN_RUN;
    for (int64_t i = 0; i < progress; i++) {
        scan_slice(1);
    }
}

TEST(being_scanned)
{
    for (progress = 1; progress < 120; progress += 17) {
        for (unsigned units = 1; units < 3000; units = units * 3 + 500) {
            world();
            scanned();
            kill_in(units, 1);
            for (unsigned i = 0; i < 100; i++) {
                scan_slice(2000);
            }
            scan_knobs.run = SCAN_UNMERGE;
            while (scan_has_work()) {
                scan_slice(1);
            }
            end();
        }
    }
}

/* An audit meets it alive, and goes on when it is dead. */
TEST(being_audited)
{
    for (int64_t at = 1; at < 60; at += 3) {
        struct share_audit a = { 0 };
        struct domain_audit b = { 0 };
        struct work w = { .left = INT64_MAX, .force_at = (uint64_t)at };

        world();
        int err = share_audit(&a, &w);

        w = (struct work){ .left = INT64_MAX, .force_at = (uint64_t)at };
        int err2 = domain_audit_run(&b, &w);

        kill_in(600, 0);
        while (err == -ERESTART) {
            err = share_audit(&a, NULL);
        }
        while (err2 == -ERESTART) {
            err2 = domain_audit_run(&b, NULL);
        }
        CHECK_EQ(a.bad, 0);
        CHECK_EQ(b.bad, 0);
        end();
    }
}

/* ---- foreign maps -------------------------------------------------------- */

/* The victim's pages are mapped by a toolstack, or it is the toolstack. */
static void foreign(bool victim_maps)
{
    struct domain *x;

    make_caller(true, false);
    for (unsigned i = 0; i < 6; i++) {
        CHECK_EQ(op_foreign(victim_maps ? keep : d, 2 * i + 1, 200 + i), 0);
    }
    x = caller;
    if (victim_maps) {
        test_kill(d);
        test_settle();
        d = x;
    } else {
        other = x;
        is_held = true;
    }
}

static void mapped(void) { foreign(false); }
static void mapping(void) { foreign(true); }

TEST(mapped_by_another)
{
    in_each_way(mapped);
}

TEST(mapping_another)
{
    in_each_way(mapping);
}

/* ---- the caller of an unfinished operation ------------------------------- */

static struct xen_mem_sharing_op op;
static unsigned which;

static void begin_op(void)
{
    uint64_t a, b;

    switch (which) {
    case 0:
        op = range_op(other, keep, 0, PAGES - 1);
        return;
    case 1:
        a = test_nominate(other->p2m, 3);
        b = test_nominate(keep->p2m, 3);
        op = pair_op(XENMEM_sharing_op_share, other, 3, a, keep, 3, b);
        return;
    case 2:
        op = fork_op(other, 0);
        return;
    default:
        op = op_on(XENMEM_sharing_op_audit, other);
    }
}

/* The victim is the caller; what it works on lives on. */
static void calling(void)
{
    other = d;
    make_caller(true, false);
    d = caller;
    begin_op();
    for (int64_t i = 0; i < progress; i++) {
        struct work w = { .left = 1 };

        int64_t err = sharing_op_run(caller_vcpu, &op, &w);

        if (err == 0 && op.op == XENMEM_sharing_op_fork) {
            struct domain *child = domain_find(op.domain);

            test_kill(child);   /* it was done: not the caller's any more */
        }
        if (err != -ERESTART) {
            break;
        }
    }
}

TEST(the_caller_of_an_operation)
{
    for (which = 0; which < 4; which++) {
        for (progress = 1; progress < 40; progress = progress * 2 + 1) {
            in_each_way(calling);
        }
    }
}

/* ---- several at once ----------------------------------------------------- */

/* Two, then four, that are all on the same frames, their slices in turn. */
static void side_by_side(unsigned nr, int64_t units)
{
    struct domain *x[4];
    unsigned nr_left = nr;

    world();
    x[0] = d;
    d = NULL;
    for (unsigned i = 1; i < nr; i++) {
        x[i] = filled("beside");
        share_half(x[i]);
        CHECK_EQ(test_share(x[0]->p2m, 1, x[i]->p2m, 1), 0);
    }
    while (nr_left > 0) {
        unsigned i = (unsigned)rng_below(&rng, nr);
        struct work w = { .left = units };

        if (x[i] != NULL && domain_kill(x[i], &w) == 0) {
            domain_put(x[i]);
            x[i] = NULL;
            nr_left--;
        }
        if (nr_left > 0 && rng_below(&rng, 40) == 0) {
            preempt_audit();
        }
        bustle(rng_below(&rng, 4) == 0);
    }
    end();
}

TEST(several_on_the_same_frames)
{
    for (unsigned nr = 2; nr <= 4; nr += 2) {
        for (int64_t units = 1; units < 9000; units = units * 4 + 200) {
            side_by_side(nr, units);
        }
    }
}
