/* cmd_kill_trace.c - kill-trace: the last kills, stage by stage. */
#include <quire/errno.h>
#include <quire/kill_trace.h>

#include "job.h"

#define SEGMENTS_AT_ONCE 8
#define UNITS_PER_STEP 500      /* besides its text */

struct trace_state {
    bool opened;
    enum { NEXT_KILL, STAGES, SEGMENTS } step;
    uint64_t number;            /* of the kill, or of the next */
    unsigned stage, segment;
    struct kill_trace trace;
};

static void put_kill(struct reply *r, const struct kill_trace *t)
{
    reply_open(r, NULL, '{');
    reply_number(r, "domain", t->domain);
    reply_number(r, "cpu", t->cpu);
    reply_number(r, "start", t->start);
    if (t->end != 0) {
        reply_number(r, "end", t->end);
    } else {
        reply_null(r, "end");
    }
    reply_number(r, "gfns", t->gfns);
    reply_number(r, "slices_total", t->slices);
    reply_number(r, "slices_per_segment", t->per_segment);
    reply_open(r, "stages", '[');
}

static void put_stage(struct reply *r, const struct kill_trace *t,
                      enum kill_stage stage)
{
    const struct kill_trace_stage *s = &t->stage[stage];

    if (s->slices != 0) {
        reply_open(r, NULL, '{');
        reply_string(r, "stage", kill_stage_name(stage));
        reply_number(r, "start", s->start);
        reply_number(r, "end", s->end);
        reply_number(r, "slices", s->slices);
        reply_number(r, "longest", s->longest);
        reply_close(r);
    }
}

/* How many of the slices were put; 0: there are no more. */
static unsigned put_segments(struct reply *r, const struct trace_state *s)
{
    struct kill_trace_segment segment[SEGMENTS_AT_ONCE];
    unsigned n = MIN(SEGMENTS_AT_ONCE, s->trace.nr_segments - s->segment);

    n = kill_trace_segments(s->number, s->segment, n, segment);
    for (unsigned i = 0; i < n; i++) {
        reply_open(r, NULL, '[');
        reply_number(r, NULL, segment[i].start);
        reply_number(r, NULL, segment[i].end);
        reply_close(r);
    }
    return n;
}

/* False: that was the last. */
static bool put_step(struct reply *r, struct trace_state *s)
{
    unsigned n;

    switch (s->step) {
    case NEXT_KILL:
        if (!kill_trace_get(s->number, &s->trace)) {
            return false;
        }
        s->number = s->trace.number;
        s->stage = s->segment = 0;
        s->step = STAGES;
        put_kill(r, &s->trace);
        break;
    case STAGES:
        if (s->stage < KILL_DONE) {
            put_stage(r, &s->trace, (enum kill_stage)s->stage++);
            break;
        }
        reply_close(r);
        reply_open(r, "slices", '[');
        s->step = SEGMENTS;
        break;
    case SEGMENTS:
        n = put_segments(r, s);
        s->segment += n;
        if (n == 0) {
            reply_close(r);
            reply_close(r);
            s->number++;
            s->step = NEXT_KILL;
        }
        break;
    }
    return true;
}

static int run_kill_trace(struct job *job, struct work *w)
{
    struct trace_state *s = JOB_STATE(job, struct trace_state);
    bool is_reset;
    int err = job_flag(job, "reset", &is_reset);

    if (err != 0) {
        return err;
    }
    if (!s->opened) {
        s->opened = true;
        reply_open(&job->reply, "kills", '[');
    }
    while (put_step(&job->reply, s)) {
        if (work_spend(w, UNITS_PER_STEP)) {
            return -ERESTART;
        }
    }
    reply_close(&job->reply);
    if (is_reset) {
        kill_trace_reset();
    }
    return 0;
}

const struct command commands_kill_trace[] = {
    { .name = "kill-trace", .synopsis = "[reset=1]", .keys = "reset",
      .help = "the last eight kills: when each stage and each slice was",
      .run = run_kill_trace },
    { .name = NULL },
};
