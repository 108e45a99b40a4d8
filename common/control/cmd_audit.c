/*
 * cmd_audit.c - audit: stop every domain, walk everything, count violations.
 *
 * The walks of the frame table and the heap are made in one go; a machine
 * that is being audited does nothing else anyway. One audit at a time, and no
 * other job: a half-done command would look like a violation.
 */
#include <quire/errno.h>
#include <quire/heap.h>

#include "job.h"

#define UNITS_PER_PAUSE 2000

enum audit_stage { AUDIT_START, AUDIT_PAUSE, AUDIT_SHARE, AUDIT_REST,
                   AUDIT_UNPAUSE };

struct audit_state {
    enum audit_stage stage;
    unsigned nr_unpaused;
    struct share_audit share;
    unsigned bad_mem, bad_heap, bad_domain;
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
    reply_number(r, "violations", s->share.bad + s->bad_mem + s->bad_heap +
                 s->bad_domain);
    reply_number(r, "share_violations", s->share.bad);
    reply_number(r, "memory_violations", s->bad_mem);
    reply_number(r, "heap_violations", s->bad_heap);
    reply_number(r, "domain_violations", s->bad_domain);
    reply_number(r, "shared_frames", s->share.frames);
    reply_number(r, "sharers", s->share.sharers);
}

static int run_audit(struct job *job, struct work *w)
{
    struct audit_state *s = JOB_STATE(job, struct audit_state);

    if (s->stage == AUDIT_START) {
        if (jobs_running() != 0) {
            return job_fail(job, -EBUSY, "jobs run in the background: join "
                            "them first");
        }
        s->stage = AUDIT_PAUSE;
    }
    if (s->stage == AUDIT_PAUSE) {
        if (pause_all(job, w) != 0) {
            return -ERESTART;
        }
        s->stage = AUDIT_SHARE;
    }
    if (s->stage == AUDIT_SHARE) {
        if (share_audit(&s->share, w) != 0) {
            return -ERESTART;
        }
        s->stage = AUDIT_REST;
    }
    if (s->stage == AUDIT_REST) {
        s->bad_mem = mem_audit();
        s->bad_heap = heap_audit();
        s->bad_domain = domain_audit();
        s->stage = AUDIT_UNPAUSE;
    }
    if (unpause_all(w) != 0) {
        return -ERESTART;
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
