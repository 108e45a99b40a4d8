/*
 * test_kill.h - a domain that shares with another is killed, in slices of any
 * size and with a crowd at work between them; whatever state it was in: its
 * id can be used again, every frame is back, nobody else is concerned.
 */
#pragma once

#include "preempt.h"
#include "test.h"

#include <quire/page_alloc.h>

enum { PAGES = 24, FRAMES = 4096 };

static struct domain *keep, *d, *other;
static uint64_t nr_free;            /* before there was any victim */
static bool is_held;        /* others have frames of it: its id stays taken */
static struct rng rng;

static inline struct domain *filled(const char *name)
{
    struct domain_config c = test_config(name, PAGES);

    c.nr_vcpus = 2;
    c.max_pages = 8 * PAGES;
    struct domain *x = test_create(&c);

    for (unsigned i = 0; i < PAGES; i++) {
        test_fill(p2m_lookup(x->p2m, GFN(i)).mfn, 1000 + i);
    }
    return x;
}

static inline void share_half(struct domain *x)
{
    for (unsigned i = 0; i < PAGES; i += 2) {
        CHECK_EQ(test_share(keep->p2m, i, x->p2m, i), 0);
    }
}

static inline void world(void)
{
    test_machine(FRAMES, 1);
    rng_seed(&rng, test_seed);
    d = other = NULL;
    is_held = false;
    keep = filled("keep");
    test_settle();
    nr_free = page_nr_free();
    d = filled("victim");
    share_half(d);
}

/* ---- what goes on between two slices ------------------------------------- */

static inline void write_keep(void)
{
    unsigned i = (unsigned)rng_below(&rng, PAGES);

    if (p2m_lookup(keep->p2m, GFN(i)).type == p2m_ram_shared) {
        test_share_write(keep->p2m, i, 1000 + i);
    }
}

static inline void nominate_keep(void)
{
    share_handle_t h;

    (void)!share_nominate(keep->p2m, GFN(rng_below(&rng, PAGES)), &h);
}

/* Onto a frame of the victim's, as long as it has one. */
static inline void share_with_victim(void)
{
    unsigned i = (unsigned)rng_below(&rng, PAGES);
    struct share_merge m = { 0 };
    share_handle_t a, b;

    if (d == NULL || share_nominate(d->p2m, GFN(i), &a) != 0 ||
        share_nominate(keep->p2m, GFN(i), &b) != 0) {
        return;
    }
    (void)!share_frames(d->p2m, GFN(i), a, keep->p2m, GFN(i), b, &m, NULL);
}

static inline void make_and_kill(void)
{
    struct domain *x = filled("passer-by");

    share_half(x);
    test_kill(x);
}

static inline void bustle(unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        switch (rng_below(&rng, 16)) {
        case 0:
            make_and_kill();
            break;
        case 1 ... 5:
            nominate_keep();
            break;
        case 6 ... 9:
            share_with_victim();
            break;
        default:
            write_keep();
        }
    }
}

/* ---- the end ------------------------------------------------------------- */

static inline void check_keep(void)
{
    for (unsigned i = 0; i < PAGES; i++) {
        CHECK(test_gfn_is(keep->p2m, i, 1000 + i));
    }
}

/* The id is free again, at once. */
static inline void check_id(domid_t id)
{
    struct domain_config c = test_config("again", 4);

    CHECK(domain_find_building(id) == NULL);
    c.id = id;
    test_kill(test_create(&c));
    test_settle();
}

static inline void make_private(struct domain *x)
{
    for (unsigned i = 0; i < PAGES; i++) {
        CHECK_EQ(share_unshare(x->p2m, GFN(i)), 0);
    }
}

/* Kill @d in slices of @units with @times operations between two of them. */
static inline void kill_in(int64_t units, unsigned times)
{
    domid_t id = d->id;
    int err;

    do {
        struct work w = { .left = units };

        work_begin(&w);
        err = domain_kill(d, &w);
        work_end();
        CHECK_EQ(nr_locks_held(), 0);
        bustle(times);
    } while (err == -ERESTART);
    CHECK_EQ(err, 0);
    CHECK_EQ(domain_kill(d, NULL), 0);      /* again: it is dead */
    domain_put(d);
    d = NULL;
    CHECK(test_run_idle());
    test_settle();
    preempt_audit();
    check_keep();
    if (is_held) {
        test_kill(other);
        other = NULL;
        test_settle();
        is_held = false;
    }
    check_id(id);
}

/* What nobody knows of any more is free. */
static inline void end(void)
{
    if (other != NULL) {
        test_kill(other);
        other = NULL;
    }
    make_private(keep);
    CHECK(test_run_idle());
    test_settle();
    check_keep();
    preempt_audit();
    CHECK_EQ(domain_count(), 1);
    CHECK_EQ(domain_nr_unfreed(), 1);
    CHECK_EQ(page_nr_free(), nr_free);
    test_kill(keep);
    test_settle();
    test_share_all_gone();
}

static inline void in_each_way(void (*prepare)(void))
{
    static const int64_t units[] = { 1, 400, 5000, INT64_MAX };

    for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
        for (unsigned times = 0; times <= 8; times += 4) {
            world();
            prepare();
            kill_in(units[i], times);
            end();
        }
    }
}
