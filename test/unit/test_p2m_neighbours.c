/* test_p2m_neighbours.c - runs of neighbours written and read at once, against
 * the same change gfn by gfn. */
#include "test_p2m.h"

enum { GFNS = 512, BASE = 512 * 3 };

static struct p2m *one, *many;
static struct { struct p2m_listener l; uint64_t calls, gfns; } heard;
static mfn_t mfns[GFNS];

static void changed(struct p2m_listener *l, struct p2m *p, gfn_t gfn,
                    uint64_t nr)
{
    (void)l, (void)p, (void)gfn;
    heard.calls++;
    heard.gfns += nr;
}

static void setup(void)
{
    host_machine_init(1 << 12, 2);
    one = test_p2m_create(1);
    many = test_p2m_create(2);
    for (unsigned i = 0; i < GFNS; i++) {
        struct frame *f = page_alloc_owned(DOMID_IO, 0);

        CHECK(f != NULL);
        mfns[i] = frame_to_mfn(f);
    }
    heard.l.changed = changed;
    p2m_add_listener(many, &heard.l);
}

static void forget(struct p2m *p, const struct p2m_group *g)
{
    (void)p, (void)g;       /* the frames are nobody's */
}

static void teardown(void)
{
    struct p2m *p[2] = { one, many };

    p2m_remove_listener(many, &heard.l);
    for (unsigned i = 0; i < 2; i++) {
        gfn_t cursor = GFN(0);

        p2m_flush(p[i]);
        p[i]->no_users = true;
        CHECK_EQ(p2m_relinquish(p[i], &cursor, forget, NULL), 0);
        CHECK_EQ(p2m_audit(p[i]), 0);
        p2m_put(p[i]);
        test_drain_grace();
    }
    (void)!owner_release(1);
    (void)!owner_release(2);
}

/* The same run in both; true if the one at once was flushed. */
static bool write(unsigned first, unsigned nr, enum p2m_type type,
                  unsigned mfn, unsigned step)
{
    uint64_t before = many->nr_flushes, flushes = one->nr_flushes;
    struct p2m_batch b;

    p2m_batch_begin(&b, one);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(BASE + first), nr, 0), 0);
    for (unsigned i = 0; i < nr; i++) {
        p2m_set(&b, GFN(BASE + first + i), mfns[mfn + i * step], 0, type);
    }
    p2m_batch_end(&b);
    heard.calls = heard.gfns = 0;
    p2m_batch_begin(&b, many);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(BASE + first), nr, 0), 0);
    p2m_set_neighbours(&b, GFN(BASE + first), nr, type, &mfns[mfn], step);
    p2m_batch_end(&b);
    CHECK_EQ(heard.calls, 1);
    CHECK_EQ(heard.gfns, nr);
    CHECK_EQ(many->nr_flushes - before, one->nr_flushes - flushes);
    return many->nr_flushes != before;
}

static void compare(void)
{
    static struct p2m_entry e[GFNS];
    struct p2m_batch b;
    unsigned nr;

    p2m_batch_begin(&b, many);
    nr = p2m_read_neighbours(&b, GFN(BASE), GFNS + 9, e);
    p2m_batch_end(&b);
    CHECK_EQ(nr, GFNS);
    for (unsigned i = 0; i < GFNS; i++) {
        struct p2m_entry x = p2m_lookup(one, GFN(BASE + i));

        CHECK(mfn_eq(x.mfn, e[i].mfn) && x.type == e[i].type);
        CHECK(mfn_eq(x.mfn, p2m_lookup(many, GFN(BASE + i)).mfn));
    }
    for (unsigned t = 0; t < NR_P2M_TYPES; t++) {
        CHECK_EQ(one->count[t], many->count[t]);
    }
}

TEST(a_run_is_as_good_as_its_gfns)
{
    static const enum p2m_type types[] = { p2m_ram_rw, p2m_ram_ro,
                                           p2m_ram_rw, p2m_mmio_direct };
    struct rng r;

    setup();
    rng_seed(&r, test_seed);
    CHECK(!write(0, 1, p2m_mmio_direct, 0, 1));     /* the table itself */
    for (unsigned i = 0; i < 400; i++) {
        unsigned first = (unsigned)rng_below(&r, GFNS);
        unsigned nr = 1 + (unsigned)rng_below(&r, GFNS - first);
        unsigned step = (unsigned)rng_below(&r, 2);

        (void)write(first, nr, types[rng_below(&r, 4)],
                    step == 0 ? (unsigned)rng_below(&r, GFNS) : 0, step);
        compare();
    }
    teardown();
}

TEST(rights_that_fall_are_flushed)
{
    setup();
    CHECK(!write(0, 64, p2m_ram_ro, 0, 1));
    CHECK(!write(0, 64, p2m_ram_rw, 0, 1));
    CHECK(write(10, 3, p2m_ram_ro, 10, 1));
    CHECK(write(20, 3, p2m_ram_rw, 0, 1));          /* other frames */
    CHECK(!write(64, 9, p2m_ram_rw, 64, 1));        /* holes */
    compare();
    teardown();
}

TEST(where_there_are_no_neighbours)
{
    struct p2m_entry e[4];
    struct p2m_batch b;

    setup();
    p2m_batch_begin(&b, one);
    CHECK_EQ(p2m_batch_reserve(&b, GFN(1024), 512, P2M_ORDER_2M), 0);
    p2m_set(&b, GFN(1024), MFN(512), P2M_ORDER_2M, p2m_mmio_direct);
    p2m_batch_end(&b);
    p2m_batch_begin(&b, one);
    CHECK_EQ(p2m_read_neighbours(&b, GFN(1030), 4, e), 0);
    CHECK_EQ(p2m_read_neighbours(&b, GFN(1 << 20), 4, e), 0);
    CHECK_EQ(p2m_read_neighbours(&b, GFN(UINT64_C(1) << 36), 4, e), 0);
    p2m_batch_end(&b);
    teardown();
}
