/*
 * test_sharing_op.c - a privileged domain's calls against a naive model: for
 * every gfn of two domains what it is and which page is behind it, for every
 * page its contents and how many windows of the caller it is mapped in.
 *
 * Each call's result is foretold, errors included; after each step the
 * contents of every gfn and window are compared and the audits run. Calls are
 * cut into slices of random length, some given up half-way, by another call
 * or with the caller's death; some steps run with an allocation failing:
 * then the call says -ENOMEM and nothing has changed. Pages are merged only
 * if their contents are equal, which is what Xen asks of the caller.
 */
#include "test_caller.h"

#include "../../common/domain/sharing_op.h"

#include <quire/rng.h>

enum { GFNS = 24, WINDOWS = 6, VALUES = 3, STEPS = 700, PAGES = 20000 };
#define WINDOW_GFN 200
#define NONE 0                  /* no page */

enum kind { HOLE, PRIVATE, SHARED };

struct cell { enum kind kind; unsigned page; };

static struct {
    struct domain *d[2];
    struct cell cell[2][GFNS];
    unsigned window[WINDOWS];   /* the page in it */
    uint64_t value[PAGES], handle[PAGES];
    unsigned pins[PAGES], nr_pages;
    struct rng r;
    bool may_fail;              /* an allocation was to fail in this step */
} m;

static uint64_t below(uint64_t n) { return rng_below(&m.r, n); }

static unsigned new_page(uint64_t value)
{
    CHECK(m.nr_pages + 1 < PAGES);
    m.value[++m.nr_pages] = value;
    m.handle[m.nr_pages] = 0;
    m.pins[m.nr_pages] = 0;
    return m.nr_pages;
}

static unsigned sharers(unsigned page)
{
    unsigned n = 0;

    for (unsigned i = 0; i < 2 * GFNS; i++) {
        const struct cell *c = &m.cell[i / GFNS][i % GFNS];

        n += c->kind == SHARED && c->page == page;
    }
    return n;
}

/* The call did what it should, or what was to fail failed and it says so. */
static bool went(int64_t r, int64_t want)
{
    if (m.may_fail && host_alloc_failed() && r == -ENOMEM) {
        return false;
    }
    CHECK_EQ(r, want);
    return r >= 0;
}

/* It becomes private: its own page if it was the last, else a copy. */
static void make_private(struct cell *c)
{
    if (c->kind == SHARED && sharers(c->page) > 1) {
        c->page = new_page(m.value[c->page]);
    }
    c->kind = PRIVATE;
}

static struct cell *pick(unsigned *d, unsigned *g)
{
    *d = (unsigned)below(2);
    *g = (unsigned)below(GFNS);
    return &m.cell[*d][*g];
}

static uint64_t pick_handle(const struct cell *c)
{
    if (c->kind == SHARED && below(8) != 0) {
        return m.handle[c->page];
    }
    return below(2) == 0 ? m.handle[1 + below(m.nr_pages)] : below(1000);
}

/* What is behind each gfn after a call that was cut short, or is not ours to
 * foretell step by step: pages are told apart by frame. Contents must stay. */
static void look_again(void)
{
    static unsigned page_of[16384];

    memset(page_of, 0, sizeof(page_of));
    for (unsigned i = 0; i < 2 * GFNS; i++) {
        struct cell *c = &m.cell[i / GFNS][i % GFNS];
        struct p2m_entry e = p2m_lookup(m.d[i / GFNS]->p2m, GFN(i % GFNS));
        share_handle_t h;

        CHECK_EQ(e.type == p2m_invalid, c->kind == HOLE);
        if (e.type != p2m_ram_shared) {
            CHECK(c->kind != SHARED);
            continue;
        }
        CHECK(e.mfn.n < ARRAY_SIZE(page_of));
        if (page_of[e.mfn.n] == NONE) {
            page_of[e.mfn.n] = new_page(m.value[c->page]);
        }
        CHECK_EQ(m.value[page_of[e.mfn.n]], m.value[c->page]);
        *c = (struct cell){ SHARED, page_of[e.mfn.n] };
        CHECK_EQ(share_handle(m.d[i / GFNS]->p2m, GFN(i % GFNS), &h), 0);
        m.handle[c->page] = h;
    }
}

static void new_caller(void)
{
    host_fail_alloc_at(0);
    test_kill(caller);
    for (unsigned k = 0; k < WINDOWS; k++) {
        m.pins[m.window[k]]--;
        m.window[k] = NONE;
    }
    make_caller(true, below(2) == 0);
}

/* By slices; sometimes given up: then 1 is returned, and nobody can tell how
 * far it came. */
static int64_t run(struct xen_mem_sharing_op *op, bool may_stop)
{
    for (;;) {
        struct work w = { .left = (int64_t)below(3000) + 1 };
        int64_t r = sharing_op_run(caller_vcpu, op, &w);

        if (r != -ERESTART) {
            return r;
        }
        if (may_stop && below(12) == 0) {
            if (below(2) == 0) {
                new_caller();
            } else {
                (void)op_debug_gfn(m.d[0], 0);
            }
            CHECK(caller_vcpu->sharing == NULL);
            return 1;
        }
    }
}

static void step_nominate(void)
{
    unsigned d, g;
    struct cell *c = pick(&d, &g);
    uint64_t h;
    int64_t want = c->kind == HOLE ? -ENOENT :
                   c->kind == PRIVATE && m.pins[c->page] != 0 ? -E2BIG : 0;

    if (went(op_nominate(m.d[d], g, &h), want)) {
        CHECK(c->kind == PRIVATE || h == m.handle[c->page]);
        c->kind = SHARED;
        m.handle[c->page] = h;
    }
}

static void step_share(void)
{
    unsigned sd, sg, cd, cg;
    struct cell *s = pick(&sd, &sg), *c = pick(&cd, &cg);
    uint64_t sh = pick_handle(s), ch = pick_handle(c);
    struct xen_mem_sharing_op op = pair_op(XENMEM_sharing_op_share, m.d[sd],
                                           sg, sh, m.d[cd], cg, ch);
    bool s_ok = s->kind == SHARED && sh == m.handle[s->page];
    bool c_ok = c->kind == SHARED && ch == m.handle[c->page];
    int64_t r;

    if (s_ok && c_ok && m.value[s->page] != m.value[c->page]) {
        return;
    }
    r = run(&op, true);
    if (r == 1) {
        look_again();
    } else if (went(r, !s_ok ? XENMEM_SHARING_OP_S_HANDLE_INVALID :
                    !c_ok ? XENMEM_SHARING_OP_C_HANDLE_INVALID : 0)) {
        CHECK(mfn_eq(p2m_lookup(m.d[sd]->p2m, GFN(sg)).mfn,
                     p2m_lookup(m.d[cd]->p2m, GFN(cg)).mfn));
        look_again();
        CHECK_EQ(s->page, c->page);
    } else {
        look_again();
    }
}

static void step_add(void)
{
    unsigned sd, sg, cd, cg;
    struct cell *s = pick(&sd, &sg), *c = pick(&cd, &cg);
    uint64_t sh = pick_handle(s);
    bool s_ok = s->kind == SHARED && sh == m.handle[s->page];

    if (went(op_add(m.d[sd], sg, sh, m.d[cd], cg),
             !s_ok ? XENMEM_SHARING_OP_S_HANDLE_INVALID :
             c->kind != HOLE ? XENMEM_SHARING_OP_C_HANDLE_INVALID : 0)) {
        *c = *s;
    }
}

static bool may_merge(const struct cell *c)
{
    return c->kind == SHARED || (c->kind == PRIVATE && m.pins[c->page] == 0);
}

static void step_range(void)
{
    unsigned s = (unsigned)below(2), first = (unsigned)below(GFNS);
    unsigned last = first + (unsigned)below(GFNS - first);
    struct xen_mem_sharing_op op = range_op(m.d[s], m.d[1 - s], first, last);
    int64_t r;

    for (unsigned g = first; g <= last; g++) {
        if (may_merge(&m.cell[0][g]) && may_merge(&m.cell[1][g]) &&
            m.value[m.cell[0][g].page] != m.value[m.cell[1][g].page]) {
            last = g;           /* up to here their contents agree */
            if (g == first) {
                return;
            }
            op.u.range.last_gfn = --last;
            break;
        }
    }
    r = run(&op, true);
    for (unsigned g = first; r == 0 && g <= last; g++) {
        CHECK(!may_merge(&m.cell[0][g]) || !may_merge(&m.cell[1][g]) ||
              mfn_eq(p2m_lookup(m.d[0]->p2m, GFN(g)).mfn,
                     p2m_lookup(m.d[1]->p2m, GFN(g)).mfn));
    }
    CHECK(r == 1 || r == 0 || (m.may_fail && r == -ENOMEM));
    /* Some were nominated on the way. */
    for (unsigned i = 0; i < 2 * GFNS; i++) {
        struct cell *c = &m.cell[i / GFNS][i % GFNS];

        if (p2m_lookup(m.d[i / GFNS]->p2m, GFN(i % GFNS)).type ==
            p2m_ram_shared) {
            CHECK(may_merge(c));
            c->kind = SHARED;
        }
    }
    look_again();
}

static void step_unshare(void)
{
    unsigned d, g;
    struct cell *c = pick(&d, &g);

    if (went(op_unshare(m.d[d], g), c->kind == HOLE ? -ENOENT : 0)) {
        make_private(c);
    }
}

static void step_write(void)
{
    unsigned d, g;
    struct cell *c = pick(&d, &g);
    uint64_t value = below(VALUES);
    size_t done;

    if (c->kind != HOLE &&
        went(guest_write_gpa(m.d[d]->p2m, (gpa_t)g << PAGE_SHIFT, &value, 8,
                             &done), 0)) {
        make_private(c);
        m.value[c->page] = value;
    }
}

static void step_remove(void)
{
    unsigned d, g;
    struct cell *c = pick(&d, &g);
    uint64_t done = 0;

    if (c->kind != HOLE) {
        if (went(op_remove(m.d[d]->id, g), 0)) {
            c->kind = HOLE;
        }
    } else if (below(2) == 0) {
        CHECK_EQ(op_remove(m.d[d]->id, g), -ENOENT);
    } else if (went(domain_populate(m.d[d], GFN(g), 1, &done, NULL), 0)) {
        *c = (struct cell){ PRIVATE, new_page(0) };
    }
}

static void step_foreign(void)
{
    unsigned d, g, k = (unsigned)below(WINDOWS);
    struct cell *c = pick(&d, &g);
    int64_t r = op_foreign(m.d[d], g, WINDOW_GFN + k);

    if (went(r, c->kind == HOLE ? -EINVAL : 0)) {
        make_private(c);
        m.pins[m.window[k]]--;
        m.window[k] = c->page;
        m.pins[c->page]++;
    } else if (p2m_lookup(m.d[d]->p2m, GFN(g)).type == p2m_ram_rw) {
        make_private(c);        /* unshared, and then not mapped */
    }
}

static void step_window(void)
{
    unsigned k = (unsigned)below(WINDOWS);

    if (m.window[k] == NONE) {
        CHECK_EQ(op_remove(DOMID_SELF, WINDOW_GFN + k), -ENOENT);
    } else if (below(2) == 0) {
        CHECK_EQ(op_remove(DOMID_SELF, WINDOW_GFN + k), 0);
        m.pins[m.window[k]]--;
        m.window[k] = NONE;
    } else {
        m.value[m.window[k]] = below(VALUES);
        write_word(caller, WINDOW_GFN + k, m.value[m.window[k]]);
    }
}

/* A domain dies, its pages in the caller's windows do not. */
static void step_kill(void)
{
    unsigned d = (unsigned)below(2);

    if (below(20) != 0) {
        return;
    }
    test_kill(m.d[d]);
    m.d[d] = make_target(d == 0 ? "a" : "b");
    for (unsigned g = 0; g < GFNS; g++) {
        m.cell[d][g] = (struct cell){ PRIVATE, new_page(0) };
    }
}

static void compare(void)
{
    for (unsigned i = 0; i < 2 * GFNS; i++) {
        const struct cell *c = &m.cell[i / GFNS][i % GFNS];
        const struct domain *d = m.d[i / GFNS];
        enum p2m_type type = p2m_lookup(d->p2m, GFN(i % GFNS)).type;

        CHECK_EQ(type, c->kind == HOLE ? p2m_invalid : c->kind == SHARED ?
                 p2m_ram_shared : p2m_ram_rw);
        if (c->kind != HOLE) {
            CHECK_EQ(read_word(d, i % GFNS), m.value[c->page]);
        }
        CHECK_EQ(op_debug_gfn(d, i % GFNS), c->kind == HOLE ? -ENOENT :
                 c->kind == PRIVATE ? -EINVAL : (int64_t)sharers(c->page));
    }
    for (unsigned k = 0; k < WINDOWS; k++) {
        CHECK(m.window[k] == NONE || read_word(caller, WINDOW_GFN + k) ==
              m.value[m.window[k]]);
    }
}

TEST(calls_against_a_model)
{
    static void (*const steps[])(void) = {
        step_nominate, step_nominate, step_share, step_share, step_share,
        step_add, step_range, step_unshare, step_write, step_remove,
        step_foreign, step_window, step_kill,
    };

    test_machine(16384, 2);
    memset(&m, 0, sizeof(m));
    rng_seed(&m.r, test_seed);
    make_caller(true, false);
    for (unsigned d = 0; d < 2; d++) {
        m.d[d] = make_target(d == 0 ? "a" : "b");
        for (unsigned g = 0; g < GFNS; g++) {
            m.cell[d][g] = (struct cell){ PRIVATE, new_page(0) };
        }
    }
    for (unsigned i = 0; i < STEPS * test_rounds; i++) {
        unsigned which = (unsigned)below(ARRAY_SIZE(steps));

        m.may_fail = below(4) == 0 && steps[which] != step_kill &&
                     steps[which] != step_window;
        host_fail_alloc_at(m.may_fail ? 1 + below(6) : 0);
        steps[which]();
        host_fail_alloc_at(0);
        m.may_fail = false;
        compare();
        if (i % 8 == 0) {
            audit_all();
        }
    }
    new_caller();
    for (unsigned d = 0; d < 2; d++) {
        test_kill(m.d[d]);
    }
    test_kill(caller);
    test_settle();
    CHECK_EQ(domain_nr_unfreed(), 0);
    CHECK_EQ(mem_audit(), 0);
}
