/*
 * build.c - domain_create(): one step after another, each preemptible, and
 * everything undone when one fails.
 *
 *     checks, skeleton (domain_alloc) -> VCPUS -> MEMORY -> ZERO -> IMAGE ->
 *     MODULES -> START_INFO -> FINISH: RUNNING, one toolstack pause
 *                        any error or a kill -> UNDO: the kill's own stages
 *
 * A domain that is being built is found by nobody but a killer, which only
 * leaves a note (kill_wanted); so no other CPU touches it meanwhile.
 */
#include "build.h"

#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/heap.h>
#include <quire/log.h>
#include <quire/page_alloc.h>
#include <quire/panic.h>
#include <quire/print.h>
#include <quire/scan.h>
#include <quire/shadow.h>
#include <quire/string.h>

#include "domain_life.h"
#include "shadow_glue.h"

#define MAX_PAGES_SLACK 16      /* shared_info and the like */

/* Units. */
#define COST_ALLOC 3000         /* domain_alloc(), domain_alloc_maps() */
#define COST_VCPU 6000

int domain_config_memory(struct domain_config *c, uint64_t bytes)
{
    uint64_t low = MIN(bytes, MMIO_HOLE_START);

    if (bytes == 0 || (bytes & PAGE_MASK) != 0 ||
        bytes > UINT64_C(1) << (P2M_GFN_BITS + PAGE_SHIFT - 1)) {
        return -EINVAL;
    }
    c->nr_ranges = 1;
    c->ranges[0] = (struct domain_range){ GFN(0), low >> PAGE_SHIFT };
    if (bytes > low) {
        c->nr_ranges = 2;
        c->ranges[1] = (struct domain_range){
            gpa_to_gfn(MMIO_HOLE_END), (bytes - low) >> PAGE_SHIFT };
    }
    return 0;
}

static int refuse(char *why, int err, const char *text)
{
    print_to(why, DOMAIN_WHY_MAX, "%s", text);
    return err;
}

static int check_ranges(const struct domain_config *c, uint64_t *total,
                        char *why)
{
    uint64_t end = 0, limit = UINT64_C(1) << P2M_GFN_BITS;

    *total = 0;
    if (c->nr_ranges > MAX_RANGES) {
        return refuse(why, -EINVAL, "too many memory ranges");
    }
    for (unsigned i = 0; i < c->nr_ranges; i++) {
        const struct domain_range *r = &c->ranges[i];

        if (r->nr == 0 || r->start.n >= limit || r->nr > limit - r->start.n) {
            return refuse(why, -EINVAL, "a memory range is empty or beyond "
                          "48 bits");
        }
        if (i > 0 && r->start.n < end) {
            return refuse(why, -EINVAL, "memory ranges must ascend and not "
                          "overlap");
        }
        end = r->start.n + r->nr;
        *total += r->nr;
    }
    return 0;
}

static int check_config(const struct domain_config *c, uint64_t *max_pages,
                        char *why)
{
    uint64_t total, need, nr_free = page_nr_free();
    int err = check_ranges(c, &total, why);

    if (err != 0) {
        return err;
    }
    if (c->nr_vcpus == 0 || c->nr_vcpus > MAX_VCPUS) {
        return refuse(why, -EINVAL, "1 to 32 vCPUs");
    }
    if (c->id != DOMID_INVALID && c->id >= MAX_DOMAINS) {
        return refuse(why, -EINVAL, "domain ids are below 4096");
    }
    if (c->nr_modules > ARRAY_SIZE(c->modules)) {
        return refuse(why, -EINVAL, "4 modules at most");
    }
    if (c->shadow_pages != 0 && (c->shadow_pages < SHADOW_PAGES_MIN ||
                                 c->shadow_pages > SHADOW_PAGES_MAX)) {
        return refuse(why, -EINVAL, "64 to 262144 shadow pages");
    }
    if (c->nr_modules > 0 && c->image == NULL) {
        return refuse(why, -EINVAL, "modules without an image");
    }
    if (c->image != NULL && c->nr_ranges == 0) {
        return refuse(why, -EINVAL, "an image needs memory to be loaded into");
    }
    *max_pages = c->max_pages != 0 ? c->max_pages : total + MAX_PAGES_SLACK;
    if (*max_pages < total + 1) {
        print_to(why, DOMAIN_WHY_MAX, "max is %llu pages, memory and the "
                 "shared page need %llu", (unsigned long long)*max_pages,
                 (unsigned long long)total + 1);
        return -ENOMEM;
    }
    /* Tables: one for each 512 pages, and the path to each range. */
    need = total + total / 512 + 4 * c->nr_ranges + 8 + 4 * c->nr_vcpus;
    if (need > nr_free) {
        print_to(why, DOMAIN_WHY_MAX, "needs %llu frames (%llu MiB), %llu "
                 "(%llu MiB) are free: see --mem", (unsigned long long)need,
                 (unsigned long long)need >> 8, (unsigned long long)nr_free,
                 (unsigned long long)nr_free >> 8);
        return -ENOMEM;
    }
    return 0;
}

int domain_vcpu_create(struct domain *d)
{
    struct vcpu *v = heap_zalloc(sizeof(*v));
    int err;

    if (v == NULL) {
        return -ENOMEM;
    }
    v->domain = d;
    v->p2m = d->p2m;
    v->id = (uint16_t)d->nr_vcpus;
    sched_vcpu_init(v);
    err = evtchn_add_vcpu(d->events, v);
    if (err == 0) {
        err = vcpu_shadow_init(v);
    }
    if (err == 0) {
        err = arch_vcpu_init(v);
    }
    if (err != 0) {
        sched_vcpu_fini(v);
        v->arch = NULL;
        /* Its part in events, if it has one, stays with the domain's and
         * points at it; so it stays too, and counts as made and gone. */
        if (v->events == NULL) {
            heap_free(v);
            return err;
        }
    } else {
        p2m_get(d->p2m);
    }
    d->vcpus[d->nr_vcpus++] = v;
    return err;
}

static int build_vcpus(struct domain *d, struct domain_build *b,
                       struct work *w)
{
    while (d->nr_vcpus < d->config.nr_vcpus) {
        if (domain_vcpu_create(d) != 0) {
            return refuse(b->why, -ENOMEM, "no memory for its vCPUs");
        }
        if (work_spend(w, COST_VCPU)) {
            return -ERESTART;
        }
    }
    return 0;
}

static int finish(struct domain *d, struct domain_build *b)
{
    struct vcpu_state s;
    int err;

    if (d->config.image != NULL) {
        pvh_entry_state(&s, b->elf.entry, b->start_info);
        err = arch_vcpu_set_state(d->vcpus[0], &s);
        if (err != 0) {
            return refuse(b->why, err, "the entry state was refused");
        }
        d->vcpus[0]->initialised = true;
        atomic_store(&d->vcpus[0]->online, true);
    }
    /* Not before: the builder writes to frames without a look at the map. */
    if (d->config.scan) {
        scan_domain_add(d->p2m);
    }
    spin_lock(&d->lock);
    d->pause_count = 1;     /* each vCPU was born with one pause: this one */
    atomic_store(&d->state, DOMAIN_RUNNING);
    spin_unlock(&d->lock);
    return 0;
}

static int run_stage(struct domain *d, struct domain_build *b, struct work *w)
{
    switch (b->stage) {
    case BUILD_VCPUS:
        return build_vcpus(d, b, w);
    case BUILD_MEMORY:
        return build_memory(d, b, w);
    case BUILD_ZERO:
        return build_zero(d, b, w);
    case BUILD_IMAGE:
        return build_image(d, b, w);
    case BUILD_MODULES:
        return build_modules(d, b, w);
    case BUILD_START_INFO:
        return build_start_info(d, b);
    case BUILD_FINISH:
        return finish(d, b);
    case BUILD_UNDO:
        break;
    }
    return 0;
}

static void give_up(struct domain *d, struct domain_build *b, int err)
{
    b->err = err;
    b->stage = BUILD_UNDO;
    atomic_store(&d->state, DOMAIN_DYING);
}

/* The creator's part is over: its state and its reference go. */
static void leave(struct domain *d)
{
    struct domain_build *b = d->build;

    d->build = NULL;
    heap_free(b);
    domain_put(d);
}

int domain_create(const struct domain_config *c, struct domain **dp,
                  char *why, struct work *w)
{
    char unwanted[DOMAIN_WHY_MAX];
    struct domain_build *b;
    uint64_t max_pages;
    int err;

    why = why != NULL ? why : unwanted;
    if (*dp == NULL) {
        err = check_config(c, &max_pages, why);
        if (err == 0) {
            err = domain_alloc(c, max_pages, dp, why);
        }
        if (err != 0) {
            return err;
        }
        if (work_spend(w, COST_ALLOC)) {
            return -ERESTART;
        }
    }
    if ((*dp)->p2m == NULL) {
        err = domain_alloc_maps(*dp, why);
        if (err != 0) {
            *dp = NULL;
            return err;
        }
        if (work_spend(w, COST_ALLOC)) {
            return -ERESTART;
        }
    }
    b = (*dp)->build;
    while (b->stage != BUILD_UNDO) {
        if (atomic_load(&(*dp)->kill_wanted)) {
            refuse(b->why, -EINTR, "killed while it was being created");
            give_up(*dp, b, -EINTR);
            break;
        }
        err = run_stage(*dp, b, w);
        if (err == -ERESTART) {
            return err;
        }
        if (err != 0) {
            give_up(*dp, b, err);
        } else if (b->stage == BUILD_FINISH) {
            log_info("d%u created: %s", (*dp)->id, (*dp)->config.name);
            leave(*dp);
            return 0;
        } else {
            b->stage++;
            b->done = b->range = b->item = 0;
        }
    }
    /* The kill looks at every frame's record. */
    err = build_block(*dp, b, w);
    if (err == 0) {
        err = domain_kill(*dp, w);
    }
    if (err != 0) {
        return err;
    }
    err = b->err;
    print_to(why, DOMAIN_WHY_MAX, "%s", b->why);
    log_warn("creation of %s failed: %s", c->name, why);
    leave(*dp);
    *dp = NULL;
    return err;
}
