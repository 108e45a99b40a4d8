/*
 * shadow_life.c - a domain's shadow, from its first vCPU to its kill.
 *
 * The domain's vCPUs reach it by their own pointers, which last until none
 * runs any more. Everybody else (whoever writes to the guest's memory, the
 * audit, info) takes it by domain_shadow_get(), and the kill waits until the
 * last of them has put it back: by coming again, never by spinning.
 */
#include <quire/arch.h>
#include <quire/errno.h>
#include <quire/heap.h>
#include <quire/owner.h>
#include <quire/shadow.h>

#include "shadow_glue.h"

#define CPUID_ADDRESS_SIZES 0x80000008
/* Of its frames, one in so many may be a shadow page: tables for all of its
 * memory, 16 times over. */
#define FRAMES_PER_PAGE 32
#define PAGES_MIN 256
#define COST_VCPU 1500          /* units */

static unsigned page_limit(const struct domain_config *c)
{
    uint64_t frames = 0;

    if (c->shadow_pages != 0) {
        return c->shadow_pages;
    }
    for (unsigned i = 0; i < c->nr_ranges; i++) {
        frames += c->ranges[i].nr;
    }
    return (unsigned)MIN(MAX(frames / FRAMES_PER_PAGE, PAGES_MIN),
                         SHADOW_PAGES_MAX);
}

/* As its CPUID says. */
static unsigned address_bits(void)
{
    uint32_t r[4];

    arch_cpuid(CPUID_ADDRESS_SIZES, 0, r);
    return MIN(r[0] & 0xff, P2M_GFN_BITS + PAGE_SHIFT);
}

int vcpu_shadow_init(struct vcpu *v)
{
    struct domain *d = v->domain;
    struct shadow_vcpu *sv;
    int err;

    if (!d->config.shadow) {
        return 0;
    }
    if (atomic_load(&d->shadow) == NULL) {
        atomic_store(&d->shadow, shadow_create(d->p2m, page_limit(&d->config),
                                               address_bits()));
        if (atomic_load(&d->shadow) == NULL) {
            return -ENOMEM;     /* what there is goes by the kill */
        }
    }
    sv = heap_zalloc(sizeof(*sv));
    if (sv == NULL) {
        return -ENOMEM;
    }
    err = shadow_vcpu_init(atomic_load(&d->shadow), sv);
    if (err != 0) {
        heap_free(sv);
        return err;
    }
    v->shadow = atomic_load(&d->shadow);
    v->shadow_vcpu = sv;
    return 0;
}

static void drop_vcpu(struct vcpu *v)
{
    shadow_vcpu_fini(v->shadow, v->shadow_vcpu);
    heap_free(v->shadow_vcpu);
    v->shadow_vcpu = NULL;
    v->shadow = NULL;
}

struct shadow *domain_shadow_get(struct domain *d)
{
    struct shadow *s;

    if (atomic_load(&d->shadow) == NULL) {
        return NULL;
    }
    atomic_fetch_add(&d->shadow_users, 1);
    s = atomic_load(&d->shadow);
    if (s == NULL) {
        atomic_fetch_sub(&d->shadow_users, 1);
    }
    return s;
}

void domain_shadow_put(struct domain *d)
{
    atomic_fetch_sub(&d->shadow_users, 1);
}

void domain_shadow_written(struct p2m *p, gfn_t gfn)
{
    struct domain *d = owner_domain(p->owner);
    struct shadow *s = d != NULL ? domain_shadow_get(d) : NULL;

    if (s != NULL) {
        shadow_written(s, gfn);
        domain_shadow_put(d);
    }
}

int domain_shadow_relinquish(struct domain *d, struct work *w)
{
    int err;

    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        if (d->vcpus[i]->shadow_vcpu != NULL) {
            drop_vcpu(d->vcpus[i]);
            if (work_spend(w, COST_VCPU)) {
                return -ERESTART;
            }
        }
    }
    if (d->dying_shadow == NULL) {
        d->dying_shadow = atomic_exchange(&d->shadow, NULL);
    }
    if (d->dying_shadow == NULL) {
        return 0;
    }
    if (atomic_load(&d->shadow_users) != 0) {
        return -ERESTART;
    }
    err = shadow_destroy(d->dying_shadow, w);
    if (err == 0) {
        d->dying_shadow = NULL;
    }
    return err;
}
