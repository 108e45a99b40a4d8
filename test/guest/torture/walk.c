/*
 * walk.c - what the processor must do with an address, from the entries as
 * they are in memory (APM vol. 2, 5.3 to 5.6).
 *
 * Absent and reserved entries end the walk where they are met; the rights of
 * all levels are held against the access at the end. `break=` puts one wrong
 * rule in here, and then the test has to fail.
 */
#include "torture.h"

const struct mode mode_long =
    { "long", 4, 9, 8, 3, 512, { 0, 14, 7, 2, 0 } };
const struct mode mode_pae = { "pae", 3, 9, 8, 1, 4, { 0, 10, 2, 0 } };
const struct mode mode_two_level = { "legacy", 2, 10, 4, 1, 1024, { 0, 2, 0 } };
const struct mode mode_none = { "none", 0, 9, 8, 0, 4, { 0 } };

static bool rule(enum rule r)
{
    return setup.rule == r;
}

static uint64_t mask(unsigned low, unsigned high)       /* [low, high) */
{
    return low >= high ? 0 : (UINT64_MAX >> (64 - (high - low))) << low;
}

static bool has_nx(const struct world *w)
{
    return (w->efer & EFER_NXE) != 0 && w->mode != &mode_two_level;
}

static bool is_page(const struct world *w, unsigned level, uint64_t e)
{
    if (level == 1 || (e & PTE_PS) == 0) {
        return level == 1;
    }
    return level == 2 ? w->mode != &mode_two_level || (w->cr4 & CR4_PSE) != 0
                      : level == 3 && w->mode == &mode_long && setup.has_1g;
}

static uint64_t reserved(const struct world *w, unsigned level, uint64_t e)
{
    uint64_t r = mask(setup.phys_bits, w->mode == &mode_pae ? 63 : 52);

    if (w->mode == &mode_two_level) {   /* a 4M page: 13..20 are address */
        r = is_page(w, level, e) && level == 2 ? mask(21, 22) : 0;
        return rule(RULE_RSV) ? 0 : r;
    }
    if (!has_nx(w)) {
        r |= PTE_NX;
    }
    if (level == 4 || (level == 3 && !setup.has_1g)) {
        r |= PTE_PS;
    } else if (level > 1 && is_page(w, level, e)) {
        r |= mask(13, 12 + 9 * (level - 1));    /* bit 12 is PAT */
    }
    return rule(RULE_RSV) ? 0 : r;
}

/* Does the page, all of whose entries have U and W of @all and one NX if any
 * has, allow the access? */
static bool allows(const struct world *w, const struct touch *t, uint64_t all,
                   enum kind kind)
{
    bool is_user_page = (all & PTE_U) != 0;

    if (kind == FETCH && (all & PTE_NX) != 0 && has_nx(w) && !rule(RULE_NX)) {
        return false;
    }
    if (t->is_user) {
        return is_user_page && (kind == READ || kind == FETCH ||
                                (all & PTE_W) != 0);
    }
    if (is_user_page && kind == FETCH) {
        return (w->cr4 & CR4_SMEP) == 0 || rule(RULE_SMEP);
    }
    if (is_user_page && (w->cr4 & CR4_SMAP) != 0 && !t->has_ac &&
        kind != FETCH && !rule(RULE_SMAP)) {
        return false;
    }
    return kind == READ || kind == FETCH || (all & PTE_W) != 0 ||
           (w->cr0 & CR0_WP) == 0 || rule(RULE_WP);
}

/* Where the page of @size bytes is that @e of @level maps. */
static uint64_t page_of(const struct world *w, unsigned level, uint64_t e,
                        uint64_t size)
{
    if (w->mode == &mode_two_level && level == 2) {
        return (e & mask(22, 32)) | (e & mask(13, 21)) << 19;
    }
    return e & mask(12, 52) & -size;
}

static void fault(struct walk *out, unsigned error)
{
    out->vector = TRAP_PF;
    out->error |= error;
}

static void finish(const struct world *w, const struct touch *t,
                   struct walk *out, uint64_t all)
{
    out->is_readable = allows(w, t, all, READ);
    if (!allows(w, t, all, t->kind)) {
        fault(out, PF_P);
    }
}

static enum stale stale_for(const struct touch *t, enum stale s)
{
    return s != STALE_USER ? s : t->is_user ? STALE_RIGHTS : STALE_ANY;
}

void walk_address(const struct world *w, const struct touch *t,
                  struct walk *out)
{
    const struct mode *m = w->mode;
    uint64_t table = w->tables + w->root * PAGE_SIZE, all = PTE_U | PTE_W;

    *out = (struct walk){ 0 };
    if (m == &mode_none) {
        *out = (struct walk){ .gpa = t->va, .size = PAGE_SIZE };
        return;
    }
    if (m == &mode_long && (uint64_t)((int64_t)(t->va << 16) >> 16) != t->va) {
        out->vector = TRAP_GP;
        return;
    }
    out->error = (t->kind == WRITE || t->kind == RMW ? PF_W : 0)
               | (t->is_user ? PF_U : 0)
               | (t->kind == FETCH && (has_nx(w) ||
                                       (w->cr4 & CR4_SMEP) != 0) ? PF_ID : 0);
    for (unsigned level = m->levels;; level--) {
        unsigned shift = PAGE_SHIFT + m->index_bits * (level - 1);
        uint64_t at = table + (t->va >> shift & mask(0, m->index_bits))
                            * m->entry_len;
        uint64_t e = entry_read(w, at);

        out->at[out->nr] = at;
        out->entry[out->nr++] = e;
        out->stale = MAX(out->stale, stale_for(t, tables_stale(w, at)));
        if ((e & PTE_P) == 0) {
            fault(out, 0);
            return;
        }
        if ((e & reserved(w, level, e)) != 0) {
            fault(out, PF_P | PF_RSV);
            return;
        }
        if (m != &mode_pae || level < m->levels) {      /* no rights there */
            if (!rule(RULE_USER) || is_page(w, level, e)) {
                all &= e | ~PTE_U;
            }
            all = (all & (e | ~PTE_W)) | (e & PTE_NX);
        }
        if (is_page(w, level, e)) {
            out->size = UINT64_C(1) << shift;
            out->gpa = page_of(w, level, e, out->size)
                     | (t->va & mask(0, shift));
            finish(w, t, out, all);
            return;
        }
        table = e & PTE_ADDR;
    }
}
