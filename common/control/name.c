/*
 * name.c - the names of domains that are being made: `{i}` in them, what may be
 * one, and that nobody has it yet.
 *
 * Domains without a name of their own get one that is free: the image's or the
 * parent's, their id behind it. Only what is already built is looked at, so
 * two jobs at once may still make two of one name; commands then refuse the
 * name and want an id (resolve_name() in job.c).
 */
#include <quire/errno.h>
#include <quire/print.h>

#include "job.h"

#define UNITS_PER_LOOKUP 120    /* one domain of a walk */

int job_expand(char *to, size_t size, const char *from, uint64_t i)
{
    size_t used = 0;
    char number[24];

    print_to(number, sizeof(number), "%lu", i);
    while (*from != '\0') {
        const char *piece = from;
        size_t len = 1;

        if (strncmp(from, "{i}", 3) == 0) {
            piece = number;
            len = strlen(number);
            from += 3;
        } else {
            from++;
        }
        if (used + len >= size) {
            return -E2BIG;
        }
        memcpy(to + used, piece, len);
        used += len;
    }
    to[used] = '\0';
    return 0;
}

static bool is_printable(const char *text)
{
    while (*text >= ' ' && *text <= '~') {
        text++;
    }
    return *text == '\0';
}

static int check_name(struct job *job, const char *name)
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

int job_name_make(struct job *job, char to[DOMAIN_NAME_MAX], const char *name,
                  uint64_t i, struct work *w)
{
    int err = check_name(job, name);

    if (err == 0 && job_expand(to, DOMAIN_NAME_MAX, name, i) != 0) {
        err = job_fail(job, -E2BIG, "name= has at most %u bytes",
                       DOMAIN_NAME_MAX - 1);
    }
    return err != 0 ? err : job_name_is_free(job, to, w);
}
