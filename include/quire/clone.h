/*
 * clone.h - sharing's part of a fork: one p2m's memory shared with another,
 * and the way back.
 *
 * share_clone() makes every private page of one map shared and maps it in the
 * other too, so that each begins with the same contents and writes its own.
 * The other's p2m gets a *base* (p2m->base): from then on each of its pages
 * that changes leaves its frame held, and share_rewind() brings all of them
 * back. The base lives until share_base_drop() and share_base_free().
 *
 * Pages that somebody holds cannot be shared with the one who holds them:
 * their contents of this moment are copied to a frame of the clone's own.
 * Entries that are neither ram_rw nor ram_shared are left out.
 *
 * Locks: both p2ms', ascending; page locks inside.
 */
#pragma once

#include <quire/share.h>

struct share_clone {            /* cursor; share_clone_begin() zeroes it */
    gfn_t gfn, back;            /* the next; where share_unclone() is */
    domid_t to;                 /* the clone's owner */
    uint64_t shared;            /* pages that became shared by it */
    uint64_t copied;            /* pages that somebody held */
    /* Called for each page that somebody holds, before it is copied: @gfn of
     * the source and its frame. False: leave it out. */
    bool (*held)(void *arg, gfn_t gfn, mfn_t mfn);
    void *arg;
};

/** share_clone_begin() - give @to, which is empty, a base with room for what
 *  @from has now. -ENOMEM. */
int must_check share_clone_begin(struct share_clone *c, struct p2m *from,
                                 struct p2m *to);
/**
 * share_clone() - share all of @from with @to. No guest may write through
 * @from meanwhile (its vCPUs are stopped). Preemptible: the cursor is @c.
 * -ENOMEM, -ESRCH (@from is being relinquished), -EAGAIN (@from has grown by
 * more tables than planned): what is done stays, each gfn whole; @to is then
 * to be relinquished, and share_unclone() puts @from back.
 */
int must_check share_clone(struct share_clone *c, struct p2m *from,
                           struct p2m *to, struct work *w);
/** share_unclone() - after a share_clone() that was given up, and @to is
 *  empty again: make private what it made shared and nobody else has by now.
 *  Preemptible: the cursor is @c, going down from where share_clone() was. */
int must_check share_unclone(struct share_clone *c, struct p2m *from,
                             struct work *w);

/**
 * share_rewind() - every gfn of @p as of the moment that it was cloned: what
 * it wrote or dropped maps the frame of then, what was added is dropped.
 * @drop is p2m_relinquish()'s. No guest may run on @p. Preemptible: the cursor
 * is in the base; *@pages counts gfns that were brought back. -ENOMEM: some
 * gfns are holes now and come back when it is called again; nothing is lost.
 */
int must_check share_rewind(struct p2m *p,
                            void (*drop)(struct p2m *p, gfn_t gfn,
                                         const struct p2m_entry *e),
                            uint64_t *pages, struct work *w);

/** share_drop_prepare() - before an entry of @p is taken out by anybody but a
 *  kill, under its lock: so that share_drop() can keep what a rewind needs.
 *  -ENOMEM: nothing changed. */
int must_check share_drop_prepare(struct p2m *p, gfn_t gfn);

/** share_base_drop() - let go of all frames held; @p is relinquished.
 *  Preemptible. No base: 0. */
int must_check share_base_drop(struct p2m *p, struct work *w);
/** share_base_free() - the base itself, which holds nothing any more. */
void share_base_free(struct p2m *p);

struct share_base_info { uint64_t gfns, saved; };
/** share_base_get() - zeros if @p has none. */
void share_base_get(struct p2m *p, struct share_base_info *info);
struct share_base_audit {       /* cursor; zero it first */
    uint32_t leaf;
    uint64_t saved, gfns;       /* seen */
    unsigned bad;               /* violations, each printed */
    bool changed;               /* sums differ: damaged, or it ran meanwhile */
};
/** share_base_audit() - B1 (base.h) of @p; takes its lock. Preemptible. */
int must_check share_base_audit(struct p2m *p, struct share_base_audit *a,
                                struct work *w);
