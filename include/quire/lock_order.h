/*
 * lock_order.h - every class of lock, outermost first, and what it protects.
 *
 * A CPU may acquire a lock only if its (rank, key) is strictly greater than
 * that of every lock it holds; lock.c checks this at run time in every build.
 * Two locks of one class are taken through spin_lock_pair(), ascending by key.
 * The panic path takes none.
 */
#pragma once

#define LOCK_ORDER(X) \
    X(CONTROL,  "the control channel's job table and reply stream") \
    X(DOMLIST,  "the list of domains; creation and removal of ids") \
    X(DOMAIN,   "one domain's life cycle, vCPU set and parameters") \
    X(TOPOLOGY, "memory regions and their flat views") \
    X(P2M,      "writes to one p2m's tables; key: owner's domid") \
    X(SHARE,    "one shared frame's rmap and handle; key: mfn") \
    X(SHARELIST, "the list of all shared frames") \
    X(SHADOW,   "one domain's shadow pages; key: domid") \
    X(EVENT,    "one domain's event channels; key: domid") \
    X(OOM,  "the queues of vCPUs that wait for memory") \
    X(SCHED,    "one CPU's run queue; key: cpu") \
    X(TASK,     "one CPU's task queue; key: cpu") \
    X(TIMER,    "one CPU's timer queue; key: cpu") \
    X(GRACE,    "callbacks that wait for a grace period") \
    X(NOTICE, "the ring of notices to tools") \
    X(KILLTRACE, "one of the records of the last kills; key: its place") \
    X(HEAP,     "the heap's slabs") \
    X(OWNER,    "the table of frame owners") \
    X(PAGE,     "the buddy allocator's free lists") \
    X(TEST,     "reserved to tests") \
    X(CONSOLE,  "the log and the console UART")

enum lock_rank {
    LOCK_RANK_NONE,
#define LOCK_RANK_ENUM(name, what) LOCK_RANK_##name,
    LOCK_ORDER(LOCK_RANK_ENUM)
#undef LOCK_RANK_ENUM
    NR_LOCK_RANKS
};
