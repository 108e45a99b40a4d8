/*
 * cmd_bench_spte.c - bench-spte-rmap: one trace through a form of the shadow
 * entries' reverse map.
 *
 * A gfn mapped @n times: its sptes are added, looked at, and removed in the
 * order asked for. Operations are timed in batches whose arguments have been
 * prepared before, so that the figures are the operations' own.
 */
#include <quire/errno.h>
#include <quire/heap.h>
#include <quire/spte_rmap.h>

#include "job.h"

#define BATCH 32
#define MAX_SPTES (UINT64_C(1) << 20)
#define UNITS_PER_OP 80         /* of the form that Quire uses */
#define DEFAULT_LIMIT UINT64_C(20000000000)

enum stage { SETUP, ADD, STEP, REMOVE, CLEAR, FREE, DONE };
enum order { FORWARD, REVERSE, RANDOM };

struct bench_state {
    enum stage stage;
    enum order order;
    enum spte_rmap_form form;
    uint64_t n, done, limit;
    uint64_t nr_pages, lcg, lcg_mask;
    spte_ref_t *pages;          /* first spte of each page of links */
    head_ref_t heads;
    struct spte_iter it;
    uint64_t bytes;
    ticks_t ticks[DONE], worst[DONE];
    uint64_t ops[DONE];
};

static const char *const orders[] = { "forward", "reverse", "random" };

static int parse_name(struct job *job, const char *key,
                      const char *(*name)(unsigned), unsigned nr,
                      const char *allowed, unsigned *found)
{
    const char *value = args_value(&job->args, key);

    *found = 0;
    if (value == NULL) {
        return 0;
    }
    for (unsigned i = 0; i < nr; i++) {
        if (strcmp(value, name(i)) == 0) {
            *found = i;
            return 0;
        }
    }
    return job_fail(job, -EINVAL, "%s=%s: allowed are %s", key, value,
                    allowed);
}

static const char *form_name(unsigned i)
{
    return spte_rmap_form_name((enum spte_rmap_form)i);
}

static const char *order_name(unsigned i) { return orders[i]; }

static int parse(struct job *job, struct bench_state *s)
{
    unsigned form, order;
    int err = parse_name(job, "form", form_name, NR_SPTE_RMAP_FORMS,
                         "sibling, single, desc", &form);

    if (err == 0) {
        err = parse_name(job, "order", order_name, 3,
                         "forward, reverse, random", &order);
    }
    if (err == 0) {
        err = job_number(job, "n", 1000, 1, MAX_SPTES, &s->n);
    }
    if (err == 0) {
        err = job_number(job, "limit", DEFAULT_LIMIT, 1, UINT64_MAX,
                         &s->limit);
    }
    if (err != 0) {
        return err;
    }
    s->form = (enum spte_rmap_form)form;
    s->order = (enum order)order;
    s->lcg_mask = 1;
    while (s->lcg_mask < s->n) {
        s->lcg_mask <<= 1;
    }
    s->lcg_mask--;
    return 0;
}

/* Pages and one page of heads, a few a slice. */
static int set_up(struct job *job, struct bench_state *s, struct work *w)
{
    uint64_t wanted = (s->n + SPTES_PER_PAGE - 1) / SPTES_PER_PAGE;

    if (s->pages == NULL) {
        if (spte_rmap_bytes() != 0) {
            return job_fail(job, -EBUSY, "shadow pages are in use");
        }
        spte_rmap_use(s->form);
        s->pages = heap_zalloc(wanted * sizeof(*s->pages));
        s->heads = s->pages == NULL ? 0 : spte_heads_create();
    }
    if (s->heads == 0) {
        return job_fail(job, -ENOMEM, "no memory for the heads");
    }
    while (s->nr_pages < wanted) {
        spte_ref_t first = spte_page_create();

        if (first == 0) {
            return job_fail(job, -ENOMEM, "no memory for %lu pages of links",
                            wanted);
        }
        s->pages[s->nr_pages++] = first;
        if (work_spend(w, 3000)) {
            return -ERESTART;
        }
    }
    return 0;
}

/* The i-th spte of a stage's order; call with ascending @i. */
static spte_ref_t pick(struct bench_state *s, enum order order, uint64_t i)
{
    if (order == REVERSE) {
        i = s->n - 1 - i;
    } else if (order == RANDOM) {
        /* A full cycle of 2^k: each number once, those too large left out. */
        do {
            s->lcg = (s->lcg * 0x5851f42d4c957f2d + 0x14057b7ef767814f) &
                     s->lcg_mask;
        } while (s->lcg >= s->n);
        i = s->lcg;
    }
    return s->pages[i / SPTES_PER_PAGE] + (spte_ref_t)(i % SPTES_PER_PAGE);
}

/* Nothing else in the loops: they are what is measured. */
static int run_batch(struct bench_state *s, const spte_ref_t *refs,
                     unsigned nr)
{
    head_ref_t heads = s->heads;
    int err = 0;

    if (s->stage == ADD) {
        for (unsigned i = 0; err == 0 && i < nr; i++) {
            err = spte_rmap_add(heads, refs[i]);
        }
    } else {
        for (unsigned i = 0; i < nr; i++) {
            spte_rmap_remove(refs[i]);
        }
    }
    return err;
}

/* One look at every spte of the chain, a batch at a time. */
static unsigned step_batch(struct bench_state *s, unsigned nr)
{
    unsigned i = 0;

    if (s->done == 0) {
        spte_rmap_first(&s->it, s->heads);
        i++;
    }
    while (i < nr) {
        spte_rmap_next(&s->it);
        i++;
    }
    return nr;
}

static int run_ops(struct job *job, struct bench_state *s, struct work *w)
{
    while (s->done < s->n && s->ticks[s->stage] < s->limit) {
        unsigned nr = (unsigned)MIN(s->n - s->done, (uint64_t)BATCH);
        spte_ref_t refs[BATCH];
        ticks_t start;
        int err = 0;

        for (unsigned i = 0; s->stage != STEP && i < nr; i++) {
            refs[i] = pick(s, s->stage == ADD ? FORWARD : s->order,
                           s->done + i);
        }
        start = arch_now();
        if (s->stage == STEP) {
            step_batch(s, nr);
        } else {
            err = run_batch(s, refs, nr);
        }
        ticks_t took = arch_now() - start;

        s->ticks[s->stage] += took;
        s->worst[s->stage] = MAX(s->worst[s->stage], took / nr);
        s->done += nr;
        s->ops[s->stage] += nr;
        if (err != 0) {
            return job_fail(job, err, "no memory for the chain");
        }
        if (work_spend(w, (int64_t)nr * UNITS_PER_OP)) {
            return -ERESTART;
        }
    }
    if (s->stage == ADD) {
        s->bytes = spte_rmap_bytes();
    }
    return 0;
}

/* What a limit or an error has left on the chain. */
static bool clear(struct bench_state *s, struct work *w)
{
    struct spte_iter it;
    spte_ref_t ref;

    while (s->heads != 0 && (ref = spte_rmap_first(&it, s->heads)) != 0) {
        spte_rmap_remove(ref);
        if (work_spend(w, UNITS_PER_OP)) {
            return false;
        }
    }
    return true;
}

static bool give_pages(struct bench_state *s, struct work *w)
{
    while (s->nr_pages != 0) {
        spte_page_destroy(s->pages[--s->nr_pages]);
        if (work_spend(w, 2000)) {
            return false;
        }
    }
    if (s->heads != 0) {
        spte_heads_destroy(s->heads);
        s->heads = 0;
    }
    heap_free(s->pages);
    s->pages = NULL;
    return true;
}

static void report(struct reply *r, const struct bench_state *s)
{
    static const char *const names[] = { [ADD] = "add", [STEP] = "step",
                                         [REMOVE] = "remove" };

    reply_string(r, "form", form_name(s->form));
    reply_string(r, "order", orders[s->order]);
    reply_number(r, "n", s->n);
    reply_number(r, "bytes", s->bytes);
    for (unsigned i = ADD; i <= REMOVE; i++) {
        reply_open(r, names[i], '{');
        reply_number(r, "ops", s->ops[i]);
        reply_number(r, "ticks", s->ticks[i]);
        reply_number(r, "worst_batch_ticks_per_op", s->worst[i]);
        reply_close(r);
    }
}

static int run_bench(struct job *job, struct work *w)
{
    struct bench_state *s = JOB_STATE(job, struct bench_state);
    int err = 0;

    if (s->n == 0) {
        err = parse(job, s);
    }
    while (err == 0 && s->stage != DONE) {
        switch (s->stage) {
        case SETUP:
            err = set_up(job, s, w);
            break;
        case ADD:
        case STEP:
        case REMOVE:
            err = run_ops(job, s, w);
            break;
        case CLEAR:
            err = clear(s, w) ? 0 : -ERESTART;
            break;
        default:
            err = give_pages(s, w) ? 0 : -ERESTART;
            break;
        }
        if (err == 0) {
            s->stage++;
            s->done = 0;
        }
    }
    if (err == 0) {
        report(&job->reply, s);
    }
    return err;
}

/* After an error there may be pages, and sptes on the chain. */
static void end_bench(struct job *job)
{
    struct bench_state *s = JOB_STATE(job, struct bench_state);

    if (s->pages != NULL) {
        (void)clear(s, NULL);
        (void)give_pages(s, NULL);
    }
    if (spte_rmap_bytes() == 0) {
        spte_rmap_use(SPTE_RMAP_SIBLING);
    }
}

const struct command commands_bench_spte[] = {
    { .name = "bench-spte-rmap", .keys = "form n order limit",
      .synopsis = "[form=sibling|single|desc] [n=N] "
                  "[order=forward|reverse|random] [limit=TICKS]",
      .help = "the reverse map of shadow entries: add, step, remove",
      .run = run_bench, .end = end_bench },
    { .name = NULL },
};
