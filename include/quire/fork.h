/*
 * fork.h - a running copy of a domain, and the way back to it.
 *
 * A fork has its parent's memory, shared copy-on-write, and its vCPUs' state
 * as of one moment; the parent's vCPUs are stopped from the first slice to the
 * last and then go on. From there on the two are equals: either may be killed,
 * forked or written to first. The fork alone remembers that moment (struct
 * domain_fork, from its creation to its end): each page that it writes leaves
 * its frame held, so that domain_fork_reset() can bring it back, whatever has
 * become of the parent.
 *
 * Locks: none of its own. The creator owns a fork in creation; a reset is
 * pushed on by one caller at a time.
 */
#pragma once

#include <public/xen/sharing.h>
#include <quire/domain.h>

struct fork_config {
    char name[DOMAIN_NAME_MAX];     /* "": the parent's, -ID */
    domid_t id;                     /* DOMID_INVALID: any */
    /* XENMEM_FORK_BLOCK_INTERRUPTS: no interrupt reaches it;
     * XENMEM_FORK_SKIP_SPECIAL_PAGES: pages that somebody holds (shared_info,
     * vcpu_info) are not copied: fresh ones, or holes. */
    unsigned flags;
};

/**
 * domain_fork() - fork @parent. The child is left with one toolstack pause.
 * Preemptible: *@child is NULL at first; on -ERESTART call again with the same
 * arguments (until it ends: the parent is stopped meanwhile). The caller holds
 * a reference to @parent. On an error everything is undone, *@child is NULL,
 * and @why (may be NULL, DOMAIN_WHY_MAX bytes) says what was wrong:
 * -EINVAL: unknown flags, or the parent has shut down or crashed; -ESRCH: it
 * is being destroyed; -EBUSY: the caller is one of its own vCPUs; -EOPNOTSUPP:
 * XENMEM_FORK_WITH_IOMMU_ALLOWED; -EEXIST, -ENFILE: the id; -ENOMEM;
 * -EINTR: the child was killed meanwhile; -EAGAIN: the parent's memory was
 * changed too much by the toolstack meanwhile.
 */
int must_check domain_fork(struct domain *parent, const struct fork_config *c,
                           struct domain **child, char *why, struct work *w);

/**
 * domain_fork_reset() - bring a fork back to the moment of the fork: @what is
 * XENMEM_FORK_RESET_MEMORY (pages it has written, dropped or added since),
 * XENMEM_FORK_RESET_STATE (vCPUs, timers, event channels, phases) or both.
 * Its vCPUs are stopped from the first slice to the last. Preemptible: the
 * cursor is in @child; any caller with the same @what may push it on, and
 * -ERESTART goes to the others. -EINVAL: not a fork, or @what; -ESRCH: being
 * destroyed; -EBUSY: the caller is one of its vCPUs, or a reset of another
 * kind is under way; -ENOMEM: no memory for a reverse map: nothing lost, the
 * fork stays stopped, call again.
 */
int must_check domain_fork_reset(struct domain *child, unsigned what,
                                 struct work *w);

struct fork_info {
    domid_t parent;         /* by whom */
    bool is_parent_gone;    /* the id is nobody's, or another's, by now */
    uint64_t gfns;          /* it began with */
    uint64_t dirty;         /* of these, pages not as of the fork now */
    uint64_t resets, reset_pages;
};
/** domain_fork_info() - -EINVAL: @d is not a fork. */
int must_check domain_fork_info(struct domain *d, struct fork_info *info);

/** domain_fork_relinquish() - the kill's: let go of every frame held for a
 *  reset; @d's map is empty. Preemptible. */
int must_check domain_fork_relinquish(struct domain *d, struct work *w);
/** domain_fork_free() - the record; after the grace period. */
void domain_fork_free(struct domain *d);
