/*
 * cmd_fork.c - fork: running copies of a domain; fork-reset: one of them as it
 * was when it was made.
 *
 * All or none (copies.h). In name= `{i}` stands for the number of the copy.
 */
#include <quire/errno.h>
#include <quire/fork.h>

#include "copies.h"

struct fork_state {
    struct copies copies;
    bool configured;            /* config is that of the current copy */
    struct fork_config config;
    struct domain *child;       /* domain_fork()'s cursor */
    char why[DOMAIN_WHY_MAX];
};

static int parse_flags(struct job *job, struct fork_state *s)
{
    static const struct { const char *name; unsigned flag; } flags[] = {
        { "block_interrupts", XENMEM_FORK_BLOCK_INTERRUPTS },
        { "skip_special", XENMEM_FORK_SKIP_SPECIAL_PAGES },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        bool is_set;
        int err = job_flag(job, flags[i].name, &is_set);

        if (err != 0) {
            return err;
        }
        s->config.flags |= is_set ? flags[i].flag : 0;
    }
    return 0;
}

static int configure(struct job *job, struct fork_state *s, struct work *w)
{
    const char *name = args_value(&job->args, "name");
    int err = name == NULL ? 0 :
        job_name_make(job, s->config.name, name, copies_number(&s->copies),
                      w);

    s->configured = err == 0;
    return err;
}

/* Preemptible: one copy. */
static int make_fork(struct job *job, struct domain **d, struct work *w)
{
    struct fork_state *s = JOB_STATE(job, struct fork_state);
    int err = s->configured ? 0 : configure(job, s, w);

    if (err != 0) {
        return err;
    }
    err = domain_fork(job->domain[0], &s->config, &s->child, s->why, w);
    if (err != 0) {
        return err == -ERESTART ? err : job_fail(job, err, "%s", s->why);
    }
    *d = s->child;
    s->child = NULL;
    s->configured = false;
    return 0;
}

static int run_fork(struct job *job, struct work *w)
{
    struct fork_state *s = JOB_STATE(job, struct fork_state);
    int err = 0;

    if (s->copies.made == NULL) {
        err = parse_flags(job, s);
        if (err == 0) {
            err = copies_parse(job, &s->copies, &s->config.id);
        }
    }
    return err != 0 ? err : copies_run(job, &s->copies, make_fork, w);
}

static void end_fork(struct job *job)
{
    copies_end(&JOB_STATE(job, struct fork_state)->copies);
}

static int reset_error(struct job *job, int err)
{
    switch (-err) {
    case EINVAL:
        return job_fail(job, err, "the domain is not a fork");
    case EBUSY:
        return job_fail(job, err, "it is being forked, or reset otherwise");
    case ESRCH:
        return job_fail(job, err, "the domain is being destroyed");
    case ENOMEM:
        return job_fail(job, err, "no memory: the fork stays stopped half "
                        "way; make room and reset it again");
    default:
        return job_fail(job, err, "%s", errno_name(err));
    }
}

struct reset_state { bool parsed; unsigned what; uint64_t before; };

static int parse_reset(struct job *job, struct reset_state *s)
{
    struct fork_info info;
    uint64_t state = 1, memory = 1;
    int err = job_number(job, "state", 1, 0, 1, &state);

    if (err == 0) {
        err = job_number(job, "memory", 1, 0, 1, &memory);
    }
    if (err == 0 && state + memory == 0) {
        err = job_fail(job, -EINVAL, "state=0 memory=0: nothing to reset");
    }
    if (err != 0) {
        return err;
    }
    err = domain_fork_info(job->domain[0], &info);
    if (err != 0) {
        return reset_error(job, err);
    }
    s->before = info.reset_pages;
    s->what = (state != 0 ? XENMEM_FORK_RESET_STATE : 0) |
              (memory != 0 ? XENMEM_FORK_RESET_MEMORY : 0);
    s->parsed = true;
    return 0;
}

static int run_reset(struct job *job, struct work *w)
{
    struct reset_state *s = JOB_STATE(job, struct reset_state);
    struct fork_info info;
    int err = s->parsed ? 0 : parse_reset(job, s);

    if (err != 0) {
        return err;
    }
    err = domain_fork_reset(job->domain[0], s->what, w);
    if (err == -ERESTART) {
        return err;
    }
    if (err != 0) {
        return reset_error(job, err);
    }
    err = domain_fork_info(job->domain[0], &info);
    if (err == 0) {
        job->done = info.reset_pages - s->before;
        reply_number(&job->reply, "pages", job->done);
        reply_number(&job->reply, "resets", info.resets);
    }
    return err;
}

static int run_info(struct job *job, struct work *w)
{
    struct fork_info info;
    int err = domain_fork_info(job->domain[0], &info);

    (void)w;
    if (err != 0) {
        return reset_error(job, err);
    }
    if (info.is_parent_gone) {
        reply_null(&job->reply, "parent");
    } else {
        reply_number(&job->reply, "parent", info.parent);
    }
    reply_number(&job->reply, "gfns", info.gfns);
    reply_number(&job->reply, "dirty", info.dirty);
    reply_number(&job->reply, "resets", info.resets);
    reply_number(&job->reply, "reset_pages", info.reset_pages);
    return 0;
}

const struct command commands_fork[] = {
    { .name = "fork",
      .synopsis = "DOMAIN [name=TEXT] [count=N] [first=N] [id=N] [paused=1] "
                  "[block_interrupts=1] [skip_special=1]",
      .keys = "name count first id paused block_interrupts skip_special",
      .min_words = 1, .max_words = 1, .nr_domains = 1,
      .help = "running copies of a domain, their memory shared; {i} in name "
              "is the number of the copy",
      .is_bulk = true, .run = run_fork, .end = end_fork },
    { .name = "fork-reset", .synopsis = "DOMAIN [state=0] [memory=0]",
      .keys = "state memory", .min_words = 1, .max_words = 1,
      .nr_domains = 1, .help = "a fork as it was when it was made",
      .run = run_reset },
    { .name = "fork-info", .synopsis = "DOMAIN", .keys = "",
      .min_words = 1, .max_words = 1, .nr_domains = 1,
      .help = "what a fork has changed since", .run = run_info },
    { .name = NULL },
};
