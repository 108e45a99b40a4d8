/* spte_rmap.c - the sibling-linked forms, and the pages behind all three; see
 * spte_rmap.h. */
#include "spte_link.h"

#include <quire/arch.h>
#include <quire/log.h>
#include <quire/page_alloc.h>
#include <quire/panic.h>
#include <quire/string.h>

static enum spte_rmap_form form;
static _Atomic uint64_t nr_spte_pages, nr_head_pages;

/* frame->user of a page of links while it is one. */
static char links_mark;

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
    BUG_ON(nr_spte_pages != 0);
    form = f;
}

/* ---- pages ------------------------------------------------------------ */

/* 2^@order zeroed pages that refs can name. */
static struct frame *pages_create(unsigned order)
{
    struct frame *f = page_alloc(order, FRAME_TABLE);
    mfn_t mfn;

    if (f == NULL) {
        return NULL;
    }
    mfn = frame_to_mfn(f);
    if (mfn.n + (1u << order) - 1 > SPTE_MFN_MAX) {
        page_free(f, order);
        return NULL;
    }
    for (unsigned i = 0; i < 1u << order; i++) {
        page_zero(arch_map_frame(mfn_add(mfn, i)));
    }
    return f;
}

/* The last of the pages must hold nothing. */
static void pages_destroy(mfn_t mfn, unsigned order)
{
    const uint64_t *last = arch_map_frame(mfn_add(mfn, (1u << order) - 1));
    uint64_t any = 0;

#pragma GCC unroll 16
    for (unsigned i = 0; i < SPTES_PER_PAGE; i++) {
        any |= last[i];
    }
    BUG_ON(any != 0);
    arch_unmap_frame(last);
    page_free(mfn_to_frame(mfn), order);
}

static uint32_t to_ref(mfn_t mfn)
{
    return (uint32_t)(mfn_to_maddr(mfn) / 8);
}

static mfn_t to_mfn(uint32_t ref)
{
    return maddr_to_mfn((maddr_t)ref * 8);
}

spte_ref_t spte_page_create(void)
{
    struct frame *f = pages_create(1);

    if (f == NULL) {
        return 0;
    }
    f[1].user = &links_mark;
    atomic_fetch_add_explicit(&nr_spte_pages, 1, memory_order_relaxed);
    return to_ref(mfn_add(frame_to_mfn(f), 1));
}

void spte_page_destroy(spte_ref_t first)
{
    mfn_t links = to_mfn(first);

    mfn_to_frame(links)->user = NULL;
    pages_destroy(MFN(links.n - 1), 1);
    atomic_fetch_sub_explicit(&nr_spte_pages, 1, memory_order_relaxed);
}

head_ref_t spte_heads_create(void)
{
    struct frame *f = pages_create(0);

    if (f == NULL) {
        return 0;
    }
    atomic_fetch_add_explicit(&nr_head_pages, 1, memory_order_relaxed);
    return to_ref(frame_to_mfn(f));
}

void spte_heads_destroy(head_ref_t first)
{
    pages_destroy(to_mfn(first), 0);
    atomic_fetch_sub_explicit(&nr_head_pages, 1, memory_order_relaxed);
}

uint64_t spte_rmap_bytes(void)
{
    return (nr_spte_pages + nr_head_pages) * PAGE_SIZE + spte_desc_bytes();
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

/* The other forms, out of the way of the one in use. */
static __attribute__((noinline)) int add_other(head_ref_t head, spte_ref_t s)
{
    int err = 0;

    if (form == SPTE_RMAP_SINGLE) {
        single_add(head, s);
    } else {
        err = spte_desc_add(spte_head(head), s);
        if (err == 0) {
            spte_link(s)->back = IS_HEAD | head;
        }
    }
    return err;
}

int spte_rmap_add(head_ref_t head, spte_ref_t s)
{
    ASSERT(spte_link(s)->back == 0);
    if (unlikely(form != SPTE_RMAP_SIBLING)) {
        return add_other(head, s);
    }
    sibling_add(head, s);
    return 0;
}

static __attribute__((noinline)) void remove_other(struct spte_link *l,
                                                   spte_ref_t s)
{
    if (form == SPTE_RMAP_SINGLE) {
        single_remove(l, s);
    } else {
        spte_desc_remove(spte_head(l->back & ~IS_HEAD), s);
    }
}

void spte_rmap_remove(spte_ref_t s)
{
    struct spte_link *l = spte_link(s);

    BUG_ON(l->back == 0);
    if (unlikely(form != SPTE_RMAP_SIBLING)) {
        remove_other(l, s);
    } else {
        sibling_remove(l);
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

static bool is_live(spte_ref_t s)
{
    mfn_t mfn = to_mfn(s);

    return mfn_is_ram(mfn) && mfn_to_frame(mfn)->use == FRAME_TABLE &&
           mfn_to_frame(mfn)->user == &links_mark;
}

spte_ref_t spte_rmap_audit_next(struct spte_rmap_audit *a, head_ref_t head,
                                uint64_t limit)
{
    spte_ref_t s;

    if (!a->is_begun) {
        a->is_begun = true;
        a->back = IS_HEAD | head;
        s = spte_rmap_first(&a->it, head);
    } else {
        s = spte_rmap_next(&a->it);
    }
    if (s == 0) {
        return 0;
    }
    if (!is_live(s)) {
        log_error("shadow: H4: chain %x reaches %x, of a page given back",
                  head, s);
        a->bad++;
        return 0;
    }
    if (++a->count > limit) {
        log_error("shadow: H3: chain %x does not end", head);
        a->bad++;
        return 0;
    }
    if (spte_link(s)->back != a->back) {
        log_error("shadow: %s: spte %x on chain %x has %x behind it",
                  a->back & IS_HEAD ? "H1" : "H2", s, head,
                  spte_link(s)->back);
        a->bad++;
    }
    if (form == SPTE_RMAP_SIBLING) {
        a->back = s;
    }
    return s;
}

unsigned spte_rmap_audit(head_ref_t head, uint64_t limit, uint64_t *count)
{
    struct spte_rmap_audit a = { 0 };

    while (spte_rmap_audit_next(&a, head, limit) != 0) {
        /* on to the next */
    }
    *count = a.count;
    return a.bad;
}
