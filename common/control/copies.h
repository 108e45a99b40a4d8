/*
 * copies.h - N domains alike, all or none: what create and fork have in
 * common.
 *
 * A command embeds a struct copies in its state, parses `count= first= id=
 * paused=` into it, and hands in how one is made. If the fifth of ten cannot
 * be made, the four are destroyed again; otherwise all are let run, unless
 * they are wanted paused, and the reply says which they are.
 * Locks: none; it is the job's. Copies are remembered by id and p2m_birth()
 * without a reference: who destroys one meanwhile may have its id at once, and
 * the domain that then has it is none of ours.
 */
#pragma once

#include "job.h"

enum copies_stage { COPIES_MAKE, COPIES_START, COPIES_UNDO };

struct copy { domid_t id; uint64_t birth; };

struct copies {
    enum copies_stage stage;
    int error;                  /* why they are being undone */
    uint64_t count, first;      /* how many, and the number of the first */
    bool paused;                /* leave them paused */
    struct copy *made;          /* [count]; NULL: not parsed yet */
    uint64_t nr_made;
};

/** copies_parse() - from the arguments; the last to be parsed. *@id is
 *  DOMID_INVALID without id=. An error is noted. */
int must_check copies_parse(struct job *job, struct copies *c, domid_t *id);

/** copies_number() - what `{i}` stands for in the one being made. */
static inline uint64_t copies_number(const struct copies *c)
{
    return c->first + c->nr_made;
}

/**
 * copies_run() - make them all. Preemptible. @make makes one: 0, and *@d is
 * it, not counted (its address is good to the end of the slice); an error,
 * noted; or -ERESTART, to be called again.
 */
int must_check copies_run(struct job *job, struct copies *c,
                          int (*make)(struct job *job, struct domain **d,
                                      struct work *w),
                          struct work *w);
/** copies_end() - forget them, come what may. */
void copies_end(struct copies *c);
