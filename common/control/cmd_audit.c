/*
 * cmd_audit.c - audit: stop every domain, walk everything, count violations.
 *
 * The guests stand still meanwhile; interrupts, timers and tasks go on, since
 * every walk is made a slice at a time. One audit at a time, and no other job:
 * a half-done command would look like a violation.
 */
#include <quire/errno.h>
#include <quire/heap.h>

#include "job.h"

#define UNITS_PER_PAUSE 2000

enum audit_stage { AUDIT_PAUSE, AUDIT_SHARE, AUDIT_MEM, AUDIT_HEAP,
                   AUDIT_DOMAIN, AUDIT_UNPAUSE, AUDIT_DONE };

struct audit_state {
    enum audit_stage stage;
    bool is_begun;
    struct share_audit share;
    struct mem_audit mem;
    struct heap_audit heap;
    struct domain_audit domain;
};

/* The foreground's alone: those that the audit has paused, counted. */
static struct domain *paused[MAX_DOMAINS];
static unsigned nr_paused;

/* Preemptible: job->cursor. */
static int pause_all(struct job *job, struct work *w)
{
    for (;;) {
        struct domain *d = job_next_domain(job);

        if (d == NULL) {
            return 0;
        }
        if (domain_pause(d) == 0) {
            paused[nr_paused++] = d;
        } else {
            domain_put(d);      /* dying: it does not run any more */
        }
        if (work_spend(w, UNITS_PER_PAUSE)) {
            return -ERESTART;
        }
    }
}

static int unpause_all(struct work *w)
{
    while (nr_paused > 0) {
        struct domain *d = paused[--nr_paused];
        /* Somebody may have destroyed or unpaused it in between. */
        int err = domain_unpause(d);

        (void)err;
        domain_put(d);
        if (nr_paused > 0 && work_spend(w, UNITS_PER_PAUSE)) {
            return -ERESTART;
        }
    }
    return 0;
}

static void put_result(struct reply *r, const struct audit_state *s)
{
    reply_number(r, "violations", s->share.bad + s->mem.bad + s->heap.bad +
                 s->domain.bad);
    reply_number(r, "share_violations", s->share.bad);
    reply_number(r, "memory_violations", s->mem.bad);
    reply_number(r, "heap_violations", s->heap.bad);
    reply_number(r, "domain_violations", s->domain.bad -
                 s->domain.shadow_bad);
    reply_number(r, "shadow_violations", s->domain.shadow_bad);
    reply_number(r, "shared_frames", s->share.frames);
    reply_number(r, "sharers", s->share.sharers);
}

static int run_stage(struct job *job, struct audit_state *s, struct work *w)
{
    switch (s->stage) {
    case AUDIT_PAUSE:
        return pause_all(job, w);
    case AUDIT_SHARE:
        return share_audit(&s->share, w);
    case AUDIT_MEM:
        return mem_audit_run(&s->mem, w);
    case AUDIT_HEAP:
        return heap_audit_run(&s->heap, w);
    case AUDIT_DOMAIN:
        return domain_audit_run(&s->domain, w);
    default:
        return unpause_all(w);
    }
}

static int run_audit(struct job *job, struct work *w)
{
    struct audit_state *s = JOB_STATE(job, struct audit_state);

    if (!s->is_begun && jobs_running() != 0) {
        return job_fail(job, -EBUSY, "jobs run in the background: join "
                        "them first");
    }
    s->is_begun = true;
    for (; s->stage < AUDIT_DONE; s->stage++) {
        if (run_stage(job, s, w) != 0) {
            return -ERESTART;
        }
    }
    put_result(&job->reply, s);
    return 0;
}

const struct command commands_audit[] = {
    { .name = "audit", .synopsis = "", .keys = "", .foreground = true,
      .help = "pause all domains and check every invariant; the log names "
              "what is violated", .run = run_audit },
    { .name = NULL },
};
