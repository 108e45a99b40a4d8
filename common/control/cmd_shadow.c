/*
 * cmd_shadow.c - shadow: what a domain on shadow paging has of shadow pages,
 * and what its page faults came to.
 */
#include <quire/domain.h>
#include <quire/errno.h>
#include <quire/shadow.h>

#include "job.h"

static void put_pages(struct reply *r, struct shadow *s)
{
    struct shadow_info i;

    shadow_info(s, &i);
    reply_number(r, "pages", i.pages);
    reply_number(r, "limit", i.limit);
    reply_open(r, "by_level", '[');
    for (unsigned l = 0; l < ARRAY_SIZE(i.by_level); l++) {
        reply_number(r, NULL, i.by_level[l]);
    }
    reply_close(r);
    reply_number(r, "unsync", i.unsync);
    reply_number(r, "dying", i.dying);
    reply_number(r, "bytes", i.bytes);
}

static void put_events(struct reply *r, const struct shadow_stats *s)
{
    reply_number(r, "hidden_faults", s->hidden);
    reply_number(r, "injected_faults", s->injected);
    reply_number(r, "p2m_faults", s->p2m);
    reply_number(r, "emulated", s->emulated);
    reply_number(r, "unsyncs", s->unsyncs);
    reply_number(r, "syncs", s->syncs);
    reply_number(r, "drops", s->drops);
    reply_number(r, "zaps", s->zaps);
    reply_number(r, "reclaims", s->reclaims);
    reply_number(r, "flushes", s->flushes);
}

/* Of all its vCPUs; they go on meanwhile. */
static struct exit_ticks ticks_of(const struct domain *d, enum exit_cost cost)
{
    struct exit_ticks all = { .min = UINT64_MAX };

    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        const struct exit_ticks *t = &d->vcpus[i]->exit_ticks[cost];

        if (t->count != 0) {
            all.count += t->count;
            all.sum += t->sum;
            all.min = MIN(all.min, t->min);
            all.max = MAX(all.max, t->max);
        }
    }
    return all;
}

static void put_ticks(struct reply *r, const struct domain *d)
{
    static const char *const names[NR_EXIT_COSTS] = {
        [EXIT_COST_HIDDEN] = "hidden_fault", [EXIT_COST_OWN] = "own_fault",
        [EXIT_COST_P2M] = "p2m_fault", [EXIT_COST_CR3] = "cr3_load",
        [EXIT_COST_INVLPG] = "invlpg",
    };

    reply_open(r, "exit_ticks", '{');
    for (unsigned c = EXIT_COST_NONE + 1; c < NR_EXIT_COSTS; c++) {
        struct exit_ticks t = ticks_of(d, (enum exit_cost)c);

        reply_open(r, names[c], '{');
        reply_number(r, "count", t.count);
        if (t.count != 0) {
            reply_number(r, "min", t.min);
            reply_number(r, "max", t.max);
            reply_number(r, "sum", t.sum);
        }
        reply_close(r);
    }
    reply_close(r);
}

static int run_shadow(struct job *job, struct work *w)
{
    struct domain *d = job->domain[0];
    struct shadow *s = domain_shadow_get(d);

    (void)w;
    if (s == NULL) {
        return job_fail(job, -ENOENT, d->config.shadow
                        ? "domain %u is dying: its shadow is gone"
                        : "domain %u runs on nested paging: create it with "
                          "paging=shadow", d->id);
    }
    put_pages(&job->reply, s);
    put_events(&job->reply, shadow_stats(s));
    put_ticks(&job->reply, d);
    domain_shadow_put(d);
    return 0;
}

const struct command commands_shadow[] = {
    { .name = "shadow", .synopsis = "DOMAIN", .keys = "", .min_words = 1,
      .max_words = 1, .nr_domains = 1,
      .help = "shadow pages, and page faults by what came of them",
      .run = run_shadow },
    { .name = NULL },
};
