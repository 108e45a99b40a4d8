/*
 * p2m_slot.h - one 4K entry of a p2m: found once, looked at again under the
 * lock, changed there. What a write fault needs, and no more than that.
 *
 * The entry may be found without the lock. A table that is taken out of the
 * tree meanwhile has only holes, and is freed after a grace period: so what is
 * read by way of a slot under the lock is what the gfn maps to, or a hole. Only
 * a map that is being relinquished is taken apart in another way; its slots
 * say nothing any more.
 */
#pragma once

#include <quire/p2m.h>

struct p2m_slot {
    struct p2m *p2m;
    gfn_t gfn;
    _Atomic uint64_t *entry;    /* NULL: none of 4K */
};

/** p2m_slot_find() - where @gfn of @p is. With or without the lock. */
void p2m_slot_find(struct p2m_slot *s, struct p2m *p, gfn_t gfn);
/** p2m_slot_mfn() - its frame, if it is of @type; else MFN_INVALID. Under the
 *  p2m lock, as what follows. */
mfn_t p2m_slot_mfn(const struct p2m_slot *s, enum p2m_type type);
/** p2m_slot_set_private() - it is ram_shared: make it @mfn, ram_rw. Final for
 *  every CPU on return. */
void p2m_slot_set_private(const struct p2m_slot *s, mfn_t mfn);
