/*
 * spte_rmap.h - the reverse map of shadow paging: which shadow entries map a
 * gfn, and which point at a shadow page.
 *
 *     head of a gfn         page of sptes   its links       another's links
 *     +-------+             +----+----+   +----+----+      +----+----+
 *     | first-|------------------------>  |    | 1 -|----> |    | 3  |--> 0
 *     +-------+             |    |    |   |    |    | <----|--- |    |
 *         ^                 +----+----+   +----+-|--+      +----+----+
 *         +--------------------------------------+
 *
 * A page of 512 shadow entries (sptes) lies beside a page of 512 links. A
 * link or a head is named by its machine address over 8, 31 bits, so that a
 * link is two words of 32: the next on the chain and the one before, which
 * for the first is the head. Adding and removing are a few stores whatever
 * the length of the chain; they allocate nothing and look nothing up. Such
 * pages lie in the first 16 GiB of memory.
 *
 * Two more forms are there to be compared, chosen once at boot: `single`, the
 * first sibling-linked proposal (2010), without the way back, so that removal
 * walks the chain; and `desc`, descriptors of 14 sptes from the heap.
 *
 * Locks: the domain's shadow lock. An spte is on one chain at most.
 */
#pragma once

#include <quire/arch.h>
#include <quire/errno.h>

#define SPTES_PER_PAGE 512

typedef uint32_t spte_ref_t;    /* its link's address / 8; 0: none */
typedef uint32_t head_ref_t;    /* the head's address / 8; 0: none */

enum spte_rmap_form {
    SPTE_RMAP_SIBLING, SPTE_RMAP_SINGLE, SPTE_RMAP_DESC, NR_SPTE_RMAP_FORMS
};
/** spte_rmap_form_name() - "sibling" and so on. */
const char *spte_rmap_form_name(enum spte_rmap_form form);
/** spte_rmap_use() - choose the form. No page of sptes may exist (BUG). */
void spte_rmap_use(enum spte_rmap_form form);

/** spte_page_create() - 512 sptes, zeroed, and their links: two frames. The
 *  first's name, or 0: no memory. */
spte_ref_t must_check spte_page_create(void);
/** spte_page_destroy() - none may be on a chain (BUG). */
void spte_page_destroy(spte_ref_t first);
/** spte_heads_create() - 512 empty chains; the first of them, or 0. */
head_ref_t must_check spte_heads_create(void);
/** spte_heads_destroy() - they must be empty (BUG). */
void spte_heads_destroy(head_ref_t first);

/** spte_at() - the entry itself. */
static inline uint64_t *spte_at(spte_ref_t s)
{
    unsigned char *link = (unsigned char *)arch_map_frame(MFN(0)) +
                          (uint64_t)s * 8;

    return (uint64_t *)(void *)(link - PAGE_SIZE);
}

/** spte_head_ref() - a head of one's own: any word in the direct map that is
 *  0 at first and below 16 GiB. */
static inline head_ref_t spte_head_ref(const uint64_t *word)
{
    const unsigned char *base = arch_map_frame(MFN(0));

    return (head_ref_t)((uint64_t)((const unsigned char *)word - base) / 8);
}

/** spte_rmap_add() - put @s, on no chain, on @head's. -ENOMEM (`desc` only):
 *  nothing changed. */
int must_check spte_rmap_add(head_ref_t head, spte_ref_t s);
/** spte_rmap_remove() - take @s off its chain. Cannot fail. */
void spte_rmap_remove(spte_ref_t s);
/** spte_rmap_head() - whose chain @s is on; 0: none. Walks back to it. */
head_ref_t spte_rmap_head(spte_ref_t s);

/* To empty a chain: take the first until there is none. To look at all: */
struct spte_iter { spte_ref_t at; unsigned i; const struct spte_desc *desc; };
/** spte_rmap_first() - or 0: the chain is empty. */
spte_ref_t spte_rmap_first(struct spte_iter *it, head_ref_t head);
/** spte_rmap_next() - or 0. The chain may not change in between. */
spte_ref_t spte_rmap_next(struct spte_iter *it);

/** spte_rmap_is_empty() - nothing is on @head's chain. */
static inline bool spte_rmap_is_empty(head_ref_t head)
{
    const unsigned char *base = arch_map_frame(MFN(0));

    return *(const uint64_t *)(const void *)(base + (uint64_t)head * 8) == 0;
}

/** spte_rmap_bytes() - of links, heads and descriptors, pages whole. */
uint64_t spte_rmap_bytes(void);
/*
 * Audit of a chain, as many of its sptes at a time as one likes: H1 each spte
 * on the chain says it is @head's; H2 links are mutual; H3 the chain ends
 * within @limit sptes; H4 no chain reaches a page given back.
 */
struct spte_rmap_audit {        /* zero it first */
    bool is_begun;
    unsigned bad;               /* violations, each printed */
    uint32_t back;
    uint64_t count;             /* sptes so far */
    struct spte_iter it;
};
/** spte_rmap_audit_next() - the next on the chain, which has not changed in
 *  between; 0: it is over, or can be followed no further. */
spte_ref_t spte_rmap_audit_next(struct spte_rmap_audit *a, head_ref_t head,
                                uint64_t limit);
/** spte_rmap_audit() - all of it. *@count: its length. Returns violations. */
unsigned spte_rmap_audit(head_ref_t head, uint64_t limit, uint64_t *count);
