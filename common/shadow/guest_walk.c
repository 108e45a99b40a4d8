/*
 * guest_walk.c - the processor's walk of the guest's page tables, in software.
 *
 *      CR3 --> PML4E --> PDPTE --> PDE --> PTE --> page      long mode
 *      CR3 ------------> PDPTE --> PDE --> PTE --> page      PAE
 *      CR3 ----------------------> PDE --> PTE --> page      2-level
 *
 * At each level: read the entry, present?, reserved bits?, gather U, W and NX,
 * stop early at a large page. Then the rights of all levels together are held
 * against the access (APM vol. 2, 5.3 to 5.6).
 */
#include <quire/guest_walk.h>

#define CR0_WP (UINT64_C(1) << 16)
#define CR0_PG (UINT64_C(1) << 31)
#define CR4_PSE (UINT64_C(1) << 4)
#define CR4_PAE (UINT64_C(1) << 5)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)
#define EFER_LMA (UINT64_C(1) << 10)
#define EFER_NXE (UINT64_C(1) << 11)
#define RFLAGS_AC (UINT64_C(1) << 18)

#define PTE_P UINT64_C(1)
#define PTE_W UINT64_C(2)
#define PTE_U UINT64_C(4)
#define PTE_PS (UINT64_C(1) << 7)
#define PTE_NX (UINT64_C(1) << 63)

static uint64_t bits(unsigned low, unsigned high)   /* [low, high) */
{
    return high <= low ? 0
         : (UINT64_MAX >> (64 - (high - low))) << low;
}

/* How one paging mode reads its tables. */
struct mode {
    unsigned levels;        /* of the top table */
    unsigned index_bits;    /* 9, or 10 where entries have 4 bytes */
    unsigned entry_len;
    unsigned phys_bits;
    bool nx, pae;
};

static struct mode paging_mode(const struct guest_paging *pg)
{
    struct mode m = {
        .phys_bits = pg->phys_bits != 0 ? pg->phys_bits : 48,
        .nx = (pg->efer & EFER_NXE) != 0,
        .entry_len = 8, .index_bits = 9, .pae = true,
    };
    if ((pg->efer & EFER_LMA) != 0) {
        m.levels = 4;
    } else if ((pg->cr4 & CR4_PAE) != 0) {
        m.levels = 3;
    } else {
        m = (struct mode){ .levels = 2, .entry_len = 4, .index_bits = 10,
                           .phys_bits = m.phys_bits };
    }
    return m;
}

static bool is_large(const struct guest_paging *pg, const struct mode *m,
                     unsigned level, uint64_t e)
{
    if (level == 2) {
        return (e & PTE_PS) != 0 && (m->pae || (pg->cr4 & CR4_PSE) != 0);
    }
    return level == 3 && m->levels == 4 && (e & PTE_PS) != 0;
}

/* Bits that must be zero in a present entry. */
static uint64_t reserved_bits(const struct mode *m, unsigned level, bool large)
{
    if (!m->pae) {
        /* A 4M page keeps bits 32..39 of its address in 13..20. */
        return large ? UINT64_C(1) << 21 : 0;
    }
    uint64_t r = bits(m->phys_bits, 52);
    if (!m->nx) {
        r |= PTE_NX;
    }
    if (m->levels == 3) {
        r |= bits(52, 63);
        if (level == 3) {
            /* Bit 5 too, say the manuals; but QEMU 7.2 sets it there, as if
             * a PDPTE had an accessed bit, and then walks on. */
            return r | PTE_NX | bits(6, 9) | PTE_W | PTE_U;
        }
    }
    if (level == 4) {
        r |= PTE_PS;
    }
    if (large) {
        r |= bits(13, level == 3 ? 30 : 21);
    }
    return r;
}

/* P2M_R/W/X that this access's privilege has on a page whose entries all had
 * @pte's U and W, and one NX if it has. */
static unsigned page_rights(const struct guest_paging *pg, uint64_t pte,
                            bool user, bool system)
{
    unsigned r = P2M_R | P2M_W | P2M_X;
    bool is_user_page = (pte & PTE_U) != 0;
    if ((pte & PTE_NX) != 0) {
        r &= ~P2M_X;
    }
    if (user) {
        if (!is_user_page) {
            return 0;
        }
        return (pte & PTE_W) != 0 ? r : r & ~P2M_W;
    }
    if ((pte & PTE_W) == 0 && (pg->cr0 & CR0_WP) != 0) {
        r &= ~P2M_W;
    }
    if (is_user_page) {
        if ((pg->cr4 & CR4_SMEP) != 0) {
            r &= ~P2M_X;
        }
        if ((pg->cr4 & CR4_SMAP) != 0 &&
            (system || (pg->rflags & RFLAGS_AC) == 0)) {
            r &= ~(P2M_R | P2M_W);
        }
    }
    return r;
}

static gpa_t page_address(const struct mode *m, unsigned level, uint64_t e)
{
    if (!m->pae) {
        return level == 1 ? e & bits(12, 32)
                          : (e & bits(22, 32)) | (e & bits(13, 21)) << 19;
    }
    return e & bits(12 + 9 * (level - 1), m->phys_bits);
}

static gpa_t table_address(const struct mode *m, uint64_t e)
{
    return e & bits(12, m->pae ? m->phys_bits : 32);
}

bool guest_walk_entry(const struct guest_paging *pg, unsigned level,
                      uint64_t e, gpa_t *gpa, bool *large)
{
    struct mode m = paging_mode(pg);

    *large = is_large(pg, &m, level, e);
    if ((e & PTE_P) == 0 || (e & reserved_bits(&m, level, *large)) != 0) {
        return false;
    }
    *gpa = level == 1 || *large ? page_address(&m, level, e)
                                : table_address(&m, e);
    return true;
}

static int walk_tables(const struct guest_paging *pg, const struct mode *m,
                       gva_t gva, guest_walk_read_fn *read, void *ctx,
                       struct guest_walk *w, uint64_t *rights)
{
    gpa_t table = m->levels == 3 ? pg->cr3 & bits(5, 32)
                : m->levels == 2 ? pg->cr3 & bits(12, 32)
                : pg->cr3 & bits(12, m->phys_bits);
    uint64_t all = PTE_U | PTE_W;
    for (unsigned level = m->levels;; level--) {
        unsigned shift = 12 + m->index_bits * (level - 1);
        uint64_t index = gva >> shift & bits(0, m->index_bits), e = 0;
        gpa_t at = table + index * m->entry_len;
        int err = read(ctx, at, &e, m->entry_len);
        if (err != 0) {
            return err;
        }
        w->entry_gpa[w->nr] = at;
        w->entry[w->nr++] = e;
        if ((e & PTE_P) == 0) {
            return -EFAULT;
        }
        bool large = is_large(pg, m, level, e);
        if ((e & reserved_bits(m, level, large)) != 0) {
            w->error |= PF_P | PF_RSV;
            return -EFAULT;
        }
        if (m->levels != 3 || level != 3) {     /* PAE's PDPTE has no rights */
            all = (all & e & (PTE_U | PTE_W)) | ((all | e) & PTE_NX);
        }
        if (level == 1 || large) {
            w->gpa = page_address(m, level, e) | (gva & bits(0, shift));
            w->order = shift - PAGE_SHIFT;
            *rights = all;
            return 0;
        }
        table = table_address(m, e);
    }
}

int guest_walk(const struct guest_paging *pg, gva_t gva, unsigned access,
               guest_walk_read_fn *read, void *ctx, struct guest_walk *w)
{
    bool system = (access & GUEST_WALK_SYSTEM) != 0;
    bool user = pg->cpl == 3 && !system;
    struct mode m = paging_mode(pg);
    *w = (struct guest_walk){ .gpa = UINT64_MAX };

    if (m.levels != 4) {
        gva = (uint32_t)gva;
    } else if ((uint64_t)((int64_t)(gva << 16) >> 16) != gva) {
        return -ERANGE;
    }
    if ((pg->cr0 & CR0_PG) == 0) {
        w->gpa = gva;
        w->rights = P2M_R | P2M_W | P2M_X;
        return 0;
    }
    w->error = ((access & P2M_W) != 0 ? PF_W : 0) | (user ? PF_U : 0);
    if ((access & P2M_X) != 0 &&
        ((m.nx && m.pae) || (pg->cr4 & CR4_SMEP) != 0)) {
        w->error |= PF_ID;
    }
    uint64_t pte = 0;
    int err = walk_tables(pg, &m, gva, read, ctx, w, &pte);
    if (err != 0) {
        return err;
    }
    w->rights = page_rights(pg, pte, user, system);
    if ((access & ~w->rights & (P2M_R | P2M_W | P2M_X)) != 0) {
        w->error |= PF_P;
        return -EFAULT;
    }
    w->error = 0;
    return 0;
}
