/* jobs.c - the table of background jobs, and the commands that are about
 * jobs: bg, join, jobs. */
#include <quire/arch.h>
#include <quire/errno.h>

#include "job.h"

#define UNITS_PER_JOB 100       /* of the list, besides its text */

struct job job_foreground;
static struct job jobs[NR_JOBS];

static int state_of(const struct job *job)
{
    return atomic_load_explicit(&job->state, memory_order_acquire);
}

void jobs_init(void)
{
    atomic_store(&job_foreground.state, JOB_FREE);
    for (unsigned i = 0; i < NR_JOBS; i++) {
        atomic_store(&jobs[i].state, JOB_FREE);
    }
}

struct job *job_at(unsigned number)
{
    return number >= 1 && number <= NR_JOBS ? &jobs[number - 1] : NULL;
}

struct job *job_claim(void)
{
    for (unsigned i = 0; i < NR_JOBS; i++) {
        if (state_of(&jobs[i]) == JOB_FREE) {
            jobs[i].number = i + 1;
            return &jobs[i];
        }
    }
    return NULL;
}

void job_release(struct job *job)
{
    reply_fini(&job->reply);
    atomic_store_explicit(&job->state, JOB_FREE, memory_order_release);
}

unsigned jobs_running(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < NR_JOBS; i++) {
        n += state_of(&jobs[i]) == JOB_RUNNING;
    }
    return n;
}

/* Whether @line is a command that only the foreground runs. */
static bool is_foreground(const char *line)
{
    char name[24];
    size_t len = 0;
    const struct command *c;

    while (*line == ' ' || *line == '\t') {
        line++;
    }
    while (line[len] > ' ' && len < sizeof(name) - 1) {
        len++;
    }
    memcpy(name, line, len);
    name[len] = '\0';
    c = command_find(name);
    return c != NULL && c->foreground;
}

static int run_bg(struct job *job, struct work *w)
{
    struct job *bg;

    (void)w;
    if (job->rest == NULL) {
        return job_fail(job, -EINVAL, "usage: bg COMMAND ...");
    }
    if (is_foreground(job->rest)) {
        return job_fail(job, -EINVAL, "bg %.24s: runs in the foreground only",
                        job->rest);
    }
    bg = job_claim();
    if (bg == NULL) {
        return job_fail(job, -EBUSY, "all %u jobs are in use: join one",
                        NR_JOBS);
    }
    memcpy(bg->line, job->rest, strlen(job->rest) + 1);
    /* CPU 0 has the foreground already; begin with its neighbour. */
    job_start(bg, false, bg->number % arch_nr_cpus());
    reply_number(&job->reply, "job", bg->number);
    return 0;
}

static int run_join(struct job *job, struct work *w)
{
    struct job *other;
    uint64_t number;
    int err = job_word_number(job, 0, "job", NR_JOBS, &number);

    (void)w;
    if (err != 0) {
        return err;
    }
    other = job_at((unsigned)number);
    if (other == NULL || state_of(other) == JOB_FREE) {
        return job_fail(job, -ESRCH, "there is no job %lu", number);
    }
    if (state_of(other) != JOB_DONE) {
        return job_sleep_us(job, JOB_POLL_US);
    }
    job->reply_of = other;
    return 0;
}

struct jobs_state { bool opened; unsigned next; };

static int run_jobs(struct job *job, struct work *w)
{
    struct jobs_state *s = JOB_STATE(job, struct jobs_state);

    if (!s->opened) {
        s->opened = true;
        reply_open(&job->reply, "jobs", '[');
    }
    while (s->next < NR_JOBS) {
        unsigned i = s->next++;
        int state = state_of(&jobs[i]);
        if (state == JOB_FREE) {
            continue;
        }
        reply_open(&job->reply, NULL, '{');
        reply_number(&job->reply, "job", jobs[i].number);
        reply_string(&job->reply, "command", jobs[i].task.name);
        reply_number(&job->reply, "cpu", jobs[i].cpu);
        reply_string(&job->reply, "state",
                     state == JOB_DONE ? "done" : "running");
        reply_close(&job->reply);
        if (work_spend(w, UNITS_PER_JOB)) {
            return -ERESTART;
        }
    }
    reply_close(&job->reply);
    return 0;
}

const struct command commands_job[] = {
    { .name = "bg", .synopsis = "COMMAND ...", .keys = "",
      .help = "run COMMAND in the background; replies with its job number",
      .foreground = true, .run = run_bg },
    { .name = "join", .synopsis = "JOB", .keys = "",
      .help = "wait for a background job and give its reply",
      .min_words = 1, .max_words = 1, .foreground = true, .run = run_join },
    { .name = "jobs", .synopsis = "", .keys = "",
      .help = "the background jobs", .foreground = true, .run = run_jobs },
    { .name = NULL },
};
