/*
 * source_page.h - one page of the source, to be mapped at many gfns of the
 * client: what add-physmap and add-random have in common.
 *
 * Nominated unless shared already; a command that fails takes back its own
 * nomination, and only that.
 */
#pragma once

#include "job.h"

struct source_page {
    gfn_t gfn;                  /* of job->domain[0] */
    share_handle_t handle;      /* 0: not nominated by this command yet */
    bool is_new;                /* this command has nominated it */
};

/** source_parse_gfns() - `SOURCE SGFN CLIENT CGFN`: words 1 and 3. An error is
 *  noted, here and below. */
int must_check source_parse_gfns(struct job *job, gfn_t *sgfn, gfn_t *cgfn);
/** source_nominate() - see to a handle. */
int must_check source_nominate(struct job *job, struct source_page *s);
/** source_fail() - @err at @cgfn of the client ends the command; returns it.
 *  What was mapped before stays, and job->done counts it. */
int source_fail(struct job *job, const struct source_page *s, gfn_t cgfn,
                int err);
