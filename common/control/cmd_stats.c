/*
 * cmd_stats.c - stats: what sharing is worth, and what it cost.
 *
 * A domain's part of the saved frames: each of its shared gfns counts 1 - 1/n
 * with n sharers, so that the parts add up to the total. That takes a walk
 * over its shared gfns; they may change meanwhile, so the sum is exact only
 * for domains at rest.
 */
#include <quire/errno.h>
#include <quire/owner.h>

#include "job.h"

#define UNITS_PER_GFN 1400         /* far apart, each in a table of its own */
#define UNITS_PER_DOMAIN 1500       /* half of it, besides its text */
#define ONE (UINT64_C(1) << 20)     /* one frame, in fixed point */

struct stats_state {
    unsigned opened;            /* parts of the totals that are out */
    struct share_stats share;   /* of one moment */
    bool closed, all;
    unsigned part;              /* of this domain's that is next */
    struct domain *domain;      /* counted: the one being walked */
    gfn_t next;
    uint64_t saved;             /* frames in units of 1 / ONE */
    struct histogram unshare;   /* of all domains so far */
};

/* Preemptible: s->next. */
static int walk_shared(struct stats_state *s, struct work *w)
{
    struct p2m *p = s->domain->p2m;
    gfn_t end = GFN(UINT64_C(1) << P2M_GFN_BITS);
    struct p2m_entry e;
    gfn_t gfn;

    while (p->count[p2m_ram_shared] != 0 &&
           p2m_next(p, s->next, end, &gfn, &e)) {
        struct share_info info;

        s->next = gfn_add(gfn, UINT64_C(1) << e.order);
        s->next.n &= ~((UINT64_C(1) << e.order) - 1);
        if (e.type == p2m_ram_shared &&
            share_debug_gfn(p, gfn, &info) == 0) {
            s->saved += ONE - ONE / info.sharers;
        }
        if (work_spend(w, e.type == p2m_ram_shared ? UNITS_PER_GFN :
                       UNITS_PER_GFN / 3)) {
            return -ERESTART;
        }
    }
    return 0;
}

static void put_histogram(struct reply *r, const char *name,
                          const struct histogram *h)
{
    reply_open(r, name, '{');
    reply_number(r, "count", h->count);
    if (h->count != 0) {
        reply_number(r, "min", h->min);
        reply_number(r, "median", histogram_quantile(h, 500));
        reply_number(r, "p99", histogram_quantile(h, 990));
        reply_number(r, "max", h->max);
        reply_number(r, "sum", h->sum);
    }
    reply_close(r);
}

static void put_counts(struct reply *r, struct domain *d,
                       const struct stats_state *state)
{
    const struct p2m *p = d->p2m;

    reply_open(r, NULL, '{');
    reply_number(r, "domain", d->id);
    reply_string(r, "name", d->config.name);
    reply_number(r, "pages", p->count[p2m_ram_rw] + p->count[p2m_ram_ro] +
                 p->count[p2m_ram_shared]);
    reply_number(r, "private_frames", owner_get(d->id)->pages);
    reply_number(r, "shared_gfns", p->count[p2m_ram_shared]);
    reply_number(r, "saved_frames", (state->saved + ONE / 2) / ONE);
    reply_number(r, "table_frames", p->nr_tables);
}

static void put_faults(struct reply *r, struct domain *d,
                       struct stats_state *state)
{
    const struct share_domain_stats *s = share_domain_stats(d->p2m);
    struct histogram unshare;

    if (s != NULL) {
        reply_number(r, "cow_faults", s->cow_faults);
        reply_number(r, "copies", s->copies);
        reply_number(r, "last_sharers", s->last_sharers);
    }
    /* Its CPUs add to it meanwhile. */
    histogram_init(&unshare);
    histogram_merge(&unshare, &d->unshare_ticks);
    put_histogram(r, "unshare_ticks", &unshare);
    histogram_merge(&state->unshare, &unshare);
    reply_close(r);
}

static void put_share(struct reply *r, struct share_stats *t)
{
    share_stats_get(t);
    reply_open(r, "share", '{');
    reply_number(r, "shared_frames", t->shared_frames);
    reply_number(r, "saved_frames", t->saved_frames);
    reply_number(r, "sharers", t->sharers);
    reply_number(r, "nominates", t->nominates);
    reply_number(r, "shares", t->shares);
    reply_number(r, "add_physmaps", t->add_physmaps);
}

static void put_unshares(struct reply *r, const struct share_stats *t)
{
    reply_number(r, "unshares_copied", t->unshares_copied);
    reply_number(r, "unshares_last", t->unshares_last);
    reply_number(r, "unshares_failed", t->unshares_failed);
    reply_number(r, "rmap_bytes", t->rmap_bytes);
    reply_close(r);
}

static struct domain *next(struct job *job, const struct stats_state *s)
{
    struct domain *d = job->domain[0];

    if (s->all) {
        return job_next_domain(job);
    }
    job->domain[0] = NULL;
    return d;
}

/* Those of the machine, a part in each slice. */
static void put_totals(struct job *job, struct stats_state *s, unsigned part)
{
    switch (part) {
    case 0:
        s->all = job->domain[0] == NULL;
        put_share(&job->reply, &s->share);
        break;
    case 1:
        put_unshares(&job->reply, &s->share);
        break;
    default:
        histogram_init(&s->unshare);
        oom_put_stats(&job->reply);
        reply_open(&job->reply, "domains", '[');
    }
}

static int run_stats(struct job *job, struct work *w)
{
    struct stats_state *s = JOB_STATE(job, struct stats_state);

    while (s->opened < 3) {
        put_totals(job, s, s->opened++);
        if (work_spend(w, WORK_SLICE)) {
            return -ERESTART;
        }
    }
    while (!s->closed) {
        if (s->domain == NULL) {
            s->domain = next(job, s);
            s->next = GFN(0);
            s->saved = 0;
        }
        if (s->domain == NULL) {
            break;
        }
        if (walk_shared(s, w) != 0) {
            return -ERESTART;
        }
        while (s->part < 2) {
            if (s->part++ == 1) {
                put_counts(&job->reply, s->domain, s);
            }
            if (work_spend(w, UNITS_PER_DOMAIN)) {
                return -ERESTART;
            }
        }
        put_faults(&job->reply, s->domain, s);
        s->part = 0;
        domain_put(s->domain);
        s->domain = NULL;
        if (work_spend(w, UNITS_PER_DOMAIN)) {
            return -ERESTART;
        }
    }
    if (!s->closed) {
        s->closed = true;
        reply_close(&job->reply);
        if (work_spend(w, WORK_SLICE)) {
            return -ERESTART;
        }
    }
    put_histogram(&job->reply, "unshare_ticks", &s->unshare);
    return 0;
}

const struct command commands_stats[] = {
    { .name = "stats", .synopsis = "[DOMAIN|all]", .keys = "",
      .max_words = 1, .nr_domains = 1, .all = true,
      .help = "shared and saved frames, faults, the cost of an unshare",
      .run = run_stats },
    { .name = NULL },
};
