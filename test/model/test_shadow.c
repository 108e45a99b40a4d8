/*
 * test_shadow.c - a simulated guest with shadow paging against a naive walker
 * of its tables. Two vCPUs switch between all paging modes over the same few
 * pages, any of which is a table of any level, or of several, or data; they
 * store entries through whatever addresses map them. Each has a TLB that
 * keeps translations until flushed.
 *
 * The naive walker knows every value that each word of memory ever had, and
 * when. A translation is right if the processor could have it: made of values
 * that each word had at some time since the vCPU last flushed that address.
 * Faults, error codes and A and D bits must be those of memory as it is.
 *
 * Meanwhile gfns are shared, unshared, removed and populated, Quire writes to
 * tables itself, allocations fail, the pool is small, and long steps are
 * preempted at random. After each step the audit runs.
 */
#include "test_shadow.h"

#include <string.h>

enum { VCPUS = 2, GFNS = 40, TABLES = 14, ADDRESSES = 48, STEPS = 4000,
       WORDS = GFNS * 512, MAX_PAST = 48, MAX_RESULTS = 4096 };

struct past { uint64_t value, until; };     /* had @value before @until */

struct tlb_entry { bool is_there; struct test_translation t; };

static struct {
    struct p2m *p;
    struct shadow *s;
    struct rng r;
    uint64_t now;
    bool calm;
    uint64_t mem[WORDS];                /* what it should hold */
    struct past past[WORDS][MAX_PAST];  /* newest last */
    unsigned nr_past[WORDS];
    struct vcpu_model {
        struct shadow_vcpu sv;
        struct guest_paging pg;
        uint64_t generation, flushed, flushed_at[ADDRESSES];
        struct tlb_entry tlb[ADDRESSES];
    } v[VCPUS];
    char log[32][96];
    unsigned nr_log;
    uint64_t translated, injected, p2m_faults, nomem, stale;
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

static void print_steps(void)
{
    unsigned n = MIN(m.nr_log, ARRAY_SIZE(m.log));

    for (unsigned i = m.nr_log - n; i < m.nr_log; i++) {
        printf("  %5u %s\n", i, m.log[i % ARRAY_SIZE(m.log)]);
    }
    printf("%s", host_console_text());
}

static uint64_t below(uint64_t n) { return rng_below(&m.r, n); }
static bool one_in(uint64_t n) { return below(n) == 0; }

/* ---- memory ------------------------------------------------------------ */

static struct p2m_entry entry(uint64_t gfn)
{
    return p2m_lookup(m.p, GFN(gfn));
}

static unsigned rights_of(uint64_t gfn)
{
    struct p2m_entry e = entry(gfn);

    return p2m_rights(e.type, e.tracking);
}

static void remember(unsigned word, uint64_t value)
{
    unsigned *n = &m.nr_past[word];

    if (*n == MAX_PAST) {
        memmove(&m.past[word][0], &m.past[word][1],
                (MAX_PAST - 1) * sizeof(struct past));
        (*n)--;
    }
    m.past[word][(*n)++] = (struct past){ m.mem[word], m.now };
    m.mem[word] = value;
}

static void store(uint64_t gfn, mfn_t mfn, unsigned i, uint64_t value)
{
    ((uint64_t *)arch_map_frame(mfn))[i] = value;
    remember((unsigned)gfn * 512 + i, value);
}

/* ---- the naive walker -------------------------------------------------- */

struct result {
    int fault;              /* 0; -1: @error; else TO_P2M: at @gpa */
    uint32_t error;
    gpa_t gpa;
    bool a, d;              /* all accessed; dirty */
    bool w, u, nx;
    unsigned order;
    unsigned word[4], nr;   /* the entries */
};

struct question {
    const struct guest_paging *pg;
    gva_t gva;
    unsigned access;
    uint64_t since, loaded; /* CR3, and with it PAE's PDPTEs */
    struct result out[MAX_RESULTS];
    unsigned nr;
};

static bool may(const struct guest_paging *pg, const struct result *r,
                unsigned access)
{
    if (pg->cpl == 3) {
        return r->u && !(access == P2M_W && !r->w) &&
               !(access == P2M_X && r->nx);
    }
    if (access == P2M_X) {
        return !r->nx && !(r->u && (pg->cr4 & T_SMEP) != 0);
    }
    if (r->u && (pg->cr4 & T_SMAP) != 0 && (pg->rflags & T_AC) == 0) {
        return false;
    }
    return access != P2M_W || r->w || (pg->cr0 & T_WP) == 0;
}

static void answer(struct question *q, struct result r, int fault,
                   uint32_t bits)
{
    const struct guest_paging *pg = q->pg;
    bool is_32 = (pg->efer & T_LONG) == 0 && (pg->cr4 & T_PAE) == 0;

    if (fault == 0 && (pg->cr0 >> 31 & 1) != 0 && !may(pg, &r, q->access)) {
        fault = -1;
        bits = 1;
    }
    r.fault = fault;
    r.error = bits | (q->access == P2M_W ? 2 : 0) | (pg->cpl == 3 ? 4 : 0);
    if (q->access == P2M_X && (((pg->efer & T_NXE) != 0 && !is_32) ||
                               (pg->cr4 & T_SMEP) != 0)) {
        r.error |= 0x10;
    }
    if (q->nr < MAX_RESULTS) {
        q->out[q->nr++] = r;
    }
}

static void walk(struct question *q, struct result r, unsigned level,
                 uint64_t table);

static void use_entry(struct question *q, struct result r, unsigned level,
                      uint64_t e)
{
    const struct guest_paging *pg = q->pg;
    bool is_long = (pg->efer & T_LONG) != 0;
    bool is_pae = !is_long && (pg->cr4 & T_PAE) != 0;
    bool is_32 = !is_long && !is_pae;
    bool large = level > 1 && (e & E_PS) != 0 &&
                 (is_32 ? (pg->cr4 & T_PSE) != 0
                        : level == 2 || (is_long && level == 3));
    unsigned bits = is_32 ? 10 : 9, order = bits * (level - 1);
    uint64_t reserved = 0, addr;

    if ((e & E_P) == 0) {
        answer(q, r, -1, 0);
        return;
    }
    if (is_32) {
        reserved = large ? 1 << 21 : 0;
    } else {
        reserved = UINT64_C(0xfff) << 40 | ((pg->efer & T_NXE) ? 0 : E_NX);
        if (is_pae) {
            reserved |= UINT64_C(0x7ff) << 52;
        }
        if (is_pae && level == 3) {
            reserved |= E_NX | 0x1c6;
        } else if (level == 4) {
            reserved |= E_PS;
        } else if (large) {
            reserved |= (UINT64_C(1) << (12 + order)) - (1 << 13);
        }
    }
    if ((e & reserved) != 0) {
        answer(q, r, -1, 9);
        return;
    }
    if (!(is_pae && level == 3)) {
        r.w = r.w && (e & E_W) != 0;
        r.u = r.u && (e & E_U) != 0;
        r.nx = r.nx || (e & E_NX) != 0;
        r.a = r.a && (e & E_A) != 0;
    }
    addr = is_32 && large ? (e & 0xffc00000) | (e & 0x1fe000) << 19
                          : e & (is_32 ? 0xfffff000 : E_ADDR);
    if (level > 1 && !large) {
        walk(q, r, level - 1, addr >> 12);
        return;
    }
    r.d = (e & E_D) != 0;
    r.order = order;
    r.gpa = addr | (q->gva & ((UINT64_C(1) << (12 + order)) - 1));
    answer(q, r, 0, 0);
}

static void walk(struct question *q, struct result r, unsigned level,
                 uint64_t table)
{
    bool is_32 = (q->pg->efer & T_LONG) == 0 && (q->pg->cr4 & T_PAE) == 0;
    bool is_top = level == 3 && !is_32 && (q->pg->efer & T_LONG) == 0;
    unsigned bits = is_32 ? 10 : 9;
    unsigned i = q->gva >> (12 + bits * (level - 1)) & ((1u << bits) - 1);
    unsigned at = is_top ? (q->pg->cr3 & 0xfe0) + (i & 3) * 8
                         : i * (is_32 ? 4 : 8);
    unsigned word;

    if (table >= GFNS || (rights_of(table) & P2M_R) == 0) {
        r.gpa = (table << 12) + at;
        answer(q, r, 1, 0);
        if (!is_top || table >= GFNS) {
            return;             /* PDPTEs stay in the processor */
        }
    }
    word = (unsigned)table * 512 + at / 8;
    r.word[r.nr++] = word;
    for (unsigned n = 0; n <= m.nr_past[word]; n++) {
        unsigned past = m.nr_past[word] - n;    /* newest first */
        uint64_t e = n == 0 ? m.mem[word] : m.past[word][past].value;

        if (n > 0 && m.past[word][past].until <=
                     (is_top ? q->loaded : q->since)) {
            break;
        }
        use_entry(q, r, level, is_32 ? (uint32_t)(e >> at % 8 * 8) : e);
    }
}

/* All that may come of it, with what memory held after @since; the first is
 * of memory as it is. */
static void ask(struct question *q, const struct guest_paging *pg, gva_t gva,
                unsigned access, uint64_t since, uint64_t loaded)
{
    struct result r = { .a = true, .w = true, .u = true };

    q->pg = pg;
    q->gva = gva;
    q->access = access;
    q->since = since;
    q->loaded = loaded;
    q->nr = 0;
    if ((pg->cr0 >> 31 & 1) == 0) {
        r.gpa = gva;
        r.d = true;
        answer(q, r, 0, 0);
    } else if ((pg->efer & T_LONG) != 0) {
        walk(q, r, 4, pg->cr3 >> 12);
    } else {
        walk(q, r, (pg->cr4 & T_PAE) != 0 ? 3 : 2, pg->cr3 >> 12);
    }
}

/* ---- addresses and values ---------------------------------------------- */

static gva_t address(const struct guest_paging *pg, unsigned n)
{
    static const unsigned leaf[] = { 0, 1, 2, 3, 7, 12 };
    gva_t a = leaf[n % 6];

    if ((pg->cr0 >> 31 & 1) == 0) {
        return (n % GFNS) << 12 | 0x10;
    }
    a |= (n / 6 % 2) << 9 | (n / 12 % 2 * 3) << 18;
    if ((pg->efer & T_LONG) != 0 && n / 24 != 0) {
        a |= UINT64_C(0xfffff8) << 27 | UINT64_C(1) << 27;
        return (gva_t)((int64_t)(a << 28) >> 16) | 0x10;
    }
    return ((a | (n / 24) << 10) & 0xfffff) << 12 | 0x10;
}

/* Of calm rounds nearly all are good for something. */
static bool odd(uint64_t n) { return one_in(m.calm ? n * 8 : n); }

static uint64_t random_entry(void)
{
    bool is_2level = (m.v[0].pg.cr4 & T_PAE) == 0 && one_in(2);
    uint64_t e = (one_in(80) ? GFNS : one_in(4) ? below(GFNS)
                                                : below(TABLES)) << 12;

    e |= below(128) & (E_A | E_D);
    e |= odd(20) ? 0 : E_P;
    e |= (odd(6) ? 0 : E_W) | (odd(5) ? 0 : E_U);
    if (odd(8)) {
        e = (e & 0xfff) | E_PS | (one_in(16) ? 0x4000 : 0);
    }
    if (odd(20)) {
        e |= one_in(3) ? UINT64_C(1) << 45 : E_NX;
    }
    /* Two entries of 4 bytes, or one of 8. */
    return is_2level ? (e & 0xffffffff) | (e & 0xffffffff) << 32 : e;
}

/* Words that walks come by. */
static unsigned random_word(void)
{
    static const unsigned hot[] = { 0, 0, 0, 1, 2, 3, 7, 12, 6, 256, 384,
                                    505 };

    return one_in(20) ? (unsigned)below(512) : hot[below(ARRAY_SIZE(hot))];
}

/* ---- one access -------------------------------------------------------- */

static void enter(struct vcpu_model *v)
{
    for (unsigned i = 0; shadow_is_stale(&v->sv); i++) {
        struct work w = { .left = 1 << 20, .force_at = 1 + below(30) };
        int err = shadow_load(m.s, &v->sv, &v->pg, &w);

        REQUIRE(i < 5000);
        REQUIRE(err == 0 || err == -ERESTART || host_alloc_failed());
    }
    if (v->generation != m.p->generation) {
        v->generation = m.p->generation;
        memset(v->tlb, 0, sizeof(v->tlb));
    }
}

/* A and D bits have been set in memory as it was, and nothing else. */
static void check_memory(const struct result *now, unsigned access,
                         bool is_pae)
{
    for (unsigned g = 0; g < GFNS; g++) {
        const uint64_t *page;

        if ((rights_of(g) & P2M_R) == 0) {
            continue;
        }
        page = arch_map_frame(entry(g).mfn);
        for (unsigned i = 0; i < 512; i++) {
            unsigned word = g * 512 + i, n;
            uint64_t is = page[i], was = m.mem[word], bits = is ^ was;

            if (likely(bits == 0)) {
                continue;
            }
            for (n = 0; n < now->nr && now->word[n] != word; n++) {
            }
            REQUIRE(n < now->nr && now->fault != -1);
            REQUIRE((is & bits) == bits);
            bits = (bits | bits >> 32) & 0xffffffff;
            REQUIRE((bits & ~(E_A | E_D)) == 0);
            REQUIRE((bits & E_D) == 0 || access == P2M_W);
            REQUIRE(!(is_pae && n == 0) || now->nr > 1);
            remember(word, is);
        }
    }
}

/* One gfn less on @mfn, once that is final. */
static void put_later(struct p2m_batch *b, mfn_t mfn)
{
    struct frame *f = mfn_to_frame(mfn);

    if (frame_refs(f) == 1) {
        REQUIRE(frame_get(f, m.p->owner) == 0);
        frame_put_allocated(f);
    }
    p2m_batch_put_frame(b, f);
}

/* The share's fault handler: a frame of its own. */
static void unshare(uint64_t gfn)
{
    struct p2m_entry e = entry(gfn);
    struct frame *f = page_alloc_owned(m.p->owner, 0);
    struct p2m_batch b;

    if (f == NULL) {
        return;
    }
    arch_page_copy(arch_map_frame(frame_to_mfn(f)), arch_map_frame(e.mfn));
    p2m_batch_begin(&b, m.p);
    REQUIRE(p2m_batch_reserve(&b, GFN(gfn), 1, 0) == 0);
    p2m_set(&b, GFN(gfn), frame_to_mfn(f), 0, p2m_ram_rw);
    put_later(&b, e.mfn);
    p2m_batch_end(&b);
}

static bool fault(struct vcpu_model *v, gva_t gva, unsigned access, bool p)
{
    static struct question q;
    uint32_t error = (p ? 1 : 0) | (access == P2M_W ? 2 : 0) |
                     (v->pg.cpl == 3 ? 4 : 0) | (access == P2M_X ? 16 : 0);
    uint32_t pf_error = 0;
    struct npf npf;
    const struct result *r = &q.out[0];
    enum shadow_result res;

    ask(&q, &v->pg, gva, access, m.now, m.now);
    res = shadow_fault(m.s, &v->sv, &v->pg, gva, error, &npf, &pf_error);
    check_memory(r, access, (v->pg.efer & T_LONG) == 0 &&
                            (v->pg.cr4 & T_PAE) != 0);
    switch (res) {
    case SHADOW_RETRY:
        REQUIRE(r->fault == 0);
        return true;
    case SHADOW_INJECT:
        REQUIRE(r->fault == -1 && pf_error == r->error);
        m.injected++;
        return false;
    case SHADOW_P2M:
        REQUIRE(r->fault != -1);
        m.p2m_faults++;
        if (npf.in_walk && npf.access == P2M_R) {
            REQUIRE(r->fault == 1 && npf.gpa == r->gpa);
            return false;
        }
        if (!npf.in_walk) {
            REQUIRE(r->fault == 0 && npf.gpa == r->gpa &&
                    npf.access == access);
        }
        REQUIRE((rights_of(npf.gpa >> 12) & npf.access) == 0);
        if (npf.access == P2M_W &&
            entry(npf.gpa >> 12).type == p2m_ram_shared) {
            unshare(npf.gpa >> 12);
            return true;
        }
        return false;
    case SHADOW_EMULATE:
        REQUIRE(r->fault == 0 && access == P2M_W &&
                (v->pg.cr4 & T_SMAP) != 0 && (v->pg.cr0 & T_WP) == 0);
        return false;
    default:
        REQUIRE(host_alloc_failed());
        m.nomem++;
        return false;
    }
}

/* Is it one of those that the processor might have? */
static uint64_t check_translation(struct vcpu_model *v, unsigned n,
                                  unsigned access, mfn_t mfn)
{
    static struct question q;
    gva_t gva = address(&v->pg, n);

    ask(&q, &v->pg, gva, access, MAX(v->flushed, v->flushed_at[n]),
        v->flushed);
    for (unsigned i = 0; i < q.nr; i++) {
        const struct result *r = &q.out[i];
        struct p2m_entry e = entry(r->gpa >> 12);

        if (r->fault == 0 && r->a && (access != P2M_W || r->d) &&
            mfn_eq(e.mfn, mfn) &&
            (access & ~p2m_rights(e.type, e.tracking)) == 0) {
            m.stale += i != 0;
            return r->gpa >> 12;
        }
    }
    REQUIRE(q.nr == MAX_RESULTS || !"a translation out of nowhere");
    return UINT64_MAX;
}

static void access_memory(unsigned cpu)
{
    struct vcpu_model *v = &m.v[cpu];
    unsigned n = (unsigned)below(one_in(4) ? ADDRESSES : 8);
    unsigned access = one_in(3) ? P2M_R : one_in(6) ? P2M_X : P2M_W;
    gva_t gva = address(&v->pg, n);
    struct tlb_entry *t = &v->tlb[n];

    v->pg.cpl = (v->pg.cr0 >> 31 & 1) != 0 && one_in(3) ? 3 : 0;
    v->pg.rflags = one_in(2) ? T_AC : 0;
    NOTE("cpu %u cpl %u access %x at %lx", cpu, v->pg.cpl, access, gva);
    for (unsigned i = 0;; i++) {
        bool p;

        REQUIRE(i < 200);
        enter(v);
        if (t->is_there && test_hw_allows(&v->pg, &t->t, access)) {
            break;
        }
        p = test_hw_walk(&v->pg, shadow_cr3(&v->sv), gva, &t->t);
        t->is_there = p && test_hw_allows(&v->pg, &t->t, access);
        if (!t->is_there && !fault(v, gva, access, p)) {
            return;
        }
    }
    m.translated++;
    n = (unsigned)check_translation(v, n, access, t->t.mfn);
    if (access == P2M_W && n < GFNS) {
        store(n, t->t.mfn, random_word(), random_entry());
    }
}

/* ---- other steps ------------------------------------------------------- */

static void load(unsigned cpu)
{
    struct vcpu_model *v = &m.v[cpu];
    int err;

    do {
        struct work w = { .left = 1 << 20, .force_at = 1 + below(60) };

        err = shadow_load(m.s, &v->sv, &v->pg, &w);
        if (err == -ENOMEM) {
            /* Nothing flushed, so nothing else may run. */
            REQUIRE(host_alloc_failed());
        }
    } while (err != 0);
    memset(v->tlb, 0, sizeof(v->tlb));
    v->flushed = m.now;
}

static void switch_mode(unsigned cpu)
{
    struct guest_paging *pg = &m.v[cpu].pg;
    unsigned mode = (unsigned)below(16);

    if (one_in(2)) {
        pg->cr3 = (one_in(30) ? GFNS + 1 : below(TABLES)) << 12;
    } else {
        *pg = (struct guest_paging){ .cr3 = below(TABLES) << 12,
                                     .phys_bits = 40, .p2m = m.p };
        pg->cr0 = mode == 0 ? 1 : T_PG | (one_in(4) ? 0 : T_WP);
        pg->cr4 = mode < 4 ? (one_in(3) ? 0 : T_PSE) : T_PAE;
        pg->efer = (one_in(4) ? 0 : T_NXE) | (mode > 8 ? T_LONG : 0);
        if (mode > 0 && one_in(3)) {
            pg->cr4 |= T_SMEP | T_SMAP;
        }
    }
    if (mode >= 4 && mode <= 8 && (rights_of(pg->cr3 >> 12) & P2M_W) != 0) {
        uint64_t gfn = pg->cr3 >> 12;   /* a PDPT has no rights */

        store(gfn, entry(gfn).mfn, 0, below(TABLES) << 12 | E_P);
        store(gfn, entry(gfn).mfn, 3, below(TABLES) << 12 | E_P);
        shadow_written(m.s, GFN(gfn));
    }
    NOTE("cpu %u cr0 %lx cr3 %lx cr4 %lx efer %lx", cpu, pg->cr0, pg->cr3,
         pg->cr4, pg->efer);
    load(cpu);
}

static void invlpg(unsigned cpu)
{
    struct vcpu_model *v = &m.v[cpu];
    unsigned n = (unsigned)below(ADDRESSES);
    int err;

    NOTE("cpu %u invlpg %lx", cpu, address(&v->pg, n));
    enter(v);
    do {
        struct work w = { .left = 1 << 20, .force_at = 1 + below(60) };

        err = shadow_invlpg(m.s, &v->sv, &v->pg, address(&v->pg, n), &w);
        REQUIRE(err >= 0 || err == -ERESTART);
    } while (err < 0);
    if (err == 1) {
        memset(v->tlb, 0, sizeof(v->tlb));
    }
    v->tlb[n].is_there = false;
    v->flushed_at[n] = m.now;
}

/* Two gfns, or one, on a frame that nobody may write. */
static void share(void)
{
    unsigned a = (unsigned)below(GFNS), b = (unsigned)below(GFNS);
    struct p2m_entry e = entry(a), o = entry(b);
    struct p2m_batch batch;

    if (e.type == p2m_invalid || o.type == p2m_invalid) {
        return;
    }
    NOTE("share %u, and with it %u", a, b);
    p2m_batch_begin(&batch, m.p);
    REQUIRE(p2m_batch_reserve(&batch, GFN(0), GFNS, 0) == 0);
    p2m_set(&batch, GFN(a), e.mfn, 0, p2m_ram_shared);
    if (a != b && !mfn_eq(e.mfn, o.mfn)) {
        p2m_set(&batch, GFN(b), e.mfn, 0, p2m_ram_shared);
        REQUIRE(frame_get(mfn_to_frame(e.mfn), m.p->owner) == 0);
        put_later(&batch, o.mfn);
    }
    p2m_batch_end(&batch);
    for (unsigned i = 0; i < 512; i++) {
        if (m.mem[b * 512 + i] != m.mem[a * 512 + i]) {
            remember(b * 512 + i, m.mem[a * 512 + i]);
        }
    }
}

static void remove_or_populate(void)
{
    unsigned g = (unsigned)below(one_in(3) ? GFNS : TABLES);
    struct p2m_entry e = entry(g);
    struct p2m_batch b;
    struct frame *f = NULL;

    for (unsigned i = 0; i < GFNS; i++) {
        if (entry(i).type == p2m_invalid && !one_in(4)) {
            g = i;
            e = entry(i);
        }
    }
    NOTE("remove or populate %u", g);
    if (e.type == p2m_invalid) {
        f = page_alloc_owned(m.p->owner, 0);
        if (f == NULL) {
            return;
        }
        arch_page_zero(arch_map_frame(frame_to_mfn(f)));
    }
    p2m_batch_begin(&b, m.p);
    REQUIRE(p2m_batch_reserve(&b, GFN(g), 1, 0) == 0);
    p2m_set(&b, GFN(g), f != NULL ? frame_to_mfn(f) : MFN_INVALID, 0,
            f != NULL ? p2m_ram_rw : p2m_invalid);
    if (f == NULL) {
        put_later(&b, e.mfn);
    }
    p2m_batch_end(&b);
    for (unsigned i = 0; i < 512; i++) {
        if (m.mem[g * 512 + i] != 0) {
            remember(g * 512 + i, 0);
        }
    }
    for (unsigned i = 0; f != NULL && i < 64; i++) {
        store(g, frame_to_mfn(f), random_word(), random_entry());
    }
}

static void write_behind(void)
{
    unsigned g = (unsigned)below(TABLES), i = random_word();

    if (rights_of(g) & P2M_W) {
        NOTE("Quire writes to %u, word %u", g, i);
        store(g, entry(g).mfn, i, random_entry());
        shadow_written(m.s, GFN(g));
    }
}

static void step(void)
{
    unsigned cpu = (unsigned)below(VCPUS), kind = (unsigned)below(100);

    m.now++;
    if (kind < 78) {
        access_memory(cpu);
    } else if (kind < 82) {
        switch_mode(cpu);
    } else if (kind < 88) {
        invlpg(cpu);
    } else if (kind < 96) {
        write_behind();
    } else if (kind < 98) {
        share();
    } else {
        remove_or_populate();
    }
    REQUIRE(shadow_nr_pages(m.s) <= SHADOW_PAGES_MIN);
    REQUIRE(shadow_audit(m.s) == 0);
}

static void drop(struct p2m *p, const struct p2m_group *g)
{
    (void)p;
    for (uint64_t todo = g->map; todo != 0; todo &= todo - 1) {
        unsigned i = (unsigned)__builtin_ctzll(todo);
        struct frame *f = mfn_to_frame(p2m_group_mfn(g, i));

        if (frame_refs(f) == 1) {
            frame_put_allocated(f);
        } else {
            frame_put(f);
        }
    }
}

static void begin(uint64_t seed)
{
    host_machine_init(1 << 12, 1);
    memset(&m, 0, sizeof(m));
    rng_seed(&m.r, seed);
    m.calm = seed % 4 != 0;
    m.p = test_p2m_create(1);
    m.s = shadow_create(m.p, SHADOW_PAGES_MIN, 40);
    CHECK(m.s != NULL);
    for (unsigned g = 0; g < GFNS; g++) {
        mfn_t mfn = test_p2m_populate(m.p, g, 0);
        uint64_t *page = arch_map_frame(mfn);

        arch_page_zero(page);
        for (unsigned i = 0; i < 64; i++) {
            page[random_word()] = random_entry();
        }
        memcpy(&m.mem[g * 512], page, PAGE_SIZE);
    }
    for (unsigned i = 0; i < VCPUS; i++) {
        CHECK_EQ(shadow_vcpu_init(m.s, &m.v[i].sv), 0);
        switch_mode(i);
    }
}

static void finish(void)
{
    gfn_t cursor = GFN(0);
    int err;

    for (unsigned i = 0; i < VCPUS; i++) {
        shadow_vcpu_fini(m.s, &m.v[i].sv);
    }
    CHECK_EQ(shadow_audit(m.s), 0);
    do {
        struct work w = { .left = 1 << 20, .force_at = 1 + below(200) };

        err = shadow_destroy(m.s, &w);
        CHECK(err == 0 || err == -ERESTART);
    } while (err != 0);
    p2m_retire(m.p);
    CHECK_EQ(p2m_relinquish(m.p, &cursor, drop, NULL), 0);
    p2m_put(m.p);
    test_drain_grace();
    CHECK_EQ(owner_release(1), 0);
    test_p2m_all_gone();
}

TEST(random_guest)
{
    for (uint64_t round = 0; round < 4 * test_rounds; round++) {
        begin(test_seed + round);
        for (unsigned i = 0; i < STEPS; i++) {
            step();
        }
        printf("  %lu translated (%lu by an older value), %lu injected, "
               "%lu to the p2m, %lu reclaimed, %lu unsynced\n",
               (unsigned long)m.translated, (unsigned long)m.stale,
               (unsigned long)m.injected, (unsigned long)m.p2m_faults,
               (unsigned long)shadow_stats(m.s)->reclaims,
               (unsigned long)shadow_stats(m.s)->unsyncs);
        finish();
    }
}

TEST(allocations_fail)
{
    for (uint64_t n = 1; n <= 120 * test_rounds; n++) {
        begin(test_seed + 1000 + n % 7);
        for (unsigned i = 0; i < 60; i++) {
            step();
        }
        host_fail_alloc_at(n % 40 + 1);
        for (unsigned i = 0; i < 60; i++) {
            step();
        }
        host_fail_alloc_at(0);
        finish();
    }
}
