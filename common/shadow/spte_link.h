/* spte_link.h - the links and heads themselves, between the forms of
 * spte_rmap.h. */
#pragma once

#include <quire/spte_rmap.h>

#define IS_HEAD (UINT32_C(1) << 31)
#define SPTE_MFN_MAX ((UINT64_C(1) << 22) - 1)      /* 31 bits of refs */

/* Of one spte. On no chain: both 0. */
struct spte_link {
    uint32_t next;          /* sibling and single: spte_ref_t */
    uint32_t back;          /* IS_HEAD | head_ref_t; sibling, when it is not
                             * the first: the spte_ref_t before */
};
static_assert(sizeof(struct spte_link) == sizeof(uint64_t),
              "a page of links beside a page of sptes");

/* The direct map is linear. */
static inline void *spte_ref_virt(uint32_t ref)
{
    return (unsigned char *)arch_map_frame(MFN(0)) + (uint64_t)ref * 8;
}

static inline struct spte_link *spte_link(spte_ref_t s)
{
    return spte_ref_virt(s);
}

/* A head's word: 0 when the chain is empty; else what its form makes of it. */
static inline uint64_t *spte_head(head_ref_t h)
{
    return spte_ref_virt(h);
}

/* spte_desc.c: descriptors. */
int must_check spte_desc_add(uint64_t *head, spte_ref_t s);
void spte_desc_remove(uint64_t *head, spte_ref_t s);
spte_ref_t spte_desc_first(struct spte_iter *it, uint64_t head);
spte_ref_t spte_desc_next(struct spte_iter *it);
uint64_t spte_desc_bytes(void);
