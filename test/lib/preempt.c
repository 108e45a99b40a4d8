/* preempt.c - see preempt.h. */
#include "preempt.h"

#include <quire/owner.h>

#define MAX_FRAMES (1u << 15)
#define MAX_IDS 64

uint64_t preempt_mix(uint64_t digest, uint64_t value)
{
    return mix64(digest ^ mix64(value + 0x9e3779b97f4a7c15));
}

/* Which frame it is does not matter, only which gfns are on the same one: a
 * frame's name is its place in the order in which they are met. */
static uint32_t names[MAX_FRAMES], nr_names;

static uint32_t name_of(mfn_t m)
{
    CHECK(m.n < MAX_FRAMES);
    if (names[m.n] == 0) {
        names[m.n] = ++nr_names;
    }
    return names[m.n];
}

static uint64_t add_contents(uint64_t d, mfn_t m)
{
    const uint64_t *word = arch_map_frame(m);

    for (unsigned i = 0; i < PAGE_SIZE / 8; i += 73) {
        d = preempt_mix(d, word[i]);
    }
    return d;
}

static uint64_t add_entry(uint64_t d, struct p2m *p, gfn_t g,
                          const struct p2m_entry *e)
{
    struct share_info info = { .sharers = 0 };
    const struct frame *f = mfn_to_frame(e->mfn);

    d = preempt_mix(d, g.n << 8 | (uint64_t)e->type);
    d = preempt_mix(d, e->order << 8 | e->tracking);
    if (mfn_eq(e->mfn, MFN_INVALID)) {
        return d;
    }
    if (e->type == p2m_ram_shared) {
        CHECK_EQ(share_debug_gfn(p, g, &info), 0);
    }
    d = preempt_mix(d, info.sharers);
    d = preempt_mix(d, name_of(e->mfn));
    d = preempt_mix(d, f->refs);
    d = preempt_mix(d, f->type);
    return add_contents(d, e->mfn);
}

static uint64_t add_map(uint64_t d, struct p2m *p)
{
    struct share_base_info base;
    struct p2m_entry e;
    gfn_t g = GFN(0);

    d = preempt_mix(d, p->owner);
    while (p2m_next(p, g, GFN(UINT64_C(1) << P2M_GFN_BITS), &g, &e)) {
        d = add_entry(d, p, g, &e);
        g = gfn_add(g, UINT64_C(1) << e.order);
    }
    for (unsigned t = 0; t < NR_P2M_TYPES; t++) {
        d = preempt_mix(d, p->count[t]);
    }
    share_base_get(p, &base);
    d = preempt_mix(preempt_mix(d, base.gfns), base.saved);
    return preempt_mix(d, p->nr_tables);
}

static uint64_t add_domain(uint64_t d, struct domain *x)
{
    d = preempt_mix(d, (uint64_t)atomic_load(&x->state));
    d = preempt_mix(d, x->pause_count << 8 | x->nr_forking);
    for (unsigned i = 0; i < x->nr_vcpus; i++) {
        const struct vcpu *v = x->vcpus[i];

        d = preempt_mix(d, (uint64_t)v->initialised << 1 | v->online);
        d = preempt_mix(d, v->regs.rip);
        d = preempt_mix(d, v->regs.rax);
    }
    return preempt_mix(d, owner_get(x->id)->pages);
}

static uint64_t digest(const struct preempt_case *c)
{
    uint64_t d = 1;
    struct mem_totals t;
    struct share_stats s;

    memset(names, 0, sizeof(names));
    nr_names = 0;
    for (domid_t id = 0; id < MAX_IDS; id++) {
        struct p2m *p = p2m_get_by_owner(id);

        if (p != NULL) {
            d = add_map(d, p);
            p2m_put(p);
        }
    }
    for (struct domain *x = domain_next(0), *next; x != NULL; x = next) {
        d = add_domain(d, x);
        next = domain_next((domid_t)(x->id + 1));
        domain_put(x);
    }
    mem_totals_get(&t);
    d = preempt_mix(d, t.frames[FRAME_GUEST]);
    d = preempt_mix(d, t.frames[FRAME_SHARED]);
    d = preempt_mix(d, t.frames[FRAME_TABLE]);
    d = preempt_mix(d, t.frames[FRAME_PERCPU]);
    share_stats_get(&s);
    d = preempt_mix(d, s.sharers);
    d = preempt_mix(d, s.shared_frames);
    d = preempt_mix(d, test_heap_objects());
    return c->reply != NULL ? preempt_mix(d, c->reply()) : d;
}

/* B1. The sums of one that is made or that dies do not agree half-way. */
static void audit_bases(void)
{
    for (struct domain *x = domain_next(0), *next; x != NULL; x = next) {
        struct share_base_audit a = { 0 };

        CHECK_EQ(share_base_audit(x->p2m, &a, NULL), 0);
        CHECK_EQ(a.bad, 0);
        CHECK(!a.changed || atomic_load(&x->state) != DOMAIN_RUNNING);
        next = domain_next((domid_t)(x->id + 1));
        domain_put(x);
    }
}

void preempt_audit(void)
{
    CHECK_EQ(test_share_audit(), 0);
    CHECK_EQ(domain_audit(), 0);
    CHECK_EQ(mem_audit(), 0);
    CHECK_EQ(heap_audit(), 0);
    audit_bases();
    for (domid_t id = 0; id < MAX_IDS; id++) {
        struct p2m *p = p2m_get_by_owner(id);

        if (p != NULL) {
            CHECK_EQ(p2m_audit(p), 0);
            p2m_put(p);
        }
    }
}

struct end {
    uint64_t digest, checks;
    unsigned stops;
    int err;
};

/* Once: stopped at check @at, or at every one, or (@at 0) at none. */
static struct end run(const struct preempt_case *c, uint64_t at, bool always,
                      bool disturbed)
{
    struct work w = { .left = always ? 1 : INT64_MAX, .force_at = at };
    struct end e = { 0 };
    unsigned nr_others = 0;

    c->begin();
    for (;;) {
        work_begin(&w);
        e.err = c->step(&w);
        work_end();
        CHECK_EQ(nr_locks_held(), 0);
        if (e.err != -ERESTART) {
            break;
        }
        e.stops++;
        CHECK(e.stops < 1000000);
        if (!c->by_itself && (!always || e.stops % 16 == 1)) {
            preempt_audit();
        }
        if (disturbed && nr_others < PREEMPT_OTHERS) {
            c->other(nr_others++);
        }
        w.left = always ? 1 : INT64_MAX;
    }
    while (c->other != NULL && nr_others < PREEMPT_OTHERS) {
        c->other(nr_others++);
    }
    test_settle();
    preempt_audit();
    e.digest = digest(c);
    e.checks = w.checks;
    c->end();
    return e;
}

static void compare(const struct preempt_case *c, const struct end *e,
                    const struct end *never, const char *how, uint64_t at)
{
    if (e->err != never->err || e->digest != never->digest) {
        test_fail(__FILE__, __LINE__, "%s%s%s %llu of %llu: %d, not %d; "
                  "the end is %s", c->name != NULL ? c->name : "",
                  c->name != NULL ? ": " : "", how, (unsigned long long)at,
                  (unsigned long long)never->checks, e->err, never->err,
                  e->digest == never->digest ? "the same" : "another");
    }
}

void preempt_matrix(const struct preempt_case *c)
{
    struct end never = run(c, 0, false, false), e;
    unsigned stops = 0;

    CHECK(never.checks > 0);
    for (unsigned disturbed = 0; disturbed <= (c->other != NULL);
         disturbed++) {
        unsigned step = MAX(1, c->one_in);

        for (uint64_t at = 1 + test_seed % step; at <= never.checks;
             at += step) {
            e = run(c, at, false, disturbed);
            stops += e.stops > never.stops;
            compare(c, &e, &never, disturbed ? "disturbed at check"
                                          : "stopped at check", at);
        }
        e = run(c, 0, true, disturbed);
        CHECK(c->is_short || e.stops > never.stops);
        compare(c, &e, &never, disturbed ? "disturbed at each check, stops"
                                      : "stopped at each check, stops",
                e.stops);
    }
    CHECK(c->is_short || stops > 0);
}
