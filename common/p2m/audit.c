/*
 * audit.c - walks a whole p2m, entry by entry, trusting no map of it, and
 * names each invariant that does not hold:
 *
 *   P1  occupancy maps and populations are those of the entries
 *   P2  the counts by type are the sums over the entries
 *   P3  a present entry's frame is RAM, allocated, and of the right owner
 *   P4  tables: as many as counted, each in its place with one reference,
 *       none but the root empty
 *   P5  an entry is what the codec makes of its type and tracking
 */
#include "table.h"

#include <quire/log.h>

struct audit {
    struct p2m *p2m;
    uint64_t count[NR_P2M_TYPES];
    uint64_t tables;
    unsigned bad;
};

#define violation(a, fmt, ...) \
    do { \
        (a)->bad++; \
        log_error("p2m d%u: " fmt, (a)->p2m->owner, __VA_ARGS__); \
    } while (0)

static void check_frame(struct audit *a, uint64_t gfn, mfn_t mfn,
                        enum p2m_type type)
{
    const struct frame *f;
    enum frame_use use = type == p2m_ram_shared ? FRAME_SHARED : FRAME_GUEST;
    domid_t owner = type == p2m_ram_shared ? DOMID_COW : a->p2m->owner;

    if (type == p2m_mmio_direct) {
        return;
    }
    if (!mfn_is_ram(mfn)) {
        violation(a, "P3 gfn %lx: mfn %lx is no RAM", gfn, mfn.n);
        return;
    }
    f = mfn_to_frame(mfn);
    if (frame_refs(f) == 0 || f->use == FRAME_FREE) {
        violation(a, "P3 gfn %lx: mfn %lx is free", gfn, mfn.n);
    } else if (type != p2m_map_foreign && type != p2m_grant_map_rw &&
               type != p2m_grant_map_ro &&
               (frame_owner(f) != owner || f->use != use)) {
        violation(a, "P3 gfn %lx: mfn %lx (%s) belongs to d%u, use %u", gfn,
                  mfn.n, p2m_type_name(type), frame_owner(f), f->use);
    }
}

static void check_leaf(struct audit *a, uint64_t gfn, npte_t e,
                       unsigned level)
{
    uint64_t nr = UINT64_C(1) << npt_order(level);
    enum p2m_type type = npte_type(e);
    mfn_t mfn = npte_mfn(e);

    if (type >= NR_P2M_TYPES) {
        violation(a, "P5 gfn %lx: no type %u", gfn, type);
        return;
    }
    a->count[type] += nr;
    if (level == NPT_LEVELS ||
        e != npte_make(mfn, type, npte_tracking(e), level)) {
        violation(a, "P5 gfn %lx: entry %lx at level %u", gfn, e, level);
    }
    if (!npte_is_present(e)) {
        return;
    }
    if (mfn.n & (nr - 1)) {
        violation(a, "P5 gfn %lx: mfn %lx at level %u", gfn, mfn.n, level);
    }
    for (uint64_t k = 0; k < nr; k++) {
        check_frame(a, gfn + k, mfn_add(mfn, k), type);
    }
}

/* Whether @mfn may be looked into as the table of @level for @gfn. */
static bool check_table(struct audit *a, uint64_t gfn, mfn_t mfn,
                        unsigned level)
{
    const struct frame *f;
    const struct p2m_table *t;

    a->tables++;
    if (!mfn_is_ram(mfn) || mfn_to_frame(mfn)->use != FRAME_TABLE ||
        mfn_to_frame(mfn)->user == NULL) {
        violation(a, "P4 gfn %lx: mfn %lx is no table", gfn, mfn.n);
        return false;
    }
    f = mfn_to_frame(mfn);
    t = f->user;
    if (!mfn_eq(t->mfn, mfn) || t->level != level ||
        p2m_table_base(t).n != gfn || frame_refs(f) != 1) {
        violation(a, "P4 table %lx for gfn %lx, level %u: of gfn %lx, level "
                  "%u, %u references", mfn.n, gfn, level,
                  p2m_table_base(t).n, t->level, frame_refs(f));
    }
    if (t->population == 0 && level != NPT_LEVELS) {
        violation(a, "P4 table %lx for gfn %lx is empty", mfn.n, gfn);
    }
    return true;
}

static void check_below(struct audit *a, mfn_t mfn, uint64_t base,
                        unsigned level)
{
    const struct p2m_table *t = p2m_table_of(mfn);
    unsigned population = 0;

    for (unsigned i = 0; i < NPT_ENTRIES; i++) {
        npte_t e = p2m_table_read(t, i);
        uint64_t gfn = base + ((uint64_t)i << npt_order(level));
        bool mapped = t->occupied[i / 64] >> i % 64 & 1;

        if (mapped == npte_is_hole(e)) {
            violation(a, "P1 gfn %lx: map says %u of entry %lx, level %u",
                      gfn, mapped, e, level);
        }
        if (npte_is_hole(e)) {
            continue;
        }
        population++;
        if (!npte_is_table(e, level)) {
            check_leaf(a, gfn, e, level);
        } else if (check_table(a, gfn, npte_mfn(e), level - 1)) {
            check_below(a, npte_mfn(e), gfn, level - 1);
        }
    }
    if (population != t->population) {
        violation(a, "P1 table %lx: population %u, not %u", mfn.n,
                  t->population, population);
    }
}

unsigned p2m_audit(struct p2m *p)
{
    struct audit a = { .p2m = p };

    spin_lock(&p->lock);
    if (check_table(&a, 0, p->root, NPT_LEVELS)) {
        check_below(&a, p->root, 0, NPT_LEVELS);
    }
    for (unsigned t = 0; t < NR_P2M_TYPES; t++) {
        if (a.count[t] != p->count[t]) {
            violation(&a, "P2 %s: counted %lu, not %lu", p2m_type_name(t),
                      p->count[t], a.count[t]);
        }
    }
    if (a.tables != p->nr_tables) {
        violation(&a, "P4 %lu tables counted, not %lu", p->nr_tables,
                  a.tables);
    }
    spin_unlock(&p->lock);
    return a.bad;
}
