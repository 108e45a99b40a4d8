/*
 * fork.h - between fork.c (making one), fork_image.c (what it began with) and
 * fork_reset.c (bringing it back).
 */
#pragma once

#include <quire/clone.h>
#include <quire/event_image.h>
#include <quire/fork.h>

#include "domain_life.h"

enum fork_stage { FORK_STOP, FORK_VCPUS, FORK_IMAGE, FORK_MEMORY, FORK_APPLY,
                  FORK_START, FORK_UNDO_CHILD, FORK_UNDO_PARENT };
enum reset_stage { RESET_IDLE, RESET_STOP, RESET_LEAVE, RESET_PORTS,
                   RESET_MEMORY, RESET_APPLY, RESET_START };

/* One vCPU as of the fork. */
struct fork_vcpu {
    bool online, initialised, blocked;
    gfn_t info_gfn;             /* of its vcpu_info, if that was moved */
    unsigned info_offset;
    struct vcpu_state *state;   /* NULL: had none */
};

/* What a fork began with, for as long as it lives. */
struct domain_fork {
    domid_t parent;                     /* (c) */
    uint64_t parent_birth;              /* (c) of its map: ids are reused */
    unsigned flags;                     /* (c) */
    uint64_t phase, phase_allowed;      /* these too, once built */
    uint64_t figure[32];
    uint64_t params[HVM_NR_PARAMS];
    gfn_t shared_gfn;                   /* INVALID: not mapped */
    struct evtchn_image *events;
    struct fork_vcpu *vcpus;            /* [config.nr_vcpus] */

    struct domain *source;              /* counted, while it is built */
    enum fork_stage stage;              /* the creator's, as these are */
    struct share_clone clone;
    unsigned item;
    int err;
    char why[DOMAIN_WHY_MAX];

    _Atomic bool reset_busy;            /* (a) somebody does a slice */
    enum reset_stage reset;             /* [domain] to leave and enter IDLE */
    unsigned what;                      /* reset_busy, as all that follows */
    unsigned reset_item;
    uint64_t resets, reset_pages;
};

/** fork_image_take() - all of @parent but its memory, into @child's record.
 *  Its vCPUs are stopped. Preemptible: the cursor is fork->item. -ENOMEM. */
int must_check fork_image_take(struct domain *parent, struct domain *child,
                               struct work *w);
/** fork_image_held() - share_clone's callback; @arg is the child. */
bool fork_image_held(void *arg, gfn_t gfn, mfn_t mfn);
/** fork_image_place() - the pages that events hold, where they were: mapped,
 *  pinned, with their contents. -ENOMEM; -ESRCH; nothing is done twice. */
int must_check fork_image_place(struct domain *d);
/** fork_image_unplace() - let go of them. -ENOMEM: call again. */
int must_check fork_image_unplace(struct domain *d);
/** fork_image_apply() - vCPUs, ports, timers, parameters and phases. No port
 *  is open. Preemptible: the cursor is *@item, 0 at first. -ENOMEM, never of a
 *  domain that it was done to before; -ESRCH: it is dying. */
int must_check fork_image_apply(struct domain *d, unsigned *item,
                                struct work *w);
