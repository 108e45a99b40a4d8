/*
 * spte_rmap.h - the reverse map of shadow paging: which shadow entries map a
 * gfn, and which point at a shadow page.
 *
 *     head of a gfn           links of shadow page 7       of page 12
 *     +------+                +----+----+----+            +----+----+
 *     |    --|--------------->|    | 1 -|----|----------->|    | 3  |---> 0
 *     +------+<---------------|    |  <-|----|------------|    |    |
 *                             +----+----+----+            +----+----+
 *
 * Beside each page of 512 shadow entries (sptes) lies a page of 512 links. An
 * spte is named by its page's number and its index, 30 bits, so that a link
 * is two words of 32: the next one on the chain and the one before, which for
 * the first names the chain's head. Adding and removing are a few stores
 * whatever the length of the chain, and allocate nothing.
 *
 * Two more forms are there to be compared, chosen once at boot: `single`, the
 * first sibling-linked proposal (2010), without the way back, so that removal
 * walks the chain; and `desc`, descriptors of 14 sptes from the heap.
 *
 * Locks: the domain's shadow lock. An spte is on one chain at most.
 */
#pragma once

#include <quire/errno.h>
#include <quire/types.h>

#define SPTES_PER_PAGE 512

typedef uint32_t spte_ref_t;    /* page number * 512 + index; 0: none */
typedef uint32_t head_ref_t;    /* the same of a page of heads */

enum spte_rmap_form {
    SPTE_RMAP_SIBLING, SPTE_RMAP_SINGLE, SPTE_RMAP_DESC, NR_SPTE_RMAP_FORMS
};
/** spte_rmap_form_name() - "sibling" and so on. */
const char *spte_rmap_form_name(enum spte_rmap_form form);
/** spte_rmap_use() - choose the form. No chain may exist (BUG). */
void spte_rmap_use(enum spte_rmap_form form);
enum spte_rmap_form spte_rmap_in_use(void);

/* Pages of links, one beside each page of sptes; and pages of heads. */
/** spte_links_create() - links for 512 sptes; the first of them, or 0: no
 *  memory. */
spte_ref_t must_check spte_links_create(void);
/** spte_links_destroy() - none may be on a chain (BUG). */
void spte_links_destroy(spte_ref_t first);
/** spte_heads_create() - 512 empty chains; the first of them, or 0. */
head_ref_t must_check spte_heads_create(void);
/** spte_heads_destroy() - they must be empty (BUG). */
void spte_heads_destroy(head_ref_t first);

/** spte_rmap_add() - put @s, on no chain, on @head's. -ENOMEM (`desc` only):
 *  nothing changed. */
int must_check spte_rmap_add(head_ref_t head, spte_ref_t s);
/** spte_rmap_remove() - take @s off its chain. Cannot fail. */
void spte_rmap_remove(spte_ref_t s);
/** spte_rmap_head() - whose chain @s is on; 0: none. */
head_ref_t spte_rmap_head(spte_ref_t s);

/* To empty a chain: take the first until there is none. To look at all: */
struct spte_iter { spte_ref_t at; unsigned i; const struct spte_desc *desc; };
/** spte_rmap_first() - or 0: the chain is empty. */
spte_ref_t spte_rmap_first(struct spte_iter *it, head_ref_t head);
/** spte_rmap_next() - or 0. The chain may not change in between. */
spte_ref_t spte_rmap_next(struct spte_iter *it);

/** spte_rmap_bytes() - of pages of links and heads, and descriptors. */
uint64_t spte_rmap_bytes(void);
/**
 * spte_rmap_audit() - H1 each spte on the chain says it is @head's; H2 links
 * are mutual; H3 the chain ends within @limit sptes; H4 no chain reaches a
 * page given back. *@count: its length. Returns the number of violations,
 * each printed.
 */
unsigned spte_rmap_audit(head_ref_t head, uint64_t limit, uint64_t *count);
