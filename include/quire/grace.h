/*
 * grace.h - grace periods: memory read without locks is freed only when every
 * CPU has been quiescent since it was unlinked.
 *
 * A CPU is quiescent when offline, idle or in a guest (between grace_leave()
 * and grace_enter()), and at the top of its run loop (grace_quiesce()).
 * Readers need do nothing: hypervisor code between two of these is a reader.
 */
#pragma once

#include <quire/list.h>

struct grace_head {
    struct list link;
    void (*fn)(struct grace_head *);
    uint64_t epoch;
};

/** grace_defer() - call @fn(@h) after a grace period, on some CPU. */
void grace_defer(struct grace_head *h, void (*fn)(struct grace_head *));
void grace_enter(void);     /* this CPU may hold references from here on */
void grace_leave(void);     /* ... and holds none from here on */
/** grace_quiesce() - holds none now; runs a few callbacks that are due. */
void grace_quiesce(void);
/** grace_nr_pending() - callbacks not yet run. */
uint64_t grace_nr_pending(void);
