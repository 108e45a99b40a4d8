/*
 * domain.c - the table of domains: ids, references, the end of a domain.
 *
 * Ids are the owners' (owner.h), so finding a domain takes no lock: its memory
 * outlives the last reference by a grace period. A domain is found from the
 * moment it is built until it is dead; its id stays claimed until the memory
 * is gone and no frame is charged to it any more.
 */
#include <quire/domain.h>
#include <quire/errno.h>
#include <quire/fork.h>
#include <quire/heap.h>
#include <quire/owner.h>
#include <quire/notice.h>
#include <quire/panic.h>
#include <quire/print.h>
#include <quire/string.h>

#include "build.h"
#include "domain_life.h"

#define NAME_ID_MAX 7       /* bytes of "-65535" */
#define COST_FREE 8000      /* units: records, some of many frames */

static struct spinlock list_lock = SPINLOCK_INIT(DOMLIST, 0);
static struct list all = LIST_INIT(all);        /* [domlist] */
static _Atomic unsigned nr_listed, nr_unfreed;
/* Ids on the list, so that a walk over few domains is short. */
static _Atomic uint64_t in_use[MAX_DOMAINS / 64];
/* Ids whose domain is gone while others still hold frames charged to them. */
static uint64_t zombies[MAX_DOMAINS / 64];      /* [domlist] */
static _Atomic unsigned nr_zombies;

/* Give back ids whose last frame has been dropped since. */
static void reap_zombies(void)
{
    if (atomic_load(&nr_zombies) == 0) {
        return;
    }
    spin_lock(&list_lock);
    for (unsigned i = 0; i < MAX_DOMAINS; i++) {
        uint64_t bit = UINT64_C(1) << i % 64;

        if ((zombies[i / 64] & bit) != 0 &&
            owner_release((domid_t)i) == 0) {
            zombies[i / 64] &= ~bit;
            atomic_fetch_sub(&nr_zombies, 1);
        }
    }
    spin_unlock(&list_lock);
}

static int claim_id(struct domain *d, const struct domain_config *c,
                    uint64_t max_pages, char *why)
{
    int id;

    reap_zombies();
    id = owner_claim(c->id, d, max_pages);
    if (id == -EEXIST) {
        print_to(why, DOMAIN_WHY_MAX, "domain %u exists", c->id);
    } else if (id < 0) {
        print_to(why, DOMAIN_WHY_MAX, "no free domain id (%d)", id);
    } else {
        d->id = (domid_t)id;
        return 0;
    }
    return id;
}

static void release_id(domid_t id)
{
    spin_lock(&list_lock);
    if (owner_release(id) != 0) {
        zombies[id / 64] |= UINT64_C(1) << id % 64;
        atomic_fetch_add(&nr_zombies, 1);
    }
    spin_unlock(&list_lock);
}

static void free_unborn(struct grace_head *h)
{
    struct domain *d = container_of(h, struct domain, grace);

    release_id(d->id);
    heap_free(d->build);
    heap_free(d);
}

int domain_alloc(const struct domain_config *c, uint64_t max_pages,
                 struct domain **dp, char *why)
{
    struct domain *d = heap_zalloc(sizeof(*d));
    int err = -ENOMEM;

    print_to(why, DOMAIN_WHY_MAX, "no memory for the domain itself");
    if (d == NULL) {
        return -ENOMEM;
    }
    d->build = heap_zalloc(sizeof(*d->build));
    if (d->build == NULL) {
        goto no_build;
    }
    d->config = *c;
    oom_domain_init(d);
    d->shared_gfn = GFN_INVALID;
    d->params[HVM_PARAM_TRIPLE_FAULT_REASON] = SHUTDOWN_REBOOT;
    atomic_store(&d->refs, 2);
    atomic_store(&d->state, DOMAIN_BUILDING);
    histogram_init(&d->unshare_ticks);
    err = claim_id(d, c, max_pages, why);
    if (err != 0) {
        goto no_id;
    }
    if (c->name_by_id) {
        print_to(d->config.name, sizeof(d->config.name), "%.*s-%u",
                 DOMAIN_NAME_MAX - NAME_ID_MAX, c->name, d->id);
    }
    spin_lock_init(&d->lock, LOCK_RANK_DOMAIN, d->id);
    *dp = d;
    return 0;

no_id:
    heap_free(d->build);
no_build:
    heap_free(d);
    return err;
}

int domain_alloc_maps(struct domain *d, char *why)
{
    d->p2m = p2m_create(d->id);
    if (d->p2m == NULL) {
        goto no_p2m;
    }
    d->p2m->trust_group = d->config.trust_group;
    d->events = evtchn_create(d->id);
    if (d->events == NULL) {
        goto no_events;
    }
    atomic_fetch_add(&nr_unfreed, 1);
    atomic_fetch_add(&nr_listed, 1);
    spin_lock(&list_lock);
    list_append(&all, &d->link);
    spin_unlock(&list_lock);
    atomic_fetch_or(&in_use[d->id / 64], UINT64_C(1) << d->id % 64);
    atomic_store(&d->is_listed, true);
    return 0;

no_events:
    p2m_put(d->p2m);
no_p2m:
    print_to(why, DOMAIN_WHY_MAX, "no memory for the domain itself");
    /* Somebody may have looked it up and be about to find it BUILDING. */
    owner_detach(d->id);
    grace_defer(&d->grace, free_unborn);
    return -ENOMEM;
}

void domain_unlist(struct domain *d)
{
    owner_detach(d->id);
    spin_lock(&list_lock);
    list_remove(&d->link);
    atomic_fetch_and(&in_use[d->id / 64], ~(UINT64_C(1) << d->id % 64));
    spin_unlock(&list_lock);
    atomic_fetch_sub(&nr_listed, 1);
}

static struct domain *find(domid_t id, bool is_building_wanted)
{
    struct domain *d = id < MAX_DOMAINS ? owner_domain(id) : NULL;
    uint32_t refs;

    if (d == NULL || !atomic_load(&d->is_listed) ||
        (atomic_load(&d->state) == DOMAIN_BUILDING && !is_building_wanted)) {
        return NULL;
    }
    refs = atomic_load(&d->refs);
    do {
        if (refs == 0) {
            return NULL;    /* on its way out; a grace period keeps it */
        }
    } while (!atomic_compare_exchange_weak(&d->refs, &refs, refs + 1));
    return d;
}

struct domain *domain_find(domid_t id)
{
    return find(id, false);
}

struct domain *domain_find_building(domid_t id)
{
    return find(id, true);
}

struct domain *domain_next(domid_t id)
{
    unsigned i = id;

    while (i < MAX_DOMAINS) {
        uint64_t word = atomic_load(&in_use[i / 64]) >> i % 64;
        struct domain *d;

        if (word == 0) {
            i = (i | 63) + 1;
            continue;
        }
        i += (unsigned)__builtin_ctzll(word);
        d = find((domid_t)i, false);
        if (d != NULL) {
            return d;
        }
        i++;
    }
    return NULL;
}

void domain_get(struct domain *d)
{
    BUG_ON(atomic_fetch_add(&d->refs, 1) == 0);
}

/* After the grace period: nobody can have a pointer to any of it. */
static void free_domain(struct grace_head *h)
{
    struct domain *d = container_of(h, struct domain, grace);
    domid_t id = d->id;

    work_charge(COST_FREE);
    evtchn_destroy(d->events);
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        heap_free(d->vcpus[i]);
    }
    domain_fork_free(d);
    p2m_put(d->p2m);
    heap_free(d->build);
    heap_free(d);
    release_id(id);
    atomic_fetch_sub(&nr_unfreed, 1);
}

void domain_put(struct domain *d)
{
    if (atomic_fetch_sub(&d->refs, 1) == 1) {
        BUG_ON(atomic_load(&d->state) != DOMAIN_DEAD);
        grace_defer(&d->grace, free_domain);
    }
}

unsigned domain_count(void)
{
    return atomic_load(&nr_listed);
}

unsigned domain_nr_unfreed(void)
{
    return atomic_load(&nr_unfreed);
}

void domain_init(void)
{
    sched_init();
    event_init();
    notice_init();
    oom_init();
}
