/* test_p2m_slot.c - one entry found without the lock and changed under it. */
#include "test_p2m.h"

#include <quire/p2m_slot.h>

enum { GFN_SHARED = 700, OWNER = 3 };

static struct p2m *p;
static struct { struct p2m_listener l; uint64_t calls, gfn, nr; } heard;
static mfn_t shared, copy;

static void changed(struct p2m_listener *l, struct p2m *map, gfn_t gfn,
                    uint64_t nr)
{
    (void)l;
    CHECK(map == p && is_lock_held(&p->lock));
    heard.calls++;
    heard.gfn = gfn.n;
    heard.nr = nr;
}

static mfn_t new_frame(void)
{
    struct frame *f = page_alloc_owned(OWNER, 0);

    CHECK(f != NULL);
    return frame_to_mfn(f);
}

static void setup(void)
{
    host_machine_init(1 << 13, 2);
    p = test_p2m_create(OWNER);
    shared = new_frame();
    copy = new_frame();
    CHECK_EQ(test_p2m_set(p, GFN_SHARED, shared, 0, p2m_ram_shared), 0);
}

static void teardown(void)
{
    CHECK_EQ(test_p2m_set(p, GFN_SHARED, MFN_INVALID, 0, p2m_invalid), 0);
    CHECK_EQ(p2m_audit(p), 0);
    frame_put_allocated(mfn_to_frame(shared));
    frame_put_allocated(mfn_to_frame(copy));
    test_p2m_destroy(p);
    test_p2m_all_gone();
}

static mfn_t read_slot(const struct p2m_slot *s, enum p2m_type type)
{
    mfn_t mfn;

    spin_lock(&p->lock);
    mfn = p2m_slot_mfn(s, type);
    spin_unlock(&p->lock);
    return mfn;
}

TEST(an_entry_by_its_type)
{
    struct p2m_slot s;

    setup();
    p2m_slot_find(&s, p, GFN(GFN_SHARED));
    CHECK_EQ(read_slot(&s, p2m_ram_shared).n, shared.n);
    CHECK_EQ(read_slot(&s, p2m_ram_rw).n, MFN_INVALID.n);
    p2m_slot_find(&s, p, GFN(GFN_SHARED + 1));      /* a hole beside it */
    CHECK(s.entry != NULL);
    CHECK_EQ(read_slot(&s, p2m_ram_shared).n, MFN_INVALID.n);
    p2m_slot_find(&s, p, GFN(UINT64_C(1) << 30));   /* no table */
    CHECK(s.entry == NULL);
    CHECK_EQ(read_slot(&s, p2m_ram_shared).n, MFN_INVALID.n);
    p2m_slot_find(&s, p, GFN(UINT64_C(1) << P2M_GFN_BITS));
    CHECK(s.entry == NULL);
    teardown();
}

TEST(a_superpage_has_none)
{
    struct frame *f;
    struct p2m_slot s;

    setup();
    f = page_alloc_owned(OWNER, P2M_ORDER_2M);
    CHECK(f != NULL);
    CHECK_EQ(test_p2m_set(p, 1024, frame_to_mfn(f), P2M_ORDER_2M, p2m_ram_rw),
             0);
    p2m_slot_find(&s, p, GFN(1030));
    CHECK(s.entry == NULL);
    CHECK_EQ(read_slot(&s, p2m_ram_rw).n, MFN_INVALID.n);
    teardown();
}

/* A new frame must be seen by all at once; the same with more rights need
 * not. Either way the types are counted and the listeners told. */
TEST(private_again)
{
    struct p2m_slot s;

    for (unsigned same = 0; same < 2; same++) {
        uint64_t flushes;
        mfn_t mfn;

        setup();
        mfn = same != 0 ? shared : copy;
        heard.l.changed = changed;
        heard.calls = 0;
        p2m_add_listener(p, &heard.l);
        p2m_slot_find(&s, p, GFN(GFN_SHARED));
        flushes = p->nr_flushes;
        spin_lock(&p->lock);
        p2m_slot_set_private(&s, mfn);
        spin_unlock(&p->lock);
        CHECK_EQ(p->nr_flushes - flushes, same != 0 ? 0 : 1);
        CHECK_EQ(heard.calls, 1);
        CHECK_EQ(heard.gfn, GFN_SHARED);
        CHECK_EQ(heard.nr, 1);
        CHECK_EQ(p->count[p2m_ram_rw], 1);
        CHECK_EQ(p->count[p2m_ram_shared], 0);
        CHECK_EQ(p2m_lookup(p, GFN(GFN_SHARED)).mfn.n, mfn.n);
        CHECK_EQ(p2m_lookup(p, GFN(GFN_SHARED)).type, p2m_ram_rw);
        p2m_remove_listener(p, &heard.l);
        teardown();
    }
}

/* Its table leaves the tree, and a new one takes the place. */
TEST(a_table_that_has_gone)
{
    struct p2m_slot s;

    setup();
    p2m_slot_find(&s, p, GFN(GFN_SHARED));
    CHECK_EQ(test_p2m_set(p, GFN_SHARED, MFN_INVALID, 0, p2m_invalid), 0);
    CHECK_EQ(test_p2m_set(p, GFN_SHARED, shared, 0, p2m_ram_shared), 0);
    CHECK_EQ(read_slot(&s, p2m_ram_shared).n, MFN_INVALID.n);
    teardown();
}

TEST(a_map_that_is_relinquished)
{
    struct p2m_slot s;

    setup();
    p2m_slot_find(&s, p, GFN(GFN_SHARED));
    p->no_users = true;
    CHECK_EQ(read_slot(&s, p2m_ram_shared).n, MFN_INVALID.n);
    p->no_users = false;
    teardown();
}
