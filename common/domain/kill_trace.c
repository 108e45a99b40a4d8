/*
 * kill_trace.c - the last kills, stage by stage and slice by slice; see
 * quire/kill_trace.h.
 */
#include <quire/arch.h>
#include <quire/kill_trace.h>
#include <quire/lock.h>
#include <quire/string.h>

struct record {
    cache_aligned struct spinlock lock;
    struct kill_trace trace;
    struct kill_trace_segment segment[KILL_TRACE_SEGMENTS];
};

#define RECORD(n) [n] = { .lock = SPINLOCK_INIT(KILLTRACE, n) }

static struct record records[KILL_TRACES] = {
    RECORD(0), RECORD(1), RECORD(2), RECORD(3), RECORD(4), RECORD(5),
    RECORD(6), RECORD(7),
};
static_assert(KILL_TRACES == 8, "one RECORD for each");

static _Atomic uint64_t last;       /* number given out */
static _Atomic uint64_t forgotten;  /* numbers up to this one */

const char *kill_stage_name(enum kill_stage stage)
{
    static const char *const names[KILL_DONE] = {
        [KILL_NONE] = "pause", [KILL_DESCHEDULE] = "deschedule",
        [KILL_SHADOW] = "shadow", [KILL_CALLS] = "calls", [KILL_EVENTS] = "events",
        [KILL_RAM] = "ram", [KILL_FORK] = "fork", [KILL_VCPUS] = "vcpus",
        [KILL_TABLES] = "tables",
    };

    return names[stage];
}

static struct record *record_of(uint64_t number)
{
    return &records[number % KILL_TRACES];
}

/* The next in turn. Two may come to one record, KILL_TRACES kills apart: it
 * is the later one's, whoever is first. */
static void claim(struct domain *d)
{
    uint64_t number = atomic_fetch_add(&last, 1) + 1;
    struct record *r = record_of(number);

    d->kill_trace = number;
    spin_lock(&r->lock);
    if (r->trace.number < number) {
        r->trace = (struct kill_trace){
            .number = number, .domain = d->id, .cpu = arch_cpu(),
            .start = d->kill_accepted, .per_segment = 1,
        };
    }
    spin_unlock(&r->lock);
}

/* The record of @d's kill, locked; NULL: it is another's by now. */
static struct record *lock_record(struct domain *d)
{
    struct record *r;

    if (d->kill_trace == 0) {
        claim(d);
    }
    r = record_of(d->kill_trace);
    spin_lock(&r->lock);
    if (r->trace.number != d->kill_trace) {
        spin_unlock(&r->lock);
        return NULL;
    }
    return r;
}

static void note_stage(struct record *r, const struct domain *d,
                       ticks_t start, ticks_t end)
{
    int stage = atomic_load(&d->kill_stage);

    if (stage != KILL_DONE) {
        struct kill_trace_stage *s = &r->trace.stage[stage];

        s->start = s->slices == 0 ? start : s->start;
        s->end = end;
        s->longest = MAX(s->longest, end - start);
        s->slices++;
    }
}

ticks_t kill_trace_stage(struct domain *d, ticks_t start)
{
    struct record *r = lock_record(d);
    ticks_t now = arch_now();

    if (r != NULL) {
        note_stage(r, d, start, now);
        spin_unlock(&r->lock);
    }
    return now;
}

/* Half as many, twice as long. */
static void merge_segments(struct record *r)
{
    for (unsigned i = 0; i < KILL_TRACE_SEGMENTS / 2; i++) {
        r->segment[i] = (struct kill_trace_segment){
            r->segment[2 * i].start, r->segment[2 * i + 1].end };
    }
    r->trace.nr_segments = KILL_TRACE_SEGMENTS / 2;
    r->trace.per_segment *= 2;
}

void kill_trace_slice(struct domain *d, ticks_t start, ticks_t stage_start,
                      ticks_t end)
{
    struct record *r = lock_record(d);

    if (r == NULL) {
        return;
    }
    struct kill_trace *t = &r->trace;

    note_stage(r, d, stage_start, end);
    if ((t->slices & (t->per_segment - 1)) != 0) {
        r->segment[t->nr_segments - 1].end = end;
    } else {
        if (t->nr_segments == KILL_TRACE_SEGMENTS) {
            merge_segments(r);
        }
        r->segment[t->nr_segments++] =
            (struct kill_trace_segment){ start, end };
    }
    t->slices++;
    t->gfns = d->kill.gfns;
    spin_unlock(&r->lock);
}

void kill_trace_end(struct domain *d, ticks_t end)
{
    struct record *r = lock_record(d);

    if (r != NULL) {
        r->trace.end = end;
        spin_unlock(&r->lock);
    }
}

bool kill_trace_get(uint64_t from, struct kill_trace *t)
{
    uint64_t newest = atomic_load(&last);

    from = MAX(from, atomic_load(&forgotten) + 1);
    if (newest > KILL_TRACES) {
        from = MAX(from, newest - KILL_TRACES + 1);
    }
    for (; from <= newest; from++) {
        struct record *r = record_of(from);

        spin_lock(&r->lock);
        *t = r->trace;
        spin_unlock(&r->lock);
        if (t->number == from) {
            return true;
        }
    }
    return false;
}

unsigned kill_trace_segments(uint64_t number, unsigned first, unsigned n,
                             struct kill_trace_segment *to)
{
    struct record *r = record_of(number);
    unsigned there = 0;

    spin_lock(&r->lock);
    if (r->trace.number == number && first < r->trace.nr_segments) {
        there = MIN(n, r->trace.nr_segments - first);
        memcpy(to, &r->segment[first], there * sizeof(*to));
    }
    spin_unlock(&r->lock);
    return there;
}

void kill_trace_reset(void)
{
    atomic_store(&forgotten, atomic_load(&last));
}
