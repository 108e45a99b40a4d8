/* cmd_domain.c - looking at domains, and the switches of their life. */
#include <quire/errno.h>
#include <quire/owner.h>

#include "job.h"

#define UNITS_PER_DOMAIN 1000   /* what concerns it, besides text */
#define UNITS_PER_VCPU 300

static const char *const state_names[] = {
    [DOMAIN_BUILDING] = "building", [DOMAIN_RUNNING] = "running",
    [DOMAIN_SHUTDOWN] = "shutdown", [DOMAIN_DYING] = "dying",
    [DOMAIN_DEAD] = "dead",
};
static const char *const shutdown_names[] = {
    [SHUTDOWN_POWEROFF] = "poweroff", [SHUTDOWN_REBOOT] = "reboot",
    [SHUTDOWN_SUSPEND] = "suspend", [SHUTDOWN_CRASH] = "crash",
    [SHUTDOWN_WATCHDOG] = "watchdog",
};

/* What the domain's lock covers, as one. */
struct picture {
    int state;
    unsigned shutdown, pauses;
    char crash_reason[sizeof(((struct domain *)0)->crash_reason)];
};

static void take_picture(struct domain *d, struct picture *p)
{
    spin_lock(&d->lock);
    p->state = atomic_load(&d->state);
    p->shutdown = d->shutdown;
    p->pauses = d->pause_count;
    memcpy(p->crash_reason, d->crash_reason, sizeof(p->crash_reason));
    spin_unlock(&d->lock);
}

static const char *verdict_name(const struct domain *d)
{
    static const char *const names[] = { "none", "pass", "fail" };
    int verdict = atomic_load(&d->verdict);

    return verdict >= 0 && verdict <= 2 ? names[verdict] : "fail";
}

/* The fields that `list` and `info` have in common. */
static void put_summary(struct reply *r, struct domain *d)
{
    struct picture p;

    take_picture(d, &p);
    reply_number(r, "domain", d->id);
    reply_string(r, "name", d->config.name);
    reply_string(r, "state", p.state == DOMAIN_RUNNING && p.pauses > 0 ?
                 "paused" : state_names[p.state]);
    if (p.state == DOMAIN_SHUTDOWN) {
        reply_string(r, "shutdown", p.shutdown < ARRAY_SIZE(shutdown_names) ?
                     shutdown_names[p.shutdown] : "unknown");
    }
    if (p.crash_reason[0] != '\0') {
        reply_string(r, "crash_reason", p.crash_reason);
    }
    reply_number(r, "pauses", p.pauses);
    reply_number(r, "vcpus", d->nr_vcpus);
    reply_string(r, "paging", d->config.shadow ? "shadow" : "nested");
    reply_number(r, "parked_vcpus", atomic_load(&d->oom.nr_parked));
    reply_number(r, "phase", atomic_load(&d->phase));
    reply_string(r, "verdict", verdict_name(d));
    reply_number(r, "private_frames", owner_get(d->id)->pages);
    reply_number(r, "shared_gfns", d->p2m->count[p2m_ram_shared]);
}

static int run_list(struct job *job, struct work *w)
{
    bool *opened = JOB_STATE(job, bool);

    if (!*opened) {
        *opened = true;
        reply_open(&job->reply, "domains", '[');
    }
    for (;;) {
        struct domain *d = job_next_domain(job);

        if (d == NULL) {
            break;
        }
        reply_open(&job->reply, NULL, '{');
        put_summary(&job->reply, d);
        reply_close(&job->reply);
        domain_put(d);
        if (work_spend(w, UNITS_PER_DOMAIN)) {
            return -ERESTART;
        }
    }
    reply_close(&job->reply);
    return 0;
}

static void put_vcpu(struct reply *r, const struct vcpu *v, unsigned number)
{
    uint64_t exits = 0;

    for (unsigned e = 0; e < NR_EXIT_REASONS; e++) {
        exits += v->nr_exits[e];
    }
    reply_open(r, NULL, '{');
    reply_number(r, "vcpu", number);
    reply_number(r, "cpu", v->cpu);
    reply_bool(r, "online", v->online);
    reply_bool(r, "blocked", atomic_load(&v->blocked));
    reply_number(r, "run_ticks", v->run_time);
    reply_number(r, "exits", exits);
    reply_number(r, "npf_exits", v->nr_exits[EXIT_NPF]);
    oom_put_vcpu(r, v);
    reply_close(r);
}

static void put_config(struct reply *r, struct domain *d)
{
    reply_string(r, "image", d->config.image != NULL ? d->config.image : "");
    reply_string(r, "cmdline", d->config.cmdline);
    reply_number(r, "max_frames", owner_get(d->id)->max_pages);
    reply_number(r, "group", d->p2m->trust_group);
    reply_bool(r, "scanned", d->p2m->is_scanned);
    oom_put_domain(r, d);
}

static void put_memory(struct reply *r, struct domain *d)
{
    reply_open(r, "gfns", '{');
    for (unsigned t = 0; t < NR_P2M_TYPES; t++) {
        if (d->p2m->count[t] != 0) {
            reply_number(r, p2m_type_name((enum p2m_type)t),
                         d->p2m->count[t]);
        }
    }
    reply_close(r);
    reply_number(r, "table_frames", d->p2m->nr_tables);
    reply_number(r, "flushes", d->p2m->nr_flushes);
    reply_open(r, "vcpu", '[');
}

static void put_figures(struct reply *r, struct domain *d)
{
    unsigned last = ARRAY_SIZE(d->figure);

    reply_close(r);             /* the vCPUs */
    while (last > 0 && d->figure[last - 1] == 0) {
        last--;
    }
    reply_open(r, "figures", '[');
    for (unsigned i = 0; i < last; i++) {
        reply_number(r, NULL, d->figure[i]);
    }
    reply_close(r);
}

struct info_state { unsigned part, vcpu; };

static int run_info(struct job *job, struct work *w)
{
    static void (*const parts[])(struct reply *r, struct domain *d) = {
        put_summary, put_config, put_memory, NULL /* vCPUs */, put_figures,
    };
    struct info_state *s = JOB_STATE(job, struct info_state);
    struct domain *d = job->domain[0];

    while (s->part < ARRAY_SIZE(parts)) {
        if (parts[s->part] != NULL) {
            parts[s->part++](&job->reply, d);
        } else if (s->vcpu < d->nr_vcpus) {
            put_vcpu(&job->reply, d->vcpus[s->vcpu], s->vcpu);
            s->vcpu++;
        } else {
            s->part++;
        }
        if (s->part < ARRAY_SIZE(parts) && work_spend(w, UNITS_PER_VCPU)) {
            return -ERESTART;
        }
    }
    return 0;
}

static int pause_one(struct domain *d, uint64_t unused)
{
    (void)unused;
    return domain_pause(d);
}

static int run_pause(struct job *job, struct work *w)
{
    return job_for_each_named(job, pause_one, 0, "is being destroyed", w);
}

static int unpause_one(struct domain *d, uint64_t unused)
{
    (void)unused;
    return domain_unpause(d);
}

static int run_unpause(struct job *job, struct work *w)
{
    return job_for_each_named(job, unpause_one, 0, "is not paused", w);
}

static int resume_one(struct domain *d, uint64_t unused)
{
    (void)unused;
    return domain_resume(d);
}

static int run_resume(struct job *job, struct work *w)
{
    return job_for_each_named(job, resume_one, 0, "is not suspended", w);
}

static int allow_one(struct domain *d, uint64_t phase)
{
    domain_phase_allow(d, phase);
    return 0;
}

static int run_allow(struct job *job, struct work *w)
{
    uint64_t phase;
    int err = job_number(job, "phase", UINT64_MAX, 0, UINT64_MAX, &phase);

    if (err != 0) {
        return err;
    }
    if (args_value(&job->args, "phase") == NULL) {
        return job_fail(job, -EINVAL, "phase= is missing");
    }
    return job_for_each_named(job, allow_one, phase, NULL, w);
}

const struct command commands_domain[] = {
    { .name = "list", .synopsis = "", .keys = "",
      .help = "all domains, a summary of each", .run = run_list },
    { .name = "info", .synopsis = "DOMAIN", .keys = "", .min_words = 1,
      .max_words = 1, .nr_domains = 1,
      .help = "one domain: memory by type, vCPUs, reported figures",
      .run = run_info },
    { .name = "pause", .synopsis = "DOMAIN|all", .keys = "", .min_words = 1,
      .max_words = 1, .nr_domains = 1, .all = true,
      .help = "stop its vCPUs; counted", .run = run_pause },
    { .name = "unpause", .synopsis = "DOMAIN|all", .keys = "",
      .min_words = 1, .max_words = 1, .nr_domains = 1, .all = true,
      .help = "undo one pause", .run = run_unpause },
    { .name = "resume", .synopsis = "DOMAIN|all", .keys = "", .min_words = 1,
      .max_words = 1, .nr_domains = 1, .all = true,
      .help = "let a suspended domain go on", .run = run_resume },
    { .name = "allow", .synopsis = "DOMAIN|all phase=N", .keys = "phase",
      .min_words = 1, .max_words = 1, .nr_domains = 1, .all = true,
      .help = "let a stress domain pass its phases up to N",
      .run = run_allow },
    { .name = NULL },
};
