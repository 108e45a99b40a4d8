/*
 * test_share.c - random sharing of a few domains against a naive model: for
 * every gfn what it is, the number of the page behind it, and for every page
 * its contents and whether it is shared. After each step every gfn's bytes
 * are compared, sharers and totals are counted over, and the audits run.
 *
 * The model knows no handles but as page numbers, no frames, no order of
 * things: a merge is "every gfn of that page is now of this one". Merges and
 * ranges run in slices of random length, with other steps in between. Some
 * steps run with the n-th allocation failing: either it was not reached, or
 * the step says -ENOMEM and nothing has changed.
 *
 * A failure prints the seed and the steps that led to it.
 */
#include "share_model.h"

struct at { unsigned d, g; struct p2m *p; gfn_t gfn; struct cell *c; };

static struct at somewhere(void)
{
    struct at a = { .d = (unsigned)below(DOMAINS) };

    a.g = (unsigned)below(below(3) == 0 ? GFNS : HOT);
    a.p = m.p[a.d];
    a.gfn = gfn_of(a.g);
    a.c = &m.cell[a.d][a.g];
    return a;
}

/* True if @err is that of the failed allocation; nothing has changed then.
 * -EBUSY: gfns added one by one, since there was no memory for a group. */
static bool failed(int err)
{
    bool hit = host_alloc_failed();

    host_fail_alloc_at(0);
    REQUIRE(!hit || err == -ENOMEM || err == -ERESTART || err == 0 ||
            err == -EBUSY);
    return hit && err == -ENOMEM;
}

static void do_nominate(void)
{
    struct at a = somewhere();
    share_handle_t h = 0;
    int err = share_nominate(a.p, a.gfn, &h);

    NOTE("nominate d%u gfn %lu: %d", a.d, a.gfn.n, err);
    if (failed(err)) {
        return;
    }
    switch (a.c->kind) {
    case HOLE:
        REQUIRE(err == -ENOENT);
        break;
    case PRIVATE:
        REQUIRE(err == 0);
        for (unsigned i = 0; i < m.nr_pages; i++) {
            REQUIRE(m.handle[i] != h);
        }
        a.c->kind = SHARED;
        m.handle[a.c->page] = h;
        break;
    case SHARED:
        REQUIRE(err == 0 && h == m.handle[a.c->page]);
        break;
    }
}

/* A handle that may be right, another's or long gone. */
static share_handle_t handle_for(const struct at *a)
{
    share_handle_t h = m.handle[a->c->page];

    return below(10) != 0 ? h : m.handle[below(m.nr_pages)];
}

static bool names(const struct at *a, share_handle_t h)
{
    return a->c->kind == SHARED && h == m.handle[a->c->page];
}

static void start_merge(void)
{
    struct at s = somewhere(), c = somewhere();
    share_handle_t sh = handle_for(&s), ch = handle_for(&c);
    unsigned sp = s.c->page, cp = c.c->page;
    struct work w = { .left = 1 };
    bool swapped;
    int want, err;

    if (s.c->kind == PRIVATE && c.c->kind == SHARED) {
        return;         /* common and dull */
    }
    m.merge = (struct share_merge){ 0 };
    swapped = names(&s, sh) && names(&c, ch) && m.value[sp] == m.value[cp] &&
              sharers(cp) >= sharers(sp) + 8;
    m.goes_mfn = p2m_lookup(swapped ? s.p : c.p, swapped ? s.gfn : c.gfn).mfn;
    err = share_frames(s.p, s.gfn, sh, c.p, c.gfn, ch, &m.merge, &w);
    NOTE("share d%u gfn %lu (%lu), d%u gfn %lu (%lu): %d", s.d, s.gfn.n, sh,
         c.d, c.gfn.n, ch, err);
    REQUIRE(!failed(err));
    want = !names(&s, sh) ? -ENOEXEC : !names(&c, ch) ? -EBADF :
           sp == cp ? -EEXIST : -ERESTART;
    REQUIRE(err == want);
    if (err == -ERESTART) {
        m.merging = true;
        m.source = sp;
        m.client = cp;
        m.swapped = swapped;
        m.goes = m.swapped ? sp : cp;
        m.sd = s.d, m.sg = s.g, m.cd = c.d, m.cg = c.g;
    }
}

/* The client's frame has taken the source's handle: it is that page now. */
static void follow_handles(void)
{
    bool renamed = false;

    for (unsigned i = 0; m.swapped && i < DOMAINS * GFNS; i++) {
        struct cell *c = &m.cell[i / GFNS][i % GFNS];
        share_handle_t h;

        if (c->kind == SHARED && c->page == m.client) {
            REQUIRE(share_handle(m.p[i / GFNS], gfn_of(i % GFNS), &h) == 0);
            REQUIRE(!renamed || h == m.handle[m.source]);
            if (h == m.handle[m.source]) {
                REQUIRE(renamed || sharers(m.source) == 0);
                renamed = true;
                c->page = m.source;
            }
        }
    }
    if (renamed) {
        m.swapped = false;
        m.goes = m.client;
    }
}

/* A merge has moved some pairs, no matter which: see which. */
static void follow_merge(uint64_t moved)
{
    unsigned stays = m.source + m.client - m.goes;
    uint64_t seen = 0;

    for (unsigned i = 0; i < DOMAINS * GFNS; i++) {
        struct cell *c = &m.cell[i / GFNS][i % GFNS];

        if (c->kind == SHARED && c->page == m.goes &&
            !mfn_eq(p2m_lookup(m.p[i / GFNS], gfn_of(i % GFNS)).mfn,
                    m.goes_mfn)) {
            c->page = stays;
            seen++;
        }
    }
    REQUIRE(seen == moved);
    follow_handles();
}

static void step_merge(bool whole)
{
    struct work w = { .left = 1 + (int64_t)below(3000) };
    uint64_t before = m.merge.moved;
    int err;

    err = share_frames(m.p[m.sd], gfn_of(m.sg), m.handle[m.source],
                       m.p[m.cd], gfn_of(m.cg), m.handle[m.client], &m.merge,
                       whole ? NULL : &w);
    NOTE("... share: %d, %lu moved", err, m.merge.moved);
    if (failed(err)) {
        REQUIRE(sharers(m.goes) > 0);   /* what was named, at least */
    }
    REQUIRE(err == 0 || err == -ENOMEM || (err == -ERESTART && !whole));
    follow_merge(m.merge.moved - before);
    REQUIRE(err != 0 || sharers(m.client) == 0);
    m.merging = err == -ERESTART;
}

static void abort_merge(void)
{
    NOTE("abort the merge");
    share_merge_abort(&m.merge);
    follow_handles();
    m.merging = false;
}

static void do_merge(void)
{
    uint64_t moved;

    if (!m.merging) {
        host_fail_alloc_at(0);
        start_merge();
        moved = m.merge.moved;
        if (m.merging) {
            follow_merge(moved);
        }
    } else if (below(20) == 0) {
        abort_merge();
    } else {
        step_merge(below(4) == 0);
    }
}

static void do_add(void)
{
    struct at s = somewhere(), c = somewhere();
    uint64_t nr = 1 + below(4), stride = 1 + below(3), done = 0;
    share_handle_t sh = handle_for(&s);
    int err;

    nr = MIN(nr, 1 + (GFNS - 1 - c.g) / stride);
    do {
        struct work w = { .left = (int64_t)below(1000) };

        err = share_add_physmap_range(s.p, s.gfn, sh, c.p, c.gfn, nr, stride,
                                      &done, &w);
    } while (err == -ERESTART);
    NOTE("add d%u gfn %lu (%lu), d%u gfn %lu x %lu / %lu: %d after %lu", s.d,
         s.gfn.n, sh, c.d, c.gfn.n, nr, stride, err, done);
    if (!names(&s, sh) || (m.merging && s.c->page == m.goes)) {
        REQUIRE(failed(err) || err == (names(&s, sh) ? -EAGAIN : -ENOEXEC));
        REQUIRE(done == 0);
        return;
    }
    for (uint64_t i = 0; i < done; i++) {
        struct cell *t = &m.cell[c.d][c.g + i * stride];

        REQUIRE(t->kind == HOLE);
        *t = (struct cell){ SHARED, s.c->page };
    }
    if (!failed(err) && done < nr) {
        REQUIRE(err == -EBUSY);
        REQUIRE(m.cell[c.d][c.g + done * stride].kind != HOLE);
    } else if (done == nr) {
        REQUIRE(err == 0);
    }
}

/* Nominated for a pair that failed, if it @was_private: private again, if its
 * domain is not above its limit. */
static void withdraw(struct cell *x, bool was_private)
{
    if (was_private && has_room((unsigned)(x - m.cell[0]) / GFNS)) {
        x->kind = PRIVATE;
    }
}

/* One pair of a range: as nominate, nominate and share would have it, but
 * that a private client joins even the source of a merge. */
static void pair_shared(struct cell *s, struct cell *c, uint64_t n[3])
{
    bool was_private[2] = { s->kind == PRIVATE, c->kind == PRIVATE };
    unsigned gone = c->page;

    if (s->kind == HOLE || c->kind == HOLE) {
        s->kind = s->kind == HOLE ? HOLE : SHARED;
        withdraw(s, was_private[0]);
        n[2]++;
        return;
    }
    bool joins = c->kind == PRIVATE && s != c &&
                 !(m.merging && s->kind == SHARED && s->page == m.goes);

    s->kind = c->kind = SHARED;
    if (s->page == gone) {
        n[1]++;
        withdraw(s, was_private[0]);
    } else if (!joins && (in_merge(s->page) || in_merge(gone))) {
        n[2]++;
        withdraw(s, was_private[0]);
        withdraw(c, was_private[1]);
    } else {
        n[0]++;
        for (unsigned i = 0; i < DOMAINS * GFNS; i++) {
            struct cell *t = &m.cell[i / GFNS][i % GFNS];

            if (t->kind == SHARED && t->page == gone) {
                t->page = s->page;
            }
        }
    }
}

/* Pages that have become shared in a way that named no handle. */
static void learn_handles(void)
{
    for (unsigned d = 0; d < DOMAINS; d++) {
        for (unsigned g = 0; g < GFNS; g++) {
            struct cell *c = &m.cell[d][g];
            share_handle_t h;

            if (c->kind == SHARED && m.handle[c->page] == 0) {
                REQUIRE(share_handle(m.p[d], gfn_of(g), &h) == 0);
                for (unsigned i = 0; i < m.nr_pages; i++) {
                    REQUIRE(m.handle[i] != h);
                }
                m.handle[c->page] = h;
            }
        }
    }
}

/* No memory for one gfn of a pair: it has been nominated, at most ... */
static void pair_failed(struct p2m *p, uint64_t gfn, struct cell *c)
{
    share_handle_t h;

    if (c->kind == PRIVATE && share_handle(p, GFN(gfn), &h) == 0) {
        c->kind = SHARED;
    }
}

/* ... or some sharers of one page have moved to the other. */
static void part_moved(unsigned a, unsigned b)
{
    for (unsigned i = 0; i < DOMAINS * GFNS; i++) {
        struct cell *c = &m.cell[i / GFNS][i % GFNS];
        share_handle_t h;

        if (c->kind == SHARED && (c->page == a || c->page == b)) {
            REQUIRE(share_handle(m.p[i / GFNS], gfn_of(i % GFNS), &h) == 0);
            c->page = h == m.handle[a] ? a : b;
        }
    }
}

static void do_range(void)
{
    struct at s = somewhere(), c = somewhere();
    uint64_t nr = 1 + below(20), n[3] = { 0, 0, 0 };
    struct share_range r = { 0 };
    int err;

    nr = MIN(nr, GFNS - MAX(s.g, c.g));
    do {
        struct work w = { .left = (int64_t)below(10000) };

        err = share_range(s.p, s.gfn, c.p, c.gfn, nr, &r, &w);
        REQUIRE(nr_locks_held() == 0);
    } while (err == -ERESTART);
    NOTE("range d%u gfn %lu, d%u gfn %lu, %lu: %d after %lu", s.d, s.gfn.n,
         c.d, c.gfn.n, nr, err, r.done);
    for (uint64_t i = 0; i < r.done; i++) {
        pair_shared(s.c + i, c.c + i, n);
    }
    REQUIRE(r.shared == n[0] && r.already == n[1] && r.refused == n[2]);
    if (failed(err)) {
        pair_failed(s.p, s.gfn.n + r.done, s.c + r.done);
        pair_failed(c.p, c.gfn.n + r.done, c.c + r.done);
        learn_handles();
        part_moved(s.c[r.done].page, c.c[r.done].page);
    } else {
        REQUIRE(err == 0 && r.done == nr);
    }
    learn_handles();
}

static int want_unshare(const struct at *a)
{
    return a->c->kind == HOLE ? -ENOENT :
           a->c->kind == SHARED && !has_room(a->d) ? -ENOMEM : 0;
}

/* The gfn has a page of its own now, with the same contents. */
static void make_private(struct at *a)
{
    if (a->c->kind == SHARED) {
        *a->c = (struct cell){ PRIVATE, new_page(m.value[a->c->page]) };
    }
}

static void do_unshare(void)
{
    struct at a = somewhere();
    uint64_t copies = share_domain_stats(a.p)->copies;
    bool copy = a.c->kind == SHARED &&
                (sharers(a.c->page) > 1 || in_merge(a.c->page));
    int err = share_unshare(a.p, a.gfn);

    NOTE("unshare d%u gfn %lu: %d", a.d, a.gfn.n, err);
    if (failed(err)) {
        return;
    }
    REQUIRE(err == want_unshare(&a));
    if (err == 0) {
        make_private(&a);
        REQUIRE(share_domain_stats(a.p)->copies - copies == copy);
    }
}

static void do_write(void)
{
    struct at a = somewhere();
    enum p2m_fault_result res = test_share_write_fault(a.p, a.gfn.n);

    NOTE("write d%u gfn %lu: %d", a.d, a.gfn.n, res);
    if (failed(res == P2M_FAULT_NOMEM ? -ENOMEM : 0)) {
        return;
    }
    REQUIRE(res == (a.c->kind == HOLE ? P2M_FAULT_MMIO :
                    want_unshare(&a) != 0 ? P2M_FAULT_NOMEM :
                                            P2M_FAULT_RETRY));
    if (res == P2M_FAULT_RETRY) {
        make_private(&a);
        m.value[a.c->page] = rng_next(&m.r);
        test_fill(p2m_lookup(a.p, a.gfn).mfn, m.value[a.c->page]);
    }
}

static void do_read(void)
{
    struct at a = somewhere();
    struct npf f = { .gpa = gfn_to_gpa(a.gfn),
                     .access = below(2) ? P2M_R : P2M_X,
                     .present = a.c->kind != HOLE };

    NOTE("read d%u gfn %lu", a.d, a.gfn.n);
    REQUIRE(p2m_fault(a.p, &f) ==
            (a.c->kind == HOLE ? P2M_FAULT_MMIO : P2M_FAULT_RETRY));
}

/* A hole gets memory, or a gfn that has some loses it. */
static void do_change(void)
{
    struct at a = somewhere();
    struct p2m_entry e = p2m_lookup(a.p, a.gfn);

    NOTE("%s d%u gfn %lu", a.c->kind == HOLE ? "populate" : "drop", a.d,
         a.gfn.n);
    host_fail_alloc_at(0);
    if (a.c->kind != HOLE) {
        struct p2m_batch b;

        p2m_batch_begin(&b, a.p);
        p2m_set(&b, a.gfn, MFN_INVALID, 0, p2m_invalid);
        p2m_batch_flush(&b);
        test_share_drop(a.p, a.gfn, &e);
        p2m_batch_end(&b);
        a.c->kind = HOLE;
    } else if (has_room(a.d)) {
        *a.c = (struct cell){ PRIVATE, new_page(rng_next(&m.r)) };
        test_share_populate(a.p, a.gfn.n, m.value[a.c->page]);
    }
}

static struct p2m *create(unsigned d)
{
    struct p2m *p = test_p2m_create((domid_t)(d + 5));

    m.p[d] = p;
    m.max_pages[d] = 5 + below(GFNS);
    owner_get(p->owner)->max_pages = m.max_pages[d];
    for (unsigned g = 0; g < GFNS; g++) {
        m.cell[d][g].kind = HOLE;
        if (below(2) == 0 && has_room(d)) {
            /* Few values: they are often equal. */
            m.cell[d][g] = (struct cell){ PRIVATE, new_page(below(3)) };
            test_share_populate(p, gfn_of(g).n,
                                m.value[m.cell[d][g].page]);
        }
    }
    return p;
}

static void do_kill(void)
{
    unsigned d = (unsigned)below(DOMAINS);

    host_fail_alloc_at(0);
    NOTE("kill d%u", d);
    if (m.merging && (d == m.sd || d == m.cd)) {
        step_merge(true);       /* its caller holds both p2ms */
    }
    test_share_kill(m.p[d]);
    (void)create(d);
}

static void do_limit(void)
{
    unsigned d = (unsigned)below(DOMAINS);

    m.max_pages[d] = below(4) == 0 ? private_pages(d) : 5 + below(GFNS);
    owner_get(m.p[d]->owner)->max_pages = m.max_pages[d];
    NOTE("limit d%u to %lu", d, m.max_pages[d]);
}

static void one_step(void)
{
    static void (*const steps[])(void) = {
        do_nominate, do_nominate, do_nominate, do_merge, do_merge, do_merge,
        do_merge, do_merge, do_merge, do_add, do_add, do_range, do_unshare, do_write,
        do_write, do_read, do_change, do_limit,
    };

    host_fail_alloc_at(below(8) == 0 ? 1 + below(4) : 0);
    if (below(150) == 0) {
        do_kill();
    } else {
        steps[below(ARRAY_SIZE(steps))]();
    }
    host_fail_alloc_at(0);
}

static void finish(void)
{
    if (m.merging) {
        step_merge(true);
    }
    for (unsigned d = 0; d < DOMAINS; d++) {
        test_share_kill(m.p[d]);
    }
    test_share_all_gone();
}

static void run(uint64_t seed)
{
    m.merging = false;
    m.nr_pages = m.nr_log = 0;
    rng_seed(&m.r, seed);
    test_share_machine(1 << 12, 2);
    for (unsigned d = 0; d < DOMAINS; d++) {
        (void)create(d);
    }
    NOTE("seed %lu", seed);
    for (unsigned i = 0; i < STEPS; i++) {
        one_step();
        check_all();
    }
    REQUIRE(mem_audit() == 0 && heap_audit() == 0);
    finish();
}

TEST(random_sharing_against_the_model)
{
    for (uint64_t i = 0; i < 6 * test_rounds; i++) {
        run(test_seed * 1000 + i);
    }
}
