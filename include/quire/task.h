/*
 * task.h - work that the hypervisor does on its own account, a slice at a
 * time: control commands, kills, scans.
 *
 * A task is queued on one CPU and run from that CPU's run loop, in turn with
 * its vCPUs. run() returns -ERESTART to be queued again, anything else when
 * done (the task may then be freed by run() itself: it is not touched again).
 * Locks: TASK, inside.
 */
#pragma once

#include <quire/list.h>
#include <quire/work.h>

struct task {
    struct list link;
    int (*run)(struct task *t, struct work *w);
    const char *name;       /* (c) for the latency report */
    bool is_bulk;           /* (c) its slices are WORK_SLICE_BULK */
};

/** task_queue() - run @t on @cpu, soon; kicks it. */
void task_queue(struct task *t, unsigned cpu);
/** task_run_one() - run one slice of the first task of this CPU.
 *  True if there was one. Called by the run loop. */
bool task_run_one(void);
/** task_run_slice() - the same with a budget of the caller's. Tests. */
bool task_run_slice(struct work *w);
/** task_last_name() - of the task whose slice this CPU ran last. */
const char *task_last_name(void);
/** task_note() - what the slice of this CPU is about (an item's number, a gfn),
 *  for the latency report. */
void task_note(uint64_t what);
/** task_last_note() - of the slice that this CPU ran last; 0: nothing. */
uint64_t task_last_note(void);
/** task_is_pending() - whether this CPU has a task waiting. */
bool task_is_pending(void);
