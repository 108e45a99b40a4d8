/*
 * test_fork.h - what tests of fork begin and end with: domains whose pages
 * hold known values, forks and resets in slices of any length, all audits.
 */
#pragma once

#include "domains.h"
#include "test_share.h"

#include <quire/clone.h>
#include <quire/fork.h>

/* Fork in slices of @units, or without a budget if that is 0. The child comes
 * back paused by the toolstack, with a reference. */
static inline int test_fork(struct domain *parent, const char *name,
                            unsigned flags, int64_t units,
                            struct domain **child)
{
    struct fork_config c = { .id = DOMID_INVALID, .flags = flags };
    char why[DOMAIN_WHY_MAX];
    int err;

    *child = NULL;
    snprintf(c.name, sizeof(c.name), "%s", name);
    do {
        struct work w = { .left = units };

        err = domain_fork(parent, &c, child, why, units != 0 ? &w : NULL);
        CHECK_EQ(nr_locks_held(), 0);
    } while (err == -ERESTART);
    if (err == 0) {
        domain_get(*child);
    } else {
        CHECK(*child == NULL);
        CHECK(why[0] != '\0');
    }
    return err;
}

static inline int test_reset(struct domain *d, unsigned what, int64_t units)
{
    int err;

    do {
        struct work w = { .left = units };

        err = domain_fork_reset(d, what, units != 0 ? &w : NULL);
        CHECK_EQ(nr_locks_held(), 0);
    } while (err == -ERESTART);
    return err;
}

#define RESET_ALL (XENMEM_FORK_RESET_STATE | XENMEM_FORK_RESET_MEMORY)

/* B1 of every fork, and all other audits. */
static inline void test_fork_audit(void)
{
    struct domain *d = domain_next(0);

    CHECK_EQ(test_share_audit(), 0);
    CHECK_EQ(domain_audit(), 0);
    CHECK_EQ(mem_audit(), 0);
    while (d != NULL) {
        struct share_base_audit a = { 0 };
        domid_t next = (domid_t)(d->id + 1);

        CHECK_EQ(share_base_audit(d->p2m, &a, NULL), 0);
        CHECK_EQ(a.bad, 0);
        CHECK(!a.changed);
        domain_put(d);
        d = domain_next(next);
    }
}
