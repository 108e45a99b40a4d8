/*
 * owner.h - whom frames are charged to, and the domain-id table.
 *
 * One slot per domain id 0..4095 plus DOMID_XEN, DOMID_IO and DOMID_COW. A
 * slot is taken by owner_claim() and can be released only when it owns no
 * frame. `domain` is the opaque struct domain, read without a lock and freed
 * after a grace period. Locks: OWNER, for claim and release.
 */
#pragma once

#include <quire/types.h>

struct owner {
    _Atomic uint64_t pages;     /* (a) frames owned now */
    _Atomic uint64_t max_pages; /* (a) limit */
    _Atomic uint64_t foreign;   /* (a) of these, mapped by other domains */
    void *_Atomic domain;       /* (a) struct domain, or NULL */
    _Atomic bool claimed;
    _Atomic bool is_wanted;     /* (a) somebody waits for it to own less */
};

/**
 * owner_claim() - take an id; @want = DOMID_INVALID for the lowest free one.
 * Returns the id, -EEXIST (taken), -EINVAL (not a domain id), -ENFILE (none
 * left).
 */
int must_check owner_claim(domid_t want, void *domain, uint64_t max_pages);
/** owner_release() - -EBUSY while frames are owned. */
int must_check owner_release(domid_t id);
/** owner_get() - the slot, or NULL if @id names none. */
struct owner *owner_get(domid_t id);
/** owner_domain() - the struct domain claimed under @id, or NULL. */
void *owner_domain(domid_t id);
/** owner_set_max() - another limit, also below what it owns. -ESRCH. */
int must_check owner_set_max(domid_t id, uint64_t max_pages);
/** owner_set_wanted() - tell of room that it gets; see quire/pressure.h. */
void owner_set_wanted(domid_t id, bool wanted);
/** owner_detach() - make owner_domain() NULL while the id stays claimed. */
void owner_detach(domid_t id);
