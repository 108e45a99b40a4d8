/*
 * tlb.h - the model TLB: what a processor may remember of nested page tables,
 * taken to the letter (APM vol. 2, 5.5.2 and 15.16).
 *
 * One per CPU. It is looked up by ASID alone, as hardware does; it caches
 * leaves of every size and the tables on the way, may fill in what nobody
 * asked for, and forgets only when the whole TLB is flushed. Each entry also
 * carries the (p2m, generation, slot) it was made for, which hardware does
 * not know: by that the model judges. It panics, naming the rule, when
 *
 *   T1  a frame is freed that some CPU may still reach: a translation to it,
 *       or the table itself, is cached under a tag that can be used again
 *   T2  a translation is used that the tables no longer give, with no change
 *       under way and every flush acknowledged
 *   T3  an ASID is entered for another map, generation or vCPU than the one
 *       whose entries it still has
 *
 * Locks: a mutex per CPU, innermost of all, so that T1 can look at each from
 * the allocator.
 */
#pragma once

#include <quire/p2m.h>

struct tlb_tag {
    const struct p2m *p2m;
    uint64_t generation;            /* of the p2m, at entry */
    const struct asid_slot *slot;   /* whose ASID */
    uint32_t asid;
};

/** tlb_enter() - this CPU enters a guest that must see @generation; @flush as
 *  VMRUN's TLB_CONTROL. */
void tlb_enter(const struct p2m *p, uint64_t generation,
               const struct asid_slot *slot, bool flush);
void tlb_leave(void);

/** tlb_access() - translate as the guest's access of kind @access. False: a
 *  nested page fault; *@present says which kind. */
bool tlb_access(gpa_t gpa, unsigned access, mfn_t *mfn, bool *present);
/** tlb_speculate() - maybe fill in something near what was used last. */
void tlb_speculate(void);

/** host_tlb_reset() - power on: every TLB empty. */
void host_tlb_reset(void);
/** host_tlb_seed() - of the speculation on every CPU; @permille of the steps
 *  fill something in. */
void host_tlb_seed(uint64_t seed, unsigned permille);
/** host_tlb_entries() - how many usable entries all CPUs have for @p. */
unsigned host_tlb_entries(const struct p2m *p);
/** host_tlb_check() - T2 for every usable entry of @p at once; nothing may
 *  change meanwhile. */
void host_tlb_check(const struct p2m *p);
