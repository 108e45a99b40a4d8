/* source_page.c - one page of the source, nominated for this command. See
 * source_page.h. */
#include <quire/errno.h>

#include "source_page.h"

int source_parse_gfns(struct job *job, gfn_t *sgfn, gfn_t *cgfn)
{
    uint64_t last = (UINT64_C(1) << P2M_GFN_BITS) - 1;
    int err = job_word_number(job, 1, "source gfn", last, &sgfn->n);

    return err != 0 ? err :
        job_word_number(job, 3, "client gfn", last, &cgfn->n);
}

int source_nominate(struct job *job, struct source_page *s)
{
    int err = share_nominate_new(job->domain[0]->p2m, s->gfn, &s->handle,
                                 &s->is_new);

    return err == 0 ? 0 :
        job_fail(job, err, "source gfn %lu: %s", s->gfn.n, share_error(err));
}

int source_fail(struct job *job, const struct source_page *s, gfn_t cgfn,
                int err)
{
    if (s->is_new) {
        share_withdraw(job->domain[0]->p2m, s->gfn, s->handle);
    }
    job->has_done = true;
    return job_fail(job, err, "client gfn %lu: %s", cgfn.n,
                    share_error(err));
}
