/*
 * share_model.h - the naive model of sharing that test_share.c's steps follow,
 * and the comparison of every gfn, count and page with the real thing.
 */
#pragma once

#include "test_share.h"

enum { DOMAINS = 4, GFNS = 40, HOT = 12, STEPS = 1500, PAGES = 100000 };

enum kind { HOLE, PRIVATE, SHARED };

struct cell { enum kind kind; unsigned page; };

static struct {
    struct p2m *p[DOMAINS];
    uint64_t max_pages[DOMAINS];
    struct cell cell[DOMAINS][GFNS];
    share_handle_t handle[PAGES];       /* of shared pages */
    uint64_t value[PAGES];              /* contents */
    unsigned nr_pages;
    struct rng r;

    /* A merge under way. */
    bool merging;
    struct share_merge merge;
    unsigned sd, sg, cd, cg, source, client, goes;
    bool swapped;           /* the client's frame stays, under its handle
                             * until the other has no sharers left */
    mfn_t goes_mfn;
    char log[64][80];
    unsigned nr_log;
} m;

#define NOTE(...) \
    (void)snprintf(m.log[m.nr_log++ % ARRAY_SIZE(m.log)], \
                   sizeof(m.log[0]), __VA_ARGS__)

#define REQUIRE(cond) \
    do { \
        if (!(cond)) { \
            print_steps(); \
            test_fail(__FILE__, __LINE__, "step %u: %s", m.nr_log, #cond); \
        } \
    } while (0)

static inline void print_steps(void)
{
    unsigned n = MIN(m.nr_log, ARRAY_SIZE(m.log));

    for (unsigned i = m.nr_log - n; i < m.nr_log; i++) {
        printf("  %5u %s\n", i, m.log[i % ARRAY_SIZE(m.log)]);
    }
    printf("%s", host_console_text());
}

static inline uint64_t below(uint64_t n) { return rng_below(&m.r, n); }

/* Gfns lie on both sides of a table's end. */
static inline gfn_t gfn_of(unsigned g) { return GFN(512 - GFNS / 2 + g); }

static inline unsigned new_page(uint64_t value)
{
    unsigned page = m.nr_pages++;

    REQUIRE(page < PAGES);
    m.value[page] = value;
    m.handle[page] = 0;
    return page;
}

static inline unsigned sharers(unsigned page)
{
    unsigned n = 0;

    for (unsigned d = 0; d < DOMAINS; d++) {
        for (unsigned g = 0; g < GFNS; g++) {
            n += m.cell[d][g].kind == SHARED && m.cell[d][g].page == page;
        }
    }
    return n;
}

static inline bool in_merge(unsigned page)
{
    return m.merging && (page == m.source || page == m.client);
}

static inline uint64_t private_pages(unsigned d)
{
    uint64_t n = 0;

    for (unsigned g = 0; g < GFNS; g++) {
        n += m.cell[d][g].kind == PRIVATE;
    }
    return n;
}

static inline bool has_room(unsigned d)
{
    return private_pages(d) < m.max_pages[d];
}

static inline void check_gfn(unsigned d, unsigned g)
{
    static const enum p2m_type type_of[] = {
        [HOLE] = p2m_invalid, [PRIVATE] = p2m_ram_rw,
        [SHARED] = p2m_ram_shared,
    };
    const struct cell *c = &m.cell[d][g];
    struct p2m_entry e = p2m_lookup(m.p[d], gfn_of(g));
    struct share_info info;

    REQUIRE(e.type == type_of[c->kind]);
    if (c->kind == HOLE) {
        return;
    }
    REQUIRE(test_page_is(e.mfn, m.value[c->page]));
    REQUIRE((share_debug_gfn(m.p[d], gfn_of(g), &info) == 0) ==
            (c->kind == SHARED));
    if (c->kind == SHARED) {
        REQUIRE(info.handle == m.handle[c->page]);
        REQUIRE(info.sharers == sharers(c->page));
    }
}

static inline void check_totals(void)
{
    uint64_t frames = 0, pairs = 0;
    struct share_stats s;

    for (unsigned d = 0; d < DOMAINS; d++) {
        for (unsigned g = 0; g < GFNS; g++) {
            const struct cell *c = &m.cell[d][g];
            bool first = c->kind == SHARED;

            pairs += c->kind == SHARED;
            for (unsigned i = 0; first && i < d * GFNS + g; i++) {
                const struct cell *o = &m.cell[i / GFNS][i % GFNS];

                first = o->kind != SHARED || o->page != c->page;
            }
            frames += first;
        }
        REQUIRE(owner_get(m.p[d]->owner)->pages == private_pages(d));
    }
    /* A merge may hold a frame that has no sharers any more. */
    frames += m.merging && sharers(m.source) == 0;
    frames += m.merging && sharers(m.client) == 0;
    share_stats_get(&s);
    REQUIRE(s.shared_frames == frames);
    REQUIRE(s.sharers == pairs);
    REQUIRE(s.saved_frames == (pairs > frames ? pairs - frames : 0));
    REQUIRE(owner_get(DOMID_COW)->pages == frames);
}

static inline void check_all(void)
{
    for (unsigned d = 0; d < DOMAINS; d++) {
        for (unsigned g = 0; g < GFNS; g++) {
            check_gfn(d, g);
        }
        REQUIRE(p2m_audit(m.p[d]) == 0);
    }
    check_totals();
    REQUIRE(test_share_audit() == 0);
    REQUIRE(nr_locks_held() == 0);
}
