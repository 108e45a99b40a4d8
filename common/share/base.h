/*
 * base.h - what a fork began with, so that it can be brought back.
 *
 *     p2m->base --> one leaf per 512 gfns that were not all holes, ascending
 *                   { which gfns there were; which of them are *saved*: no
 *                     longer as of the fork; for each of these its frame }
 *
 * A gfn that is not saved still maps the frame of the fork, or one with the
 * same contents. When it is about to change (a copy for its own writer, a
 * drop), the hold that its pair had on the shared frame is kept here in its
 * place: so the frame stays shared, and unwritten, whoever else leaves it. A
 * saved frame therefore has a reference and a type reference beyond its pairs.
 *
 * All of it is under the p2m lock of the fork. Invariants:
 *   B1 saved gfns are gfns of the beginning; each once; nr counts them
 *   B2 each saved frame is shared, and its holders are its pairs, the merge it
 *      is in, and as many saved gfns as are counted in all (share_totals.held)
 */
#pragma once

#include "shared_frame.h"

#include <quire/clone.h>
#include <quire/p2m_leaf.h>

#define BASE_WORDS (P2M_LEAF_GFNS / 64)

struct base_leaf {
    uint64_t first;                 /* its first gfn */
    uint64_t began[BASE_WORDS];     /* gfns that were there */
    uint64_t saved_map[BASE_WORDS];
    uint64_t *saved;                /* mfn << 9 | gfn - first; any order */
    uint16_t nr, capacity;          /* of saved */
};

struct share_base {
    uint32_t nr_leaves, capacity;
    uint32_t cursor;                /* of a rewind or a drop: leaf */
    gfn_t gfn;                      /* ... of the search for additions */
    uint64_t nr_gfns, nr_saved;
    struct base_leaf **leaves;      /* ascending */
};

/** work_rest() - the units that a slice has left, of a slice at most. */
static inline int64_t work_rest(const struct work *w)
{
    return w == NULL ? WORK_SLICE_BULK
                     : MIN(MAX(w->left, 0), WORK_SLICE_BULK);
}

/** base_leaf_add() - the leaf of @first, above all others, or the last one
 *  if it is that. NULL with *@err -ENOMEM, or -EAGAIN: more than planned. */
struct base_leaf *base_leaf_add(struct share_base *base, uint64_t first,
                                int *err);
/** base_leaf_of() - the leaf that @gfn is in, or NULL. */
struct base_leaf *base_leaf_of(const struct share_base *base, gfn_t gfn);

static inline unsigned base_index(uint64_t saved)
{
    return saved % P2M_LEAF_GFNS;
}
static inline mfn_t base_mfn(uint64_t saved)
{
    return MFN(saved / P2M_LEAF_GFNS);
}

/** base_unsave() - forget the last saved gfn of @leaf; its hold is the
 *  caller's. */
void base_unsave(struct share_base *base, struct base_leaf *leaf);
/** base_release() - drop a hold on @mfn that was kept. */
void base_release(mfn_t mfn);

/** base_prepare() - is @gfn of @p as of a fork, and is its frame to be kept
 *  when it changes? 0: no; 1: yes, and there is room to note it; -ENOMEM. */
int must_check base_prepare(struct p2m *p, gfn_t gfn);
/** base_wants() - the same question, where base_prepare() came before. */
bool base_wants(struct p2m *p, gfn_t gfn);
/** base_keep() - instead of shared_frame_remove(): @gfn's pair leaves, and its
 *  hold goes to @p's base. */
void base_keep(struct p2m *p, gfn_t gfn, struct shared_frame *sf);
