/* cmd_memory.c - a domain's memory by address: read, write, fill, hash. */
#include <quire/errno.h>
#include <quire/rng.h>

#include "job.h"

#define READ_MAX (UINT64_C(16) << 20)
#define READ_PIECE 64u          /* bytes a step: their digits go to the port */
#define UNITS_PER_PIECE 600
#define UNITS_PER_PAGE 4000

static int access_error(struct job *job, int err, gpa_t gpa)
{
    return job_fail(job, err, "gpa 0x%lx: %s", gpa,
                    err == -ENOENT ? "a hole, not RAM" :
                    err == -EACCES ? "read-only" :
                    err == -ENOMEM ? "no memory to unshare it" :
                    errno_name(err));
}

static int parse_gpa(struct job *job, uint64_t len, gpa_t *gpa)
{
    uint64_t end = UINT64_C(1) << (P2M_GFN_BITS + PAGE_SHIFT);

    if (args_value(&job->args, "gpa") == NULL) {
        return job_fail(job, -EINVAL, "gpa= is missing");
    }
    return job_number(job, "gpa", 0, 0, end - len, gpa);
}

/* Read once: they may be figures, which the guest changes as it likes. */
struct read_state { uint64_t len; gpa_t gpa; bool parsed; };

static int run_read(struct job *job, struct work *w)
{
    struct read_state *s = JOB_STATE(job, struct read_state);
    struct p2m *p = job->domain[0]->p2m;
    uint64_t len;
    gpa_t gpa;
    int err = 0;

    if (!s->parsed) {
        err = job_number(job, "len", 16, 1, READ_MAX, &s->len);
        if (err == 0) {
            err = parse_gpa(job, s->len, &s->gpa);
        }
        s->parsed = err == 0;
    }
    if (err != 0) {
        return err;
    }
    len = s->len;
    gpa = s->gpa;
    while (job->done < len) {
        gpa_t at = gpa + job->done;
        /* Never over the end of a page: an error is at its very address. */
        size_t n = MIN(MIN(len - job->done, READ_PIECE),
                       PAGE_SIZE - (at & PAGE_MASK));

        err = guest_read_gpa(p, at, job->page, n);
        if (job->done == 0 && err == 0) {
            reply_number(&job->reply, "gpa", gpa);
            reply_bytes_begin(&job->reply, "data");
        }
        if (err != 0) {
            if (job->done != 0) {
                reply_bytes_end(&job->reply);
            }
            job->has_done = true;
            return access_error(job, err, at);
        }
        reply_bytes(&job->reply, job->page, n);
        job->done += n;
        if (job->done < len && work_spend(w, UNITS_PER_PIECE)) {
            return -ERESTART;
        }
    }
    reply_bytes_end(&job->reply);
    return 0;
}

static int run_write(struct job *job, struct work *w)
{
    const char *data = args_value(&job->args, "data");
    size_t done = 0;
    gpa_t gpa;
    int len, err;

    (void)w;
    if (data == NULL) {
        return job_fail(job, -EINVAL, "data= is missing: hex digits");
    }
    len = args_hex(data, job->page, sizeof(job->page));
    if (len <= 0) {
        return job_fail(job, -EINVAL, "data=: pairs of hex digits, at least "
                        "one and at most 4096");
    }
    err = parse_gpa(job, (uint64_t)len, &gpa);
    if (err != 0) {
        return err;
    }
    err = guest_write_gpa(job->domain[0]->p2m, gpa, job->page, (size_t)len,
                          &done);
    job->done = done;
    if (err != 0) {
        job->has_done = true;
        return access_error(job, err, gpa + done);
    }
    reply_number(&job->reply, "bytes", done);
    return 0;
}

struct fill_state { struct range range; uint64_t word; };

static int fill_one(struct job *job, gfn_t gfn, uint64_t i, struct work *w)
{
    struct fill_state *s = JOB_STATE(job, struct fill_state);
    size_t done;

    (void)i, (void)w;
    page_fill(job->page, s->word);
    return guest_write_gpa(job->domain[0]->p2m, gfn_to_gpa(gfn), job->page,
                           PAGE_SIZE, &done);
}

static int run_fill(struct job *job, struct work *w)
{
    struct fill_state *s = JOB_STATE(job, struct fill_state);
    int err = range_parse(job, &s->range);

    if (err == 0) {
        err = job_number(job, "word", 0, 0, UINT64_MAX, &s->word);
    }
    if (err == 0) {
        err = range_run(job, &s->range, UNITS_PER_PAGE, fill_one, w);
    }
    if (err == 0) {
        range_reply(job, &s->range, "filled");
    }
    return err;
}

struct hash_state { struct range range; bool each, opened; uint64_t all; };

static int hash_one(struct job *job, gfn_t gfn, uint64_t i, struct work *w)
{
    struct hash_state *s = JOB_STATE(job, struct hash_state);
    uint64_t h;
    int err = guest_read_gpa(job->domain[0]->p2m, gfn_to_gpa(gfn), job->page,
                             PAGE_SIZE);

    (void)i, (void)w;
    if (err != 0) {
        return err;
    }
    h = page_hash(job->page);
    s->all = mix64(s->all ^ h);
    if (s->each) {
        if (!s->opened) {
            s->opened = true;
            reply_open(&job->reply, "hashes", '[');
        }
        reply_hex64(&job->reply, NULL, h);
    }
    return 0;
}

static int run_hash(struct job *job, struct work *w)
{
    struct hash_state *s = JOB_STATE(job, struct hash_state);
    int err = range_parse(job, &s->range);

    if (err == 0) {
        err = job_flag(job, "each", &s->each);
    }
    if (err == 0) {
        err = range_run(job, &s->range, UNITS_PER_PAGE, hash_one, w);
    }
    if (err != 0) {
        return err;
    }
    if (s->opened) {
        reply_close(&job->reply);
    }
    reply_hex64(&job->reply, "hash", s->all);
    range_reply(job, &s->range, "pages");
    return 0;
}

const struct command commands_memory[] = {
    { .name = "read", .synopsis = "DOMAIN gpa=ADDRESS [len=16]",
      .keys = "gpa len", .min_words = 1, .max_words = 1, .nr_domains = 1,
      .help = "bytes of guest memory, as hex digits", .run = run_read },
    { .name = "write", .synopsis = "DOMAIN gpa=ADDRESS data=HEX",
      .keys = "gpa data", .min_words = 1, .max_words = 1, .nr_domains = 1,
      .help = "write guest memory; unshares what it touches",
      .run = run_write },
    { .name = "fill",
      .synopsis = "DOMAIN gfn=N [count=1] [stride=1] [word=0] [skip=1]",
      .keys = "gfn count stride word skip", .min_words = 1, .max_words = 1,
      .nr_domains = 1, .help = "every 64-bit word of these pages = word",
      .run = run_fill },
    { .name = "hash",
      .synopsis = "DOMAIN gfn=N [count=1] [stride=1] [each=1] [skip=1]",
      .keys = "gfn count stride each skip", .min_words = 1, .max_words = 1,
      .nr_domains = 1, .help = "a hash over pages; each=1 lists one a page",
      .run = run_hash },
    { .name = NULL },
};
