/*
 * sharing_call.h - one XENMEM_sharing_op in progress, between sharing_op.c (its
 * life), sharing_subop.c and sharing_fork.c (what each of them does).
 */
#pragma once

#include <quire/fork.h>

#include "sharing_op.h"

/* An operation in progress. Long ones keep it from slice to slice. */
struct sharing_call {
    struct xen_mem_sharing_op op;   /* as the guest gave it */
    struct domain *d, *cd;      /* counted, or NULL */
    bool is_pausing;            /* counted in the caller's domain */
    bool has_begun;             /* fork_reset: it was started, or joined */
    union {
        struct share_merge merge;
        struct share_audit audit;
        struct {
            struct share_range cursor;
            gfn_t first;        /* where the call began */
        } range;
        struct {
            struct fork_config config;
            struct domain *child;
        } fork;
    };
};

/* Preemptible; the guest's result, and @op as it goes back to the guest. */
typedef int64_t sharing_fn(struct vcpu *v, struct sharing_call *c,
                           struct xen_mem_sharing_op *op, struct work *w);

sharing_fn sharing_nominate, sharing_unshare, sharing_share,
    sharing_add_physmap, sharing_debug_gfn, sharing_debug_mfn, sharing_audit,
    sharing_gref, sharing_range_share, sharing_fork, sharing_fork_reset;

/** sharing_client() - the second domain of an operation; found once and kept
 *  in @c. Errors of sharing_op_target(). */
int must_check sharing_client(struct vcpu *v, struct sharing_call *c,
                              domid_t id);

/** sharing_undo_fork() - a fork in creation, or one that nobody has heard of,
 *  must not be left over. Preemptible. */
int must_check sharing_undo_fork(struct sharing_call *c, struct work *w);
/** sharing_finish_reset() - a reset that has begun goes on to its end, unless
 *  it fails. Preemptible. */
int must_check sharing_finish_reset(struct sharing_call *c, struct work *w);
/** sharing_start_child() - of a fork that is done: let it run if its creator
 *  @is_told its id; -EFAULT otherwise, and it goes. */
int64_t sharing_start_child(domid_t id, bool is_told);
