/*
 * rmap_trace.h - the pairs that reverse maps are measured with: the same for
 * each form, on the host and in the hypervisor.
 *
 *     dense       gfns 0, 1, 2 ..
 *     random      distinct gfns all over the 36 bits
 *     stride256   gfns 256 apart: one chain of the 2012 hash
 *     runs64      aligned runs of 64 gfns, the runs all over
 *
 * They are inserted in the order 0 .. n-1 and looked up and removed in the
 * order asked for.
 */
#pragma once

#include <quire/rmap.h>

enum rmap_pattern {
    RMAP_DENSE, RMAP_RANDOM, RMAP_STRIDE256, RMAP_RUNS64, RMAP_NR_PATTERNS
};
enum rmap_order { RMAP_FORWARD, RMAP_REVERSE, RMAP_SHUFFLED, RMAP_NR_ORDERS };

extern const char *const rmap_pattern_names[RMAP_NR_PATTERNS];
extern const char *const rmap_order_names[RMAP_NR_ORDERS];

#define RMAP_TRACE_MAX (UINT64_C(1) << 28)      /* stride256 fits 36 bits */

struct rmap_trace {
    enum rmap_pattern pattern;
    enum rmap_order order;
    uint64_t n;                 /* 1 .. RMAP_TRACE_MAX */
    uint64_t seed;
};

/** rmap_trace_pair() - the @i-th to be inserted. */
struct rmap_pair rmap_trace_pair(const struct rmap_trace *t, uint64_t i);
/** rmap_trace_turn() - which one is looked up or removed as the @i-th. */
uint64_t rmap_trace_turn(const struct rmap_trace *t, uint64_t i);
