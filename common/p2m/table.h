/*
 * table.h - one table page of a p2m and what is known of it.
 *
 * A table is a frame (FRAME_TABLE) of 512 entries plus a struct p2m_table
 * from the heap at frame->user: how many entries are in use, and which. So
 * whoever walks skips holes 64 at a time, and an empty table is recognised
 * without a look at its entries.
 *
 * Life: made zeroed by p2m_table_alloc() while a batch reserves; linked into
 * the tree by p2m_set(); unlinked when empty; freed after the flush and a
 * grace period. Counted by its frame's references: a table that several trees
 * hold (none does today) must be copied before it is written, which is why
 * every writer goes through p2m_table_make_writable().
 *
 * Written under the p2m lock; entries and maps are read without one.
 */
#pragma once

#include "entry.h"

#include <quire/arch.h>
#include <quire/panic.h>

#define OCCUPIED_WORDS (NPT_ENTRIES / 64)

struct p2m_table {
    struct grace_head grace;    /* .link also holds it in a batch's lists */
    _Atomic uint64_t occupied[OCCUPIED_WORDS];  /* [p2m], (a) to read */
    struct p2m_table *chain;    /* the next of those that are to be freed */
    mfn_t mfn;                  /* (c) */
    uint32_t base;              /* (c) first gfn >> NPT_BITS */
    uint16_t population;        /* [p2m] bits set in occupied */
    uint8_t level;              /* (c) 1 .. NPT_LEVELS */
};
static_assert(sizeof(struct p2m_table) <= 128, "one heap object of 128");

/** p2m_table_alloc() - an empty table of no place yet, or NULL. */
struct p2m_table *p2m_table_alloc(void);
/** p2m_table_free() - at once: never linked, or nobody can look any more. */
void p2m_table_free(struct p2m_table *t);
/** p2m_tables_defer_free() - all of the chain, after a grace period. */
void p2m_tables_defer_free(struct p2m_table *chain);

static inline struct p2m_table *p2m_table_of(mfn_t mfn)
{
    return mfn_to_frame(mfn)->user;
}

static inline gfn_t p2m_table_base(const struct p2m_table *t)
{
    return GFN((uint64_t)t->base << NPT_BITS);
}

/* The entries: mapped for as long as they are looked at. */
static inline _Atomic npte_t *npt_map(mfn_t table)
{
    return arch_map_frame(table);
}
static inline void npt_unmap(const _Atomic npte_t *entries)
{
    arch_unmap_frame((const void *)(uintptr_t)entries);
}
/* What an entry names was complete before the entry was stored. */
static inline npte_t npte_load(const _Atomic npte_t *e)
{
    return atomic_load_explicit(e, memory_order_acquire);
}
static inline void npte_store(_Atomic npte_t *e, npte_t value)
{
    atomic_store_explicit(e, value, memory_order_release);
}

static inline npte_t npte_read(mfn_t table, unsigned i)
{
    _Atomic npte_t *entries = npt_map(table);
    npte_t e = npte_load(&entries[i]);

    npt_unmap(entries);
    return e;
}

static inline npte_t p2m_table_read(const struct p2m_table *t, unsigned i)
{
    return npte_read(t->mfn, i);
}

/** p2m_table_make_writable() - the table to write in place of @t: itself, as
 *  long as no table is shared between trees. */
static inline struct p2m_table *p2m_table_make_writable(struct p2m_table *t)
{
    ASSERT(frame_refs(mfn_to_frame(t->mfn)) == 1);
    return t;
}

/** p2m_table_occupy() - note that entry @i is a hole no more; the population
 *  is the caller's business. */
static inline void p2m_table_occupy(struct p2m_table *t, unsigned i)
{
    _Atomic uint64_t *word = &t->occupied[i / 64];

    atomic_store_explicit(word,
        atomic_load_explicit(word, memory_order_relaxed) |
        UINT64_C(1) << i % 64, memory_order_release);
}

/** p2m_table_write() - store entry @i, keep map and population. Returns the
 *  old one. @t is writable; the caller holds the p2m lock, so that plain
 *  stores are enough. */
static inline npte_t p2m_table_write(struct p2m_table *t, unsigned i, npte_t e)
{
    _Atomic npte_t *entries = npt_map(t->mfn);
    npte_t old = atomic_load_explicit(&entries[i], memory_order_relaxed);

    npte_store(&entries[i], e);
    npt_unmap(entries);
    if (npte_is_hole(old) != npte_is_hole(e)) {
        _Atomic uint64_t *word = &t->occupied[i / 64];

        atomic_store_explicit(word,
            atomic_load_explicit(word, memory_order_relaxed) ^
            UINT64_C(1) << i % 64, memory_order_release);
        t->population += npte_is_hole(e) ? -1 : 1;
    }
    return old;
}

/** p2m_table_next() - first occupied index >= @i, or NPT_ENTRIES. */
unsigned p2m_table_next(const struct p2m_table *t, unsigned i);
