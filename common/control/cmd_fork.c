/*
 * cmd_fork.c - fork: running copies of a domain; fork-reset: one of them as it
 * was when it was made.
 *
 * All or none, as in create: if the fifth of ten cannot be made, the four are
 * destroyed again. In name= `{i}` stands for the number of the copy.
 */
#include <quire/errno.h>
#include <quire/fork.h>
#include <quire/heap.h>

#include "job.h"

#define UNITS_PER_FORK 2000

enum fork_step { FORK_PARSE, FORK_MAKE, FORK_START, FORK_UNDO };

struct fork_state {
    enum fork_step step;
    int error;                  /* why it is being undone */
    uint64_t count, first;      /* copies, and the number of the first */
    bool paused, configured;
    struct fork_config config;
    struct domain *child;       /* domain_fork()'s cursor, then counted */
    domid_t *ids;               /* of those made; [count] */
    uint64_t nr_made;
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
    return job_flag(job, "paused", &s->paused);
}

static int parse(struct job *job, struct fork_state *s)
{
    uint64_t id;
    int err = job_number(job, "id", DOMID_INVALID, 0, MAX_DOMAINS - 1, &id);

    if (err == 0) {
        err = job_number(job, "count", 1, 1, MAX_DOMAINS, &s->count);
    }
    if (err == 0) {
        err = job_number(job, "first", 0, 0, 1000000, &s->first);
    }
    if (err == 0) {
        err = parse_flags(job, s);
    }
    if (err != 0) {
        return err;
    }
    if (s->count > 1 && args_value(&job->args, "id") != NULL) {
        return job_fail(job, -EINVAL, "id= goes with a single fork");
    }
    s->config.id = (domid_t)id;
    s->ids = heap_alloc(s->count * sizeof(*s->ids));
    return s->ids != NULL ? 0 :
        job_fail(job, -ENOMEM, "no memory to note %lu domains", s->count);
}

static int configure(struct job *job, struct fork_state *s, struct work *w)
{
    const char *name = args_value(&job->args, "name");
    int err = name != NULL ? job_name_check(job, name) : 0;

    if (err != 0) {
        return err;
    }
    if (name != NULL &&
        job_expand(s->config.name, sizeof(s->config.name), name,
                   s->first + s->nr_made) != 0) {
        return job_fail(job, -E2BIG, "name= has at most %u bytes",
                        DOMAIN_NAME_MAX - 1);
    }
    if (name != NULL) {
        err = job_name_is_free(job, s->config.name, w);
        if (err != 0) {
            return err;
        }
    }
    s->configured = true;
    return 0;
}

/* Preemptible: the forks made so far, and the one being made. */
static int make(struct job *job, struct fork_state *s, struct work *w)
{
    while (s->nr_made < s->count) {
        int err = s->configured ? 0 : configure(job, s, w);

        if (err != 0) {
            return err;
        }
        err = domain_fork(job->domain[0], &s->config, &s->child, s->why, w);
        if (err == -ERESTART) {
            return err;
        }
        if (err != 0) {
            return job_fail(job, err, "%s", s->why);
        }
        s->ids[s->nr_made++] = s->child->id;
        s->child = NULL;
        s->configured = false;
        if (work_spend(w, UNITS_PER_FORK)) {
            return -ERESTART;
        }
    }
    return 0;
}

/* All are there: let them run, and say which they are. Preemptible. */
static int start(struct job *job, struct fork_state *s, struct work *w)
{
    while (job->done < s->nr_made) {
        struct domain *d = domain_find(s->ids[job->done]);

        if (job->done++ == 0) {
            reply_number(&job->reply, "domain", s->ids[0]);
            reply_open(&job->reply, "domains", '[');
        }
        reply_number(&job->reply, NULL, s->ids[job->done - 1]);
        if (d != NULL) {
            /* Somebody may have unpaused or killed it already. */
            int err = s->paused ? 0 : domain_unpause(d);

            (void)err;
            domain_put(d);
        }
        if (work_spend(w, UNITS_PER_FORK)) {
            return -ERESTART;
        }
    }
    reply_close(&job->reply);
    return 0;
}

/* Preemptible: destroy what was made before the failure. */
static int undo(struct fork_state *s, struct work *w)
{
    while (s->nr_made > 0) {
        struct domain *d = domain_find(s->ids[s->nr_made - 1]);

        if (d != NULL) {
            int err = domain_kill(d, w);

            domain_put(d);
            if (err == -ERESTART) {
                return err;
            }
        }
        s->nr_made--;
    }
    return s->error;
}

static int run_fork(struct job *job, struct work *w)
{
    struct fork_state *s = JOB_STATE(job, struct fork_state);
    int err = 0;

    if (s->step == FORK_PARSE) {
        err = parse(job, s);
        if (err != 0) {
            return err;
        }
        s->step = FORK_MAKE;
    }
    if (s->step == FORK_MAKE) {
        err = make(job, s, w);
        if (err == -ERESTART) {
            return err;
        }
        s->error = err;
        s->step = err == 0 ? FORK_START : FORK_UNDO;
    }
    return s->step == FORK_START ? start(job, s, w) : undo(s, w);
}

static void end_fork(struct job *job)
{
    heap_free(JOB_STATE(job, struct fork_state)->ids);
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
      .run = run_fork, .end = end_fork },
    { .name = "fork-reset", .synopsis = "DOMAIN [state=0] [memory=0]",
      .keys = "state memory", .min_words = 1, .max_words = 1,
      .nr_domains = 1, .help = "a fork as it was when it was made",
      .run = run_reset },
    { .name = "fork-info", .synopsis = "DOMAIN", .keys = "",
      .min_words = 1, .max_words = 1, .nr_domains = 1,
      .help = "what a fork has changed since", .run = run_info },
    { .name = NULL },
};
