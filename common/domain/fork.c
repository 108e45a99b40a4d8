/*
 * fork.c - domain_fork(): one stage after another, each preemptible, and
 * everything undone when one fails.
 *
 *     checks, skeleton -> STOP the parent -> VCPUS -> IMAGE (all but memory)
 *     -> MEMORY (shared, run by run) -> APPLY -> START: both go on
 *              any error, or a kill of either -> UNDO_CHILD: the kill's own
 *                          stages; UNDO_PARENT: what only we shared is
 *                          private again
 *
 * The parent stands still by one pause of each vCPU that is nobody else's: the
 * toolstack's pauses, a shutdown and a kill come and go beside it.
 */
#include <quire/errno.h>
#include <quire/heap.h>
#include <quire/log.h>
#include <quire/owner.h>
#include <quire/panic.h>
#include <quire/print.h>
#include <quire/scan.h>
#include <quire/string.h>

#include "build.h"
#include "fork.h"

#define FLAGS (XENMEM_FORK_BLOCK_INTERRUPTS | XENMEM_FORK_SKIP_SPECIAL_PAGES)
/* Units. */
#define COST_ALLOC 6000
#define COST_VCPU 6000

static int refuse(char *why, int err, const char *text)
{
    print_to(why, DOMAIN_WHY_MAX, "%s", text);
    return err;
}

static int check(struct domain *parent, const struct fork_config *c,
                 char *why)
{
    struct vcpu *v = vcpu_current();

    if ((c->flags & XENMEM_FORK_WITH_IOMMU_ALLOWED) != 0) {
        return refuse(why, -EOPNOTSUPP, "there is no IOMMU to allow");
    }
    if ((c->flags & ~FLAGS) != 0) {
        return refuse(why, -EINVAL, "unknown flags");
    }
    if (v != NULL && v->domain == parent) {
        return refuse(why, -EBUSY, "a domain cannot fork itself");
    }
    return 0;
}

/* One more fork of @parent begins: its vCPUs stop. */
static int stop_parent(struct domain *parent, char *why)
{
    int state, err = 0;

    spin_lock(&parent->lock);
    state = atomic_load(&parent->state);
    if (state == DOMAIN_BUILDING) {
        err = refuse(why, -EINVAL, "the domain is being created");
    } else if (state == DOMAIN_SHUTDOWN) {
        err = refuse(why, -EINVAL, "the domain has shut down or crashed");
    } else if (state != DOMAIN_RUNNING) {
        err = refuse(why, -ESRCH, "the domain is being destroyed");
    } else if (parent->fork != NULL && parent->fork->reset != RESET_IDLE) {
        err = refuse(why, -EBUSY, "the domain is being reset");
    } else {
        parent->nr_forking++;
        domain_pause_vcpus(parent);
    }
    spin_unlock(&parent->lock);
    return err;
}

static void start_parent(struct domain_fork *f)
{
    spin_lock(&f->source->lock);
    f->source->nr_forking--;
    domain_unpause_vcpus(f->source);
    spin_unlock(&f->source->lock);
}

static struct domain_fork *make_record(struct domain *parent, unsigned flags)
{
    struct domain_fork *f = heap_zalloc(sizeof(*f));

    if (f == NULL) {
        return NULL;
    }
    f->vcpus = heap_zalloc(parent->nr_vcpus * sizeof(*f->vcpus));
    if (f->vcpus == NULL) {
        heap_free(f);
        return NULL;
    }
    f->parent = parent->id;
    f->parent_birth = p2m_birth(parent->p2m);
    f->flags = flags;
    f->shared_gfn = GFN_INVALID;
    return f;
}

static void free_record(struct domain_fork *f, unsigned nr_vcpus)
{
    for (unsigned i = 0; i < nr_vcpus; i++) {
        heap_free(f->vcpus[i].state);
    }
    evtchn_image_free(f->events);
    heap_free(f->vcpus);
    heap_free(f);
}

/* The skeleton, with its record, and a reference to the parent. */
static int begin(struct domain *parent, const struct fork_config *c,
                 struct domain **dp, char *why)
{
    struct domain_fork *f;
    struct domain_config *config;
    int err = check(parent, c, why);

    if (err != 0) {
        return err;
    }
    f = make_record(parent, c->flags);
    config = heap_alloc(sizeof(*config));
    if (f == NULL || config == NULL) {
        err = refuse(why, -ENOMEM, "no memory for the fork's record");
    } else {
        *config = parent->config;
        config->id = c->id;
        config->nr_vcpus = parent->nr_vcpus;
        /* What the toolstack has changed since the parent was made. */
        config->oom = atomic_load(&parent->oom.policy);
        config->scan = parent->p2m->is_scanned;
        config->name_by_id = c->name[0] == '\0';
        if (c->name[0] != '\0') {
            memcpy(config->name, c->name, sizeof(config->name));
        }
        err = stop_parent(parent, why);
    }
    if (err == 0) {
        f->source = parent;
        err = domain_alloc(config, owner_get(parent->id)->max_pages, dp, why);
        if (err == 0) {
            err = domain_alloc_maps(*dp, why);
        }
        if (err != 0) {
            *dp = NULL;
            start_parent(f);
        }
    }
    heap_free(config);
    if (err != 0) {
        if (f != NULL) {
            free_record(f, parent->nr_vcpus);
        }
        return err;
    }
    domain_get(parent);
    heap_free((*dp)->build);        /* nothing is loaded */
    (*dp)->build = NULL;
    (*dp)->fork = f;
    (*dp)->p2m->trust_group = parent->p2m->trust_group;
    return 0;
}

static int wait_parent(struct domain *parent)
{
    if (!domain_has_running(parent)) {
        return 0;
    }
    for (unsigned i = 0; i < parent->nr_vcpus; i++) {
        vcpu_kick(parent->vcpus[i]);
    }
    return -ERESTART;
}

static int make_vcpus(struct domain *d, struct work *w)
{
    while (d->nr_vcpus < d->config.nr_vcpus) {
        if (domain_vcpu_create(d) != 0) {
            return refuse(d->fork->why, -ENOMEM, "no memory for its vCPUs");
        }
        if (work_spend(w, COST_VCPU)) {
            return -ERESTART;
        }
    }
    return 0;
}

static int take_image(struct domain *d, struct work *w)
{
    struct domain_fork *f = d->fork;
    int err;

    /* A kill of it on another CPU would take its vCPUs and events away. */
    if (!domain_visit(f->source)) {
        return refuse(f->why, -ESRCH, "the domain is being destroyed");
    }
    err = fork_image_take(f->source, d, w);
    domain_leave(f->source);
    if (err == 0) {
        f->clone.held = fork_image_held;
        f->clone.arg = d;
        err = share_clone_begin(&f->clone, f->source->p2m, d->p2m);
    }
    return err == -ENOMEM ? refuse(f->why, err, "no memory for its state")
                          : err;
}

static int share_memory(struct domain *d, struct work *w)
{
    struct domain_fork *f = d->fork;
    int err = share_clone(&f->clone, f->source->p2m, d->p2m, w);

    if (err == -ENOMEM) {
        print_to(f->why, sizeof(f->why), "out of memory at gfn %lu",
                 f->clone.gfn.n);
    } else if (err == -EAGAIN) {
        refuse(f->why, err, "the domain was given more memory meanwhile");
    }
    return err;
}

static int apply(struct domain *d, struct work *w)
{
    struct domain_fork *f = d->fork;
    int err = 0;

    if (f->item == 0) {
        err = fork_image_place(d);
    }
    if (err == 0) {
        err = fork_image_apply(d, &f->item, w);
    }
    return err == 0 || err == -ERESTART ? err
        : refuse(f->why, err, err == -ENOMEM ? "no memory for its events"
                                             : "its state was refused");
}

static void start(struct domain *d)
{
    start_parent(d->fork);
    if (d->config.scan) {
        scan_domain_add(d->p2m);
    }
    spin_lock(&d->lock);
    d->pause_count = 1;     /* each vCPU was born with one pause: this one */
    atomic_store(&d->state, DOMAIN_RUNNING);
    spin_unlock(&d->lock);
}

/* The creator's part is over. */
static void leave(struct domain *d)
{
    struct domain *parent = d->fork->source;

    d->fork->source = NULL;
    domain_put(parent);
    domain_put(d);
}

static void give_up(struct domain *d, int err)
{
    struct domain_fork *f = d->fork;

    start_parent(f);
    f->err = err;
    f->stage = FORK_UNDO_CHILD;
    atomic_store(&d->state, DOMAIN_DYING);
}

static int run_stage(struct domain *d, struct work *w)
{
    struct domain_fork *f = d->fork;
    int state = atomic_load(&f->source->state);

    if (atomic_load(&d->kill_wanted)) {
        return refuse(f->why, -EINTR, "killed while it was being forked");
    }
    if (state == DOMAIN_DYING || state == DOMAIN_DEAD) {
        return refuse(f->why, -ESRCH, "the domain is being destroyed");
    }
    switch (f->stage) {
    case FORK_STOP:
        return wait_parent(f->source);
    case FORK_VCPUS:
        return make_vcpus(d, w);
    case FORK_IMAGE:
        return take_image(d, w);
    case FORK_MEMORY:
        return share_memory(d, w);
    case FORK_APPLY:
        return apply(d, w);
    default:
        return 0;
    }
}

static int undo(struct domain *d, char *why, struct work *w)
{
    struct domain_fork *f = d->fork;
    int err = 0;

    if (f->stage == FORK_UNDO_CHILD) {
        err = domain_kill(d, w);
        if (err != 0) {
            return err;
        }
        f->stage = FORK_UNDO_PARENT;
    }
    err = share_unclone(&f->clone, f->source->p2m, w);
    if (err != 0) {
        return err;
    }
    err = f->err;
    print_to(why, DOMAIN_WHY_MAX, "%s", f->why);
    log_warn("fork of d%u failed: %s", f->parent, why);
    leave(d);
    return err;
}

int domain_fork(struct domain *parent, const struct fork_config *c,
                struct domain **child, char *why, struct work *w)
{
    char unwanted[DOMAIN_WHY_MAX];
    struct domain_fork *f;
    int err;

    why = why != NULL ? why : unwanted;
    if (*child == NULL) {
        err = begin(parent, c, child, why);
        if (err != 0) {
            return err;
        }
        if (work_spend(w, COST_ALLOC)) {
            return -ERESTART;
        }
    }
    f = (*child)->fork;
    while (f->stage < FORK_START) {
        err = run_stage(*child, w);
        if (err == -ERESTART) {
            return err;
        }
        if (err != 0) {
            give_up(*child, err);
            break;
        }
        f->stage++;
        f->item = 0;
    }
    if (f->stage == FORK_START) {
        start(*child);
        log_debug("d%u forked: d%u", f->parent, (*child)->id);
        leave(*child);
        return 0;
    }
    err = undo(*child, why, w);
    if (err != -ERESTART) {
        *child = NULL;
    }
    return err;
}

int domain_fork_info(struct domain *d, struct fork_info *info)
{
    const struct domain_fork *f = d->fork;
    struct share_base_info base;
    struct domain *parent;

    if (f == NULL) {
        return -EINVAL;
    }
    share_base_get(d->p2m, &base);
    *info = (struct fork_info){ .parent = f->parent, .is_parent_gone = true,
                                .gfns = base.gfns, .dirty = base.saved,
                                .resets = f->resets,
                                .reset_pages = f->reset_pages };
    parent = domain_find(f->parent);
    if (parent != NULL) {
        info->is_parent_gone = p2m_birth(parent->p2m) != f->parent_birth ||
                               atomic_load(&parent->state) >= DOMAIN_DYING;
        domain_put(parent);
    }
    return 0;
}

int domain_fork_relinquish(struct domain *d, struct work *w)
{
    return share_base_drop(d->p2m, w);
}

void domain_fork_free(struct domain *d)
{
    if (d->fork != NULL) {
        share_base_free(d->p2m);
        free_record(d->fork, d->config.nr_vcpus);
        d->fork = NULL;
    }
}
