/* test_share_add_range.c - mapping a range of shared frames at another
 * domain's holes: what it does, every error, preemption at every check, and
 * no memory at every allocation. */
#include "test_share.h"

#include "../../common/share/shared_frame.h"

#define FRAMES 70               /* more than two chunks */

static struct p2m *a, *b;

static void setup(void)
{
    test_share_machine(1 << 13, 2);
    a = test_p2m_create(1);
    b = test_p2m_create(2);
    for (unsigned g = 0; g < FRAMES; g++) {
        test_share_populate(a, g, 100 + g);
        CHECK(test_nominate(a, g) != 0);
    }
    test_share_populate(b, 0, 7);
}

static void teardown(void)
{
    test_share_audit_all();
    test_share_kill(a);
    test_share_audit_all();
    test_share_kill(b);
    test_share_all_gone();
}

static int add(uint64_t sgfn, uint64_t cgfn, uint64_t nr, uint64_t *done)
{
    *done = 0;
    return share_add_range(a, GFN(sgfn), b, GFN(cgfn), nr, done, NULL);
}

TEST(each_frame_at_its_hole)
{
    uint64_t done;

    setup();
    CHECK_EQ(add(0, 1000, FRAMES, &done), 0);
    CHECK_EQ(done, FRAMES);
    for (unsigned g = 0; g < FRAMES; g++) {
        CHECK_EQ(test_sharers(a, g), 2);
        CHECK(test_gfn_is(b, 1000 + g, 100 + g));
    }
    CHECK_EQ(b->count[p2m_ram_shared], FRAMES);
    /* From the copy, and into the source itself. */
    done = 0;
    CHECK_EQ(share_add_range(b, GFN(1000), a, GFN(5000), FRAMES, &done, NULL),
             0);
    CHECK_EQ(test_sharers(a, 3), 3);
    done = 0;
    CHECK_EQ(share_add_range(a, GFN(0), a, GFN(7000), 5, &done, NULL), 0);
    CHECK_EQ(test_sharers(a, 3), 4);
    CHECK_EQ(add(0, 9000, 0, &done), 0);
    teardown();
}

TEST(refusals_say_how_far_it_came)
{
    uint64_t done, top = UINT64_C(1) << P2M_GFN_BITS;

    setup();
    CHECK_EQ(add(60, 2000, 20, &done), -ENOENT);
    CHECK_EQ(done, 10);
    CHECK_EQ(add(0, top - 4, 5, &done), -ERANGE);
    CHECK_EQ(add(top - 4, 0, 5, &done), -ERANGE);
    CHECK_EQ(add(0, 0, top + 1, &done), -ERANGE);
    CHECK_EQ(done, 0);
    CHECK_EQ(share_unshare(a, GFN(40)), 0);
    CHECK_EQ(add(0, 3000, FRAMES, &done), -EINVAL);
    CHECK_EQ(done, 40);
    CHECK_EQ(add(0, 3040, 30, &done), 0);
    CHECK_EQ(add(0, 2990, 30, &done), -EBUSY);
    CHECK_EQ(done, 10);
    teardown();
}

TEST(preempted_at_every_check)
{
    uint64_t done = 0;
    unsigned slices = 0;
    int err;

    setup();
    do {
        struct work w = { .left = WORK_SLICE, .force_at = 1 };

        err = share_add_range(a, GFN(0), b, GFN(1000), FRAMES, &done, &w);
        slices++;
        CHECK_EQ(b->count[p2m_ram_shared], done);
        test_share_audit_all();
    } while (err == -ERESTART);
    CHECK_EQ(err, 0);
    CHECK_EQ(done, FRAMES);
    CHECK_EQ(slices, FRAMES);
    teardown();
}

TEST(no_memory_at_every_allocation)
{
    unsigned n = 0;
    uint64_t done;
    int err;

    do {
        setup();
        host_fail_alloc_at(++n);
        err = add(0, 1000, FRAMES, &done);
        host_fail_alloc_at(0);
        CHECK(err == 0 || err == -ENOMEM);
        CHECK_EQ(b->count[p2m_ram_shared], done);
        test_share_audit_all();
        teardown();
    } while (err != 0);
    CHECK(n > 2);
}
