/* cmd_destroy.c - destroy: kill domains and say what it cost. */
#include <quire/errno.h>
#include <quire/grace.h>

#include "job.h"

#define GRACE_POLLS 100         /* of JOB_POLL_US: 20 ms */

struct destroy_state {
    bool opened, all;
    struct domain *victim;      /* counted */
    unsigned polls;
};

static void put_kill(struct reply *r, const struct domain *d)
{
    const struct kill_stats *k = &d->kill;

    reply_open(r, NULL, '{');
    reply_number(r, "domain", d->id);
    reply_string(r, "name", d->config.name);
    reply_number(r, "accepted_ticks", d->kill_accepted);
    reply_number(r, "total_ticks", k->total);
    reply_number(r, "busy_ticks", k->busy);
    reply_number(r, "gfns", k->gfns);
    reply_number(r, "per_gfn_ticks", k->gfns != 0 ? k->busy / k->gfns : 0);
    reply_number(r, "longest_ticks", k->longest);
    reply_number(r, "preemptions", k->preemptions);
    reply_close(r);
}

/* The next to go: the one named, once, or whichever comes first. */
static struct domain *next_victim(struct job *job,
                                  const struct destroy_state *s)
{
    struct domain *d = job->domain[0];

    if (s->all) {
        return job_next_domain(job);
    }
    job->domain[0] = NULL;
    return d;
}

static int run_destroy(struct job *job, struct work *w)
{
    struct destroy_state *s = JOB_STATE(job, struct destroy_state);

    if (!s->opened) {
        s->opened = true;
        s->all = job->domain[0] == NULL;
        reply_open(&job->reply, "destroyed", '[');
    }
    for (;;) {
        int err;

        if (s->victim == NULL) {
            s->victim = next_victim(job, s);
        }
        if (s->victim == NULL) {
            break;
        }
        err = domain_kill(s->victim, w);
        if (err == -ERESTART) {
            return err;
        }
        if (err == 0) {
            put_kill(&job->reply, s->victim);
        }
        domain_put(s->victim);
        s->victim = NULL;
        if (err != 0) {
            return job_fail(job, err, "after %lu domains: %s", job->done,
                            errno_name(err));
        }
        job->done++;
    }
    /*
     * The last references go a grace period after the kill; only then the id
     * can be used again. That is not part of the figures, but the next
     * command should find it done.
     */
    if (grace_nr_pending() != 0 && s->polls < GRACE_POLLS) {
        s->polls++;
        return job_sleep_us(job, JOB_POLL_US);
    }
    reply_close(&job->reply);
    reply_number(&job->reply, "domains", job->done);
    return 0;
}

const struct command commands_destroy[] = {
    { .name = "destroy", .synopsis = "DOMAIN|all", .keys = "",
      .min_words = 1, .max_words = 1, .nr_domains = 1, .all = true,
      .help = "kill domains, one after another, and say what each cost",
      .is_bulk = true, .run = run_destroy },
    { .name = NULL },
};
