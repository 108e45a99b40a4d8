/*
 * cmd_add_range.c - add-range and add-random: many sharers at once, for
 * machines that hold tens of millions of pairs and for measurements.
 */
#include <quire/errno.h>
#include <quire/rng.h>

#include "source_page.h"

#define UNITS_PER_SINGLE 1400   /* add-random: one gfn */
#define ROUNDS 4

struct add_range_state {
    bool ready;
    gfn_t sgfn, cgfn;
    uint64_t count;
};

static int run_add_range(struct job *job, struct work *w)
{
    struct add_range_state *s = JOB_STATE(job, struct add_range_state);
    int err = s->ready ? 0 : source_parse_gfns(job, &s->sgfn, &s->cgfn);

    if (err == 0 && !s->ready) {
        err = job_number(job, "count", 1, 1, UINT64_C(1) << P2M_GFN_BITS,
                         &s->count);
        s->ready = err == 0;
    }
    if (err != 0) {
        return err;
    }
    err = share_add_range(job->domain[0]->p2m, s->sgfn, job->domain[1]->p2m,
                          s->cgfn, s->count, &job->done, w);
    if (err == 0) {
        reply_number(&job->reply, "added", job->done);
    } else if (err != -ERESTART) {
        job->has_done = true;
        job_fail(job, err, "source gfn %lu at client gfn %lu: %s",
                 s->sgfn.n + job->done, s->cgfn.n + job->done,
                 err == -ERANGE ? "the ranges do not fit the bits of a gfn" :
                 err == -EINVAL ? "the source is not shared: nominate it" :
                 err == -ENOEXEC ? "somebody unshares it: try again" :
                 share_error(err));
    }
    return err;
}

struct add_random_state {
    bool ready;
    struct source_page source;
    gfn_t cgfn;
    uint64_t count, span, seed, place;
    unsigned half_bits;
};

/*
 * A permutation of [0, 4^half_bits): a Feistel network, so that the n-th gfn
 * is found without remembering those before it.
 */
static uint64_t permute(const struct add_random_state *s, uint64_t x)
{
    uint64_t mask = (UINT64_C(1) << s->half_bits) - 1;
    uint64_t left = x >> s->half_bits, right = x & mask;

    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t turned = mix64(right ^ s->seed ^ (uint64_t)round << 56);
        uint64_t next = left ^ (turned & mask);

        left = right;
        right = next;
    }
    return left << s->half_bits | right;
}

static int parse_random(struct job *job, struct add_random_state *s)
{
    uint64_t end = UINT64_C(1) << P2M_GFN_BITS;
    int err = source_parse_gfns(job, &s->source.gfn, &s->cgfn);

    if (err == 0) {
        err = job_number(job, "count", 1, 1, end, &s->count);
    }
    if (err == 0) {
        err = job_number(job, "span", UINT64_C(1) << 24, 1, end, &s->span);
    }
    if (err == 0) {
        err = job_number(job, "seed", 1, 0, UINT64_MAX, &s->seed);
    }
    if (err != 0) {
        return err;
    }
    if (s->count > s->span || s->span > end - s->cgfn.n) {
        return job_fail(job, -ERANGE, "count= is at most span= (%lu), and "
                        "span= gfns from %lu on must fit the %u bits of a gfn",
                        s->span, s->cgfn.n, P2M_GFN_BITS);
    }
    while ((UINT64_C(1) << 2 * s->half_bits) < s->span) {
        s->half_bits++;
    }
    err = source_nominate(job, &s->source);
    s->ready = err == 0;
    return err;
}

static int run_add_random(struct job *job, struct work *w)
{
    struct add_random_state *s = JOB_STATE(job, struct add_random_state);
    int err = s->ready ? 0 : parse_random(job, s);

    while (err == 0 && job->done < s->count) {
        uint64_t offset = permute(s, s->place);

        if (offset < s->span) {
            gfn_t cgfn = gfn_add(s->cgfn, offset);

            err = share_add_physmap(job->domain[0]->p2m, s->source.gfn,
                                    s->source.handle, job->domain[1]->p2m,
                                    cgfn);
            if (err != 0) {
                return source_fail(job, &s->source, cgfn, err);
            }
            job->done++;
        }
        s->place++;
        if (job->done < s->count && work_spend(w, UNITS_PER_SINGLE)) {
            err = -ERESTART;
        }
    }
    if (err == 0) {
        reply_number(&job->reply, "added", job->done);
        reply_number(&job->reply, "handle", s->source.handle);
    }
    return err;
}

const struct command commands_add_range[] = {
    { .name = "add-range", .synopsis = "SOURCE SGFN CLIENT CGFN [count=1]",
      .keys = "count", .min_words = 4, .max_words = 4, .nr_domains = 2,
      .help = "map each shared page of a range at the client's hole",
      .is_bulk = true, .run = run_add_range },
    { .name = "add-random",
      .synopsis = "SOURCE SGFN CLIENT CGFN [count=1] [span=16M] [seed=1]",
      .keys = "count span seed", .min_words = 4, .max_words = 4,
      .nr_domains = 2, .help = "map one page at holes drawn from the span gfns "
      "from CGFN on", .is_bulk = true, .run = run_add_random },
    { .name = NULL },
};
