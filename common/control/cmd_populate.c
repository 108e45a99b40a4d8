/* cmd_populate.c - populate and depopulate: frames into holes, and back. */
#include <quire/errno.h>
#include <quire/owner.h>

#include "job.h"

#define UNITS_PER_GFN 1500

static int populate_one(struct job *job, gfn_t gfn, uint64_t i,
                        struct work *w)
{
    const struct owner *o = owner_get(job->domain[0]->id);
    uint64_t one = 0;
    int err;

    (void)i, (void)w;
    if (p2m_lookup(job->domain[0]->p2m, gfn).type != p2m_invalid) {
        return job_fail(job, -EEXIST, "gfn %lu: is not a hole", gfn.n);
    }
    err = domain_populate(job->domain[0], gfn, 1, &one, NULL);
    if (err != -ENOMEM) {
        return err;
    }
    return o->pages >= o->max_pages ?
        job_fail(job, err, "gfn %lu: the domain is at its own limit of %lu "
                 "frames: raise it with set-max", gfn.n, o->max_pages) :
        job_fail(job, err, "gfn %lu: the machine has no free memory", gfn.n);
}

static int depopulate_one(struct job *job, gfn_t gfn, uint64_t i,
                          struct work *w)
{
    int err = p2m_prepare(job->domain[0]->p2m, gfn, 1, w);

    (void)i;
    return err != 0 ? err : domain_remove_gfn(job->domain[0], gfn);
}

static int run_range(struct job *job, struct work *w, const char *what,
                     int (*fn)(struct job *job, gfn_t gfn, uint64_t i,
                               struct work *w))
{
    struct range *r = JOB_STATE(job, struct range);
    int err = range_parse(job, r);

    if (err == 0) {
        err = range_run(job, r, UNITS_PER_GFN, fn, w);
    }
    if (err == 0) {
        range_reply(job, r, what);
    }
    return err;
}

static int run_populate(struct job *job, struct work *w)
{
    return run_range(job, w, "populated", populate_one);
}

static int run_depopulate(struct job *job, struct work *w)
{
    return run_range(job, w, "depopulated", depopulate_one);
}

const struct command commands_populate[] = {
    { .name = "populate",
      .synopsis = "DOMAIN gfn=N [count=1] [stride=1] [skip=1]",
      .keys = "gfn count stride skip", .min_words = 1, .max_words = 1,
      .nr_domains = 1, .help = "fresh zeroed frames into holes",
      .run = run_populate },
    { .name = "depopulate",
      .synopsis = "DOMAIN gfn=N [count=1] [stride=1] [skip=1]",
      .keys = "gfn count stride skip", .min_words = 1, .max_words = 1,
      .nr_domains = 1, .help = "make holes; frames or shares are dropped",
      .run = run_depopulate },
    { .name = NULL },
};
