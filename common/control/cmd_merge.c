/*
 * cmd_merge.c - share and range-share: merge pages of two domains (or of one).
 *
 * Contents are the caller's promise, as in Xen, unless equal=1 is given. Then
 * the two pages are compared first as they are, which finds most differences
 * for the price of a few bytes; if they look alike both are nominated, which
 * makes them read-only, and compared again. A page that somebody unshares
 * after that has a new handle, so the merge is refused and nothing is lost.
 *
 * A pair that is not merged after all leaves no page nominated that was not so
 * before: what the command has nominated it withdraws, unless somebody else
 * uses it by then.
 */
#include <quire/arch.h>
#include <quire/errno.h>

#include "job.h"

#define UNITS_PER_COMPARE 3000  /* two pages that are alike */
#define UNITS_PER_MERGE 2000

/* What comes next for a pair; without equal=1 nothing is compared. */
enum merge_step { COMPARE, NOMINATE, COMPARE_AGAIN, MERGE };

struct merge_state {
    struct range source;        /* count and stride are both sides' */
    gfn_t client;
    share_handle_t shandle, chandle;    /* given; 0: nominate */
    bool equal;
    uint64_t unequal, already;
    enum merge_step step;
    bool merging;               /* the cursor below is in use */
    share_handle_t sh, ch;
    bool is_new[2];             /* source, client: nominated for this pair */
    const char *side;           /* of it, the page that an error is about */
    struct share_merge merge;
};

static int parse(struct job *job, struct merge_state *s)
{
    uint64_t sgfn, cgfn, end = UINT64_C(1) << P2M_GFN_BITS;
    int err = job_word_number(job, 1, "source gfn", end - 1, &sgfn);

    if (err == 0) {
        err = job_word_number(job, 3, "client gfn", end - 1, &cgfn);
    }
    if (err == 0) {
        err = job_flag(job, "equal", &s->equal);
    }
    if (err == 0) {
        err = job_number(job, "shandle", 0, 1, UINT64_MAX, &s->shandle);
    }
    if (err == 0) {
        err = job_number(job, "chandle", 0, 1, UINT64_MAX, &s->chandle);
    }
    if (err == 0) {
        err = range_parse_at(job, &s->source, GFN(sgfn));
    }
    if (err == 0) {
        s->client = GFN(cgfn);
        err = range_check(job, &s->source, s->client);
    }
    if (err != 0) {
        return err;
    }
    if ((s->shandle != 0 || s->chandle != 0) && s->source.count != 1) {
        s->source.parsed = false;
        return job_fail(job, -EINVAL, "a handle names one page: leave count= "
                        "out");
    }
    s->source.skip |= s->equal;
    return 0;
}

/*
 * A reference to the frame behind @gfn, RAM of @d or shared. The entry is
 * looked at again with the reference held: then the frame is this gfn's.
 */
static int hold_page(const struct domain *d, gfn_t gfn, struct frame **f)
{
    struct p2m_entry e = p2m_lookup(d->p2m, gfn);
    domid_t owner = e.type == p2m_ram_shared ? DOMID_COW : d->id;

    if (e.type == p2m_invalid) {
        return -ENOENT;
    }
    if ((e.type != p2m_ram_rw && e.type != p2m_ram_ro &&
         e.type != p2m_ram_shared) || !mfn_is_ram(e.mfn)) {
        return -EINVAL;
    }
    *f = mfn_to_frame(e.mfn);
    if (frame_get(*f, owner) != 0) {
        return -EAGAIN;
    }
    if (!mfn_eq(p2m_lookup(d->p2m, gfn).mfn, e.mfn)) {
        frame_put(*f);
        return -EAGAIN;
    }
    return 0;
}

/* 1: alike now; 0: not; or an error. */
static int compare(struct job *job, struct merge_state *s, gfn_t sgfn,
                   gfn_t cgfn)
{
    struct frame *a, *b;
    const void *pa, *pb;
    int same, err;

    s->side = "the source's: ";
    err = hold_page(job->domain[0], sgfn, &a);
    if (err != 0) {
        return err;
    }
    s->side = "the client's: ";
    err = hold_page(job->domain[1], cgfn, &b);
    if (err != 0) {
        frame_put(a);
        return err;
    }
    pa = arch_map_frame(frame_to_mfn(a));
    pb = arch_map_frame(frame_to_mfn(b));
    same = a == b || memcmp(pa, pb, PAGE_SIZE) == 0;
    arch_unmap_frame(pb);
    arch_unmap_frame(pa);
    frame_put(b);
    frame_put(a);
    return same;
}

/* Both handles, given or by nomination. */
static int nominate_both(struct job *job, struct merge_state *s, gfn_t sgfn,
                         gfn_t cgfn)
{
    int err = 0;

    s->sh = s->shandle;
    s->ch = s->chandle;
    s->side = "the source's: ";
    if (s->sh == 0) {
        err = share_nominate_new(job->domain[0]->p2m, sgfn, &s->sh,
                                 &s->is_new[0]);
    }
    if (err == 0 && s->ch == 0 && job->domain[0] == job->domain[1] &&
        gfn_eq(sgfn, cgfn)) {
        s->ch = s->sh;          /* one page: nominated once */
    } else if (err == 0 && s->ch == 0) {
        s->side = "the client's: ";
        err = share_nominate_new(job->domain[1]->p2m, cgfn, &s->ch,
                                 &s->is_new[1]);
    }
    return err;
}

/* The pair is done with; if it @failed, so are its nominations. */
static void end_pair(struct job *job, struct merge_state *s, gfn_t sgfn,
                     gfn_t cgfn, bool failed)
{
    if (failed && s->is_new[0]) {
        share_withdraw(job->domain[0]->p2m, sgfn, s->sh);
    }
    if (failed && s->is_new[1]) {
        share_withdraw(job->domain[1]->p2m, cgfn, s->ch);
    }
    s->is_new[0] = s->is_new[1] = false;
}

/* Decide whether these two are to be merged: 1, 0 or an error. Preemptible:
 * s->step. */
static int prepare(struct job *job, struct merge_state *s, gfn_t sgfn,
                   gfn_t cgfn, struct work *w)
{
    int result = 1, units = 0;

    while (result == 1 && s->step != MERGE) {
        if (s->step == NOMINATE) {
            int err = nominate_both(job, s, sgfn, cgfn);

            result = err == 0 ? 1 : err;
            units = WORK_SLICE;     /* the merge has one of its own */
        } else if (s->equal) {
            result = compare(job, s, sgfn, cgfn);
            units = UNITS_PER_COMPARE;
        }
        if (result == 1) {
            s->step++;
            if (work_spend(w, units)) {
                return -ERESTART;
            }
        }
    }
    return result;
}

static int merge_one(struct job *job, gfn_t sgfn, uint64_t i, struct work *w)
{
    struct merge_state *s = JOB_STATE(job, struct merge_state);
    gfn_t cgfn = gfn_add(s->client, i * s->source.stride);
    int err;

    if (!s->merging) {
        err = prepare(job, s, sgfn, cgfn, w);
        if (err == -ERESTART) {
            return err;
        }
        s->step = COMPARE;
        if (err != 1) {
            end_pair(job, s, sgfn, cgfn, true);
        }
        if (err == 0) {
            s->unequal++;
            s->source.good--;   /* range_run() counts what went well */
            return 0;
        }
        if (err < 0) {
            return job_fail(job, err, "gfn %lu with %lu: %s%s", sgfn.n,
                            cgfn.n, s->side, share_error(err));
        }
        s->merging = true;
        memset(&s->merge, 0, sizeof(s->merge));
    }
    err = share_frames(job->domain[0]->p2m, sgfn, s->sh, job->domain[1]->p2m,
                       cgfn, s->ch, &s->merge, w);
    if (err == -ERESTART) {
        return err;
    }
    s->merging = false;
    end_pair(job, s, sgfn, cgfn, err != 0);
    if (err == -EEXIST && s->equal) {
        s->already++;
        s->source.good--;
        return 0;
    }
    return err == 0 ? 0 :
        job_fail(job, err, "gfn %lu with %lu: %s", sgfn.n, cgfn.n,
                 share_error(err));
}

static int run_share(struct job *job, struct work *w)
{
    struct merge_state *s = JOB_STATE(job, struct merge_state);
    int err = s->source.parsed ? 0 : parse(job, s);

    if (err == 0) {
        err = range_run(job, &s->source, UNITS_PER_MERGE, merge_one, w);
    }
    if (err != 0) {
        return err;
    }
    range_reply(job, &s->source, "shared");
    if (s->equal) {
        reply_number(&job->reply, "unequal", s->unequal);
        reply_number(&job->reply, "already", s->already);
    }
    return 0;
}

struct range_state {
    bool ready;
    uint64_t sgfn, cgfn, count;
    struct share_range range;
};

static int parse_range_share(struct job *job, struct range_state *s)
{
    uint64_t end = UINT64_C(1) << P2M_GFN_BITS;
    int err = job_word_number(job, 1, "source gfn", end - 1, &s->sgfn);

    if (err == 0) {
        err = job_word_number(job, 3, "client gfn", end - 1, &s->cgfn);
    }
    if (err == 0) {
        err = job_number(job, "count", 1, 1, end - MAX(s->sgfn, s->cgfn),
                         &s->count);
    }
    s->ready = err == 0;
    return err;
}

static int run_range_share(struct job *job, struct work *w)
{
    struct range_state *s = JOB_STATE(job, struct range_state);
    struct share_range *r = &s->range;
    int err = s->ready ? 0 : parse_range_share(job, s);

    if (err != 0) {
        return err;
    }
    err = share_range(job->domain[0]->p2m, GFN(s->sgfn), job->domain[1]->p2m,
                      GFN(s->cgfn), s->count, r, w);
    job->done = r->done;
    if (err == 0) {
        reply_number(&job->reply, "shared", r->shared);
        reply_number(&job->reply, "already", r->already);
        reply_number(&job->reply, "refused", r->refused);
    } else if (err != -ERESTART) {
        job->has_done = true;
        job_fail(job, err, "gfn %lu with %lu: %s", s->sgfn + r->done,
                 s->cgfn + r->done, share_error(err));
    }
    return err;
}

static void end_range_share(struct job *job)
{
    share_range_abort(&JOB_STATE(job, struct range_state)->range);
}

static void end_share(struct job *job)
{
    struct merge_state *s = JOB_STATE(job, struct merge_state);

    if (s->merging) {
        share_merge_abort(&s->merge);
    }
}

const struct command commands_merge[] = {
    { .name = "share",
      .synopsis = "SOURCE SGFN CLIENT CGFN [count=1] [stride=1] [equal=1] "
                  "[skip=1] [shandle=N] [chandle=N]",
      .keys = "count stride equal skip shandle chandle", .min_words = 4,
      .max_words = 4, .nr_domains = 2,
      .help = "merge the client's pages into the source's; equal=1 compares "
              "and takes only those that are alike",
      .run = run_share, .end = end_share },
    { .name = "range-share",
      .synopsis = "SOURCE SGFN CLIENT CGFN [count=1]", .keys = "count",
      .min_words = 4, .max_words = 4, .nr_domains = 2,
      .help = "nominate and share count pairs of pages, those that cannot be "
              "being skipped: Xen's range_share",
      .is_bulk = true, .run = run_range_share, .end = end_range_share },
    { .name = NULL },
};
