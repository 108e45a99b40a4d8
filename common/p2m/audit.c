/*
 * audit.c - walks a whole p2m, entry by entry, trusting no map of it that has
 * not been looked at before, and names each invariant that does not hold:
 *
 *   P1  occupancy maps and populations are those of the entries
 *   P2  the counts by type are the sums over the entries
 *   P3  a present entry's frame is RAM, allocated, and of the right owner
 *   P4  tables: as many as counted, each in its place with one reference,
 *       none but the root empty
 *   P5  an entry is what the codec makes of its type and tracking
 *
 * Level by level, from the root down: when a table is found by the maps above
 * it, those have been checked. A step is 32 entries of one table, or 32 frames
 * of a superpage, under one taking of the lock; the cursor is a gfn. As in
 * mem/audit.c, only what PASSES passes find in turn counts, since the sums of
 * a map that changes between two steps mean nothing.
 */
#include "table.h"

#include <quire/bitmap.h>
#include <quire/errno.h>
#include <quire/log.h>

#define PASSES 3
#define STEP 32

/* Units, measured. */
#define COST_ENTRY 150
#define COST_FRAME 80
#define COST_TABLE 300

#define violation(a, fmt, ...) \
    do { \
        (a)->bad++; \
        if ((a)->pass == PASSES - 1) { \
            log_error("p2m d%u: " fmt, (a)->p2m->owner, __VA_ARGS__); \
        } \
    } while (0)

static void check_frame(struct p2m_audit *a, uint64_t gfn, mfn_t mfn,
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
    if (frame_refs(f) == 0 || frame_use_of(f) == FRAME_FREE) {
        violation(a, "P3 gfn %lx: mfn %lx is free", gfn, mfn.n);
    } else if (type != p2m_map_foreign && type != p2m_grant_map_rw &&
               type != p2m_grant_map_ro &&
               (frame_owner(f) != owner || frame_use_of(f) != use)) {
        violation(a, "P3 gfn %lx: mfn %lx (%s) belongs to d%u, use %u", gfn,
                  mfn.n, p2m_type_name(type), frame_owner(f),
                  frame_use_of(f));
    }
}

/* All of a leaf but the frames behind it. */
static void check_entry(struct p2m_audit *a, uint64_t gfn, npte_t e,
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
    if (npte_is_present(e) && (mfn.n & (nr - 1)) != 0) {
        violation(a, "P5 gfn %lx: mfn %lx at level %u", gfn, mfn.n, level);
    }
}

static bool is_table_frame(mfn_t mfn)
{
    return mfn_is_ram(mfn) && mfn_to_frame(mfn)->use == FRAME_TABLE &&
           mfn_to_frame(mfn)->user != NULL;
}

static void check_table(struct p2m_audit *a, uint64_t gfn, mfn_t mfn,
                        unsigned level)
{
    const struct frame *f;
    const struct p2m_table *t;

    a->tables++;
    if (!is_table_frame(mfn)) {
        violation(a, "P4 gfn %lx: mfn %lx is no table", gfn, mfn.n);
        return;
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
}

/* The first table of a->level at or after a->cursor, below @t of @level, for
 * gfns from @base; its first gfn goes to *@found. NULL: none. */
static const struct p2m_table *find_table(const struct p2m_audit *a,
                                          const struct p2m_table *t,
                                          uint64_t base, unsigned level,
                                          uint64_t *found)
{
    unsigned order = npt_order(level), i = 0;

    if (level == a->level) {
        *found = base;
        return t;
    }
    if (a->cursor > base) {
        i = (unsigned)((a->cursor - base) >> order);
    }
    for (; i < NPT_ENTRIES; i++) {
        const struct p2m_table *below;
        npte_t e;

        i = p2m_table_next(t, i);
        if (i == NPT_ENTRIES) {
            break;
        }
        e = p2m_table_read(t, i);
        if (!npte_is_table(e, level) || !is_table_frame(npte_mfn(e))) {
            continue;
        }
        below = find_table(a, p2m_table_of(npte_mfn(e)),
                           base + ((uint64_t)i << order), level - 1, found);
        if (below != NULL) {
            return below;
        }
    }
    return NULL;
}

/* 32 entries of @t from @i on, which map @gfn and what follows. Their cost; a
 * superpage with memory ends the step, and its frames are next. */
static int64_t check_word(struct p2m_audit *a, const struct p2m_table *t,
                          unsigned i, uint64_t gfn)
{
    unsigned level = a->level;
    uint64_t map = t->occupied[i / 64];

    for (unsigned end = i + STEP - i % STEP; i < end; i++) {
        npte_t e = p2m_table_read(t, i);
        bool mapped = map >> i % 64 & 1;

        if (mapped == npte_is_hole(e)) {
            violation(a, "P1 gfn %lx: map says %u of entry %lx, level %u",
                      gfn, mapped, e, level);
        }
        a->cursor = gfn + (UINT64_C(1) << npt_order(level));
        if (npte_is_hole(e)) {
            /* nothing behind it */
        } else if (npte_is_table(e, level)) {
            check_table(a, gfn, npte_mfn(e), level - 1);
        } else {
            check_entry(a, gfn, e, level);
            if (npte_is_present(e) && level == 1) {
                check_frame(a, gfn, npte_mfn(e), npte_type(e));
            } else if (npte_is_present(e)) {
                a->frames = npte_mfn(e);
                a->frames_type = npte_type(e);
                a->frames_gfn = gfn;
                return COST_ENTRY;
            }
        }
        gfn = a->cursor;
    }
    return STEP * COST_ENTRY;
}

static void check_population(struct p2m_audit *a, const struct p2m_table *t)
{
    unsigned n = 0;

    for (unsigned i = 0; i < OCCUPIED_WORDS; i++) {
        n += bits_count(t->occupied[i]);
    }
    if (n != t->population) {
        violation(a, "P1 table %lx: population %u, not %u", t->mfn.n,
                  t->population, n);
    }
}

/* The frames of a superpage, from a->frames_gfn up to the cursor. */
static int64_t check_superpage(struct p2m_audit *a)
{
    for (unsigned i = 0; i < STEP && a->frames_gfn < a->cursor; i++) {
        check_frame(a, a->frames_gfn, a->frames, a->frames_type);
        a->frames_gfn++;
        a->frames = mfn_add(a->frames, 1);
    }
    return STEP * COST_FRAME;
}

/* One step of the walk of a->level; its cost, 0 at the end. */
static int64_t step(struct p2m_audit *a)
{
    const struct p2m_table *t = NULL;
    uint64_t base;
    unsigned i = 0;

    if (a->frames_gfn < a->cursor && a->frames_type != p2m_invalid) {
        return check_superpage(a);
    }
    a->frames_type = p2m_invalid;
    if (a->cursor >> P2M_GFN_BITS == 0 && is_table_frame(a->p2m->root)) {
        t = find_table(a, p2m_table_of(a->p2m->root), 0, NPT_LEVELS, &base);
    }
    if (t == NULL) {
        return 0;
    }
    if (a->cursor > base) {
        i = (unsigned)((a->cursor - base) >> npt_order(a->level));
    } else {
        check_population(a, t);
    }
    return COST_TABLE + check_word(a, t, i, base + ((uint64_t)i <<
                                                    npt_order(a->level)));
}

static void check_sums(struct p2m_audit *a)
{
    for (unsigned t = 0; t < NR_P2M_TYPES; t++) {
        if (a->count[t] != a->p2m->count[t]) {
            violation(a, "P2 %s: counted %lu, not %lu", p2m_type_name(t),
                      a->p2m->count[t], a->count[t]);
        }
    }
    if (a->tables != a->p2m->nr_tables) {
        violation(a, "P4 %lu tables counted, not %lu", a->p2m->nr_tables,
                  a->tables);
    }
}

/* One level after the other. True: the slice is over. */
static bool walk(struct p2m_audit *a, struct work *w)
{
    while (a->level > 0) {
        int64_t cost;

        spin_lock(&a->p2m->lock);
        if (a->level == NPT_LEVELS && a->cursor == 0) {
            check_table(a, 0, a->p2m->root, NPT_LEVELS);
        }
        cost = step(a);
        if (cost == 0) {
            a->level--;
            a->cursor = 0;
        }
        if (a->level == 0) {
            check_sums(a);
        }
        spin_unlock(&a->p2m->lock);
        if (work_spend(w, cost + COST_TABLE)) {
            return true;
        }
    }
    return false;
}

static void begin(struct p2m_audit *a, struct p2m *p, unsigned pass)
{
    *a = (struct p2m_audit){ .p2m = p, .pass = pass, .level = NPT_LEVELS,
                             .frames_type = p2m_invalid };
}

int p2m_audit_run(struct p2m_audit *a, struct p2m *p, struct work *w)
{
    if (a->p2m == NULL) {
        begin(a, p, 0);
    }
    for (;;) {
        if (walk(a, w)) {
            return -ERESTART;
        }
        if (a->bad == 0 || a->pass == PASSES - 1) {
            return 0;
        }
        begin(a, p, a->pass + 1);
    }
}

unsigned p2m_audit(struct p2m *p)
{
    struct p2m_audit a = { 0 };

    return p2m_audit_run(&a, p, NULL) != 0 ? UINT32_MAX : a.bad;
}
