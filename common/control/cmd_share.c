/* cmd_share.c - sharing, one domain's side of it: nominate, add-physmap,
 * unshare, and a look behind one gfn. */
#include <quire/errno.h>

#include "source_page.h"

#define UNITS_PER_NOMINATE 2500
#define UNITS_PER_UNSHARE 4000

/* What sharing's distinct errors mean to whoever typed the command. */
const char *share_error(int err)
{
    switch (-err) {
    case ENOENT:
        return "a hole";
    case EINVAL:
        return "not RAM that can be shared";
    case ENXIO:
        return "MMIO, no RAM";
    case EXDEV:
        return "another domain's page";
    case E2BIG:
        return "somebody else uses the page (extra references)";
    case ENOEXEC:
        return "the source's handle is stale or wrong";
    case EBADF:
        return "the client's handle is stale or wrong";
    case EEXIST:
        return "both are the same page already";
    case EBUSY:
        return "the client's gfn is not a hole";
    case EPERM:
        return "the domains are in different trust groups";
    case EAGAIN:
        return "the page is being merged by somebody else: try again";
    case ESRCH:
        return "the domain is being destroyed";
    case ENOMEM:
        return "no memory, or the domain is at its limit";
    default:
        return errno_name(err);
    }
}

static int nominate_one(struct job *job, gfn_t gfn, uint64_t i,
                        struct work *w)
{
    share_handle_t handle;
    int err = p2m_prepare(job->domain[0]->p2m, gfn, 1, w);

    (void)i;
    if (err == 0) {
        err = share_nominate(job->domain[0]->p2m, gfn, &handle);
    }
    return err == 0 || err == -ERESTART ? err :
        job_fail(job, err, "gfn %lu: %s", gfn.n, share_error(err));
}

static int run_nominate(struct job *job, struct work *w)
{
    struct range *r = JOB_STATE(job, struct range);
    share_handle_t handle;
    int err = range_parse(job, r);

    if (err == 0) {
        err = range_run(job, r, UNITS_PER_NOMINATE, nominate_one, w);
    }
    if (err != 0) {
        return err;
    }
    range_reply(job, r, "nominated");
    if (r->count == 1 &&
        share_handle(job->domain[0]->p2m, r->gfn, &handle) == 0) {
        reply_number(&job->reply, "handle", handle);
    }
    return 0;
}

static int unshare_one(struct job *job, gfn_t gfn, uint64_t i, struct work *w)
{
    int err = p2m_prepare(job->domain[0]->p2m, gfn, 1, w);

    (void)i;
    if (err == 0) {
        err = share_unshare(job->domain[0]->p2m, gfn);
    }
    return err == 0 || err == -ERESTART ? err :
        job_fail(job, err, "gfn %lu: %s", gfn.n, share_error(err));
}

static int run_unshare(struct job *job, struct work *w)
{
    struct range *r = JOB_STATE(job, struct range);
    int err = range_parse(job, r);

    if (err == 0) {
        err = range_run(job, r, UNITS_PER_UNSHARE, unshare_one, w);
    }
    if (err == 0) {
        range_reply(job, r, "private");
    }
    return err;
}

struct add_state {
    struct range range;         /* the client's gfns */
    struct source_page source;
    bool ready;
};

static int parse_add(struct job *job, struct add_state *s)
{
    gfn_t cgfn;
    int err = source_parse_gfns(job, &s->source.gfn, &cgfn);

    if (err == 0) {
        err = range_parse_at(job, &s->range, cgfn);
    }
    if (err == 0) {
        err = job_number(job, "shandle", 0, 1, UINT64_MAX, &s->source.handle);
    }
    if (err == 0 && s->source.handle == 0) {
        err = source_nominate(job, &s->source);
    }
    s->ready = err == 0;
    return err;
}

static int run_add_physmap(struct job *job, struct work *w)
{
    struct add_state *s = JOB_STATE(job, struct add_state);
    const struct range *r = &s->range;
    int err = s->ready ? 0 : parse_add(job, s);

    if (err != 0) {
        return err;
    }
    err = share_add_physmap_range(job->domain[0]->p2m, s->source.gfn,
                                  s->source.handle, job->domain[1]->p2m,
                                  r->gfn, r->count, r->stride, &job->done, w);
    if (err != 0) {
        return err == -ERESTART ? err :
            source_fail(job, &s->source, gfn_add(r->gfn, job->done * r->stride),
                        err);
    }
    reply_number(&job->reply, "added", job->done);
    reply_number(&job->reply, "handle", s->source.handle);
    return 0;
}

static int run_debug_gfn(struct job *job, struct work *w)
{
    struct p2m *p = job->domain[0]->p2m;
    struct share_info info;
    struct p2m_entry e;
    uint64_t gfn;
    int err = job_number(job, "gfn", UINT64_MAX, 0,
                         (UINT64_C(1) << P2M_GFN_BITS) - 1, &gfn);

    (void)w;
    if (err != 0) {
        return err;
    }
    if (gfn == UINT64_MAX) {
        return job_fail(job, -EINVAL, "gfn= is missing");
    }
    e = p2m_lookup(p, GFN(gfn));
    reply_number(&job->reply, "gfn", gfn);
    reply_string(&job->reply, "type", e.type == p2m_invalid ? "hole" :
                 p2m_type_name(e.type));
    reply_number(&job->reply, "order", e.order);
    reply_number(&job->reply, "tracking", e.tracking);
    if (mfn_is_ram(e.mfn)) {
        const struct frame *f = mfn_to_frame(e.mfn);
        reply_number(&job->reply, "mfn", e.mfn.n);
        reply_number(&job->reply, "owner", frame_owner(f));
        if (frame_owner(f) == DOMID_COW) {
            reply_string(&job->reply, "owner_name", "DOMID_COW");
        }
        reply_number(&job->reply, "references", frame_refs(f));
        reply_number(&job->reply, "type_references", frame_type_count(f));
    }
    if (e.type == p2m_ram_shared &&
        share_debug_gfn(p, GFN(gfn), &info) == 0) {
        reply_number(&job->reply, "handle", info.handle);
        reply_number(&job->reply, "sharers", info.sharers);
    }
    return 0;
}

const struct command commands_share[] = {
    { .name = "nominate",
      .synopsis = "DOMAIN gfn=N [count=1] [stride=1] [skip=1]",
      .keys = "gfn count stride skip", .min_words = 1, .max_words = 1,
      .nr_domains = 1, .help = "make pages shareable; one alone replies "
      "with its handle", .run = run_nominate },
    { .name = "add-physmap",
      .synopsis = "SOURCE SGFN CLIENT CGFN [count=1] [stride=1] [shandle=N]",
      .keys = "count stride shandle", .min_words = 4, .max_words = 4,
      .nr_domains = 2, .help = "map one shared page at holes of the client",
      .is_bulk = true, .run = run_add_physmap },
    { .name = "unshare",
      .synopsis = "DOMAIN gfn=N [count=1] [stride=1] [skip=1]",
      .keys = "gfn count stride skip", .min_words = 1, .max_words = 1,
      .nr_domains = 1, .help = "make pages private again",
      .run = run_unshare },
    { .name = "debug-gfn", .synopsis = "DOMAIN gfn=N", .keys = "gfn",
      .min_words = 1, .max_words = 1, .nr_domains = 1,
      .help = "what is behind one gfn", .run = run_debug_gfn },
    { .name = NULL },
};
