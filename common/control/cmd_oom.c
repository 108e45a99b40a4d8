/*
 * cmd_oom.c - domains that run out of memory: their policy, their limit, and
 * what has happened to them.
 *
 * The channel speaks only when it is asked. So a tool that wants to know when
 * a vCPU waits for memory asks `events` for what it has not seen yet, and may
 * have it wait for the next (in the background, so as to go on itself).
 */
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/notice.h>
#include <quire/owner.h>

#include "job.h"

#define UNITS_PER_EVENT 500     /* besides its text */

int oom_parse_policy(struct job *job, const char *name, enum oom_policy *p)
{
    const char *text = args_value(&job->args, name);

    *p = OOM_WAIT;
    if (text == NULL || strcmp(text, "wait") == 0) {
        return 0;
    }
    if (strcmp(text, "kill") != 0) {
        return job_fail(job, -EINVAL, "%s=%.20s: wait or kill", name, text);
    }
    *p = OOM_KILL;
    return 0;
}

void oom_put_domain(struct reply *r, struct domain *d)
{
    reply_string(r, "oom", atomic_load(&d->oom.policy) == OOM_KILL ? "kill"
                                                                   : "wait");
    reply_number(r, "oom_waits", atomic_load(&d->oom.parks));
    reply_number(r, "oom_resumes", atomic_load(&d->oom.resumes));
}

void oom_put_vcpu(struct reply *r, const struct vcpu *v)
{
    static const char *const names[] = {
        [OOM_NONE] = "no", [OOM_MACHINE] = "machine", [OOM_LIMIT] = "limit",
        [OOM_STALLED] = "paused", [OOM_PROMISED] = "promised",
    };
    int state = atomic_load(&v->oom.state);

    reply_string(r, "waits_for_memory", names[state]);
    if (state != OOM_NONE) {
        reply_number(r, "waits_to_write_gfn", v->oom.gfn.n);
    }
}

void oom_put_stats(struct reply *r)
{
    struct oom_stats s;

    oom_stats_get(&s);
    reply_open(r, "oom", '{');
    reply_number(r, "waiting", s.waiting);
    reply_number(r, "promised", s.promised);
    reply_number(r, "waits", s.parks);
    reply_number(r, "resumes", s.resumes);
    reply_number(r, "kills", s.kills);
    reply_number(r, "promises_lapsed", s.lapsed);
    reply_number(r, "longest_wait_ticks", s.longest);
    reply_number(r, "last_event", notice_last());
    reply_close(r);
}

static int set_policy(struct domain *d, uint64_t policy)
{
    oom_set_policy(d, (enum oom_policy)policy);
    return 0;
}

static int run_set_oom(struct job *job, struct work *w)
{
    enum oom_policy policy;
    int err = oom_parse_policy(job, "policy", &policy);

    if (err == 0 && args_value(&job->args, "policy") == NULL) {
        err = job_fail(job, -EINVAL, "policy= is missing: wait or kill");
    }
    if (err != 0) {
        return err;
    }
    return job_for_each_named(job, set_policy, policy, NULL, w);
}

static int run_set_max(struct job *job, struct work *w)
{
    struct domain *d = job->domain[0];
    uint64_t bytes;
    int err;

    (void)w;
    if (args_value(&job->args, "max") == NULL) {
        return job_fail(job, -EINVAL, "max= is missing: bytes, with K, M or "
                        "G");
    }
    err = job_number(job, "max", 0, 0, UINT64_MAX, &bytes);
    if (err != 0) {
        return err;
    }
    if ((bytes & PAGE_MASK) != 0) {
        return job_fail(job, -EINVAL, "max=%lu is not whole pages of 4 KiB",
                        bytes);
    }
    err = owner_set_max(d->id, bytes >> PAGE_SHIFT);
    if (err != 0) {
        return job_fail(job, err, "domain %u is gone", d->id);
    }
    reply_number(&job->reply, "max_frames", bytes >> PAGE_SHIFT);
    reply_number(&job->reply, "private_frames", owner_get(d->id)->pages);
    return 0;
}

struct events_state {
    bool parsed, opened;
    uint64_t next, count, given, lost;
    ticks_t deadline;
};

static int parse_events(struct job *job, struct events_state *s)
{
    uint64_t ms;
    int err = job_number(job, "since", 1, 1, UINT64_MAX, &s->next);

    if (err == 0) {
        err = job_number(job, "count", NOTICE_RING, 1, NOTICE_RING,
                         &s->count);
    }
    if (err == 0) {
        err = job_number(job, "wait_ms", 0, 0, 3600000, &ms);
    }
    if (err != 0) {
        return err;
    }
    if (s->next > notice_last() + 1) {
        return job_fail(job, -ERANGE, "since=%lu: the next event is number "
                        "%lu", s->next, notice_last() + 1);
    }
    s->deadline = arch_now() + arch_tick_hz() / 1000 * ms;
    s->parsed = true;
    return 0;
}

static void put_event(struct reply *r, const struct notice *n)
{
    bool is_oom = n->kind <= NOTICE_OOM_KILL;

    reply_open(r, NULL, '{');
    reply_number(r, "number", n->number);
    reply_number(r, "ticks", n->when);
    reply_string(r, "kind", notice_name(n->kind));
    reply_number(r, "domain", n->domain);
    if (n->vcpu != NOTICE_NO_VCPU) {
        reply_number(r, "vcpu", n->vcpu);
    }
    if (is_oom) {
        reply_number(r, "gfn", n->gfn.n);
    }
    if (n->kind == NOTICE_OOM_WAIT) {
        reply_string(r, "lacks", n->is_limit ? "limit" : "machine");
    } else if (n->kind == NOTICE_OOM_KILL) {
        reply_string(r, "reason", "killed by oom=kill: no memory for its "
                     "write");
    } else if (n->kind == NOTICE_OOM_RESUME) {
        reply_number(r, "waited_ticks", n->value);
    } else if (n->kind == NOTICE_SHUTDOWN) {
        reply_number(r, "code", n->value);
    }
    reply_close(r);
}

static int run_events(struct job *job, struct work *w)
{
    struct events_state *s = JOB_STATE(job, struct events_state);
    struct notice n;
    int err = s->parsed ? 0 : parse_events(job, s);

    if (err != 0) {
        return err;
    }
    if (!s->opened) {
        if (notice_last() < s->next && arch_now() < s->deadline) {
            return job_sleep_us(job, JOB_POLL_US);
        }
        s->opened = true;
        reply_open(&job->reply, "events", '[');
    }
    while (s->given < s->count && notice_get(s->next, &n)) {
        s->lost += n.number - s->next;
        put_event(&job->reply, &n);
        s->next = n.number + 1;
        s->given++;
        if (work_spend(w, UNITS_PER_EVENT)) {
            return -ERESTART;
        }
    }
    reply_close(&job->reply);
    reply_number(&job->reply, "next", s->next);
    reply_number(&job->reply, "lost", s->lost);
    return 0;
}

const struct command commands_oom[] = {
    { .name = "set-oom", .synopsis = "DOMAIN|all policy=wait|kill",
      .keys = "policy", .min_words = 1, .max_words = 1, .nr_domains = 1,
      .all = true,
      .help = "what becomes of its writes when there is no memory",
      .run = run_set_oom },
    { .name = "set-max", .synopsis = "DOMAIN max=SIZE", .keys = "max",
      .min_words = 1, .max_words = 1, .nr_domains = 1,
      .help = "how much memory it may own; what it has it keeps",
      .run = run_set_max },
    { .name = "events", .synopsis = "[since=N] [count=N] [wait_ms=N]",
      .keys = "since count wait_ms",
      .help = "what has happened to domains, from number N on; waits for the "
              "first", .run = run_events },
    { .name = NULL },
};
