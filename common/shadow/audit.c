/*
 * audit.c - H1 to H9, the invariants of a shadow; see shadow.h.
 *
 * First every chain of the heads; then every page, on the four lists that
 * hold them all, spte by spte. What was counted on chains must be what was
 * counted on pages, so that an spte on no chain, or on two, shows.
 */
#include "pages.h"

#include <quire/log.h>

#define MAX_RESTARTS 8
#define PAGE_COST 7500          /* of one without an spte */

#define VIOLATION(a, ...) \
    do { \
        (a)->bad++; \
        log_error("shadow: " __VA_ARGS__); \
    } while (0)

static uint64_t max_chain(const struct shadow *s)
{
    return (uint64_t)s->nr_pages * SPTES_PER_PAGE;
}

/* ---- chains ------------------------------------------------------------ */

static void audit_on_chain(struct shadow_audit *a, struct shadow *s,
                           gfn_t gfn, spte_ref_t ref)
{
    struct p2m_entry e = p2m_lookup(s->p2m, gfn);
    unsigned rights = p2m_rights(e.type, e.tracking);
    uint64_t spte = *spte_at(ref);

    if ((spte & SPTE_P) == 0 || page_of(ref)->role.level != 1 ||
        !mfn_eq(spte_mfn(spte), e.mfn) || (rights & P2M_R) == 0) {
        VIOLATION(a, "H5: spte %x = %lx is on the chain of gfn %lx, which "
                  "has mfn %lx", ref, spte, gfn.n, e.mfn.n);
    }
    if ((spte & SPTE_W) == 0) {
        return;
    }
    if ((rights & P2M_W) == 0) {
        VIOLATION(a, "H7: spte %x writes to gfn %lx, of type %s", ref, gfn.n,
                  p2m_type_name(e.type));
    }
    if (is_table_in_sync(s, gfn)) {
        VIOLATION(a, "H7: spte %x writes to gfn %lx, a table in sync", ref,
                  gfn.n);
    }
}

/* A chain that is broken is followed no further, and its sum not asked. */
static void end_chain(struct shadow_audit *a)
{
    a->bad += a->chain.bad;
    a->chain = (struct spte_rmap_audit){ 0 };
}

static int audit_chains(struct shadow_audit *a, struct shadow *s,
                        struct work *w)
{
    const uint64_t end = UINT64_C(1) << P2M_GFN_BITS;

    while (a->cursor < end) {
        uint64_t g = a->chain.is_begun ? a->cursor
                                       : heads_next(s, a->cursor, end);
        head_ref_t head = g < end ? heads_find(s, GFN(g)) : 0;
        spte_ref_t ref;

        a->cursor = g;
        if (head == 0) {
            if (work_spend(w, 6000)) {
                return -ERESTART;
            }
            continue;
        }
        while ((ref = spte_rmap_audit_next(&a->chain, head,
                                           max_chain(s))) != 0) {
            a->on_chains++;
            audit_on_chain(a, s, GFN(g), ref);
            if (work_spend(w, 250)) {
                return -ERESTART;
            }
        }
        end_chain(a);
        a->cursor++;
        if (work_spend(w, 120)) {
            return -ERESTART;
        }
    }
    return 0;
}

/* ---- pages ------------------------------------------------------------- */

static int audit_parents(struct shadow_audit *a, struct shadow *s,
                         const struct shadow_page *sp, struct work *w)
{
    head_ref_t head = spte_head_ref(&sp->parents);
    spte_ref_t ref;

    while ((ref = spte_rmap_audit_next(&a->chain, head,
                                       max_chain(s))) != 0) {
        a->on_parents++;
        if ((*spte_at(ref) & SPTE_P) == 0 ||
            !mfn_eq(spte_mfn(*spte_at(ref)), page_mfn(sp)) ||
            page_of(ref)->role.level != sp->role.level + 1u) {
            VIOLATION(a, "H6: spte %x = %lx is among the parents of the "
                      "page at mfn %lx", ref, *spte_at(ref),
                      page_mfn(sp).n);
        }
        if (work_spend(w, 60)) {
            return -ERESTART;
        }
    }
    end_chain(a);
    return 0;
}

static void audit_page(struct shadow_audit *a, struct shadow *s,
                       const struct shadow_page *sp)
{
    bool is_top = gfn_eq(sp->gfn, GFN_INVALID);
    unsigned n = 0;

    for (unsigned i = 0; i < SPTES_PER_PAGE; i++) {
        n += (*spte_at(sp->sptes + i) & SPTE_P) != 0;
    }
    *(sp->role.level == 1 ? &a->present : &a->linked) += n;
    a->pages++;
    a->unsync += sp->unsync;
    if (n != sp->nr_present) {
        VIOLATION(a, "H9: the page at mfn %lx has %u sptes, counts %u",
                  page_mfn(sp).n, n, sp->nr_present);
    }
    if (!is_top && (page_find(s, sp->gfn, sp->role) == sp) == sp->dead) {
        VIOLATION(a, "H9: the page at mfn %lx is %s, and the hash says "
                  "otherwise", page_mfn(sp).n, sp->dead ? "dead" : "live");
    }
    if (sp->unsync == list_is_empty(&sp->unsync_link)) {
        VIOLATION(a, "H9: the page at mfn %lx is %s sync, its list says "
                  "otherwise", page_mfn(sp).n, sp->unsync ? "out of" : "in");
    }
    if ((sp->pins != 0) != (a->pass == 2)) {
        VIOLATION(a, "H9: the page at mfn %lx, pinned %u times, is on the "
                  "wrong list", page_mfn(sp).n, sp->pins);
    }
}

static bool is_spte_right(const struct shadow *s,
                          const struct shadow_page *sp, unsigned i)
{
    uint64_t spte = *spte_at(sp->sptes + i);

    if (sp->role.level == 1) {
        return is_leaf_allowed(s, sp->role, spte,
                               sp->role.direct ? 0 : entry_of(sp, i),
                               gfn_add(sp->gfn, i));
    }
    return sp->role.direct || !is_entry_stale(s, sp, i);
}

/* Dead pages, those out of sync and a vCPU's top follow no table. */
static bool has_to_agree(const struct shadow_page *sp)
{
    return !sp->dead && !sp->unsync && !gfn_eq(sp->gfn, GFN_INVALID);
}

static int audit_sptes(struct shadow_audit *a, struct shadow *s,
                       const struct shadow_page *sp, struct work *w)
{
    while (a->slot < SPTES_PER_PAGE) {
        unsigned i = a->slot++;
        uint64_t spte = *spte_at(sp->sptes + i);

        if ((spte & SPTE_P) == 0) {
            continue;
        }
        if (!is_spte_right(s, sp, i)) {
            VIOLATION(a, "H8: spte %lx for entry %u of the table at gfn "
                      "%lx, level %u, is more than that gives", spte, i,
                      sp->gfn.n, sp->role.level);
        }
        if (work_spend(w, 400)) {
            return -ERESTART;
        }
    }
    return 0;
}

static int audit_list(struct shadow_audit *a, struct shadow *s,
                      const struct list *head, struct work *w)
{
    const struct list *n = a->page == NULL ? head->next : &a->page->link;
    int err;

    while (n != head) {
        const struct shadow_page *sp = container_of(n, struct shadow_page,
                                                    link);

        if (a->page == NULL) {
            audit_page(a, s, sp);
            a->page = sp;
            a->slot = 0;
            a->has_parents = true;
            if (work_spend(w, PAGE_COST)) {
                return -ERESTART;
            }
        }
        err = a->has_parents ? audit_parents(a, s, sp, w) : 0;
        if (err == 0) {
            a->has_parents = false;
            err = has_to_agree(sp) ? audit_sptes(a, s, sp, w) : 0;
        }
        if (err != 0) {
            return err;
        }
        a->page = NULL;
        n = n->next;
    }
    return 0;
}

/* ---- all of it --------------------------------------------------------- */

static void audit_sums(struct shadow_audit *a, const struct shadow *s)
{
    if (a->on_chains != a->present) {
        VIOLATION(a, "H5: %lu sptes on chains, %lu present", a->on_chains,
                  a->present);
    }
    if (a->on_parents != a->linked) {
        VIOLATION(a, "H6: %lu links on chains of parents, %lu present",
                  a->on_parents, a->linked);
    }
    if (a->unsync != s->nr_unsync) {
        VIOLATION(a, "H9: %lu pages out of sync, %u counted", a->unsync,
                  s->nr_unsync);
    }
    if (a->pages != s->nr_pages) {
        VIOLATION(a, "H9: %lu pages on lists, %u counted", a->pages,
                  s->nr_pages);
    }
}

static int audit_locked(struct shadow_audit *a, struct shadow *s,
                        struct work *w)
{
    const struct list *lists[] = { &s->lru, &s->pinned, &s->doomed,
                                   &s->dying };
    int err = 0;

    if (a->is_begun && a->changes != s->changes) {
        if (a->restarts == MAX_RESTARTS) {
            return 0;           /* never quiet: what was seen was right */
        }
        *a = (struct shadow_audit){ .bad = a->bad,
                                    .restarts = a->restarts + 1 };
    }
    a->changes = s->changes;
    a->is_begun = true;
    if (a->pass == 0) {
        err = audit_chains(a, s, w);
        a->pass += err == 0;
    }
    while (err == 0 && a->pass <= ARRAY_SIZE(lists)) {
        err = audit_list(a, s, lists[a->pass - 1], w);
        a->pass += err == 0;
    }
    if (err == 0) {
        audit_sums(a, s);
    }
    return err;
}

int shadow_audit_run(struct shadow_audit *a, struct shadow *s,
                     struct work *w)
{
    int err;

    spin_lock(&s->lock);
    err = audit_locked(a, s, w);
    spin_unlock(&s->lock);
    return err;
}

unsigned shadow_audit(struct shadow *s)
{
    struct shadow_audit a = { 0 };

    while (shadow_audit_run(&a, s, NULL) != 0) {
        /* no budget, no stop */
    }
    return a.bad;
}
