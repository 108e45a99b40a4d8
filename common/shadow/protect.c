/*
 * protect.c - what the sptes of a gfn may do: no writes where it is a table
 * that shadow pages follow, nothing that the p2m has taken back.
 */
#include "pages.h"

#define MAX_CHAIN 256           /* walked in one go */

/* Empty the chain, at most @max of it. True: it is empty. */
static bool zap_chain(struct shadow *s, head_ref_t head, unsigned max)
{
    struct spte_iter it;
    spte_ref_t ref;

    while ((ref = spte_rmap_first(&it, head)) != 0) {
        if (max-- == 0) {
            return false;
        }
        page_clear(s, page_of(ref), ref);
    }
    return true;
}

/* Take @bits from every spte of the chain. */
static bool take_bits(head_ref_t head, uint64_t bits, unsigned max,
                      bool *had_w)
{
    struct spte_iter it;

    for (spte_ref_t ref = spte_rmap_first(&it, head); ref != 0;
         ref = spte_rmap_next(&it)) {
        uint64_t *spte = spte_at(ref), old = *spte;

        if (max-- == 0) {
            return false;
        }
        if ((old & bits) != 0) {
            *had_w |= (old & SPTE_W) != 0;
            __atomic_store_n(spte, old & ~bits, __ATOMIC_RELAXED);
        }
    }
    return true;
}

int protect_gfn(struct shadow *s, gfn_t gfn, bool *need_flush)
{
    head_ref_t head = heads_find(s, gfn);
    bool had_w = false;
    int err = 0;

    if (head != 0 && !take_bits(head, SPTE_W, MAX_CHAIN, &had_w)) {
        /* Gone rather than looked at again: so it gets shorter. */
        (void)zap_chain(s, head, MAX_CHAIN);
        err = -ERESTART;
    }
    if (had_w) {
        s->tlbs_dirty = true;
        s->changes++;
    }
    *need_flush |= s->tlbs_dirty;
    return err;
}

bool is_table_in_sync(const struct shadow *s, gfn_t gfn)
{
    const struct shadow_page *sp = s->hash[hash_of(s, gfn)];

    for (; sp != NULL; sp = sp->hash_next) {
        if (sp->gfn.n == gfn.n && !sp->role.direct &&
            (!sp->unsync || sp->next != 0)) {
            return true;
        }
    }
    return false;
}

void let_unsync(struct shadow *s, gfn_t gfn)
{
    struct shadow_page *sp = s->hash[hash_of(s, gfn)];

    for (; sp != NULL; sp = sp->hash_next) {
        if (sp->gfn.n != gfn.n || sp->role.direct) {
            continue;
        }
        sp->next = 0;           /* what was compared may change again */
        if (!sp->unsync) {
            sp->unsync = true;
            list_append(sp->role.level == 1 ? &s->unsync_leaves
                                            : &s->unsync_upper,
                        &sp->unsync_link);
            s->stats.unsyncs++;
            s->changes++;
        }
    }
}

void shadow_written(struct shadow *s, gfn_t gfn)
{
    spin_lock(&s->lock);
    let_unsync(s, gfn);
    spin_unlock(&s->lock);
}

/* ---- the p2m has changed ----------------------------------------------- */

static void chain_changed(struct shadow *s, gfn_t gfn, head_ref_t head)
{
    struct spte_iter it;
    spte_ref_t first = spte_rmap_first(&it, head);
    struct p2m_entry e;
    unsigned rights;
    bool had_w = false;

    if (first == 0) {
        return;
    }
    e = p2m_lookup(s->p2m, gfn);
    rights = p2m_rights(e.type, e.tracking);
    if (!mfn_eq(spte_mfn(*spte_at(first)), e.mfn) ||
        (~rights & (P2M_R | P2M_X)) != 0) {
        (void)zap_chain(s, head, UINT32_MAX);
        return;
    }
    (void)take_bits(head, ((rights & P2M_W) == 0 ? SPTE_W : 0) |
                          (e.type != p2m_ram_rw ? SPTE_SOLE : 0),
                    UINT32_MAX, &had_w);
    s->changes++;
    if (had_w) {
        s->tlbs_dirty = true;
    }
}

/* Shadow pages in bucket @b of tables at [@first, @end). */
static void tables_changed(struct shadow *s, unsigned b, uint64_t first,
                           uint64_t end)
{
    struct shadow_page *next;

    for (struct shadow_page *sp = s->hash[b]; sp != NULL; sp = next) {
        next = sp->hash_next;
        if (sp->gfn.n >= first && sp->gfn.n < end && !sp->role.direct &&
            !mfn_eq(page_table_mfn(s, sp->gfn), sp->mfn)) {
            page_drop(s, sp);
        }
    }
}

void protect_changed(struct p2m_listener *l, struct p2m *p, gfn_t gfn,
                     uint64_t nr)
{
    struct shadow *s = container_of(l, struct shadow, listener);
    uint64_t end = gfn.n + nr, buckets = UINT64_C(1) << s->hash_bits;

    (void)p;
    spin_lock(&s->lock);
    for (uint64_t g = heads_next(s, gfn.n); g < end;
         g = heads_next(s, g + 1)) {
        chain_changed(s, GFN(g), heads_find(s, GFN(g)));
    }
    if (s->nr_pages != s->nr_tops) {
        for (uint64_t i = 0; i < MIN(nr, buckets); i++) {
            unsigned b = nr < buckets ? hash_of(s, gfn_add(gfn, i))
                                      : (unsigned)i;

            tables_changed(s, b, gfn.n, end);
        }
    }
    spin_unlock(&s->lock);
}

int shadow_prepare_change(struct shadow *s, gfn_t gfn, struct work *w)
{
    bool had_w = false, is_short;
    head_ref_t head;

    do {
        spin_lock(&s->lock);
        head = heads_find(s, gfn);
        is_short = head == 0 || take_bits(head, 0, MAX_CHAIN, &had_w);
        if (!is_short) {
            (void)zap_chain(s, head, MAX_CHAIN / 2);
        }
        spin_unlock(&s->lock);
        if (!is_short && work_spend(w, MAX_CHAIN * 25)) {
            return -ERESTART;
        }
    } while (!is_short);
    return 0;
}
