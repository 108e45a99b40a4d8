/* spte_rmap.c - the sibling-linked forms, and the pages behind all three; see
 * spte_rmap.h. */
#include "spte_link.h"

#include <quire/arch.h>
#include <quire/log.h>
#include <quire/page_alloc.h>
#include <quire/panic.h>
#include <quire/string.h>

struct numbers spte_link_pages, spte_head_pages;

static enum spte_rmap_form form;

static const char *const form_names[NR_SPTE_RMAP_FORMS] = {
    [SPTE_RMAP_SIBLING] = "sibling", [SPTE_RMAP_SINGLE] = "single",
    [SPTE_RMAP_DESC] = "desc",
};

const char *spte_rmap_form_name(enum spte_rmap_form f)
{
    return f < NR_SPTE_RMAP_FORMS ? form_names[f] : NULL;
}

void spte_rmap_use(enum spte_rmap_form f)
{
    BUG_ON(spte_link_pages.nr_used != 0);
    form = f;
}

enum spte_rmap_form spte_rmap_in_use(void)
{
    return form;
}

/* ---- pages ------------------------------------------------------------ */

static uint32_t page_create(struct numbers *t)
{
    struct frame *f = page_alloc(0, FRAME_TABLE);
    uint32_t number;
    void *page;

    if (f == NULL) {
        return 0;
    }
    page = arch_map_frame(frame_to_mfn(f));
    page_zero(page);
    number = numbers_take(t, page);
    if (number == 0) {
        arch_unmap_frame(page);
        page_free(f, 0);
    }
    return number * SPTES_PER_PAGE;
}

static void page_destroy(struct numbers *t, uint32_t first)
{
    uint64_t *page = numbers_page(t, first / SPTES_PER_PAGE);
    struct frame *f = mfn_to_frame(arch_virt_to_mfn(page));

    for (unsigned i = 0; i < SPTES_PER_PAGE; i++) {
        BUG_ON(page[i] != 0);
    }
    numbers_give(t, first / SPTES_PER_PAGE);
    arch_unmap_frame(page);
    page_free(f, 0);
}

spte_ref_t spte_links_create(void) { return page_create(&spte_link_pages); }
head_ref_t spte_heads_create(void) { return page_create(&spte_head_pages); }

void spte_links_destroy(spte_ref_t first)
{
    page_destroy(&spte_link_pages, first);
}

void spte_heads_destroy(head_ref_t first)
{
    page_destroy(&spte_head_pages, first);
}

uint64_t spte_rmap_bytes(void)
{
    return ((uint64_t)spte_link_pages.nr_used + spte_head_pages.nr_used) *
           PAGE_SIZE + spte_desc_bytes();
}

/* ---- chains ----------------------------------------------------------- */

static void sibling_add(head_ref_t head, spte_ref_t s)
{
    uint64_t *word = spte_head(head);
    struct spte_link *l = spte_link(s);
    spte_ref_t next = (spte_ref_t)*word;

    l->next = next;
    l->back = IS_HEAD | head;
    if (next != 0) {
        spte_link(next)->back = s;
    }
    *word = s;
}

static void sibling_remove(struct spte_link *l)
{
    if ((l->back & IS_HEAD) != 0) {
        *spte_head(l->back & ~IS_HEAD) = l->next;
    } else {
        spte_link(l->back)->next = l->next;
    }
    if (l->next != 0) {
        spte_link(l->next)->back = l->back;
    }
}

static void single_add(head_ref_t head, spte_ref_t s)
{
    uint64_t *word = spte_head(head);
    struct spte_link *l = spte_link(s);

    l->next = (spte_ref_t)*word;
    l->back = IS_HEAD | head;
    *word = s;
}

static void single_remove(struct spte_link *l, spte_ref_t s)
{
    uint64_t *word = spte_head(l->back & ~IS_HEAD);
    spte_ref_t at = (spte_ref_t)*word;

    if (at == s) {
        *word = l->next;
        return;
    }
    while (spte_link(at)->next != s) {
        at = spte_link(at)->next;
        BUG_ON(at == 0);
    }
    spte_link(at)->next = l->next;
}

int spte_rmap_add(head_ref_t head, spte_ref_t s)
{
    int err;

    ASSERT(spte_link(s)->back == 0);
    switch (form) {
    case SPTE_RMAP_SIBLING:
        sibling_add(head, s);
        return 0;
    case SPTE_RMAP_SINGLE:
        single_add(head, s);
        return 0;
    default:
        err = spte_desc_add(spte_head(head), s);
        if (err == 0) {
            spte_link(s)->back = IS_HEAD | head;
        }
        return err;
    }
}

void spte_rmap_remove(spte_ref_t s)
{
    struct spte_link *l = spte_link(s);

    BUG_ON(l->back == 0);
    switch (form) {
    case SPTE_RMAP_SIBLING:
        sibling_remove(l);
        break;
    case SPTE_RMAP_SINGLE:
        single_remove(l, s);
        break;
    default:
        spte_desc_remove(spte_head(l->back & ~IS_HEAD), s);
        break;
    }
    *l = (struct spte_link){ 0, 0 };
}

head_ref_t spte_rmap_head(spte_ref_t s)
{
    uint32_t back = spte_link(s)->back;

    while (back != 0 && (back & IS_HEAD) == 0) {
        back = spte_link(back)->back;
    }
    return back & ~IS_HEAD;
}

spte_ref_t spte_rmap_first(struct spte_iter *it, head_ref_t head)
{
    uint64_t word = *spte_head(head);

    if (form == SPTE_RMAP_DESC) {
        return spte_desc_first(it, word);
    }
    it->at = (spte_ref_t)word;
    return it->at;
}

spte_ref_t spte_rmap_next(struct spte_iter *it)
{
    if (form == SPTE_RMAP_DESC) {
        return spte_desc_next(it);
    }
    it->at = spte_link(it->at)->next;
    return it->at;
}

/* ---- audit ------------------------------------------------------------ */

/* A page that was given back holds an odd word in its place. */
static bool is_live(spte_ref_t s)
{
    uint32_t number = s / SPTES_PER_PAGE;

    return number != 0 &&
           number < spte_link_pages.nr_chunks * NUMBERS_CHUNK &&
           ((uintptr_t)numbers_page(&spte_link_pages, number) & 1) == 0;
}

unsigned spte_rmap_audit(head_ref_t head, uint64_t limit, uint64_t *count)
{
    uint32_t back = IS_HEAD | head;
    struct spte_iter it;
    unsigned bad = 0;

    *count = 0;
    for (spte_ref_t s = spte_rmap_first(&it, head); s != 0;
         s = spte_rmap_next(&it)) {
        if (!is_live(s)) {
            log_error("shadow: H4: chain %x reaches %x, of a page given back",
                      head, s);
            return bad + 1;
        }
        if (++*count > limit) {
            log_error("shadow: H3: chain %x does not end", head);
            return bad + 1;
        }
        if (spte_link(s)->back != back) {
            log_error("shadow: %s: spte %x on chain %x has %x behind it",
                      back & IS_HEAD ? "H1" : "H2", s, head,
                      spte_link(s)->back);
            bad++;
        }
        if (form == SPTE_RMAP_SIBLING) {
            back = s;
        }
    }
    return bad;
}
