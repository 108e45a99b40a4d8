/* spte_link.h - the links and heads themselves, between the forms of
 * spte_rmap.h. */
#pragma once

#include "numbers.h"
#include "spte_rmap.h"

#define IS_HEAD (UINT32_C(1) << 31)

/* Of one spte. On no chain: both 0. */
struct spte_link {
    uint32_t next;          /* sibling and single: spte_ref_t */
    uint32_t back;          /* IS_HEAD | head_ref_t; sibling, when it is not
                             * the first: the spte_ref_t before */
};
static_assert(sizeof(struct spte_link) * SPTES_PER_PAGE == PAGE_SIZE,
              "a page of links beside a page of sptes");

extern struct numbers spte_link_pages, spte_head_pages;

static inline struct spte_link *spte_link(spte_ref_t s)
{
    struct spte_link *page = numbers_page(&spte_link_pages,
                                          s / SPTES_PER_PAGE);

    return &page[s % SPTES_PER_PAGE];
}

/* A head's word: 0 when the chain is empty; else what its form makes of it. */
static inline uint64_t *spte_head(head_ref_t h)
{
    uint64_t *page = numbers_page(&spte_head_pages, h / SPTES_PER_PAGE);

    return &page[h % SPTES_PER_PAGE];
}

/* spte_desc.c: descriptors. */
int must_check spte_desc_add(uint64_t *head, spte_ref_t s);
void spte_desc_remove(uint64_t *head, spte_ref_t s);
spte_ref_t spte_desc_first(struct spte_iter *it, uint64_t head);
spte_ref_t spte_desc_next(struct spte_iter *it);
uint64_t spte_desc_bytes(void);
