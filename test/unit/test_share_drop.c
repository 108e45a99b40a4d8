/* test_share_drop.c - a group of a dying domain's gfns: runs of one frame, a
 * frame that comes again, last sharers and others beside each other. */
#include "test_share.h"

#include "../../common/share/shared_frame.h"

static struct p2m *a, *b, *c;

static void setup(void)
{
    test_share_machine(1 << 13, 2);
    a = test_p2m_create(1);
    b = test_p2m_create(2);
    c = test_p2m_create(3);
    for (unsigned g = 0; g < 8; g++) {
        test_share_populate(a, g, 100 + g);
    }
}

/* @to's @gfn hangs off the frame at @a's @from. */
static void add(unsigned from, struct p2m *to, uint64_t gfn)
{
    share_handle_t h;

    CHECK_EQ(share_nominate(a, GFN(from), &h), 0);
    CHECK_EQ(share_add_physmap(a, GFN(from), h, to, GFN(gfn)), 0);
}

static struct share_stats stats(void)
{
    struct share_stats s;

    share_stats_get(&s);
    return s;
}

/* Frame 0 is @c's too and comes three times; 1 to 4 are the dying one's own. */
static void populate_group(void)
{
    static const unsigned from[] = { 0, 0, 1, 0, 2, 3, 4, 4 };

    for (unsigned i = 0; i < ARRAY_SIZE(from); i++) {
        add(from[i], b, 128 + i);
    }
    add(0, c, 500);
    test_share_kill(a);
}

TEST(one_group_of_all_kinds)
{
    struct frame *held;
    uint64_t pages;

    setup();
    populate_group();
    CHECK_EQ(stats().shared_frames, 5);
    CHECK_EQ(stats().sharers, 9);
    pages = owner_get(DOMID_COW)->pages;
    held = mfn_to_frame(p2m_lookup(b, GFN(132)).mfn);
    CHECK_EQ(frame_get(held, DOMID_COW), 0);
    test_share_kill(b);
    CHECK_EQ(stats().shared_frames, 1);
    CHECK_EQ(stats().sharers, 1);
    CHECK_EQ(owner_get(DOMID_COW)->pages, pages - 3);   /* one is held */
    CHECK_EQ(frame_refs(held), 1);
    CHECK_EQ(frame_type_count(held), 0);
    CHECK_EQ(frame_get(held, DOMID_COW), -ESRCH);
    frame_put(held);
    CHECK_EQ(owner_get(DOMID_COW)->pages, pages - 4);
    CHECK(test_gfn_is(c, 500, 100));
    test_share_audit_all();
    test_share_kill(c);
    test_share_all_gone();
}

/* Who has looked a record up finds it dead, not gone. */
TEST(a_watched_record_stays)
{
    struct shared_frame *sf;

    setup();
    populate_group();
    sf = mfn_to_frame(p2m_lookup(b, GFN(130)).mfn)->user;
    shared_frame_get(sf);
    test_share_kill(b);
    CHECK_EQ(sf->link.handle, 0);
    CHECK_EQ(rmap_count(&sf->rmap), 0);
    test_share_audit_all();
    shared_frame_put(sf);
    test_share_kill(c);
    test_share_all_gone();
}

/* A group's last entry, and the last of 64, may be a run's or alone. */
TEST(the_end_of_a_word)
{
    for (unsigned same = 0; same < 2; same++) {
        setup();
        for (unsigned i = 0; i < 3; i++) {
            add(i == 2 && same ? 1 : i, b, 189 + i);
        }
        test_share_kill(b);
        CHECK_EQ(stats().sharers, same ? 2 : 3);
        test_share_audit_all();
        test_share_kill(c);
        test_share_kill(a);
        test_share_all_gone();
    }
}

TEST(what_a_drop_saved_is_counted)
{
    gfn_t cursor = GFN(0);

    setup();
    populate_group();
    b->no_users = true;
    CHECK_EQ(p2m_relinquish(b, &cursor, test_share_drop_group, NULL), 0);
    CHECK_EQ(share_domain_stats(b)->saved_by_drop, 8 - 4);
    p2m_put(b);
    test_drain_grace();
    CHECK_EQ(owner_release(2), 0);
    test_share_kill(c);
    test_share_all_gone();
}
