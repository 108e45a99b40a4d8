/*
 * job.h - a command on its way: its line, its arguments, its cursor, its
 * reply.
 *
 * Life: FREE -> RUNNING (a task on one CPU, a slice at a time) -> DONE (reply
 * finished) -> FREE. There is one foreground job, on CPU 0, whose reply goes
 * to the port; up to NR_JOBS in the background, spread over the CPUs, whose
 * replies wait for `join`. A job holds a reference to each domain it names.
 * Locks: none. A job belongs to its task while RUNNING, to CPU 0's foreground
 * otherwise; the state is released and acquired.
 */
#pragma once

#include <quire/arch.h>
#include <quire/domain.h>
#include <quire/event.h>
#include <quire/panic.h>
#include <quire/string.h>
#include <quire/task.h>

#include "args.h"
#include "reply.h"

#define NR_JOBS 16              /* in the background, numbered from 1 */
#define JOB_LINE_MAX 768        /* bytes of a line, its end included */
#define JOB_STATE_BYTES 2048
#define JOB_DOMAINS 2
#define JOB_POLL_US 200         /* how often a waiting command looks */

enum job_state { JOB_FREE, JOB_RUNNING, JOB_DONE };

struct job;

struct command {
    const char *name;
    const char *synopsis;       /* arguments, as help prints them */
    const char *help;
    const char *keys;           /* the key= arguments it takes, blanks between */
    uint8_t min_words, max_words;
    uint8_t nr_domains;         /* of its words 0 and 2: domains, in order */
    bool all;                   /* word 0 may be `all`: domain[0] is NULL */
    bool foreground;            /* not for `bg` */
    bool is_bulk;               /* many small items: see task.h */
    /* Preemptible; an error goes through job_fail(). */
    int (*run)(struct job *job, struct work *w);
    /* Give back what state holds; called once at the end, come what may. */
    void (*end)(struct job *job);
};

struct job {
    struct task task;
    struct timer timer;         /* while it sleeps */
    _Atomic int state;          /* enum job_state */
    unsigned number;            /* 0: the foreground */
    unsigned cpu;
    const struct command *command;
    struct args args;
    const char *rest;           /* of bg: the command to run, not parsed */
    struct domain *domain[JOB_DOMAINS];     /* counted */
    unsigned nr_resolved;
    domid_t cursor;             /* of a walk over the domains */
    bool sleeping;              /* run again when the timer says so */
    bool finished;              /* the reply is complete */
    bool shuts_down;            /* after the reply is out */
    struct job *reply_of;       /* join: emit this one's reply instead */
    bool has_done;              /* an error says how far it came: */
    uint64_t done;              /* items finished, of a range or a count */
    ticks_t busy;               /* inside the command's slices */
    int error;
    char message[512];          /* the longest usage fits */
    struct reply reply;
    alignas(64) unsigned char state_bytes[JOB_STATE_BYTES]; /* starts zero */
    alignas(64) uint8_t page[PAGE_SIZE];    /* scratch of one slice */
    char line[JOB_LINE_MAX];
};

/* The command's own state: zero at first, kept between slices. */
#define JOB_STATE(job, type) ({ \
    static_assert(sizeof(type) <= JOB_STATE_BYTES, "enlarge it"); \
    (type *)(void *)(job)->state_bytes; })

/** command_find() - by name, or NULL. */
const struct command *command_find(const char *name);
/** command_at() - the @i-th of all, or NULL. */
const struct command *command_at(unsigned i);

/** job_fail() - note what was wrong and what is allowed; returns @err. */
int job_fail(struct job *job, int err, const char *fmt, ...)
    printf_like(3, 4);
/** job_sleep() - to be returned by run(): go on after @ticks. */
int must_check job_sleep(struct job *job, ticks_t ticks);
static inline int must_check job_sleep_us(struct job *job, uint64_t us)
{
    return job_sleep(job, us * (arch_tick_hz() / 1000000));
}

/* Arguments. An error has been noted by job_fail(). */
/** job_number() - `@name=` or its @fallback; must lie in [@min, @max]. */
int must_check job_number(struct job *job, const char *name, uint64_t fallback,
                          uint64_t min, uint64_t max, uint64_t *n);
/** job_word_number() - word @i as a number, at most @max. */
int must_check job_word_number(struct job *job, unsigned i, const char *what,
                               uint64_t max, uint64_t *n);
/** job_flag() - whether `@name=1` was given; 0 or 1 are allowed. */
int must_check job_flag(struct job *job, const char *name, bool *flag);

/** job_expand() - copy @from, `{i}` replaced by @i. -E2BIG: it does not fit. */
int must_check job_expand(char *to, size_t size, const char *from,
                          uint64_t i);

/** job_name_is_free() - 0, or -EEXIST, noted. Preemptible: job->cursor, 0 at
 *  first and in the end. */
int must_check job_name_is_free(struct job *job, const char *name,
                                struct work *w);
/** job_name_make() - name= of the @i-th copy, if it may be one and is free.
 *  Preemptible, likewise; an error is noted. */
int must_check job_name_make(struct job *job, char to[DOMAIN_NAME_MAX],
                             const char *name, uint64_t i, struct work *w);

/** job_next_domain() - the next domain of a walk (a counted reference), from
 *  job->cursor on, which moves; NULL: no more. */
struct domain *job_next_domain(struct job *job);

/**
 * job_for_each_named() - a switch of the domain that was named, or of all:
 * @fn, which is not preemptible, for each. The reply says of how many. What
 * one of all refuses is not counted; @refusal says why the named one does.
 * Preemptible.
 */
int must_check job_for_each_named(struct job *job,
                                  int (*fn)(struct domain *d, uint64_t arg),
                                  uint64_t arg, const char *refusal,
                                  struct work *w);

/* jobs.c: the table. */
/** job_start() - @line (in job->line already) as a job; finishes at once with
 *  an error reply if it makes no sense. */
void job_start(struct job *job, bool to_port, unsigned cpu);
/** job_refuse() - instead of job_start(): nothing but an error reply. */
void job_refuse(struct job *job, int err, const char *why);
/** jobs_init() - all FREE. */
void jobs_init(void);
/** job_claim() - a free background job, or NULL. */
struct job *job_claim(void);
/** job_release() - back to FREE. */
void job_release(struct job *job);
struct job *job_at(unsigned number);
/** jobs_running() - background jobs not yet done. */
unsigned jobs_running(void);
extern struct job job_foreground;

/*
 * settle.c: bring back what is only on its way: what waits for a grace period,
 * and what the CPUs' caches hold. For the foreground alone; zero *@s first,
 * call until 0. Not for ever: running domains may keep some pending.
 */
struct settle { bool draining; unsigned polls; };
int must_check settle(struct job *job, struct settle *s);

/* The families of commands, one file each; each table ends with a nameless
 * entry. */
extern const struct command commands_system[];
extern const struct command commands_job[];
extern const struct command commands_domain[];
extern const struct command commands_create[];
extern const struct command commands_wait[];
extern const struct command commands_destroy[];
extern const struct command commands_kill_trace[];
extern const struct command commands_shadow[];
extern const struct command commands_memory[];
extern const struct command commands_populate[];
extern const struct command commands_fork[];
extern const struct command commands_share[];
extern const struct command commands_merge[];
extern const struct command commands_stats[];
extern const struct command commands_audit[];
extern const struct command commands_debug[];
extern const struct command commands_bench_spte[];
extern const struct command commands_scan[];
extern const struct command commands_bench_rmap[];
extern const struct command commands_oom[];
extern const struct command commands_add_range[];

/*
 * A range of gfns: `gfn= count= stride=`, and `skip=1` to count the refusals
 * of single gfns by their name instead of stopping at the first.
 */
#define RANGE_ERRORS 8

struct range {
    gfn_t gfn;                  /* the first */
    uint64_t count, stride;
    bool skip;
    bool parsed, begun;
    uint64_t good;              /* items that went well */
    struct { int err; uint64_t n; } refused[RANGE_ERRORS];
};

/** range_parse() - with `gfn=`; @domain's figures are what @N means. */
int must_check range_parse(struct job *job, struct range *r);
/** range_parse_at() - the same, the first gfn given. */
int must_check range_parse_at(struct job *job, struct range *r, gfn_t first);
/** range_check() - that @first, and @r's reach from there, are gfns. */
int must_check range_check(struct job *job, const struct range *r,
                           gfn_t first);
/**
 * range_run() - call @fn for each gfn, from job->done on. Preemptible; @fn
 * may return -ERESTART to be called again for the same one. @cost is in work
 * units, what one call takes.
 */
int must_check range_run(struct job *job, struct range *r, unsigned cost,
                         int (*fn)(struct job *job, gfn_t gfn, uint64_t i,
                                   struct work *w), struct work *w);
/** share_error() - sharing's errors in words. */
const char *share_error(int err);
/* cmd_oom.c: its part of create, info and stats. */
int must_check oom_parse_policy(struct job *job, const char *name,
                                enum oom_policy *policy);
void oom_put_domain(struct reply *r, struct domain *d);
void oom_put_vcpu(struct reply *r, const struct vcpu *v);
void oom_put_stats(struct reply *r);
/** range_reply() - `@what`: good, and `refused` by name. */
void range_reply(struct job *job, const struct range *r, const char *what);
