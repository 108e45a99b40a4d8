/*
 * cmd_shadow.c - shadow: what a domain on shadow paging has of shadow pages,
 * and what its page faults came to.
 */
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
