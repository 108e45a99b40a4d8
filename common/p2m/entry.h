/*
 * entry.h - the codec of nested page-table entries (APM vol. 2, 5.3 and
 * 15.25): the one place where their bits are known.
 *
 *   63  62 61      58 57    52 51                12 11   8  7  6 5 4 3 2 1 0
 *   NX  -  tracking   type     mfn                  -      PS  D A - - U W P
 *
 *   nothing (0)          a hole
 *   P, not PS            a table (levels 2 to 4)
 *   PS                   a leaf of level 2 or 3: 2M or 1G
 *   any other            a leaf of level 1
 *
 * P, W and NX are derived from type and tracking, and never read back as
 * anything but what the processor may do. A leaf that nobody may read is not
 * present but keeps its type and mfn. U is always set: nested walks are user
 * accesses. A and D are set from the start, so that the processor never
 * writes an entry and ours are the only stores.
 */
#pragma once

#include <quire/p2m.h>

typedef uint64_t npte_t;

#define NPTE_P (UINT64_C(1) << 0)
#define NPTE_W (UINT64_C(1) << 1)
#define NPTE_U (UINT64_C(1) << 2)
#define NPTE_A (UINT64_C(1) << 5)
#define NPTE_D (UINT64_C(1) << 6)
#define NPTE_PS (UINT64_C(1) << 7)
#define NPTE_MFN UINT64_C(0x000ffffffffff000)
#define NPTE_TYPE_SHIFT 52
#define NPTE_TRACKING_SHIFT 58
#define NPTE_NX_SHIFT 63
#define NPTE_NX (UINT64_C(1) << NPTE_NX_SHIFT)

#define NPT_LEVELS 4u
#define NPT_BITS 9u
#define NPT_ENTRIES 512u

/** npt_order() - log2 of the gfns that one entry of a @level table covers. */
static inline unsigned npt_order(unsigned level)
{
    return NPT_BITS * (level - 1);
}

static inline unsigned npt_index(uint64_t gfn, unsigned level)
{
    return (gfn >> npt_order(level)) % NPT_ENTRIES;
}

/* By type alone; entry.c says why. */
extern const uint8_t p2m_type_rights[NR_P2M_TYPES];

static inline unsigned npte_rights(enum p2m_type type, unsigned tracking)
{
    /* Every reason there is today watches writes. */
    return p2m_type_rights[type] & ~(tracking != 0 ? P2M_W : 0);
}

/* The bits have their places in common, but for one inverted. */
static_assert(P2M_R == NPTE_P && P2M_W == NPTE_W, "rights as in an entry");

/** npte_make() - a leaf of @level; p2m_invalid makes a hole. */
static inline npte_t npte_make(mfn_t mfn, enum p2m_type type,
                               unsigned tracking, unsigned level)
{
    unsigned rights;
    npte_t e;

    if (type == p2m_invalid) {
        return 0;
    }
    rights = npte_rights(type, tracking);
    /* MFN_INVALID becomes a field of ones, which is no RAM. */
    e = ((mfn.n << PAGE_SHIFT) & NPTE_MFN) | NPTE_U | NPTE_A | NPTE_D |
        (npte_t)type << NPTE_TYPE_SHIFT |
        (npte_t)tracking << NPTE_TRACKING_SHIFT;
    if (level > 1) {
        e |= NPTE_PS;
    }
    e |= rights & (P2M_R | P2M_W);
    return e | (npte_t)((rights & P2M_X) == 0) << NPTE_NX_SHIFT;
}

static inline npte_t npte_make_table(mfn_t mfn)
{
    return mfn.n << PAGE_SHIFT | NPTE_P | NPTE_W | NPTE_U | NPTE_A | NPTE_D;
}

static inline bool npte_is_hole(npte_t e) { return e == 0; }
static inline bool npte_is_present(npte_t e) { return e & NPTE_P; }
static inline bool npte_is_table(npte_t e, unsigned level)
{
    return level > 1 && (e & (NPTE_P | NPTE_PS)) == NPTE_P;
}
static inline mfn_t npte_mfn(npte_t e)
{
    return (e & NPTE_MFN) == NPTE_MFN ? MFN_INVALID
                                      : MFN((e & NPTE_MFN) >> PAGE_SHIFT);
}
/* Of an entry known to name a table, or a 4K page. */
static inline mfn_t npte_table_mfn(npte_t e)
{
    return MFN((e & NPTE_MFN) >> PAGE_SHIFT);
}
static inline enum p2m_type npte_type(npte_t e)
{
    return e == 0 ? p2m_invalid
                  : (enum p2m_type)(e >> NPTE_TYPE_SHIFT & 0x3f);
}
static inline unsigned npte_tracking(npte_t e)
{
    return e >> NPTE_TRACKING_SHIFT & 0xf;
}

/** npte_falls() - whether some processor's translation made from @old allows
 *  or reaches what @new does not, so that it must be flushed. */
static inline bool npte_falls(npte_t old, npte_t new)
{
    npte_t gone = (old & ~new & (NPTE_P | NPTE_W)) | (new & ~old & NPTE_NX);

    return npte_is_present(old) && (gone != 0 || ((old ^ new) & NPTE_MFN));
}

/** npte_decode() - what a leaf (or hole) of @level says of @gfn. */
static inline struct p2m_entry npte_decode(npte_t e, uint64_t gfn,
                                           unsigned level)
{
    unsigned order = npt_order(level);
    mfn_t mfn = npte_is_hole(e) ? MFN_INVALID : npte_mfn(e);

    if (!mfn_eq(mfn, MFN_INVALID)) {
        mfn = mfn_add(mfn, gfn & ((UINT64_C(1) << order) - 1));
    }
    return (struct p2m_entry){ mfn, npte_type(e), npte_tracking(e), order };
}
