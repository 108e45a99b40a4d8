/*
 * sharing_op.h - XENMEM_sharing_op: sharing as a privileged domain drives it.
 *
 * An operation that takes longer than a slice is continued: the call returns
 * -ERESTART, the guest stays on its VMMCALL, and the same call goes on from
 * the cursor that its vCPU holds meanwhile (vcpu->sharing). The cursor counts
 * a reference to each domain it names. A vCPU that comes back with another
 * operation gives the first one up; so does its going down, the end of its
 * domain, and the kill.
 * Locks: none; a vCPU's cursor belongs to the CPU that handles its exit, or to
 * sharing_stop.c or the kill once it is descheduled.
 */
#pragma once

#include <public/xen/sharing.h>

#include "hypercall.h"

/** sharing_op() - memory_op's XENMEM_sharing_op, arg[1] the structure. */
int64_t sharing_op(struct hypercall *h);

/**
 * sharing_op_run() - do @op for @v, of a privileged domain. Preemptible. 0 or
 * more: its result, and what it returns is in @op; or a negative number as
 * docs/guest-abi.md has it. On an error of range_share @op says how far it
 * came.
 */
int64_t sharing_op_run(struct vcpu *v, struct xen_mem_sharing_op *op,
                       struct work *w);

/** sharing_op_abort() - give up what @v has not finished; nothing if there is
 *  none. What was shared stays so; a fork in creation is undone, a reset
 *  finished. Preemptible. */
int must_check sharing_op_abort(struct vcpu *v, struct work *w);

/** sharing_stop() - a vCPU of @d has gone down, or all with @d: what it has
 *  not finished is given up, soon. From anywhere outside @d's locks. */
void sharing_stop(struct domain *d);
/** sharing_stop_is_busy() - of a DYING @d: false, and then for good, once
 *  nobody is in the middle of that. */
bool sharing_stop_is_busy(const struct domain *d);

/**
 * sharing_op_target() - a reference to domain @id for a privileged @caller to
 * work on. As in Xen -EPERM: itself; -ESRCH: no such domain; -EINVAL: it is
 * being destroyed.
 */
int must_check sharing_op_target(const struct domain *caller, domid_t id,
                                 struct domain **d);
