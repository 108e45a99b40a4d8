/*
 * fault.c - the processor's #PF: the guest's own, or one that making another
 * spte resolves.
 *
 *   1 walk the guest's tables; not allowed: inject
 *   2 hold the page's gfn against the p2m; not allowed: as a nested fault
 *   3 set the accessed bits, and the dirty bit for a write
 *   4 go down the shadow pages, making what is missing
 *   5 set the spte and put it on its gfn's chain
 *
 * All under the shadow's lock, so that what the p2m says here holds until the
 * listener comes; the guest's entries may change at any time, which matters
 * only where a table has just been write-protected: its entry is read again.
 */
#include "pages.h"

#include <quire/arch.h>

struct fault {
    struct shadow *s;
    struct shadow_vcpu *sv;
    struct guest_paging pg;
    gva_t gva;
    unsigned access;            /* P2M_R, P2M_W or P2M_X */
    union shadow_role role;     /* of the root */
    struct guest_walk w;
    unsigned nr_read;
    mfn_t table[4];             /* where each entry was read */
    unsigned table_rights[4];
    struct p2m_entry page;      /* what the address is, in the end */
    unsigned page_rights;
    struct npf *npf;
    struct work work;
};

#define FAULT_UNITS 6000    /* of making what is missing: three pages, or so */
/* Besides negative errnos; TO_P2M: npf is filled. */
enum { TO_P2M = 1, TO_EMULATOR = 2 };

static int to_p2m(struct fault *f, gpa_t gpa, unsigned access, bool present,
                  bool in_walk)
{
    *f->npf = (struct npf){ .gpa = gpa, .access = access,
                            .present = present, .in_walk = in_walk };
    return TO_P2M;
}

/* ---- the guest's tables ------------------------------------------------ */

static int read_entry(void *ctx, gpa_t gpa, void *buf, unsigned len)
{
    struct fault *f = ctx;
    struct p2m_entry e = p2m_lookup(f->s->p2m, gpa_to_gfn(gpa));
    unsigned rights = p2m_rights(e.type, e.tracking);
    const unsigned char *at;

    if ((rights & P2M_R) == 0 || !mfn_is_ram(e.mfn)) {
        return to_p2m(f, gpa, P2M_R, (rights & P2M_R) != 0, true);
    }
    f->table[f->nr_read] = e.mfn;
    f->table_rights[f->nr_read++] = rights;
    at = (const unsigned char *)arch_map_frame(e.mfn) + (gpa & PAGE_MASK);
    if (len == 4) {
        *(uint32_t *)buf = __atomic_load_n((const uint32_t *)(const void *)at,
                                           __ATOMIC_RELAXED);
    } else {
        *(uint64_t *)buf = __atomic_load_n((const uint64_t *)(const void *)at,
                                           __ATOMIC_RELAXED);
    }
    return 0;
}

/* False: it has changed meanwhile. */
static bool or_entry(mfn_t table, unsigned at, unsigned len, uint64_t old,
                     uint64_t bits)
{
    void *entry = (unsigned char *)arch_map_frame(table) + at;

    if (len == 4) {
        uint32_t was = (uint32_t)old;

        return __atomic_compare_exchange_n((uint32_t *)entry, &was,
                                           (uint32_t)(old | bits), false,
                                           __ATOMIC_SEQ_CST,
                                           __ATOMIC_RELAXED);
    }
    return __atomic_compare_exchange_n((uint64_t *)entry, &old, old | bits,
                                       false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

/* The accessed bits, and the dirty one. -ERESTART: an entry has changed. */
static int set_accessed(struct fault *f)
{
    bool is_pae = f->role.paging == PAGING_PAE;
    unsigned len = f->role.paging == PAGING_2LEVEL ? 4 : 8;

    for (unsigned i = is_pae ? 1 : 0; i < f->w.nr; i++) {
        bool is_dirty = i == f->w.nr - 1 && f->access == P2M_W;
        uint64_t bits = (GPTE_A | (is_dirty ? GPTE_D : 0)) & ~f->w.entry[i];

        if (bits == 0) {
            continue;
        }
        if ((f->table_rights[i] & P2M_W) == 0) {
            return to_p2m(f, f->w.entry_gpa[i], P2M_W, true, true);
        }
        if (!or_entry(f->table[i], f->w.entry_gpa[i] & PAGE_MASK, len,
                      f->w.entry[i], bits)) {
            return -ERESTART;
        }
        f->w.entry[i] |= bits;
    }
    return 0;
}

/* ---- the shadow pages -------------------------------------------------- */

/* What spte @i of @sp shall point at; *@k: the guest's entries used. */
static int next_child(struct fault *f, const struct shadow_page *sp,
                      unsigned i, unsigned *k, struct shadow_child *c)
{
    bool is_top = sp == f->sv->top;

    if (sp->role.direct || sp->role.paging == PAGING_NONE) {
        gfn_t base = is_top ? GFN(0) : sp->gfn;

        direct_child(sp->role, gfn_add(base, (uint64_t)i <<
                                             9 * (sp->role.level - 1)), c);
        if (is_top) {
            c->bits = SPTE_P;
        }
        return 0;
    }
    if (is_top && sp->role.paging == PAGING_2LEVEL) {
        c->gfn = GFN((uint32_t)f->pg.cr3 >> PAGE_SHIFT);
        c->role = sp->role;
        c->role.level = 2;
        c->role.quadrant = i & 3;
        c->bits = SPTE_P;
        return 0;
    }
    if (!child_of(f->s, sp->role, i, f->w.entry[(*k)++], c)) {
        return -ERESTART;
    }
    f->s->has_large |= c->role.direct;
    return 0;
}

/* What was read is what its table holds, now that everything on the way down
 * may have been write-protected. A table that is no RAM any more holds
 * nothing; tops and direct pages are of no table. */
static bool is_still(const struct shadow_page *sp, unsigned i, uint64_t e)
{
    return sp->is_top || sp->role.direct || entry_of(sp, i) == e;
}

/* Make spte @i of @sp, for entry @e, point at the child, found or made. */
static int get_child(struct fault *f, struct shadow_page *sp, unsigned i,
                     uint64_t e, const struct shadow_child *c,
                     struct shadow_page **child)
{
    spte_ref_t ref = sp->sptes + i;
    uint64_t *spte = spte_at(ref);
    int err;

    if ((*spte & SPTE_P) != 0) {
        *child = page_at(spte_mfn(*spte));
        if (likely((*child)->gfn.n == c->gfn.n &&
                   (*child)->role.word == c->role.word)) {
            uint64_t wanted = mfn_to_maddr(page_mfn(*child)) | c->bits;

            if (*spte != wanted) {
                __atomic_store_n(spte, wanted, __ATOMIC_RELAXED);
                f->s->changes++;
            }
            return 0;
        }
        page_clear(f->s, sp, ref);
    }
    err = page_get(f->s, c->gfn, c->role, &f->work, child);
    if (err != 0) {
        return err;
    }
    /* @sp may have been compared with its table, and be in sync since. */
    return is_still(sp, i, e) ? page_link(f->s, ref, *child, c->bits)
                              : -ERESTART;
}

/* ---- the last level ---------------------------------------------------- */

static uint64_t page_spte(struct fault *f, const struct shadow_page *sp)
{
    bool is_write = f->access == P2M_W;
    gfn_t gfn = gpa_to_gfn(f->w.gpa);
    uint64_t e = f->w.nr == 0 ? 0 : f->w.entry[f->w.nr - 1];
    uint64_t spte = leaf_bits(sp->role, e, !sp->role.wp && is_write &&
                                           f->pg.cpl != 3);

    if ((f->page_rights & P2M_W) == 0) {
        spte &= ~SPTE_W;
    }
    if ((f->page_rights & P2M_X) == 0) {
        spte |= SPTE_NX;
    }
    if ((spte & SPTE_W) != 0 && unlikely(is_table_in_sync(f->s, gfn))) {
        if (is_write) {
            let_unsync(f->s, gfn);
        } else {
            spte &= ~SPTE_W;
        }
    }
    if (f->page.type == p2m_ram_rw) {
        spte |= SPTE_SOLE;
    }
    return spte | mfn_to_maddr(f->page.mfn);
}

static int set_leaf(struct fault *f, struct shadow_page *sp, spte_ref_t ref)
{
    uint64_t *at = spte_at(ref), old = *at, spte = page_spte(f, sp);
    gfn_t gfn = gpa_to_gfn(f->w.gpa);
    struct spte_iter it;
    spte_ref_t first;
    head_ref_t head;
    int err;

    if ((old & SPTE_P) != 0) {
        if (((old ^ spte) & SPTE_MFN) == 0 && (old & spte & SPTE_SOLE) != 0) {
            /* The same gfn: it is on its chain. */
            f->s->tlbs_dirty |= (old & ~spte & SPTE_W) != 0;
            __atomic_store_n(at, spte, __ATOMIC_RELAXED);
            f->s->changes++;
            return 0;
        }
        page_clear(f->s, sp, ref);
    }
    head = heads_get(f->s, gfn);
    if (head == 0) {
        return -ENOMEM;
    }
    first = spte_rmap_first(&it, head);
    if (first != 0 &&
        unlikely(((*spte_at(first) ^ spte) & SPTE_MFN) != 0)) {
        /* A chain is of one frame, so that a look at its first says whether
         * it is the p2m's: the listener is about to come for the others. */
        return -ERESTART;
    }
    err = spte_rmap_add(head, ref);
    if (err == 0) {
        __atomic_store_n(at, spte, __ATOMIC_RELEASE);
        sp->nr_present++;
        f->s->changes++;
    }
    return err;
}

static int descend(struct fault *f)
{
    struct shadow_page *sp = f->sv->root, *child;
    unsigned k = 0;
    int err;

    f->work = (struct work){ .left = FAULT_UNITS };
    for (;;) {
        unsigned i = f->gva >> (PAGE_SHIFT + 9 * (sp->role.level - 1)) &
                     (SPTES_PER_PAGE - 1);
        uint64_t e = f->w.entry[k];     /* if it is for a table */
        struct shadow_child c;

        if (!is_still(sp, i, e)) {
            return -ERESTART;
        }
        if (sp->role.level == 1) {
            page_touch(f->s, sp);
            return set_leaf(f, sp, sp->sptes + i);
        }
        /* Not the oldest any more, and kept where room is made. */
        page_pin(f->s, sp);
        err = next_child(f, sp, i, &k, &c);
        if (err == 0) {
            err = get_child(f, sp, i, e, &c, &child);
        }
        page_unpin(f->s, sp);
        if (err != 0) {
            return err;
        }
        sp = child;
    }
}

/* ---- the short way ----------------------------------------------------- */

/* The shadow page of level 1 for the address, with what the links on the way
 * give: U, W and NX. Or NULL. */
static struct shadow_page *find_leaf_page(const struct fault *f,
                                          uint64_t *rights)
{
    mfn_t at = page_mfn(f->sv->root);
    uint64_t all = SPTE_W | SPTE_U;

#pragma GCC unroll 3
    for (unsigned shift = 39; shift > PAGE_SHIFT; shift -= 9) {
        const uint64_t *sptes = arch_map_frame(at);
        uint64_t spte = sptes[f->gva >> shift & (SPTES_PER_PAGE - 1)];

        if ((spte & SPTE_P) == 0) {
            return NULL;
        }
        all = (all & spte & (SPTE_W | SPTE_U)) | ((all | spte) & SPTE_NX);
        at = spte_mfn(spte);
    }
    *rights = all;
    return page_at(at);
}

/* What @all, of every entry on the way, says of the access. CR0.WP is set. */
enum verdict { ALLOWED, DENIED, UNSURE };

static enum verdict judge(const struct fault *f, uint64_t all)
{
    bool is_fetch = f->access == P2M_X;

    if ((f->access == P2M_W && (all & SPTE_W) == 0) ||
        (is_fetch && (all & SPTE_NX) != 0)) {
        return DENIED;
    }
    if (f->pg.cpl == 3) {
        return (all & SPTE_U) != 0 ? ALLOWED : DENIED;
    }
    if ((all & SPTE_U) != 0 &&
        (f->pg.cr4 & (is_fetch ? CR4_SMEP : CR4_SMAP)) != 0) {
        return UNSURE;
    }
    return ALLOWED;
}

static int deny(struct fault *f, uint32_t present)
{
    f->w.error = present | (f->access == P2M_W ? PF_W : 0) |
                 (f->pg.cpl == 3 ? PF_U : 0);
    if (f->access == P2M_X &&
        (f->role.nxe || (f->pg.cr4 & CR4_SMEP) != 0)) {
        f->w.error |= PF_ID;
    }
    return -EFAULT;
}

/* The page of an allowed access, by entry @e for spte @i of @sp. */
static bool map_last(struct fault *f, struct shadow_page *sp, unsigned i,
                     uint64_t e, int *err)
{
    uint64_t bits = (GPTE_A | (f->access == P2M_W ? GPTE_D : 0)) & ~e;

    if (bits != 0) {
        struct p2m_entry t = p2m_lookup(f->s->p2m, sp->gfn);

        if ((p2m_rights(t.type, t.tracking) & P2M_W) == 0 ||
            !mfn_eq(t.mfn, sp->mfn)) {
            return false;
        }
    }
    f->w.gpa = e & f->s->address;
    f->page = p2m_lookup(f->s->p2m, gpa_to_gfn(f->w.gpa));
    f->page_rights = p2m_rights(f->page.type, f->page.tracking);
    if ((f->access & ~f->page_rights) != 0 ||
        (bits != 0 && !or_entry(sp->mfn, i * 8, 8, e, bits))) {
        return false;
    }
    f->w.entry[0] = e | bits;
    f->w.nr = 1;
    page_touch(f->s, sp);
    *err = set_leaf(f, sp, sp->sptes + i);
    return true;
}

/*
 * In long mode, with CR0.WP set and all tables above level 1 in sync, the
 * links say what those hold, and only the last entry is to be read. False:
 * not that simple, nothing done. A table that has moved and of which the
 * listener is about to tell denies nothing any more.
 */
static bool handle_last(struct fault *f, int *err)
{
    unsigned i = f->gva >> PAGE_SHIFT & (SPTES_PER_PAGE - 1);
    struct shadow_page *sp;
    uint64_t rights, e;

    if (f->role.paging != PAGING_LONG || !f->role.wp ||
        !list_is_empty(&f->s->unsync_upper)) {
        return false;
    }
    sp = find_leaf_page(f, &rights);
    if (sp == NULL || sp->role.direct) {
        return false;
    }
    e = entry_of(sp, i);
    if ((e & GPTE_P) == 0) {
        *err = deny(f, 0);
        return !is_lock_taken(&f->s->p2m->lock);
    }
    if ((e & f->s->reserved) != 0 ||
        (!f->role.nxe && (e & GPTE_NX) != 0)) {
        return false;
    }
    rights = (rights & (e | SPTE_NX)) | (e & GPTE_NX);
    switch (judge(f, rights)) {
    case ALLOWED:
        return map_last(f, sp, i, e, err);
    case DENIED:
        *err = deny(f, PF_P);
        return !is_lock_taken(&f->s->p2m->lock);
    default:
        return false;
    }
}

/* ---- all of it --------------------------------------------------------- */

/* Whether no spte can allow this write, that CR0.WP would forbid, and still
 * let SMAP see a page of the user's. */
static bool needs_emulator(const struct fault *f)
{
    uint64_t all = GPTE_W | GPTE_U;

    for (unsigned i = f->role.paging == PAGING_PAE ? 1 : 0; i < f->w.nr;
         i++) {
        all &= f->w.entry[i];
    }
    return f->access == P2M_W && f->pg.cpl != 3 && all == GPTE_U;
}

static int handle(struct fault *f, unsigned walk_access)
{
    int err;

    if (likely(handle_last(f, &err))) {
        return err;
    }
    err = guest_walk(&f->pg, f->gva, walk_access, read_entry, f, &f->w);

    if (err != 0) {
        return err;
    }
    f->page = p2m_lookup(f->s->p2m, gpa_to_gfn(f->w.gpa));
    f->page_rights = p2m_rights(f->page.type, f->page.tracking);
    if ((f->access & ~f->page_rights) != 0) {
        return to_p2m(f, f->w.gpa, f->access,
                      (f->page_rights & P2M_R) != 0, false);
    }
    err = set_accessed(f);
    if (err == 0 && f->role.smap && needs_emulator(f)) {
        return TO_EMULATOR;
    }
    return err != 0 ? err : descend(f);
}

enum shadow_result shadow_fault(struct shadow *s, struct shadow_vcpu *sv,
                                const struct guest_paging *pg, gva_t gva,
                                uint32_t error, struct npf *npf,
                                uint32_t *pf_error)
{
    bool is_user = (error & PF_U) != 0;
    struct fault f;             /* not all of it zeroed: every fault's */
    int err = -ERESTART;

    f.s = s;
    f.sv = sv;
    f.pg = *pg;
    f.npf = npf;
    f.role = role_now(sv, pg);
    f.nr_read = 0;
    f.gva = f.role.paging == PAGING_LONG ? gva : (uint32_t)gva;
    f.access = (error & PF_W) != 0 ? P2M_W
             : (error & PF_ID) != 0 ? P2M_X : P2M_R;
    f.pg.cpl = is_user ? 3 : 0;
    spin_lock(&s->lock);
    if (!shadow_is_stale(sv) && sv->root->role.word == f.role.word) {
        err = handle(&f, f.access | (!is_user && pg->cpl == 3
                                     ? GUEST_WALK_SYSTEM : 0));
    }
    spin_unlock(&s->lock);
    switch (err) {
    case -EFAULT:
    case -ERANGE:
        *pf_error = f.w.error;
        s->stats.injected++;
        return SHADOW_INJECT;
    case TO_P2M:
        s->stats.p2m++;
        return SHADOW_P2M;
    case TO_EMULATOR:
        s->stats.emulated++;
        return SHADOW_EMULATE;
    case -ENOMEM:
        return SHADOW_NOMEM;
    default:
        s->stats.hidden++;
        return SHADOW_RETRY;
    }
}
