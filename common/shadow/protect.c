/*
 * protect.c - what the sptes of a gfn may do: no writes where it is a table
 * that shadow pages follow, nothing that the p2m has taken back.
 */
#include "pages.h"

#define ZAP_COST 60             /* of one spte */
#define TAKE_COST 25

/* Empty the chain. Preemptible. */
static int zap_chain(struct shadow *s, head_ref_t head, struct work *w)
{
    struct spte_iter it;
    spte_ref_t ref;

    while ((ref = spte_rmap_first(&it, head)) != 0) {
        page_clear(s, page_of(ref), ref);
        if (work_spend(w, ZAP_COST) && !spte_rmap_is_empty(head)) {
            return -ERESTART;
        }
    }
    return 0;
}

/* Take @bits from every spte of the chain, each of which takes one of *@room.
 * False: there are more. */
static bool take_bits(head_ref_t head, uint64_t bits, unsigned *room,
                      bool *had_w)
{
    struct spte_iter it;

    for (spte_ref_t ref = spte_rmap_first(&it, head); ref != 0;
         ref = spte_rmap_next(&it)) {
        uint64_t *spte = spte_at(ref), old = *spte;

        if ((*room)-- == 0) {
            *room = 0;
            return false;
        }
        if ((old & bits) != 0) {
            *had_w |= (old & SPTE_W) != 0;
            __atomic_store_n(spte, old & ~bits, __ATOMIC_RELAXED);
        }
    }
    return true;
}

int protect_gfn(struct shadow *s, gfn_t gfn, unsigned *room,
                bool *need_flush)
{
    head_ref_t head = heads_find(s, gfn);
    bool had_w = false;
    int err = 0;

    if (head != 0 && !take_bits(head, SPTE_W, room, &had_w)) {
        struct work some = { .left = MAX_CHAIN / 2 * ZAP_COST };

        /* Gone rather than looked at again: so it gets shorter. */
        (void)(zap_chain(s, head, &some) == 0);
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
            s->nr_unsync++;
            sp->writes += sp->writes < UINT8_MAX;
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

/* Returns units of work. */
static int64_t chain_changed(struct shadow *s, gfn_t gfn, head_ref_t head)
{
    struct p2m_entry e = p2m_lookup(s->p2m, gfn);
    unsigned rights = p2m_rights(e.type, e.tracking), room = UINT32_MAX;
    struct spte_iter it;
    spte_ref_t first = spte_rmap_first(&it, head);
    bool had_w = false;

    if (!mfn_eq(spte_mfn(*spte_at(first)), e.mfn) ||
        (~rights & (P2M_R | P2M_X)) != 0) {
        struct work all = { .left = INT64_MAX };

        (void)(zap_chain(s, head, &all) == 0);
        return INT64_MAX - all.left;
    }
    (void)take_bits(head, ((rights & P2M_W) == 0 ? SPTE_W : 0) |
                          (e.type != p2m_ram_rw ? SPTE_SOLE : 0),
                    &room, &had_w);
    s->changes++;
    if (had_w) {
        s->tlbs_dirty = true;
    }
    return (int64_t)(UINT32_MAX - room) * TAKE_COST;
}

/* Shadow pages in bucket @b of tables at [@first, @end). */
static int64_t tables_changed(struct shadow *s, unsigned b, uint64_t first,
                              uint64_t end)
{
    struct shadow_page *next;
    int64_t units = 0;

    for (struct shadow_page *sp = s->hash[b]; sp != NULL; sp = next) {
        next = sp->hash_next;
        if (sp->gfn.n >= first && sp->gfn.n < end && !sp->role.direct &&
            !mfn_eq(page_table_mfn(s, sp->gfn), sp->mfn)) {
            units += (int64_t)page_drop(s, sp) * ZAP_COST;
        }
    }
    return units;
}

void protect_changed(struct p2m_listener *l, struct p2m *p, gfn_t gfn,
                     uint64_t nr)
{
    struct shadow *s = container_of(l, struct shadow, listener);
    uint64_t end = gfn.n + nr, buckets = UINT64_C(1) << s->hash_bits;
    int64_t units = 0;

    (void)p;
    spin_lock(&s->lock);
    for (uint64_t g = heads_next(s, gfn.n, end); g < end;
         g = heads_next(s, g, end)) {
        head_ref_t head = heads_find(s, GFN(g));
        uint64_t stop = MIN(end, (g | (SPTES_PER_PAGE - 1)) + 1);

        for (; head != 0 && g < stop; g++, head++) {
            if (!spte_rmap_is_empty(head)) {
                units += chain_changed(s, GFN(g), head);
            }
        }
    }
    if (s->nr_pages != s->nr_tops) {
        for (uint64_t i = 0; i < MIN(nr, buckets); i++) {
            unsigned b = nr < buckets ? hash_of(s, gfn_add(gfn, i))
                                      : (unsigned)i;

            if (s->hash[b] != NULL) {
                units += tables_changed(s, b, gfn.n, end);
            }
        }
    }
    spin_unlock(&s->lock);
    if (units > MAX_CHAIN) {    /* else part of what any change costs */
        work_charge(units);
    }
}

/* ---- and will ------------------------------------------------------------ */

/* Whether the chain is of at most *@room sptes, which are taken from it. */
static bool is_short(head_ref_t head, unsigned *room)
{
    unsigned left = *room;
    bool had_w = false;

    if (!take_bits(head, 0, &left, &had_w)) {
        return false;
    }
    *room = left;
    return true;
}

static int prepare_tables(struct shadow *s, gfn_t gfn, unsigned *room,
                          struct work *w)
{
    struct shadow_page *sp = s->hash[hash_of(s, gfn)];
    int err = 0;

    for (; sp != NULL && err == 0; sp = sp->hash_next) {
        if (sp->gfn.n == gfn.n && !sp->role.direct &&
            !is_short(spte_head_ref(&sp->parents), room)) {
            err = page_clear_parents(s, sp, w);
        }
    }
    return err;
}

static int prepare(struct shadow *s, gfn_t gfn, uint64_t nr, struct work *w)
{
    uint64_t end = gfn.n + nr;
    unsigned room = MAX_CHAIN;
    int err = 0;

    for (uint64_t g = heads_next(s, gfn.n, end); g < end;
         g = heads_next(s, g, end)) {
        head_ref_t head = heads_find(s, GFN(g));
        uint64_t stop = MIN(end, (g | (SPTES_PER_PAGE - 1)) + 1);

        for (; head != 0 && g < stop && err == 0; g++, head++) {
            if (!spte_rmap_is_empty(head) && !is_short(head, &room)) {
                err = zap_chain(s, head, w);
            }
        }
        if (err != 0) {
            return err;
        }
    }
    if (s->nr_pages != s->nr_tops) {
        for (uint64_t i = 0; i < MIN(nr, SPTES_PER_PAGE) && err == 0; i++) {
            err = prepare_tables(s, gfn_add(gfn, i), &room, w);
        }
    }
    return err;
}

int protect_prepare(struct p2m_listener *l, gfn_t gfn, uint64_t nr,
                    struct work *w)
{
    struct shadow *s = container_of(l, struct shadow, listener);
    int err;

    spin_lock(&s->lock);
    err = prepare(s, gfn, nr, w);
    spin_unlock(&s->lock);
    return err;
}

int shadow_prepare_change(struct shadow *s, gfn_t gfn, struct work *w)
{
    return protect_prepare(&s->listener, gfn, 1, w);
}
