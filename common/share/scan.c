/*
 * scan.c - the scanner's rounds: passes over the domains that have opted in,
 * what a pass found, and the way back.
 *
 *     START -> (next domain -> its pages)... -> sweep -> START
 *
 * Between two slices only numbers are kept: the domain's id, its map's birth
 * and the next gfn. So a domain may go at any time; its slots go when the
 * round comes to its id.
 */
#include "scanner.h"

#include <quire/heap.h>
#include <quire/string.h>

#define PAGES_TO_SCAN 100       /* as KSM's: 100 pages, then 20 ms of rest */
#define SLEEP_MILLISECS 20
#define COST_BEGIN 4000         /* units */
#define COST_DOMAIN 100
#define COST_ID 15
#define COST_FREE 2000
#define COST_LOOK 200
#define COST_UNMERGE 4500

struct scan_knobs scan_knobs;
struct scan_totals scan_totals;

enum stage { START, DOMAINS, PAGES, SWEEP };
enum stop_stage { STOP_BEGIN, STOP_UNMERGE, STOP_MEMBERS, STOP_TABLES };

static struct {
    enum stage stage;
    domid_t domain;
    gfn_t gfn;
    uint64_t batch_left;        /* pages before the next sleep; 0: begin one */
    bool has_domain;            /* this pass has seen one */
    struct scan_pass pass;
    enum stop_stage stop;
    uint64_t stopping;          /* the mode that s.stop belongs to */
    struct scan_member *member[MAX_DOMAINS];
} s;

/* The mode in which there is nothing left to do. */
static _Atomic uint64_t done_with;
static _Atomic bool unmerge_failed;
static _Atomic unsigned ids_end;    /* above every id that ever opted in */

/* The last pass, for whoever asks: one at a time may be stale, no more. */
static struct {
    _Atomic uint64_t frames, sharing, unshared, volatiles;
    _Atomic uint64_t zero_gfns, zero, within, across;
} last;

void scan_init(void)
{
    memset(&s, 0, sizeof(s));
    scan_totals = (struct scan_totals){ 0 };
    scan_knobs.run = SCAN_STOP;
    scan_knobs.pages_to_scan = PAGES_TO_SCAN;
    scan_knobs.sleep_millisecs = SLEEP_MILLISECS;
    scan_knobs.merge_across_domains = 1;
    done_with = SCAN_STOP;
    unmerge_failed = false;
    ids_end = 0;
    memset(&last, 0, sizeof(last));
    scan_table_init();
    scan_visit_init();
    p2m_register_fault(p2m_ram_rw, scan_fault);
}

/* ---- who takes part ------------------------------------------------------- */

void scan_domain_add(struct p2m *p)
{
    unsigned end = ids_end;

    while (end <= p->owner &&
           !atomic_compare_exchange_weak(&ids_end, &end, p->owner + 1u)) {
        continue;
    }
    p->is_scanned = true;
}

void scan_domain_remove(struct p2m *p)
{
    /* A merge that has seen it true is over when the lock is free, so that an
     * unmerge which follows misses none. */
    spin_lock(&p->lock);
    p->is_scanned = false;
    spin_unlock(&p->lock);
}

static int free_member(domid_t id)
{
    struct scan_member *m = s.member[id];
    int err = scan_slots_free(m);

    if (err == 0) {
        heap_free(m);
        s.member[id] = NULL;
        share_count(&scan_totals.bytes, -(uint64_t)sizeof(*m));
    }
    return err;
}

/* The member of @p, made if need be. NULL: no memory. */
static struct scan_member *member_of(const struct p2m *p)
{
    struct scan_member *m = s.member[p->owner];

    if (m == NULL) {
        m = heap_alloc(sizeof(*m));
        if (m == NULL) {
            share_count(&scan_totals.no_memory, 1);
            return NULL;
        }
        scan_slots_init(m, p2m_birth(p));
        s.member[p->owner] = m;
        share_count(&scan_totals.bytes, sizeof(*m));
    }
    return m;
}

static bool is_wanted(const struct p2m *p)
{
    return p != NULL && p->is_scanned && !p->no_users;
}

/* ---- a pass ---------------------------------------------------------------- */

/* Is @id to be scanned? Also frees what is kept of one that is not, or no
 * longer the one it was: then -ERESTART while there is more. */
static int look_at(domid_t id)
{
    struct p2m *p = p2m_get_by_owner(id);
    struct scan_member *m = s.member[id];
    int err = 0;

    if (m != NULL && (!is_wanted(p) || m->birth != p2m_birth(p))) {
        err = free_member(id);
    }
    if (err == 0) {
        err = is_wanted(p) && member_of(p) != NULL ? 0 : -ENOENT;
    }
    if (p != NULL) {
        p2m_put(p);
    }
    return err;
}

static int next_domain(struct work *w)
{
    while (s.domain < ids_end) {
        int err = look_at(s.domain);

        if (err == 0) {
            s.has_domain = true;
            s.gfn = GFN(0);
            s.stage = PAGES;
            return work_spend(w, COST_DOMAIN) ? -ERESTART : 0;
        }
        s.domain += err == -ENOENT;
        if (work_spend(w, err == -ENOENT ? COST_ID : COST_FREE)) {
            return -ERESTART;
        }
    }
    s.stage = SWEEP;
    return 0;
}

/* 1: enough for now; 0: the domain is done. */
static int visit_pages(struct scan_visit *v, struct work *w)
{
    for (;;) {
        int64_t cost;
        int did = scan_visit_next(v, &cost);
        bool stop = work_spend(w, cost);

        if (did == -ENOENT) {
            s.domain++;
            s.stage = DOMAINS;
            return stop ? -ERESTART : 0;
        }
        if (did == 1) {
            share_count(&scan_totals.pages_scanned, 1);
            s.batch_left--;
            if (s.batch_left == 0) {
                return 1;
            }
        }
        if (stop) {
            return -ERESTART;
        }
    }
}

static int scan_pages(struct work *w)
{
    struct p2m *p = p2m_get_by_owner(s.domain);
    struct scan_member *m = s.member[s.domain];
    struct scan_visit v;
    int err = 0;

    if (!is_wanted(p) || m->birth != p2m_birth(p)) {
        s.stage = DOMAINS;      /* which frees what there is to free */
    } else {
        scan_visit_begin(&v, p, m, s.gfn, &s.pass);
        err = visit_pages(&v, w);
        s.gfn = v.gfn;
    }
    if (p != NULL) {
        p2m_put(p);
    }
    return err;
}

static void publish(const struct scan_pass *p)
{
    last.frames = p->frames;
    last.sharing = p->gfns - p->frames;
    last.unshared = p->unshared;
    last.volatiles = p->volatiles;
    last.zero_gfns = p->zero_gfns;
    last.zero = p->zero_gfns - p->zero_frames;
    last.within = p->gfns - p->firsts;
    last.across = p->firsts - p->frames;
}

static int scan_step(struct work *w)
{
    int err;

    switch (s.stage) {
    case START:
        s.pass = (struct scan_pass){ .number = s.pass.number % 15 + 1 };
        s.domain = 0;
        s.has_domain = false;
        s.stage = DOMAINS;
        if (!scan_table_begin()) {
            share_count(&scan_totals.no_memory, 1);
        }
        return work_spend(w, COST_BEGIN) ? -ERESTART : 0;
    case DOMAINS:
        return next_domain(w);
    case PAGES:
        return scan_pages(w);
    case SWEEP:
        err = scan_table_sweep(w);
        if (err == 0) {
            publish(&s.pass);
            share_count(&scan_totals.full_scans, s.has_domain);
            s.stage = START;
            s.batch_left = 0;
            err = 1;
        }
        return err;
    }
    return 0;
}

/* ---- the way back ------------------------------------------------------------ */

int scan_unmerge(struct p2m *p, gfn_t *cursor, struct work *w)
{
    gfn_t end = GFN(UINT64_C(1) << P2M_GFN_BITS), gfn;
    struct p2m_entry e;

    while (p->count[p2m_ram_shared] != 0 &&
           p2m_next(p, *cursor, end, &gfn, &e)) {
        bool made = false;

        if (e.type == p2m_ram_shared) {
            struct shared_frame *sf;

            spin_lock(&p->lock);
            e = p2m_lookup_locked(p, gfn);
            sf = shared_frame_at(&e);
            made = sf != NULL && (sf->scan & SCAN_MADE) != 0;
            spin_unlock(&p->lock);
        }
        *cursor = gfn;
        if (made && share_unshare(p, gfn) == -ENOMEM) {
            return -ENOMEM;
        }
        *cursor = GFN(((gfn.n >> e.order) + 1) << e.order);
        if (work_spend(w, made ? COST_UNMERGE : COST_LOOK)) {
            return -ERESTART;
        }
    }
    return 0;
}

static int unmerge_all(struct work *w)
{
    while (s.domain < ids_end) {
        struct p2m *p = p2m_get_by_owner(s.domain);
        int err = 0;

        if (is_wanted(p)) {
            err = scan_unmerge(p, &s.gfn, w);
        }
        if (p != NULL) {
            p2m_put(p);
        }
        if (err == -ERESTART) {
            return err;
        }
        if (err != 0) {
            unmerge_failed = true;
        }
        s.domain++;
        s.gfn = GFN(0);
        if (work_spend(w, COST_ID)) {
            return -ERESTART;
        }
    }
    return 0;
}

static int free_members(struct work *w)
{
    while (s.domain < ids_end) {
        bool there = s.member[s.domain] != NULL;

        if (!there || free_member(s.domain) == 0) {
            s.domain++;
        }
        if (work_spend(w, there ? COST_FREE : COST_ID)) {
            return -ERESTART;
        }
    }
    return 0;
}

/* Give back all memory, and before that what was merged if so wanted. */
static int stop(uint64_t mode, struct work *w)
{
    int err = 0;

    if (s.stop == STOP_BEGIN) {
        s.stage = START;
        s.batch_left = 0;
        unmerge_failed = false;
        s.stop = mode == SCAN_UNMERGE ? STOP_UNMERGE : STOP_MEMBERS;
        s.domain = 0;
        s.gfn = GFN(0);
    }
    if (s.stop == STOP_UNMERGE) {
        err = unmerge_all(w);
        if (err == 0) {
            s.stop = STOP_MEMBERS;
            s.domain = 0;
        }
    }
    if (err == 0 && s.stop == STOP_MEMBERS) {
        err = free_members(w);
        if (err == 0) {
            s.stop = STOP_TABLES;
        }
    }
    if (err == 0) {
        err = scan_table_free(w);
    }
    if (err == 0) {
        /* As KSM's, the figures stay while what was merged does. */
        if (mode == SCAN_UNMERGE && !unmerge_failed) {
            publish(&(struct scan_pass){ .number = 0 });
        }
        s.stop = STOP_BEGIN;
        done_with = mode;
    }
    return err;
}

int scan_run(struct work *w)
{
    uint64_t mode = scan_knobs.run;
    int err;

    if (mode != SCAN_RUN) {
        if (done_with == mode) {
            return 0;
        }
        if (mode != s.stopping) {
            s.stopping = mode;
            s.stop = STOP_BEGIN;
        }
        return stop(mode, w);
    }
    done_with = SCAN_RUN;
    s.stopping = SCAN_RUN;
    if (s.batch_left == 0) {
        s.batch_left = MAX(1, scan_knobs.pages_to_scan);
    }
    do {
        err = scan_step(w);
    } while (err == 0);
    return err == -ERESTART ? err : 0;
}

void scan_set_run(enum scan_mode mode)
{
    if (mode == SCAN_UNMERGE && unmerge_failed) {
        done_with = SCAN_RUN;   /* not done: what was left over is tried */
    }
    scan_knobs.run = mode;
}

bool scan_has_work(void)
{
    uint64_t mode = scan_knobs.run;

    return mode == SCAN_RUN || done_with != mode;
}

void scan_stats_get(struct scan_stats *t)
{
    *t = (struct scan_stats){
        .pages_shared = last.frames, .pages_sharing = last.sharing,
        .pages_unshared = last.unshared, .pages_volatile = last.volatiles,
        .zero_pages = last.zero_gfns, .saved_zero = last.zero,
        .saved_within = last.within, .saved_across = last.across,
        .full_scans = share_read(&scan_totals.full_scans),
        .pages_scanned = share_read(&scan_totals.pages_scanned),
        .pages_skipped = share_read(&scan_totals.pages_skipped),
        .merged = share_read(&scan_totals.merged),
        .broken = share_read(&scan_totals.broken),
        .unequal = share_read(&scan_totals.unequal),
        .no_memory = share_read(&scan_totals.no_memory),
        .bytes = share_read(&scan_totals.bytes),
        .is_idle = !scan_has_work(), .unmerge_failed = unmerge_failed,
    };
    t->general_profit = (int64_t)((t->saved_zero + t->saved_within +
                                   t->saved_across) * PAGE_SIZE - t->bytes);
}
