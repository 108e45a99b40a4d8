/*
 * name.c - the names of domains that are being made: what may be one, and
 * that nobody has it yet.
 *
 * Domains without a name of their own get one that is free: the image's or the
 * parent's, their id behind it. Only what is already built is looked at, so
 * two jobs at once may still make two of one name; commands then refuse the
 * name and want an id (resolve_name() in job.c).
 */
#include <quire/errno.h>

#include "job.h"

#define UNITS_PER_LOOKUP 120    /* one domain of a walk */

static bool is_printable(const char *text)
{
    while (*text >= ' ' && *text <= '~') {
        text++;
    }
    return *text == '\0';
}

int job_name_check(struct job *job, const char *name)
{
    if (!is_printable(name)) {
        return job_fail(job, -EINVAL, "name=: printable ASCII only");
    }
    if (name[0] == '\0' || strcmp(name, "all") == 0 ||
        (name[0] >= '0' && name[0] <= '9')) {
        return job_fail(job, -EINVAL, "name=%.32s: not empty, not `all`, and "
                        "no digit first", name);
    }
    return 0;
}

int job_name_is_free(struct job *job, const char *name, struct work *w)
{
    struct domain *d;

    while ((d = job_next_domain(job)) != NULL) {
        bool is_taken = strcmp(d->config.name, name) == 0;
        domid_t id = d->id;

        domain_put(d);
        if (is_taken) {
            job->cursor = 0;
            return job_fail(job, -EEXIST, "domain %u is named %.32s already: "
                            "another name=, with {i} for many", id, name);
        }
        if (work_spend(w, UNITS_PER_LOOKUP)) {
            return -ERESTART;
        }
    }
    job->cursor = 0;
    return 0;
}
