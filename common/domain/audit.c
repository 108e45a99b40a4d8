/*
 * audit.c - invariants of the set of domains.
 *
 * D1  each listed domain is found under its id, and each id's domain has it
 * D2  frames charged to a domain = its private entries + its shared page
 *     while that is not mapped + frames that others still hold
 *
 * Frames held elsewhere after their removal are not listed anywhere, so D2
 * can only say that a domain owns at least what its map holds; with nothing
 * pinned or mapped by others it is exact. Domains should be paused.
 */
#include <quire/domain.h>
#include <quire/errno.h>
#include <quire/log.h>
#include <quire/owner.h>

#define COST_DOMAIN 1000       /* units, measured */

static bool is_shared_page_mapped(const struct domain *d)
{
    struct frame *page = evtchn_shared_frame(d->events);

    if (page == NULL || gfn_eq(d->shared_gfn, GFN_INVALID)) {
        return false;
    }
    return mfn_eq(p2m_lookup(d->p2m, d->shared_gfn).mfn, frame_to_mfn(page));
}

/* Whether some vCPU's pinned vcpu_info page may have left the map. */
static bool has_pins(const struct domain *d)
{
    for (unsigned i = 0; i < d->nr_vcpus; i++) {
        if (d->vcpus[i]->events->info_frame != NULL) {
            return true;
        }
    }
    return false;
}

static unsigned audit_pages(const struct domain *d)
{
    uint64_t held = atomic_load(&d->p2m->count[p2m_ram_rw]) +
                    atomic_load(&d->p2m->count[p2m_ram_ro]);
    uint64_t owned = atomic_load(&owner_get(d->id)->pages);

    if (evtchn_shared_frame(d->events) != NULL && !is_shared_page_mapped(d)) {
        held++;
    }
    if (owned == held || (owned > held && (has_pins(d) ||
        atomic_load(&owner_get(d->id)->foreign) != 0))) {
        return 0;
    }
    log_error("D2: d%u owns %llu frames, its map holds %llu", d->id,
              (unsigned long long)owned, (unsigned long long)held);
    return 1;
}

/* All of @d but its p2m. */
static unsigned audit_record(const struct domain *d)
{
    unsigned bad = 0;

    if (owner_domain(d->id) != d || d->p2m->owner != d->id ||
        evtchn_domid(d->events) != d->id) {
        log_error("D1: domain %u is listed under another id", d->id);
        bad++;
    }
    if (atomic_load(&d->state) < DOMAIN_DYING) {
        bad += audit_pages(d);
    }
    return bad + oom_audit_domain(d);
}

/* A dying domain's kept frames go meanwhile; nobody else's change. */
static unsigned audit_sums(const struct domain_audit *a)
{
    if (!a->base.changed ||
        atomic_load(&a->current->state) >= DOMAIN_DYING) {
        return 0;
    }
    log_error("audit: B1 d%u: %llu gfns saved and %llu of the beginning are "
              "not what is counted", a->current->id,
              (unsigned long long)a->base.saved,
              (unsigned long long)a->base.gfns);
    return 1;
}

static int audit_shadow(struct domain_audit *a, struct work *w)
{
    int err = 0;

    if (a->guest_tables != NULL) {
        err = shadow_audit_run(&a->shadow, a->guest_tables, w);
        if (err == 0) {
            domain_shadow_put(a->current);
            a->guest_tables = NULL;
        }
    }
    return err;
}

int domain_audit_run(struct domain_audit *a, struct work *w)
{
    for (;;) {
        if (a->current == NULL) {
            a->current = domain_next(a->next);
            if (a->current == NULL) {
                break;
            }
            a->found++;
            a->p2m = (struct p2m_audit){ 0 };
            a->base = (struct share_base_audit){ 0 };
            a->shadow = (struct shadow_audit){ 0 };
            a->guest_tables = domain_shadow_get(a->current);
            a->bad += audit_record(a->current);
        }
        if (share_base_audit(a->current->p2m, &a->base, w) != 0 ||
            p2m_audit_run(&a->p2m, a->current->p2m, w) != 0 ||
            audit_shadow(a, w) != 0) {
            return -ERESTART;
        }
        a->bad += a->p2m.bad + a->base.bad + a->shadow.bad + audit_sums(a);
        a->shadow_bad += a->shadow.bad;
        a->next = (domid_t)(a->current->id + 1);
        domain_put(a->current);
        a->current = NULL;
        if (work_spend(w, COST_DOMAIN)) {
            return -ERESTART;
        }
    }
    if (a->found > domain_count()) {
        log_error("D1: %u domains found, %u listed", a->found,
                  domain_count());
        a->bad++;
    }
    return 0;
}

unsigned domain_audit(void)
{
    struct domain_audit a = { 0 };

    return domain_audit_run(&a, NULL) != 0 ? UINT32_MAX : a.bad;
}
