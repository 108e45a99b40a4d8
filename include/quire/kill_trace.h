/*
 * kill_trace.h - when each stage and each slice of a kill was, for the last
 * KILL_TRACES kills.
 *
 * A kill takes the next record in turn, so no memory is allocated and the
 * oldest is lost; one whose record has gone to another is traced no more.
 * Slices are kept as segments: when there is no room for another, two
 * neighbours become one, from the start of the first to the end of the second.
 * Writers: whoever does a slice of that kill. Lock: one a record, KILLTRACE,
 * inside.
 */
#pragma once

#include <quire/domain.h>

#define KILL_TRACES 8
#define KILL_TRACE_SEGMENTS 256

struct kill_trace_stage {
    ticks_t start, end;         /* of its first and last part; 0: not begun */
    ticks_t longest;            /* part of one slice */
    uint64_t slices;            /* that had a part of it */
};

struct kill_trace_segment { ticks_t start, end; };

struct kill_trace {             /* [killtrace] */
    uint64_t number;            /* of all kills, from 1 on; 0: none */
    domid_t domain;
    unsigned cpu;               /* of its first slice */
    ticks_t start, end;         /* accepted, dead; end 0: not yet */
    uint64_t gfns, slices;
    struct kill_trace_stage stage[KILL_DONE];
    uint64_t per_segment;       /* slices in each, a power of two; the last
                                 * may have fewer */
    unsigned nr_segments;
};

/* Of the one that does a slice of @d's kill. */
/** kill_trace_stage() - the stage that it is at, in this slice since @start,
 *  is over; the time now. */
ticks_t kill_trace_stage(struct domain *d, ticks_t start);
/** kill_trace_slice() - a slice is over, the last stage of which began, or
 *  went on, at @stage_start. */
void kill_trace_slice(struct domain *d, ticks_t start, ticks_t stage_start,
                      ticks_t end);
/** kill_trace_end() - @d is dead. */
void kill_trace_end(struct domain *d, ticks_t end);

/** kill_trace_get() - the oldest kept with a number of @from or above; false:
 *  none. */
bool kill_trace_get(uint64_t from, struct kill_trace *t);
/** kill_trace_segments() - copy up to @n from the @first on; how many. 0: no
 *  more, or the record is another's by now. */
unsigned kill_trace_segments(uint64_t number, unsigned first, unsigned n,
                             struct kill_trace_segment *to);
/** kill_trace_reset() - forget all so far, and those that are going on. */
void kill_trace_reset(void);
const char *kill_stage_name(enum kill_stage stage);
