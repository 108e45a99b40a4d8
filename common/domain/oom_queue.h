/*
 * oom_queue.h - what oom.c (queues, handing out) and oom_policy.c (who waits,
 * who is killed, what is told) share.
 */
#pragma once

#include <quire/domain.h>
#include <quire/event.h>
#include <quire/lock.h>
#include <quire/notice.h>
#include <quire/oom.h>

struct oom {
    struct spinlock lock;
    struct list machine;        /* [oom] vCPUs in the order of arrival */
    struct list promised;       /* [oom] by the end of the promise */
    unsigned nr_waiting;        /* [oom] stalled ones included */
    unsigned nr_stalled;        /* [oom] */
    unsigned nr_promised;       /* [oom] */
    uint64_t held;              /* [oom] frames promised */
    bool is_pressed;            /* [oom] page_pressure_set() */
    unsigned word;              /* [oom] cursor of wake_rooms() */
    uint64_t rooms;             /* [oom] of that word, not yet looked at */
    struct timer timer;
    struct oom_stats stats;     /* [oom] */
};
extern struct oom oom;

/** oom_wait() - park @v. */
void oom_wait(struct vcpu *v, gfn_t gfn);
/** oom_request() - have the pump look, soon. No TASK lock may be held. */
void oom_request(void);
/** oom_hold() - what others' allocations leave alone, after a change. [oom] */
void oom_hold(void);
void oom_notice(const struct vcpu *v, enum notice_kind kind, bool is_limit,
                uint64_t value);
