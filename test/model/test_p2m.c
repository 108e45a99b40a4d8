/*
 * test_p2m.c - random batches on a p2m against a naive map: an array of
 * (type, mfn, tracking) for every gfn of a few windows. After each step all
 * gfns are compared, the audit runs, and the frames owned are the frames
 * mapped. Some steps run with the n-th allocation failing, for every n.
 *
 * A sequence runs in a child process. One that fails is shrunk by leaving
 * out steps as long as it still fails, and printed.
 */
#include "test_p2m.h"

#include <quire/panic.h>

#include <string.h>

enum { WINDOW = 2048, WINDOWS = 4, GFNS = WINDOW * WINDOWS, STEPS = 60,
       OWNER = 11 };

/* Where the windows lie: at both ends, and across a 1G boundary. */
static const uint64_t window_base[WINDOWS] = {
    0, 0x40000 - 1024, UINT64_C(0x123456000), (UINT64_C(1) << 36) - WINDOW,
};

enum op { OP_SET, OP_SET_RANGE, OP_CLEAR_RANGE, OP_SET_2M, OP_TRACK,
          OP_FAIL_ALLOC, OP_SCATTER, NR_OPS };
static const char *const op_name[] = { "set", "set_range", "clear_range",
                                       "set_2m", "track", "fail_alloc",
                                       "scatter" };

struct step { enum op op; unsigned at, nr; enum p2m_type type;
              unsigned tracking; };

struct cell { mfn_t mfn; enum p2m_type type; unsigned tracking; };

static struct {
    struct p2m *p;
    struct cell cell[GFNS];
    bool touched[GFNS], notified[GFNS];
} m;

#define REQUIRE(cond, ...) \
    do { \
        if (!(cond)) { panic("model: " #cond ": " __VA_ARGS__); } \
    } while (0)

static gfn_t gfn_at(unsigned i)
{
    return GFN(window_base[i / WINDOW] + i % WINDOW);
}

static bool index_of(uint64_t gfn, unsigned *i)
{
    for (unsigned k = 0; k < WINDOWS; k++) {
        if (gfn - window_base[k] < WINDOW) {
            *i = k * WINDOW + (unsigned)(gfn - window_base[k]);
            return true;
        }
    }
    return false;
}

static bool is_ram(enum p2m_type t)
{
    return t == p2m_ram_rw || t == p2m_ram_ro;
}

static void on_change(struct p2m_listener *l, struct p2m *p, gfn_t gfn,
                      uint64_t nr)
{
    unsigned i;

    (void)l;
    (void)p;
    for (uint64_t k = 0; k < nr; k++) {
        REQUIRE(index_of(gfn.n + k, &i), "notified of gfn %lx", gfn.n + k);
        m.notified[i] = true;
    }
}

/* ---- the steps ------------------------------------------------------- */

/* Set one cell to @new in both; what RAM it had goes. */
static void set_cell(struct p2m_batch *b, unsigned i, struct cell new)
{
    struct cell old = m.cell[i];

    p2m_set(b, gfn_at(i), new.mfn, 0, new.type);
    if (is_ram(old.type)) {
        struct frame *f = mfn_to_frame(old.mfn);

        REQUIRE(frame_get(f, OWNER) == 0, "gfn %lx", gfn_at(i).n);
        frame_put_allocated(f);
        p2m_batch_put_frame(b, f);
    }
    m.touched[i] |= old.type != new.type || !mfn_eq(old.mfn, new.mfn) ||
                    old.tracking != 0;
    m.cell[i] = new;
}

/* A cell of @type, with a frame of its own if that takes one. */
static bool new_cell(enum p2m_type type, struct cell *c)
{
    struct frame *f;

    *c = (struct cell){ MFN_INVALID, type, 0 };
    if (is_ram(type)) {
        f = page_alloc_owned(OWNER, 0);
        if (f == NULL) {
            return false;
        }
        c->mfn = frame_to_mfn(f);
    } else if (type == p2m_mmio_direct || type == p2m_ram_broken) {
        c->mfn = MFN(UINT64_C(0xabcde00000) + type);
    }
    return true;
}

static void clear_cells(struct p2m_batch *b, unsigned at, unsigned nr)
{
    for (unsigned i = at; i < at + nr; i++) {
        set_cell(b, i, (struct cell){ MFN_INVALID, p2m_invalid, 0 });
    }
}

/* Cells [@at, @at + @nr), @stride apart; -ENOMEM: as many as went. */
static void set_cells(const struct step *s, unsigned stride)
{
    struct p2m_batch b;

    p2m_batch_begin(&b, m.p);
    for (unsigned k = 0, i = s->at; k < s->nr; k++, i += stride) {
        struct cell c;

        i -= i >= (s->at / WINDOW + 1) * WINDOW ? WINDOW : 0;
        if (p2m_batch_reserve(&b, gfn_at(i), 1, 0) != 0 ||
            !new_cell(s->type, &c)) {
            break;
        }
        set_cell(&b, i, c);
    }
    p2m_batch_end(&b);
}

static void clear_range(const struct step *s)
{
    struct p2m_batch b;

    p2m_batch_begin(&b, m.p);
    if (p2m_batch_reserve(&b, gfn_at(s->at), s->nr, 0) == 0) {
        clear_cells(&b, s->at, s->nr);
    }
    p2m_batch_end(&b);
}

static bool is_one_superpage(unsigned at)
{
    struct p2m_entry e = p2m_lookup(m.p, gfn_at(at));

    return e.type != p2m_invalid && e.order == P2M_ORDER_2M;
}

static void set_2m(const struct step *s)
{
    unsigned at = s->at & ~511u;
    struct p2m_batch b;
    struct frame *f = NULL;
    mfn_t mfn = MFN_INVALID;

    p2m_batch_begin(&b, m.p);
    if (p2m_batch_reserve(&b, gfn_at(at), 512, P2M_ORDER_2M) != 0) {
        goto out;
    }
    if (is_ram(s->type)) {
        f = page_alloc_owned(OWNER, P2M_ORDER_2M);
        if (f == NULL) {
            goto out;
        }
        mfn = frame_to_mfn(f);
    } else if (s->type == p2m_mmio_direct) {
        mfn = MFN(UINT64_C(0xabcde00000));
    }
    /* What is there goes first: whole, or cell by cell. */
    if (is_one_superpage(at)) {
        p2m_set(&b, gfn_at(at), MFN_INVALID, P2M_ORDER_2M, p2m_invalid);
    }
    clear_cells(&b, at, 512);
    p2m_set(&b, gfn_at(at), mfn, P2M_ORDER_2M, s->type);
    for (unsigned k = 0; k < 512; k++) {
        m.cell[at + k] = (struct cell){
            mfn_eq(mfn, MFN_INVALID) ? mfn : mfn_add(mfn, k), s->type, 0 };
        m.touched[at + k] |= s->type != p2m_invalid;
    }
out:
    p2m_batch_end(&b);
}

static void track(const struct step *s)
{
    struct p2m_batch b;

    p2m_batch_begin(&b, m.p);
    if (p2m_batch_reserve(&b, gfn_at(s->at), s->nr, 0) == 0) {
        for (unsigned i = s->at; i < s->at + s->nr; i++) {
            if (m.cell[i].type != p2m_invalid) {
                p2m_set_tracking(&b, gfn_at(i), s->tracking);
                m.touched[i] |= m.cell[i].tracking != s->tracking;
                m.cell[i].tracking = s->tracking;
            }
        }
    }
    p2m_batch_end(&b);
}

static void check(void);

/* The step again and again, its n-th allocation failing, until none does. */
static void fail_alloc(const struct step *s)
{
    for (unsigned n = 1; n < 40; n++) {
        uint64_t tables = m.p->nr_tables;
        struct p2m_batch b;
        int err;

        p2m_batch_begin(&b, m.p);
        host_fail_alloc_at(n);
        err = p2m_batch_reserve(&b, gfn_at(s->at), s->nr, 0);
        REQUIRE(err == (host_alloc_failed() ? -ENOMEM : 0), "%d", err);
        host_fail_alloc_at(0);
        p2m_batch_end(&b);
        REQUIRE(m.p->nr_tables == tables, "%lu", tables);
        check();
        if (err == 0) {
            break;
        }
    }
    host_fail_alloc_at(1 + s->nr % 5);
    set_cells(s, 1);
    host_fail_alloc_at(0);
}

static void run_step(const struct step *s)
{
    switch (s->op) {
    case OP_SET: case OP_SET_RANGE:
        set_cells(s, 1);
        break;
    case OP_SCATTER:
        set_cells(s, 257);
        break;
    case OP_CLEAR_RANGE:
        clear_range(s);
        break;
    case OP_SET_2M:
        set_2m(s);
        break;
    case OP_TRACK:
        track(s);
        break;
    default:
        fail_alloc(s);
    }
}

/* ---- the comparison ---------------------------------------------------- */

static void check_next(void)
{
    uint64_t end = UINT64_C(1) << P2M_GFN_BITS, from = 0;
    struct p2m_entry e;
    gfn_t g;

    for (unsigned i = 0; i < GFNS; i++) {
        if (m.cell[i].type == p2m_invalid) {
            continue;
        }
        REQUIRE(p2m_next(m.p, GFN(from), GFN(end), &g, &e), "gfn %lx",
                gfn_at(i).n);
        REQUIRE(gfn_eq(g, gfn_at(i)), "%lx, not %lx", g.n, gfn_at(i).n);
        REQUIRE(e.type == m.cell[i].type && mfn_eq(e.mfn, m.cell[i].mfn),
                "next at gfn %lx", g.n);
        from = g.n + 1;
    }
    REQUIRE(!p2m_next(m.p, GFN(from), GFN(end), &g, &e), "gfn %lx", g.n);
}

/* From within holes, too: some gfn of each window on, to its end. */
static void check_next_from(uint64_t seed)
{
    struct p2m_entry e;
    gfn_t g;

    for (unsigned k = 0; k < WINDOWS; k++) {
        unsigned i = k * WINDOW + (unsigned)(mix64(seed + k) % WINDOW);
        gfn_t from = gfn_at(i), end = GFN(window_base[k] + WINDOW);
        bool found = p2m_next(m.p, from, end, &g, &e);

        while (i < (k + 1) * WINDOW && m.cell[i].type == p2m_invalid) {
            i++;
        }
        REQUIRE(found == (i < (k + 1) * WINDOW), "from gfn %lx", from.n);
        REQUIRE(!found || gfn_eq(g, gfn_at(i)), "%lx from gfn %lx", g.n,
                from.n);
    }
}

static void check(void)
{
    uint64_t count[NR_P2M_TYPES] = { 0 };

    for (unsigned i = 0; i < GFNS; i++) {
        struct p2m_entry e = p2m_lookup(m.p, gfn_at(i));
        struct cell *c = &m.cell[i];

        REQUIRE(e.type == c->type && mfn_eq(e.mfn, c->mfn) &&
                e.tracking == c->tracking,
                "gfn %lx is %s %lx %u, not %s %lx %u", gfn_at(i).n,
                p2m_type_name(e.type), e.mfn.n, e.tracking,
                p2m_type_name(c->type), c->mfn.n, c->tracking);
        REQUIRE(!m.touched[i] || m.notified[i], "gfn %lx", gfn_at(i).n);
        count[c->type]++;
    }
    count[p2m_invalid] = 0;
    for (unsigned t = 0; t < NR_P2M_TYPES; t++) {
        REQUIRE(m.p->count[t] == count[t], "%s", p2m_type_name(t));
    }
    REQUIRE(owner_get(OWNER)->pages ==
            count[p2m_ram_rw] + count[p2m_ram_ro], "%lu owned",
            owner_get(OWNER)->pages);
    check_next();
    check_next_from(m.p->nr_tables + count[p2m_ram_rw]);
    REQUIRE(p2m_audit(m.p) == 0, "audit");
    memset(m.touched, 0, sizeof(m.touched));
    memset(m.notified, 0, sizeof(m.notified));
}

/* ---- the end: everything comes out once, in order ---------------------- */

static unsigned next_index;

static void on_drop(struct p2m *p, gfn_t gfn, const struct p2m_entry *e)
{
    while (m.cell[next_index].type == p2m_invalid) {
        REQUIRE(++next_index < GFNS, "gfn %lx", gfn.n);
    }
    REQUIRE(gfn_eq(gfn, gfn_at(next_index)), "%lx, not %lx", gfn.n,
            gfn_at(next_index).n);
    REQUIRE(e->type == m.cell[next_index].type &&
            mfn_eq(e->mfn, m.cell[next_index].mfn), "gfn %lx", gfn.n);
    m.cell[next_index] = (struct cell){ MFN_INVALID, p2m_invalid, 0 };
    test_drop(p, gfn, e);
}

static void on_drop_group(struct p2m *p, const struct p2m_group *g)
{
    test_drop_each(p, g, on_drop);
}

static void relinquish(int64_t units)
{
    gfn_t cursor = GFN(0);
    struct work w;

    m.p->no_users = true;
    next_index = 0;
    do {
        w = (struct work){ .left = units };
    } while (p2m_relinquish(m.p, &cursor, on_drop_group, &w) == -ERESTART);
    for (unsigned i = 0; i < GFNS; i++) {
        m.cell[i].tracking = 0;
    }
    check();
    REQUIRE(m.p->nr_tables == 1, "%lu", m.p->nr_tables);
}

struct sequence { struct step step[STEPS]; unsigned nr; uint64_t seed; };

static void run_sequence(void *arg)
{
    const struct sequence *q = arg;
    struct p2m_listener l = { .changed = on_change };

    host_machine_init(1 << 14, 1);
    m.p = test_p2m_create(OWNER);
    p2m_add_listener(m.p, &l);
    for (unsigned i = 0; i < GFNS; i++) {
        m.cell[i] = (struct cell){ MFN_INVALID, p2m_invalid, 0 };
    }
    for (unsigned i = 0; i < q->nr; i++) {
        run_step(&q->step[i]);
        check();
    }
    relinquish(1 + (int64_t)(q->seed % 5) * 700);
    p2m_put(m.p);
    test_drain_grace();
    REQUIRE(owner_release(OWNER) == 0, "owner");
    test_p2m_all_gone();
}

static struct step random_step(struct rng *r)
{
    static const enum p2m_type types[] = {
        p2m_ram_rw, p2m_ram_rw, p2m_ram_ro, p2m_mmio_dm, p2m_mmio_direct,
        p2m_ram_broken, p2m_invalid,
    };
    static const unsigned lengths[] = { 1, 2, 20, 600 };
    struct step s = {
        .op = (enum op)rng_below(r, NR_OPS),
        .at = (unsigned)rng_below(r, GFNS),
        .type = types[rng_below(r, ARRAY_SIZE(types))],
        .tracking = (unsigned)rng_below(r, 16),
    };

    s.nr = 1 + (unsigned)rng_below(r, lengths[rng_below(r, 4)]);
    if (s.op == OP_SET) {
        s.nr = 1;
    }
    s.nr = MIN(s.nr, WINDOW - s.at % WINDOW);
    return s;
}

static int outcome(struct sequence *q, char *log)
{
    return host_run_until_death(run_sequence, q, log, HOST_LOG_MAX);
}

static void shrink(struct sequence *q, char *log)
{
    for (unsigned cut = q->nr / 2; cut != 0; cut /= 2) {
        for (unsigned at = 0; at + cut <= q->nr;) {
            struct sequence less = *q;

            memmove(&less.step[at], &less.step[at + cut],
                    (q->nr - at - cut) * sizeof(less.step[0]));
            less.nr -= cut;
            if (outcome(&less, log) != HOST_RETURNED) {
                *q = less;
            } else {
                at += cut;
            }
        }
    }
    printf("seed %llu, shrunk to %u steps, ends with %d:\n",
           (unsigned long long)q->seed, q->nr, outcome(q, log));
    for (unsigned i = 0; i < q->nr; i++) {
        const struct step *s = &q->step[i];

        printf("  %s gfn %llx + %u, %s, tracking %x\n", op_name[s->op],
               (unsigned long long)gfn_at(s->at).n, s->nr,
               p2m_type_name(s->type), s->tracking);
    }
    printf("%s\n", log);
}

TEST(random_batches_against_a_naive_map)
{
    static struct sequence q;
    static char log[HOST_LOG_MAX];

    for (uint64_t k = 0; k < 50 * test_rounds; k++) {
        struct rng r;

        q = (struct sequence){ .nr = STEPS, .seed = test_seed + k };
        rng_seed(&r, q.seed);
        for (unsigned i = 0; i < q.nr; i++) {
            q.step[i] = random_step(&r);
        }
        if (outcome(&q, log) != HOST_RETURNED) {
            shrink(&q, log);
            CHECK(!"a sequence failed");
        }
    }
}
