/*
 * cmd_wait.c - wait: until a domain, or each of all, has come somewhere.
 *
 * It looks every JOB_POLL_US and sleeps in between. What can no longer happen
 * is an error at once: a phase of a domain that has crashed.
 */
#include <quire/arch.h>
#include <quire/errno.h>

#include "job.h"

#define UNITS_PER_LOOK 200
#define DEFAULT_TIMEOUT_MS 10000

enum wait_for { WAIT_NONE, WAIT_PHASE, WAIT_SHUTDOWN, WAIT_VERDICT };

struct wait_state {
    enum wait_for what;
    uint64_t phase;
    ticks_t deadline, began;
    domid_t resume;             /* the walk goes on here after a sleep */
    uint64_t domains, passed, failed;
};

static int parse(struct job *job, struct wait_state *s)
{
    const char *state = args_value(&job->args, "state");
    const char *phase = args_value(&job->args, "phase");
    bool verdict;
    uint64_t ms;
    int err = job_flag(job, "verdict", &verdict);

    if (err == 0) {
        err = job_number(job, "phase", 0, 0, UINT64_MAX, &s->phase);
    }
    if (err == 0) {
        err = job_number(job, "timeout_ms", DEFAULT_TIMEOUT_MS, 0, 3600000,
                         &ms);
    }
    if (err != 0) {
        return err;
    }
    if (state != NULL && strcmp(state, "shutdown") != 0) {
        return job_fail(job, -EINVAL, "state=%.20s: only shutdown can be "
                        "waited for", state);
    }
    if ((state != NULL) + (phase != NULL) + verdict != 1) {
        return job_fail(job, -EINVAL, "one of phase=N, state=shutdown and "
                        "verdict=1");
    }
    s->what = state != NULL ? WAIT_SHUTDOWN :
        verdict ? WAIT_VERDICT : WAIT_PHASE;
    s->began = arch_now();
    s->deadline = s->began + arch_tick_hz() / 1000 * ms;
    return 0;
}

static bool is_reached(const struct wait_state *s, struct domain *d)
{
    switch (s->what) {
    case WAIT_PHASE:
        return atomic_load(&d->phase) >= s->phase;
    case WAIT_VERDICT:
        return atomic_load(&d->verdict) != 0;
    default:
        return atomic_load(&d->state) >= DOMAIN_SHUTDOWN;
    }
}

/* @d has stopped for good and never came where it was wanted. */
static int gone(struct job *job, struct domain *d)
{
    char reason[sizeof(d->crash_reason)];

    spin_lock(&d->lock);
    memcpy(reason, d->crash_reason, sizeof(reason));
    spin_unlock(&d->lock);
    return job_fail(job, -EIO, "domain %u (%s) %s at phase %lu%s%.95s",
                    d->id, d->config.name,
                    reason[0] != '\0' ? "crashed" : "has stopped",
                    atomic_load(&d->phase), reason[0] != '\0' ? ": " : "",
                    reason);
}

/* 0: reached; -EAGAIN: not yet; or why it never will be. */
static int look(struct job *job, struct wait_state *s, struct domain *d)
{
    if (is_reached(s, d)) {
        return 0;
    }
    if (atomic_load(&d->state) >= DOMAIN_SHUTDOWN) {
        /* It may have got there and stopped between the two looks. */
        return is_reached(s, d) ? 0 : gone(job, d);
    }
    if (arch_now() >= s->deadline) {
        unsigned parked = atomic_load(&d->oom.nr_parked);

        return parked != 0 ?
            job_fail(job, -ETIMEDOUT, "domain %u (%s) is at phase %lu, %u of "
                     "its vCPUs waiting for memory", d->id, d->config.name,
                     atomic_load(&d->phase), parked) :
            job_fail(job, -ETIMEDOUT, "domain %u (%s) is at phase %lu, "
                     "running", d->id, d->config.name,
                     atomic_load(&d->phase));
    }
    return -EAGAIN;
}

static void count(struct wait_state *s, struct domain *d)
{
    int verdict = atomic_load(&d->verdict);

    s->domains++;
    s->passed += verdict == 1;
    s->failed += verdict == 2;
}

static int wait_for_all(struct job *job, struct wait_state *s,
                        struct work *w)
{
    job->cursor = s->resume;
    for (;;) {
        struct domain *d = job_next_domain(job);
        int err;

        if (d == NULL) {
            return 0;
        }
        err = look(job, s, d);
        if (err == 0) {
            count(s, d);
            s->resume = job->cursor;
        }
        domain_put(d);
        if (err != 0) {
            return err;
        }
        if (work_spend(w, UNITS_PER_LOOK)) {
            return -ERESTART;
        }
    }
}

static int run_wait(struct job *job, struct work *w)
{
    struct wait_state *s = JOB_STATE(job, struct wait_state);
    int err = s->what == WAIT_NONE ? parse(job, s) : 0;

    if (err != 0) {
        return err;
    }
    if (job->domain[0] == NULL) {
        err = wait_for_all(job, s, w);
        if (err == 0 && s->domains == 0) {
            err = job_fail(job, -ESRCH, "there is no domain to wait for");
        }
    } else {
        err = look(job, s, job->domain[0]);
        if (err == 0) {
            count(s, job->domain[0]);
        }
    }
    if (err == -EAGAIN) {
        return job_sleep_us(job, JOB_POLL_US);
    }
    if (err == 0) {
        reply_number(&job->reply, "domains", s->domains);
        reply_number(&job->reply, "passed", s->passed);
        reply_number(&job->reply, "failed", s->failed);
        reply_number(&job->reply, "waited_ticks", arch_now() - s->began);
    }
    return err;
}

const struct command commands_wait[] = {
    { .name = "wait",
      .synopsis = "DOMAIN|all phase=N|state=shutdown|verdict=1 "
                  "[timeout_ms=10000]",
      .keys = "phase state verdict timeout_ms", .min_words = 1,
      .max_words = 1, .nr_domains = 1, .all = true,
      .help = "until a phase is reached, the guest stops, or it says how it "
              "went", .run = run_wait },
    { .name = NULL },
};
