/*
 * preempt.h - the preemption matrix: a Preemptible function stopped at each
 * of its checks in turn comes to the same end as when it never was.
 *
 * A case builds a world, then calls its function until that does not return
 * -ERESTART. The driver does so once without a budget and keeps a digest of
 * what there is then: every entry of every map with its page's contents and
 * which others are on the same frame, frames' counts, owners, domains,
 * memory by use. Then the same again, from a new world each time: stopped at
 * the k-th check, for every k; stopped at every check; and both once more
 * with something else going on at each interruption. All audits run while it
 * is stopped and at the end.
 */
#pragma once

#include "test_fork.h"

struct preempt_case {
    const char *name;           /* NULL, or for the message of a failure */
    void (*begin)(void);
    int (*step)(struct work *w);
    /* NULL, or what others do: @i is 0 .. PREEMPT_OTHERS - 1, each once; what
     * has not come by the end comes then. The end must not depend on when. */
    void (*other)(unsigned i);
    void (*end)(void);          /* take the world down: nothing is left */
    uint64_t (*reply)(void);    /* NULL, or more for the digest */
    bool by_itself;             /* the audits cannot run while it is stopped */
    bool is_short;              /* it may be over at its first check */
    unsigned one_in;            /* 0, or: every so many checks, not each, from
                                 * one that the seed chooses */
};

#define PREEMPT_OTHERS 8

/** preempt_matrix() - all of it; fails the test if an end is different. */
void preempt_matrix(const struct preempt_case *c);

/** preempt_audit() - every audit there is. */
void preempt_audit(void);

/** preempt_mix() - one more value for a digest. */
uint64_t preempt_mix(uint64_t digest, uint64_t value);
