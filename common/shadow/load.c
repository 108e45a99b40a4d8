/*
 * load.c - what the guest does to its translations: a CR3 load or a change of
 * paging mode finds the root of its tables; INVLPG has one address compared.
 */
#include "pages.h"

#define EFER_LMA (UINT64_C(1) << 10)

bool shadow_is_stale(const struct shadow_vcpu *sv)
{
    return sv->root == NULL || sv->root->dead;
}

maddr_t shadow_cr3(const struct shadow_vcpu *sv)
{
    return mfn_to_maddr(page_mfn(sv->root));
}

union shadow_role role_now(const struct shadow_vcpu *sv,
                           const struct guest_paging *pg)
{
    if (likely(sv->root != NULL && ((sv->cr0 ^ pg->cr0) |
               (sv->cr4 ^ pg->cr4) | (sv->efer ^ pg->efer)) == 0)) {
        return sv->root->role;
    }
    return role_of(pg);
}

static void set_root(struct shadow *s, struct shadow_vcpu *sv,
                     struct shadow_page *sp)
{
    if (sv->root != sp) {
        page_pin(s, sp);
        if (sv->root != NULL) {
            page_unpin(s, sv->root);
        }
        sv->root = sp;
    }
}

static int load_long(struct shadow *s, struct shadow_vcpu *sv,
                     const struct guest_paging *pg, union shadow_role role,
                     struct work *w)
{
    uint64_t end = UINT64_C(1) << (s->phys_bits - PAGE_SHIFT);
    gfn_t gfn = GFN(pg->cr3 >> PAGE_SHIFT & (end - 1));
    struct shadow_page *sp;
    int err = page_get(s, gfn, role, w, &sp);

    if (err == 0) {
        set_root(s, sv, sp);
    }
    return err;
}

/* Four entries, filled in as the guest faults. */
static void load_top(struct shadow *s, struct shadow_vcpu *sv,
                     union shadow_role role)
{
    struct shadow_page *top = sv->top;

    for (unsigned i = 0; i < 4; i++) {
        if (*spte_at(top->sptes + i) != 0) {
            page_clear(s, top, top->sptes + i);
        }
    }
    top->role = role;
    set_root(s, sv, top);
}

int shadow_load(struct shadow *s, struct shadow_vcpu *sv,
                const struct guest_paging *pg, struct work *w)
{
    int err;

    spin_lock(&s->lock);
    err = sync_all(s, true, w);
    if (err == 0 && unlikely(!list_is_empty(&s->dying))) {
        err = page_empty_dying(s, w);
    }
    if (err == 0) {
        union shadow_role role = role_now(sv, pg);

        if (role.paging == PAGING_LONG) {
            err = load_long(s, sv, pg, role, w);
        } else {
            load_top(s, sv, role);
        }
    }
    spin_unlock(&s->lock);
    if (err == 0) {
        sv->cr0 = pg->cr0;
        sv->cr4 = pg->cr4;
        sv->efer = pg->efer;
    }
    return err;
}

static void invalidate(struct shadow *s, struct shadow_page *sp, gva_t gva)
{
    for (;;) {
        unsigned i = gva >> (PAGE_SHIFT + 9 * (sp->role.level - 1)) &
                     (SPTES_PER_PAGE - 1);
        spte_ref_t ref = sp->sptes + i;

        if ((*spte_at(ref) & SPTE_P) == 0) {
            return;
        }
        if (sp->role.level == 1) {
            if (sp->unsync && is_entry_stale(s, sp, i)) {
                page_clear(s, sp, ref);
            }
            return;
        }
        sp = page_at(spte_mfn(*spte_at(ref)));
    }
}

int shadow_invlpg(struct shadow *s, struct shadow_vcpu *sv,
                  const struct guest_paging *pg, gva_t gva, struct work *w)
{
    int err;

    spin_lock(&s->lock);
    /* INVLPG drops all the entries above level 1 that a processor has
     * cached, not only those on the way (APM vol. 2, 5.5.2). */
    err = sync_all(s, false, w);
    if (err == 0 && !shadow_is_stale(sv)) {
        if ((pg->efer & EFER_LMA) == 0) {
            gva = (uint32_t)gva;
        }
        invalidate(s, sv->root, gva);
        err = s->has_large;
    }
    spin_unlock(&s->lock);
    return err;
}
