/*
 * cmd_bench_rmap.c - bench-rmap: what a reverse map of any form costs, on a
 * map of its own.
 *
 * Phases: insert n pairs; find some; remove some; then, not measured, the
 * rest. Each operation is timed for itself, so that the worst is known, and
 * what reading the clock takes is measured first and taken off. The budget is
 * charged with the time: a form whose one operation is longer than a slice is
 * over it, which is one of the things to be seen.
 */
#include <quire/errno.h>
#include <quire/print.h>
#include <quire/rmap_trace.h>

#include "job.h"

#define BATCH 64
#define N_MAX (UINT64_C(1) << 26)

enum phase { CALIBRATE, INSERT, FIND, REMOVE, DROP };
#define NR_TIMED (REMOVE + 1)

struct bench_state {
    bool ready, failed;
    enum phase phase;
    struct rmap map;
    struct rmap_trace trace;
    enum rmap_form form;
    uint64_t ops;               /* finds and removals at most */
    uint64_t bytes_before;
    uint64_t bytes_full;        /* with all n */
    uint64_t bytes_left;        /* after the removals */
    uint64_t worst_bytes, worst_n;      /* most bytes a pair, from 64 on */
    ticks_t clock;              /* one reading */
    struct timing { ticks_t sum, worst; uint64_t n; } timing[NR_TIMED];
};

/* The index of @key='s value among @names, or 0 if absent. */
static int parse_name(struct job *job, const char *key,
                      const char *const *names, unsigned nr, unsigned *index)
{
    const char *value = args_value(&job->args, key);
    char allowed[80] = "";
    size_t len = 0;

    for (unsigned i = 0; i < nr; i++) {
        if (value == NULL || strcmp(value, names[i]) == 0) {
            *index = i;
            return 0;
        }
        len += print_to(allowed + len, sizeof(allowed) - len, " %s",
                        names[i]);
    }
    return job_fail(job, -EINVAL, "%s=%s: must be one of%s", key, value,
                    allowed);
}

static int parse(struct job *job, struct bench_state *s)
{
    const char *forms[RMAP_NR_FORMS];
    unsigned form, pattern, order;
    int err;

    for (unsigned i = 0; i < RMAP_NR_FORMS; i++) {
        forms[i] = rmap_form_name(i);
    }
    err = parse_name(job, "form", forms, RMAP_NR_FORMS, &form);
    if (err == 0) {
        err = parse_name(job, "pattern", rmap_pattern_names, RMAP_NR_PATTERNS,
                         &pattern);
    }
    if (err == 0) {
        err = parse_name(job, "order", rmap_order_names, RMAP_NR_ORDERS,
                         &order);
    }
    if (err == 0) {
        err = job_number(job, "n", 1000, 1, N_MAX, &s->trace.n);
    }
    if (err == 0) {
        err = job_number(job, "ops", s->trace.n, 1, N_MAX, &s->ops);
    }
    if (err == 0) {
        err = job_number(job, "seed", 1, 0, UINT64_MAX, &s->trace.seed);
    }
    if (err != 0) {
        return err;
    }
    s->form = form;
    s->trace.pattern = pattern;
    s->trace.order = order;
    s->ops = MIN(s->ops, s->trace.n);
    s->bytes_before = rmap_bytes();
    s->clock = UINT64_MAX;
    rmap_init_form(&s->map, form);
    s->ready = true;
    return 0;
}

static uint64_t bytes_now(const struct bench_state *s)
{
    return rmap_bytes() - s->bytes_before;
}

static void note(struct bench_state *s, ticks_t spent)
{
    struct timing *t = &s->timing[s->phase];

    spent = spent > s->clock ? spent - s->clock : 0;
    t->sum += spent;
    t->worst = MAX(t->worst, spent);
    t->n++;
}

/* Before any operation: the least that a clock read twice tells. */
static void calibrate(struct bench_state *s)
{
    for (unsigned i = 0; i < BATCH; i++) {
        ticks_t start = arch_now();

        s->clock = MIN(s->clock, arch_now() - start);
    }
    s->phase = INSERT;
}

static int insert_one(struct bench_state *s)
{
    struct rmap_pair p = rmap_trace_pair(&s->trace, s->timing[INSERT].n);
    ticks_t start = arch_now();
    int err = rmap_insert(&s->map, p);
    uint64_t bytes, n = s->timing[INSERT].n + 1;

    if (err != 0) {
        return err;
    }
    note(s, arch_now() - start);
    bytes = bytes_now(s);
    /* bytes / n > worst_bytes / worst_n, without fractions */
    if (n >= 64 && bytes * s->worst_n >= s->worst_bytes * n) {
        s->worst_bytes = bytes;
        s->worst_n = n;
    }
    if (n == s->trace.n) {
        s->bytes_full = bytes;
        s->phase = FIND;
    }
    return 0;
}

static int find_one(struct bench_state *s)
{
    uint64_t turn = rmap_trace_turn(&s->trace, s->timing[FIND].n);
    struct rmap_pair p = rmap_trace_pair(&s->trace, turn);
    ticks_t start = arch_now();
    bool has = rmap_has(&s->map, p);

    note(s, arch_now() - start);
    BUG_ON(!has);
    if (s->timing[FIND].n == s->ops) {
        s->phase = REMOVE;
    }
    return 0;
}

static int remove_one(struct bench_state *s)
{
    uint64_t turn = rmap_trace_turn(&s->trace, s->timing[REMOVE].n);
    struct rmap_pair p = rmap_trace_pair(&s->trace, turn);
    ticks_t start = arch_now();

    rmap_remove(&s->map, p);
    note(s, arch_now() - start);
    if (s->timing[REMOVE].n == s->ops) {
        s->bytes_left = bytes_now(s);
        s->phase = DROP;
    }
    return 0;
}

static int one_step(struct bench_state *s)
{
    struct rmap_pair p;

    switch (s->phase) {
    case CALIBRATE:
        calibrate(s);
        return 0;
    case INSERT:
        return insert_one(s);
    case FIND:
        return find_one(s);
    case REMOVE:
        return remove_one(s);
    default:
        if (rmap_take(&s->map, &p, 1) == 1) {
            rmap_remove(&s->map, p);
        }
        return 0;
    }
}

static void reply_timing(struct reply *r, const char *name,
                         const struct timing *t)
{
    reply_open(r, name, '{');
    reply_number(r, "ops", t->n);
    reply_number(r, "ticks", t->sum);
    reply_number(r, "worst_ticks", t->worst);
    reply_close(r);
}

static void reply_all(struct reply *r, const struct bench_state *s)
{
    reply_string(r, "form", rmap_form_name(s->form));
    reply_string(r, "pattern", rmap_pattern_names[s->trace.pattern]);
    reply_string(r, "order", rmap_order_names[s->trace.order]);
    reply_number(r, "n", s->trace.n);
    reply_timing(r, "insert", &s->timing[INSERT]);
    reply_timing(r, "find", &s->timing[FIND]);
    reply_timing(r, "remove", &s->timing[REMOVE]);
    reply_number(r, "bytes", s->bytes_full);
    reply_number(r, "bytes_left", s->bytes_left);
    if (s->worst_n != 0) {
        reply_number(r, "worst_bytes", s->worst_bytes);
        reply_number(r, "worst_bytes_n", s->worst_n);
    }
}

static int run_bench_rmap(struct job *job, struct work *w)
{
    struct bench_state *s = JOB_STATE(job, struct bench_state);
    int err = s->ready ? 0 : parse(job, s);

    if (err != 0) {
        return err;
    }
    while (s->phase != DROP || rmap_count(&s->map) != 0) {
        ticks_t start = arch_now();

        if (one_step(s) != 0) {
            s->failed = true;
            s->phase = DROP;
        }
        if (work_spend(w, (int64_t)(arch_now() - start))) {
            return -ERESTART;
        }
    }
    if (s->failed) {
        return job_fail(job, -ENOMEM, "no memory for more than %lu pairs",
                        s->timing[INSERT].n);
    }
    reply_all(&job->reply, s);
    return 0;
}

static void end_bench_rmap(struct job *job)
{
    struct bench_state *s = JOB_STATE(job, struct bench_state);

    if (s->ready) {
        rmap_fini(&s->map);
    }
}

const struct command commands_bench_rmap[] = {
    { .name = "bench-rmap",
      .synopsis = "[form=adaptive] [n=1000] [pattern=dense] [order=forward] "
                  "[ops=N] [seed=1]",
      .keys = "form n pattern order ops seed",
      .help = "time inserts, finds and removals in a reverse map of its own",
      .run = run_bench_rmap, .end = end_bench_rmap },
    { .name = NULL },
};
