/* range.c - the same operation on many gfns: start, count and stride. */
#include <quire/errno.h>

#include "job.h"

int range_check(struct job *job, const struct range *r, gfn_t first)
{
    uint64_t end = UINT64_C(1) << P2M_GFN_BITS;

    if (first.n >= end || (r->count - 1) > (end - 1 - first.n) / r->stride) {
        return job_fail(job, -ERANGE, "gfns %lu + %lu x %lu do not fit the "
                        "%u bits of a gfn", first.n, r->count, r->stride,
                        P2M_GFN_BITS);
    }
    return 0;
}

int range_parse_at(struct job *job, struct range *r, gfn_t first)
{
    uint64_t end = UINT64_C(1) << P2M_GFN_BITS;
    int err;

    if (r->parsed) {
        return 0;
    }
    r->gfn = first;
    err = job_number(job, "count", 1, 1, end, &r->count);
    if (err == 0) {
        err = job_number(job, "stride", 1, 1, end, &r->stride);
    }
    if (err == 0) {
        err = job_flag(job, "skip", &r->skip);
    }
    if (err == 0) {
        err = range_check(job, r, first);
    }
    r->parsed = err == 0;
    return err;
}

int range_parse(struct job *job, struct range *r)
{
    uint64_t first;
    int err;

    if (r->parsed) {
        return 0;
    }
    if (args_value(&job->args, "gfn") == NULL) {
        return job_fail(job, -EINVAL, "gfn= is missing; usage: %s %s",
                        job->command->name, job->command->synopsis);
    }
    err = job_number(job, "gfn", 0, 0, UINT64_MAX, &first);
    return err != 0 ? err : range_parse_at(job, r, GFN(first));
}

/* The last slot takes all that found no slot of their own. */
static void count_refusal(struct range *r, int err)
{
    for (unsigned i = 0; i < RANGE_ERRORS; i++) {
        if (r->refused[i].err == 0 || r->refused[i].err == err ||
            i == RANGE_ERRORS - 1) {
            r->refused[i].err = err;
            r->refused[i].n++;
            return;
        }
    }
}

int range_run(struct job *job, struct range *r, unsigned cost,
              int (*fn)(struct job *job, gfn_t gfn, uint64_t i,
                        struct work *w), struct work *w)
{
    if (!r->begun) {
        r->begun = true;        /* the words have taken a slice of their own */
        if (work_spend(w, WORK_SLICE)) {
            return -ERESTART;
        }
    }
    while (job->done < r->count) {
        gfn_t gfn = gfn_add(r->gfn, job->done * r->stride);
        int err = fn(job, gfn, job->done, w);

        if (err == -ERESTART) {
            return err;
        }
        if (err == 0) {
            r->good++;
        } else if (r->skip) {
            count_refusal(r, err);
        } else {
            job->has_done = true;
            return job->message[0] != '\0' ? err :
                job_fail(job, err, "gfn %lu: %s", gfn.n, err == -ENOENT ?
                         "a hole" : errno_name(err));
        }
        job->message[0] = '\0';
        job->done++;
        if (work_spend(w, cost)) {
            return -ERESTART;
        }
    }
    return 0;
}

void range_reply(struct job *job, const struct range *r, const char *what)
{
    reply_number(&job->reply, what, r->good);
    if (r->skip) {
        reply_open(&job->reply, "refused", '{');
        for (unsigned i = 0; i < RANGE_ERRORS; i++) {
            if (r->refused[i].n != 0) {
                reply_number(&job->reply, errno_name(r->refused[i].err),
                             r->refused[i].n);
            }
        }
        reply_close(&job->reply);
    }
}
