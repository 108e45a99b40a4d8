/*
 * sync.c - what the guest's entries ask of sptes, and the comparison of the
 * two: a table that the guest may write is out of sync until the guest
 * flushes; then it is write-protected again, and what no longer agrees goes.
 */
#include "pages.h"

#include <quire/arch.h>

#define CR0_WP (UINT64_C(1) << 16)
#define CR0_PG (UINT64_C(1) << 31)
#define CR4_PSE (UINT64_C(1) << 4)
#define CR4_PAE (UINT64_C(1) << 5)
#define EFER_LMA (UINT64_C(1) << 10)
#define EFER_NXE (UINT64_C(1) << 11)

#define MAX_WRITES 8            /* to a table that nothing is read by */
#define SYNC_BATCH 8            /* tables for one flush */

union shadow_role role_of(const struct guest_paging *pg)
{
    union shadow_role r = { .level = 3, .access = ACCESS_ALL, .wp = 1 };

    if ((pg->cr0 & CR0_PG) == 0) {
        r.paging = PAGING_NONE;
        return r;
    }
    if ((pg->efer & EFER_LMA) != 0) {
        r.paging = PAGING_LONG;
        r.level = 4;
    } else {
        r.paging = (pg->cr4 & CR4_PAE) != 0 ? PAGING_PAE : PAGING_2LEVEL;
    }
    if (r.paging == PAGING_2LEVEL) {
        r.pse = (pg->cr4 & CR4_PSE) != 0;
    } else {
        r.nxe = (pg->efer & EFER_NXE) != 0;
    }
    r.wp = (pg->cr0 & CR0_WP) != 0;
    r.smep = !r.wp && (pg->cr4 & CR4_SMEP) != 0;
    r.smap = !r.wp && (pg->cr4 & CR4_SMAP) != 0;
    return r;
}

/* The registers that make a table of @role what it is. */
static struct guest_paging paging_of(const struct shadow *s,
                                     union shadow_role r)
{
    return (struct guest_paging){
        .cr0 = CR0_PG, .phys_bits = s->phys_bits,
        .cr4 = (r.paging != PAGING_2LEVEL ? CR4_PAE : 0) |
               (r.pse ? CR4_PSE : 0),
        .efer = (r.paging == PAGING_LONG ? EFER_LMA : 0) |
                (r.nxe ? EFER_NXE : 0),
    };
}

uint64_t entry_of(const struct shadow_page *sp, unsigned i)
{
    const void *page;

    if (mfn_eq(sp->mfn, MFN_INVALID)) {
        return 0;
    }
    page = arch_map_frame(sp->mfn);
    if (sp->role.paging == PAGING_2LEVEL) {
        i = sp->role.level == 1 ? sp->role.quadrant * 512u + i
                                : sp->role.quadrant * 256u + i / 2;
        return __atomic_load_n((const uint32_t *)page + i, __ATOMIC_RELAXED);
    }
    return __atomic_load_n((const uint64_t *)page + i, __ATOMIC_RELAXED);
}

/* ---- above level 1 ----------------------------------------------------- */

void direct_child(union shadow_role role, gfn_t gfn, struct shadow_child *c)
{
    c->gfn = gfn;
    c->bits = SPTE_P | SPTE_A | SPTE_U | SPTE_W;
    c->role = (union shadow_role){
        .level = role.level - 1u, .direct = 1, .access = role.access,
        .wp = role.wp, .smep = role.smep, .smap = role.smap,
    };
}

static unsigned access_bits(uint64_t e)
{
    return ((e & GPTE_W) != 0 ? ACCESS_W : 0) |
           ((e & GPTE_U) != 0 ? ACCESS_U : 0);
}

bool child_of(const struct shadow *s, union shadow_role role, unsigned i,
              uint64_t e, struct shadow_child *c)
{
    bool is_top = role.level == 3 && role.paging != PAGING_LONG;
    struct guest_paging pg = paging_of(s, role);
    uint64_t bits = SPTE_P;     /* PDPTEs of PAE have no rights */
    bool is_large;
    gpa_t gpa;

    ASSERT(role.paging != PAGING_NONE && !role.direct);
    if (!guest_walk_entry(&pg, role.level, e, &gpa, &is_large) ||
        (!is_top && (e & GPTE_A) == 0)) {
        return false;
    }
    c->role = role;
    if (!is_top) {
        bits |= SPTE_A | SPTE_U | SPTE_W | (e & GPTE_NX);
        if (role.wp) {
            bits &= e | ~(SPTE_U | SPTE_W);
            if (is_large && (e & GPTE_D) == 0) {
                bits &= ~SPTE_W;
            }
        } else {
            c->role.access &= access_bits(e) | ACCESS_D;
            if (is_large && (e & GPTE_D) == 0) {
                c->role.access &= ~ACCESS_D;
            }
        }
    }
    c->gfn = gpa_to_gfn(gpa);
    if (is_large) {
        if (role.paging == PAGING_2LEVEL && i % 2 != 0) {
            c->gfn.n += SPTES_PER_PAGE;     /* the other half of 4M */
        }
        direct_child(c->role, c->gfn, c);
        c->bits = bits;
        return true;
    }
    c->bits = bits;
    c->role.level = role.level - 1u;
    c->role.quadrant = role.paging == PAGING_2LEVEL ? i % 2 : 0;
    return true;
}

/* ---- level 1 ----------------------------------------------------------- */

uint64_t leaf_bits(union shadow_role role, uint64_t e, bool promote)
{
    unsigned access = role.access;
    uint64_t bits = SPTE_P | SPTE_A | SPTE_D;

    if (!role.direct) {
        access &= access_bits(e) | ((e & GPTE_D) != 0 ? ACCESS_D : 0);
        bits |= e & GPTE_NX;
    }
    if ((access & ACCESS_U) != 0) {
        bits |= SPTE_U;
    }
    if ((access & ACCESS_D) == 0) {
        return bits;
    }
    if ((access & ACCESS_W) != 0) {
        return bits | SPTE_W;
    }
    /* Hidden from the user, it would be from SMAP, too, which must see it as
     * soon as RFLAGS.AC is clear: such a write is emulated. */
    if (promote && (!role.smap || (bits & SPTE_U) == 0)) {
        /* CR0.WP is 0: the supervisor may write, so the user may not even
         * read until it says so, and SMEP sees no user page here. */
        if (role.smep && (bits & SPTE_U) != 0) {
            bits |= SPTE_NX;
        }
        bits = (bits | SPTE_W) & ~SPTE_U;
    }
    return bits;
}

/* U is no right: without it SMEP and SMAP let the supervisor do more. */
static bool is_within(uint64_t spte, uint64_t bits)
{
    return (spte & ~bits & SPTE_W) == 0 && ((spte ^ bits) & SPTE_U) == 0 &&
           (bits & ~spte & SPTE_NX) == 0;
}

bool is_leaf_allowed(const struct shadow *s, union shadow_role role,
                     uint64_t spte, uint64_t e, gfn_t gfn)
{
    struct guest_paging pg = paging_of(s, role);
    struct p2m_entry p;
    bool is_large;
    gpa_t gpa;

    if (!role.direct) {
        if ((e & GPTE_A) == 0 ||
            !guest_walk_entry(&pg, 1, e, &gpa, &is_large)) {
            return false;
        }
        gfn = gpa_to_gfn(gpa);
    }
    p = p2m_lookup(s->p2m, gfn);
    if (!mfn_eq(p.mfn, spte_mfn(spte)) ||
        ((spte & SPTE_SOLE) != 0 && p.type != p2m_ram_rw)) {
        return false;
    }
    return is_within(spte, leaf_bits(role, e, false)) ||
           (!role.wp && is_within(spte, leaf_bits(role, e, true)));
}

static bool is_leaf_stale(const struct shadow *s, union shadow_role role,
                          uint64_t spte, uint64_t e)
{
    /* Sole: the same frame is the same gfn, and the same chain. */
    return (spte & SPTE_SOLE) == 0 ||
           !is_leaf_allowed(s, role, spte, e, GFN_INVALID);
}

bool is_entry_stale(const struct shadow *s, const struct shadow_page *sp,
                    unsigned i)
{
    uint64_t spte = *spte_at(sp->sptes + i), e = entry_of(sp, i);
    const struct shadow_page *child;
    union shadow_role role;
    struct shadow_child c;

    if (sp->role.level == 1) {
        return is_leaf_stale(s, sp->role, spte, e);
    }
    if (!child_of(s, sp->role, i, e, &c)) {
        return true;
    }
    child = page_at(spte_mfn(spte));
    role = child->role;
    if ((role.access & ~c.role.access) != 0 ||
        ((role.access ^ c.role.access) & ACCESS_U) != 0) {
        return true;
    }
    role.access = c.role.access;    /* less to write is no harm */
    return child->gfn.n != c.gfn.n || role.word != c.role.word ||
           !is_within(spte, c.bits);
}

/* ---- the guest flushes ------------------------------------------------- */

/* A link that stays has to say what the entry says, more rights included: in
 * sync, the short way of a fault looks at links alone. */
static void renew_link(struct shadow *s, struct shadow_page *sp, unsigned i)
{
    uint64_t *spte = spte_at(sp->sptes + i);
    struct shadow_child c;

    if (child_of(s, sp->role, i, entry_of(sp, i), &c) &&
        (*spte & ~SPTE_MFN) != c.bits) {
        __atomic_store_n(spte, (*spte & SPTE_MFN) | c.bits,
                         __ATOMIC_RELAXED);
    }
}

#define QUICK_COST 90           /* of comparing an entry; else: */
#define LONG_COST 550

/* Of a link in long mode with CR0.WP set, in a few steps: entry @e says just
 * what it says. */
static bool is_link_same(const struct shadow_page *sp, uint64_t spte,
                         uint64_t e, uint64_t gfn)
{
    const struct shadow_page *child = page_at(spte_mfn(spte));

    return (e & GPTE_PS) == 0 && child->gfn.n == gfn &&
           child->role.word == sp->role.word - 1 &&     /* a level less */
           ((spte ^ e) & (SPTE_U | SPTE_W | SPTE_NX)) == 0;
}

/* Of a leaf: entry @e, whose dirty bit may be clear, gives what it has. */
static bool is_leaf_same(const struct shadow *s, uint64_t spte, uint64_t e,
                         uint64_t gfn)
{
    uint64_t may = (e & GPTE_D) != 0 ? e : e & ~GPTE_W;

    return (spte & SPTE_SOLE) != 0 && (spte & ~may & SPTE_W) == 0 &&
           ((spte ^ e) & SPTE_U) == 0 && (e & ~spte & SPTE_NX) == 0 &&
           mfn_eq(p2m_lookup(s->p2m, GFN(gfn)).mfn, spte_mfn(spte));
}

/* The usual, quickly. False says nothing. */
static bool is_entry_same(const struct shadow *s,
                          const struct shadow_page *sp, unsigned i)
{
    uint64_t spte, e, gfn;

    if (sp->role.paging != PAGING_LONG || !sp->role.wp) {
        return false;
    }
    e = entry_of(sp, i);
    spte = *spte_at(sp->sptes + i);
    if ((e & (GPTE_P | GPTE_A)) != (GPTE_P | GPTE_A) ||
        (e & s->reserved) != 0 || (!sp->role.nxe && (e & GPTE_NX) != 0)) {
        return false;
    }
    gfn = (e & s->address) >> PAGE_SHIFT;
    return sp->role.level == 1 ? is_leaf_same(s, spte, e, gfn)
                               : is_link_same(sp, spte, e, gfn);
}

/* Written again and again, and no fault has come by: no table any more, or
 * one that is not worth following. */
static int drop_unused(struct shadow *s, struct shadow_page *sp,
                       struct work *w)
{
    int err = page_clear_parents(s, sp, w);

    if (err == 0) {
        (void)page_drop(s, sp);
        s->stats.drops++;
    }
    return err;
}

static int sync_page(struct shadow *s, struct shadow_page *sp,
                     struct work *w)
{
    if (sp->writes >= MAX_WRITES && sp->pins == 0) {
        return drop_unused(s, sp, w);
    }
    while (sp->next < SPTES_PER_PAGE) {
        unsigned i = sp->next++;
        int64_t cost = LONG_COST;

        if (*spte_at(sp->sptes + i) == 0) {
            if (i % 64 == 63 && work_spend(w, 64 * 8)) {
                return -ERESTART;
            }
            continue;
        }
        if (likely(is_entry_same(s, sp, i))) {
            cost = QUICK_COST;
        } else if (is_entry_stale(s, sp, i)) {
            page_clear(s, sp, sp->sptes + i);
        } else if (sp->role.level > 1) {
            renew_link(s, sp, i);
        }
        if (work_spend(w, cost)) {
            return -ERESTART;
        }
    }
    sp->next = 0;
    sp->unsync = false;
    s->nr_unsync--;
    list_remove(&sp->unsync_link);
    s->stats.syncs++;
    s->changes++;
    return 0;
}

/* Some of a list that is not empty: protect them all, flush, compare. */
static int sync_some(struct shadow *s, struct list *unsync, struct work *w)
{
    struct shadow_page *batch[SYNC_BATCH];
    unsigned nr = 0, room = 2 * MAX_CHAIN;
    bool need_flush = false;
    int err = 0;

    list_for_each(n, unsync) {
        struct shadow_page *sp = container_of(n, struct shadow_page,
                                              unsync_link);

        if (nr == SYNC_BATCH || room < MAX_CHAIN || err != 0) {
            break;
        }
        if (sp->next == 0) {
            err = protect_gfn(s, sp->gfn, &room, &need_flush);
        }
        if (err == 0) {
            batch[nr++] = sp;
        }
    }
    if (need_flush) {
        shadow_flush(s);
    }
    for (unsigned i = 0; i < nr && err == 0; i++) {
        err = sync_page(s, batch[i], w);
        if (err == 0 && i + 1 < nr && work_spend(w, 60)) {
            err = -ERESTART;
        }
    }
    return err;
}

int sync_all(struct shadow *s, bool also_leaves, struct work *w)
{
    int err = 0;

    while (err == 0 && !list_is_empty(&s->unsync_upper)) {
        err = sync_some(s, &s->unsync_upper, w);
    }
    while (err == 0 && also_leaves && !list_is_empty(&s->unsync_leaves)) {
        err = sync_some(s, &s->unsync_leaves, w);
    }
    return err;
}

int page_get(struct shadow *s, gfn_t gfn, union shadow_role role,
             struct work *w, struct shadow_page **page)
{
    unsigned room = MAX_CHAIN;
    bool need_flush = false;
    int err;

    *page = page_find(s, gfn, role);
    if (*page != NULL) {
        /* Below it may be what this vCPU has flushed at another address. */
        err = sync_all(s, true, w);
        return err == 0 && (*page)->dead ? -ERESTART : err;
    }
    if (!role.direct) {
        /* First, so that no write is missed once it is found. */
        err = protect_gfn(s, gfn, &room, &need_flush);
        if (need_flush) {
            shadow_flush(s);
        }
        if (err != 0) {
            return err;
        }
    }
    return page_create(s, gfn, role, w, page);
}
