/* job.c - one command from its line to its reply: arguments, domains, slices,
 * sleep and the end. See job.h. */
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/print.h>

#include "job.h"

#define UNITS_PER_LOOKUP 120    /* one domain of a walk */
#define UNITS_PER_SWITCH 1500   /* one domain, and what the switch does */
#define UNITS_TO_FINISH 1000

int job_fail(struct job *job, int err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vprint_to(job->message, sizeof(job->message), fmt, ap);
    va_end(ap);
    return err;
}

int job_sleep(struct job *job, ticks_t ticks)
{
    timer_set(&job->timer, arch_now() + ticks);
    job->sleeping = true;
    return -ERESTART;
}

static void wake_up(struct timer *t)
{
    struct job *job = container_of(t, struct job, timer);

    task_queue(&job->task, job->cpu);
}

static const uint64_t *figures_of(const struct job *job)
{
    return job->domain[0] != NULL ? job->domain[0]->figure : NULL;
}

static int number_error(struct job *job, int err, const char *name,
                        const char *text)
{
    return job_fail(job, err, err == -ERANGE ?
                    "%s: %.40s is more than 64 bits hold" :
                    "%s: %.40s is not a number (decimal, 0x hexadecimal, "
                    "with K, M or G, or @N for figure N of the domain)",
                    name, text);
}

int job_number(struct job *job, const char *name, uint64_t fallback,
               uint64_t min, uint64_t max, uint64_t *n)
{
    const char *text = args_value(&job->args, name);
    int err;

    *n = fallback;
    if (text == NULL) {
        return 0;
    }
    err = args_number(text, figures_of(job), n);
    if (err != 0) {
        return number_error(job, err, name, text);
    }
    if (*n < min || *n > max) {
        return job_fail(job, -ERANGE, "%s=%lu is not in %lu .. %lu", name, *n,
                        min, max);
    }
    return 0;
}

int job_word_number(struct job *job, unsigned i, const char *what,
                    uint64_t max, uint64_t *n)
{
    const char *text = job->args.word[i];
    int err = args_number(text, figures_of(job), n);

    if (err != 0) {
        return number_error(job, err, what, text);
    }
    if (*n > max) {
        return job_fail(job, -ERANGE, "%s: %lu is more than %lu", what, *n,
                        max);
    }
    return 0;
}

int job_flag(struct job *job, const char *name, bool *flag)
{
    uint64_t n;
    int err = job_number(job, name, 0, 0, 1, &n);

    *flag = err == 0 && n == 1;
    return err;
}

struct domain *job_next_domain(struct job *job)
{
    struct domain *d = NULL;

    if (job->cursor < MAX_DOMAINS) {
        d = domain_next(job->cursor);
    }
    job->cursor = d != NULL ? (domid_t)(d->id + 1) : MAX_DOMAINS;
    return d;
}

static int switch_named(struct job *job,
                        int (*fn)(struct domain *d, uint64_t arg),
                        uint64_t arg, const char *refusal)
{
    struct domain *d = job->domain[0];
    int err = fn(d, arg);

    if (err != 0) {
        return job_fail(job, err, "domain %u: %s", d->id, refusal);
    }
    job->done = 1;
    return 0;
}

int job_for_each_named(struct job *job,
                       int (*fn)(struct domain *d, uint64_t arg),
                       uint64_t arg, const char *refusal, struct work *w)
{
    struct domain *d;

    if (job->domain[0] != NULL) {
        int err = switch_named(job, fn, arg, refusal);

        if (err != 0) {
            return err;
        }
    } else {
        while ((d = job_next_domain(job)) != NULL) {
            job->done += fn(d, arg) == 0;
            domain_put(d);
            if (work_spend(w, UNITS_PER_SWITCH)) {
                return -ERESTART;
            }
        }
    }
    reply_number(&job->reply, "domains", job->done);
    return 0;
}

static int resolve_id(struct job *job, const char *text, struct domain **d)
{
    uint64_t id;

    if (args_number(text, NULL, &id) != 0 || id >= MAX_DOMAINS) {
        return job_fail(job, -EINVAL, "%.40s is not a domain id (0 .. %u) and "
                        "a name does not begin with a digit", text,
                        MAX_DOMAINS - 1);
    }
    *d = domain_find((domid_t)id);
    return *d != NULL ? 0 : job_fail(job, -ESRCH, "there is no domain %lu",
                                     id);
}

/* Preemptible: by job->cursor. A name must be one domain's alone. */
static int resolve_name(struct job *job, const char *name, struct domain **d,
                        struct work *w)
{
    for (;;) {
        struct domain *next = job_next_domain(job);

        if (next == NULL) {
            break;
        }
        if (strcmp(next->config.name, name) != 0) {
            domain_put(next);
        } else if (*d == NULL) {
            *d = next;
        } else {
            domain_put(next);
            return job_fail(job, -EEXIST, "several domains are named %.32s: "
                            "use an id", name);
        }
        if (work_spend(w, UNITS_PER_LOOKUP)) {
            return -ERESTART;
        }
    }
    job->cursor = 0;
    return *d != NULL ? 0 :
        job_fail(job, -ESRCH, "no domain is named %.32s", name);
}

static int resolve_domains(struct job *job, struct work *w)
{
    while (job->nr_resolved < job->command->nr_domains) {
        unsigned i = job->nr_resolved;
        const char *text = job->args.word[2 * i];
        int err = 0;

        if (text == NULL || (job->command->all && strcmp(text, "all") == 0)) {
            job->domain[i] = NULL;
        } else if (text[0] >= '0' && text[0] <= '9') {
            err = resolve_id(job, text, &job->domain[i]);
        } else {
            err = resolve_name(job, text, &job->domain[i], w);
        }
        if (err != 0) {
            return err;
        }
        job->nr_resolved++;
    }
    return 0;
}

static void finish(struct job *job, int err)
{
    job->error = err;
    if (job->command != NULL && job->command->end != NULL) {
        job->command->end(job);
    }
    for (unsigned i = 0; i < JOB_DOMAINS; i++) {
        if (job->domain[i] != NULL) {
            domain_put(job->domain[i]);
            job->domain[i] = NULL;
        }
    }
    if (err == 0 && job->done != 0) {
        reply_number(&job->reply, "busy_ticks", job->busy);
    }
    reply_finish(&job->reply, err, job->message,
                 job->has_done ? &job->done : NULL);
    job->finished = true;
}

/* Write the reply out, if this job has the port. Preemptible. */
static int emit(struct job *job, struct work *w)
{
    struct reply *r = &job->reply;

    if (!r->to_port) {
        return 0;
    }
    if (job->error == 0 && job->reply_of != NULL) {
        r = &job->reply_of->reply;
    }
    return reply_emit(r, w);
}

static int run(struct task *t, struct work *w)
{
    struct job *job = container_of(t, struct job, task);
    int err;

    if (!job->finished) {
        ticks_t since;

        err = reply_drain(&job->reply, w);
        if (err != 0) {
            return err;
        }
        since = arch_now();
        job->sleeping = false;
        task_note(job->done);
        if (job->nr_resolved < job->command->nr_domains) {
            err = resolve_domains(job, w);
            err = err == 0 ? -ERESTART : err;   /* a slice of its own */
        } else {
            err = job->command->run(job, w);
        }
        job->busy += arch_now() - since;
        if (err == -ERESTART) {
            /* Asleep: the timer queues the task again. */
            return job->sleeping ? 0 : -ERESTART;
        }
        finish(job, err);
        if (work_spend(w, UNITS_TO_FINISH)) {
            return -ERESTART;
        }
    }
    err = emit(job, w);
    if (err != 0) {
        return err;
    }
    if (job->reply_of != NULL) {
        if (job->error == 0) {
            job->error = job->reply_of->error;
        }
        job_release(job->reply_of);
    }
    /* From here on the job is somebody else's. */
    atomic_store_explicit(&job->state, JOB_DONE, memory_order_release);
    return 0;
}

/* Unknown command, wrong number of words, or a key it does not know. */
static int check_line(struct job *job)
{
    const struct command *c;
    const struct args *a = &job->args;

    c = command_find(a->command);
    if (c == NULL) {
        return job_fail(job, -ENOSYS, "there is no command %.40s: try help",
                        a->command);
    }
    if (job->number != 0 && c->foreground) {
        return job_fail(job, -EINVAL, "%s cannot run in the background",
                        c->name);
    }
    if (a->nr_words < c->min_words || a->nr_words > c->max_words) {
        return job_fail(job, -EINVAL, "usage: %s %s", c->name, c->synopsis);
    }
    for (unsigned i = 0; i < a->nr_pairs; i++) {
        if (!args_has_word(c->keys, a->pair[i].key)) {
            return job_fail(job, -EINVAL, "%s takes no %.32s=; usage: %s %s",
                            c->name, a->pair[i].key, c->name, c->synopsis);
        }
    }
    job->command = c;
    return 0;
}

/*
 * What follows "bg" is parsed by the job that it becomes, quotes and all.
 * NULL: the line is no bg.
 */
static const char *rest_of_bg(const char *line)
{
    while (*line == ' ' || *line == '\t') {
        line++;
    }
    if (strncmp(line, "bg", 2) != 0 || (line[2] != ' ' && line[2] != '\t')) {
        return NULL;
    }
    return line + 3;
}

static int parse_line(struct job *job)
{
    const char *why = "";
    int err;

    job->rest = rest_of_bg(job->line);
    if (job->rest != NULL) {
        memset(&job->args, 0, sizeof(job->args));
        job->command = command_find("bg");
        return 0;
    }
    err = args_parse(job->line, &job->args, &why);
    if (err != 0) {
        return job->args.twice != NULL ?
            job_fail(job, err, "%.32s= %s", job->args.twice, why) :
            job_fail(job, err, "%s", why);
    }
    if (job->args.command == NULL) {
        return job_fail(job, -EINVAL, "a command is missing");
    }
    return check_line(job);
}

static void prepare(struct job *job, bool to_port, unsigned cpu)
{
    job->command = NULL;
    job->domain[0] = job->domain[1] = NULL;
    job->nr_resolved = 0;
    job->cursor = 0;
    job->sleeping = job->finished = job->has_done = false;
    job->shuts_down = false;
    job->reply_of = NULL;
    job->done = 0;
    job->busy = 0;
    job->error = 0;
    job->message[0] = '\0';
    job->cpu = cpu;
    memset(job->state_bytes, 0, sizeof(job->state_bytes));
    reply_init(&job->reply, to_port);
    list_init(&job->task.link);
    job->task.run = run;
    job->task.name = "control";
    job->task.is_bulk = false;
    timer_init(&job->timer, cpu, wake_up);
    atomic_store_explicit(&job->state, JOB_RUNNING, memory_order_relaxed);
}

void job_start(struct job *job, bool to_port, unsigned cpu)
{
    int err;

    prepare(job, to_port, cpu);
    err = parse_line(job);
    if (err != 0) {
        finish(job, err);
    } else {
        job->task.name = job->command->name;
        job->task.is_bulk = job->command->is_bulk;
    }
    task_queue(&job->task, cpu);
}

void job_refuse(struct job *job, int err, const char *why)
{
    prepare(job, true, 0);
    finish(job, job_fail(job, err, "%s", why));
    task_queue(&job->task, 0);
}
