/*
 * oom.h - a vCPU whose write needs a frame that is not there.
 *
 * It parks: off its CPU, its instruction not done, in one of two kinds of
 * queues: the machine's, in the order of arrival, or that of its domain, when
 * the domain is at its own limit. When memory is there the first is promised
 * some and runs again. A promise that is not used in time is taken back.
 * Each vCPU that waits has one pause of its own; so the toolstack's pauses, a
 * shutdown, a fork and a kill are independent of it.
 * Lock: OOM, for all queues; outside SCHED and TIMER.
 */
#pragma once

#include <quire/vcpu.h>

struct domain;

#define OOM_RESERVE 64          /* frames of a machine for what is urgent */

enum oom_policy {
    OOM_WAIT,           /* park until there is memory */
    OOM_KILL,           /* destroy the domain, the reason recorded */
};

/* A domain's part. */
struct oom_domain {
    _Atomic int policy;         /* (a) enum oom_policy */
    struct list waiters;        /* [oom] for its own limit */
    _Atomic unsigned nr_parked; /* (a) its vCPUs that wait */
    _Atomic uint64_t parks;     /* (a) writes that have waited */
    _Atomic uint64_t resumes;   /* (a) of these, done at last */
    _Atomic bool is_killed;     /* (a) by its policy */
};

/** oom_init() - once at boot. */
void oom_init(void);
void oom_domain_init(struct domain *d);
/** oom_park() - from @v's own exit: its write to @gfn had no memory, nothing
 *  has changed and RIP is where it was. By policy waits or kills. */
void oom_park(struct vcpu *v, gfn_t gfn);
/** oom_park_shadow() - the same for the memory of @v's shadow, for the guest's
 *  top table at @gfn: its domain's limit has nothing to do with it. */
void oom_park_shadow(struct vcpu *v, gfn_t gfn);
/** oom_done() - from @v's own exit, if it is promised memory: it has been
 *  able to do what it parked for. */
void oom_done(struct vcpu *v);
/** oom_unstall() - @v is paused by nobody else any more. */
void oom_unstall(struct vcpu *v);
/** oom_forget() - @d dies: its vCPUs, off their CPUs for good, wait for
 *  nothing. */
void oom_forget(struct domain *d);
/** oom_set_policy() - what waits already is killed at once by OOM_KILL. */
void oom_set_policy(struct domain *d, enum oom_policy policy);
/** oom_poll() - CPU 0's, each pass: whether anything has come free. */
void oom_poll(void);

struct oom_stats {
    uint64_t waiting;           /* vCPUs now */
    uint64_t promised;          /* vCPUs with a promise now */
    uint64_t parks, resumes, kills;
    uint64_t lapsed;            /* promises taken back */
    ticks_t longest;            /* a write that was done has waited */
};
void oom_stats_get(struct oom_stats *s);
/** oom_audit_domain() - O1 and O2 of one domain: bounded. */
unsigned oom_audit_domain(const struct domain *d);
/** oom_audit() - O1 a vCPU is in the queue that its state names; O2 the counts
 *  are those of the queues; O3 what is held is what is promised. */
unsigned oom_audit(void);
