/*
 * cmd_scan.c - scan: the content scanner's knobs and counters, under KSM's
 * names; scan-domain: who takes part.
 *
 * All knobs are checked before any is set. run=2 replies once everything is
 * private again, wait=N once N more full scans are over.
 */
#include <quire/errno.h>
#include <quire/scan.h>
#include <quire/scan_task.h>

#include "job.h"

#define DEFAULT_TIMEOUT_MS 60000
#define UNITS_PER_FIELD 100     /* besides its text */
#define MAX_PAGES (UINT64_C(1) << 32)
#define MAX_MILLISECS 3600000

struct scan_state {
    bool set;               /* the knobs are, now it waits */
    bool unmerging;
    uint64_t until;         /* full scans; 0: no wait */
    ticks_t deadline;
    bool replying;
    struct scan_stats stats;
};

static int parse_across(struct job *job, uint64_t *across)
{
    struct scan_stats t;
    int err = job_number(job, "merge_across_domains", *across, 0, 1, across);

    if (err != 0 || *across == scan_knobs.merge_across_domains) {
        return err;
    }
    scan_stats_get(&t);
    /* As KSM: what was merged by the old rule must be undone first. */
    if (!t.is_idle || t.unmerge_failed ||
        (t.merged != 0 && scan_knobs.run != SCAN_UNMERGE)) {
        return job_fail(job, -EBUSY, "merge_across_domains changes only "
                        "while nothing is merged: run=2 first");
    }
    return 0;
}

static int set_knobs(struct job *job, struct scan_state *s)
{
    uint64_t run = scan_knobs.run, pages = scan_knobs.pages_to_scan;
    uint64_t ms = scan_knobs.sleep_millisecs, wait, timeout;
    uint64_t across = scan_knobs.merge_across_domains;
    struct scan_stats t;
    int err = job_number(job, "run", run, SCAN_STOP, SCAN_UNMERGE, &run);

    if (err == 0) {
        err = job_number(job, "pages_to_scan", pages, 1, MAX_PAGES, &pages);
    }
    if (err == 0) {
        err = job_number(job, "sleep_millisecs", ms, 0, MAX_MILLISECS, &ms);
    }
    if (err == 0) {
        err = parse_across(job, &across);
    }
    if (err == 0) {
        err = job_number(job, "wait", 0, 0, 1000000, &wait);
    }
    if (err == 0) {
        err = job_number(job, "timeout_ms", DEFAULT_TIMEOUT_MS, 0,
                         MAX_MILLISECS, &timeout);
    }
    if (err == 0 && wait != 0 && run != SCAN_RUN) {
        err = job_fail(job, -EINVAL, "wait=%lu: there are no full scans "
                       "unless run=1", wait);
    }
    if (err != 0) {
        return err;
    }
    scan_stats_get(&t);
    scan_knobs.pages_to_scan = pages;
    scan_knobs.sleep_millisecs = ms;
    scan_knobs.merge_across_domains = across;
    if (args_value(&job->args, "run") != NULL) {
        scan_set_run((enum scan_mode)run);
    }
    scan_task_wake();
    s->set = true;
    s->unmerging = args_value(&job->args, "run") != NULL && run != SCAN_RUN;
    s->until = wait != 0 ? t.full_scans + wait : 0;
    s->deadline = arch_now() + arch_tick_hz() / 1000 * timeout;
    return 0;
}

/* The counters' names in the reply, and where they are. */
#define FIELD(name, field) { name, offsetof(struct scan_stats, field) }
static const struct { const char *name; size_t at; } fields[] = {
    FIELD("pages_shared", pages_shared),
    FIELD("pages_sharing", pages_sharing),
    FIELD("pages_unshared", pages_unshared),
    FIELD("pages_volatile", pages_volatile),
    FIELD("ksm_zero_pages", zero_pages),
    FIELD("saved_zero", saved_zero),
    FIELD("saved_within", saved_within),
    FIELD("saved_across", saved_across),
    FIELD("full_scans", full_scans),
    FIELD("pages_scanned", pages_scanned),
    FIELD("pages_skipped", pages_skipped),
    FIELD("merged", merged),
    FIELD("broken", broken),
    FIELD("unequal", unequal),
    FIELD("no_memory", no_memory),
    FIELD("bytes", bytes),
};

/* Preemptible: job->done. */
static int put_stats(struct job *job, struct scan_state *s, struct work *w)
{
    struct reply *r = &job->reply;

    if (!s->replying) {
        s->replying = true;
        scan_stats_get(&s->stats);
        reply_number(r, "run", scan_knobs.run);
        reply_number(r, "pages_to_scan", scan_knobs.pages_to_scan);
        reply_number(r, "sleep_millisecs", scan_knobs.sleep_millisecs);
        reply_number(r, "merge_across_domains",
                     scan_knobs.merge_across_domains);
        reply_number(r, "scan_ticks", scan_task_ticks());
        reply_signed(r, "general_profit", s->stats.general_profit);
        if (work_spend(w, 6 * UNITS_PER_FIELD)) {
            return -ERESTART;
        }
    }
    while (job->done < ARRAY_SIZE(fields)) {
        uint64_t n;

        memcpy(&n, (const char *)&s->stats + fields[job->done].at, sizeof(n));
        reply_number(r, fields[job->done++].name, n);
        if (work_spend(w, UNITS_PER_FIELD)) {
            return -ERESTART;
        }
    }
    return 0;
}

static int run_scan(struct job *job, struct work *w)
{
    struct scan_state *s = JOB_STATE(job, struct scan_state);
    struct scan_stats t;
    int err;

    if (s->replying) {
        return put_stats(job, s, w);
    }
    if (!s->set) {
        err = set_knobs(job, s);
        if (err != 0) {
            return err;
        }
    }
    scan_stats_get(&t);
    if (s->unmerging ? !t.is_idle : t.full_scans < s->until) {
        if ((scan_knobs.run == SCAN_RUN) == s->unmerging) {
            return job_fail(job, -EINTR, "run was set to %lu meanwhile",
                            scan_knobs.run);
        }
        return arch_now() < s->deadline ? job_sleep_us(job, JOB_POLL_US) :
            job_fail(job, -ETIMEDOUT, "%lu full scans so far: is any domain "
                     "scanned?", t.full_scans);
    }
    if (s->unmerging && t.unmerge_failed) {
        return job_fail(job, -ENOMEM, "no memory, or a domain is at its "
                        "limit: some pages stay merged; make room and give "
                        "run=2 again");
    }
    return put_stats(job, s, w);
}

/* ---- scan-domain ------------------------------------------------------------ */

struct member_state {
    bool parsed, on, unmerge;
    gfn_t cursor;
};

static int parse_member(struct job *job, struct member_state *s)
{
    const char *word = job->args.word[1];

    if (strcmp(word, "on") != 0 && strcmp(word, "off") != 0) {
        return job_fail(job, -EINVAL, "%.20s: on or off", word);
    }
    s->on = word[1] == 'n';
    s->parsed = true;
    return 0;
}

static int run_scan_domain(struct job *job, struct work *w)
{
    struct member_state *s = JOB_STATE(job, struct member_state);
    struct p2m *p = job->domain[0]->p2m;
    int err = s->parsed ? 0 : parse_member(job, s);

    if (err != 0) {
        return err;
    }
    if (s->on) {
        scan_domain_add(p);
    } else {
        scan_domain_remove(p);
        err = scan_unmerge(p, &s->cursor, w);
    }
    if (err == -ENOMEM) {
        return job_fail(job, err, "no memory to unmerge gfn %lu, or the "
                        "domain is at its limit; it is scanned no more",
                        s->cursor.n);
    }
    if (err == 0) {
        reply_number(&job->reply, "scanned", s->on);
        reply_number(&job->reply, "group", p->trust_group);
    }
    return err;
}

const struct command commands_scan[] = {
    { .name = "scan",
      .synopsis = "[run=0|1|2] [pages_to_scan=N] [sleep_millisecs=N] "
                  "[merge_across_domains=0|1] [wait=N] [timeout_ms=N]",
      .keys = "run pages_to_scan sleep_millisecs merge_across_domains wait "
              "timeout_ms",
      .help = "merge equal pages in the background: 0 stop, 1 run, 2 stop "
              "and make all private; the counters, after wait= full scans",
      .run = run_scan },
    { .name = "scan-domain", .synopsis = "DOMAIN on|off", .keys = "",
      .min_words = 2, .max_words = 2, .nr_domains = 1,
      .help = "its pages may be merged, or no more and are made private",
      .run = run_scan_domain },
    { .name = NULL },
};
